"""``latcast devices``: the catalogue of devices, and this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._common import (
    Debug,
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


@fails_cleanly
def command(
    device: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One device, with its source.")
    ] = None,
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

    Example: latcast devices rtx-2080-ti
    """
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
    _show(device, json=json)


def _show(name: str | None, *, json: bool) -> None:
    """The catalogue, or one device of it."""
    from latcast import devices

    if name is None:
        found = list(devices.devices().values())
    else:
        with usage():
            found = [devices.device(name)]
    if json:
        print_json([asdict(d) for d in found])
        return
    rows = [
        [
            d.name,
            d.title,
            d.kind,
            str(d.cores),
            f"{d.memory_gb:g}",
            f"{d.bandwidth_gb_s:g}",
            f"{d.peak_fp32_flops / 1e12:.2f}" if d.peak_fp32_flops else "–",
        ]
        for d in found
    ]
    print_table(["device", "title", "kind", "cores", "GB", "GB/s", "fp32 TFLOP/s"], rows)
    if name is not None:
        typer.echo(f"source: {found[0].source}")


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
    rows = [
        ["CPU", found.title],
        ["cores", str(found.cores)],
        ["clock, GHz", _or_dash(found.clock_ghz)],
        ["L1 data cache, KiB", _or_dash(found.l1d_kb)],
        ["L2 cache, KiB", _or_dash(found.l2_kb)],
        ["L3 cache, KiB", _or_dash(found.l3_kb)],
        ["features", " ".join(found.features) or "–"],
        ["memory, GB", f"{found.memory_gb:g}"],
        ["measured bandwidth, GB/s", f"{found.bandwidth_gb_s:g}"],
        ["measured fp32 TFLOP/s", f"{(found.peak_fp32_flops or 0) / 1e12:.3g}"],
    ]
    print_table(["specification", "value"], rows, title=found.name)
    typer.echo(f"source: {found.source}")


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
