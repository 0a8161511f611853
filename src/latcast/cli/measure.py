"""``latcast measure``: time architectures, or networks of any kind, on this machine."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from latcast.report.markup import counted

from ._console import FAILED, OUTPUT, REQUIRED, Console, UsageError, command, option, usage
from ._measuring import (
    describe,
    host_notes,
    plan_of,
    reference_of,
    resume_campaign,
    run_campaign,
    start_campaign,
)
from ._options import (
    INPUT,
    MEASURING,
    TARGET,
    FileInputs,
    HostName,
    HostText,
    PhoneOptions,
    Resume,
    check_suffix,
    find_host,
    parse_duration,
    parse_integers,
)

if TYPE_CHECKING:
    from latcast.measure import Boards, CampaignFile, FleetRecord, Host, Plan, Progress


# Hosts of a target whose runs the progress tells apart.
_MAX_HOSTS = 4


@dataclass(frozen=True, kw_only=True)
class What:
    """Options of the networks to measure."""

    panel: ClassVar[str] = INPUT

    space: str | None = option("Search space; ofa-mobilenet-v3 by default.")
    samples: int | None = option("Random architectures; 300 by default.", min=1)
    resolutions: str | None = option("Sample at these only, such as 160,192,224.")
    archs: Path | None = option("Measure these (JSON, as `latcast suggest` prints them).")
    population: int | None = option("Measure so many networks of all families.", min=1)
    family: list[str] | None = option("Of these families only; repeat for several.")
    models: list[Path] | None = option("Measure this .onnx file, or a folder's; repeat.")
    seed: int | None = option("Seed of everything chance decides.", min=0)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Options of the target that latencies belong to."""

    panel: ClassVar[str] = TARGET

    runtime: str | None = option("onnxruntime (default), openvino, pytorch, litert, mnn, …")
    threads: int | None = option("CPU threads; 1 by default.", min=0)
    batch: int | None = option("Samples a forward pass; 1 by default.", min=1)
    precision: str | None = option("fp32 (default), int8, bf16, fp16; fp32,int8 in turns.")
    name: HostName = None


@dataclass(frozen=True, kw_only=True)
class How:
    """How to measure."""

    panel: ClassVar[str] = MEASURING

    host: HostText = None
    hosts: Path | None = option("Share them among these hosts of targets (.toml).", metavar="FLEET")
    ray: str | None = option(
        "Share them among the machines of a Ray cluster that measure.", metavar="[RESOURCE@]ADDRESS"
    )
    runs: int | None = option("Runs of every network, in as many processes.", min=2)
    quantity: list[str] | None = option(
        "Measure beside the latency: peak_memory_mb, energy_mj; repeatable."
    )
    time_limit: str | None = option("Measure as many as fit, such as 20m or 90s.")
    sustain: str | None = option("Run each back to back for so long in the end, such as 30m.")
    correct_to: Path | None = option("Correct to the machine's state in this earlier dataset.")
    resume: Resume = False


@command
def measure(
    console: Console,
    *,
    out: Path = option("Dataset to write (.parquet).", REQUIRED, panel=OUTPUT),
    what: What,
    inputs: FileInputs,
    target: Target,
    how: How,
    phone: PhoneOptions,
) -> None:
    """Time networks on this machine or another (--host), and write a dataset.

    They are architectures of a space, or (--population, --models) networks of any kind.

    The raw record is kept beside the dataset, in a file that ends in .campaign; --resume goes
    on with it after an interruption of any kind.

    Example: latcast measure --samples 300 --runtime onnxruntime --out cpu.parquet
    """
    from latcast.measure import CampaignsRecord, conclude, quantity_datasets

    check_suffix(out, "--out", ".parquet")
    seconds = parse_duration(how.time_limit)
    given = _given(what, inputs, target, how)
    if how.hosts is not None or how.ray is not None or (how.resume and _begun(out)):
        if (how.hosts and how.ray) or how.host is not None or phone != PhoneOptions():
            raise UsageError(
                "--hosts or --ray names the hosts: leave out --host and what is of phones"
            )
        if how.resume and how.ray is not None:
            raise UsageError("--resume goes on where the campaign began: leave out --ray")
        _measure_fleet(console, out, given, how, seconds)
        return
    if how.host is not None or phone != PhoneOptions():
        given["host"] = find_host(how.host, phone).text or "here"
    targets = _targets(out, given, is_resumed=how.resume)
    if how.correct_to is not None and len(targets) > 1:
        raise UsageError("--correct-to is a dataset of one target: give one --precision")
    with ExitStack() as stack:
        campaigns, boards, like_ms = _begin(targets, how, stack)
        there = "".join(f" at {board.text}" for board in boards if board.text)
        for campaign in map(stack.enter_context, campaigns):
            target_name = campaign.plan()["target"]
            console.note(f"measuring on {target_name}{there}; raw record: {campaign.path}")
        run_campaign(console, *campaigns, on=boards, time_limit_s=seconds)
        found = [
            conclude(campaign, str(path), like_ms=like_ms)
            for campaign, path in zip(campaigns, targets, strict=True)
        ]
        written = dict(zip(targets, (dataset for dataset, _ in found), strict=True))
        for campaign, (dataset, record) in zip(campaigns, found, strict=True):
            for name, other in quantity_datasets(campaign, dataset).items():
                written[Path(record.datasets[name])] = other
    for path, dataset in written.items():
        dataset.save(path)
    console.show(found[0][1] if len(found) == 1 else CampaignsRecord.of(found))
    console.note(f"wrote {', '.join(map(str, written))}")


def _targets(out: Path, given: dict[str, Any], *, is_resumed: bool) -> dict[Path, dict[str, Any]]:
    """Options of each target by the dataset that is written of it: one for each precision.

    Raises:
        UsageError: a precision is named twice.
    """
    from latcast.devices import PRECISIONS

    asked = given.get("precision", "").split(",")
    paths = {p: out.with_suffix(f".{p}.parquet") for p in PRECISIONS}
    if is_resumed and asked == [""] and not out.with_suffix(".campaign").exists():
        asked = [p for p, path in paths.items() if path.with_suffix(".campaign").exists()]
    if len(asked) < 2 and "," not in given.get("precision", ""):
        return {out: given}
    if len({*asked}) < len(asked) or "" in asked:
        raise UsageError(f"--precision must name each precision once; got {given['precision']}")
    return {out.with_suffix(f".{p}.parquet"): {**given, "precision": p} for p in asked}


def _begin(
    targets: Mapping[Path, dict[str, Any]], how: How, stack: ExitStack
) -> tuple[Sequence[CampaignFile], Sequence[Host], float | None]:
    """The campaigns of all targets, or none of them; hosts, and the state corrected to, ms."""
    # All are looked at before a file is written.
    text = next(iter(targets.values())).get("host")
    boards = [] if how.resume else [stack.enter_context(find_host(text))]
    plans = [plan_of(given, board) for board in boards for given in targets.values()]
    like_ms = reference_of(how.correct_to, str(plans[0].target)) if plans else None
    begun: list[CampaignFile] = []
    try:
        for n, (path, given) in enumerate(targets.items()):
            file = path.with_suffix(".campaign")
            begun.append(start_campaign(file, plans[n]) if plans else resume_campaign(file, given))
        if how.resume:
            plan = begun[0].plan()
            like_ms = reference_of(how.correct_to, plan["target"])
            texts = plan.get("hosts") or [plan.get("host")]
            boards = [stack.enter_context(find_host(x)) for x in texts]
    except BaseException:
        for campaign in begun:
            if not how.resume:
                campaign.discard_if_unused()
            campaign.close()
        raise
    return begun, boards, like_ms


def _given(what: What, inputs: FileInputs, target: Target, how: How) -> dict[str, Any]:
    """Options that are not left to their defaults, as campaign files keep them.

    Raises:
        UsageError: one is of forecasts alone.
    """
    if inputs.trip_count is not None:
        raise UsageError("--trip-count is of forecasts: a measured network's loops run as they do")
    options = {
        "space": what.space,
        "samples": what.samples,
        "archs": None if what.archs is None else str(what.archs),
        "population": what.population,
        "family": what.family or None,
        "models": [str(path) for path in what.models or ()] or None,
        "shape": inputs.shape or None,
        "batch_axis": inputs.batch_axis or None,
        "runtime": target.runtime,
        "threads": target.threads,
        "batch": target.batch,
        "precision": target.precision,
        "device": target.name,
        "runs": how.runs,
        "quantity": _quantities(how.quantity),
        "sustain": parse_duration(how.sustain, "--sustain"),
        "resolutions": parse_integers(what.resolutions),
        "seed": what.seed,
    }
    return {name: value for name, value in options.items() if value is not None}


def _quantities(given: list[str] | None) -> list[str] | None:
    """Return the quantities to measure beside the latency; None if there are none.

    Raises:
        UsageError: it cannot be measured.
    """
    from latcast.measure import checked_quantities

    with usage():
        return list(checked_quantities(",".join(given or ()).split(",") if given else ())) or None


# --- fleets -------------------------------------------------------------------------------------


def _measure_fleet(
    console: Console, out: Path, given: Mapping[str, Any], how: How, seconds: float | None
) -> None:
    """Measure on all hosts of a fleet, and write a dataset for each target.

    Raises:
        UsageError: the file is none of a fleet, or options do not go together.
        HostError: no host of a target can measure.
    """
    from latcast import measure

    if "," in given.get("precision", ""):
        raise UsageError("--hosts measures one precision of a target: give each a [[target]]")
    paths = [_campaign(console, *x, given, how) for x in _shared(out, how)] or _gone_on(out, given)
    if how.correct_to is not None and len(paths) > 1:
        raise UsageError(f"--correct-to is for one target; the fleet has {len(paths)}")
    records = ", ".join(map(str, paths))
    console.note(f"measuring {counted(len(paths), 'target')}; raw records: {records}")
    last: dict[Path, Progress] = {}
    notes = {path: host_notes(console) for path in paths}
    with console.progress("starting", unit="runs") as tell:

        def on_progress(path: Path, progress: Progress) -> None:
            last[path] = progress
            notes[path](progress)
            every = list(last.values())
            text = "; ".join(map(_described, every))
            tell(sum(p.done for p in every), sum(p.total for p in every), text)

        try:
            failed = measure.run_side_by_side(paths, time_budget_s=seconds, on_progress=on_progress)
        except KeyboardInterrupt:
            console.note("what was measured is kept: go on with --resume")
            raise
    found = _concluded(paths, how, failed, last)
    console.show(found)
    for campaign in found.campaigns:
        console.note(f"wrote {campaign.dataset}")
    if found.failed:
        raise typer.Exit(FAILED)


def _described(progress: Progress) -> str:
    hosts = [f"{text} {runs}" for text, runs in progress.by_host.items()]
    each = f"{len(hosts)} hosts" if len(hosts) > _MAX_HOSTS else ", ".join(hosts)
    gone = f", left out: {', '.join(progress.left_out)}" if progress.left_out else ""
    return f"{describe(progress)}{': ' * bool(hosts)}{each}{gone}"


def _shared(out: Path, how: How) -> Iterator[tuple[Path, Boards]]:
    """Campaign file of each target of the fleet or cluster that is named, with its hosts."""
    from latcast.measure import Boards, read_fleet

    if how.ray is not None:
        from latcast.measure.hosts.ray import machines  # needs Ray

        yield out.with_suffix(".campaign"), Boards(machines(how.ray))
    if how.hosts is None:
        return
    with usage():
        fleet = read_fleet(how.hosts)
    for boards in fleet:
        stem = f"{out.stem}-{boards.label or 'here'}" if len(fleet) > 1 else out.stem
        yield out.with_name(f"{stem}.campaign"), boards


def _begun(out: Path) -> list[Path]:
    """Files of the fleet's campaigns that were begun for a dataset."""
    from latcast.measure import CampaignFile

    paths = sorted(out.parent.glob(f"{glob.escape(out.stem)}-*.campaign"))
    if (single := out.with_suffix(".campaign")).exists():
        paths = [single]
    found = []
    for path in paths:
        with CampaignFile.open(path) as campaign:
            if campaign.plan().get("hosts"):
                found.append(path)
    return found


def _gone_on(out: Path, given: Mapping[str, Any]) -> list[Path]:
    for path in (paths := _begun(out)):
        resume_campaign(path, given).close()
    return paths


def _campaign(
    console: Console, path: Path, boards: Boards, given: Mapping[str, Any], how: How
) -> Path:
    """The file of a target's campaign, which is begun, or gone on with."""
    settings = dict(boards.settings)
    if (name := settings.pop("name", None)) is not None:
        settings["device"] = name
    own = {**given, **settings}
    if how.resume and path.exists():
        resume_campaign(path, {**own, "hosts": list(boards.hosts)}).close()
    else:
        start_campaign(path, _plan_of_boards(console, boards, own)).close()
    return path


def _plan_of_boards(console: Console, boards: Boards, own: Mapping[str, Any]) -> Plan:
    """The plan of a target: the first host that answers tells what all of its kind are."""
    from latcast.measure import HostError

    for left in reversed(range(len(boards.hosts))):
        text = boards.hosts[-1 - left]
        try:
            with find_host(text) as board:
                return replace(plan_of(own, board), host="", hosts=boards.hosts)
        except HostError as error:
            if not left:
                raise
            console.note(f"{text} does not answer: {error}")
    raise AssertionError("a target has a host")


def _concluded(
    paths: list[Path], how: How, failed: Mapping[Path, Exception], last: Mapping[Path, Progress]
) -> FleetRecord:
    """The record of what was found; datasets are written."""
    from latcast.measure import CampaignFile, FleetRecord, conclude, quantity_datasets

    reasons = {str(path): str(error) for path, error in failed.items()}
    records = []
    for path in paths:
        out = path.with_suffix(".parquet")
        try:
            with CampaignFile.open(path) as campaign:
                like_ms = reference_of(how.correct_to, campaign.plan()["target"])
                dataset, record = conclude(campaign, str(out), like_ms=like_ms)
                others = quantity_datasets(campaign, dataset)
        except ValueError as error:
            reasons.setdefault(str(path), str(error))
            continue
        dataset.save(out)
        for name, other in others.items():
            other.save(Path(record.datasets[name]))
        records.append(record)
    told = last.values()
    return FleetRecord(
        campaigns=tuple(records),
        failed=reasons,
        runs_by_host={text: n for p in told for text, n in p.by_host.items()},
        left_out={text: reason for p in told for text, reason in p.left_out.items()},
    )
