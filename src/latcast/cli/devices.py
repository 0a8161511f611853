"""``latcast devices``: the catalogue of devices, and this machine."""

from __future__ import annotations

from pathlib import Path

from ._console import Console, UsageError, argument, command, option, usage, write_text
from ._options import MEASURING, Devices, HostName, HostText, check_suffix, find_host

_SECONDS = 2.0


@command
def devices(
    console: Console,
    *,
    device: str | None = argument("One device, with its source.", None, metavar="[NAME]"),
    kind: str | None = option("Only cpu, gpu, phone or accelerator."),
    find: str | None = option("Only those with these words in name, title, chip or cores."),
    files: Devices = None,
    detect: bool = option("Describe this machine; measures for 2 s.", False, panel=MEASURING),
    host: HostText = None,
    name: HostName = None,
    out: Path | None = option("Write the machine's specification here (.toml).", panel=MEASURING),
) -> None:
    """List the devices whose specification is known, or describe this machine.

    --detect reads cores, memory, caches and CPU features from the system, and measures memory
    bandwidth and peak fp32 FLOP/s: run it while the machine does nothing else.

    Example: latcast devices --kind phone
    """
    from latcast import devices as room
    from latcast.devices._catalogue import DeviceList

    for listed, value in (("--kind", kind), ("--find", find)):
        if value is not None and (detect or device is not None):
            raise UsageError(f"{listed} goes with the list of devices, not with NAME or --detect")
    if detect:
        if device is not None:
            raise UsageError(
                f"--detect describes this machine; got the device {device!r} as well "
                "(to name the machine, use --name)"
            )
        _detect(console, host, name, out)
        return
    if name is not None or out is not None or host is not None:
        raise UsageError("--host, --name and --out go with --detect; it is missing")
    room.devices()  # a file that is no good is not wrong usage, an unknown name is
    with usage():
        found = DeviceList.of_kind(kind, find) if device is None else DeviceList.of(device)
    console.show(found)


def _detect(console: Console, host: str | None, name: str | None, out: Path | None) -> None:
    """Describe this machine or another, and write that down."""
    from latcast import devices as room
    from latcast.devices._catalogue import DeviceList

    check_suffix(out, "--out", ".toml")
    with find_host(host) as board:
        console.note(f"measuring {board.title} for {_SECONDS:g} s")
        with usage(), console.progress("measuring"):
            found = board.detect(name, seconds=_SECONDS)
    if out is not None:
        write_text(out, room.catalogue_text([found]))
    console.show(DeviceList((found,)))
    if out is not None:
        console.note(f"wrote {out}")
