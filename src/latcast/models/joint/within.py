"""Forecasts of the same networks on many targets of the joint model against a budget, at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latcast.networks import Networks
from latcast.networks.bound import bounds_ms

from ._fit import SCATTER
from ._predictor import JointPredictor
from ._together import Column, at_batch, log_ms_and_variances_on, log_ms_on

Floats = npt.NDArray[np.float64]


class Within(NamedTuple):
    """The result of :meth:`Predictor.within`: four arrays of shape (n,)."""

    ms: Floats
    lower_ms: Floats
    upper_ms: Floats
    probability: Floats


def within_each(
    predictors: Sequence[JointPredictor], networks: Networks, limit: float, coverage: float
) -> list[Within]:
    """:meth:`Predictor.within` of each of t predictors, whose arithmetic is done at once.

    Args:
        predictors: whose targets run the same kernels, at one batch.
        networks: n of them, as these targets run them.
        limit: of the probability.
        coverage: of the intervals.
    """
    works = bool((np.diff(networks.counts.indptr) > 0).all())
    plain = [p for p in predictors if works and p._measured is None and p._campaign is None]
    found = {}
    if plain:
        answers = _within_plain(plain, networks, limit, coverage)
        found = {id(p): answer for p, answer in zip(plain, answers, strict=True)}
    return [found.get(id(p)) or Within(*p.within(networks, limit, coverage)) for p in predictors]


def _within_plain(
    predictors: Sequence[JointPredictor], networks: Networks, limit: float, coverage: float
) -> Iterator[Within]:
    """:func:`within_each`, of targets of which there is nothing but a prior."""
    columns = [Column(p.facts, p._prior) for p in predictors]
    log_ms, variance, before = log_ms_and_variances_on(networks, columns)
    beside = np.array([p._effects.unknown_variance for p in predictors])
    deviation = np.sqrt(np.maximum(variance + beside, SCATTER**2))
    for n, p in enumerate(predictors):
        deviation[:, n] = p._as_unmeasured_at_most(deviation[:, n], before[:, n])
    nested = log_ms_on(networks, [Column(*pair) for p in predictors for pair in p._nested])
    ends = np.cumsum([len(p._nested) for p in predictors])
    whole, has_batch = predictors[0].target.batch, bool((networks.fact("batch") > 1).any())
    batches = {b for p in predictors for b in p._batches} if has_batch else set()
    at = {b: log_ms_on(at_batch(networks, whole, b), columns) for b in batches}
    for n, p in enumerate(predictors):
        now, fewer = log_ms[:, n].copy(), nested[:, ends[n] - len(p._nested) : ends[n]]
        log_ms[:, n] += p._fewer_cores(now, list(fewer.T))
        if has_batch:
            log_ms[:, n] += p._smaller_batch(now, [at[b][:, n] for b in p._batches])
    bound = bounds_ms(networks, [p._facts for p in predictors])
    ms = np.maximum(np.exp(log_ms), bound)
    for n, p in enumerate(predictors):
        one, own, least = ms[:, n], deviation[:, n], bound[:, n]
        lower, upper = p.calibration.interval(one, coverage, own)
        below = p.calibration.probability_below(one, limit, own)
        yield Within(one, np.maximum(lower, least), upper, np.where(limit < least, 0.0, below))
