"""``latcast bench``: published tables, reproduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar

import typer

from ._console import Command, Console, Group, UsageError, command, usage
from ._options import Devices

HelpData = Annotated[
    Path,
    typer.Option(
        "--data", help="Folder with latency/*.pt and a file of architectures, or of such folders."
    ),
]
BaseSamples = Annotated[
    int | None,
    typer.Option(
        "--base-samples",
        min=10,
        help="Measurements of every train target; by default 4000 of OFA, 800 of FBNet, else 900.",
    ),
]
SampleSeeds = Annotated[int, typer.Option("--seeds", min=1, help="Choices of the samples.")]

PICTURES = (".svg", ".png", ".pdf")

app = typer.Typer(cls=Group, no_args_is_help=True, help="Score predictors on published data.")


@dataclass(frozen=True)
class CurveOptions:
    """Learning curves in place of the table of predictors."""

    panel: ClassVar[str] = "Learning curves"

    fine_tuning: Annotated[
        bool,
        typer.Option("--fine-tuning", help="Instead: adapt a Note10 base with few measurements."),
    ] = False
    curves: Annotated[
        bool,
        typer.Option("--curves", help="Instead: from scratch, against the size of the dataset."),
    ] = False
    samples: Annotated[
        list[int] | None,
        typer.Option("--samples", min=0, help="Numbers of training rows of these; repeatable."),
    ] = None
    draw: Annotated[
        Path | None,
        typer.Option("--draw", metavar="FILE", help="Draw these as well (.svg, .png or .pdf)."),
    ] = None

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
    curves: CurveOptions,
    data: Annotated[Path, typer.Option("--data", help="The paper's folder with datasets/*.csv.")],
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="Only this one; repeatable.")
    ] = None,
    predictor: Annotated[
        list[str] | None, typer.Option("--predictor", help="Only this one; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Fits per row of the table.")] = 1,
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
        from latcast.bench.curves import draw

        panel, line = ("target", "method") if curves.fine_tuning else ("dataset", "predictor")
        draw(scores.rows, curves.draw, panel=panel, line=line)
        console.note(f"wrote {curves.draw}")


@app.command(cls=Command)
@command
def transfer(
    console: Console,
    data: HelpData,
    space: Annotated[
        str | None, typer.Option("--space", help="Which folder of --data, where there are several.")
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option("--train", help="Train targets, A,B,…; all but the test targets by default."),
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option("--test", help="Targets to predict, A,B,…; repeatable.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="A published split of the targets: help.")
    ] = None,
    leave_one_out: Annotated[
        bool,
        typer.Option(
            "--leave-one-out", help="Predict each of --test (default: all) from all other targets."
        ),
    ] = False,
    samples: Annotated[
        list[int] | None,
        typer.Option(
            "--samples", min=0, help="Measurements of a test target; repeatable. [default: 10, 20]"
        ),
    ] = None,
    selection: Annotated[
        str, typer.Option("--selection", help="How samples are chosen: random, suggest or both.")
    ] = "random",
    seeds: SampleSeeds = 20,
    base_samples: BaseSamples = None,
    ceiling: Annotated[
        bool, typer.Option("--ceiling", help="Also fit the default predictor on 90 % of the rows.")
    ] = False,
    devices: Devices = None,
) -> None:
    """Few-shot prediction of targets that a base model has not seen (needs PyTorch to read).

    Example: latcast bench transfer --data help --space nasbench201 --split help --samples 10
    """
    from latcast.bench import transfer as bench
    from latcast.bench.protocol import SELECTIONS

    with usage():
        plan = bench.plan(
            data, space, train=_names(train), test=_names(test), published_split=split,
            leave_one_out=leave_one_out, samples=samples or (10, 20),
            selections=SELECTIONS if selection == "both" else (selection,),
            seeds=seeds, base_samples=base_samples, ceiling=ceiling,
        )  # fmt: skip
    console.show(bench.run(plan, report=console.note))


@app.command(cls=Command)
@command
def gpu(
    console: Console,
    data: HelpData,
    space: Annotated[
        list[str] | None,
        typer.Option("--space", help="Only this one; repeatable. [default: all with three GPUs]"),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", help="Only leave out this one, as `latcast devices` calls it."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", help="Only base-model, mlp-paper or mlp-paper-standardized; repeatable."
        ),
    ] = None,
    samples: Annotated[
        list[int] | None,
        typer.Option(
            "--samples", min=0, help="Measurements of a target. [default: 0, 1, 3, 10, 20]"
        ),
    ] = None,
    seeds: SampleSeeds = 20,
    base_samples: BaseSamples = None,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="Of the networks that are the paper's.")
    ] = 100,
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


@dataclass(frozen=True)
class Note10:
    """Which searches on the Note10 are run."""

    panel: ClassVar[str] = "Note10"

    space: Annotated[
        list[str] | None, typer.Option("--space", help="Only this one; repeatable.")
    ] = None
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="Only latencies from here; repeatable."),
    ] = None
    budget: Annotated[
        list[float] | None,
        typer.Option("--budget", help="ms; repeatable. [default: 15, 20 … 35]"),
    ] = None
    evaluations: Annotated[
        int | None, typer.Option("--evaluations", min=1, help="Networks of one search.")
    ] = None


@dataclass(frozen=True)
class LeftOut:
    """Searches on targets of HELP that a joint model has not seen, nor others of their chips."""

    panel: ClassVar[str] = "Left out"

    left_out: Annotated[
        bool, typer.Option("--left-out", help="These instead, of --help-data alone.")
    ] = False
    tables: Annotated[
        Path | None, typer.Option("--tables", help="Public tables to learn from besides.")
    ] = None

    def scores(self, help_data: Path, console: Console, **options: Any) -> Any:
        """What the searches found."""
        from latcast.bench.search import run_left_out

        if self.tables is not None and not self.tables.is_dir():
            raise UsageError(f"the tables must be in a folder; got {self.tables}")
        return run_left_out(help_data, tables=self.tables, report=console.note, **options)


@app.command(cls=Command)
@command
def search(
    console: Console,
    note10: Note10,
    unseen: LeftOut,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The paper's folder; without it only --help-data is used."),
    ] = None,
    help_data: Annotated[
        Path | None,
        typer.Option("--help-data", help="Folder of HELP's folders: adds NAS-Bench-201."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Choices of the measurements, and searches.")
    ] = 3,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Also keep budgets with this probability, such as 0.9."),
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
    data: Annotated[
        Path, typer.Option("--data", help="Folder of public tables: ncnn, timm, ai_hub, ….")
    ],
    test: Annotated[
        Path | None,
        typer.Option("--test", help="Another one, which is scored and never learnt from."),
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="Only this one; repeatable.")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", help="Only what is new here: network, device or both."),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Only this one; repeatable.")
    ] = None,
    samples: Annotated[
        list[int] | None,
        typer.Option(
            "--samples",
            min=0,
            help="Measured networks of a device. [default: 0, 1, 3, 5, 10; of timm also 20]",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Choices of the samples. [default: 3 or 10]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of folds and draws.")] = 0,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out", help="Only chips for choosing, or those for confirming (docs/bench.md)."
        ),
    ] = None,
) -> None:
    """Forecast networks on devices that a model has not seen, from public tables.

    Example: latcast bench devices --data public --table ncnn --samples 0 --samples 5
    """
    from latcast.bench import devices as bench

    with usage():
        plan = bench.Plan(
            data, test, tuple(table or ()), tuple(samples or ()), tuple(method or ()),
            tuple(protocol or bench.PROTOCOLS), seeds, seed, held_out,
        )  # fmt: skip
    console.show(bench.run(plan, report=console.note))


def _names(lists: Sequence[str] | None) -> list[str]:
    """Names of options that were given as A,B,… or repeatedly."""
    return [name.strip() for text in lists or () for name in text.split(",") if name.strip()]
