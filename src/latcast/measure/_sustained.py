"""Sustained runs: passes back to back for minutes or hours, and the state that a machine reaches.

The short runs of a campaign are of a machine that is cool. One that computes for long gets hot and
lowers its clock, or has used up what it may take beyond its power limit; what it settles at is what
a camera or a server gets. A sustained run follows all others of its campaign, on a machine that
has cooled down, and is a row of the campaign file like them, in the round :data:`ROUND`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.data import Dataset
from latcast.math.change_points import segments
from latcast.math.steady_state import SMALLEST, SteadyState, medians_of_five, steady_state
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.markup import end_of
from latcast.report.table import MISSING, Column, Table

from . import _machine
from ._campaign_file import SUSTAINED_ROUND, CampaignFile, Run
from .runtimes import LoadedNetwork

Floats = npt.NDArray[np.float64]

ROUND = SUSTAINED_ROUND
NAME = "sustained"
"""What its dataset is called beside those of quantities."""
MAX_NETWORKS = 20
"""Networks of a campaign of sustained runs, which take an hour or more together."""
PATIENCE_S = 360.0
"""Seconds beyond its own that a sustained run may take: cooling down, loading."""

CLOCK: Callable[[], float] = time.perf_counter
"""Seconds, by which a run lasts."""

# Points of a series: some 400, a second apart at most, unless that were more than 1,800.
_POINTS, _MAX_POINTS, _MAX_STEP_S = 400, 1800, 1.0
# The first second is what a single answer takes, before a machine has noticed anything.
_FIRST_S = 1.0
# Reading clocks and temperatures takes milliseconds on machines with many CPUs.
_WATCH_S = 1.0
# A temperature that falls less than this in so many seconds falls no more; where none is told, a
# fixed rest, of a share of the run at most.
_FALLS_C, _REST_S, _REST_SHARE, _MAX_REST_S = 1.0, 10.0, 0.1, 300.0
# Share by which the steady state must be slower, and a clock lower, to be told: what two runs of a
# network differ by on a quiet machine is below 1 %.
SLOWER = 0.03
# Least deviation of a series' noise, relative: smaller steps do not matter, and a clock that ticks
# slowly has none.
_MIN_SIGMA = 1e-3


# --- the worker's side --------------------------------------------------------------------------


def cool_down(
    seconds: float,
    *,
    temperature_c: Callable[[], float | None] = _machine.temperature_c,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a machine is as cool as it gets, five minutes at most.

    Args:
        seconds: that the run will last; where no temperature is told, a tenth of it is waited, ten
            seconds at most.
        temperature_c: of the hottest part of the processor; None where it is not told.
        sleep: waits.
    """
    before = temperature_c()
    if before is None:
        sleep(min(_REST_S, _REST_SHARE * seconds))
        return
    for _ in range(int(_MAX_REST_S / _REST_S)):
        sleep(_REST_S)
        now = temperature_c()
        if now is None or before - now < _FALLS_C:
            return
        before = now


@dataclass(frozen=True)
class Watch:
    """The readings that are taken while passes run.

    Attributes:
        clock: seconds.
        look: the machine now.
    """

    clock: Callable[[], float]
    look: Callable[[], _machine.Snapshot]


def sustain(
    network: LoadedNetwork, seconds: float, watch: Watch, *, timer_s: float, overhead: float
) -> dict[str, Any]:
    """Run a network back to back.

    Args:
        network: loaded; its first pass, which allocates, is not counted.
        seconds: that it runs.
        watch: clock and machine.
        timer_s: seconds that reading the clock takes.
        overhead: share of a sample that this may take; short networks run several passes a sample.

    Returns:
        ``samples_ms``, medians of steps of time; ``repeats``; and of ``sustained``: ``ends_s`` of
        the steps, ``passes`` in each, ``first_ms`` (the median of the first second), and where they
        are known ``clock_mhz``, ``temperature_c`` and ``throttled`` (events so far), one a step.
    """
    network.time(1)
    repeats = max(1, ceil(timer_s / overhead / max(network.time(1), 1e-9)))
    step_s = max(min(_MAX_STEP_S, seconds / _POINTS), seconds / _MAX_POINTS)
    started = watch.clock()
    first: list[float] = []
    medians: list[float] = []
    ends: list[float] = []
    passes: list[int] = []
    seen: list[_machine.Snapshot] = [watch.look()]
    looked = now = 0.0
    while now < seconds:
        samples: list[float] = []
        step_ends = now + step_s
        while now < step_ends:
            samples.append(1e3 * network.time(repeats) / repeats)
            now = watch.clock() - started
            if now <= _FIRST_S or not first:
                first.append(samples[-1])
        medians.append(float(np.median(samples)))
        ends.append(now)
        passes.append(repeats * len(samples))
        if now - looked >= _WATCH_S:
            seen.append(watch.look())
            looked = now
        else:
            seen.append(seen[-1])
    told = {"ends_s": ends, "passes": passes, "first_ms": float(np.median(first))}
    return {"samples_ms": medians, "repeats": repeats, "sustained": told | _looks(seen)}


def _looks(seen: Sequence[_machine.Snapshot]) -> dict[str, list[float]]:
    """Return readings by name; those that any snapshot lacks are left out."""
    columns: dict[str, list[float | None]] = {
        "clock_mhz": [x.clock_mhz for x in seen[1:]],
        "temperature_c": [x.temperature_c for x in seen[1:]],
        "throttled": [
            None if x.throttled is None or seen[0].throttled is None
            else x.throttled - seen[0].throttled
            for x in seen[1:]
        ],
    }  # fmt: skip
    return {
        name: [float(v) for v in values if v is not None]
        for name, values in columns.items()
        if None not in values
    }


# --- what came of it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class SustainedPoint:
    """A step of a sustained run.

    Attributes:
        seconds: since the run's begin, at the step's end.
        latency_ms: median of its passes, ms.
        passes: how many there were.
        clock_mhz: mean clock of the CPUs that were used, at its end; null where it is not told.
        temperature_c: of the hottest part of the processor, °C; null where it is not told.
    """

    seconds: float
    latency_ms: float
    passes: int
    clock_mhz: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class SustainedNetwork:
    """A network that ran back to back for long.

    Attributes:
        network: its name; of an architecture its row in the dataset.
        seconds: that it ran.
        passes: how many passes.
        first_ms: median of the first second, ms.
        steady_ms: latency in the steady state, ms; where there is none, of the run's last half.
        steady_lower_ms: lower end of its 95 % interval (batch means), ms; null where the run is too
            short for one.
        steady_upper_ms: upper end of the interval, ms.
        steady_after_s: seconds after which it is in the steady state; null where it reached none:
            the latency still changed when the run ended.
        ratio: of the steady state over the first second.
        slower_after_s: seconds after which it was slower than halfway to the steady state; null
            where that is not slower by more than 3 %.
        throttled: whether the machine throttled: the steady state is slower, and the clock fell or
            the system counted throttling; null where it is slower and the machine tells neither.
        reason: what that is concluded from.
        throttle_events: that the system counted; of phones Android's thermal status at its highest;
            null where it is not told.
        first_clock_mhz: clock after the first second; null where it is not told.
        steady_clock_mhz: median clock in the steady state; null where it is not told.
        first_temperature_c: of the processor after the first second, °C; null where it is not
            told.
        highest_temperature_c: the highest during the run, °C; null where it is not told.
        series: the run, step by step.
    """

    network: str
    seconds: float
    passes: int
    first_ms: float
    steady_ms: float
    steady_lower_ms: float | None
    steady_upper_ms: float | None
    steady_after_s: float | None
    ratio: float
    slower_after_s: float | None
    throttled: bool | None
    reason: str
    throttle_events: int | None
    first_clock_mhz: float | None
    steady_clock_mhz: float | None
    first_temperature_c: float | None
    highest_temperature_c: float | None
    series: tuple[SustainedPoint, ...]

    @classmethod
    def of(cls, name: str, run: Run) -> SustainedNetwork:
        """Make the record of a sustained run."""
        told = run.details["sustained"]
        ends, first_ms = np.array(told["ends_s"]), float(told["first_ms"])
        state = steady_state(run.samples_ms)
        low, high = state.level - state.half_width, state.level + state.half_width
        ratio = state.level / first_ms
        # The interval is of the steady state alone: the first second has none of its own.
        is_slower = (low if np.isfinite(low) else state.level) > (1 + SLOWER) * first_ms
        clock, heat = (_at_steps(told, key, state, ends)
                       for key in ("clock_mhz", "temperature_c"))  # fmt: skip
        events = int(max(told["throttled"])) if told.get("throttled") else None
        throttled, reason = _throttled(is_slower, events, clock)
        if is_slower and run.details["doubts"]:
            reason += f"; meanwhile {', '.join(run.details['doubts'])}"
        nothing: list[float | None] = [None] * len(ends)
        columns = zip(
            ends.tolist(), run.samples_ms.tolist(), told["passes"],
            told.get("clock_mhz") or nothing, told.get("temperature_c") or nothing, strict=True,
        )  # fmt: skip
        return cls(
            name, float(ends[-1]), sum(told["passes"]), first_ms, state.level,
            _known(low), _known(high), _after(state, ends), ratio,
            _slower_after(run.samples_ms, ends, first_ms, state.level) if is_slower else None,
            throttled, reason, events, clock[0], clock[1], heat[0],
            max(told.get("temperature_c") or (), default=None),
            tuple(SustainedPoint(*row) for row in columns),
        )  # fmt: skip

    @property
    def verdict(self) -> str:
        """Whether it throttled and when, in a sentence."""
        if self.slower_after_s is None:
            return f"did not throttle: {self.reason}"
        what = {True: "throttled", False: "did not throttle", None: "may have throttled"}
        return (
            f"{what[self.throttled]}, {100 * (self.ratio - 1):+.0f} % after "
            f"{self.slower_after_s:.0f} s: "
            f"{self.reason}"
        )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _after(state: SteadyState, ends: Floats) -> float | None:
    if not state.is_reached:
        return None
    return float(ends[state.start - 1]) if state.start else 0.0


def _at_steps(
    told: Mapping[str, Any], key: str, state: SteadyState, ends: Floats
) -> tuple[float | None, float | None]:
    """Return the reading after the first second, and its median in the steady state."""
    values = told.get(key)
    if not values:
        return None, None
    first = min(int(np.searchsorted(ends, _FIRST_S)), len(values) - 1)
    return float(values[first]), float(np.median(values[state.start :]))


def _slower_after(samples: Floats, ends: Floats, first_ms: float, steady_ms: float) -> float:
    """Return the seconds until a series first crosses the middle of two levels, by change points.

    Exact optimal partitioning (:mod:`latcast.math.change_points`) of the logarithms of medians of
    five steps: a single slow step is none.
    """
    log = np.log(medians_of_five(samples))
    sigma = _MIN_SIGMA
    if len(log) > 1:
        sigma = max(sigma, 1.4826 * float(np.median(np.abs(np.diff(log)))) / np.sqrt(2))
    middle = (np.log(first_ms) + np.log(steady_ms)) / 2
    parts = segments(log, sigma)
    start = next((part.start for part in parts if part.level > middle), parts[-1].start)
    position = min(start * SMALLEST, len(ends) - 1)
    return float(ends[position - 1]) if position else 0.0


def _throttled(
    is_slower: bool, events: int | None, clock: tuple[float | None, float | None]
) -> tuple[bool | None, str]:
    """Whether a machine throttled, and by what that is told."""
    if not is_slower:
        return False, f"the steady state is not slower by more than {100 * SLOWER:.0f} %"
    if events:
        return True, f"the system counted throttling ({events})"
    first, steady = clock
    if first is not None and steady is not None:
        if steady < (1 - SLOWER) * first:
            return True, f"the clock fell from {first:.0f} to {steady:.0f} MHz"
        return False, f"slower, though the clock stayed ({first:.0f} and {steady:.0f} MHz)"
    if events == 0:
        return False, "slower, though the system counted no throttling"
    return None, "slower; this machine tells neither its clock nor of throttling"


def sustained_networks(campaign: CampaignFile, latencies: Dataset) -> tuple[SustainedNetwork, ...]:
    """Return the sustained networks of a campaign, in the order of its networks.

    Args:
        campaign: an open campaign file.
        latencies: its dataset of latencies.
    """
    rows = _rows(campaign, latencies)
    names = latencies.names or [f"row {row}" for row in range(len(latencies))]
    return tuple(
        SustainedNetwork.of(names[rows[run.network]], run)
        for run in campaign.sustained_runs()
        if run.network in rows
    )


def sustained_dataset(campaign: CampaignFile, latencies: Dataset) -> Dataset | None:
    """Latencies in the steady state, as a dataset; None where there was no sustained run.

    Samples are the series; the standard error is that of the batch means, missing where other
    programs ran beside, which it does not show.
    """
    rows = _rows(campaign, latencies)
    runs = [run for run in campaign.sustained_runs() if run.network in rows]
    if not runs:
        return None
    states = [steady_state(run.samples_ms) for run in runs]
    seconds = max(run.details["sustained"]["ends_s"][-1] for run in runs)
    method = (
        f"latency in the steady state of passes back to back for {seconds:.0f} s: mean after the "
        "beginning that MSER-5 cuts off, interval by batch means"
    )
    return replace(
        latencies[np.array([rows[run.network] for run in runs])],
        values=np.array([state.level for state in states]),
        samples=tuple(run.samples_ms for run in runs),
        standard_error=np.array([
            np.nan if run.details["doubts"] else s.half_width / 1.96 / s.level
            for run, s in zip(runs, states, strict=True)
        ]),
        reference=None, uncorrected=None, layers=None,
        provenance={**latencies.provenance, "method": method},
    )  # fmt: skip


# --- how it is told -----------------------------------------------------------------------------


def sustained_parts(networks: Sequence[SustainedNetwork]) -> Iterator[Table | str]:
    """A table of steady states, what is concluded of each, and of a single one its course."""
    yield Table(_COLUMNS, networks, "passes back to back:")
    for network in networks:
        yield f"{end_of(network.network, 60)}: {network.verdict}"
    if len(networks) == 1:
        yield ""
        yield Table(_POINT_COLUMNS, _spans(networks[0].series), "its course:")


def sustained_figures(networks: Sequence[SustainedNetwork]) -> Iterator[Figure]:
    """Latency over time of each network, with the levels that it began and ended at."""
    for network in networks:
        title = f"{end_of(network.network, 60)} back to back"
        seconds = tuple(point.seconds for point in network.series)
        x = Axis("seconds")
        ms = tuple(point.latency_ms for point in network.series)
        guides = (Guide("first second", y=network.first_ms), Guide("steady", y=network.steady_ms))
        yield Figure(
            title, x, Axis("latency, ms"), (Series("latency", seconds, ms, "line"),), guides,
            network.verdict,
        )  # fmt: skip
        for name, label in (("clock_mhz", "clock, MHz"), ("temperature_c", "temperature, °C")):
            values = [getattr(point, name) for point in network.series]
            if None not in values:
                series = (Series(label, seconds, tuple(values), "line"),)
                yield Figure(f"{title}: {label}", x, Axis(label), series)


def _spans(series: Sequence[SustainedPoint]) -> list[SustainedPoint]:
    """Some ten stretches of a series, each the median of its points."""
    parts = np.array_split(np.arange(len(series)), min(_SPANS, len(series)))
    return [_median([series[n] for n in part]) for part in parts]


def _median(points: Sequence[SustainedPoint]) -> SustainedPoint:
    def middle(name: str) -> float | None:
        known = [value for p in points if (value := getattr(p, name)) is not None]
        return float(np.median(known)) if known else None

    return SustainedPoint(
        points[-1].seconds, middle("latency_ms") or 0.0, sum(p.passes for p in points),
        middle("clock_mhz"), middle("temperature_c"),
    )  # fmt: skip


def _interval(network: SustainedNetwork) -> str:
    if network.steady_lower_ms is None:
        return MISSING
    return f"{network.steady_lower_ms:.4g} – {network.steady_upper_ms:.4g}"


_SPANS = 12
_COLUMNS = (
    Column("network", lambda network: end_of(network.network, 60)),
    Column("s", "seconds", ".0f"),
    Column("first second, ms", "first_ms", ".4g"),
    Column("steady, ms", "steady_ms", ".4g"),
    Column("95 % interval", _interval),
    Column("ratio", "ratio", ".3f"),
    Column("steady after, s", "steady_after_s", ".0f"),
    Column("throttled", lambda n: "?" if n.throttled is None else "yes" if n.throttled else "no"),
    Column("highest °C", "highest_temperature_c", ".0f"),
)
_POINT_COLUMNS = (
    Column("until, s", "seconds", ".0f"),
    Column("ms", "latency_ms", ".4g"),
    Column("passes", "passes"),
    Column("MHz", "clock_mhz", ".0f"),
    Column("°C", "temperature_c", ".0f"),
)


def _rows(campaign: CampaignFile, latencies: Dataset) -> dict[int, int]:
    """Number of a network in a campaign -> its row in the dataset."""
    accepted = [run.network for run in campaign.runs() if run.accepted]
    return {accepted[place]: row for row, place in enumerate(latencies.order.tolist())}
