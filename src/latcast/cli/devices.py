"""``latcast devices``: the catalogue of devices, and this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    Debug,
    Devices,
    Json,
    Quiet,
    UsageError,
    fails_cleanly,
    note,
    print_json,
    print_table,
    usage,
)

if TYPE_CHECKING:
    from latcast.devices import Device

_SECONDS = 2.0

_FIGURES = {
    "kind": "kind",
    "year": "year",
    "architecture": "architecture",
    "cores": "cores",
    "clock_ghz": "clock, GHz",
    "l1d_kb": "L1 data cache, KiB",
    "l2_kb": "L2 cache, KiB",
    "l3_kb": "L3 cache, KiB",
    "features": "features",
    "memory_gb": "memory, GB",
    "bandwidth_gb_s": "bandwidth, GB/s",
    "peak_fp32_flops": "fp32 TFLOP/s",
    "peak_fp16_flops": "fp16 TFLOP/s",
    "peak_bf16_flops": "bf16 TFLOP/s",
    "peak_int8_ops": "int8 TOP/s",
    "power_w": "power, W",
}
"""Figure of a device -> label with its unit, in the order in which one device is shown."""

_COLUMNS = {
    "name": "device",
    "kind": "kind",
    "cores": "cores",
    "memory_gb": "GB",
    "bandwidth_gb_s": "GB/s",
    "peak_fp32_flops": "fp32 TFLOP/s",
    "peak_fp16_flops": "fp16",
    "peak_bf16_flops": "bf16",
    "peak_int8_ops": "int8",
    "power_w": "W",
    "year": "year",
    "title": "title",
}
"""The same for the table of all; titles come last, as a narrow terminal wraps them."""


@fails_cleanly
def command(
    device: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One device, with its source.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only cpu, gpu, phone or accelerator.")
    ] = None,
    files: Devices = None,
    detect: Annotated[
        bool, typer.Option("--detect", help="Describe this machine; measures for 2 s.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Call this machine so; after its CPU by default."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write this machine's specification here (.toml).")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the devices whose specification is known, or describe this machine.

    --detect reads cores, memory, caches and CPU features from the system, and measures memory
    bandwidth and peak fp32 FLOP/s: run it while the machine does nothing else.

    Example: latcast devices --kind phone
    """
    if kind is not None and (detect or device is not None):
        raise UsageError("--kind goes with the list of devices, not with NAME or --detect")
    if detect:
        if device is not None:
            raise UsageError(
                f"--detect describes this machine; got the device {device!r} as well "
                "(to name the machine, use --name)"
            )
        _detect(name, out, json=json, quiet=quiet)
        return
    if name is not None or out is not None:
        raise UsageError("--name and --out go with --detect; it is missing")
    if device is None:
        _list(kind, json=json)
    else:
        _show(device, json=json)


def _list(kind: str | None, *, json: bool) -> None:
    """The devices, of one kind or all."""
    from latcast import devices
    from latcast._names import unknown_name

    if kind is not None and kind not in devices.KINDS:
        raise UsageError(unknown_name("kind of device", kind, devices.KINDS))
    found = [d for d in devices.devices().values() if kind in (None, d.kind)]
    if json:
        print_json([asdict(d) for d in found])
        return
    rows = [[_cell(figure, getattr(d, figure)) for figure in _COLUMNS] for d in found]
    print_table(list(_COLUMNS.values()), rows)


def _show(name: str, *, json: bool) -> None:
    """One device."""
    from latcast import devices

    devices.devices()  # a file that is no good is not wrong usage, an unknown name is
    with usage():
        found = devices.device(name)
    if json:
        print_json([asdict(found)])
    else:
        _print(found)


def _detect(name: str | None, out: Path | None, *, json: bool, quiet: bool) -> None:
    """Describe this machine, and write that down."""
    from latcast import devices

    if out is not None and out.suffix != ".toml":
        raise UsageError(f"--out must end in .toml; got {out}")
    note(f"measuring this machine for {_SECONDS:g} s", quiet=quiet)
    with usage():
        found = devices.detect(name, seconds=_SECONDS)
    if out is not None:
        from latcast._files import atomic_path

        with atomic_path(out) as path:
            path.write_text(devices.catalogue_text([found]), encoding="utf-8")
    if json:
        print_json([asdict(found)])
        return
    _print(found)
    if out is not None:
        note(f"wrote {out}", quiet=quiet)


def _print(found: Device) -> None:
    rows = [[label, _cell(figure, getattr(found, figure))] for figure, label in _FIGURES.items()]
    print_table(["specification", "value"], rows, title=f"{found.name}: {found.title}")
    typer.echo(f"source: {found.source}")


def _cell(figure: str, value: Any) -> str:
    if value is None or value == ():
        return "–"
    if isinstance(value, tuple):
        return " ".join(value)
    if figure.startswith("peak_"):
        return f"{value / 1e12:.4g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
