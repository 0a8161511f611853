"""Measured targets and their posteriors, by few networks or by hundreds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, inv, solve_triangular

from latcast._model_file import Array, Field, Values
from latcast.math.conformal import DeviationScores

from . import _own
from ._effects import Effects
from ._fit import SCATTER, Learnt
from ._model import at_most, thinned, told
from ._observations import Observations, TargetFacts
from ._own import TYPICAL, Own
from ._posterior import Prior
from ._work import taken

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

# Directions of a target's weights in which its covariance is kept apart from the prior's: of all,
# and of one with hundreds of networks.
RANK, NAMED_RANK = 8, 16
# What a target tells of another one of its chip, domain and precision: the correlation of their
# deviations from what their facts tell, by the distance of these. That of all pairs of ncnn's,
# NeuSight's and TinyNAS's targets is 0.63, 0.33, 0.06 and 0.01 at distances up to 1, 2, 3 and 4;
# between precisions it is 0.02.
ALIKE, ALIKE_WITHIN = 0.7, 3.0**0.5
# Below this a chip counts as never measured.
LEAST_ALIKE = 0.1
# Share of the prior's variance that measurements may take at most: halves are rounded by 0.05 %,
# and a covariance must stay positive.
MOST_TAKEN = 0.996


def directions_taken(before: Floats, after: Floats, rank: int) -> Floats:
    """Return the largest reductions of a covariance (p, p), as a factor (p, rank)."""
    lower = cholesky(before, lower=True)
    half = solve_triangular(lower, after, lower=True)
    left = solve_triangular(lower, half.T, lower=True)
    size, where = np.linalg.eigh(np.eye(len(left)) - (left + left.T) / 2)
    return np.asarray((lower @ where[:, -rank:]) * np.sqrt(np.clip(size[-rank:], 0, MOST_TAKEN)))


def moved(prior: Prior, by: Floats, directions: Floats) -> Prior:
    """A prior whose mean moved (p,), and whose covariance lost some directions (p, rank)."""
    covariance = prior.covariance - directions @ directions.T
    return replace(
        prior, mean=prior.mean + by, covariance=covariance, precision=np.asarray(inv(covariance)),
        before=prior.covariance,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Known:
    """The posteriors of k measured targets; those of one chip with equal facts are one.

    Attributes:
        targets: texts of each: name, chip, domain and precision.
        rows: measurements of each.
        places: their standardized facts, as :meth:`TargetFeatures.place`, shape (k, facts).
        moved: what measurements moved their weights by, shape (k, p).
        directions: factor of what they took from the covariance, shape (k, p, rank).
    """

    targets: tuple[tuple[str, str, str, str], ...]
    rows: tuple[int, ...]
    places: Floats
    moved: Floats
    directions: Floats

    @classmethod
    def of(cls, learnt: Learnt, observations: Observations) -> Known:
        """Make the posteriors of all targets that were measured."""
        groups: dict[Any, list[int]] = {}
        for n in np.unique(observations.target).tolist():
            t = observations.targets[n]
            facts = tuple(sorted((k, v) for k, v in t.facts.items() if v is not None))
            groups.setdefault((t.chip, t.domain, t.precision, facts), []).append(n)
        found = []
        for members in groups.values():
            first = observations.targets[members[0]]
            rows = observations.select(np.isin(observations.target, members))
            prior = learnt.prior(first)
            effects, averaged = learnt.effects_of(first), _averaged(rows, members[0])
            after = told(prior, effects, first.facts, at_most(averaged, effects))
            found.append(
                (
                    (first.name, first.chip, first.domain, first.precision),
                    len(rows),
                    learnt.features.place(first),
                    after.weights - prior.mean,
                    directions_taken(prior.covariance, after.covariance, RANK),
                )
            )
        texts, counts, *arrays = zip(*found, strict=True)
        return cls(texts, counts, *(np.array(a) for a in arrays))

    @cached_property
    def _places(self) -> dict[tuple[str, ...], list[int]]:
        """The positions of targets by chip, domain and precision."""
        found: dict[tuple[str, ...], list[int]] = {}
        for n, (_, *of) in enumerate(self.targets):
            found.setdefault(tuple(of), []).append(n)
        return found

    def has(self, target: TargetFacts) -> bool:
        """Whether anything was measured on a target's chip, in its domain and precision."""
        return (target.chip, target.domain, target.precision) in self._places

    def nearest(self, target: TargetFacts, place: Floats) -> tuple[int, float] | None:
        """The one that tells most of a target, and the correlation of their deviations.

        It is of the target's chip, domain and precision; the correlation is 1 where the facts are
        the same. None where none tells anything.
        """
        asked = (target.chip, target.domain, target.precision)
        best: tuple[float, int, float] | None = None
        for n in self._places.get(asked, ()):
            away = self.places[n] - place
            shared = ALIKE * float(np.exp(-(away @ away) / ALIKE_WITHIN**2))
            if np.abs(away).max() < SAME_FACTS:
                shared = 1.0
            # Of the prior's variance it takes so much.
            told = shared**2 * float((self.directions[n] ** 2).sum())
            if shared >= LEAST_ALIKE and (best is None or told > best[0]):
                best = told, n, shared
        return None if best is None else best[1:]


# Of standardized facts, which a file keeps as halves.
SAME_FACTS = 0.02


def _averaged(rows: Observations, target: int) -> Observations:
    """One row a network: the mean of those of several boards, with their scatter."""
    networks, place, times = np.unique(rows.network, return_inverse=True, return_counts=True)
    mean = np.bincount(place, rows.log_ms) / times
    between = np.sqrt(np.bincount(place, (rows.log_ms - mean[place]) ** 2) / times)
    own = np.sqrt(np.bincount(place, rows.scatter**2) / times)
    return replace(
        rows,
        network=networks,
        target=np.full(len(networks), target),
        log_ms=mean,
        scatter=np.maximum(between, own),
    )


# --- by hundreds of networks ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Named:
    """The posterior of one target by hundreds of networks.

    Attributes:
        target: whole.
        domain: that its prior is of.
        card: sources, licences, rows, split, metrics.
        noise: relative standard deviation of its measurements.
        typical: variance of log ms that is left open of networks like those measured.
        moved: what measurements moved its weights by, shape (p,).
        directions: factor of what they took from the covariance, shape (p, rank).
        own: its factors on kernels and networks.
        scores: errors of each network by all others, in deviations, ascending.
    """

    target: str
    domain: str
    card: dict[str, Any]
    noise: float
    typical: float
    moved: Floats
    directions: Floats
    own: Own
    scores: Floats

    @classmethod
    def of(
        cls, learnt: Learnt, target: TargetFacts, rows: Observations, card: Mapping[str, Any]
    ) -> Named:
        """Make the posterior of a target's measurements.

        Args:
            learnt: of targets in general.
            target: that it is.
            rows: of it alone.
            card: sources, licences, split.
        """
        prior = learnt.prior(target)
        found = _own.learn(prior, target.facts, rows)
        directions = directions_taken(prior.covariance, found.covariance, NAMED_RANK)
        by = found.weights - prior.mean
        after = moved(prior, by, directions)
        networks = rows.networks.select(rows.network)
        work = found.own.applied(prior.work(networks, target.facts), networks)
        slopes = after.log_ms(work, networks.counts, after.mean)[1]
        variance = np.einsum("ij,ij->i", slopes @ after.covariance, slopes) + found.noise**2
        each = work.log_each(after.mean, after.log_prices, after.overlap)
        variance = np.maximum(variance, SCATTER**2) + found.own.rest(networks, each)
        typical = float(np.quantile(variance, TYPICAL))
        scores = np.sort(np.abs(found.left_out) / np.sqrt(np.minimum(variance, typical)))
        card = {**card, "rows": len(rows)}
        return cls(
            target.name, target.domain, card, found.noise, typical, by, directions, found.own,
            thinned(scores),
        )  # fmt: skip

    @property
    def effects(self) -> Effects:
        """Effects of networks with noise alone: what they share is in the factors."""
        return replace(Effects.unknown(), mean_variance=0.0, variance=self.noise**2)

    @property
    def calibration(self) -> DeviationScores:
        """The scores of intervals for networks like those measured."""
        return DeviationScores(self.scores)


FIELDS = {
    "named": Field(lambda v: {str(n): dict(entry) for n, entry in v.items()}, lambda v: v, {}),
    **_own.FIELDS,
}
"""Entries of the header of the joint model's file, by name ``target`` and ``card`` among them."""
ARRAYS = {
    "named_moved": Array(("named", "features"), "float16", is_optional=True),
    "named_directions": Array(("named", "features", "directions"), "float16", is_optional=True),
    "named_scores": Array(("named_scores",), "float16", check="not negative", is_optional=True),
    **_own.ARRAYS,
}
"""Its arrays."""


def packed(named: Mapping[str, Named]) -> Values:
    """Named targets, by the names of :data:`FIELDS` and :data:`ARRAYS`."""
    found = list(named.values())
    if not found:
        return {"named": {}, **_own.packed([])}
    entries = {
        name: {
            "target": t.target, "domain": t.domain, "card": t.card, "noise": t.noise,
            "typical": t.typical,
            "scores": len(t.scores),
        }
        for name, t in named.items()
    }  # fmt: skip
    return {
        "named": entries,
        "named_moved": np.array([t.moved for t in found]),
        "named_directions": np.array([t.directions for t in found]),
        "named_scores": np.concatenate([t.scores for t in found]),
        **_own.packed([t.own for t in found]),
    }


def unpacked(v: Values, columns: Numbers) -> dict[str, Named]:
    """The inverse.

    Args:
        v: of a file.
        columns: where the features of prices are in it.

    Raises:
        ValueError: parts do not fit each other.
    """
    entries, owns = v["named"], _own.unpacked(v)
    counts = [int(e["scores"]) for e in entries.values()]
    if len(owns) != len(entries) or (entries and len(v["named_moved"]) != len(entries)):
        raise ValueError(f"arrays must be of the {len(entries)} named targets; got {len(owns)}")
    if entries and sum(counts) != len(v["named_scores"]):
        raise ValueError(f"there must be {sum(counts)} scores of named targets")
    found = {}
    for n, (name, e) in enumerate(entries.items()):
        end = sum(counts[: n + 1])
        found[name] = Named(
            str(e["target"]),
            str(e["domain"]),
            dict(e["card"]),
            float(e["noise"]),
            float(e["typical"]),
            taken(v["named_moved"][n], columns),
            taken(v["named_directions"][n].T, columns).T,
            owns[n],
            v["named_scores"][end - counts[n] : end],
        )
    return found


def of_target(named: Mapping[str, Named], target: str) -> Named | None:
    """The one of a whole target; None where there is none."""
    return next((t for t in named.values() if t.target == target), None)
