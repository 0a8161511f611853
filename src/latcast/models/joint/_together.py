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
from ._work import Times, Work, lanes

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


def log_ms_and_variances_on(
    networks: Networks, columns: Sequence[Column]
) -> tuple[Floats, Floats, Floats]:
    """:func:`log_ms_on`, and the variances that the weights' covariances make of it, (n, t) each.

    The first is by what is known of the weights, the second by what was before anything was
    measured on the target.
    """
    log_ms, variance, before = np.empty((3, len(networks), len(columns)))
    for places, times in _parts(networks, columns, _WITH_SLOPES):
        log_ms[:, places] = times.log_ms(networks.counts)
        slopes = times.slopes(networks.counts)
        variance[:, places] = _variance(slopes, [columns[n].prior.covariance for n in places])
        before[:, places] = variance[:, places]
        earlier = [columns[place].prior.before for place in places]
        if measured := [n for n, covariance in enumerate(earlier) if covariance is not None]:
            own = [covariance for covariance in earlier if covariance is not None]
            before[:, np.array(places)[measured]] = _variance(slopes[:, measured], own)
    return log_ms, variance, before


def _variance(slopes: Floats, covariances: Sequence[Floats]) -> Floats:
    """Variances of log ms (n, t) by slopes (n, t, p) and t covariances of weights, (p, p) each."""
    # Targets on whose chips nothing was measured share their domain's covariance.
    shared: dict[int, list[int]] = {}
    for n, covariance in enumerate(covariances):
        shared.setdefault(id(covariance), []).append(n)
    found = np.empty(slopes.shape[:2])
    for some in shared.values():
        own = slopes[:, some]
        found[:, some] = ((own @ covariances[some[0]]) * own).sum(axis=2)
    return found


def _parts(
    networks: Networks, columns: Sequence[Column], most: int
) -> Iterator[tuple[list[int], Times]]:
    """Times of targets whose times are made in one way, and where these stand."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for n, (facts, prior) in enumerate(columns):
        width = lanes(facts) if facts.get("is_cpu") else 0
        key = prior.overlap, bool(facts.get("is_gpu")), width, id(prior.efficiency)
        groups.setdefault(key, []).append(n)
    size = max(1, most // max(1, len(networks.ops)))
    for places in groups.values():
        for start in range(0, len(places), size):
            some = places[start : start + size]
            yield some, _times(networks, [columns[n] for n in some])


def _times(networks: Networks, columns: Sequence[Column]) -> Times:
    """Return the times on targets with one overlap and efficiency, all or none of them GPUs.

    CPUs among them have vectors of one width.
    """
    facts, priors = zip(*columns, strict=True)
    work, first = Work.of(networks), priors[0]
    more = work.more_by(networks, facts) if facts[0].get("is_gpu") else None
    if more is None:
        work = work.run_by(networks, facts[0])
    weights, log_prices, log_inference = (
        np.stack([getattr(p, name) for p in priors], axis=-1)
        for name in ("mean", "log_prices", "log_inference")
    )
    parts = work.log_seconds(weights, log_prices, more)
    if first.efficiency is not None:
        factors = first.efficiency.log_factors_on(networks, facts)
        parts = [part + factors for part in parts]
    return Times(work, parts, first.overlap, log_inference + weights[-1], more)


def least_of_cores(log_ms: Floats, nested: Sequence[Floats], *, has_beyond: bool) -> Floats:
    """The least log ms (n,) of a device and of the same with fewer cores.

    Between two powers of two, which stand for these where there are thousands, it is at least that
    of the greater one: so it never rises in between.

    Args:
        log_ms: of the device, shape (n,).
        nested: of the same with other numbers of cores, (n,) each, the fewest first.
        has_beyond: whether the last of these is one of more cores.
    """
    less = nested[:-1] if has_beyond else nested
    least = np.min([log_ms, *less], axis=0)
    if has_beyond:
        least = np.maximum(least, np.min([*less, nested[-1]], axis=0))
    return np.asarray(least)


def most_of_batches(powers: Sequence[Floats], batch: int) -> Floats:
    """The greatest log ms (n,) at all powers of two up to a batch, on a line between two of them.

    Args:
        powers: log ms at batches of one, two, four and so on, (n,) each.
        batch: up to the greatest of these.
    """
    last = batch.bit_length() - 1
    below = np.max(powers[: last + 1], axis=0)
    if batch == 2**last:
        return np.asarray(below)
    above = np.maximum(below, powers[last + 1])
    return np.asarray(below + (above - below) * (np.log2(batch) - last))


def at_batch(networks: Networks, whole: int, batch: int) -> Networks:
    """Networks of one batch as of another one."""
    facts = networks.facts.copy()
    # A kernel whose first side is not the batch has it all the same.
    by = np.where(networks.fact("batch") % whole == 0, whole / batch, 1)
    facts[:, [KERNEL_FACTS.index(name) for name in _WITH_BATCH]] /= by[:, None]
    return replace(networks, facts=facts)
