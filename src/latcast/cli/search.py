"""``latcast search``: the most accurate networks within latency budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from ._console import (
    INTERRUPTED,
    OUTPUT,
    REQUIRED,
    Console,
    UsageError,
    command,
    option,
    usage,
    write_text,
)
from ._options import (
    BUDGETS,
    MEASURING,
    SEARCH,
    TARGET,
    BaseModelName,
    Devices,
    HostName,
    HostText,
    Seed,
    Server,
    SimilarTo,
    check_share,
    check_suffix,
    check_usable,
    find_space,
    parse_count,
    parse_duration,
    parse_milliseconds,
    resolving,
    split_names,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from latcast.models import Predictor
    from latcast.search import Method, Progress, SearchRecord, SearchResult
    from latcast.search.verification import Check
    from latcast.spaces import SearchSpace


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Options of the budgets that the networks must keep."""

    panel: ClassVar[str] = BUDGETS

    max_latency: list[str] | None = option(
        "Budget in ms, or as 25ms; 25,35 is one of two devices; repeatable. "
        "Without: the whole front.",
        metavar="MS",
    )
    confidence: float | None = option("Keep budgets with this probability, such as 0.9.")
    max_macs: str | None = option("Most MACs of a sample, such as 300M.")
    max_params: str | None = option("Most parameters, such as 5.5M.")
    max_activation: str | None = option("Most activation memory of a sample, such as 4MB.")
    energy: Path | None = option("Model of energies (.latcast): tells the mJ of a pass.")
    max_energy: float | None = option("Most energy of a pass, by that model.", metavar="MJ")
    memory: Path | None = option("Model of peak memories (.latcast), likewise.")
    max_memory: str | None = option("Most peak memory, by that model, such as 200MB.")

    def options(self) -> dict[str, Any]:
        """Return the budgets as keyword arguments of :func:`latcast.search.search`."""
        if self.confidence is not None:
            check_share(self.confidence, "--confidence")
        return {
            "confidence": self.confidence,
            "max_macs": parse_count(self.max_macs, "--max-macs"),
            "max_params": parse_count(self.max_params, "--max-params"),
            "max_activation_bytes": parse_count(self.max_activation, "--max-activation", "B"),
        }

    def others(self) -> dict[str, Any]:
        """Models and limits of other quantities than the latency, those that are given."""
        most = parse_count(self.max_memory, "--max-memory", "B")
        given = {
            "energy": self.energy, "max_energy_mj": self.max_energy, "memory": self.memory,
            "max_memory_mb": None if most is None else most / 1e6,
        }  # fmt: skip
        for model, limit, name in (
            (self.energy, self.max_energy, "energy"), (self.memory, most, "memory")
        ):  # fmt: skip
            if limit is not None and model is None:
                raise UsageError(f"--max-{name} needs a model of it: --{name} FILE.latcast")
            if model is not None:
                check_usable(model)
        return {name: value for name, value in given.items() if value is not None}

    def max_latency_ms(self, targets: int) -> list[list[float]] | None:
        """Latency budgets in ms, one number for each target; None where there are none."""
        texts = self.max_latency or ()
        return [budget for text in texts for budget in _budgets(text, targets)] or None


@dataclass(frozen=True, kw_only=True)
class How:
    """How to search."""

    panel: ClassVar[str] = SEARCH

    space: str | None = option("Search space; the model's own by default.")
    accuracy: list[str] | None = option(
        "Accuracy model: a name, a .latcast file or a .csv; several are an ensemble."
    )
    resolution: list[int] | None = option("Search these only; repeatable.")
    method: str = option("auto, exhaustive, memetic, nsga2 or random.", "auto")
    evaluations: int | None = option("Networks to evaluate at most.", min=1)
    population_size: int | None = option("Of memetic and nsga2.", min=2)
    time_limit: str | None = option("End after this time, such as 30s or 2m.")
    checkpoint: Path | None = option("Keep the search in this file.")
    resume: bool = option("Go on with the search in --checkpoint, or --measured.", False)

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of :func:`latcast.search.search`, without the checkpoint."""
        several = self.accuracy and len(self.accuracy) > 1
        return {
            "accuracy": self.accuracy if several or not self.accuracy else self.accuracy[0],
            "restrict": {"r": self.resolution} if self.resolution else None,
            "method": _method(self.method, self.population_size),
            "evaluations": self.evaluations,
            "time_limit_s": parse_duration(self.time_limit),
        }

    def asked(self) -> dict[str, Any]:
        """Return the options as a service's request holds them.

        Raises:
            UsageError: what only this machine has is asked for.
        """
        if self.checkpoint is not None or self.resume:
            raise UsageError("a service keeps its searches: leave out --checkpoint and --resume")
        if self.accuracy and len(self.accuracy) > 1:
            raise UsageError("a service takes one --accuracy model, by its name")
        return {
            "space": self.space,
            "accuracy": self.accuracy[0] if self.accuracy else None,
            "resolution": self.resolution or None,
            "method": self.method,
            "evaluations": self.evaluations,
            "population_size": self.population_size,
            "time_limit_s": parse_duration(self.time_limit),
        }

    def check_checkpoint(self) -> None:
        """Make sure that the checkpoint is there if it is gone on with, and else is not."""
        if self.checkpoint is None:
            if self.resume:
                raise UsageError("--resume needs the --checkpoint to go on from")
        elif self.resume:
            check_usable(self.checkpoint)
        elif self.checkpoint.exists():
            raise UsageError(
                f"{self.checkpoint} exists already: go on with it (--resume), or remove it"
            )


@dataclass(frozen=True, kw_only=True)
class Target:
    """Options of the target to search for, and to measure on with --verify."""

    panel: ClassVar[str] = TARGET

    model: BaseModelName = None
    batch: int | None = option("Of the target; of --verify, 1 by default.", min=1)
    precision: str | None = option("Of the target; of --verify, fp32 by default.")
    runtime: str | None = option("Of the target; of --verify, onnxruntime by default.")
    similar_to: SimilarTo = None


@dataclass(frozen=True, kw_only=True)
class Verifying:
    """How to check on a machine what is found."""

    panel: ClassVar[str] = MEASURING

    verify: int | None = option(
        "Measure so many of the best, here or at --host, and adapt to it.", min=1
    )
    rounds: int | None = option("Of search and measurement, at most; 2 by default.", min=1)
    suggested: int | None = option(
        "Measured first, if the model is not one of the machine; 10 by default.", min=1
    )
    threads: int | None = option("CPU threads when measuring; 1 by default.", min=0)
    runs: int | None = option("Runs of every measured network.", min=2)
    host: HostText = None
    name: HostName = None
    measured: Path | None = option("Write the measurements here (.parquet); resumable.")

    def given(self) -> dict[str, Any]:
        """Return the options that were given, besides --verify itself."""
        names = ("rounds", "suggested", "threads", "host", "name", "runs", "measured")
        found = {n: v for n in names if (v := getattr(self, n)) is not None}
        if found and self.verify is None:
            listed = ", ".join(f"--{n}" for n in found)
            raise UsageError(f"{listed}: only with --verify, which measures")
        return found

    def check(
        self,
        device: list[str],
        target: Target,
        how: How,
        server: str | None,
        others: Mapping[str, Any],
    ) -> Check | None:
        """Return how to verify what is found on a device; None where that is not asked for.

        Raises:
            UsageError: something is asked for that does not go with it, ``others`` among it.
        """
        given = self.given()
        if self.verify is None:
            return None
        if others:
            raise UsageError("--energy and --memory go without --verify, which measures latencies")
        if server is not None:
            raise UsageError("--verify measures here, or at --host: leave out --server")
        if len(device) > 1 or how.checkpoint is not None or target.similar_to is not None:
            raise UsageError(
                "--verify is for one --device, without --similar-to, and keeps its work in "
                "--measured"
            )
        from latcast.measure.runtimes import registered_name
        from latcast.search.verification import Check

        if target.runtime is not None:
            given["runtime"] = registered_name(target.runtime)
        return Check(
            self.verify, batch=target.batch or 1, precision=target.precision or "fp32",
            resume=how.resume, **given,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Files:
    """Options of the files to write."""

    panel: ClassVar[str] = OUTPUT

    out: Path | None = option("Write the architectures here, as JSON.")
    front: Path | None = option("Write the whole front here (.csv or .json).")

    def check(self) -> None:
        """Make sure before the search that what it finds can be written."""
        from latcast._files import check_writable

        check_suffix(self.front, "--front", ".csv", ".json")
        check_suffix(self.out, "--out", ".json")
        for file in (self.out, self.front):
            if file is not None:
                check_writable(file)

    def write(self, console: Console, archs: list[Any], found: SearchRecord) -> None:
        """Write the files that are asked for."""
        import json

        if self.out is not None:
            write_text(self.out, json.dumps(archs) + "\n")
            console.note(f"wrote {self.out}")
        if self.front is not None:
            found.write_front(self.front)
            console.note(f"wrote {self.front}")


@command
def search(
    console: Console,
    *,
    device: list[str] = option(
        "A shipped model, a device of the catalogue, or a .latcast file; several: the "
        "network must keep a budget on each.",
        REQUIRED,
        panel=TARGET,
        callback=split_names,
    ),
    target: Target,
    budgets: Budgets,
    how: How,
    verifying: Verifying,
    files: Files,
    devices: Devices = None,
    server: Server = None,
    seed: Seed = 0,
) -> None:
    """Find the most accurate network within every budget, and the front that it lies on.

    Ctrl-C ends the search early and shows what was found.

    Example: latcast search --device samsung-note10 --max-latency 20 --confidence 0.9
    """
    files.check()
    max_latency_ms = budgets.max_latency_ms(len(device))
    space = find_space(how.space) if how.space else None
    options = {
        **budgets.options(), **how.options(), "max_latency_ms": max_latency_ms, "seed": seed
    }  # fmt: skip
    others = budgets.others()
    if (check := verifying.check(device, target, how, server, others)) is not None:
        verified_search(console, device[0], space, check, files, base=target.model, **options)
        return
    if server is not None:
        if others:
            raise UsageError(
                "--energy and --memory name models of this machine, which a service does not read: "
                "leave out --server"
            )
        asked = {
            **budgets.options(), **how.asked(), **vars(target), "max_latency_ms": max_latency_ms,
            "seed": seed,
        }  # fmt: skip
        search_there(console, server, device, files, devices, **asked)
        return
    how.check_checkpoint()
    predictors, notes = _predictors(device, target, space)
    space = space or predictors[0].space
    result = _search(console, predictors, space, how, options | others)
    own = [p.fitted.notes(name) for name, p in zip(device, predictors, strict=True)]
    found = result.record(device, seed, [*notes, *chain(*own)])
    console.show(found)
    if not console.json:
        console.note(found.summary())
    files.write(console, result.archs.to_dicts(), found)
    if result.stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)


def search_there(
    console: Console,
    server: str,
    device: list[str],
    files: Files,
    devices: object,
    **asked: Any,
) -> None:
    """Search at a service, and print what was found."""
    from latcast.serve.client import Client

    with console.progress("searching") as tell:
        if devices:
            raise UsageError("--devices (or LATCAST_DEVICES) is for latcast serve")
        found = Client(server).search(device, progress=tell, **asked)
    console.show(found)
    if not console.json:
        console.note(found.summary())
    files.write(console, [network.arch for network in found.found or found.front], found)


def verified_search(
    console: Console,
    name: str,
    space: SearchSpace | None,
    check: Check,
    files: Files,
    *,
    base: str | None = None,
    seed: int,
    **options: Any,
) -> None:
    """Search, measure, adapt, and print what was found."""
    from latcast.measure import CampaignRunningError, WorkerDiedError
    from latcast.search import InfeasibleError
    from latcast.search import verification as v

    from ._measuring import campaign_bar

    check_suffix(check.measured, "--measured", ".parquet")
    with resolving():
        model, specification = v.first_model(name, space, base)
    try:
        with usage(InfeasibleError, v.MeasuringError), campaign_bar(console) as tell:

            def start(measuring: v.Campaigns) -> None:
                records = f"{Path(measuring.record).with_suffix('')}.*.campaign"
                there = f" at {measuring.host}" if measuring.host else ""
                console.note(f"measuring on {measuring.target}{there}; raw records: {records}")
                measuring.on_progress = tell

            result, record = v.search_and_verify_here(
                model, check, space=space, specification=specification, name=name, seed=seed,
                on_start=start,
                on_round=lambda found: console.note(v.Round.of(found).summary()),
                on_kept=lambda kept: console.note(
                    "what was measured is kept: go on with the same command and "
                    f"--measured {kept} --resume"
                ),
                **options,
            )  # fmt: skip
    except FileExistsError as error:
        raise UsageError(f"{error} (--resume, or another --measured)") from error
    except (CampaignRunningError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error
    except WorkerDiedError as error:
        raise ValueError(f"measuring cannot start: {error}") from error
    files.write(console, result.archs.to_dicts(), result.search.record([name], seed))
    console.show(record)
    if result.stopped is not None:
        raise typer.Exit(INTERRUPTED)


def _predictors(
    names: list[str], target: Target, space: SearchSpace | None
) -> tuple[list[Predictor], list[str]]:
    """One predictor of architectures for each name, and notes about where they come from."""
    from latcast.models import TargetQuery
    from latcast.models.resolve import resolve_one

    query = TargetQuery(target.runtime, target.batch, target.precision)
    predictors: list[Predictor] = []
    notes: list[str] = []
    for name in names:
        with resolving():
            found = resolve_one(
                name, query, space=space, base=target.model, similar_to=target.similar_to
            )
        notes += [x for x in found.notes if x not in notes]
        predictors.append(found.of_space)
    return predictors, notes


def _search(
    console: Console,
    predictors: list[Predictor],
    space: SearchSpace,
    how: How,
    options: dict[str, Any],
) -> SearchResult:
    from latcast.search import InfeasibleError
    from latcast.search import search as run

    with usage(InfeasibleError), _bar(console, f"searching {space.name}") as progress:
        return run(
            space, latency=predictors, checkpoint=how.checkpoint, resume=how.resume,
            progress=progress, **options,
        )  # fmt: skip


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr with the best accuracy so far within every budget."""
    with console.progress(title) as tell:

        def show(p: Progress) -> None:
            best = " ".join("–" if b != b else f"{100 * b:.2f}" for b in p.best)  # noqa: PLR0124
            tell(p.evaluations, p.total, f"{title}: best {best} %")

        yield show


def _method(name: str, population: int | None) -> str | Method:
    from latcast._names import unknown_name
    from latcast.search import METHODS

    if name != "auto" and name not in METHODS:
        raise UsageError(unknown_name("method", name, ["auto", *METHODS.names()]))
    if population is None:
        return name
    with_one = [n for n in METHODS.names() if "population" in METHODS.get(n)().settings()]
    if name not in with_one:
        raise UsageError(f"--population-size is for --method {' and '.join(with_one)}; got {name}")
    chosen: Any = METHODS.get(name)
    method: Method = chosen(population=population)
    return method


def _budgets(text: str, targets: int) -> list[list[float]]:
    """The budget of a text, a number for each target."""
    if targets == 1:
        return [[parse_milliseconds(text)]]
    budget = [parse_milliseconds(part) for part in text.split(",")]
    if len(budget) != targets:
        raise UsageError(
            f"--max-latency must have {targets} numbers between commas, one for each --device; "
            f"got {text!r}"
        )
    return [budget]
