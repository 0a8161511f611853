"""Latencies of known networks on other chips, by their names alone: a Gaussian over targets.

Chips that are much alike differ in a few directions of the space of networks. There a Gaussian
says more of a known network than prices do, whose regression on few chips' facts may be wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latcast.networks import Networks

from ._observations import Observations, TargetFacts
from ._posterior import Posterior

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Key = tuple[str, str]

NOISE = 0.045**2
"""Variance of the logarithm of one network's latency by itself: two runs of a phone."""
ROUNDS = 10
# Parts of a group's chips that are left out in turn, and measured networks, to learn how much
# greater its Gaussian's errors are squared than it says.
FOLDS, SAMPLES = 4, (1, 3, 5, 10, 20)
# The same at least of one chip; of several it is divided by their number, after one network by its
# square: few know few directions, and may be of one generation. What one chip tells of others asks
# for 21 after one network and after three, two chips for 4.5 and 9.9, three for 2.7 and 4.7, five
# for 1.9 and 3 (chips drawn of nine groups of ncnn's and AI Hub's, median over the groups).
UNTOLD = 20.0
# The median of a squared normal deviate.
_MEDIAN = 0.455
_LEAST = 1e-6  # of what such medians are
# How many measured networks the variances that are learnt elsewhere are worth on a new target.
WORTH = 4.0
# Of fewer measurements each tells of the others' common error only.
FEWEST = 3
# Correlation of the errors of the Gaussian and of the weights, which share their measurements.
SHARED = 0.5


def group_of(target: TargetFacts) -> Key:
    """Domain and precision of a target: latencies of networks are compared where both are one."""
    return target.domain, target.precision


def groups_of(data: Observations) -> dict[Key, Numbers]:
    """Rows of every group of targets."""
    keys = [group_of(t) for t in data.targets]
    found: dict[Key, list[int]] = {}
    for row, target in enumerate(data.target.tolist()):
        found.setdefault(keys[target], []).append(row)
    return {key: np.array(rows) for key, rows in found.items()}


@lru_cache(maxsize=512)  # the same networks are asked for with every draw of measurements
def log_work(networks: Networks) -> Floats:
    """Logarithm of what grows with the batch: operations and bytes of activations, shape (n,)."""
    moved = networks.fact("read_bytes") + networks.fact("write_bytes")
    work = networks.counts @ (2 * networks.fact("macs") + moved)
    return np.asarray(np.log(np.maximum(work, 1.0)))


class LatencyTable:
    """Latencies of one group as targets x known networks, each over the network's size."""

    def __init__(self, data: Observations) -> None:
        names = row_names(data)
        self.names = {name: n for n, name in enumerate(dict.fromkeys(names))}
        targets, rows = np.unique(data.target, return_inverse=True)
        values = data.log_ms - log_work(data.networks)[data.network]
        total, count = (np.zeros((len(targets), len(self.names))) for _ in range(2))
        # A target can have measured a network more than once.
        at = rows, self.columns(names)
        np.add.at(total, at, values)
        np.add.at(count, at, 1.0)
        self.values = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)

    def columns(self, names: Sequence[str]) -> Numbers:
        """Column of every name; -1 for networks that are not known."""
        return np.array([self.names.get(name, -1) for name in names], dtype=np.intp)

    def measured(self, rows: Observations) -> tuple[Numbers, Floats]:
        """Columns of the measured networks that are known, and their latencies over their sizes."""
        columns = self.columns(row_names(rows))
        values = rows.log_ms - log_work(rows.networks)[rows.network]
        return columns[columns >= 0], values[columns >= 0]


def row_names(data: Observations) -> list[str]:
    """Name of every row's network."""
    return [data.names[n] for n in data.network.tolist()]


class Seen(NamedTuple):
    """Weights of a Gaussian's factors after measurements of a target.

    Attributes:
        weights: mean, shape (r,).
        covariance: shape (r, r).
        away: squared errors of the measurements in deviations, each as the others tell, shape (k,).
    """

    weights: Floats
    covariance: Floats
    away: Floats


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Log latencies of known networks are jointly normal over targets (EM for missing ones).

    The covariance is kept as its factors, at most as many as there are targets or networks, and
    noise of a fixed variance: probabilistic principal components (Tipping and Bishop 1999).

    Attributes:
        table: of the targets that were learnt from; n known networks.
        mean: shape (n,).
        factors: shape (n, r).
        targets: names of the targets.
        farther: by numbers of measured networks, how much greater the variance of chips left out
            is than stated.
    """

    table: LatencyTable
    mean: Floats
    factors: Floats
    targets: frozenset[str] = frozenset()
    farther: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def fit(cls, data: Observations) -> Gaussian:
        """Fit to the targets of one group."""
        table = LatencyTable(data)
        values = table.values
        speeds, networks = two_way(values)
        full = np.where(np.isnan(values), speeds[:, None] + networks, values)
        mean, factors = _factors(full, np.zeros((0, full.shape[1])))
        for _ in range(ROUNDS):
            spread = np.zeros((factors.shape[1], factors.shape[1]))
            for row, y in zip(full, values, strict=True):
                seen = ~np.isnan(y)
                weights, covariance = _posterior(factors[seen], y[seen] - mean[seen])
                row[~seen] = mean[~seen] + factors[~seen] @ weights
                spread += covariance
            root = np.linalg.cholesky(spread / len(full) + 1e-12 * np.eye(len(spread)))
            mean, factors = _factors(full, (factors @ root).T)
        return cls(table, mean, factors, frozenset(data.targets[t].name for t in data.target))

    def told(self, columns: Numbers, values: Floats) -> Seen:
        """Condition on measurements of a target.

        Args:
            columns: of the measured networks, shape (k,).
            values: their latencies over their sizes, shape (k,).
        """
        of, rest = self.factors[columns], values - self.mean[columns]
        weights, covariance = _posterior(of, rest)
        # Of one row the others' forecast follows from the inverse covariance of all.
        inverse = 1 - np.einsum("kr,rs,ks->k", of, covariance, of) / NOISE
        return Seen(weights, covariance, (rest - of @ weights) ** 2 / (NOISE * inverse))

    def forecast(self, seen: Seen, columns: Numbers) -> tuple[Floats, Floats]:
        """Means and variances of latencies over sizes, each (m,); NaN where -1 is no column."""
        of = self.factors[columns]
        variance = np.einsum("nr,rs,ns->n", of, seen.covariance, of) + NOISE
        mean = np.where(columns >= 0, self.mean[columns] + of @ seen.weights, np.nan)
        return mean, variance

    def averaged(
        self,
        forecast: tuple[Floats, Floats],
        after: Posterior,
        measured: Observations,
        networks: Networks,
        names: Sequence[str],
    ) -> tuple[Floats, Floats]:
        """Means and deviations of log ms where what is known of networks by name has its say.

        Both forecasts count by what they state of their errors, as far as chips that were left out
        and the measurements themselves, each forecast by the others, confirm it.

        Args:
            forecast: means and deviations by prices, each (m,).
            after: the weights of the prices after the measurements.
            measured: rows of the target, at least one.
            networks: m of them.
            names: of the networks.
        """
        columns, values = self.table.measured(measured)
        wanted = self.table.columns(names)
        if not len(columns) or (wanted < 0).all():
            return forecast
        seen = self.told(columns, values)
        own, variance = self.forecast(seen, wanted)
        own += log_work(networks)
        farther = self.farther[max((k for k in self.farther if k <= len(columns)), default=1)]
        own_deviation = np.sqrt(variance * farther * _scale(seen.away / farther))
        log_ms, deviation = forecast
        deviation = deviation * np.sqrt(_scale(after.pull**2 / after.inverse_diagonal))
        share = np.where(wanted >= 0, deviation**2 / (deviation**2 + own_deviation**2), 0.0)
        parts = (1 - share) * deviation, share * own_deviation
        both = np.sqrt(parts[0] ** 2 + parts[1] ** 2 + 2 * SHARED * parts[0] * parts[1])
        return log_ms + share * np.nan_to_num(own - log_ms), np.where(share, both, forecast[1])


def gaussians(data: Observations) -> dict[Key, Gaussian]:
    """Fit every group of targets, and score the errors on chips that are left out.

    Kernels that were measured alone follow prices better than each other: with them GPUs left out
    are off by 13 to 18 % on elements' operators after one, by 6 to 11 % without.
    """
    kernels = np.asarray(data.networks.counts.sum(axis=1)).ravel()
    data = data.select(kernels[data.network] > 1)
    groups = {key: data.select(rows) for key, rows in groups_of(data).items()}
    return {k: replace(Gaussian.fit(own), farther=_farther(own)) for k, own in groups.items()}


def _farther(data: Observations) -> dict[int, float]:
    """Return the factor by which a group's variances are too small, by measured networks."""
    rng, chips = np.random.default_rng(0), data.chips
    names = rng.permutation(np.unique(chips))
    squares: defaultdict[int, list[Floats]] = defaultdict(list)
    for fold in np.array_split(names, min(FOLDS, len(names))) if len(names) > 1 else ():
        out = np.isin(chips, fold)
        gaussian = Gaussian.fit(data.select(~out))
        for target in np.unique(data.target[out]):
            columns, values = gaussian.table.measured(data.select(data.target == target))
            order = rng.permutation(len(columns))
            for k in SAMPLES:
                some, rest = order[:k], order[k:]
                if len(rest):
                    seen = gaussian.told(columns[some], values[some])
                    mean, variance = gaussian.forecast(seen, columns[rest])
                    squares[k].append((values[rest] - mean) ** 2 / variance)
    medians = {k: float(np.median(np.concatenate(found))) for k, found in squares.items()}
    # Not nothing: chips that are told exactly would have no deviation to be off by.
    told = {k: max(median, _LEAST) / _MEDIAN for k, median in medians.items()}
    least = {k: UNTOLD / len(names) ** (2 if k == 1 else 1) for k in SAMPLES}
    return {k: max(least[k], told.get(k, 0.0)) for k in SAMPLES}


def _scale(away: Floats) -> float:
    """Posterior mean of the factor of a variance, by squared errors in deviations."""
    if len(away) < FEWEST:
        return 1.0
    return float((WORTH + away.sum()) / (WORTH + len(away)))


def _posterior(factors: Floats, rest: Floats) -> tuple[Floats, Floats]:
    """Mean and covariance of the weights of the factors, of which ``rest`` was seen."""
    precision = np.eye(factors.shape[1]) + factors.T @ factors / NOISE
    covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
    return np.asarray(covariance @ (factors.T @ rest) / NOISE), covariance


def two_way(values: Floats, rounds: int = 50) -> tuple[Floats, Floats]:
    """Effects of rows and of columns of a matrix with gaps, by alternating means."""
    columns = np.nanmean(values, axis=0)
    rows = np.zeros(len(values))
    for _ in range(rounds):
        rows = np.nanmean(values - columns, axis=1)
        columns = np.nanmean(values - rows[:, None], axis=0)
    return rows, columns


def _factors(full: Floats, more: Floats) -> tuple[Floats, Floats]:
    """Mean (n,), and factors L (n, r) with L L' the covariance of the rows plus ``more' more``.

    One target more, e times as slow in all networks, keeps the few from being all of one speed.
    """
    mean = full.mean(axis=0)
    slower = np.full((1, full.shape[1]), 1 / np.sqrt(len(full)))
    stacked = np.vstack([(full - mean) / np.sqrt(len(full)), slower, more])
    _, scale, right = np.linalg.svd(stacked, full_matrices=False)
    keep = scale > 1e-9 * max(float(scale[0]), 1e-300)
    return mean, (right[keep].T * scale[keep])
