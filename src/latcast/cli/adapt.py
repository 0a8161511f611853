"""``latcast adapt``: a model for a new target from an old one and a few measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    Debug,
    Devices,
    FormatName,
    Json,
    Quiet,
    Seed,
    SpaceName,
    TargetName,
    UsageError,
    check_model_name,
    fails_cleanly,
    note,
    print_json,
    print_metrics,
    read_any_data,
    resolving,
)

if TYPE_CHECKING:
    from latcast.data import Dataset
    from latcast.models import BaseModel, LayerPredictor, Predictor

    Measured = Dataset
    Known = Predictor | BaseModel | LayerPredictor


@fails_cleanly
def command(
    model: Annotated[
        str,
        typer.Argument(
            help="What is known: a shipped model or base model by name, or a .latcast file; for "
            "measurements of networks, a layer model."
        ),
    ],
    data: Annotated[Path, typer.Argument(help="Measurements of the new target, one or more.")],
    out: Annotated[Path, typer.Option("--out", help="Model file to write (.latcast).")],
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
    format_: FormatName = None,
    devices: Devices = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a model for another device, runtime, batch or space from a few measurements.

    Example: latcast adapt samsung-note10 measured.parquet --out mine.latcast
    """
    from latcast._names import unknown_name
    from latcast.models import LayerPredictor, adaptation
    from latcast.models.evaluation import evaluate_any
    from latcast.models.resolve import load_with_data

    check_model_name(out)
    if method not in adaptation.METHODS:
        raise UsageError(unknown_name("method", method, list(adaptation.METHODS)))
    with resolving():
        known, dataset = load_with_data(model, lambda: read_any_data(data, space, target, format_))
    few, rest = _choose(dataset, samples, seed, quiet=quiet)
    adapted = _adapt(known, few, method, seed)
    card = adapted.fitted.card
    if len(rest):
        card["metrics"] = evaluate_any(adapted, rest)
        card["split"] = (
            f"by {few.subject} at random, seed {seed}: {len(few)} rows to adapt to, "
            f"{len(rest)} to test"
        )
    adapted.save(out)
    scores = card["metrics"] if len(rest) else None
    result: dict[str, Any] = {
        "model": str(out),
        "base": model,
        "method": method,
        "target": str(adapted.target),
        "space": None if isinstance(adapted, LayerPredictor) else adapted.space.name,
        "samples": len(few),
        "scored": len(rest),
        "metrics": scores,
        "left_out": card.get("left_out"),
    }
    if json:
        print_json(result)
        return
    title = f"{model} adapted to {adapted.target} with {len(few)} measurements"
    if scores is not None:
        print_metrics(scores, title=f"{title}; on the {len(rest)} others:")
    else:
        typer.echo(_summary(title, result["left_out"]))
    note(f"wrote {out}", quiet=quiet)


def _choose(
    data: Measured, samples: int | None, seed: int, *, quiet: bool
) -> tuple[Measured, Measured]:
    """One row each of some networks to adapt to, and all rows of the others."""
    import numpy as np

    from latcast.data.audit import audit, measured_rows

    if samples is None:
        return data, data[:0]
    data.check_values()
    measured = measured_rows(data, audit(data))
    if len(measured) < len(data):
        left_out = len(data) - len(measured)
        note(f"note: {left_out} rows with a copied latency are left out", quiet=quiet)
    groups = measured.unique_index()
    _, first = np.unique(groups, return_index=True)
    if samples > len(first):
        raise UsageError(
            f"--samples must be at most the {len(first)} networks there are; got {samples}"
        )
    chosen = np.sort(np.random.default_rng(seed).choice(first, samples, replace=False))
    return measured[chosen], measured[~np.isin(groups, groups[chosen])]


def _adapt(known: Known, few: Measured, method: str, seed: int) -> Predictor | LayerPredictor:
    from latcast.models import BaseModel, LayerPredictor

    if isinstance(known, BaseModel | LayerPredictor) and method != "bayes":
        what = "layer model" if isinstance(known, LayerPredictor) else "base model of many targets"
        raise UsageError(f"a {what} adapts by the method bayes; got {method}")
    if isinstance(known, LayerPredictor):
        return known.adapt(few)
    if few.space is None:
        raise UsageError(
            f"a model of {known.space.name} cannot adapt to networks of other kinds; give a layer "
            "model"
        )
    if isinstance(known, BaseModel):
        return known.adapt(few)
    return known.adapt(few, method=method, seed=seed)


def _summary(title: str, left_out: dict[str, float] | None) -> str:
    if left_out is None:
        return title
    return (
        f"{title}; each of them predicted from the others: {left_out['mape']:.2f} % off on average"
    )
