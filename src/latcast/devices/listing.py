"""Devices as a record: a list of many, or one with all of its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from latcast._names import unknown_name
from latcast.report.record import Column, Record, Table, pairs

from ._catalogue import device, devices
from ._device import KINDS, Device

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
