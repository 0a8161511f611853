"""``latcast evaluate``: score a model on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._common import (
    Debug,
    FormatName,
    Json,
    Quiet,
    SpaceName,
    TargetName,
    fails_cleanly,
    load_model,
    print_json,
    print_metrics,
    read_any_data,
)
from ._layer_models import load_with_data


@fails_cleanly
def command(
    model: Annotated[str, typer.Argument(help="A .latcast file, or the name of a shipped model.")],
    data: Annotated[Path, typer.Argument(help="Measurements that the model was not trained on.")],
    space: SpaceName = None,
    target: TargetName = None,
    format_: FormatName = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score a model on measurements it has not seen.

    Example: latcast evaluate rtx.latcast measured.parquet
    """
    from latcast.models.evaluation import evaluate_any

    predictor, dataset = load_with_data(
        model, lambda: read_any_data(data, space, target, format_), load_model
    )
    scores = evaluate_any(predictor, dataset)
    if json:
        print_json({"model": model, "data": str(data), "rows": len(dataset), "metrics": scores})
        return
    print_metrics(scores, title=f"{model} on {data.name}, {len(dataset)} rows")
