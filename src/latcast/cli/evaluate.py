"""``latcast evaluate``: score a model on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import Console, command
from ._options import InputFormat, SpaceName, TargetName, read_any_data, resolving


@command
def evaluate(
    console: Console,
    model: Annotated[str, typer.Argument(help="A .latcast file, or the name of a shipped model.")],
    data: Annotated[Path, typer.Argument(help="Measurements that the model was not trained on.")],
    space: SpaceName = None,
    target: TargetName = None,
    input_format: InputFormat = None,
) -> None:
    """Score a model on measurements it has not seen.

    Example: latcast evaluate rtx.latcast measured.parquet
    """
    from latcast.models.resolve import load_with_data
    from latcast.models.workflow import Evaluation

    with resolving():
        predictor, dataset = load_with_data(
            model, lambda: read_any_data(data, space, target, input_format), scored=True
        )
    console.show(Evaluation.of(predictor, dataset, model_name=model, data=str(data)))
