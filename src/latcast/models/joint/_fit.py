"""Learning from many targets at once: expectation and maximization over their weights.

Dempster, Laird and Rubin (1977); the mixed model is that of Laird and Ware, *Random-Effects Models
for Longitudinal Data* (Biometrics 1982), with the logarithm of a sum in place of a linear form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import inv

from ._effects import Effects, Told
from ._efficiency import Efficiency, efficiencies
from ._observations import Observations, TargetFacts
from ._posterior import FREEDOM, Posterior, Prior, Rest, doubted, posterior
from ._targets import TargetFeatures, kind_of
from ._work import ALL, Work
from .alike import Gaussian, Key, gaussians, group_of

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

# Rounds, and how far the slopes of each go along their maximization. Where few targets tell of a
# weight, plain rounds come nearer by their share alone: of launches, which language models do not
# tell of, six were too short by a third. With two long ones operators of a GPU left out are off as
# after 14 plain ones (elements' 14 in place of 18 %); ncnn, timm and AI Hub are as before.
STEPS = (1.0, 1.0, 2.5, 1.0, 2.5, 1.0)
# Prior deviation of weights between targets, and how many targets that is worth: of all, and of
# a domain against all.
DEVIATION, WORTH, DOMAIN_WORTH = 0.55, 10.0, 15.0
# The same of a chip whose kernels' efficiencies are learnt: its weights are deviations from these,
# and what other domains have says nothing of them. With the prior of others (or .03) a tenth (a
# twentieth) of the error came from the weights.
NEAR, NEAR_WORTH = 0.01, 10.0
# Prior deviation of all prices of a target together beside what other targets' are: some are slower
# by a multiple, throttled, shared, or run by builds without vector code, and one measurement tells.
# Of 0, 0.3 and 0.6, GPUs by Vulkan left out are off by 17.1, 15.8 and 14.9 % after one network,
# CPUs by 12.4, 11.9 and 12.0 % (four fifths of ncnn's chips). It is no part of what is learnt from:
# in every round, CPUs with nothing measured are off by 30.4 %, not 27.6.
LEVEL = 0.6
# Relative standard deviation of a measurement where its scatter is not known.
SCATTER = 0.02
# Chips of a kind of target, such as CPUs, from which on a target is doubted that is far off the
# others: of fewer, it may be what tells how facts count. Of HELP's and AI Hub's three to fourteen
# GPUs, NPUs and CPUs, those left out are up to 5 points worse where such are doubted, too.
# Between what was tried, 10 and 20: CPUs and GPUs by Vulkan are above it in every fold.
MANY_CHIPS = 15


@dataclass(frozen=True, eq=False)
class Learnt:
    """The parameters that were learnt of targets in general.

    Attributes:
        features: of targets.
        slopes: of the weights in them, shape (target features, p).
        covariances: of weights between targets of a domain that are alike in their features, by
            domain; shape (p, p) each; ``""`` for domains that were not seen.
        effects: what networks take beside their work, by :attr:`TargetFacts.effects_domain`.
        efficiencies: of kernels, in domains where thousands were measured alone.
        alike: what networks took on other chips of a domain and precision; in no file.
    """

    features: TargetFeatures
    slopes: Floats
    covariances: dict[str, Floats]
    effects: dict[str, Effects]
    efficiencies: Mapping[str, Efficiency] = field(default_factory=dict)
    alike: Mapping[Key, Gaussian] = field(default_factory=dict)

    @cached_property
    def _asked(self) -> WeakKeyDictionary[TargetFacts, Prior]:
        return WeakKeyDictionary()

    @cached_property
    def _spreads(self) -> dict[tuple[str, int], tuple[Floats, Floats]]:
        return {}

    def _spread(self, domain: str, unseen: int) -> tuple[Floats, Floats]:
        """Covariance of weights, and its inverse, of targets of which so many groups are new.

        What a group has in common is a deviation of its own, which adds one more variance. With a
        runtime left out of all tables stated intervals hold 84 % after one network and 78 after
        five, not 74 and 72 (mean of seven runtimes; three other multiples: docs/tried.md).
        """
        key = domain, unseen
        if key not in self._spreads:
            covariance = self.covariances[domain] * (1.0 + unseen)
            self._spreads[key] = covariance, np.asarray(inv(covariance))
        return self._spreads[key]

    def prior(self, target: TargetFacts) -> Prior:
        """The prior of a target's weights, made once: every draw of measurements asks for it."""
        if (known := self._asked.get(target)) is None:
            known = self._asked[target] = self.priors([target])[0]
        return known

    def priors(self, targets: Sequence[TargetFacts]) -> list[Prior]:
        """Return the priors of the weights of targets, all at once."""
        if not targets:
            return []
        of, found = self.features, []
        for target, mean in zip(targets, of.columns(targets) @ self.slopes, strict=True):
            own = self.efficiency(target)
            is_own = target.domain not in self.efficiencies or self.is_near(target)
            domain = target.domain if is_own and target.domain in self.covariances else ""
            found.append(
                Prior(
                    mean if own is None else np.zeros_like(mean),
                    *self._spread(domain, of.unseen(target)), of.log_prices(target),
                    of.overlap(target), own, of.log_inference(target),
                )
            )  # fmt: skip
        return found

    def efficiency(self, target: TargetFacts) -> Efficiency | None:
        """Return the efficiency in a target's precision; None if its domain has not learnt one."""
        key = target.domain, target.precision
        if key not in self._of_precisions:
            learnt = self.efficiencies.get(target.domain)
            own = None if learnt is None else learnt.of(target.precision)
            self._of_precisions[key] = own
        return self._of_precisions[key]

    @cached_property
    def _of_precisions(self) -> dict[tuple[str, str], Efficiency | None]:
        return {}

    def is_near(self, target: TargetFacts) -> bool:
        """Whether the efficiencies of its kernels were learnt on its own chip."""
        learnt = self.efficiency(target)
        return learnt is not None and target.chip in learnt.chips

    def effects_of(self, target: TargetFacts) -> Effects:
        """Return the effects of networks on such targets, empty where there was no such target."""
        own = self.effects.get(target.effects_domain) or self.effects.get(target.domain)
        return own or Effects.unknown()

    def alike_to(self, target: TargetFacts) -> Gaussian | None:
        """Return the distribution over chips alike, for a new target; None for a known one."""
        found = self.alike.get(group_of(target))
        return None if found is None or target.name in found.targets else found


@dataclass(eq=False)
class _Seen:
    """One target's measurements, over the kernels of its networks alone.

    Each row's variance is multiplied by its doubt; the target counts so much among all.
    """

    target: TargetFacts
    work: Work
    counts: sp.csr_matrix
    names: tuple[str, ...]
    log_ms: Floats
    variance: Floats
    doubt: Floats
    weights: Floats | None = None
    trust: float = 1.0


def fit(observations: Observations, report: Callable[[str], None] = lambda _: None) -> Learnt:
    """Learn from at least one measurement; what takes long is reported with its seconds."""
    targets = np.unique(observations.target).tolist()
    features = TargetFeatures.choose([observations.targets[t] for t in targets])
    alike = gaussians(observations)
    found, observations = efficiencies(observations, features, report)
    work = Work.of(observations.networks)
    seen = [_seen(observations, work, found, t) for t in targets]
    domains = dict.fromkeys(s.target.domain for s in seen)
    names = {
        d: tuple(dict.fromkeys(n for s in seen if s.target.effects_domain == d for n in s.names))
        for d in dict.fromkeys(s.target.effects_domain for s in seen)
    }
    learnt = Learnt(
        features,
        np.zeros((features.size, work.size)),
        {d: (NEAR if d in found else DEVIATION) ** 2 * np.eye(work.size) for d in ("", *domains)},
        {d: Effects.start(n) for d, n in names.items()},
        found,
    )
    for step in STEPS:
        learnt = _round(learnt, seen, step)
    level = np.zeros((work.size, work.size))
    level[0, 0] = (LEVEL / ALL) ** 2
    opened = {
        # Where efficiencies are learnt on a chip, its weights are all but known.
        domain: covariance + level * (domain not in found)
        for domain, covariance in learnt.covariances.items()
    }
    return replace(learnt, covariances=opened, alike=alike)


def _seen(
    observations: Observations, work: Work, found: Mapping[str, Efficiency], target: int
) -> _Seen:
    rows = np.flatnonzero(observations.target == target)
    # What was measured several times is one row: equal rows would tie all of them together.
    networks, place, times = np.unique(
        observations.network[rows], return_inverse=True, return_counts=True
    )
    counts = sp.csr_matrix(observations.networks.counts[networks])
    kernels = np.unique(counts.indices)
    one, own = observations.targets[target], observations.networks.select(networks)
    work = work.select(kernels).run_by(own, one.facts)
    learnt = found[one.domain].of(one.precision) if one.domain in found else None
    if learnt is not None:
        work = work.times(learnt.log_factors(own, one.facts))
    variance = np.maximum(observations.scatter[rows], SCATTER) ** 2
    return _Seen(
        one,
        work,
        sp.csr_matrix(counts[:, kernels]),
        tuple(observations.names[n] for n in networks),
        np.bincount(place, observations.log_ms[rows]) / times,
        np.bincount(place, variance) / times**2,
        np.ones(len(networks)),
    )


def _round(learnt: Learnt, seen: Sequence[_Seen], step: float) -> Learnt:
    """One expectation and one maximization, of slopes so many times as far."""
    after = [_expected(learnt, one) for one in seen]
    means = np.array([p.weights for p in after])
    design = np.array([learnt.features.of(s.target) for s in seen])
    penalties = np.diag(learnt.features.penalties)
    # Where efficiencies are learnt, weights are about 0 by themselves.
    design *= np.array([[learnt.efficiency(s.target) is None] for s in seen])
    trust = np.array([one.trust for one in seen])
    weighted = design.T * trust
    slopes = np.linalg.solve(weighted @ design + penalties, weighted @ means)
    away = means - design @ slopes
    of_domain: dict[tuple[str, bool], list[int]] = {}
    of_effects: dict[str, list[int]] = {}
    for n, one in enumerate(seen):
        of_domain.setdefault((one.target.domain, learnt.is_near(one.target)), []).append(n)
        of_effects.setdefault(one.target.effects_domain, []).append(n)
    spread = {
        key: np.sum(
            [trust[n] * np.outer(away[n], away[n]) + after[n].covariance for n in rows], axis=0
        )
        for key, rows in of_domain.items()
    }
    _trust(seen, after, away)
    unit = np.eye(slopes.shape[1])
    far = [key for key in spread if not key[1]]
    pooled = np.sum([spread[key] for key in far], axis=0) + WORTH * DEVIATION**2 * unit
    pooled /= sum(len(of_domain[key]) for key in far) + WORTH
    covariances: dict[str, Floats] = {"": pooled}
    # Those of chips with efficiencies come last: others of their domain have what all have.
    for key in sorted(spread, key=lambda key: key[1]):
        worth, prior = (NEAR_WORTH, NEAR**2 * unit) if key[1] else (DOMAIN_WORTH, pooled)
        covariances[key[0]] = (spread[key] + worth * prior) / (len(of_domain[key]) + worth)
    effects = {
        d: learnt.effects[d].updated([Told(seen[n].names, after[n]) for n in rows])
        for d, rows in of_effects.items()
    }
    slopes = learnt.slopes + step * (slopes - learnt.slopes)
    return replace(learnt, slopes=slopes, covariances=covariances, effects=effects)


def _trust(seen: Sequence[_Seen], after: Sequence[Posterior], away: Floats) -> None:
    """How much every target counts in the next round, by how far off it is among its kind.

    As :func:`doubted` has it of rows: a target that is slower or faster as a whole by a multiple,
    by a build without vector code, in a virtual machine or on a busy board, tells little of how
    facts count for others. With all counting alike ncnn's CPUs left out are off by 34 %, GPUs by
    Vulkan by 59 %; so by 30 and 44 % (five folds of one part of the public tables' chips).

    Args:
        seen: of all targets, t of them.
        after: their weights.
        away: these beside what facts tell, shape (t, p).
    """
    of_kind: dict[str, list[int]] = {}
    for n, one in enumerate(seen):
        of_kind.setdefault(kind_of(one.target), []).append(n)
    for rows in of_kind.values():
        if len({seen[n].target.chip for n in rows}) < MANY_CHIPS:
            continue
        levels = np.array([after[n].slopes.mean(axis=0) @ away[n] for n in rows])
        trust = np.array([seen[n].trust for n in rows])
        squares = levels**2 / max(float(np.mean(trust * levels**2)), SCATTER**2)
        for n, square in zip(rows, squares.tolist(), strict=True):
            seen[n].trust = (FREEDOM + 1) / (FREEDOM + square)


def _expected(learnt: Learnt, one: _Seen) -> Posterior:
    """A target's weights; and what is to be doubted of its measurements."""
    effects = learnt.effects_of(one.target)
    rest = Rest(effects.covariance_between(one.names, one.names) + np.diag(one.variance))
    log_ms = one.log_ms - effects.mean_of(one.names)
    prior = learnt.prior(one.target)
    after = posterior(prior, one.work, one.counts, log_ms, rest, one.weights, one.doubt)
    one.weights, one.doubt = after.weights, doubted(after)
    return after
