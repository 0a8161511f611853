"""``latcast measure``: time architectures, or networks of any kind, on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ._console import OUTPUT, REQUIRED, Console, UsageError, command, option, usage
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
    check_usable,
    find_host,
    find_space,
    parse_duration,
    parse_integers,
    read_archs,
    read_options,
)

if TYPE_CHECKING:
    from latcast.families import Variant
    from latcast.graph.read import ReadOptions
    from latcast.measure import CampaignFile, Host, OnnxFile, Plan, Progress
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
# Options that choose architectures of a space.
_OF_SPACES = ("space", "samples", "archs", "resolutions")

# Key of a campaign's options -> the option's name, where it is another; files keep the key.
_SPELLED = {"device": "name"}


@dataclass(frozen=True, kw_only=True)
class What:
    """Which networks to measure."""

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
    """What latencies belong to."""

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
    runs: int | None = option("Runs of every network, in as many processes.", min=2)
    quantity: list[str] | None = option(
        "Measure this beside the latency: peak_memory_mb; repeatable, or with commas."
    )
    time_limit: str | None = option("Measure as many as fit, such as 20m or 90s.")
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
    plans = [_plan(given, board) for board in boards for given in targets.values()]
    like_ms = _reference_of(how.correct_to, str(plans[0].target)) if plans else None
    begun: list[CampaignFile] = []
    try:
        for n, (path, given) in enumerate(targets.items()):
            file = path.with_suffix(".campaign")
            begun.append(_start(file, plans[n]) if plans else _resume(file, given))
        if how.resume:
            plan = begun[0].plan()
            like_ms = _reference_of(how.correct_to, plan["target"])
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
    """Options that are not left to their defaults, as campaign files keep them."""
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
        "resolutions": parse_integers(what.resolutions),
        "seed": what.seed,
    }
    return {name: value for name, value in options.items() if value is not None}


def _quantities(given: list[str] | None) -> list[str] | None:
    """What is to be measured beside the latency; None where nothing is.

    Raises:
        UsageError: it cannot be measured.
    """
    from latcast.measure import checked_quantities

    with usage():
        return list(checked_quantities(",".join(given or ()).split(",") if given else ())) or None


def run_campaign(
    console: Console,
    *campaigns: CampaignFile,
    on: Host | Sequence[Host],
    time_limit_s: float | None = None,
) -> None:
    """Make the runs of campaigns behind a bar.

    Raises:
        UsageError: another campaign is measuring on the host.
        ValueError: the runtime's processes do not start.
    """
    from latcast import measure

    try:
        with campaign_bar(console) as tell:
            if len(campaigns) == 1:
                measure.run(*campaigns, on=on, time_budget_s=time_limit_s, on_progress=tell)
            else:
                measure.run_in_turns(campaigns, on=on, time_budget_s=time_limit_s, on_progress=tell)
    except measure.CampaignRunningError as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        kept = sum(campaign.counts()[0] for campaign in campaigns)
        console.note(f"{kept} runs are kept: go on with --resume")
        raise
    except measure.WorkerDiedError as error:
        raise ValueError(f"measuring cannot start: {error}") from error


def _reference_of(path: Path | None, target: str) -> float | None:
    """The reference network's latency in ms in an earlier dataset of the same target.

    Raises:
        ValueError: the dataset does not state it, or is of another target.
    """
    from latcast.data import read
    from latcast.measure import REFERENCE_LEVEL

    if path is None:
        return None
    check_usable(path, stdin=True)
    data = read(path)
    if str(data.target) != target:
        raise ValueError(
            f"--correct-to must be a dataset of the same target, {target}; {path} is of "
            f"{data.target}"
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


def _plan(given: Mapping[str, Any], board: Host) -> Plan:
    from latcast.devices import Target
    from latcast.measure import Plan, Protocol

    of_networks = _asks_for_networks(given)
    defaults = {k: v for k, v in _DEFAULTS.items() if not of_networks or k not in _OF_SPACES}
    options = {"device": "", "runs": Protocol().runs, **defaults, **given}
    options.pop("host", None)
    options["device"] = options["device"] or board.facts()["name"]
    archs = None if of_networks else _archs(options, given)
    settings = {name: options[name] for name in ("threads", "batch", "precision")}
    with usage():
        target = Target(options["device"], options["runtime"], **settings)
        board.check(target)
    networks = _networks(given, target.batch, options["seed"]) if archs is None else archs
    protocol = Protocol(**board.protocol, runs=options["runs"])
    return Plan(
        target, networks, protocol, options["seed"], options=options, host=board.text,
        quantities=options.get("quantity", ()),
    )  # fmt: skip


def _archs(options: Mapping[str, Any], given: Mapping[str, Any]) -> Archs:
    """The architectures that the user lists, or a sample."""
    space = find_space(options["space"])
    if "archs" in given:
        return _listed(space, given).unique()
    restrict = {"r": options["resolutions"]} if "resolutions" in options else None
    with usage():
        return space.sample(options["samples"], options["seed"], restrict=restrict).unique()


def _listed(space: SearchSpace, given: Mapping[str, Any]) -> Archs:
    for other in ("samples", "resolutions"):
        if other in given:
            raise UsageError(f"--archs lists what is measured: leave out --{other}")
    return read_archs(Path(given["archs"]), space)


def _asks_for_networks(given: Mapping[str, Any]) -> bool:
    """Whether the options ask for networks of any kind rather than for a space's.

    Raises:
        UsageError: they ask for both, or restrict a population that they do not ask for.
    """
    for name in ("shape", "batch_axis"):
        if name in given and "models" not in given:
            raise UsageError(f"--{name.replace('_', '-')} is for --models; leave it out")
    if "family" in given and "population" not in given:
        raise UsageError("--family restricts a population: say how many with --population")
    asked = [name for name in ("population", "models") if name in given]
    for name in _OF_SPACES if asked else ():
        if name in given:
            raise UsageError(f"--{asked[0]} says what is measured: leave out --{name}")
    return bool(asked)


def _networks(given: Mapping[str, Any], batch: int, seed: int) -> tuple[Variant | OnnxFile, ...]:
    """Variants of the population first, then files.

    Raises:
        UsageError: a family is unknown or too small, or there is no such file.
        ValueError: a file cannot be read.
    """
    from latcast.families import population
    from latcast.graph.read import is_named
    from latcast.graph.read.names import export_lines

    with usage():
        variants = population(given.get("population", 0), seed, given.get("family"))
    asked = FileInputs(shape=given.get("shape"), batch_axis=given.get("batch_axis"))
    for name in filter(is_named, given.get("models", ())):
        raise UsageError(
            f"--models must be files, which a runtime runs; got {name}, which has no weights: "
            f"export it with {export_lines(str(name))}"
        )
    paths = [Path(path) for path in given.get("models", ())]
    return (*variants, *_files(paths, batch, read_options(asked)))


def _files(paths: list[Path], batch: int, options: ReadOptions) -> list[OnnxFile]:
    """ONNX files, a folder standing for those in it; two of one name are called by their paths."""
    from latcast.graph.read import read_as_run
    from latcast.measure import OnnxFile

    files = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [path])]
    for file in files:
        check_usable(file)
        read_as_run(file, options, batch)  # what has no graph gets into no dataset
    files = list(dict.fromkeys(file.resolve() for file in files))
    stems = Counter(file.stem for file in files)
    return [
        OnnxFile.of(file, None if stems[file.stem] == 1 else str(file), options) for file in files
    ]


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.onnx"))
    if not found:
        raise UsageError(f"{folder} must hold .onnx files; it holds none")
    return found


def _start(path: Path, plan: Plan) -> CampaignFile:
    from latcast import measure

    try:
        return measure.open_or_resume(path, plan)
    except FileExistsError as error:
        raise UsageError(str(error)) from error


def _resume(path: Path, given: dict[str, Any]) -> CampaignFile:
    """The campaign of an earlier run, if it is the one that is asked for; runs may be more."""
    from latcast import measure

    try:
        return measure.resume_as(path, given)
    except FileNotFoundError as error:
        raise UsageError(f"there is no campaign to resume: {error}") from error
    except measure.AnotherCampaignError as error:
        option = _SPELLED.get(str(error.setting), error.setting)
        raise UsageError(
            f"a campaign goes on as it began: --{option} was {error.began}, got {error.asked}"
        ) from error


@contextmanager
def campaign_bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr: done, time left, rate, spread of the runs, warnings."""
    with console.progress("starting", unit="runs") as tell:
        yield lambda p: tell(p.done, p.total, describe(p))


def describe(progress: Progress) -> str:
    """What the bar says beside the bar."""
    parts = [f"{60 * progress.runs_per_s:.0f}/min", f"spread {progress.spread:.1%}"]
    if progress.redone:
        parts.append(f"{progress.redone} redone")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if (progress.other_cpus or 0) > 0.25:
        parts.append(f"LOADED: {progress.other_cpus:.1f} CPUs busy with other work")
    return ", ".join(parts)
