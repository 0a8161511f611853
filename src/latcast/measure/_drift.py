"""The drift of a machine during a campaign, estimated and taken out.

In logarithms, with ``factor = curve(t) + offset[process]`` for what the machine does to a run::

    latency   = truth[network] + factor + noise
    reference = level + loading * factor + own offset[process] + noise

Noise follows Student's t. The curve is a random walk whose steps follow Cauchy's law, so that it
keeps still, climbs slowly, or jumps where the runs say so; offsets are normal. Scales are found
by expectation maximization, with the t as a normal of random precision (Lange, Little and Taylor
1989, *Robust statistical modeling using the t distribution*). Whether there are a curve and
offsets at all, how restless the curve is, and whether the reference helps, is decided by
predicting runs that were held out: the simplest model that is not clearly worse is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from latcast.math.drift import FREEDOM, Fit, Problem, Settings, medians_by_network

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Scales of a step of the curve that are tried, in noises of one run.
STEPS = (0.01, 0.03, 0.1, 0.3)
# Every fold is a fit of every setting tried: three leave two thirds of the runs to learn from.
_FOLDS = 3
# Without a margin the richer model would win on noise every other time, and drift would be taken
# out that is none.
_CLEARLY = 2.0  # standard errors
# With fewer repeated runs than that, held-out runs cannot tell the settings apart.
_MIN_REPEATS = 8
# A campaign in which the machine hardly changed cannot tell the reference's loading: what is
# estimated counts within these.
_POSSIBLE_LOADINGS = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs in order of time, as parallel arrays.

    Attributes:
        network: number of the network, 0 … m - 1, shape (n,).
        process: number of the worker process, shape (n,).
        latency_ms: the run's median, shape (n,).
        reference_ms: median of the reference network before and after, shape (n, 2); NaN where
            it was not timed.
        time_s: seconds since the campaign's start, shape (n,), never falling: the machine may
            change more in a longer gap. None: at equal distances.
    """

    network: Integers
    process: Integers
    latency_ms: Floats
    reference_ms: Floats
    time_s: Floats | None = None

    def __len__(self) -> int:
        return len(self.network)

    def at(self, rows: Integers) -> Runs:
        """Return the runs at ascending positions, shape (m,)."""
        time = None if self.time_s is None else self.time_s[rows]
        return Runs(
            self.network[rows],
            self.process[rows],
            self.latency_ms[rows],
            self.reference_ms[rows],
            time,
        )


@dataclass(frozen=True, eq=False)
class Drift:
    """The state of the machine during a campaign.

    Attributes:
        factor: slowness of the machine at every run, offset of the process included, shape
            (n,); its median is 1 (unless :meth:`shifted`), and it is 1 throughout where no drift
            could be shown.
        corrected_ms: the runs' medians without it, shape (n,).
        noise: what is left: relative standard deviation of one run; NaN where no network
            was run twice.
        loading: drift of the reference for a drift of the networks of 1; NaN where the reference
            was not used.
        process_spread: relative standard deviation of the processes' offsets; 0: none shown.
    """

    factor: Floats
    corrected_ms: Floats
    noise: float
    loading: float
    process_spread: float

    def __mul__(self, slower: Floats) -> Drift:
        """The same drift with every run so many times as slow, shape (n,)."""
        return replace(self, factor=self.factor * slower, corrected_ms=self.corrected_ms / slower)

    def shifted(self, by: float) -> Drift:
        """The same drift seen from a state of the machine ``by`` times as fast."""
        return self * np.full(len(self.factor), by)

    @property
    def range(self) -> float:
        """Difference of the slowest and the fastest state, as a share; single runs aside."""
        low, high = np.quantile(self.factor, (0.01, 0.99))
        return float(high / low - 1)


def estimate_drift(runs: Runs) -> Drift:
    """Estimate the drift from repeated runs and the reference network.

    Raises:
        ValueError: there is no run, the arrays do not go together, a latency is not positive
            and finite, or time goes back.
    """
    problem = Problem(runs.network, runs.process, *_checked(runs))
    # The settings were chosen on parts; what is reported is the fit to all runs.
    fit = Fit(problem, np.ones(len(runs), dtype=np.bool_), choose(problem))
    # Drift has no absolute level: truths and factor can trade one against the other. The median
    # state of the campaign is the one that latencies are stated for.
    factor = np.exp(fit.factor - np.median(fit.factor))
    corrected = np.asarray(runs.latency_ms, dtype=np.float64) / factor
    return Drift(factor, corrected, fit.noise(), fit.loading, fit.process_spread)


def _checked(runs: Runs) -> tuple[Floats, Floats, Floats]:
    """Latencies (n,), reference (n, 2) and times (n,)."""
    n = len(runs)
    latency = np.asarray(runs.latency_ms, dtype=np.float64)
    reference = np.asarray(runs.reference_ms, dtype=np.float64)
    time = np.asarray(np.arange(n) if runs.time_s is None else runs.time_s, dtype=np.float64)
    if not n:
        raise ValueError("drift needs at least one run; got none")
    shapes = (runs.process.shape, latency.shape, time.shape, reference.shape)
    if shapes != ((n,), (n,), (n,), (n, 2)):
        raise ValueError(
            f"process, latency_ms and time_s must have the shape ({n},), and reference_ms "
            f"({n}, 2); got {shapes}"
        )
    if not (np.isfinite(latency) & (latency > 0)).all():
        row = int(np.argmin(np.isfinite(latency) & (latency > 0)))
        raise ValueError(
            f"latencies must be positive and finite; got {latency[row]} in run {row}: leave it out"
        )
    if not (np.diff(time) >= 0).all():
        raise ValueError("runs must be in order of time; time_s falls: sort them")
    return latency, reference, time


def choose(problem: Problem) -> Settings:
    """The simplest settings that predict held-out runs not clearly worse than the best."""
    none = Settings(0.0, reference=False, offsets=False)
    # Only a network's second run and later ones say anything of the machine: the first fixes its
    # truth.
    if len(problem) - problem.network.max() - 1 < _MIN_REPEATS:
        return none
    several = bool(problem.process.max() > 0)
    heard = (False, True) if problem.timed.any() else (False,)
    tried = [none, *(Settings(*s, offsets=several) for s in product(STEPS, heard))]
    scores = {s: _held_out(problem, s) for s in tried}
    # Models without a curve, or without offsets, are fitted last and beside the best alone: fitting
    # all combinations would double the time of a choice.
    if several:
        best = _best(scores)
        fewer = [Settings(0.0, r, offsets=True) for r in heard]
        if best.step > 0:
            fewer.append(best._replace(offsets=False))
        scores |= {s: _held_out(problem, s) for s in fewer}
    return _simplest(scores)


def _best(scores: dict[Settings, Floats]) -> Settings:
    return max(scores, key=lambda s: float(scores[s].sum()))


def _simplest(scores: dict[Settings, Floats]) -> Settings:
    """The best settings with the fewest terms that the best of all do not clearly beat."""
    best = _best(scores)
    # From the simplest to the richest: offsets of processes are fewer unknowns than a curve.
    for terms in ((False, False), (False, True), (True, False)):
        alike = {s: score for s, score in scores.items() if s.terms == terms}
        if alike:
            simple = _best(alike)
            # Paired, run by run: how hard a run is to predict at all is the same for both models.
            gains = scores[best] - scores[simple]
            if gains.mean() <= _CLEARLY * gains.std() / np.sqrt(len(gains)):
                return simple
    return best


def _held_out(problem: Problem, settings: Settings) -> Floats:
    """Log density of every repeated run, up to a constant, when the others predict it."""
    density = np.zeros(len(problem))
    folds = _folds(problem)
    for fold in range(_FOLDS):
        out = (folds == fold) & problem.repeated
        fit = Fit(problem, ~out, settings)
        variance = fit.scale**2 + fit.variance[out]
        square = fit.residuals[out] ** 2 / variance
        # Student's t, as in the fit: one run that a cron job hit must not decide between models.
        density[out] = -0.5 * (np.log(variance) + (FREEDOM + 1) * np.log1p(square / FREEDOM))
    return density[problem.repeated]


def _folds(problem: Problem) -> Integers:
    """Fold of every run: neighbours, and runs of one network, in different ones."""
    # A fold must hold neither a stretch of time nor all runs of a network: the curve there, or the
    # network's truth, could not be known from the others.
    order = np.argsort(problem.network, kind="stable")
    counts = np.bincount(problem.network)
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(problem), dtype=np.int64)
    rank[order] = np.arange(len(problem)) - starts[problem.network[order]]
    return np.asarray((rank + problem.network) % _FOLDS)


# --- what the machine did to every run ----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class States:
    """The states of a machine in the runs of a campaign, and which runs it was busy in.

    Attributes:
        runs: of the campaign.
        drift: of the machine, what the reference network tells of single runs included.
        level_ms: of the reference network in the state that latencies belong to.
        loaded: runs that other work may have slowed, by what the system says, shape (n,).
        away: logarithm of the reference network over its level, beyond the drift, shape (n,).
        off: runs around which that is too much, shape (n,); the drift takes it out.
    """

    runs: Runs
    drift: Drift
    level_ms: float
    loaded: npt.NDArray[np.bool_]
    away: Floats
    off: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        runs: Runs,
        loaded: npt.NDArray[np.bool_],
        max_gap: float,
        like_ms: float | None = None,
    ) -> States:
        """Estimate the drift, and correct by the reference network what it does not follow.

        Load that comes for a few runs is no drift that repeated runs could show, and with few
        repeats none is looked for: the reference network beside such a run tells all the same.

        Args:
            runs: of a campaign, whose reference network was timed.
            loaded: shape (n,).
            max_gap: share by which the reference network may be off its level.
            like_ms: the level that latencies shall belong to; by default that of the median state
                in runs without load.
        """
        drift = estimate_drift(runs)
        # Of a machine that was loaded most of the time the median state is a loaded one.
        quiet = ~loaded if loaded.any() and not loaded.all() else np.ones(len(runs), dtype=np.bool_)
        if loaded.any():
            drift = drift.shifted(1 / float(np.exp(np.median(np.log(drift.factor[quiet])))))
        log = np.log(runs.reference_ms).mean(axis=1)
        if np.isfinite(drift.loading):
            log = log - drift.loading * np.log(drift.factor)
        level = float(np.exp(np.median(log[quiet])))
        away = log - np.log(level)
        off = np.abs(away) > np.log1p(max_gap)
        if off.any():
            drift = drift * np.exp(np.where(off, away, 0.0) / _possible(drift.loading))
        found = cls(runs, drift, level, loaded, away, off)
        return found if like_ms is None else found._at_level(like_ms)

    @classmethod
    def of_fleet(
        cls,
        runs: Runs,
        board: Integers,
        loaded: npt.NDArray[np.bool_],
        max_gap: float,
        like_ms: float | None = None,
    ) -> States:
        """The states of boards of one kind, each corrected to one by its reference network.

        Args:
            runs: of all boards, each of which has a drift of its own.
            board: number of every run's board, shape (n,).
            loaded: as of :meth:`of`.
            max_gap: likewise.
            like_ms: likewise; by default the level is the median of the boards'.
        """
        rows = [np.flatnonzero(board == number) for number in np.unique(board)]
        if len(rows) < 2:
            return cls.of(runs, loaded, max_gap, like_ms)
        parts = [cls.of(runs.at(at), loaded[at], max_gap) for at in rows]
        level = like_ms or float(np.exp(np.median(np.log([part.level_ms for part in parts]))))
        parts = [part._at_level(level) for part in parts]
        drifts = [part.drift for part in parts]
        order = np.argsort(np.concatenate(rows))
        drift = Drift(
            factor=np.concatenate([d.factor for d in drifts])[order],
            corrected_ms=np.concatenate([d.corrected_ms for d in drifts])[order],
            noise=_mean_of_known([d.noise for d in drifts], rows),
            loading=_mean_of_known([d.loading for d in drifts], rows),
            process_spread=_mean_of_known([d.process_spread for d in drifts], rows),
        )
        away = np.concatenate([part.away for part in parts])[order]
        off = np.concatenate([part.off for part in parts])[order]
        return cls(runs, drift, level, loaded, away, off)

    def _at_level(self, level_ms: float) -> States:
        """The same seen from where the reference network takes so many ms."""
        by = (self.level_ms / level_ms) ** (1 / _possible(self.drift.loading))
        return replace(self, drift=self.drift.shifted(by), level_ms=level_ms)

    @property
    def busy(self) -> npt.NDArray[np.bool_]:
        """Runs of which other work is known or seen, shape (n,)."""
        return self.loaded | self.off

    def counted(self, n: int) -> npt.NDArray[np.bool_]:
        """The runs that count, shape (n,): without the busy ones of networks that have others."""
        network = self.runs.network
        has_quiet = np.bincount(network[~self.busy], minlength=n) > 0
        return np.asarray(~self.busy | ~has_quiet[network])

    def medians(self, values: Floats, n: int) -> Floats:
        """Median over the runs of each of n networks that count, shape (n,); NaN: none."""
        counted = self.counted(n)
        return medians_by_network(self.runs.network[counted], values[counted], n)

    def noise(self) -> float:
        """Relative standard deviation of one run of a quiet machine; NaN: none was repeated."""
        if not self.busy.any():
            return self.drift.noise
        # Busy runs are noise of another size, of which the drift's fit makes one.
        network = self.runs.network[~self.busy]
        log = np.log(self.drift.corrected_ms[~self.busy])
        count = np.bincount(network)
        mean = np.bincount(network, log) / np.maximum(count, 1)
        spare = int((count - 1)[count > 1].sum())
        squares = float(((log - mean[network]) ** 2).sum()) if spare else np.nan
        return float(np.sqrt(squares / max(spare, 1)))


def _possible(loading: float) -> float:
    low, high = _POSSIBLE_LOADINGS
    return 1.0 if np.isnan(loading) else float(np.clip(loading, low, high))


def _mean_of_known(values: Sequence[float], rows: Sequence[Integers]) -> float:
    """Root mean square over runs of what boards state; NaN: none does."""
    known = [(x, len(at)) for x, at in zip(values, rows, strict=True) if np.isfinite(x)]
    squares = (
        np.average([x**2 for x, _ in known], weights=[n for _, n in known]) if known else np.nan
    )
    return float(np.sqrt(squares))
