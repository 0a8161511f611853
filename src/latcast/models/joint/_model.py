"""The joint model: one posterior of all targets, from nothing measured to a thousand networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast._model_file import Field
from latcast.math.conformal import DeviationScores, covers, quantile, student_scores
from latcast.math.folds import folds_of
from latcast.networks import Networks
from latcast.networks.bound import bound_ms

from ._effects import Effects
from ._faster import Faster, Pairs
from ._fit import SCATTER, Learnt, fit
from ._observations import Observations, TargetFacts
from ._own import Own, log_sums
from ._posterior import Level, Posterior, Prior, Rest, doubted, posterior
from ._work import Work

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Texts = npt.NDArray[np.str_]

# Measured networks for which intervals are calibrated; in between, those of fewer hold. And draws
# of them: of a domain of few chips one is luck.
SAMPLES, DRAWS = (0, 1, 3, 5, 10), 3
# Rounds in which measurements of a target are doubted that are far off its others; of fewer than
# three nothing tells which is. GPUs by Vulkan left out are off by 13.4 % after ten networks without
# it, 10.9 % with it; CPUs by 7.2 % in both (four fifths of ncnn's chips).
DOUBTING, FEWEST_DOUBTED = 2, 3
# Parts of the chips and of the families that are left out in turn.
FOLDS = 4
# Left-out groups of which the next one may be beyond all: of fewer, 90 % would be the largest error
# of any. With rows alike, intervals of devices of ncnn that were only scored held 81 to 87 % of the
# rows of CPUs; with groups alike and one beyond 86 to 96 %, and where both are new 81 to 92 % (80
# to 85). Three other rules: groups alike alone (80 to 92 % of all), rows by the root of their
# group's (80 to 92 %), quantiles over groups of their quantiles (84 to 97 %, a fifth wider).
# With fewer, one more group has the errors of all domains, and of all domains those of Student's t.
# On chips for choosing that were left out in turn, intervals from the others held, without and with
# it, of timm's eager GPUs with nothing measured 76 and 95 % (device new; factors of 2.2 and 2.7),
# 77 and 97 (both new), after one and five 86 and 88, 88 and 88; with Student's t in its place
# always, of half, one or two groups, 99 to 100 % with nothing measured (factors of 4.6 to 19). Of
# AI Hub's NPUs by ONNX Runtime after one, three and five 78, 86, 86 % were 82, 89, 92.
MANY_GROUPS = 20
# A target with so many measured networks is known: what is left is what is new of the network.
KNOWN = 20
# Rows of a target that its weights are learnt from, or errors, at most: covariances between them
# take their cube.
MOST_ROWS = 2000
# Scores that are kept for an interval.
KEPT = 199
# Deviations to the end of a 90 % interval where nothing was calibrated: of Student's t with five
# degrees of freedom, which errors of targets left out resemble.
UNCALIBRATED, _FREEDOM = 2.0, 5.0


@dataclass(frozen=True, eq=False)
class JointForecast:
    """The forecast of n networks on one target.

    Attributes:
        ms: medians, shape (n,).
        deviation: standard deviation of their logarithm, shape (n,).
        reach: deviations to the ends of the 90 % interval, shape (n,).
        bound_ms: what the device cannot be faster than, shape (n,); 0 where nothing is known.
        clipped: where the forecast itself lay beyond it, shape (n,).
    """

    ms: Floats
    deviation: Floats
    reach: Floats
    bound_ms: Floats
    clipped: npt.NDArray[np.bool_]

    @property
    def lower_ms(self) -> Floats:
        """Lower end of the 90 % interval, shape (n,)."""
        return np.maximum(self.ms * np.exp(-self.reach * self.deviation), self.bound_ms)

    @property
    def upper_ms(self) -> Floats:
        """Upper end of the 90 % interval, shape (n,)."""
        return np.asarray(self.ms * np.exp(self.reach * self.deviation))


Scores = Mapping[tuple[str, str, int], Floats]


def errors_of(
    scores: Scores, names: Sequence[str], way: str, samples: int, coverage: float = 0.9
) -> Floats | None:
    """Errors of groups that were left out, ascending; None where there are too few.

    Args:
        scores: as of :class:`JointModel`.
        names: of domains, of which the first with enough errors tells.
        way: ``network``, ``device`` or ``both``.
        samples: networks measured on the target. Errors after as many or fewer tell, those with
            nothing measured of such targets alone.
        coverage: of the interval.
    """
    few = [k for k in reversed(SAMPLES) if 0 < k <= samples] if way != "network" else []
    for key in ((name, way, k) for name in names for k in few or [0]):
        if (found := scores.get(key)) is not None and covers(len(found), coverage):
            return found
    return None


def scores_of(errors: Floats | None) -> DeviationScores:
    """Scores of intervals by errors in stated deviations; of Student's t where none are known."""
    if errors is None:
        return DeviationScores.of(student_scores(_FREEDOM))
    return DeviationScores(np.asarray(errors, dtype=np.float64))


SCORES_OF = Field(
    lambda v: tuple((str(d), str(w), int(k), int(n)) for d, w, k, n in v),
    lambda v: [list(key) for key in v],
)
"""Entry of a file's header: keys of its scores, each with how many there are."""


def unlisted(keys: Sequence[tuple[str, str, int, int]], scores: Floats) -> Scores:
    """Scores of a file: those of all keys, one after the other, with how many each has."""
    ends = np.cumsum([count for *_, count in keys]).tolist()
    return {
        (domain, way, samples): scores[end - count : end]
        for (domain, way, samples, count), end in zip(keys, ends, strict=True)
    }


@dataclass(frozen=True, eq=False)
class JointModel:
    """The parameters learnt of all targets, and the errors on groups left out.

    Attributes:
        learnt: of targets in general.
        scores: absolute errors of left-out rows in stated deviations, ascending, by domain (``""``
            for all), by what was left out (``network``, ``device``, ``both``) and by how many
            networks were measured on the target (as in :data:`SAMPLES`). Domains that learn the
            efficiencies of kernels have them by precision, too (:func:`precise`). Where kernels
            were measured alone beside networks, theirs are apart (:func:`of_kernels`).
        left_out: median errors of left-out rows in percent, by the same keys as ``scores``, without
            those by precision and of kernels alone.
        faster: when a precision is faster than another one, by domain and both precisions, learnt
            from the left-out networks of such domains.
    """

    learnt: Learnt
    scores: Scores = field(default_factory=dict)
    faster: Mapping[tuple[str, str, str], Faster] = field(default_factory=dict)
    left_out: Mapping[tuple[str, str, int], float] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        observations: Observations,
        *,
        seed: int = 0,
        calibrate: bool = True,
        report: Callable[[str], None] = lambda _: None,
    ) -> JointModel:
        """Learn from all measurements; intervals from groups of chips and families left out.

        Args:
            observations: of all targets.
            seed: of the groups that are left out.
            calibrate: whether any are.
            report: told of what takes long.

        Raises:
            ValueError: there is no measurement.
        """
        if not len(observations):
            raise ValueError("a joint model needs at least one measurement; got none")
        scores: dict[tuple[str, str, int], list[tuple[Texts, Floats]]] = {}
        off: dict[tuple[str, str, int], list[Floats]] = {}
        pairs: dict[str, Pairs] = {}
        if calibrate:
            rng = np.random.default_rng(seed)
            for chips, families in _folds(observations, rng):
                learnt = fit(observations.select(~chips & ~families), report)
                for found in _left_out(cls(learnt), observations, chips, families, rng):
                    for domain in found.domains(learnt):
                        key = domain, found.way, found.samples
                        scores.setdefault(key, []).append((found.groups, found.errors))
                        if _PRECISE not in domain:
                            off.setdefault(key, []).append(found.percent)
                    if found.target.domain in learnt.efficiencies and found.way == "network":
                        own = pairs.setdefault(found.target.domain, Pairs())
                        own.add(found.target, found.networks, found.told, found.true)
        kept: dict[tuple[str, str, int], Floats] = {}
        # Those of all domains first, which stand beside those of one with few groups.
        for domain, way, samples in sorted(scores):
            groups, errors = map(np.concatenate, zip(*scores[domain, way, samples], strict=True))
            beside = kept["", way, samples] if domain else usual_errors()
            kept[domain, way, samples] = by_groups(groups, errors, beside)
        faster = {(d, *key): rule for d, own in pairs.items() for key, rule in own.rules().items()}
        left_out = {key: float(np.median(np.concatenate(v))) for key, v in off.items()}
        return cls(fit(observations, report), kept, faster, left_out)

    def forecast(
        self,
        target: TargetFacts,
        networks: Networks,
        names: Sequence[str] | None = None,
        measured: Observations | None = None,
    ) -> JointForecast:
        """Forecast networks on a target.

        Args:
            target: what is known of it.
            networks: to be forecast, n of them, as the target's runtime runs them.
            names: of the networks, for those that were measured elsewhere; none by default.
            measured: rows of this target alone, with its networks.
        """
        names = tuple(names) if names is not None else ("",) * len(networks)
        log_ms, deviation = self._log_forecast(target, networks, names, measured)
        samples = 0 if measured is None else len(measured)
        known = self.learnt.effects_of(target).places(names) >= 0
        alone = kernels_of(networks) == 1
        reach = np.select(
            [known & alone, known, alone],
            [
                self._reach(target, "device", samples, of_kernels(target.domain)),
                self._reach(target, "device", samples),
                self._reach_new(target, samples, of_kernels(target.domain)),
            ],
            self._reach_new(target, samples),
        )
        bound = bound_ms(networks, target)
        ms = np.exp(log_ms)
        return JointForecast(np.maximum(ms, bound), deviation, reach, bound, ms < bound)

    def _reach_new(self, target: TargetFacts, samples: int, domain: str | None = None) -> float:
        way = "network" if samples >= KNOWN else "both"
        return self._reach(target, way, samples, domain)

    def _reach(
        self, target: TargetFacts, way: str, samples: int, domain: str | None = None
    ) -> float:
        if target.domain in self.learnt.efficiencies:
            domain = precise(target.domain, target.precision)
        return self.reach(domain or target.domain, way, samples)

    def reach(self, domain: str, way: str, samples: int, coverage: float = 0.9) -> float:
        """Stated deviations to the end of an interval, by what is new.

        Args:
            domain: of the target, or as of :func:`precise` and :func:`of_kernels`.
            way: ``network``, ``device`` or ``both``.
            samples: networks measured on the target.
            coverage: of the interval.
        """
        names = domain, domain.partition(_PRECISE)[0], ""
        errors = errors_of(self.scores, names, way, samples, coverage)
        return UNCALIBRATED if errors is None else quantile(errors, coverage)

    def _log_forecast(
        self,
        target: TargetFacts,
        networks: Networks,
        names: Sequence[str],
        measured: Observations | None,
    ) -> tuple[Floats, Floats]:
        """Means and standard deviations of log ms, each (n,)."""
        prior, effects = self.learnt.prior(target), self.learnt.effects_of(target)
        work = prior.work(networks, target.facts)
        if measured is not None:
            measured = at_most(measured, effects)
        old = () if measured is None else tuple(measured.names[n] for n in measured.network)
        after = told(prior, effects, target.facts, measured)
        *found, _ = log_forecast(prior, effects, after, old, work, networks.counts, names)
        alike = self.learnt.alike_to(target)
        if alike is None or measured is None or not len(measured):
            return found[0], found[1]
        return alike.averaged((found[0], found[1]), after, measured, networks, names)


def log_forecast(
    prior: Prior,
    effects: Effects,
    after: Posterior,
    old: Sequence[str],
    work: Work,
    counts: sp.csr_matrix,
    names: Sequence[str],
) -> tuple[Floats, Floats, Floats]:
    """Means and standard deviations of the log ms of networks on one target, and their slopes.

    These are (n,), (n,), and (n, p) by the weights.

    Args:
        prior: of the target's weights.
        effects: of networks in its domain.
        after: the weights after measurements.
        old: names of the networks that were measured.
        work: of the networks' kernels.
        counts: of the kernels in every network, shape (n, d).
        names: of the networks.
    """
    log_ms, slopes = prior.log_ms(work, counts, after.weights)
    between = effects.covariance_between(names, old)
    log_ms = log_ms + effects.mean_of(names) + between @ (after.pull * after.root)
    gain = slopes @ prior.covariance @ after.slopes.T + between * after.root
    variance = np.einsum("ij,ij->i", slopes @ prior.covariance, slopes)
    variance += effects.variances(names) - np.einsum("ij,ij->i", gain @ after.inverse, gain)
    log_ms, variance = log_ms + after.level.log_factor, variance + after.level.variance
    return log_ms, np.sqrt(np.maximum(variance, SCATTER**2)), slopes


def told(
    prior: Prior,
    effects: Effects,
    facts: Mapping[str, float | None],
    measured: Observations | None,
    own: Own | None = None,
) -> Posterior:
    """Weights of a target with these facts, and factors of its own, after its measurements."""
    if measured is None or not len(measured):
        none = np.zeros((0, len(prior.mean)))
        nothing = Rest(np.zeros((0, 0)))
        return Posterior(
            prior.mean, prior.covariance, none, np.zeros(0), nothing, none, np.zeros(0)
        )
    of_rows = measured.networks.select(measured.network)
    names = tuple(measured.names[n] for n in measured.network)
    scatter = np.diag(np.maximum(measured.scatter, SCATTER) ** 2)
    beside = effects.covariance_between(names, names) + scatter
    rest = Rest(beside)
    observed = measured.log_ms - effects.mean_of(names)
    work = prior.work(of_rows, facts)
    if own is not None:
        work, observed = own.applied(work, of_rows), observed - own.log_factor(log_sums(of_rows))
    expected, slopes = prior.log_ms(work, of_rows.counts, prior.mean)
    mean = slopes.mean(axis=0)
    level = Level.of(observed - expected, float(mean @ prior.covariance @ mean), beside.diagonal())
    observed = observed - level.log_factor
    after = posterior(prior, work, of_rows.counts, observed, rest)
    # As targets are learnt from: what is far off counts for less.
    doubting = own is None and len(observed) >= FEWEST_DOUBTED
    for _ in range(DOUBTING if doubting else 0):
        start = after.weights
        after = posterior(prior, work, of_rows.counts, observed, rest, start, doubted(after))
    return replace(after, level=level)


def at_most(measured: Observations, effects: Effects) -> Observations:
    """Rows of one target, no more than :data:`MOST_ROWS`.

    Those of networks with known effects are taken first: where kernels' efficiencies are learnt,
    the others were learnt from, and tell too little of errors.
    """
    if len(measured) <= MOST_ROWS:
        return measured
    names = [measured.names[n] for n in measured.network.tolist()]
    order = np.argsort(effects.places(names) < 0, kind="stable")
    return measured.select(np.sort(order[:MOST_ROWS]))


_PRECISE = ":"


def precise(domain: str, precision: str) -> str:
    """Name of a domain's scores in one precision."""
    return f"{domain}{_PRECISE}{precision}"


def of_kernels(domain: str) -> str:
    """Name of a domain's scores of kernels that were measured alone, beside its networks.

    They are off by more than networks, whose kernels' errors cancel, and are many: of GPUs by
    PyTorch five have 1,500 rows of them each, and some thirty of networks.
    """
    return f"{domain}{_PRECISE}kernels"


def kernels_of(networks: Networks) -> Floats:
    """Number of kernels of every network, shape (n,)."""
    return np.asarray(networks.counts.sum(axis=1)).ravel()


def _beside_networks(observations: Observations) -> npt.NDArray[np.bool_]:
    """Whether a row is of a kernel alone, in a domain where networks were measured too, (m,)."""
    alone = (kernels_of(observations.networks) == 1)[observations.network]
    domains = np.array([t.domain for t in observations.targets])[observations.target]
    return np.asarray(alone & np.isin(domains, np.unique(domains[~alone])))


class _LeftOut(NamedTuple):
    """Forecasts of rows of a target that were left out, each array (s,)."""

    target: TargetFacts
    way: str
    samples: int
    groups: Texts
    networks: Numbers
    told: Floats
    deviation: Floats
    true: Floats
    are_kernels: bool

    def domains(self, learnt: Learnt) -> tuple[str, ...]:
        """Names of the scores that the errors belong to; the empty one is of all domains."""
        domain = self.target.domain
        if self.are_kernels:
            return (of_kernels(domain),)
        own = (precise(domain, self.target.precision),) * (domain in learnt.efficiencies)
        return ("", domain, *own)

    @property
    def errors(self) -> Floats:
        """The errors in stated deviations."""
        return np.asarray(np.abs(self.true - self.told) / self.deviation)

    @property
    def percent(self) -> Floats:
        """Relative to what was measured, in percent."""
        return np.asarray(100 * np.abs(np.expm1(self.told - self.true)))


def _folds(
    observations: Observations, rng: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Rows of some chips, and rows of some families of networks, in turn.

    Those of a domain and precision are spread: where its few chips left together, errors would be
    those of a precision that is new, or a runtime.
    """
    chips, families = observations.chips, observations.measured_families
    labels = np.array([f"{t.domain}/{t.precision}" for t in observations.targets])
    of_rows = labels[observations.target]
    parts = []
    for names in (chips, families):
        own = {str(x): np.unique(names[of_rows == x]).tolist() for x in np.unique(of_rows)}
        parts.append(folds_of(own, FOLDS, int(rng.integers(2**32))))
    for n in range(FOLDS):
        some = [[name for name, fold in part.items() if fold == n] for part in parts]
        out = np.isin(chips, some[0]), np.isin(families, some[1])
        if not (out[0] | out[1]).all():
            yield out


def _left_out(
    model: JointModel,
    observations: Observations,
    chips: npt.NDArray[np.bool_],
    families: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> Iterator[_LeftOut]:
    """Forecasts of left-out rows, by target, way and samples."""
    chip_of, family_of = observations.chips, observations.measured_families
    are_kernels = _beside_networks(observations)
    for t in np.unique(observations.target[chips | families]):
        target = observations.targets[t]
        rows = np.flatnonzero(observations.target == t)
        new = families[rows]
        if not chips[rows[0]]:
            splits = [(0, rows[~new], {"network": rows[new]})] * (not new.all())
        else:
            draws = [rng.permutation(rows[~new]) for _ in range(DRAWS)]
            splits = [(k, drawn[:k], {"device": drawn[k:], "both": rows[new]})
                      for n, drawn in enumerate(draws) for k in SAMPLES
                      if len(drawn) > k and not (n and k == 0)]  # fmt: skip
        for samples, seen, ways in splits:
            unseen = {w: own[:: -(-len(own) // MOST_ROWS)] for w, own in ways.items() if len(own)}
            some = np.concatenate(list(unseen.values()))
            at = observations.network[some]
            # Their own kernels: those of all tables are a hundred times as many.
            networks = observations.networks.select(at)
            log_ms, deviation = model._log_forecast(
                target,
                networks,
                [observations.names[n] for n in at],
                observations.select(seen),
            )
            true, end = observations.log_ms[some], 0
            for way, own in unseen.items():
                place = np.arange(end, end := end + len(own))
                # What is new of them: rows of one chip, or of one family, are off together.
                of = (family_of if way == "network" else chip_of)[own]
                for kernels in np.unique(are_kernels[own]).tolist():
                    same = are_kernels[own] == kernels
                    part = place[same]
                    yield _LeftOut(
                        target, way, samples, of[same], at[part], log_ms[part], deviation[part],
                        true[part], kernels,
                    )  # fmt: skip


def usual_errors() -> Floats:
    """Absolute errors in stated deviations where nothing was calibrated, shape (399,)."""
    return np.abs(student_scores(_FREEDOM))


def by_groups(groups: Texts, errors: Floats, beside: Floats) -> Floats:
    """Return at most so many quantiles of errors of left-out groups, each group weighing one.

    A new row is of a new group: the errors' distributions are averaged over g groups and one more
    (Dunn, Wasserman and Ramdas, *Distribution-Free Prediction Sets for Two-Layer Hierarchical
    Models*, JASA 2023). That is beyond all from :data:`MANY_GROUPS` on; with fewer, of which an
    interval would have no end, its errors are those of others.

    Args:
        groups: of every row, shape (m,).
        errors: in stated deviations, shape (m,).
        beside: errors of a group of another kind, likewise.
    """
    _, of, rows = np.unique(groups, return_inverse=True, return_counts=True)
    shares, number = 1 / rows[of], min(len(errors), KEPT)
    if len(rows) < MANY_GROUPS:
        errors = np.concatenate([errors, beside])
        shares = np.append(shares, np.full(len(beside), 1 / len(beside)))
    order = np.argsort(errors, kind="stable")
    below = np.cumsum(shares[order]) / (len(rows) + 1)
    levels = np.arange(1, number + 1) / (number + 1)
    at = np.searchsorted(below, levels - 1e-12)
    return np.asarray(errors[order][np.minimum(at, len(errors) - 1)])


def thinned(ascending: Floats) -> Floats:
    """Return at most so many quantiles of scores."""
    if len(ascending) <= KEPT:
        return ascending
    return np.quantile(ascending, np.arange(1, KEPT + 1) / (KEPT + 1))
