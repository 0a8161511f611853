"""``latcast adapt``: a model for a new target from an old one and a few measurements."""

from __future__ import annotations

from pathlib import Path

from ._console import Console, UsageError, argument, command, option
from ._options import DataHints, Devices, ModelOut, Seed, check_suffix, resolving


@command
def adapt(
    console: Console,
    *,
    model: str = argument(
        "What is known: a shipped model or base model by name, or a .latcast file; for "
        "measurements of networks, a layer model."
    ),
    data: Path = argument("Measurements of the new target, one or more."),
    out: ModelOut,
    samples: int | None = option(
        "Adapt to so many networks at random, score on all others.", min=1
    ),
    method: str = option("bayes, or last-layer (the OFANAS paper's).", "bayes"),
    hints: DataHints,
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
        known, dataset = load_with_data(model, lambda: hints.read(data))
    try:
        with console.progress("adapting"):
            adapted, found = adapt_and_score(
                known, dataset, samples=samples, method=method, seed=seed, base=model, out=out
            )
    except AdaptingError as error:
        raise UsageError(str(error)) from error
    adapted.save(out)
    console.show(found)
    console.note(f"wrote {out}")
