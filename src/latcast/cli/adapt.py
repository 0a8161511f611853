"""``latcast adapt``: a model for a new target from an old one and a few measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import Console, UsageError, command
from ._options import (
    Devices,
    InputFormat,
    ModelOut,
    Seed,
    SpaceName,
    TargetName,
    check_suffix,
    read_any_data,
    resolving,
)


@command
def adapt(
    console: Console,
    model: Annotated[
        str,
        typer.Argument(
            help="What is known: a shipped model or base model by name, or a .latcast file; for "
            "measurements of networks, a layer model."
        ),
    ],
    data: Annotated[Path, typer.Argument(help="Measurements of the new target, one or more.")],
    out: ModelOut,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=1, help="Adapt to so many networks at random, score on all others."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="bayes, or last-layer (the OFANAS paper's).")
    ] = "bayes",
    space: SpaceName = None,
    target: TargetName = None,
    input_format: InputFormat = None,
    devices: Devices = None,
    seed: Seed = 0,
) -> None:
    """Make a model for another device, runtime, batch or space from a few measurements.

    Example: latcast adapt samsung-note10 measured.parquet --out mine.latcast
    """
    from latcast._names import unknown_name
    from latcast.models import ADAPTATIONS
    from latcast.models.resolve import load_with_data
    from latcast.models.workflow import AdaptingError, adapt_and_score

    check_suffix(out, "--out", ".latcast")
    if method not in ADAPTATIONS:
        raise UsageError(unknown_name("method", method, list(ADAPTATIONS)))
    with resolving():
        known, dataset = load_with_data(
            model, lambda: read_any_data(data, space, target, input_format)
        )
    try:
        adapted, found = adapt_and_score(
            known, dataset, samples=samples, method=method, seed=seed, base=model, out=out
        )
    except AdaptingError as error:
        raise UsageError(str(error)) from error
    adapted.save(out)
    console.show(found)
    console.note(f"wrote {out}")
