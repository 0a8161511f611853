"""The catalogue of devices, a data file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources

from latcast._names import unknown_name

KINDS = ("cpu", "gpu", "phone", "accelerator")


@dataclass(frozen=True, slots=True)
class Device:
    """A piece of hardware; what is not known is None.

    Attributes:
        name: how it is called on the command line.
        title: its maker's name for it.
        kind: one of :data:`KINDS`.
        cores: CPU cores, or the shader cores of a GPU.
        memory_gb: memory in GB.
        bandwidth_gb_s: memory bandwidth in GB/s.
        source: where the figures come from.
        peak_fp32_flops: peak FLOP/s in single precision.
    """

    name: str
    title: str
    kind: str
    cores: int
    memory_gb: float
    bandwidth_gb_s: float
    source: str
    peak_fp32_flops: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"{self.name}: kind must be one of {', '.join(KINDS)}; got {self.kind!r}"
            )
        for name in ("cores", "memory_gb", "bandwidth_gb_s", "peak_fp32_flops"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{self.name}: {name} must be positive; got {value}")


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
        try:
            result[name] = Device(name=name, **table)
        except TypeError as error:
            raise ValueError(f"device {name!r} must have all of {sorted(known)}: {error}") from None
    return result
