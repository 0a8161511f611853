"""``latcast search``: the most accurate networks within latency budgets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    INTERRUPTED,
    Debug,
    Devices,
    Json,
    Quiet,
    Seed,
    UsageError,
    check_usable,
    fails_cleanly,
    find_space,
    note,
    print_json,
    resolving,
    usage,
)
from ._fronts import front_records, print_found, print_front, records, write_archs, write_front
from ._quantities import parse_budgets, parse_count, parse_duration

if TYPE_CHECKING:
    from latcast.models import Predictor, TargetQuery
    from latcast.search import Method, Progress, SearchResult
    from latcast.spaces import SearchSpace


@fails_cleanly
def command(
    device: Annotated[
        list[str],
        typer.Option(
            "--device",
            help="A shipped model, a device of the catalogue, or a .latcast file; several: the "
            "network must keep a budget on each.",
        ),
    ],
    max_latency: Annotated[
        list[str] | None,
        typer.Option(
            "--max-latency",
            metavar="MS",
            help="Budget in ms, of several devices MS,MS,…; repeatable. Without: the whole front.",
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="Search space; the model's own by default.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Keep budgets with this probability, such as 0.9."),
    ] = None,
    accuracy: Annotated[
        list[str] | None,
        typer.Option(
            "--accuracy",
            help="Accuracy model: a name, a .latcast file or a .csv; several are an ensemble.",
        ),
    ] = None,
    max_macs: Annotated[
        str | None, typer.Option("--max-macs", help="Most MACs of a sample, such as 300M.")
    ] = None,
    max_params: Annotated[
        str | None, typer.Option("--max-params", help="Most parameters, such as 5.5M.")
    ] = None,
    max_activation: Annotated[
        str | None,
        typer.Option("--max-activation", help="Most activation memory of a sample, such as 4MB."),
    ] = None,
    resolution: Annotated[
        list[int] | None, typer.Option("--resolution", help="Search these only; repeatable.")
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", help="auto, exhaustive, memetic, evolution, nsga2 or random."),
    ] = "auto",
    evaluations: Annotated[
        int | None, typer.Option("--evaluations", min=1, help="Networks to evaluate at most.")
    ] = None,
    population: Annotated[
        int | None, typer.Option("--population", min=2, help="Of evolution, memetic and nsga2.")
    ] = None,
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", help="End after this time, such as 30s or 2m.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Keep the search in this file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --checkpoint.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the architectures here, as JSON.")
    ] = None,
    front: Annotated[
        Path | None, typer.Option("--front", help="Write the whole front here (.csv or .json).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Base model for devices by their specification alone."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Of the target; of --verify, 1 by default."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="Of the target; of --verify, fp32 by default."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            help="Of the target; of --verify, onnxruntime by default.",
        ),
    ] = None,
    verify: Annotated[
        int | None,
        typer.Option(
            "--verify", min=1, help="Measure so many of the best on this machine, and adapt to it."
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=1, help="Of search and measurement, at most; 2 by default."),
    ] = None,
    suggested: Annotated[
        int | None,
        typer.Option(
            "--suggested",
            min=1,
            help="Measured first, if the model is not one of this machine; 10 by default.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=0, help="CPU threads when measuring; 1 by default."),
    ] = None,
    visits: Annotated[
        int | None, typer.Option("--visits", min=2, help="Visits to every measured network.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Name of this machine; from its CPU by default.")
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option("--measured", help="Write the measurements here (.parquet); resumable."),
    ] = None,
    devices: Devices = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find the most accurate network within every budget, and the front that it lies on.

    Ctrl-C ends the search early and shows what was found.

    Example: latcast search --device samsung-note10 --max-latency 20 --confidence 0.9
    """
    from latcast.models import TargetQuery
    from latcast.search import InfeasibleError
    from latcast.search import search as run

    if confidence is not None and not 0 < confidence < 1:
        raise UsageError(f"--confidence must be between 0 and 1, such as 0.9; got {confidence}")
    _check_outputs(out, front)
    budgets = parse_budgets(max_latency, len(device))
    seconds = None if time_limit is None else parse_duration(time_limit, "--time-limit")
    chosen = _method(method, population)
    asked = find_space(space) if space else None
    options: dict[str, Any] = {
        "accuracy": accuracy[0] if accuracy and len(accuracy) == 1 else accuracy or None,
        "confidence": confidence,
        "max_macs": parse_count(max_macs, "--max-macs"),
        "max_params": parse_count(max_params, "--max-params"),
        "max_activation_bytes": parse_count(max_activation, "--max-activation", "B"),
        "restrict": {"r": resolution} if resolution else None,
        "method": chosen,
        "evaluations": evaluations,
        "seed": seed,
        "time_limit_s": seconds,
    }
    given = _given(
        verify, rounds=rounds, suggested=suggested, threads=threads, host=host, visits=visits,
        measured=measured,
    )  # fmt: skip
    if verify is not None:
        if len(device) > 1 or checkpoint is not None:
            raise UsageError("--verify is for one --device, and keeps its work in --measured")
        from ._verification import Check, verified_search

        if runtime is not None:
            given["runtime"] = runtime
        check = Check(
            verify, batch=batch or 1, precision=precision or "fp32", resume=resume, **given
        )
        verified_search(
            device[0], asked, check, base=model, max_latency_ms=budgets, out=out, front=front,
            json=json, quiet=quiet, **options,
        )  # fmt: skip
        return
    _check_checkpoint(checkpoint, resume=resume)
    predictors = _predictors(
        device, TargetQuery(runtime, batch, precision), asked, model, quiet=quiet
    )
    the_space = asked or predictors[0].space
    title = f"searching {the_space.name}"
    with usage(InfeasibleError), _bar(title, quiet=quiet) as progress:
        result = run(
            the_space,
            latency=predictors,
            max_latency_ms=budgets,
            **options,
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
        )
    if json:
        print_json(_summary(result, device, seed, has_budgets=budgets is not None))
    else:
        _show(result, device, seed, has_budgets=budgets is not None, quiet=quiet)
    if out is not None:
        write_archs(out, result.archs)
        note(f"wrote {out}", quiet=quiet)
    if front is not None:
        write_front(front, result, device)
        note(f"wrote {front}", quiet=quiet)
    if result.stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _predictors(
    names: list[str],
    query: TargetQuery,
    space: SearchSpace | None,
    base: str | None,
    *,
    quiet: bool,
) -> list[Predictor]:
    """One predictor of architectures for each name."""
    from latcast.models.resolve import resolve_one

    predictors = []
    for name in names:
        with resolving():
            found = resolve_one(name, query, space=space, base=base)
        for text in found.notes:
            note(f"note: {text}", quiet=quiet)
        predictors.append(found.of_space)
    return predictors


def _given(verify: int | None, **options: Any) -> dict[str, Any]:
    """Those of the options of ``--verify`` that are not left to their defaults."""
    given = {name: value for name, value in options.items() if value is not None}
    if given and verify is None:
        names = ", ".join(f"--{name}" for name in given)
        raise UsageError(f"{names}: only with --verify, which measures on this machine")
    return given


def _method(name: str, population: int | None) -> str | Method:
    from latcast._names import unknown_name
    from latcast.search import METHODS

    if name not in (*METHODS, "auto"):
        raise UsageError(unknown_name("method", name, ["auto", *METHODS]))
    if population is None:
        return name
    with_one = [n for n, m in METHODS.items() if "population" in m().settings()]
    if name not in with_one:
        raise UsageError(f"--population is for --method {' and '.join(with_one)}; got {name}")
    chosen: Any = METHODS[name]
    method: Method = chosen(population=population)
    return method


def _check_outputs(out: Path | None, front: Path | None) -> None:
    """Make sure before the search that what it finds can be written."""
    from latcast._files import check_writable

    if front is not None and front.suffix not in (".csv", ".json"):
        raise UsageError(f"--front must end in .csv or .json; got {front}")
    if out is not None and out.suffix != ".json":
        raise UsageError(f"--out must end in .json; got {out}")
    for file in (out, front):
        if file is not None:
            check_writable(file)


def _check_checkpoint(path: Path | None, *, resume: bool) -> None:
    if path is None:
        if resume:
            raise UsageError("--resume needs the --checkpoint to go on from")
    elif resume:
        check_usable(path)
    elif path.exists():
        raise UsageError(f"{path} exists already: go on with it (--resume), or remove it")


@contextmanager
def _bar(title: str, *, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A bar on stderr with the best accuracy so far within every budget."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(p: Progress) -> None:
            best = " ".join("–" if b != b else f"{100 * b:.2f}" for b in p.best)  # noqa: PLR0124
            bar.update(
                task, completed=p.evaluations, total=p.total, description=f"{title}: best {best} %"
            )

        yield show


def _summary(
    result: SearchResult, names: list[str], seed: int, *, has_budgets: bool
) -> dict[str, Any]:
    targets = [str(p.target) for p in result.predictors]
    return {
        "device": names[0] if len(names) == 1 else names,
        "target": targets[0] if len(targets) == 1 else targets,
        "space": result.archs.space.name,
        "method": result.method,
        "exact": result.is_exact,
        "stopped": result.stopped,
        "confidence": result.confidence,
        "seed": seed,
        "evaluations": result.evaluations,
        "seconds": result.seconds,
        "found": records(result) if has_budgets else [],
        "front": front_records(result),
    }


def _show(
    result: SearchResult, names: list[str], seed: int, *, has_budgets: bool, quiet: bool
) -> None:
    if has_budgets:
        print_found(result, names)
    else:
        print_front(result, names)
    if result.stopped is not None:
        why = "interrupted" if result.stopped == "interrupted" else "out of time"
        note(f"{why}: the best found so far", quiet=quiet)
    ending = (
        " (all there are: the result is exact)"
        if result.is_exact
        else f": the best found, by the method {result.method} with seed {seed}"
    )
    note(
        f"{result.evaluations:,} networks evaluated in {result.seconds:.1f} s{ending}; "
        f"{len(result.front)} in the front",
        quiet=quiet,
    )
    from latcast.models.forecast import from_table, is_from_table

    for name, predictor in zip(names, result.predictors, strict=True):
        if is_from_table(predictor):
            note(f"note: {from_table(name)}", quiet=quiet)
