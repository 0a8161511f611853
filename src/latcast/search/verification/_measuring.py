"""Measuring the networks of a round, on this host or wherever the user can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from latcast.data import Dataset
from latcast.devices import Target
from latcast.spaces import Archs

if TYPE_CHECKING:
    from latcast.measure import CampaignFile, Plan, Progress, Protocol
    from latcast.measure.runtimes import Runtime


class MeasuringError(ValueError):
    """No network could be measured; the message says why."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The outcome of measuring networks.

    Attributes:
        dataset: the networks that were measured, in any order; None if there are none.
        failures: networks that cannot be measured, one each, with the reason.
        warnings: doubts about the measurements, a sentence each.
        is_interrupted: whether measuring was broken off (ctrl-C).
    """

    dataset: Dataset | None
    failures: tuple[tuple[Archs, str], ...] = ()
    warnings: tuple[str, ...] = ()
    is_interrupted: bool = False


class Measuring(ABC):
    """Measures networks on one target, round by round.

    :func:`search_and_verify` asks for every round whether an earlier run has :meth:`chosen` its
    networks already, and calls :meth:`measure` once. Latencies of all rounds must be comparable.
    Subclass it to measure on a device that is not this host.

    Attributes:
        target: what the latencies belong to.
    """

    target: Target

    @abstractmethod
    def measure(self, archs: Archs, round_: int) -> Measured:
        """Measure different networks.

        An interruption (ctrl-C) is no error: what was measured until then is returned.

        Args:
            archs: n networks, at least one.
            round_: 0 for those that were suggested, then 1, 2, …
        """

    def chosen(self, round_: int) -> Archs | None:
        """Networks that an earlier run has begun to measure in this round, if it did."""
        return None


# Measuring is loaded by who measures: whoever brings latencies of their own needs none of it.
def _protocol() -> Protocol:
    from latcast.measure import Protocol

    return Protocol()


@dataclass(eq=False)
class Campaigns(Measuring):
    """Measures on a host: a campaign a round, by the protocol of ``latcast measure``.

    It is a context manager, whose end closes the link to the host. Every run is kept in the
    round's campaign file as soon as it is made. Later rounds are corrected to the machine's state
    in the first one, by the reference network.

    Args:
        record: where to keep the raw records: of ``mine.parquet`` or ``mine`` they are
            ``mine.0.campaign``, ``mine.1.campaign`` …
        runtime: name of a runtime, or a class of the user's own.
        threads: of the target.
        batch: of the target.
        precision: of the target.
        device: name of the host; from its CPU by default.
        protocol: how networks are timed.
        seed: of the networks' parameters and the order of runs.
        like_ms: level of the reference network to which all rounds are corrected
            (:attr:`latcast.measure.Results.reference_ms`); that of the first one by default.
        resume: go on with the records of an earlier run.
        on_progress: as of :func:`latcast.measure.run`.
        host: as :attr:`latcast.measure.Plan.host`; this machine by default.

    Raises:
        HostError: the host cannot measure.
        ValueError: the runtime is unknown, or does not have these settings.
        ModuleNotFoundError: the runtime's package is not installed.
        FileExistsError: there are records already, and they are not to be resumed.
        FileNotFoundError: there are none to resume.
    """

    record: str | Path
    runtime: str | type[Runtime] = "onnxruntime"
    threads: int = 1
    batch: int = 1
    precision: str = "fp32"
    device: str | None = None
    protocol: Protocol = field(default_factory=_protocol)
    seed: int = 0
    like_ms: float | None = None
    resume: bool = False
    on_progress: Callable[[Progress], None] | None = None
    host: str = ""

    def __post_init__(self) -> None:
        from latcast.measure.hosts import host

        self._host = host(self.host)
        own, name = (
            (None, self.runtime)
            if isinstance(self.runtime, str)
            else (self.runtime, self.runtime.name)
        )
        self._own = own
        try:
            device = self.device or self._host.facts()["name"]
            self.target = Target(device, name, self.batch, self.precision, self.threads)
            self._host.check(self.target, own)
            self._check_records()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the link to the host."""
        self._host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_records(self) -> None:
        found = [self.path(n) for n in (0, 1) if self.path(n).exists()]
        if found and not self.resume:
            raise FileExistsError(
                f"{found[0]} holds measurements already: resume them, or name another record"
            )
        if self.resume and not found:
            raise FileNotFoundError(f"there is no campaign to resume: {self.path(1)}")

    def path(self, round_: int) -> Path:
        """The campaign file of a round."""
        record = Path(self.record)
        stem = record.with_suffix("") if record.suffix == ".parquet" else record
        return stem.with_name(f"{stem.name}.{round_}.campaign")

    def chosen(self, round_: int) -> Archs | None:
        from latcast import measure

        if not self.path(round_).exists():
            return None
        with measure.CampaignFile.open(self.path(round_)) as campaign:
            archs = measure.archs_of(campaign.networks())
        if archs is None:
            raise ValueError(f"{self.path(round_)} must be of one space's architectures; it is not")
        measure.open_or_resume(self.path(round_), self._plan(archs), resume=True).close()
        return archs

    def measure(self, archs: Archs, round_: int) -> Measured:
        from latcast import measure

        plan = self._plan(archs)
        with measure.open_or_resume(self.path(round_), plan, resume=True) as campaign:
            is_interrupted = False
            try:
                measure.run(campaign, on=self._host, on_progress=self.on_progress)
            except KeyboardInterrupt:
                is_interrupted = True
            return self._results(campaign, archs, is_interrupted=is_interrupted)

    def _plan(self, archs: Archs) -> Plan:
        from latcast.measure import Plan

        return Plan(self.target, archs, self.protocol, self.seed, self._own, host=self.host)

    def _results(self, campaign: CampaignFile, archs: Archs, *, is_interrupted: bool) -> Measured:
        from latcast import measure

        failures = tuple((archs[n], why) for n, why in campaign.failures().items())
        try:
            found = measure.results(campaign, like_ms=self.like_ms)
        except measure.NoLatencyError:
            return Measured(None, failures, is_interrupted=is_interrupted)
        self.like_ms = found.reference_ms
        return Measured(found.dataset, failures, tuple(found.warnings), is_interrupted)
