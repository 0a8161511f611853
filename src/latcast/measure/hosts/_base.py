"""The contract of a host: what a campaign needs of the machine that measures.

A host is made from its text (:func:`latcast.measure.hosts.host`) and opens whatever link it needs
when it is first asked something; it is a context manager, whose end closes the link and ends every
worker. The campaign file stays on this machine, whatever the host is. A session uses it so::

    with host(text) as board:
        with board.lock(campaign_path):           # no two campaigns measure there at once
            worker = board.start(target, protocol, own)
            answer = worker.ask({"network": board.text_of(source, batch, seed), "seed": seed}, 60)
            worker.close()

An answer of a worker is what :meth:`latcast.measure._worker.Worker.answer` makes: ``samples_ms``,
``reference_ms`` (before and after), ``repeats``, ``inference_s``, ``load_s``, ``doubts``,
``machine`` (of :func:`latcast.measure._machine.changes`: what is known) and what else the host
knows of a run; or ``failed`` with the reason why this network cannot be measured; or ``full`` with
the reason where it is the host's disk that is full, which is no fault of the network's.

Three things can go wrong, and each costs something else:

- :class:`~latcast.measure.WorkerDiedError`: the worker ended, or gave no answer in time. It counts
  against the network, and a fresh worker is started.
- :class:`HostLostError`: the link to the host broke. The run in flight is made again after
  :meth:`Host.reconnect`, which waits for the host to come back.
- :class:`HostError`: the host cannot measure until somebody does something. The campaign stops, and
  goes on with ``--resume``.

:mod:`latcast.testing` puts a host through the contract's tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from latcast.devices import Device, Target
from latcast.measure._sources import NetworkSource
from latcast.measure.runtimes import Runtime, runtime, runtime_text


class HostError(OSError):
    """A host cannot measure: what must hold, what was got, and what to do."""


class HostLostError(HostError):
    """The link to a host is broken; it may come back."""


class HostWorker(Protocol):
    """A process on a host that has one runtime loaded; :class:`._worker.WorkerProcess` is one.

    Attributes:
        facts: what is true of all its runs: ``runtime`` (texts by name, ``version`` among them,
            which must stay the same during a campaign), ``machine`` (of
            :func:`latcast.measure._machine.settings`), ``timer_s`` and ``clock``.
    """

    facts: dict[str, Any]

    @property
    def pid(self) -> int:
        """Process number on the host."""

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Make a run, and wait for its answer.

        Args:
            request: ``network`` (of :meth:`Host.text_of`) and ``seed``; ``profile_passes`` or
                ``profile_s`` where it is to be profiled beside.
            timeout_s: seconds to wait.

        Raises:
            WorkerDiedError: there was no answer in time, or the worker died.
            HostLostError: the link broke.
        """

    def close(self) -> None:
        """End it, whatever it is doing; raises nothing, a broken link included."""


class Host(ABC):
    """A machine that measures: this one, one that SSH reaches, a phone.

    Args:
        name: what follows the kind in a host's text; empty: this machine.
    """

    kind: ClassVar[str]
    """How texts begin that name it, such as ``adb`` of ``adb:SERIAL``."""
    slack_s: ClassVar[float] = 0.0
    """Seconds beyond those of a run that an answer may take: transfers, waiting to cool down."""
    protocol: ClassVar[Mapping[str, Any]] = {}
    """Settings of :class:`latcast.measure.Protocol` that have another default there."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    @property
    def text(self) -> str:
        """The text that campaign files keep and :func:`host` reads; empty for this machine."""
        return f"{self.kind}:{self.name}" if self.name else ""

    @property
    @abstractmethod
    def title(self) -> str:
        """How messages call it, such as ``this machine``."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Return the facts that the host states of itself, JSON-able.

        ``name`` (what its device is called by default), ``system``, ``machine`` (architecture)
        and what else is known: ``cpus`` (those usable), ``clusters``, ``governor``,
        ``temperature_c``, ``memory_bytes``, ``free_bytes`` of its disk, ``python``, ``latcast``.

        Raises:
            HostError: it does not answer, or cannot measure.
        """

    @abstractmethod
    def check(self, target: Target, own: type[Runtime] | None = None) -> None:
        """Make sure that it can measure a target.

        Args:
            target: its runtime, threads, batch and precision.
            own: class of the runtime, where it is not the registered one.

        Raises:
            ValueError: the runtime is unknown, or does not have these settings.
            ModuleNotFoundError: its package is not installed there; the message says what to do.
            HostError: the host cannot measure.
        """

    def check_quantities(self, names: Sequence[str], runtime: str) -> None:  # noqa: B027
        """Make sure that it tells quantities, before hours are spent on latencies alone.

        Args:
            names: of quantities beside the latency.
            runtime: as targets call it.

        Raises:
            OSError: it does not tell one, or not to this user.
            ModuleNotFoundError: a package is missing there.
        """

    @abstractmethod
    def lock(self, path: Path) -> AbstractContextManager[None]:
        """Keep other campaigns, from wherever, from measuring there.

        The lock goes with the process that holds it, and with a link that is gone for good. What
        waits between here and the end of the lock ends with :meth:`stop_waiting`.

        Args:
            path: the campaign's file, which others are told.

        Raises:
            CampaignRunningError: another campaign measures there.
            HostError: the host cannot measure.
        """

    @abstractmethod
    def start(
        self, target: Target, protocol: Mapping[str, Any], own: type[Runtime] | None = None
    ) -> HostWorker:
        """A fresh worker; what only the host knows, such as the CPUs to run on, is decided there.

        Args:
            target: what to run on.
            protocol: settings of :class:`latcast.measure.Protocol` by name.
            own: class of the runtime, where it is not the registered one.

        Raises:
            WorkerDiedError: it did not get ready.
            HostLostError: the link broke.
        """

    @abstractmethod
    def detect(self, name: str | None = None, *, seconds: float = 2.0) -> Device:
        """Its specification, with what is measured there for so many seconds.

        Raises:
            ValueError: the name cannot be a device's.
            OSError: it could not be measured, or the host cannot be reached.
        """

    def runtime_text(self, name: str, own: type[Runtime] | None = None) -> str:
        """Return a campaign file's text of a runtime, compared when the campaign goes on.

        Args:
            name: as targets call it.
            own: its class, where it is not the registered one.

        Raises:
            ValueError: there is no such runtime.
        """
        return runtime_text(own or runtime(name))

    def has_profiler(self, name: str) -> bool:
        """Whether its workers tell the times of all layers of a network that is profiled.

        Args:
            name: of the runtime, as targets call it.

        Raises:
            ValueError: there is no such runtime.
        """
        return runtime(name).has_profiler

    def text_of(self, source: NetworkSource, batch: int, seed: int) -> str:
        """Return a worker's text of a network to measure, after sending the data of its file.

        Args:
            source: of the campaign.
            batch: of the target.
            seed: of the networks' parameters.

        Raises:
            ValueError, FileNotFoundError: a file has changed or is gone.
            HostLostError: the link broke.
        """
        return source.text

    def reconnect(self) -> None:
        """Wait for a host that was lost, and hold again what :meth:`lock` held.

        Waiting ends when another thread calls :meth:`stop_waiting` or :meth:`close`.

        Raises:
            HostError: it did not come back, or cannot measure any more; the message says how to
                go on.
        """
        raise HostError(f"{self.title} has no link that could break")

    def stop_waiting(self) -> None:  # noqa: B027  # most wait for nothing
        """End what another thread waits for, such as a phone that is to cool; no run in flight."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Close the link; ends the workers that are left. Can be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
