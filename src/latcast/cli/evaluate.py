"""``latcast evaluate``: score a model on a dataset."""

from __future__ import annotations

from pathlib import Path

from ._console import Console, argument, command
from ._options import DataHints, resolving


@command
def evaluate(
    console: Console,
    *,
    model: str = argument("A .latcast file, or the name of a shipped model."),
    data: Path = argument("Measurements that the model was not trained on."),
    hints: DataHints,
) -> None:
    """Score a model on measurements it has not seen.

    Example: latcast evaluate rtx.latcast measured.parquet
    """
    from latcast.models.evaluation import Evaluation
    from latcast.models.resolve import load_with_data

    with resolving(), console.progress("reading"):
        predictor, dataset = load_with_data(model, lambda: hints.read(data), scored=True)
    with console.progress("scoring"):
        found = Evaluation.of(predictor, dataset, model_name=model, data=str(data))
    console.show(found)
