"""The catalogue of devices, a data file."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources

from latcast._names import unknown_name

KINDS = ("cpu", "gpu", "phone", "accelerator")

_REQUIRED = ("cores", "memory_gb", "bandwidth_gb_s")
_OPTIONAL = ("peak_fp32_flops", "clock_ghz", "l1d_kb", "l2_kb", "l3_kb")


@dataclass(frozen=True, slots=True)
class Device:
    """A piece of hardware; what is not known is None.

    Attributes:
        name: how it is called on the command line.
        title: its maker's name for it.
        kind: one of :data:`KINDS`.
        cores: CPU cores, or the shader cores of a GPU.
        memory_gb: memory in GB (10^9 bytes).
        bandwidth_gb_s: memory bandwidth in GB/s.
        source: where the figures come from.
        peak_fp32_flops: peak FLOP/s in single precision.
        clock_ghz: highest CPU clock, GHz.
        l1d_kb: level 1 data cache of a CPU core, in KiB (1024 bytes), as caches are sold.
        l2_kb: level 2 cache of a core or cluster, KiB.
        l3_kb: level 3 cache that a core shares, KiB.
        features: CPU features, as Linux calls them; empty where unknown.
    """

    name: str
    title: str
    kind: str
    cores: int
    memory_gb: float
    bandwidth_gb_s: float
    source: str
    peak_fp32_flops: float | None = None
    clock_ghz: float | None = None
    l1d_kb: float | None = None
    l2_kb: float | None = None
    l3_kb: float | None = None
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("title", "source"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{self.name}: {name} must be text; got {getattr(self, name)!r}")
        if self.kind not in KINDS:
            raise ValueError(
                f"{self.name}: kind must be one of {', '.join(KINDS)}; got {self.kind!r}"
            )
        for name in (*_REQUIRED, *_OPTIONAL):
            value = getattr(self, name)
            if not _is_positive(value) and not (value is None and name in _OPTIONAL):
                raise ValueError(f"{self.name}: {name} must be positive; got {value!r}")
        texts = isinstance(self.features, tuple) and all(isinstance(f, str) for f in self.features)
        if not texts:
            raise ValueError(
                f"{self.name}: features must be a list of texts, such as ['avx2', 'fma']; "
                f"got {self.features!r}"
            )


def _is_positive(value: object) -> bool:
    """Whether it is a positive finite number; a bool is none."""
    return isinstance(value, int | float) and value is not True and 0 < value < math.inf


@lru_cache(maxsize=1)
def devices() -> dict[str, Device]:
    """All devices of the catalogue by name."""
    text = (resources.files("latcast.devices") / "catalogue.toml").read_text(encoding="utf-8")
    return parse_catalogue(text)


def device(name: str) -> Device:
    """The device called ``name``.

    Raises:
        ValueError: there is none; the message suggests the nearest.
    """
    try:
        return devices()[name]
    except KeyError:
        raise ValueError(unknown_name("device", name, list(devices()))) from None


def parse_catalogue(text: str) -> dict[str, Device]:
    """Devices from TOML, one table each.

    Raises:
        ValueError: the text is no TOML, or a device has an unknown, missing or impossible entry.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"a device catalogue must be TOML; reading it: {error}") from None
    known = {f.name for f in fields(Device)} - {"name"}
    result = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or not set(table) <= known:
            extra = sorted(set(table) - known)[:1] if isinstance(table, dict) else [name]
            raise ValueError(f"device {name!r} has the unknown entry {extra[0]!r}")
        if isinstance(table.get("features"), list):
            table["features"] = tuple(table["features"])
        try:
            result[name] = Device(name=name, **table)
        except TypeError as error:
            raise ValueError(f"device {name!r} must have all of {sorted(known)}: {error}") from None
    return result


def catalogue_text(found: Iterable[Device]) -> str:
    """Devices as TOML, the inverse of :func:`parse_catalogue`; what is not known is left out."""
    tables = []
    for d in found:
        entries = {f.name: getattr(d, f.name) for f in fields(Device) if f.name != "name"}
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
    short = f"{value:g}"  # 1.3e+11 rather than 130000000000.0, where nothing is lost
    return short if float(short) == value else repr(value)
