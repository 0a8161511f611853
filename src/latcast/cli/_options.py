"""Options that several commands have, each with one name and meaning, and what these name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, ParamSpec, TypeVar

import typer

from ._console import OUTPUT, WRONG_USAGE, Console, UsageError, option, usage

if TYPE_CHECKING:
    from latcast.data import Dataset
    from latcast.graph import Graph
    from latcast.graph.read import ReadOptions
    from latcast.measure import Host
    from latcast.spaces import Archs, SearchSpace

P = ParamSpec("P")
R = TypeVar("R")

# Headings of --help; OUTPUT comes last.
INPUT, TARGET, BUDGETS, SEARCH, MEASURING = "Input", "Target", "Budgets", "Search", "Measuring"

# --- what is read -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DataHints:
    """Options that describe a dataset's file."""

    panel: ClassVar[str] = INPUT

    space: str | None = option("Search space, where the file does not tell.")
    target: str | None = option("DEVICE/RUNTIME/bBATCH, where the file does not tell.")
    input_format: str | None = option("parquet, ofanas, csv or help; detected by default.")
    unit: str | None = option("Of a table's latencies: s, ms, us or ns.", metavar="UNIT")
    column: list[str] | None = option(
        "Name of a column of your CSV file, such as latency_ms=mean_ms; repeatable.",
        metavar="OURS=YOURS",
    )
    quantity: str | None = option(
        "energy, memory, latency or one of yours: of the dataset that a campaign wrote of it, or "
        "the column of a CSV."
    )

    def read(self, path: Path, *, archs: bool = False) -> Dataset:
        """Read a dataset; what the user names wrongly is wrong usage, a bad file is not.

        Args:
            path: of the file.
            archs: whether it must be of a space's architectures, not of networks of any kind.
        """
        from latcast import data, spaces
        from latcast._names import unknown_name
        from latcast.devices import Target

        with usage():
            space = None if self.space is None else spaces.space(self.space)
            target = None if self.target is None else Target.parse(self.target)
            if self.input_format is not None and self.input_format not in data.FORMATS:
                raise UsageError(unknown_name("format", self.input_format, list(data.FORMATS)))
            if self.unit is not None and self.unit not in data.LATENCY_UNITS:
                raise UsageError(unknown_name("unit", self.unit, list(data.LATENCY_UNITS)))
        path = self._own(path)
        check_usable(path, stdin=True)
        asked: dict[str, Any] = {"format": self.input_format, "unit": self.unit}
        asked["columns"] = dict(map(_column, self.column or ()))
        if archs:
            found = data.read_latencies(path, space=space, target=target, **asked)
        else:
            # A dataset of latcast's own tells what it is of; of a table a column is looked for.
            if self.quantity is not None and path.suffix != ".parquet":
                asked["quantity"] = self._name()
            found = data.read(path, space=space, target=target, **asked)
        if self.quantity is not None:
            found.check_quantity(data.quantity(self._name()))
        return found

    def _name(self) -> str:
        """The quantity that is asked for, by the name that files have for it."""
        from latcast.data import quantity, quantity_names

        given = str(self.quantity).replace(" ", "_")
        found = [name for name in quantity_names() if name == given or given in name.split("_")]
        with usage():
            return found[0] if len(found) == 1 else quantity(given).name

    def _own(self, path: Path) -> Path:
        """The dataset of the quantity, which campaigns write beside that of latencies."""
        if self.quantity is None:
            return path
        beside = path.with_suffix(f".{self._name()}{path.suffix}")
        return beside if beside.exists() else path


def _column(text: str) -> tuple[str, str]:
    """Our name and the user's of a column."""
    from latcast.data import quantity_names

    ours, _, yours = text.partition("=")
    if ours not in (*_COLUMNS, *quantity_names()) or not yours:
        raise UsageError(
            f"--column must be OURS=YOURS, ours one of {', '.join(_COLUMNS)} or a quantity such as "
            f"energy_mj; got {text!r}"
        )
    return ours, yours


# Columns of a CSV file that may be called otherwise.
_COLUMNS = (
    "arch", "latency_ms", "latency", "std", "n", "order", "device", "runtime", "batch", "precision",
    "threads",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FileInputs:
    """Options that fix the inputs of a network's file."""

    panel: ClassVar[str] = INPUT

    shape: list[str] | None = option(
        "Shape of an input that the file leaves open, or SYMBOL=128; repeatable.",
        metavar="INPUT=1x3x224x224",
    )
    batch_axis: list[str] | None = option(
        "Which side of all inputs, or of one, is the batch; repeatable.", metavar="[INPUT=]0"
    )
    trip_count: int | None = option("Trips of loops whose count is no constant in the file.", min=0)


def _know_devices(context: typer.Context, files: list[Path] | None) -> list[Path] | None:
    """Let the catalogue hold the devices of ``files`` until the command has ended."""
    if files:
        from latcast.devices import device_files

        for file in files:
            try:
                check_usable(file)
            except UsageError as error:
                # The command's own console is made once its options are read.
                console = Console(json="--json" in (context.obj or ()))
                console.fail(f"--devices (or LATCAST_DEVICES): {error}", WRONG_USAGE)
        context.with_resource(device_files(files))
    return files


# A command that takes this knows the devices of the user's files.
Devices = Annotated[
    list[Path] | None,
    option(
        "Devices of your own beside the catalogue's (.toml); can be given several times.",
        None,
        "--devices",
        panel=INPUT,
        metavar="FILE",
        envvar="LATCAST_DEVICES",
        callback=_know_devices,
    ),
]

# A command that takes this can ask another machine.
Server = Annotated[
    str | None,
    option(
        "Ask the service there (latcast serve), not this machine; its key is LATCAST_KEY.",
        None,
        "--server",
        panel=INPUT,
        metavar="URL",
        envvar="LATCAST_SERVER",
    ),
]


def at(server: str | None, call: Callable[P, R], devices: object = None) -> Callable[P, R]:
    """A call of the library, or the same call of a service, which returns the same record.

    Args:
        server: where the service is; None for this machine.
        call: a function that :class:`latcast.Client` has a method for, of the same name.
        devices: files of further devices, which a service reads when it starts.

    Raises:
        UsageError: there are such files, or the server is no URL.
    """
    if server is None:
        return call
    if devices:
        raise UsageError("--devices (or LATCAST_DEVICES) is for latcast serve, not for --server")
    from latcast.serve.client import Client

    found: Callable[P, R] = getattr(Client(server), call.__name__)
    return found


# --- what is forecast for, or measured --------------------------------------------------------


def split_names(given: list[str] | None) -> list[str] | None:
    """Names that were given one by one, or between commas; a file's name may have commas."""
    if given is None:
        return None
    return [
        part.strip()
        for text in given
        for part in ([text] if Path(text).exists() else text.split(","))
        if part.strip() or not text
    ]


DeviceNames = Annotated[
    list[str],
    option(
        "A shipped model, a device of the catalogue, or a .latcast file; several between commas.",
        None,
        "--device",
        panel=TARGET,
        callback=split_names,
    ),
]
BaseModelName = Annotated[
    str | None,
    option("Base model for devices by their specification alone.", None, "--model", panel=TARGET),
]
SimilarTo = Annotated[
    str | None,
    option(
        "Device of the catalogue that one which is nowhere is like.",
        None,
        "--similar-to",
        panel=TARGET,
        metavar="DEVICE",
    ),
]
HostName = Annotated[
    str | None,
    option(
        "What the measured machine is called; after its CPU by default.",
        None,
        "--name",
        panel=MEASURING,
    ),
]
HostText = Annotated[
    str | None,
    option(
        "Machine to measure on: user@board, as ssh takes it, or adb:SERIAL; here by default.",
        None,
        "--host",
        panel=MEASURING,
        metavar="HOST",
    ),
]
Resume = Annotated[bool, option("Go on after an interruption.", None, "--resume", panel=MEASURING)]


@dataclass(frozen=True, kw_only=True)
class PhoneOptions:
    """Options of measuring on a phone (--host adb:SERIAL)."""

    panel: ClassVar[str] = MEASURING

    tool: Path | None = option("Of a phone: its runtime's program, such as benchmark_model.")
    cores: str | None = option("Of a phone: big (default), little or all.")


def find_host(text: str | None, phone: PhoneOptions | None = None) -> Host:
    """The host that the user names, to be closed; nothing is asked of it yet."""
    from latcast.measure.hosts import host

    with usage():
        if phone is not None and (phone.tool is not None or phone.cores is not None):
            from latcast.measure.hosts.adb import phone_text  # needs adbutils

            text = phone_text(text or "", phone.tool, phone.cores)
        return host(text or "")


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """Options that choose one target of a device."""

    panel: ClassVar[str] = TARGET

    runtime: str | None = option("Runtime of the target, exactly.")
    precision: str | None = option("Precision of the target, exactly, such as int8.")
    batch: int | None = option("Samples a forward pass of the target, exactly.", min=1)
    threads: int | None = option("Threads of the CPU of the target, exactly.", min=1)

    def given(self) -> dict[str, Any]:
        """Return the options as keyword arguments of the library's functions."""
        return {f.name: getattr(self, f.name) for f in fields(TargetOptions)}


# --- what is written, and chance --------------------------------------------------------------

Seed = Annotated[int, option("Seed of everything chance decides.", None, "--seed", min=0)]
TestShare = Annotated[
    float, option("Share of the architectures kept for the scores.", None, "--test")
]
ModelOut = Annotated[Path, option("Model file to write (.latcast).", None, "--out", panel=OUTPUT)]

# --- values with units, as users type them ----------------------------------------------------

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
# The end of a text -> ms; "ms" ends in "s", too.
_MILLISECONDS = {"ms": 1.0, "us": 1e-3, "µs": 1e-3, "s": 1e3}
_NUMBER = r"\d{1,12}(?:\.\d{1,9})?"


def parse_duration(text: str | None, option: str = "--time-limit") -> float | None:
    """Seconds of a duration such as ``90s``, ``20m`` or ``1.5h``.

    Raises:
        UsageError: the text is not of that form, or not positive.
    """
    if text is None:
        return None
    match = re.fullmatch(rf"({_NUMBER})\s*([smh]?)", text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"{option} must be like 90s, 20m or 1.5h; got {text!r}")
    return seconds


def parse_milliseconds(text: str) -> float:
    """Milliseconds of a budget, --max-latency, such as ``20``, ``50ms`` or ``0.05s``.

    Raises:
        UsageError: the text is not of that form, not positive, or has several budgets.
    """
    number, factor = text.strip(), 1.0
    for unit, its in _MILLISECONDS.items():
        if number.lower().endswith(unit):
            number, factor = number[: -len(unit)], its
            break
    try:
        value = factor * float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        one = "; it takes one budget" if "," in text else ""
        raise UsageError(
            f"--max-latency must be a positive number of ms, such as 20, 20ms or 0.02s{one}; got "
            f"{text!r}"
        )
    return value


def parse_count(text: str | None, option: str, unit: str = "") -> float | None:
    """A number such as ``300M`` or, of the unit ``B``, ``4MB``; prefixes are powers of 1,000.

    Raises:
        UsageError: the text is not of that form, or not positive.
    """
    if text is None:
        return None
    match = re.fullmatch(rf"({_NUMBER})\s*([kmg]?){unit and f'(?:{unit})?'}", text.strip(), re.I)
    value = float(match[1]) * _PREFIXES[match[2].lower()] if match else 0.0
    if value <= 0:
        raise UsageError(f"{option} must be like 300M or 5.5M{unit}; got {text!r}")
    return value


def parse_integers(text: str | None) -> list[int] | None:
    """Integers between commas.

    Raises:
        UsageError: the text is not of that form.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise UsageError(f"resolutions must be like 160,192,224; got {text!r}")
    return [int(number) for number in text.split(",")]


def check_share(value: float, option: str) -> None:
    """Make sure that a share or probability lies between 0 and 1.

    Raises:
        UsageError: it does not.
    """
    if not 0 < value < 1:
        raise UsageError(f"{option} must be between 0 and 1, such as 0.9; got {value}")


def check_usable(path: Path, *, stdin: bool = False) -> None:
    """Make sure that the user has named a file.

    Args:
        path: what is named.
        stdin: whether it may be ``-``, standard input.

    Raises:
        UsageError: there is none, or it is a folder.
    """
    from latcast._files import STDIN, check_file

    if stdin and str(path) == STDIN:
        return
    try:
        check_file(path)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error


def check_suffix(path: Path | None, option: str, *suffixes: str) -> None:
    """Make sure that a file to write can be read as what it is later.

    Raises:
        UsageError: it ends in none of ``suffixes``.
    """
    if path is not None and path.suffix not in suffixes:
        raise UsageError(f"{option} must end in {' or '.join(suffixes)}; got {path}")


# --- what is named: datasets, architectures, networks, models -----------------------------------


def read_architectures(path: Path) -> list[Any]:
    """Architectures in the field's own form from a JSON file: one, or a list of them.

    Raises:
        UsageError: there is no such file.
        ValueError: it holds no JSON, or no architecture.
    """
    from latcast.spaces import reading

    check_usable(path, stdin=True)
    return list(reading.read_architectures(path))


def read_archs(path: Path, space: SearchSpace) -> Archs:
    """:func:`read_architectures`, as those of a space.

    Raises:
        UsageError, ValueError: as of the other, or an architecture is not of the space.
    """
    from latcast.spaces import reading

    check_usable(path, stdin=True)
    return reading.read_archs(path, space)


@contextmanager
def resolving() -> Iterator[None]:
    """A name inside that nothing answers to, or of a file that is not there, is wrong usage."""
    from latcast.models.resolve import UnresolvedError

    try:
        yield
    except (UnresolvedError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error


def find_space(name: str) -> SearchSpace:
    """A search space by name."""
    from latcast import spaces

    with usage():
        return spaces.space(name)


def is_graph_file(network: Path) -> bool:
    """Whether any network is named, rather than the file of an architecture of a space."""
    from latcast.graph.read import is_network

    return is_network(network)


def check_network(network: Path, also: str = "") -> None:
    """Make sure that a network is named; one that is a file must be there.

    Args:
        network: a file, ``-`` for standard input, or a name such as ``timm:resnet18``.
        also: suffix of another file that may be named.

    Raises:
        UsageError: it is none.
    """
    from latcast._files import STDIN
    from latcast.graph.read import SUFFIXES

    may_be = also and (network.suffix.lower() == also or str(network) == STDIN)
    if not is_graph_file(network) and not may_be:
        more = f", or {also} (architectures)" if also else ""
        raise UsageError(
            f"a model must end in {', '.join(SUFFIXES)}, be - for standard input, or a name such "
            f"as timm:resnet18{more}; got {network if str(network) != STDIN else 'JSON from it'}"
        )
    if network.suffix and ":" not in str(network):
        check_usable(network)


def read_graph(path: Path, batch: int | None, inputs: FileInputs) -> Graph:
    """The network of a file, of standard input, or of a name.

    Raises:
        UsageError: there is no such file, it is of another kind, or a shape is no shape.
        ValueError: it cannot be read.
    """
    options = read_options(inputs, batch)
    check_network(path)
    from latcast.graph.read import read_with

    return read_with(path, options)


def read_options(inputs: FileInputs, batch: int | None = None) -> ReadOptions:
    """Return the library's options for reading a file.

    Raises:
        UsageError: one is not of its form.
    """
    from latcast.graph.read import ReadOptions

    shapes = dict(map(_shape, inputs.shape or []))
    return ReadOptions(batch, shapes, _batch_axis(inputs.batch_axis or []), inputs.trip_count)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sides = text.rpartition("=")
    if not name or not re.fullmatch(r"([0-9]{1,9}(x[0-9]{1,9})*)?", sides):
        raise UsageError(f"--shape must be like input=1x3x224x224; got {text!r}")
    return name, tuple(int(side) for side in sides.split("x") if side)


def _batch_axis(texts: Sequence[str]) -> int | dict[str, int] | None:
    axes: dict[str, int] = {}
    for text in texts:
        name, _, axis = text.rpartition("=")
        if not re.fullmatch(r"-?[0-9]{1,2}", axis) or (not name and len(texts) > 1):
            raise UsageError(f"--batch-axis must be like 0, or input=0 for each; got {text!r}")
        axes[name] = int(axis)
    return axes.get("", axes or None)
