"""``latcast bench paper --fine-tuning`` and ``--curves``: scores against numbers of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ._common import print_table
from ._console import Console, UsageError, usage

FineTuning = Annotated[
    bool,
    typer.Option("--fine-tuning", help="Instead: adapt a Note10 base with few measurements."),
]
Curves = Annotated[
    bool, typer.Option("--curves", help="Instead: from scratch, against the size of the dataset.")
]
Samples = Annotated[
    list[int] | None,
    typer.Option("--samples", min=0, help="Numbers of training rows of these two; repeatable."),
]
Draw = Annotated[
    Path | None,
    typer.Option("--draw", metavar="FILE", help="Draw these two as well (.svg, .png or .pdf)."),
]

SHOWN = {
    "mae_ms": ("MAE ms", "mae_std_ms", 3),
    "mape": ("MAPE %", "mape_std", 3),
    "coverage_90": ("90 % interval covers %", None, 3),
    "seconds": ("seconds of one fit", None, 2),
}
"""Score -> title, key of its standard deviation, significant digits."""

PICTURES = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Kind:
    """One kind of curves.

    Attributes:
        run: a bench.
        datasets: what ``--dataset`` may name.
        predictors: what ``--predictor`` may name.
        panel: key of its records by which tables and panels are divided.
        line: key by which their lines are.
        least: the fewest samples that may be asked for.
    """

    run: Callable[..., list[dict[str, Any]]]
    datasets: Sequence[str]
    predictors: Sequence[str]
    panel: str
    line: str
    least: int = 0


def find_kind(*, fine_tuning: bool, curves: bool) -> Kind:
    """What was asked for.

    Raises:
        UsageError: both, or neither.
    """
    if fine_tuning and curves:
        raise UsageError("--fine-tuning and --curves exclude each other; got both: give one")
    if not fine_tuning and not curves:
        raise UsageError("--samples and --draw need either --fine-tuning or --curves; got neither")
    from latcast.bench import dataset_size, finetuning

    if curves:
        known = dataset_size.DATASETS, dataset_size.PREDICTORS
        least = dataset_size.MIN_SAMPLES
        return Kind(dataset_size.run, *known, panel="dataset", line="predictor", least=least)
    targets = [t.target for t in finetuning.TRANSFERS]
    return Kind(finetuning.run, targets, list(finetuning.METHODS), panel="target", line="method")


def run_curves(
    console: Console,
    kind: Kind,
    data: Path,
    dataset: list[str] | None,
    predictor: list[str] | None,
    samples: Sequence[int] | None,
    seeds: int,
    draw: Path | None,
) -> list[dict[str, Any]]:
    """Records of a bench, which ``draw`` is to show.

    Raises:
        UsageError: too few samples, or no picture can be made of them.
        ModuleNotFoundError: a picture is asked for, and matplotlib is not installed.
    """
    from latcast.bench.protocol import check

    with usage():
        check(seeds, samples or (), kind.least)
    if draw is not None:  # not found out after an hour of fitting
        _check_drawing(draw, samples)
    return kind.run(
        data, datasets=dataset, predictors=predictor, samples=samples or (), seeds=seeds,
        report=console.note,
    )  # fmt: skip


def _check_drawing(draw: Path, samples: Sequence[int] | None) -> None:
    from latcast._optional import require

    if draw.suffix not in PICTURES:
        raise UsageError(f"--draw must end in {', '.join(PICTURES)}; got {draw}")
    if not draw.parent.is_dir():
        raise UsageError(f"--draw must be in a folder that exists; got {draw}: make the folder")
    if draw.is_dir():
        raise UsageError(f"--draw must be a file; {draw} is a folder")
    if samples and max(samples) == 0:
        raise UsageError("--draw needs a positive number of --samples; got 0 only")
    require("matplotlib", "plot", "drawing")


def draw_curves(console: Console, kind: Kind, rows: list[dict[str, Any]], draw: Path) -> None:
    """Write the picture."""
    from latcast.bench.curves import draw as drawn

    drawn(rows, draw, panel=kind.panel, line=kind.line)
    console.note(f"wrote {draw}")


def print_curves(kind: Kind, rows: list[dict[str, Any]]) -> None:
    """A table per panel and score: a line per method, a column per number of samples."""
    from latcast.bench.protocol import machine

    seeds = max(r["seeds"] for r in rows)
    typer.echo(f"{machine()}; {seeds} seed{'s' if seeds > 1 else ''}")
    for panel in dict.fromkeys(r[kind.panel] for r in rows):
        within = [r for r in rows if r[kind.panel] == panel]
        origin = f"{within[0]['source']} -> " if "source" in within[0] else ""
        for score in SHOWN:
            _print_score(f"\n{origin}{panel}: ", score, within, kind.line)
        for text in dict.fromkeys(r["note"] for r in within if r.get("note")):
            typer.echo(f"published: {text}")


def _print_score(before: str, score: str, rows: list[dict[str, Any]], line: str) -> None:
    title, deviation, digits = SHOWN[score]
    cells = {
        (r[line], r["samples"]): f"{r[score]:.{digits}g}"
        + (f" ± {r[deviation]:.1g}" if deviation in r and r["seeds"] > 1 else "")
        for r in rows
        if score in r
    }
    if not cells:
        return
    lines = list(dict.fromkeys(name for name, _ in cells))
    columns = sorted({n for _, n in cells})
    table = [[name, *(cells.get((name, n), "–") for n in columns)] for name in lines]
    print_table([line, *map(str, columns)], table, title=f"{before}{title}")
