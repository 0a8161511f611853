"""Runtimes that a forecast can be asked for: measured ones, those of models, a user's own."""

from __future__ import annotations

from collections.abc import Iterable

from latcast._names import unknown_name
from latcast.devices import (
    UNIT_OF_KIND,
    Device,
    only_on,
    public_runtime,
    runtime_names,
    runtime_of_domain,
    unit,
    unit_of_runtime,
)

from . import zoo
from .zoo import JOINT, UnresolvedError, open_shipped

UNNAMED = ("help", "pytorch-help", "lookup-table")
"""What papers measured with and do not name, or added up: nobody can run a network by it."""

# Names in public tables of PyTorch's compilers, whose rules the joint model knows.
_COMPILED = ("pytorch-fused", "pytorch-dynamo")


def check_runtime(name: str, also: Iterable[str] = ()) -> None:
    """Make sure that a runtime is one that was measured, that measures or that somebody added.

    A misspelt name must get no forecast: by physics alone, every name would have one.

    Args:
        name: of the runtime, or of a domain of the joint model.
        also: runtimes of the model that is asked, which may be a user's own.

    Raises:
        UnresolvedError: there is none of that name; the message suggests the nearest.
    """
    domains = open_shipped(JOINT, "joint").domains if JOINT in zoo.names("joint") else {}
    measured = {*map(runtime_of_domain, domains), *also}
    known = {*measured, *_COMPILED, *domains}
    if {runtime_of_domain(name), *runtime_names(name)} & known:
        return
    # Looking through what is installed takes time: only where no model knows the name.
    from latcast.measure.runtimes import RUNTIMES

    if {runtime_of_domain(name), public_runtime(name)} & {*RUNTIMES.names()}:
        return
    names = {*RUNTIMES.names(), *measured, "qnn"} - {*UNNAMED}
    raise UnresolvedError(
        f"{unknown_name('runtime', name, sorted(names))} (one of your own is registered first: "
        "latcast.measure.runtimes.register_runtime, or an entry point latcast.runtimes)"
    )


def check_target(device: Device, runtime: str, threads: int, cores: int | None = None) -> None:
    """Make sure that a target can exist: its runtime on the device's chip, its threads on cores.

    Args:
        device: that is asked about.
        runtime: by any of its names.
        threads: of a CPU; 0 for one on each core.
        cores: that the CPU is to have; its own by default.

    Raises:
        UnresolvedError: it cannot; the message names what runs there.
        ValueError: the device's chip has no such part.
    """
    part = unit(device, unit_of_runtime(runtime) or UNIT_OF_KIND[device.kind])
    if (told := only_on(runtime, part)) is not None:
        raise UnresolvedError(
            f"{runtime} runs on {told}; got {device.name}, whose part is {part.title}: ask for "
            f"{', '.join(measured_on(device))} (--runtime)"
        )
    most = part.cores if cores is None else cores
    if threads > most and UNIT_OF_KIND[part.kind] == "cpu":
        raise UnresolvedError(
            f"threads must be at most the {most} cores of {part.name}; got {threads}: more than "
            "one a core are not forecast"
        )


def measured_on(device: Device) -> list[str]:
    """Names of the runtimes that were measured anywhere and that a device can run."""
    part, found = UNIT_OF_KIND[device.kind], dict[str, None]()
    for domain in open_shipped(JOINT, "joint").domains:
        runtime = runtime_of_domain(domain)
        can_run = runtime not in UNNAMED and only_on(runtime, device) is None
        if can_run and unit_of_runtime(domain) in (part, None):
            found[runtime] = None
    return list(found)
