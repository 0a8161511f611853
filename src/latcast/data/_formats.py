"""The formats of datasets, a table row each, and the one function that reads all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from latcast._files import input_file
from latcast._names import unknown_name
from latcast.devices import Target

from ._csv import Frame
from ._dataset import Dataset
from ._quantity import ACCURACY, LATENCY_MS, LATENCY_UNITS, QUANTITIES, Quantity

if TYPE_CHECKING:
    from latcast.spaces import SearchSpace

UNITS = ("fraction", "percent")
"""Of accuracies in a file."""

Source = str | Path | Dataset | Frame
"""A dataset as people have it: its file, itself, or a frame with the columns of a CSV file."""


@dataclass(frozen=True)
class Asked:
    """The caller's statements on a file, which must not contradict those of the file.

    Attributes:
        space: search space of the architectures.
        target: what the values belong to.
        quantity: what the values are of.
        unit: of accuracies, one of :data:`UNITS`; detected by default. Of latencies, one of
            :data:`LATENCY_UNITS`; milliseconds by default.
        columns: of a CSV file of the user's own: name of a column here -> its name in the file.
    """

    space: SearchSpace | None = None
    target: Target | None = None
    quantity: Quantity | None = None
    unit: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """A format of files that hold datasets.

    Attributes:
        reader: module and function that reads a file, ``(path, asked) -> Dataset``; it is
            imported when a file is read.
        suffixes: of the files, in small letters.
        quantities: what the files can hold; None: any quantity.
        marks: function of the same module that tells by a file's content whether it is of the
            format; None: the suffix tells.
    """

    reader: str
    suffixes: tuple[str, ...]
    quantities: tuple[Quantity, ...] | None = None
    marks: str | None = None

    def read(self, path: Path | Frame, asked: Asked) -> Dataset:
        """Read a file, or of the format ``csv`` a frame."""
        module, _, function = self.reader.partition(":")
        read: Callable[[Path | Frame, Asked], Dataset] = getattr(import_module(module), function)
        return read(path, asked)

    def fits(self, path: Path, of: Quantity | None) -> bool:
        """Whether a file is of the format and can hold what is asked for."""
        if path.suffix.lower() not in self.suffixes:
            return False
        if of is not None and self.quantities is not None and of not in self.quantities:
            return False
        if self.marks is None:
            return True
        module = import_module(self.reader.partition(":")[0])
        return bool(getattr(module, self.marks)(path))


FORMATS: Mapping[str, Format] = {
    "parquet": Format("latcast.data._formats:read_parquet", (".parquet",)),
    "ofanas": Format("latcast.data.ofanas:read", (".csv",), (LATENCY_MS,), "is_one"),
    "csv": Format("latcast.data.user_csv:read", (".csv",)),
    "help": Format("latcast.data.help:read", (".pt",), (LATENCY_MS,)),
    "help-accuracies": Format(
        "latcast.data.help:read_accuracies", (".txt",), (ACCURACY,), "is_accuracies"
    ),
}
"""By name; a file whose format is not given is of the first that fits it."""


def read(
    path: Source,
    *,
    space: str | SearchSpace | None = None,
    target: str | Target | None = None,
    format: str | None = None,
    quantity: str | Quantity | None = None,
    unit: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Read a dataset, of a space's architectures or of graphs.

    Args:
        path: Parquet of latcast's own, a CSV of the OFANAS paper or of the user's own, a ``.pt``
            file of HELP or its list of accuracies; ``-`` for standard input, but for ``.pt``,
            which needs the file of architectures beside it. Or a frame of polars or pandas with
            the columns of a CSV of the user's own; a dataset is returned as it is.
        space: search space of the architectures, where the file does not tell.
        target: what the values belong to, where the file does not tell.
        format: one of :data:`FORMATS`; detected by default.
        quantity: what the values must be of; by default what the file says, or a latency.
        unit: of the values in a table of accuracies, ``fraction`` or ``percent``, detected by
            default; of latencies, ``s``, ``ms``, ``us`` or ``ns``, which become milliseconds.
        columns: of a CSV file of the user's own, or a frame, name of a column here, such as
            ``latency_ms`` -> its name there.

    Raises:
        ValueError: the file is not of the format, damaged, or contradicts what is asked for; an
            unknown name.
        FileNotFoundError: there is no such file.
    """
    asked = replace(_asked(space, target, quantity, unit), columns=columns or {})
    if isinstance(path, Dataset):
        return path
    if not isinstance(path, str | Path):
        if not hasattr(path, "__arrow_c_stream__"):
            raise ValueError(
                "a dataset must be a file, a frame of polars or pandas, or a latcast.Dataset; got "
                f"{type(path).__name__}"
            )
        data = FORMATS["csv"].read(path, asked)
        return _in_ms("the frame", data, unit) if unit in LATENCY_UNITS else data
    with input_file(Path(path), _suffix_of) as file:
        if format is not None and format not in FORMATS:
            raise ValueError(unknown_name("format", format, list(FORMATS)))
        name = format or ("csv" if columns else _detected(file, asked))
        if columns and name != "csv":
            raise ValueError(f"columns are named of a CSV file of your own; {file} is {name}")
        data = FORMATS[name].read(file, asked)
        if asked.quantity is not None and data.quantity != asked.quantity:
            raise ValueError(f"{file} is of {data.quantity.name}; asked for {asked.quantity.name}")
        return _in_ms(file, data, unit) if unit in LATENCY_UNITS else data


def _in_ms(path: str | Path, data: Dataset, unit: str) -> Dataset:
    """Latencies that a table states in another unit, in milliseconds.

    Raises:
        ValueError: they are no latencies, or of a dataset of latcast's own.
    """
    if data.quantity != LATENCY_MS:
        raise ValueError(f"{path} is of {data.quantity.name}, which is not in {unit}")
    if str(path).lower().endswith(".parquet") and unit != "ms":
        raise ValueError(
            f"{path} is a dataset of latcast's own, whose latencies are milliseconds: correct the "
            f"table that it was made of; asked for {unit}"
        )
    provenance = {**data.provenance, "unit": unit}
    return replace(data, values=data.values * LATENCY_UNITS[unit], provenance=provenance)


def _suffix_of(content: bytes) -> str:
    """The suffix of a file of such content.

    Raises:
        ValueError: it needs another file beside it.
    """
    if content.startswith(b"PAR1"):
        return ".parquet"
    if content.startswith((b"PK", b"\x80\x02")):
        raise ValueError(
            "HELP's .pt files cannot come from standard input: their architectures are in a file "
            "beside them"
        )
    # HELP's list of accuracies is a number, and then lines of NAS-Bench-201 strings.
    first, _, rest = content[:400].partition(b"\n")
    return ".txt" if b"," not in first and rest.startswith(b"|") else ".csv"


def read_latencies(
    path: str | Path,
    *,
    space: str | SearchSpace | None = None,
    target: str | Target | None = None,
    format: str | None = None,
    unit: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Read latencies of a space's architectures.

    Takes and raises what :func:`read` does.
    """
    data = read(
        path, space=space, target=target, format=format, quantity=LATENCY_MS, unit=unit,
        columns=columns,
    )  # fmt: skip
    if data.space is None:
        raise ValueError(
            f"{path} must be of a search space's architectures; it is of graphs: read it with "
            "latcast.read"
        )
    return data


def read_accuracies(
    path: str | Path, space: SearchSpace | str | None = None, *, unit: str | None = None
) -> Dataset:
    """Read top-1 accuracies of a space's architectures.

    Takes and raises what :func:`read` does: a CSV file with a column ``accuracy`` or
    ``accuracy_percent``, or HELP's list of NAS-Bench-201 architectures.
    """
    return read(path, space=space, quantity=ACCURACY, unit=unit)


def read_parquet(path: Path, asked: Asked) -> Dataset:
    """Read a file of latcast's own.

    Raises:
        ValueError: it is damaged, or contradicts what is asked for.
    """
    data = Dataset.load(path)
    if asked.space is not None and data.space is None:
        raise ValueError(f"{path} is of networks, not of a space; leave the space out")
    for what, wanted, got in (
        ("space", asked.space and asked.space.name, data.space and data.space.name),
        ("target", asked.target and str(asked.target), str(data.target)),
    ):
        if wanted and wanted != got:
            raise ValueError(f"{path} is of {what} {got}; asked for {wanted}")
    return data


def _asked(
    space: str | SearchSpace | None,
    target: str | Target | None,
    of: str | Quantity | None,
    unit: str | None,
) -> Asked:
    """Convert a caller's statements to the library's own types."""
    units = UNITS if of in (ACCURACY, ACCURACY.name) else tuple(LATENCY_UNITS)
    units = (*units, *UNITS) if of is None else units
    if unit is not None and unit not in units:
        raise ValueError(f"the unit must be {', '.join(units[:-1])} or {units[-1]}; got {unit!r}")
    if isinstance(space, str):
        from latcast import spaces

        space = spaces.space(space)
    if isinstance(target, str):
        target = Target.parse(target)
    of = QUANTITIES.get(of) if isinstance(of, str) else of
    return Asked(space, target, of, unit)


def _detected(path: Path, asked: Asked) -> str:
    for name, each in FORMATS.items():
        if each.fits(path, asked.quantity):
            return name
    if asked.quantity == ACCURACY:  # tables of accuracies were read whatever their suffix is
        return "csv"
    suffixes = dict.fromkeys(s for each in FORMATS.values() for s in each.suffixes)
    raise ValueError(
        f"the format of {path.name} is not known by its suffix; "
        f"known: {', '.join(suffixes)}, or give --input-format (in Python, format=): "
        f"{', '.join(FORMATS)}"
    )
