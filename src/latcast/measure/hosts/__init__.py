"""Hosts: the machines that measure, one file each."""

from __future__ import annotations

import re

from latcast._names import unknown_name
from latcast._registry import Registry

from ._base import Host, HostError, HostLostError, HostWorker

_PLACES = {
    name: f"{__name__}.{place}"
    for name, place in {
        "here": "here:Here",
        "ssh": "ssh:SSH",
        "adb": "adb:AdbHost",
        "ray": "ray:RayMachine",
    }.items()
}

HOSTS: Registry[type[Host]] = Registry("host", "latcast.hosts", type, _PLACES)
"""How the text of a host begins -> its class, made of what follows the colon."""


def host(text: str = "") -> Host:
    """The host that a text names; nothing is asked of it yet.

    Args:
        text: empty or ``here``: this machine; ``adb:SERIAL``: a phone; ``ray:WHERE@ADDRESS``: a
            machine of a Ray cluster; ``user@board``, ``ssh:board`` or ``ssh://user@board:2222``:
            what ``ssh`` would reach by that name.

    Raises:
        ValueError: there is no such kind of host.
    """
    if text in ("", "here"):
        from .here import Here

        return Here()
    kind, colon, name = text.partition(":")
    if not colon or name.startswith("//"):
        kind, name = "ssh", text
    if not re.fullmatch(r"[^\s\-][^\s\x00-\x1f]*", name):
        raise ValueError(
            f"a host must be here, user@board (as ssh takes it) or adb:SERIAL; got {text!r}"
        )
    if kind not in HOSTS:
        by_ssh = f"ssh:{'//' * name.isdecimal()}{text}"  # a number is a port
        unknown = unknown_name("kind of host", kind, HOSTS.names())
        raise ValueError(f"{unknown}; a machine that ssh reaches by it is {by_ssh}")
    return HOSTS.get(kind)(name)


__all__ = ["HOSTS", "Host", "HostError", "HostLostError", "HostWorker", "host"]
