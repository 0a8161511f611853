"""``latcast bench``: published tables, reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._bench_families import families
from ._bench_search import search
from ._bench_tables import print_gpu, print_paper, print_transfer
from ._console import Command, Console, Group, UsageError, command, print_json, usage
from ._learning_curves import (
    Curves,
    Draw,
    FineTuning,
    Samples,
    draw_curves,
    find_kind,
    print_curves,
    run_curves,
)
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

app = typer.Typer(cls=Group, no_args_is_help=True, help="Score predictors on published data.")


@app.command(cls=Command)
@command
def paper(
    console: Console,
    data: Annotated[Path, typer.Option("--data", help="The paper's folder with datasets/*.csv.")],
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="Only this one; repeatable.")
    ] = None,
    predictor: Annotated[
        list[str] | None, typer.Option("--predictor", help="Only this one; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Fits per row of the table.")] = 1,
    fine_tuning: FineTuning = False,
    curves: Curves = False,
    samples: Samples = None,
    draw: Draw = None,
) -> None:
    """The OFANAS paper's predictors, and ours beside them (MLP rows need PyTorch).

    Example: latcast bench paper --data ofanas --predictor roofline --seeds 10
    """
    from latcast._names import unknown_name
    from latcast.bench import paper as table

    known = {"dataset": [d.name for d in table.DATASETS], "predictor": list(table.PREDICTORS)}
    asked_curves = None
    if fine_tuning or curves or samples or draw:
        asked_curves = find_kind(fine_tuning=fine_tuning, curves=curves)
        known = {"dataset": list(asked_curves.datasets), "predictor": list(asked_curves.predictors)}
    for kind, asked in (("dataset", dataset), ("predictor", predictor)):
        for name in asked or ():
            if name not in known[kind]:
                raise UsageError(unknown_name(kind, name, known[kind]))
    if not data.is_dir():
        raise UsageError(f"--data must be a folder; got {data}")
    if asked_curves is not None:
        rows = run_curves(console, asked_curves, data, dataset, predictor, samples, seeds, draw)
        print_json(rows) if console.json else print_curves(asked_curves, rows)
        if draw is not None:  # last, for the table is worth more than the picture
            draw_curves(console, asked_curves, rows, draw)
        return
    rows = table.run(
        data,
        datasets=dataset,
        predictors=predictor,
        seeds=seeds,
        report=console.note,
    )
    if console.json:
        print_json(rows)
    else:
        print_paper(rows, seeds)


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
        bool,
        typer.Option(
            "--ceiling", help="Also fit the default predictor on 90 % of a target's rows."
        ),
    ] = False,
    devices: Devices = None,
) -> None:
    """Few-shot prediction of targets that a base model has not seen (needs PyTorch to read).

    Example: latcast bench transfer --data help --space nasbench201 --split help --samples 10
    """
    from latcast._names import unknown_name
    from latcast.bench import transfer as table
    from latcast.bench.protocol import SELECTIONS

    if selection not in (*SELECTIONS, "both"):
        raise UsageError(unknown_name("selection", selection, [*SELECTIONS, "both"]))
    with usage():
        plan = table.plan(
            data,
            space,
            train=_names(train),
            test=_names(test),
            published_split=split,
            leave_one_out=leave_one_out,
            samples=samples or (10, 20),
            selections=SELECTIONS if selection == "both" else (selection,),
            seeds=seeds,
            base_samples=base_samples,
            ceiling=ceiling,
        )
    rows = table.run(plan, report=console.note)
    if console.json:
        print_json(rows)
    else:
        print_transfer(rows)


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
    from latcast.bench import gpu as table

    with usage():
        plan = table.plan(
            data,
            space or (),
            gpus=gpu or (),
            methods=method or table.METHODS,
            samples=samples or (0, 1, 3, 10, 20),
            seeds=seeds,
            base_samples=base_samples,
            epochs=epochs,
        )
    rows = table.run(plan, report=console.note)
    if console.json:
        print_json(rows)
    else:
        print_gpu(rows)


for _command in (search, families):
    app.command(cls=Command)(_command)


def _names(lists: list[str] | None) -> list[str]:
    """Names of options that were given as A,B,… or repeatedly."""
    return [name.strip() for text in lists or () for name in text.split(",") if name.strip()]
