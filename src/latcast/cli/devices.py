"""``latcast devices``: the catalogue of devices."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ._common import Debug, Json, Quiet, fails_cleanly, print_json, print_table, usage


@fails_cleanly
def command(
    name: Annotated[str | None, typer.Argument(help="One device, with its source.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the devices whose specification is known.

    Example: latcast devices rtx-2080-ti
    """
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
