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
    load_any,
    note,
    print_json,
    print_metrics,
    read_data,
)

if TYPE_CHECKING:
    from latcast.data import LatencyDataset
    from latcast.predict import BaseModel, Predictor


@fails_cleanly
def command(
    model: Annotated[
        str,
        typer.Argument(
            help="What is known: a shipped model or base model by name, or a .latcast file."
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
    from latcast.predict import adaptation
    from latcast.predict.metrics import evaluate

    check_model_name(out)
    if method not in adaptation.METHODS:
        raise UsageError(unknown_name("method", method, list(adaptation.METHODS)))
    base = load_any(model)
    few, rest = _choose(read_data(data, space, target, format_), samples, seed, quiet=quiet)
    adapted = _adapt(base, few, method, seed)
    scores = evaluate(adapted, rest) if len(rest) else None
    if scores is not None:
        adapted.fitted.card["metrics"] = scores
        adapted.fitted.card["split"] = (
            f"by architecture at random, seed {seed}: {len(few)} rows to adapt to, "
            f"{len(rest)} to test"
        )
    adapted.save(out)
    result: dict[str, Any] = {
        "model": str(out),
        "base": model,
        "method": method,
        "target": str(adapted.target),
        "space": adapted.space.name,
        "samples": len(few),
        "scored": len(rest),
        "metrics": scores,
        "left_out": adapted.fitted.card.get("left_out"),
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
    data: LatencyDataset, samples: int | None, seed: int, *, quiet: bool
) -> tuple[LatencyDataset, LatencyDataset]:
    """One row each of some architectures to adapt to, and all rows of the others."""
    import numpy as np

    from latcast.data.audit import audit, measured_rows

    if samples is None:
        return data, data[:0]
    data.check_latencies()
    measured = measured_rows(data, audit(data))
    if len(measured) < len(data):
        left_out = len(data) - len(measured)
        note(f"note: {left_out} rows with a copied latency are left out", quiet=quiet)
    groups = measured.archs.unique_index()
    _, first = np.unique(groups, return_index=True)
    if samples > len(first):
        raise UsageError(
            f"--samples must be at most the {len(first)} networks there are; got {samples}"
        )
    chosen = np.sort(np.random.default_rng(seed).choice(first, samples, replace=False))
    return measured[chosen], measured[~np.isin(groups, groups[chosen])]


def _adapt(base: Predictor | BaseModel, few: LatencyDataset, method: str, seed: int) -> Predictor:
    from latcast.predict import BaseModel

    if not isinstance(base, BaseModel):
        return base.adapt(few, method=method, seed=seed)
    if method != "bayes":
        raise UsageError(f"a base model of many targets adapts by the method bayes; got {method}")
    return base.adapt(few)


def _summary(title: str, left_out: dict[str, float] | None) -> str:
    if left_out is None:
        return title
    return (
        f"{title}; each of them predicted from the others: {left_out['mape']:.2f} % off on average"
    )
