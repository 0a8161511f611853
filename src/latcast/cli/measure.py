"""``latcast measure``: time architectures on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
    UsageError,
    check_usable,
    fails_cleanly,
    find_space,
    note,
    read_architectures,
    usage,
)
from ._measured import campaign_results
from ._measured_networks import OF_SPACES, asked_networks, asks_for_networks
from ._quantities import parse_duration

if TYPE_CHECKING:
    from latcast.measure import CampaignFile, Plan, Progress
    from latcast.spaces import Archs, SearchSpace

_DEFAULTS = {
    "space": "ofa-mobilenet-v3",
    "samples": 300,
    "runtime": "onnxruntime",
    "threads": 1,
    "batch": 1,
    "precision": "fp32",
    "seed": 0,
}


@fails_cleanly
def command(
    out: Annotated[Path, typer.Option("--out", help="Dataset to write (.parquet).")],
    space: Annotated[
        str | None, typer.Option("--space", help="Search space; ofa-mobilenet-v3 by default.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Random architectures; 300 by default.")
    ] = None,
    archs: Annotated[
        Path | None,
        typer.Option("--archs", help="Measure these (JSON, as `latcast suggest` prints them)."),
    ] = None,
    population: Annotated[
        int | None,
        typer.Option("--population", min=1, help="Measure so many networks of all families."),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option("--family", help="Of these families only; repeat for several."),
    ] = None,
    models: Annotated[
        list[Path] | None,
        typer.Option("--models", help="Measure this .onnx file, or a folder's; repeat."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", help="onnxruntime (default), openvino, pytorch, litert, mnn, …"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=0, help="CPU threads; 1 by default.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Samples a forward pass; 1 by default.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="fp32 (default), bf16 or fp16.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Name of this machine; from its CPU by default.")
    ] = None,
    visits: Annotated[
        int | None, typer.Option("--visits", min=2, help="Visits to every architecture.")
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option("--time-budget", help="Measure as many as fit, such as 20m or 90s."),
    ] = None,
    resolutions: Annotated[
        str | None,
        typer.Option("--resolutions", help="Sample at these only, such as 160,192,224."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", help="Correct to the machine's state in this earlier dataset."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the campaign of --out.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of everything chance decides.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time networks on this machine, and write a dataset.

    They are architectures of a space, or (--population, --models) networks of any kind.

    The raw record is kept beside the dataset, in a file that ends in .campaign; --resume goes
    on with it after an interruption of any kind.

    Example: latcast measure --samples 300 --runtime onnxruntime --out cpu.parquet
    """
    if out.suffix != ".parquet":
        raise UsageError(f"--out must end in .parquet; got {out}")
    budget_s = None if time_budget is None else parse_duration(time_budget)
    path = out.with_suffix(".campaign")
    options = {
        "space": space,
        "samples": samples,
        "archs": None if archs is None else str(archs),
        "population": population,
        "family": family or None,
        "models": [str(path) for path in models or ()] or None,
        "runtime": runtime,
        "threads": threads,
        "batch": batch,
        "precision": precision,
        "device": device,
        "visits": visits,
        "resolutions": None if resolutions is None else parse_integers(resolutions),
        "seed": seed,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if resume:
        campaign = _resume(path, given)
        like_ms = _reference_of(like, campaign.plan()["target"])
    else:
        plan = _plan(given)
        like_ms = _reference_of(like, str(plan.target))
        campaign = _start(path, plan)
    with campaign:
        plan_text = campaign.plan()
        note(f"measuring on {plan_text['target']}; raw record: {path}", quiet=quiet)
        run_campaign(campaign, time_budget_s=budget_s, quiet=quiet)
        found = campaign_results(campaign, like_ms)
    found.results.dataset.save(out)
    found.report(out, json=json, quiet=quiet)


def run_campaign(
    campaign: CampaignFile, *, time_budget_s: float | None = None, quiet: bool
) -> None:
    """Make a campaign's visits behind a bar.

    Raises:
        UsageError: another campaign runs; if this one has just been started, its file is removed.
        ValueError: the runtime's processes do not start.
    """
    from latcast import measure

    try:
        with campaign_bar(quiet=quiet) as tell:
            measure.run(campaign, time_budget_s=time_budget_s, on_progress=tell)
    except measure.CampaignRunningError as error:
        if not campaign.counts()[1]:
            campaign.close()  # which removes what SQLite keeps beside it
            campaign.path.unlink()
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        note(f"{campaign.counts()[0]} visits are kept: go on with --resume", quiet=quiet)
        raise
    except measure.WorkerDiedError as error:
        raise ValueError(f"measuring cannot start: {error}") from error


def parse_integers(text: str) -> list[int]:
    """Integers between commas.

    Raises:
        UsageError: the text is not of that form.
    """
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise UsageError(f"resolutions must be like 160,192,224; got {text!r}")
    return [int(number) for number in text.split(",")]


def _reference_of(path: Path | None, target: str) -> float | None:
    """The reference network's latency in ms in an earlier dataset of the same target.

    Raises:
        ValueError: the dataset does not state it, or is of another target.
    """
    from latcast.data import read
    from latcast.measure import REFERENCE_LEVEL

    if path is None:
        return None
    check_usable(path)
    data = read(path)
    if str(data.target) != target:
        raise ValueError(
            f"--like must be a dataset of the same target, {target}; {path} is of {data.target}"
        )
    try:
        level = float(data.provenance.get(REFERENCE_LEVEL, "nan"))
    except ValueError:
        level = float("nan")
    if not 0 < level < float("inf"):
        raise ValueError(
            f"{path} must be written by `latcast measure`: it does not state the latency of the "
            "reference network"
        )
    return level


def _plan(given: dict[str, Any]) -> Plan:
    from latcast.devices import Target, host_name
    from latcast.measure import Plan, Protocol
    from latcast.measure.runtimes import runtime as find_runtime

    of_networks = asks_for_networks(given)
    defaults = {k: v for k, v in _DEFAULTS.items() if not of_networks or k not in OF_SPACES}
    options = {"device": host_name(), "visits": Protocol().visits, **defaults, **given}
    archs = None if of_networks else _archs(options, given)
    settings = {name: options[name] for name in ("threads", "batch", "precision")}
    with usage():
        kind = find_runtime(options["runtime"])
        target = Target(options["device"], kind.name, **settings)
        kind(**settings)
    networks = asked_networks(given, target.batch, options["seed"]) if of_networks else ()
    protocol = Protocol(visits=options["visits"])
    return Plan(target, archs, protocol, options["seed"], options=options, networks=networks)


def _archs(options: dict[str, Any], given: dict[str, Any]) -> Archs:
    """The architectures that the user lists, or a sample."""
    space = find_space(options["space"])
    if "archs" in given:
        return _listed(space, given).unique()
    restrict = {"r": options["resolutions"]} if "resolutions" in options else None
    with usage():
        return space.sample(options["samples"], options["seed"], restrict=restrict).unique()


def _listed(space: SearchSpace, given: dict[str, Any]) -> Archs:
    for other in ("samples", "resolutions"):
        if other in given:
            raise UsageError(f"--archs lists what is measured: leave out --{other}")
    return space.parse(read_architectures(Path(given["archs"])))


def _start(path: Path, plan: Plan) -> CampaignFile:
    from latcast import measure

    try:
        return measure.start(path, plan)
    except FileExistsError as error:
        raise UsageError(
            f"{path} holds a campaign already: go on with it (--resume), or remove it"
        ) from error


def _resume(path: Path, given: dict[str, Any]) -> CampaignFile:
    """The campaign of an earlier run, if it is the one that is asked for; visits may be more."""
    from latcast.measure import CampaignFile

    try:
        campaign = CampaignFile.open(path)
    except FileNotFoundError as error:
        raise UsageError(f"there is no campaign to resume: {error}") from error
    plan = campaign.plan()
    began = {**plan.get("options", {}), "visits": plan["protocol"]["visits"]}
    for name, value in given.items():
        more = name == "visits" and value > began["visits"]
        if value != began.get(name) and not more:
            campaign.close()
            was = began.get(name, "not given")
            raise UsageError(f"a campaign goes on as it began: --{name} was {was}, got {value}")
    campaign.plan_visits(given.get("visits", began["visits"]))
    return campaign


@contextmanager
def campaign_bar(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr: done, rate, time left, spread of the visits, warnings."""
    import sys

    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("visits {task.completed}/{task.total}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda p: bar.update(task, completed=p.done, total=p.total, description=describe(p))


def describe(progress: Progress) -> str:
    """What the bar says beside the bar."""
    parts = [f"{60 * progress.visits_per_s:.0f}/min", f"spread {progress.spread:.1%}"]
    if progress.redone:
        parts.append(f"{progress.redone} redone")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if (progress.other_cpus or 0) > 0.25:
        parts.append(f"LOADED: {progress.other_cpus:.1f} CPUs busy with other work")
    return ", ".join(parts)
