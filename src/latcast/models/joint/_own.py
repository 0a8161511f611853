"""A target's own parameters, by hundreds of measured networks.

Prices follow few powers of facts; beside them a target's kernels have factors whose logarithm is a
Gaussian process over their facts, and its networks one over sums of these: cells that run side by
side do not add up. Both are learnt together with the target's weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import block_diag

from latcast._model_file import Array, Field, Values, texts
from latcast.math.gaussian_process import process_features, spread_points
from latcast.models.kernels import FEATURES, log_facts
from latcast.networks import Networks

from ._observations import Observations
from ._posterior import Prior, Rest, posterior
from ._work import CLASSES, Times, Work, class_of

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

# Of the process over kernels: standard deviation, factor on the lengths of facts, and inducing
# points of a class at most; of that over networks: standard deviation, length, and points. On ten
# targets were tried: no process over networks (cells of NAS-Bench-201 do not add up: 5 % off, not
# 2), one of a length of 1.5 with 30 points, and 60 points of a class.
AMPLITUDE, STRETCH, POINTS = 0.3, 1.5, 30
WHOLE_AMPLITUDE, WHOLE_LENGTH, WHOLE_POINTS = 0.2, 0.5, 100
# Relative standard deviation of a measurement: to begin with, and the least.
NOISE, LEAST_NOISE = 0.03, 0.003
ROUNDS = 6
# Degrees of freedom of Student's t: half of the rows of a phone may be exact and others 30 % off.
# With four, HELP's Pixel 3 is 0.9 % off, not 0.4.
FREEDOM = 2.0
# Share of the networks whose variance the weights' is typically below.
TYPICAL = 0.95

_UNIT = np.array([length for length, _ in FEATURES.values()]) * STRETCH
# Columns of log_sums.
_SUMS = 4


@dataclass(frozen=True, eq=False)
class Own:
    """Factors on a target's kernels and networks.

    Attributes:
        points: inducing points of kernels as logarithms of their facts, shape (points, facts).
        classes: place in :data:`CLASSES` of each, shape (points,).
        whole_points: of networks, logarithms of sums, shape (whole points, 4).
        weights: of the features of kernels, then of those of networks, shape (size,).
    """

    points: Floats
    classes: Numbers
    whole_points: Floats
    weights: Floats

    @classmethod
    def choose(cls, networks: Networks) -> Own:
        """Points far from each other among the kernels and the networks; no factor yet."""
        z, classes = log_facts(networks), class_of(networks)
        used = np.unique(classes)
        points = [spread_points(z[classes == n] / _UNIT, POINTS) * _UNIT for n in used]
        whole = spread_points(log_sums(networks), WHOLE_POINTS)
        of = np.repeat(used, [len(p) for p in points])
        return cls(np.concatenate(points), of, whole, np.zeros(len(of) + len(whole)))

    @property
    def seen(self) -> tuple[str, ...]:
        """Classes of the kernels that were measured."""
        return tuple(CLASSES[n] for n in np.unique(self.classes))

    def kernels(self, networks: Networks) -> tuple[Floats, Floats]:
        """Features of kernels (d, points), and the variance that they leave out (d,)."""
        z, of = log_facts(networks) / _UNIT, class_of(networks)
        features, rest = np.zeros((len(z), len(self.points))), np.full(len(z), AMPLITUDE**2)
        for n in np.unique(self.classes):
            rows, own = np.flatnonzero(of == n), np.flatnonzero(self.classes == n)
            found = process_features(z[rows], self.points[own] / _UNIT, AMPLITUDE)
            features[np.ix_(rows, own)], rest[rows] = found
        return features, rest

    def whole(self, sums: Floats) -> tuple[Floats, Floats]:
        """Features of networks (n, whole points), and the variance that they leave out (n,).

        Args:
            sums: of the networks, as :func:`log_sums`.
        """
        points = self.whole_points / WHOLE_LENGTH
        return process_features(sums / WHOLE_LENGTH, points, WHOLE_AMPLITUDE)

    def applied(self, work: Work, networks: Networks) -> Work:
        """Work of kernels with their factors."""
        return work.times(self.kernels(networks)[0] @ self.weights[: len(self.points)])

    def log_factor(self, sums: Floats) -> Floats:
        """Logarithm of every network's own factor, shape (n,), by :func:`log_sums`."""
        return np.asarray(self.whole(sums)[0] @ self.weights[len(self.points) :])

    def rest(self, networks: Networks, log_ms: Floats) -> Floats:
        """Variance of log ms (n,) by what is unlike all that was measured.

        Args:
            networks: n of them.
            log_ms: of their kernels, shape (d,).
        """
        seconds = np.exp(log_ms - log_ms.max(initial=-np.inf))
        deviations = np.sqrt(self.kernels(networks)[1])
        # Kernels unlike those that were measured err alike.
        share = (networks.counts @ (seconds * deviations)) / (networks.counts @ seconds)
        return np.asarray(share**2 + self.whole(log_sums(networks))[1])


def log_sums(networks: Networks) -> Floats:
    """Logarithms of what networks do altogether, shape (n, 4).

    Arithmetic, constants, activations and launches, of which sums are taken.
    """
    moved = networks.fact("read_bytes") + networks.fact("write_bytes")
    one = np.ones(len(networks.ops))
    of = np.stack([networks.fact("macs"), networks.fact("param_bytes"), moved, one], axis=1)
    return np.asarray(np.log(np.maximum(networks.counts @ of, 1.0)))


# --- learning -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Wide(Work):
    """Work whose last weights are those of kernels' and of networks' own factors."""

    kernels: Floats
    whole: Floats

    def at(
        self,
        weights: Floats,
        log_prices: Floats,
        overlap: tuple[float, float] = (1.0, 1.0),
        log_inference: Floats | float = -np.inf,
    ) -> Times:
        own, end = weights[: self.size], self.size + self.kernels.shape[1]
        factors = self.kernels @ weights[self.size : end]
        parts = self.times(factors).log_seconds(own, log_prices)
        log_once = log_inference + own[-1]
        return _WideTimes(self, parts, overlap, log_once, self.whole @ weights[end:])


class _WideTimes(Times):
    """Times with networks' own factors, whose logarithms are (n,)."""

    def __init__(
        self, work: _Wide, parts: Sequence[Floats], overlap: tuple[float, float],
        log_once: Floats | float, log_factor: Floats,
    ) -> None:  # fmt: skip
        super().__init__(work, parts, overlap, log_once)
        self._wide, self._log_factor = work, log_factor

    def log_ms(self, counts: sp.csr_matrix) -> Floats:
        return super().log_ms(counts) + self._log_factor

    def slopes(self, counts: sp.csr_matrix) -> Floats:
        of_kernels = counts @ (self._seconds[:, None] * self._wide.kernels)
        of_kernels /= self._totals(counts)[:, None]
        return np.hstack([super().slopes(counts), of_kernels, self._wide.whole])


@dataclass(frozen=True, eq=False)
class Learnt:
    """The parameters that hundreds of networks told of one target.

    Attributes:
        own: its factors.
        weights: of prices, mean, shape (p,).
        covariance: of these, shape (p, p).
        noise: relative standard deviation of a measurement.
        left_out: error of each measurement's logarithm by all others, shape (k,).
    """

    own: Own
    weights: Floats
    covariance: Floats
    noise: float
    left_out: Floats


def learn(prior: Prior, facts: Mapping[str, float | None], rows: Observations) -> Learnt:
    """Weights and factors of a target, and the noise of its measurements.

    Args:
        prior: of its weights.
        facts: of the target.
        rows: of this target alone, k of them.
    """
    networks = rows.networks.select(rows.network)
    own, plain = Own.choose(networks), prior.work(networks, facts)
    wide_parts = own.kernels(networks)[0], own.whole(log_sums(networks))[0]
    work = _Wide(plain.log_amounts, plain.values, plain.classes, *wide_parts)
    more = np.eye(len(own.weights))
    wide = replace(
        prior,
        mean=np.append(prior.mean, np.zeros(len(more))),
        covariance=block_diag(prior.covariance, more),
        precision=block_diag(prior.precision, more),
    )
    noise, doubt, weights = NOISE, np.ones(len(rows)), None
    for _ in range(ROUNDS):
        variance = doubt * np.maximum(rows.scatter, noise) ** 2
        after = posterior(
            wide, work, networks.counts, rows.log_ms, Rest(np.diag(variance)), weights
        )
        weights, error = after.weights, after.pull * variance
        # Of each row the squared error that is expected, by what is not known of its forecast.
        expected = error**2 + variance - variance**2 * after.inverse_diagonal
        noise = max(float(np.sqrt(np.mean(expected / doubt))), LEAST_NOISE)
        # Student's t, as of all targets together.
        away = after.pull * np.sqrt(doubt / after.inverse_diagonal)
        doubt = (FREEDOM + away**2) / (FREEDOM + 1)
    p = plain.size
    return Learnt(
        replace(own, weights=after.weights[p:]),
        after.weights[:p],
        after.covariance[:p, :p],
        noise,
        after.pull / after.inverse_diagonal,
    )


@dataclass(frozen=True, eq=False)
class Campaign:
    """The part of a target's posterior beside its weights, by hundreds of measured networks.

    Attributes:
        own: its factors.
        typical: variance of log ms that is left open of networks like those measured.
        beside: the same of a network's effect where nothing was measured.
    """

    own: Own
    typical: float
    beside: float


# --- files --------------------------------------------------------------------------------------


FIELDS = {
    "own_facts": Field(texts, list, ()),
    "own_classes": Field(texts, list, ()),
    "own_sizes": Field(lambda v: [(int(a), int(b), int(c)) for a, b, c in v], list, ()),
}
"""Entries of the headers of files that hold factors of several targets."""
ARRAYS = {
    "own_points": Array(("own_points", "own_facts"), "float32", is_optional=True),
    "own_class": Array(("own_points",), "int16", "int64", is_optional=True),
    "own_whole": Array(("own_whole", _SUMS), "float32", is_optional=True),
    "own_weights": Array(("own_weights",), "float16", is_optional=True),
}
"""Their arrays."""


def packed(owns: Sequence[Own]) -> Values:
    """Factors of several targets, by the names of :data:`FIELDS` and :data:`ARRAYS`.

    Targets on which the same networks were measured share their points.
    """
    bases: dict[bytes, int] = {}
    kept, sizes = [], []
    for own in owns:
        key = own.points.tobytes() + own.whole_points.tobytes()
        if key not in bases:
            bases[key] = len(bases)
            kept.append(own)
        sizes.append((bases[key], len(own.points), len(own.whole_points)))
    return {
        "own_facts": tuple(FEATURES),
        "own_classes": CLASSES,
        "own_sizes": sizes,
        "own_points": np.concatenate([np.zeros((0, len(FEATURES))), *(o.points for o in kept)]),
        "own_class": np.concatenate([np.zeros(0, dtype=np.int64), *(o.classes for o in kept)]),
        "own_whole": np.concatenate([np.zeros((0, _SUMS)), *(o.whole_points for o in kept)]),
        "own_weights": np.concatenate([np.zeros(0), *(o.weights for o in owns)]),
    }


def unpacked(v: Values) -> list[Own]:
    """The inverse of :func:`packed`, in terms of the classes and facts that latcast has now.

    Raises:
        ValueError: parts do not fit each other, or a fact is not known here.
    """
    sizes = v["own_sizes"]
    if not sizes:
        return []
    if unknown := sorted(set(v["own_facts"]) - set(FEATURES)):
        raise ValueError(f"facts {unknown} of kernels are not known here: upgrade latcast")
    where = {name: n for n, name in enumerate(v["own_facts"])}
    points = np.zeros((len(v["own_points"]), len(FEATURES)))
    for n, name in enumerate(FEATURES):
        if name in where:
            points[:, n] = v["own_points"][:, where[name]]
    # A class that latcast has no more is that of no kernel.
    numbers = [CLASSES.index(c) if c in CLASSES else -1 for c in v["own_classes"]]
    if len(v["own_class"]) and not 0 <= v["own_class"].min() <= v["own_class"].max() < len(numbers):
        raise ValueError("classes of inducing points must be named")
    classes = np.array(numbers, dtype=np.intp)[v["own_class"]]
    shapes: dict[int, tuple[int, int]] = {}
    for basis, a, b in sizes:
        shapes.setdefault(basis, (a, b))
    starts = np.cumsum([(0, 0), *(shapes[n] for n in range(len(shapes)))], axis=0).tolist()
    ends = np.cumsum([a + b for _, a, b in sizes]).tolist()
    if starts[-1] != [len(points), len(v["own_whole"])] or ends[-1] != len(v["own_weights"]):
        raise ValueError("inducing points and weights must be as many as the header says")
    found = []
    for (basis, a, b), end in zip(sizes, ends, strict=True):
        first, second = starts[basis]
        own, whole = slice(first, first + a), v["own_whole"][second : second + b]
        found.append(Own(points[own], classes[own], whole, v["own_weights"][end - a - b : end]))
    return found
