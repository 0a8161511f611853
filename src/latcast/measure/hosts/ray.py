"""A machine of a Ray cluster as a host: an actor there answers as latcast's agent does.

The cluster places it: a machine that measures has a custom resource :data:`RESOURCE` of one, its
slot, which a campaign holds as long as it measures there. latcast and the runtimes must be
installed on it, where Ray's workers find them. The campaign file stays here.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from latcast._imports import require

from ._base import HostError, HostLostError
from ._greeting import FOLDER, check_greeting, greeting
from ._remote import Link, Remote
from .agent import Agent

RESOURCE = "latcast"
"""Custom resource of machines that measure, one on each."""
# What places an actor beside the slot: Ray counts in ten-thousandths.
_SHARE = 0.001
# Ray's workers have a nice value of 15, by which other programs disturb what is measured more than
# on this machine or by SSH: of a load of 18, an actor answered after 65 s, and 9 s by this.
_PRIORITY = {"env_vars": {"RAY_worker_niceness": "0"}}
# A node starts a process and imports what an agent needs.
_PLACE_S = 180.0
# A slot that is free is had at once.
_SLOT_S = 30.0
# While there is no answer, it is looked so often whether the machine is in the cluster: of one that
# dies, Ray does not always say that its actors did.
_LOOK_S = 10.0
# A head node that does not answer for so long is not there.
_CONNECT_S = 10.0
_START = "start Ray there with: ray start --address=HEAD:6379 --resources='{\"latcast\": 1}'"
_JOINING = threading.Lock()


class RayMachine(Remote):
    """A machine of a Ray cluster.

    Args:
        name: ``WHERE@ADDRESS``: the machine's IP address, or a custom resource that it alone has,
            and the address of the cluster, as of :func:`join`.

    Raises:
        ValueError: the name is not like this.
    """

    kind = "ray"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._where, _, self._address = name.partition("@")
        if not self._where or not self._address:
            raise ValueError(
                "a machine of a Ray cluster must be ray:WHERE@ADDRESS: its IP address, or a "
                f"resource that it alone has, and the cluster's address; got ray:{name}"
            )

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        with super().lock(path):  # the machine's own, which tells who holds it
            ray = join(self._address)
            bundle = {RESOURCE: 1.0, self._key: _SHARE}
            slot = ray.util.placement_group([bundle])
            try:
                if not slot.wait(_SLOT_S):
                    raise HostError(
                        f"{self.name} must have a slot to measure in, one of its resource "
                        f"{RESOURCE!r}; none is free: {_START}, and let no other work take it"
                    )
                yield
            finally:
                with suppress(Exception):  # a cluster that is gone holds no slot
                    ray.util.remove_placement_group(slot)

    def _opened(self, *, asks: bool) -> Link:
        ray = join(self._address)
        if self._key not in ray.cluster_resources():
            raise HostLostError(
                f"{self._where} must be a machine of the Ray cluster at {self._address}; its "
                f"machines that measure are {', '.join(_slots(ray)) or 'none'}: {_START}"
            )
        return _Link(ray, self.name, self._key)

    @property
    def _key(self) -> str:
        """The resource that the machine alone has."""
        try:
            ipaddress.ip_address(self._where)
        except ValueError:
            return self._where
        return f"node:{self._where}"

    @property
    def _to_install(self) -> str:
        return "there, where Ray's workers find it"


def machines(where: str) -> tuple[str, ...]:
    """Texts of the machines of a Ray cluster that measure.

    Args:
        where: ``[RESOURCE@]ADDRESS``: the cluster's address, as of :func:`join`, and a custom
            resource that machines of one kind have beside their slot.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        HostError: there is no such cluster, or it has no such machine.
    """
    resource, _, address = where.rpartition("@")
    found = tuple(f"ray:{ip}@{address}" for ip in _slots(join(address), resource or RESOURCE))
    if not found:
        also = f" and {resource!r}" if resource else ""
        raise HostError(
            f"the Ray cluster at {address} must have machines with the resource "
            f"{RESOURCE!r}{also}; it has none: {_START}"
        )
    return found


def _slots(ray: Any, resource: str = RESOURCE) -> list[str]:
    """IP addresses of the machines that have a slot, and a resource."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    names = [key for has in alive if {RESOURCE, resource} <= has.keys() for key in has]
    ips = (key.removeprefix("node:") for key in names if key.startswith("node:"))
    return sorted({ip for ip in ips if not ip.startswith("__")})


def join(address: str, **local: Any) -> Any:
    """Join a Ray cluster, which a process does once; returns the module.

    Args:
        address: ``local`` starts a cluster on this machine, ``auto`` looks for one that runs here,
            ``HOST:PORT`` or ``ray://HOST:PORT`` names one.
        **local: options of a cluster that is started here.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        HostError: there is no cluster at the address.
    """
    ray = require("ray", "ray", "a Ray cluster")
    with _JOINING:
        if ray.is_initialized():
            return ray
        # Nothing is sent to Ray's makers from a cluster that we start.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"include_dashboard": False, **local} if address == "local" else {}
        try:
            _check_reachable(address)
            ray.init(address=address, logging_level="ERROR", log_to_driver=False, **options)
        except (OSError, RuntimeError, ValueError) as error:
            raise HostError(
                f"there must be a Ray cluster at {address}; got: {error}: start one with: "
                "ray start --head --resources='{\"latcast\": 1}'"
            ) from error
        return ray


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes, at an address where nothing listens.

    Raises:
        OSError: nothing listens there.
        ValueError: it is no address.
    """
    if address in {"local", "auto"}:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("an address is local, auto, HOST:PORT or ray://HOST:PORT")
    socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


class _Actor:
    """The agent of a machine, in a process of Ray's there."""

    def __init__(self) -> None:
        self._agent = Agent(Path(FOLDER).expanduser() / "files")

    def greeting(self) -> dict[str, Any]:
        return greeting()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._agent.answer(request)


class _Link:
    """An actor on one machine, which ends with this process, or with Ray's there.

    Raises:
        HostLostError: it is not placed, or ended.
        HostError: latcast is not installed there, or another one.
    """

    def __init__(self, ray: Any, name: str, key: str) -> None:
        self._ray, self._name, self._key = ray, name, key
        options = {"num_cpus": 0, "resources": {key: _SHARE}, "runtime_env": _PRIORITY}
        kind = ray.remote(**options)(_Actor)
        self._actor = kind.remote()
        try:
            there = self._get(self._actor.greeting.remote(), _PLACE_S)
            check_greeting(name, there, greeting(), "install this one there")
        except BaseException:
            self.close()
            raise

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        found: dict[str, Any] = self._get(self._actor.answer.remote(dict(request)), timeout_s)
        return found

    def close(self) -> None:
        with suppress(Exception):  # a cluster that is gone has ended it
            self._ray.kill(self._actor)

    def _get(self, answer: Any, timeout_s: float) -> Any:
        errors, end = self._ray.exceptions, time.monotonic() + timeout_s
        try:
            while True:
                left = max(0.0, end - time.monotonic())
                try:
                    return self._ray.get(answer, timeout=min(left, _LOOK_S))
                except errors.GetTimeoutError:
                    self._check_there(is_late=left <= _LOOK_S, timeout_s=timeout_s)
        except errors.RayTaskError as error:
            raise HostError(
                f"{self._name} must have this latcast where Ray's workers find it; got: "
                f"{_reason(error)}"
            ) from error
        except (errors.RayError, ConnectionError) as error:
            raise HostLostError(f"the link to {self._name} broke: {_reason(error)}") from error

    def _check_there(self, *, is_late: bool, timeout_s: float) -> None:
        """Make sure that there may still be an answer."""
        if self._key not in self._ray.cluster_resources():
            raise HostLostError(f"{self._name} is no machine of the Ray cluster any more")
        if is_late:
            raise HostLostError(f"{self._name} must answer within {timeout_s:.0f} s")


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
