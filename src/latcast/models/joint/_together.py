"""The same networks on many targets at once, at the means of their priors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latcast.graph import KERNEL_FACTS
from latcast.networks import Networks

from ._gpu import Facts
from ._posterior import Prior
from ._work import Times, Work

Floats = npt.NDArray[np.float64]

# Facts that grow with the batch.
_WITH_BATCH = ("macs", "read_bytes", "write_bytes", "positions", "batch")
# Kernels times targets that are evaluated at once: some ten arrays of so many numbers. Of all
# targets at once they leave the caches; five or a third of these take as long.
_AT_ONCE = 100_000
# Of these with slopes, which are arrays of fourteen times as many.
_WITH_SLOPES = 50_000


class Column(NamedTuple):
    """A target: what is known of it, and the prior of its weights."""

    facts: Facts
    prior: Prior


def log_ms_on(networks: Networks, columns: Sequence[Column]) -> Floats:
    """Log ms of n networks on each of t targets, shape (n, t)."""
    found = np.empty((len(networks), len(columns)))
    for places, times in _parts(networks, columns, _AT_ONCE):
        found[:, places] = times.log_ms(networks.counts)
    return found


def log_ms_and_variance_on(networks: Networks, columns: Sequence[Column]) -> tuple[Floats, Floats]:
    """:func:`log_ms_on`, and the variance that the weights' covariance makes of it, (n, t) each."""
    log_ms, variance = np.empty((2, len(networks), len(columns)))
    for places, times in _parts(networks, columns, _WITH_SLOPES):
        log_ms[:, places] = times.log_ms(networks.counts)
        slopes = times.slopes(networks.counts)
        # Targets on whose chips nothing was measured share their domain's covariance.
        shared: dict[int, list[int]] = {}
        for n, place in enumerate(places):
            shared.setdefault(id(columns[place].prior.covariance), []).append(n)
        for some in shared.values():
            covariance, own = columns[places[some[0]]].prior.covariance, slopes[:, some]
            variance[:, [places[n] for n in some]] = ((own @ covariance) * own).sum(axis=2)
    return log_ms, variance


def _parts(
    networks: Networks, columns: Sequence[Column], most: int
) -> Iterator[tuple[list[int], Times]]:
    """Times of targets whose times are made in one way, and where these stand."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for n, (facts, prior) in enumerate(columns):
        key = prior.overlap, bool(facts.get("is_gpu")), id(prior.efficiency)
        groups.setdefault(key, []).append(n)
    size = max(1, most // max(1, len(networks.ops)))
    for places in groups.values():
        for start in range(0, len(places), size):
            some = places[start : start + size]
            yield some, _times(networks, [columns[n] for n in some])


def _times(networks: Networks, columns: Sequence[Column]) -> Times:
    """Return the times on targets with one overlap and efficiency, all or none of them GPUs."""
    facts, priors = zip(*columns, strict=True)
    work, first = Work.of(networks), priors[0]
    more = work.more_by(networks, facts) if facts[0].get("is_gpu") else None
    weights, log_prices, log_inference = (
        np.stack([getattr(p, name) for p in priors], axis=-1)
        for name in ("mean", "log_prices", "log_inference")
    )
    parts = work.log_seconds(weights, log_prices, more)
    if first.efficiency is not None:
        factors = first.efficiency.log_factors_on(networks, facts)
        parts = [part + factors for part in parts]
    return Times(work, parts, first.overlap, log_inference + weights[-1], more)


def at_batch(networks: Networks, whole: int, batch: int) -> Networks:
    """Networks of one batch as of another one."""
    facts = networks.facts.copy()
    # A kernel whose first side is not the batch has it all the same.
    by = np.where(networks.fact("batch") % whole == 0, whole / batch, 1)
    facts[:, [KERNEL_FACTS.index(name) for name in _WITH_BATCH]] /= by[:, None]
    return replace(networks, facts=facts)
