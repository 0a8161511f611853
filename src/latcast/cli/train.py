"""``latcast train``: fit a predictor on a dataset."""

from __future__ import annotations

from pathlib import Path

from ._console import Console, UsageError, argument, command, option, usage
from ._options import DataHints, Devices, ModelOut, Seed, TestShare, check_share, check_suffix

_ONE_OR_BASE = "--predictor and --target are for one dataset; several make a base"


@command
def train(
    console: Console,
    *,
    data: list[Path] = argument(
        "Parquet, CSV or HELP's .pt; several of a space, one a target, make a base model."
    ),
    out: ModelOut,
    predictor: str | None = option(
        "Of a space: roofline (default), bayes, lookup-table, mlp or flops; of any "
        "network, from datasets of one target: layers (default for networks)."
    ),
    test: TestShare = 0.15,
    families: bool = option(
        "Of layers: also score on one family after the other, left out.",
        True,
        "--families/--no-families",
    ),
    hints: DataHints,
    devices: Devices = None,
    seed: Seed = 0,
) -> None:
    """Fit a predictor to a dataset, score it, save it; or a base model to several datasets.

    Example: latcast train rtx.parquet --predictor roofline --out rtx.latcast
    """
    from latcast._files import check_writable
    from latcast.models import workflow
    from latcast.models.calls import kind_of

    check_suffix(out, "--out", ".latcast")
    check_share(test, "--test")
    if len(data) > 1 and predictor not in (None, workflow.LAYERS):
        raise UsageError(_ONE_OR_BASE)
    datasets = [hints.read(path) for path in data]
    with usage():
        kind = kind_of(datasets, predictor)
    if kind == workflow.BASE and hints.target is not None:
        raise UsageError(_ONE_OR_BASE)
    if not families and kind != workflow.LAYERS:
        raise UsageError(f"--no-families is of a layer model; the data is for one of kind {kind}")
    if kind == workflow.LAYERS:
        check_writable(out)
    with console.progress(f"fitting {kind}") as progress:
        model, found = workflow.train(
            datasets, kind, test=test, seed=seed, families=families, out=out, progress=progress
        )
    model.save(out)
    console.show(found)
    console.note(f"wrote {out}")
