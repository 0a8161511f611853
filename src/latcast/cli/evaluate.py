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
    print_json,
    print_metrics,
    read_any_data,
    resolving,
)


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
    from latcast.models.resolve import load_with_data

    with resolving():
        predictor, dataset = load_with_data(
            model, lambda: read_any_data(data, space, target, format_), scored=True
        )
    scores = evaluate_any(predictor, dataset)
    if json:
        print_json({"model": model, "data": str(data), "rows": len(dataset), "metrics": scores})
        return
    print_metrics(scores, title=f"{model} on {data.name}, {len(dataset)} rows")
