"""The catalogue of devices, a data file, and the user's own beside it; devices as a record."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from latcast._files import read_file
from latcast._limits import MAX_CATALOGUE_BYTES
from latcast._names import short_repr, unknown_name
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Series
from latcast.report.markup import counted
from latcast.report.record import Record
from latcast.report.table import MISSING, Column, Table, pairs

from ._cores import Cluster
from ._device import KINDS, Device

VARIABLE = "LATCAST_DEVICES"
"""Environment variable: files of the user's devices, several separated by ``os.pathsep``."""

_ENTRIES = [f.name for f in fields(Device) if f.name != "name"]

_given: ContextVar[tuple[Path, ...] | None] = ContextVar("device files", default=None)


def devices() -> dict[str, Device]:
    """All devices by name: those of the catalogue, then those of the user's files.

    The files are those of :func:`device_files`, or else those that :data:`VARIABLE` names. A
    device of a file replaces one of the same name of the catalogue or of a file before it.

    Raises:
        FileNotFoundError: one of the files does not exist.
        ValueError: one of the files is no catalogue; the message names the file.
    """
    known = dict(_catalogue())
    for path in _user_files():
        known.update(load_devices(path))
    return known


def device(name: str) -> Device:
    """The device called ``name``.

    Raises:
        ValueError: there is none; the message suggests the nearest. Or as :func:`devices`.
        FileNotFoundError: as :func:`devices`.
    """
    known = devices()
    try:
        return known[name]
    except KeyError:
        raise ValueError(unknown_name("device", name, list(known))) from None


@contextmanager
def device_files(paths: Sequence[str | Path]) -> Iterator[None]:
    """Within the block, the user's files are these, whatever :data:`VARIABLE` names.

    They are read when :func:`devices` is called.
    """
    token = _given.set(tuple(map(Path, paths)))
    try:
        yield
    finally:
        _given.reset(token)


def load_devices(path: str | Path) -> dict[str, Device]:
    """Devices by name from a TOML file, one table each, as :func:`catalogue_text` writes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no catalogue, or has a device that cannot be; the message names the file.
    """
    content = read_file(Path(path), MAX_CATALOGUE_BYTES)
    try:
        # Editors on Windows write a byte order mark, which TOML does not have.
        return parse_catalogue(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _user_files() -> tuple[Path, ...]:
    given = _given.get()
    if given is not None:
        return given
    paths = tuple(Path(n) for n in os.environ.get(VARIABLE, "").split(os.pathsep) if n)
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"{VARIABLE} must name files of devices; there is no file {path}: correct it, or "
                "unset it"
            )
    return paths


_FILES = ("catalogue.toml", "socs.toml")

# What devices that are built on a chip have of it where they do not state it themselves.
_OF_CHIP = ("memory_gb", "bandwidth_gb_s", "memory_type", "year")
_OF_CHIPS_CPU = ("clusters", "l1d_kb", "l2_kb", "l3_kb", "last_level_kb", "architecture")


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, Device]:
    room = resources.files("latcast.devices")
    text = "\n".join((room / name).read_text(encoding="utf-8") for name in _FILES)
    order = ("gpu", "cpu", "phone", "accelerator")
    found = _parse(text, {})
    return dict(sorted(found.items(), key=lambda item: order.index(item[1].kind)))


def parse_catalogue(text: str) -> dict[str, Device]:
    """Devices from TOML, one table each.

    A device whose ``chip`` is the name of another, of the text or of the catalogue, has that one's
    memory, its bandwidth and its year where it does not state them; a CPU or a phone also the
    cores and caches of a CPU or a phone.

    Raises:
        ValueError: the text is no TOML, or a device has an unknown, missing or impossible entry.
    """
    return _parse(text, _catalogue())


def _parse(text: str, known: Mapping[str, Device]) -> dict[str, Device]:
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"a device catalogue must be TOML; reading it: {error}") from None
    return {name: _device(name, table, tables, known) for name, table in tables.items()}


def _device(
    name: str, table: Any, tables: Mapping[str, Any], known: Mapping[str, Device]
) -> Device:
    if not isinstance(table, dict):
        raise ValueError(f"device {name!r} must be a table, [{name}]; got {table!r}")
    for entry, value in table.items():
        if isinstance(value, dict):
            raise ValueError(
                f"device {name!r} has a table {entry!r} inside; a name with a dot must be quoted: "
                f'["{name}.{entry}"]'
            )
        if entry not in _ENTRIES:
            raise ValueError(unknown_name(f"entry of device {name!r}", entry, _ENTRIES))
    table = _of_chip(name, table, tables, known) | table
    if isinstance(table.get("features"), list):
        table["features"] = tuple(table["features"])
    if "clusters" in table:
        table["clusters"] = clusters = _clusters(name, table["clusters"])
        table.setdefault("cores", sum(c.count for c in clusters))
        table.setdefault("clock_ghz", max((c.clock_ghz for c in clusters), default=None))
    try:
        found = Device(name=name, **table)
    except TypeError:
        missing = [f for f in ("title", "kind", "cores", "memory_gb", "bandwidth_gb_s", "source")
                   if f not in table]  # fmt: skip
        raise ValueError(f"device {name!r} must have {', '.join(missing)} as well") from None
    found.check_proportions()
    return found


def _of_chip(
    name: str, table: Mapping[str, Any], tables: Mapping[str, Any], known: Mapping[str, Device]
) -> dict[str, Any]:
    """Return the fields that a device shares with the device of its entry ``chip``."""
    chip = table.get("chip")
    if not isinstance(chip, str) or chip == name:
        return {}
    soc = tables.get(chip)
    if not isinstance(soc, dict):
        soc = {e: getattr(known[chip], e) for e in _ENTRIES} if chip in known else {}
    are_cpus = all(each.get("kind") in ("cpu", "phone") for each in (table, soc))
    # Caches and type of core are those of the clusters: a device with its own has its own.
    entries = _OF_CHIP + (_OF_CHIPS_CPU if are_cpus and "clusters" not in table else ())
    return {e: soc[e] for e in entries if soc.get(e) not in (None, ())}


def _clusters(name: str, rows: Any) -> tuple[Cluster, ...]:
    if isinstance(rows, tuple):
        return rows
    try:
        return tuple(Cluster(**row) for row in rows)
    except (TypeError, ValueError) as error:
        what = "must be core, count, clock_ghz and perhaps base_ghz"
        why = what if isinstance(error, TypeError) else error
        raise ValueError(f"device {name!r}: clusters: {why}; got {short_repr(rows)}") from None


def catalogue_text(found: Iterable[Device]) -> str:
    """Devices as TOML, the inverse of :func:`parse_catalogue`; what is not known is left out."""
    tables = []
    for d in found:
        entries = {name: getattr(d, name) for name in _ENTRIES}
        lines = [f"{k} = {_toml(v)}" for k, v in entries.items() if v is not None and v != ()]
        bare = re.fullmatch(r"[A-Za-z0-9_-]+", d.name)
        tables.append("\n".join([f"[{d.name if bare else _toml(d.name)}]", *lines, ""]))
    return "\n".join(tables)


def _toml(value: str | float | Cluster | tuple[str | Cluster, ...]) -> str:
    """A value of a device in TOML 1.0."""
    if isinstance(value, Cluster):
        figures = ((f.name, getattr(value, f.name)) for f in fields(Cluster))
        return f"{{ {', '.join(f'{k} = {_toml(v)}' for k, v in figures if v is not None)} }}"
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int):
        return str(value)
    short = f"{value:g}"  # 1.3e+11 rather than 130000000000.0, where nothing is lost
    return short if float(short) == value else repr(value)


# --- the record ---------------------------------------------------------------------------------


# Peaks are shown in TFLOP/s and TOP/s.
_PEAK = 1e-12

# Of one device, from top to bottom.
_FIGURES = (
    Column("kind", "kind"),
    Column("year", "year"),
    Column("architecture", "architecture"),
    Column("cores", "cores"),
    Column("chip", "chip"),
    Column("cores by type", lambda d: "; ".join(map(str, d.clusters)) or None),
    Column("clock, GHz", "clock_ghz", "g"),
    Column("L1 data cache, KiB", "l1d_kb", "g"),
    Column("L2 cache, KiB", "l2_kb", "g"),
    Column("L3 cache, KiB", "l3_kb", "g"),
    Column("last-level caches, KiB", "last_level_kb", "g"),
    Column("features", lambda d: " ".join(d.features) or None),
    Column("memory, GB", "memory_gb", "g"),
    Column("memory type", "memory_type"),
    Column("bandwidth, GB/s", "bandwidth_gb_s", "g"),
    Column("fp32 TFLOP/s", lambda d: d.peak_flops("fp32"), ".4g", _PEAK),
    Column("fp16 TFLOP/s", lambda d: d.peak_flops("fp16"), ".4g", _PEAK),
    Column("bf16 TFLOP/s", lambda d: d.peak_flops("bf16"), ".4g", _PEAK),
    Column("int8 TOP/s", lambda d: d.peak_flops("int8"), ".4g", _PEAK),
    Column("fp32 of matrix units, TFLOP/s", "peak_matrix_fp32_flops", ".4g", _PEAK),
    Column("launch of a kernel, us", "launch_us", "g"),
    Column("power, W", "power_w", "g"),
)

# Peak -> what it is called where values of it stand alone.
_PEAKS = {
    "peak_fp32_flops": "peak in fp32",
    "peak_fp16_flops": "peak in fp16",
    "peak_bf16_flops": "peak in bf16",
    "peak_int8_ops": "peak in int8",
    "peak_matrix_fp32_flops": "peak in fp32 of matrix units",
}


class Shown(NamedTuple):
    """How a figure of a device is shown: its name, its unit, and the factor to that unit."""

    name: str
    unit: str
    factor: float


def shown_figure(figure: str) -> Shown:
    """How values of a figure are shown, such as ``bandwidth_gb_s`` as a bandwidth in GB/s.

    Args:
        figure: a key of :data:`RANGES`; any other name is shown as it is.
    """
    if figure in _PEAKS:
        return Shown(_PEAKS[figure], "TOP/s" if figure.endswith("_ops") else "TFLOP/s", _PEAK)
    label = next((c.label for c in _FIGURES if c.value == figure), figure)
    name, _, unit = label.partition(", ")
    return Shown(name, unit, 1.0)


# Of many; titles come last, as a narrow terminal wraps them.
_COLUMNS = (
    Column("device", "name"),
    Column("kind", "kind"),
    Column("cores", "cores"),
    Column("GB", "memory_gb", "g"),
    Column("GB/s", "bandwidth_gb_s", "g"),
    Column("fp32 TFLOP/s", lambda d: d.peak_flops("fp32"), ".4g", _PEAK),
    Column("fp16", lambda d: d.peak_flops("fp16"), ".4g", _PEAK),
    Column("bf16", lambda d: d.peak_flops("bf16"), ".4g", _PEAK),
    Column("int8", lambda d: d.peak_flops("int8"), ".4g", _PEAK),
    Column("W", "power_w", "g"),
    Column("year", "year"),
    Column("title", "title"),
)


def _cell_of(d: Device, figure: Column) -> str:
    return figure.cell(d)


def _words_of(d: Device) -> str:
    """Return the words by which a device is found."""
    types = (c.core for c in d.clusters)
    return " ".join((d.name, d.title, d.chip or "", d.architecture or "", *types)).lower()


@dataclass(frozen=True, repr=False)
class DeviceList(Record):
    """Devices with their specifications; a single one is shown with all of its figures.

    Attributes:
        devices: one entry each; a figure that is not known is null.
    """

    schema = "devices"
    frame = "devices"
    no_figure = "fewer than two have a known peak"

    devices: tuple[Device, ...]

    @classmethod
    def of_kind(cls, kind: str | None = None, find: str | None = None) -> DeviceList:
        """The devices of the catalogue, of one kind or all, whose names or titles have a text.

        Args:
            kind: one of :data:`KINDS`, or None for all.
            find: words in any order; each must occur in the name, the title, the chip, the
                architecture or a type of core, whatever its case.

        Raises:
            ValueError: there is no such kind, or nothing is found.
        """
        if kind is not None and kind not in KINDS:
            raise ValueError(unknown_name("kind of device", kind, KINDS))
        known = devices().values()
        words = (find or "").lower().split()
        found = tuple(
            d for d in known if kind in (None, d.kind) and all(w in _words_of(d) for w in words)
        )
        if not found and words:
            raise ValueError(
                f"--find must be words of a device's name, title, chip or cores; {find!r} is of "
                f"none of the {len(known)} devices"
            )
        return cls(found)

    @classmethod
    def of(cls, name: str) -> DeviceList:
        """One device.

        Raises:
            ValueError: the catalogue has none of that name.
        """
        return cls((device(name),))

    def headline(self) -> str:
        return self.devices[0].title if len(self.devices) == 1 else "Devices of the catalogue"

    def answer(self) -> str:
        if len(self.devices) == 1:
            (only,) = self.devices
            return f"{only.title}: {only.memory_gb:g} GB of memory at {only.bandwidth_gb_s:g} GB/s."
        return f"The catalogue has {len(self.devices)} such devices."

    def figures(self) -> Iterator[Figure]:
        by_kind: dict[str, list[Device]] = {}
        for device in self.devices:
            if device.peak_fp32_flops is not None:
                by_kind.setdefault(device.kind, []).append(device)
        series = tuple(
            Series(
                kind, [d.bandwidth_gb_s for d in own],
                [(d.peak_fp32_flops or 0.0) / 1e9 for d in own],
                labels=[f"{d.title}\n{(d.peak_fp32_flops or 0) / 1e9:,.0f} GFLOP/s, "
                        f"{d.bandwidth_gb_s:g} GB/s" for d in own],
            )
            for kind, own in by_kind.items()
        )  # fmt: skip
        if sum(len(s.x) for s in series) > 1:
            yield Figure("Peak by bandwidth", Axis("memory bandwidth, GB/s", log=True),
                         Axis("peak, GFLOP/s in fp32", log=True), series)  # fmt: skip

    def beside_each_other(self) -> Iterator[Table | str]:
        """The devices with all figures that are known of one of them, a column for each device."""
        columns = [Column("specification", "label")]
        columns += [Column(d.name, partial(_cell_of, d)) for d in self.devices]
        known = [f for f in _FIGURES if any(f.cell(d) != MISSING for d in self.devices)]
        yield Table(columns, known, "Specifications")
        yield "\n".join(f"{d.name}: {d.title}; source: {d.source}" for d in self.devices)

    def parts(self) -> Iterator[Table | str]:
        if len(self.devices) != 1:
            for kind in dict.fromkeys(d.kind for d in self.devices):
                rows = [d for d in self.devices if d.kind == kind]
                yield Table(_COLUMNS, rows, f"{kind}: {len(rows)}")
            yield counted(len(self.devices), "device")
            return
        (one,) = self.devices
        figures = [(column.label, column.cell(one)) for column in _FIGURES]
        yield pairs(("specification", "value"), figures, f"{one.name}: {one.title}")
        yield f"source: {one.source}"


def list_devices(kind: str | None = None, find: str | None = None) -> DeviceList:
    """The devices whose specification is known, as a record.

    Args:
        kind: one of :data:`KINDS`; all by default.
        find: words of a device's name, title, chip or cores, as of :meth:`DeviceList.of_kind`.

    Raises:
        ValueError: there is no such kind, or nothing is found.
    """
    return DeviceList.of_kind(kind, find)
