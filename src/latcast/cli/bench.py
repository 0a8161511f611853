"""``latcast bench``: published tables, reproduced."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar

import typer

from ._console import (
    REQUIRED,
    Command,
    Console,
    Group,
    UsageError,
    argument,
    command,
    option,
    usage,
)
from ._options import Devices, split_names

HelpData = Annotated[
    Path,
    option(
        "Folder with latency/*.pt and a file of architectures, or of such folders.", None, "--data"
    ),
]
BaseSamples = Annotated[
    int | None,
    option(
        "Measurements of every train target; by default 4000 of OFA, 800 of FBNet, else 900.",
        None,
        "--base-samples",
        min=10,
    ),
]
SampleSeeds = Annotated[int, option("Choices of the samples.", None, "--seeds", min=1)]

PICTURES = (".svg", ".png", ".pdf")

app = typer.Typer(cls=Group, no_args_is_help=True, help="Score predictors on published data.")


@dataclass(frozen=True, kw_only=True)
class CurveOptions:
    """Learning curves in place of the table of predictors."""

    panel: ClassVar[str] = "Learning curves"

    fine_tuning: bool = option("Instead: adapt a Note10 base with few measurements.", False)
    curves: bool = option("Instead: from scratch, against the size of the dataset.", False)
    samples: list[int] | None = option("Numbers of training rows of these; repeatable.", min=0)
    draw: Path | None = option("Draw these as well (.svg, .png or .pdf).", metavar="FILE")

    def bench(self) -> ModuleType:
        """The bench that is asked for.

        Raises:
            UsageError: options exclude each other, or cannot be drawn.
        """
        from latcast.bench import dataset_size, finetuning, paper

        if self.fine_tuning and self.curves:
            raise UsageError("--fine-tuning and --curves exclude each other; got both: give one")
        if not self.fine_tuning and not self.curves:
            if self.samples or self.draw:
                raise UsageError(
                    "--samples and --draw need either --fine-tuning or --curves; got neither"
                )
            return paper
        if self.draw is not None:  # not found out after an hour of fitting
            self._check_drawing(self.draw)
        return finetuning if self.fine_tuning else dataset_size

    def _check_drawing(self, draw: Path) -> None:
        from latcast._imports import require

        if draw.suffix not in PICTURES:
            raise UsageError(f"--draw must end in {', '.join(PICTURES)}; got {draw}")
        if not draw.parent.is_dir():
            raise UsageError(f"--draw must be in a folder that exists; got {draw}: make the folder")
        if draw.is_dir():
            raise UsageError(f"--draw must be a file; {draw} is a folder")
        if self.samples and max(self.samples) == 0:
            raise UsageError("--draw needs a positive number of --samples; got 0 only")
        require("matplotlib", "plot", "drawing")


@app.command(cls=Command)
@command
def paper(
    console: Console,
    *,
    curves: CurveOptions,
    data: Path = option("The paper's folder with datasets/*.csv.", REQUIRED),
    dataset: list[str] | None = option("Only this one; repeatable."),
    predictor: list[str] | None = option("Only this one; repeatable."),
    seeds: int = option("Fits per row of the table.", 1, min=1),
) -> None:
    """The OFANAS paper's predictors, and ours beside them (MLP rows need PyTorch).

    Example: latcast bench paper --data ofanas --predictor roofline --seeds 10
    """
    from latcast._names import unknown_name
    from latcast.bench.protocol import check

    bench = curves.bench()
    for kind, asked in (("dataset", dataset), ("predictor", predictor)):
        for name in asked or ():
            if name not in bench.KNOWN[kind]:
                raise UsageError(unknown_name(kind, name, bench.KNOWN[kind]))
    if not data.is_dir():
        raise UsageError(f"--data must be a folder; got {data}")
    options: dict[str, Any] = {"datasets": dataset, "predictors": predictor, "seeds": seeds}
    if curves.fine_tuning or curves.curves:
        with usage():
            check(seeds, curves.samples or (), bench.MIN_SAMPLES)
        options["samples"] = curves.samples or ()
    scores = bench.run(data, **options, report=console.note)
    console.show(scores)
    if curves.draw is not None:  # last, for the table is worth more than the picture
        from latcast.report.plot import save_picture

        save_picture([*scores.figures()], curves.draw)
        console.note(f"wrote {curves.draw}")


@app.command(cls=Command)
@command
def transfer(
    console: Console,
    *,
    data: HelpData,
    space: str | None = option("Which folder of --data, where there are several."),
    train: list[str] | None = option(
        "Train targets, A,B,…; all but the test targets by default.", callback=split_names
    ),
    test: list[str] | None = option("Targets to predict, A,B,…; repeatable.", callback=split_names),
    split: str | None = option("A published split of the targets: help."),
    leave_one_out: bool = option(
        "Predict each of --test (default: all) from all other targets.", False
    ),
    samples: list[int] | None = option(
        "Measurements of a test target; repeatable. [default: 10, 20]", min=0
    ),
    selection: str = option("How samples are chosen: random, suggest or both.", "random"),
    seeds: SampleSeeds = 20,
    base_samples: BaseSamples = None,
    ceiling: bool = option("Also fit the default predictor on 90 % of the rows.", False),
    devices: Devices = None,
) -> None:
    """Few-shot prediction of targets that a base model has not seen (needs PyTorch to read).

    Example: latcast bench transfer --data help --space nasbench201 --split help --samples 10
    """
    from latcast.bench import transfer as bench
    from latcast.bench.protocol import SELECTIONS

    with usage():
        plan = bench.plan(
            data, space, train=train or (), test=test or (), published_split=split,
            leave_one_out=leave_one_out, samples=samples or (10, 20),
            selections=SELECTIONS if selection == "both" else (selection,),
            seeds=seeds, base_samples=base_samples, ceiling=ceiling,
        )  # fmt: skip
    console.show(bench.run(plan, report=console.note))


@app.command(cls=Command)
@command
def gpu(
    console: Console,
    *,
    data: HelpData,
    space: list[str] | None = option("Only this one; repeatable. [default: all with three GPUs]"),
    gpu: list[str] | None = option("Only leave out this one, as `latcast devices` calls it."),
    method: list[str] | None = option(
        "Only base-model, mlp-paper or mlp-paper-standardized; repeatable."
    ),
    samples: list[int] | None = option(
        "Measurements of a target. [default: 0, 1, 3, 10, 20]", min=0
    ),
    seeds: SampleSeeds = 20,
    base_samples: BaseSamples = None,
    epochs: int = option("Of the networks that are the paper's.", 100, min=1),
    devices: Devices = None,
) -> None:
    """Leave one GPU out: predict it from its specification alone, and from a few measurements.

    Example: latcast bench gpu --data help --space ofa --gpu tesla-v100
    """
    from latcast.bench import gpu as bench

    with usage():
        plan = bench.plan(
            data, space or (), gpus=gpu or (), methods=method or bench.METHODS,
            samples=samples or (0, 1, 3, 10, 20), seeds=seeds, base_samples=base_samples,
            epochs=epochs,
        )  # fmt: skip
    console.show(bench.run(plan, report=console.note))


@dataclass(frozen=True, kw_only=True)
class Note10:
    """Options of the searches on the Note10."""

    panel: ClassVar[str] = "Note10"

    space: list[str] | None = option("Only this one; repeatable.")
    source: list[str] | None = option("Only latencies from here; repeatable.")
    budget: list[float] | None = option("ms; repeatable. [default: 15, 20 … 35]")
    evaluations: int | None = option("Networks of one search.", min=1)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Searches on targets of HELP that a joint model has not seen, nor others of their chips."""

    panel: ClassVar[str] = "Left out"

    left_out: bool = option("These instead, of --help-data alone.", False)
    tables: Path | None = option("Public tables to learn from besides.")

    def scores(self, help_data: Path, console: Console, **options: Any) -> Any:
        """Run the searches, and return their scores."""
        from latcast.bench.search import run_left_out

        if self.tables is not None and not self.tables.is_dir():
            raise UsageError(f"the tables must be in a folder; got {self.tables}")
        return run_left_out(help_data, tables=self.tables, report=console.note, **options)


@app.command(cls=Command)
@command
def search(
    console: Console,
    *,
    note10: Note10,
    unseen: LeftOut,
    data: Path | None = option("The paper's folder; without it only --help-data is used."),
    help_data: Path | None = option("Folder of HELP's folders: adds NAS-Bench-201."),
    seeds: int = option("Choices of the measurements, and searches.", 3, min=1),
    confidence: float | None = option("Also keep budgets with this probability, such as 0.9."),
    base_samples: int = option("Rows of every target of a base model.", 900, min=10),
    epochs: int = option("Of the paper's conditioned network.", 100, min=1),
    devices: Devices = None,
) -> None:
    """The OFANAS paper's architecture search, and one on NAS-Bench-201 (needs PyTorch to read).

    Example: latcast bench search --data ofanas --help-data help --seeds 10
    """
    from latcast.bench import search as bench

    with usage():
        plan = bench.plan(
            note10.space or (), note10.source or (), note10.budget or (), seeds=seeds,
            confidence=confidence, evaluations=note10.evaluations,
        )  # fmt: skip
    if data is None:
        for name in (f.name for f in fields(note10) if getattr(note10, f.name)):
            raise UsageError(f"--{name} is of the Note10's searches, which need --data: give both")
    folders = [folder for folder in (data, help_data) if folder is not None]
    if not folders:
        raise UsageError("give --data, --help-data, or both; got neither")
    for folder in (folder for folder in folders if not folder.is_dir()):
        raise UsageError(f"the data must be in a folder; got {folder}")
    if unseen.left_out:
        if help_data is None or data is not None:
            raise UsageError("--left-out is of HELP's targets: give --help-data alone")
        console.show(unseen.scores(help_data, console, seeds=seeds, confidence=confidence))
        return
    console.show(
        bench.run(
            data, plan, help_data=help_data, base_samples=base_samples, epochs=epochs,
            report=console.note,
        )
    )  # fmt: skip


@app.command(cls=Command)
@command
def families(
    console: Console,
    *,
    data: list[Path] = argument(
        "Datasets of networks, as `latcast measure --population` writes them."
    ),
    family: list[str] | None = option("Leave only this one out; repeatable."),
    samples: int = option("Networks of the family to adapt to.", 10, min=1),
    seeds: int = option("Draws of those and of tests.", 3, min=1),
) -> None:
    """Forecast families of networks that a layer model has not seen, and has.

    Example: latcast bench families cpu.networks.parquet --seeds 3
    """
    from latcast.bench import families as bench

    for path in data:
        if not path.is_file():
            raise UsageError(f"DATA must be a file; got {path}")
    console.show(
        bench.run(data, families=family, samples=samples, seeds=seeds, report=console.note)
    )


@app.command(cls=Command)
@command
def devices(
    console: Console,
    *,
    data: Path = option("Folder of public tables: ncnn, timm, ai_hub, ….", REQUIRED),
    test: Path | None = option("Another one, which is scored and never learnt from."),
    public_table: list[str] | None = option("Only this one; repeatable."),
    protocol: list[str] | None = option("Only what is new here: network, device or both."),
    method: list[str] | None = option("Only this one; repeatable."),
    samples: list[int] | None = option(
        "Measured networks of a device. [default: 0, 1, 3, 5, 10; of timm also 20]", min=0
    ),
    seeds: int | None = option("Choices of the samples. [default: 3 or 10]", min=1),
    seed: int = option("Of folds and draws.", 0, min=0),
    held_out: str | None = option(
        "Only chips for choosing, or those for confirming (docs/bench.md)."
    ),
) -> None:
    """Forecast networks on devices that a model has not seen, from public tables.

    Example: latcast bench devices --data public --public-table ncnn --samples 0 --samples 5
    """
    from latcast.bench import devices as bench

    with usage():
        plan = bench.Plan(
            data, test, tuple(public_table or ()), tuple(samples or ()), tuple(method or ()),
            tuple(protocol or bench.PROTOCOLS), seeds, seed, held_out,
        )  # fmt: skip
    console.show(bench.run(plan, report=console.note))
