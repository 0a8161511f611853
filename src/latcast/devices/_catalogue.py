"""The catalogue of devices, a data file, and the user's own beside it; devices as a record."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from latcast._files import check_file
from latcast._names import unknown_name
from latcast.report.record import Column, Record, Table, pairs

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
        raise ValueError(
            f"{unknown_name('device', name, list(known))} (latcast devices lists them all)"
        ) from None


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
    check_file(Path(path))
    try:
        # Editors on Windows write a byte order mark, which TOML does not have.
        return parse_catalogue(Path(path).read_text(encoding="utf-8-sig"))
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


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, Device]:
    text = (resources.files("latcast.devices") / "catalogue.toml").read_text(encoding="utf-8")
    return parse_catalogue(text)


def parse_catalogue(text: str) -> dict[str, Device]:
    """Devices from TOML, one table each.

    Raises:
        ValueError: the text is no TOML, or a device has an unknown, missing or impossible entry.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"a device catalogue must be TOML; reading it: {error}") from None
    return {name: _device(name, table) for name, table in tables.items()}


def _device(name: str, table: Any) -> Device:
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
    if isinstance(table.get("features"), list):
        table["features"] = tuple(table["features"])
    try:
        return Device(name=name, **table)
    except TypeError:
        missing = [f for f in ("title", "kind", "cores", "memory_gb", "bandwidth_gb_s", "source")
                   if f not in table]  # fmt: skip
        raise ValueError(f"device {name!r} must have {', '.join(missing)} as well") from None


def catalogue_text(found: Iterable[Device]) -> str:
    """Devices as TOML, the inverse of :func:`parse_catalogue`; what is not known is left out."""
    tables = []
    for d in found:
        entries = {name: getattr(d, name) for name in _ENTRIES}
        lines = [f"{k} = {_toml(v)}" for k, v in entries.items() if v is not None and v != ()]
        bare = re.fullmatch(r"[A-Za-z0-9_-]+", d.name)
        tables.append("\n".join([f"[{d.name if bare else _toml(d.name)}]", *lines, ""]))
    return "\n".join(tables)


def _toml(value: str | float | tuple[str, ...]) -> str:
    """A value of a device in TOML 1.0."""
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
    Column("clock, GHz", "clock_ghz", "g"),
    Column("L1 data cache, KiB", "l1d_kb", "g"),
    Column("L2 cache, KiB", "l2_kb", "g"),
    Column("L3 cache, KiB", "l3_kb", "g"),
    Column("features", lambda d: " ".join(d.features) or None),
    Column("memory, GB", "memory_gb", "g"),
    Column("bandwidth, GB/s", "bandwidth_gb_s", "g"),
    Column("fp32 TFLOP/s", "peak_fp32_flops", ".4g", _PEAK),
    Column("fp16 TFLOP/s", "peak_fp16_flops", ".4g", _PEAK),
    Column("bf16 TFLOP/s", "peak_bf16_flops", ".4g", _PEAK),
    Column("int8 TOP/s", "peak_int8_ops", ".4g", _PEAK),
    Column("power, W", "power_w", "g"),
)

# Of many; titles come last, as a narrow terminal wraps them.
_COLUMNS = (
    Column("device", "name"),
    Column("kind", "kind"),
    Column("cores", "cores"),
    Column("GB", "memory_gb", "g"),
    Column("GB/s", "bandwidth_gb_s", "g"),
    Column("fp32 TFLOP/s", "peak_fp32_flops", ".4g", _PEAK),
    Column("fp16", "peak_fp16_flops", ".4g", _PEAK),
    Column("bf16", "peak_bf16_flops", ".4g", _PEAK),
    Column("int8", "peak_int8_ops", ".4g", _PEAK),
    Column("W", "power_w", "g"),
    Column("year", "year"),
    Column("title", "title"),
)


@dataclass(frozen=True, repr=False)
class DeviceList(Record):
    """Devices with their specifications; a single one is shown with all of its figures.

    Attributes:
        devices: one entry each; a figure that is not known is null.
    """

    schema = "devices"
    frame = "devices"

    devices: tuple[Device, ...]

    @classmethod
    def of_kind(cls, kind: str | None = None) -> DeviceList:
        """The devices of the catalogue, of one kind or all.

        Raises:
            ValueError: there is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise ValueError(unknown_name("kind of device", kind, KINDS))
        return cls(tuple(d for d in devices().values() if kind in (None, d.kind)))

    @classmethod
    def of(cls, name: str) -> DeviceList:
        """One device.

        Raises:
            ValueError: the catalogue has none of that name.
        """
        return cls((device(name),))

    def parts(self) -> Iterator[Table | str]:
        if len(self.devices) != 1:
            yield Table(_COLUMNS, self.devices)
            return
        (one,) = self.devices
        figures = [(column.label, column.cell(one)) for column in _FIGURES]
        yield pairs(("specification", "value"), figures, f"{one.name}: {one.title}")
        yield f"source: {one.source}"
