"""``latcast bench search``: architecture search, by where it takes its latencies from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._console import Console, UsageError, command, print_json, usage
from ._options import Devices
from ._search_tables import print_search


@command
def search(
    console: Console,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The paper's folder; without it only --help-data is used."),
    ] = None,
    help_data: Annotated[
        Path | None,
        typer.Option("--help-data", help="Folder of HELP's folders: adds NAS-Bench-201."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option("--space", help="Only this one of the Note10's; repeatable."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="Only latencies from here, on the Note10; repeatable."),
    ] = None,
    budget: Annotated[
        list[float] | None,
        typer.Option("--budget", help="ms on the Note10; repeatable. [default: 15, 20 … 35]"),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Choices of the measurements, and searches.")
    ] = 3,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Also keep budgets with this probability, such as 0.9."),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option("--evaluations", min=1, help="Networks of one search on the Note10."),
    ] = None,
    base_samples: Annotated[
        int, typer.Option("--base-samples", min=10, help="Rows of every target of a base model.")
    ] = 900,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="Of the paper's conditioned network.")
    ] = 100,
    devices: Devices = None,
) -> None:
    """The OFANAS paper's architecture search, and one on NAS-Bench-201 (needs PyTorch to read).

    Example: latcast bench search --data ofanas --help-data help --seeds 10
    """
    from latcast.bench import few_shot_search
    from latcast.bench import search as table
    from latcast.bench.latency_sources import Material

    with usage():
        plan = table.plan(
            space or (), source or (), budget or (), seeds=seeds, confidence=confidence,
            evaluations=evaluations,
        )  # fmt: skip
    if data is None:
        _check_unused(space=space, source=source, budget=budget, evaluations=evaluations)
    _check_folders(data, help_data)
    found: dict[str, list[dict[str, Any]]] = {}
    if data is not None:
        material = Material(
            data, help_data, base_samples=base_samples, epochs=epochs, report=console.note
        )
        found["samsung-note10"] = table.run(data, plan, material=material, report=console.note)
    if help_data is not None:
        found["nasbench201"] = few_shot_search.run(
            help_data, seeds=seeds, confidence=confidence or few_shot_search.CONFIDENCE,
            base_samples=base_samples, report=console.note,
        )  # fmt: skip
    if console.json:
        print_json(found)
        return
    print_search(found)


def _check_unused(**options: object) -> None:
    """What only concerns the Note10 must not be given without the paper's folder."""
    for name, value in options.items():
        if value:
            raise UsageError(f"--{name} is of the Note10's searches, which need --data: give both")


def _check_folders(data: Path | None, help_data: Path | None) -> None:
    """What can be known to be missing before the first of two long studies is run."""
    from latcast._files import check_file
    from latcast.bench import few_shot_search
    from latcast.bench.latency_sources import NOTE10

    folders = [folder for folder in (data, help_data) if folder is not None]
    if not folders:
        raise UsageError("give --data, --help-data, or both; got neither")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"the data must be in a folder; got {folder}")
    if data is not None:
        check_file(data / "acc_predictor.pth")
        check_file(data / "datasets" / f"{NOTE10}.csv")
        if not (data / "lookup_tables").is_dir():
            raise FileNotFoundError(f"{data} must hold a folder lookup_tables; got none")
    if help_data is not None:
        few_shot_search.find(help_data)
