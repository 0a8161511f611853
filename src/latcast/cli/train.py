"""``latcast train``: fit a predictor on a dataset."""

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
    print_table,
    progress_bar,
    read_any_data,
    usage,
)
from ._train_layers import train_layers

if TYPE_CHECKING:
    from latcast.data import Dataset

LAYERS = "layers"
"""Name of the predictor of networks of any kind."""


@fails_cleanly
def command(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Parquet, CSV or HELP's .pt; several of a space, one a target, make a base model."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Model file to write (.latcast).")],
    predictor: Annotated[
        str | None,
        typer.Option(
            "--predictor",
            help="Of a space: roofline (default), bayes, lookup-table, mlp or flops; of any "
            "network, from datasets of one target: layers (default for networks).",
        ),
    ] = None,
    test: Annotated[
        float, typer.Option("--test", help="Share of the architectures kept for the scores.")
    ] = 0.15,
    families: Annotated[
        bool, typer.Option(help="Of layers: also score on one family after the other, left out.")
    ] = True,
    space: SpaceName = None,
    target: TargetName = None,
    format_: FormatName = None,
    devices: Devices = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit a predictor to a dataset, score it, save it; or a base model to several datasets.

    Example: latcast train rtx.parquet --predictor roofline --out rtx.latcast
    """
    check_model_name(out)
    if not 0 < test < 1:
        raise UsageError(f"--test must be between 0 and 1; got {test}")
    if len(data) > 1 and predictor not in (None, LAYERS):
        raise UsageError("--predictor and --target are for one dataset; several make a base")
    read = [read_any_data(path, space, target, format_) for path in data]
    networks, architectures = _by_kind(read)
    if predictor == LAYERS or (predictor is None and networks):
        train_layers(read, out, test=test, families=families, seed=seed, json=json, quiet=quiet)
    elif networks:
        raise UsageError(f"networks of any kind need --predictor {LAYERS}; got {predictor}")
    elif len(read) > 1:
        if target is not None:
            raise UsageError("--predictor and --target are for one dataset; several make a base")
        _train_base(architectures, out, test, seed, json=json, quiet=quiet)
    else:
        _train(architectures[0], out, predictor or "roofline", test, seed, json=json, quiet=quiet)


def _by_kind(
    datasets: list[Dataset],
) -> tuple[list[Dataset], list[Dataset]]:
    """Datasets of networks, and those of architectures."""
    networks = [d for d in datasets if d.space is None]
    return networks, [d for d in datasets if d.space is not None]


def _train(
    dataset: Dataset,
    out: Path,
    predictor: str,
    test: float,
    seed: int,
    *,
    json: bool,
    quiet: bool,
) -> None:
    from latcast.models import predictor as create
    from latcast.models.training import fit_and_score

    with usage():
        model = create(predictor)
    with progress_bar(f"fitting {predictor}", quiet=quiet):
        scores = fit_and_score(model, dataset, test=test, seed=seed)
    model.save(out)
    card = model.fitted.card
    for trap in card["traps"]:
        note(f"note: the audit found {trap}", quiet=quiet)
    if not model.covers(0.9):
        note("note: too few rows to calibrate 90 % intervals", quiet=quiet)
    note(f"wrote {out}", quiet=quiet)
    result: dict[str, Any] = {
        "model": str(out),
        "predictor": predictor,
        "target": str(dataset.target),
        "space": dataset.archs.space.name,
        "split": card["split"],
        "metrics": scores,
        "traps": card["traps"],
    }
    if json:
        print_json(result)
        return
    title = f"{predictor} for {dataset.target}, split {card['split']}; on the test part:"
    print_metrics(scores, title=title)


def _train_base(
    datasets: list[Dataset],
    out: Path,
    test: float,
    seed: int,
    *,
    json: bool,
    quiet: bool,
) -> None:
    from latcast.models.training import fit_base

    with progress_bar("fitting a base model", quiet=quiet) as progress:
        model, scores = fit_base(datasets, test=test, seed=seed, progress=progress)
    model.save(out)
    left_out = model.card["left_out"]
    for target, count in left_out.items():
        if count:
            note(f"note: {target}: {count} rows are impossible or copied, left out", quiet=quiet)
    rows: list[dict[str, Any]] = [
        {"target": str(t), "left_out": left_out[str(t)], **scores[t]} for t in model.targets
    ]
    note(f"wrote {out}", quiet=quiet)
    if json:
        print_json({"model": str(out), "space": model.space.name, "targets": rows})
        return
    print_table(
        ["target", "MAPE %", "within 10 %", "Spearman"],
        [
            [r["target"], f"{r['mape']:.2f}", f"{r['within_10']:.1f}", f"{r['spearman']:.4f}"]
            for r in rows
        ],
        title=f"base model of {len(rows)} targets for {model.space.name}; on the test parts:",
    )
