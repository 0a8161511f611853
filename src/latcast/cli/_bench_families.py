"""``latcast bench families``: networks of a family that was not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ._bench_tables import print_machine
from ._common import print_table
from ._console import Console, UsageError, command, print_json


@command
def families(
    console: Console,
    data: Annotated[
        list[Path],
        typer.Argument(help="Datasets of networks, as `latcast measure --population` writes them."),
    ],
    family: Annotated[
        list[str] | None, typer.Option("--family", help="Leave only this one out; repeatable.")
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Networks of the family to adapt to.")
    ] = 10,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of those and of tests.")] = 3,
) -> None:
    """Forecast families of networks that a layer model has not seen, and has.

    Example: latcast bench families cpu.networks.parquet --seeds 3
    """
    from latcast.bench import families as table

    for path in data:
        if not path.is_file():
            raise UsageError(f"DATA must be a file; got {path}")
    rows = table.run(
        data,
        families=family,
        samples=samples,
        seeds=seeds,
        report=console.note,
    )
    print_json(rows) if console.json else _print(rows, samples, seeds)


_SETTINGS = {
    "left out": "the model has not seen the family",
    "adapted": "the same, adapted with {samples} measured networks of the family; scored on others",
    "included": "15 % of all networks at random, by a model of the others",
}


def _print(rows: Sequence[dict[str, Any]], samples: int, seeds: int) -> None:
    print_machine(f"{seeds} seed{'s' if seeds > 1 else ''}")
    columns = ["family", "networks", "median error %", "bias %", "≤ 10 %", "≤ 25 %",
               "90 % interval covers %", "fit s"]  # fmt: skip
    for target in dict.fromkeys(r["target"] for r in rows):
        for setting, title in _SETTINGS.items():
            cells = [
                [
                    r["family"],
                    str(r["networks"]),
                    f"{r['median_error']:.1f}",
                    f"{r['bias']:+.1f}",
                    f"{r['within_10']:.0f}",
                    f"{r['within_25']:.0f}",
                    f"{r['coverage_90']:.0f}",
                    f"{r['seconds']:.1f}",
                ]
                for r in rows
                if (r["target"], r["setting"]) == (target, setting)
            ]
            if cells:
                head = f"{target}, {setting}: {title.format(samples=samples)}"
                print_table(columns, cells, title=head)
