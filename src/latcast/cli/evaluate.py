"""``latcast evaluate``: score a model on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from ._layer_models import is_layer_model, load_layer_model

if TYPE_CHECKING:
    from latcast.data import LatencyDataset, NetworkDataset


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
    dataset = read_any_data(data, space, target, format_)
    scores = _scores(model, dataset)
    if json:
        print_json({"model": model, "data": str(data), "rows": len(dataset), "metrics": scores})
        return
    print_metrics(scores, title=f"{model} on {data.name}, {len(dataset)} rows")


def _scores(model: str, data: LatencyDataset | NetworkDataset) -> dict[str, float]:
    from latcast.data import NetworkDataset
    from latcast.predict.metrics import evaluate, score_networks

    if isinstance(data, NetworkDataset) or is_layer_model(model, data):
        return score_networks(load_layer_model(model), data).metrics()
    return evaluate(load_model(model), data)
