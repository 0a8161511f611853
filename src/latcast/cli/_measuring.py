"""Common parts of measuring commands: a campaign from options, and its runs behind a bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._names import short_list
from latcast.report.markup import counted

from ._console import Console, UsageError, usage
from ._options import FileInputs, check_usable, find_space, read_archs, read_options

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
        what = f"{counted(kept, 'run')} {'is' if kept == 1 else 'are'}"
        console.note(f"{what} kept: go on with --resume")
        raise
    except measure.WorkerDiedError as error:
        for campaign in campaigns:
            campaign.discard_if_unused()  # it would be in the way of one with other options
        raise ValueError(f"measuring cannot start: {error}") from error


def reference_of(path: Path | None, target: str) -> float | None:
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


def plan_of(given: Mapping[str, Any], board: Host) -> Plan:
    from latcast.devices import Target
    from latcast.measure import Plan, Protocol
    from latcast.measure.runtimes import registered_name

    of_networks = _asks_for_networks(given)
    defaults = {k: v for k, v in _DEFAULTS.items() if not of_networks or k not in _OF_SPACES}
    options = {"device": "", "runs": Protocol().runs, **defaults, **given}
    options.pop("host", None)
    options["runtime"] = registered_name(options["runtime"])
    options["device"] = options["device"] or board.facts()["name"]
    archs = None if of_networks else _archs(options, given)
    networks: Archs | tuple[Variant | OnnxFile, ...]
    if archs is None:
        networks, in_int8 = _networks(given, options["batch"], options["seed"])
        options["precision"] = _precision(given.get("precision"), len(networks), in_int8)
    else:
        networks = archs
    settings = {name: options[name] for name in ("threads", "batch", "precision")}
    with usage():
        target = Target(options["device"], options["runtime"], **settings)
        board.check(target)
    board.check_quantities(options.get("quantity", ()), target.runtime)
    protocol = Protocol(**board.protocol, runs=options["runs"])
    with usage():
        return Plan(
            target, networks, protocol, options["seed"], options=options, host=board.text,
            quantities=options.get("quantity", ()), sustain_s=options.get("sustain", 0.0),
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


def _precision(asked: str | None, number: int, in_int8: Sequence[str]) -> str:
    """The target's precision: int8, where all networks are files in it and nobody says otherwise.

    Args:
        asked: by the user, if anything.
        number: of networks.
        in_int8: names of the files whose arithmetic is in integers of 8 bits.

    Raises:
        UsageError: some are and others are not, or another precision is asked for.
    """
    if not in_int8 or asked == "int8":
        return str(_DEFAULTS["precision"]) if asked is None else asked
    names = short_list(in_int8)
    if asked is not None:
        raise UsageError(
            f"--precision must be int8 for {names}, whose integers a runtime runs as they are; got "
            f"{asked}"
        )
    if len(in_int8) < number:
        raise UsageError(
            f"networks must be of one precision; {names} {'is' if len(in_int8) == 1 else 'are'} in "
            "int8 and others are in floats: measure them apart, or all in int8 (--precision int8), "
            "for which those in floats are quantized"
        )
    return "int8"


def _networks(
    given: Mapping[str, Any], batch: int, seed: int
) -> tuple[tuple[Variant | OnnxFile, ...], list[str]]:
    """Variants of the population first, then files; and the names of those in int8.

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
    files, in_int8 = _files(paths, batch, read_options(asked))
    return (*variants, *files), in_int8


def _files(paths: list[Path], batch: int, options: ReadOptions) -> tuple[list[OnnxFile], list[str]]:
    """ONNX files, a folder standing for those in it; and the names of those in int8.

    Two of one name are called by their paths.
    """
    from latcast.graph.read import read_as_run
    from latcast.measure import OnnxFile

    files = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [path])]
    precisions = {}
    for file in files:
        check_usable(file)
        # What has no graph gets into no dataset.
        precisions[file.resolve()] = read_as_run(file, options, batch).precision
    files = list(precisions)
    stems = Counter(file.stem for file in files)
    found = [
        OnnxFile.of(file, None if stems[file.stem] == 1 else str(file), options) for file in files
    ]
    return found, [file.name for file in found if precisions[file.path] == "int8"]


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.onnx"))
    if not found:
        raise UsageError(f"{folder} must hold .onnx files; it holds none")
    return found


def start_campaign(path: Path, plan: Plan) -> CampaignFile:
    from latcast import measure

    try:
        return measure.open_or_resume(path, plan)
    except FileExistsError as error:
        raise UsageError(str(error)) from error


def resume_campaign(path: Path, given: Mapping[str, Any]) -> CampaignFile:
    """The campaign of an earlier run, if it is the one that is asked for; runs may be more."""
    from latcast import measure
    from latcast.measure.runtimes import registered_name

    if "runtime" in given:
        given = {**given, "runtime": registered_name(given["runtime"])}
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
    note = host_notes(console)
    with console.progress("starting", unit="runs") as tell:

        def on_progress(progress: Progress) -> None:
            note(progress)
            tell(progress.done, progress.total, describe(progress))

        yield on_progress


def host_notes(console: Console) -> Callable[[Progress], None]:
    """Tells of hosts that are lost, come back and are left out, each time once."""
    lost: dict[str, str] = {}
    gone: set[str] = set()

    def note(progress: Progress) -> None:
        for text, reason in progress.left_out.items():
            if text not in gone:
                console.note(f"{text} is left out: {reason}")
            gone.add(text)
            lost.pop(text, None)
        for text, reason in progress.lost.items():
            if lost.get(text) != reason:
                console.note(f"waiting for {text}: {reason}")
        for text in lost.keys() - progress.lost.keys():
            console.note(f"{text} is back")
        lost.clear()
        lost.update(progress.lost)

    return note


def describe(progress: Progress) -> str:
    """Return the text beside the progress bar."""
    parts = []
    if progress.runs_per_s:
        parts = [f"{60 * progress.runs_per_s:.0f}/min", f"spread {100 * progress.spread:.1f} %"]
    if progress.redone:
        parts.append(f"{progress.redone} redone")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if (progress.other_cpus or 0) > 0.25:
        parts.append(f"LOADED: {progress.other_cpus:.1f} CPUs busy with other work")
    if progress.lost:
        parts.append(f"waiting for {', '.join(progress.lost)}")
    return ", ".join(parts) or "starting"
