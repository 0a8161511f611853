"""The features in which the efficiency of kernels, and of whole networks, is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from latcast._model_file import single
from latcast.math.gaussian_process import process_features, spread_points, squared_exponential
from latcast.networks import ALL_KINDS, Networks

from ._prices import Observed, Prices, vector_waste, work_of

Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.int64]

# Columns of log_facts: the factor (as natural logarithm) within which kernels are alike, and the
# prior standard deviation of the power of it that a latency follows. Model files name those that
# they use: others can be added here.
FEATURES = {
    "macs": (2.0, 0.12), "traffic": (2.0, 0.12), "param_bytes": (3.0, 0.12),
    "positions": (1.5, 0.12), "outputs": (1.2, 0.12), "depth": (1.2, 0.12), "window": (1.0, 0.12),
    "stride": (0.7, 0.12), "groups": (1.0, 0.12), "layers": (1.0, 0.12), "inputs": (2.0, 0.12),
    "outputs_waste": (0.2, 0.12), "depth_waste": (0.2, 0.12), "blocked": (0.12, 0.7),
}  # fmt: skip
# Beyond these, windows are alike: a convolution is a product of long rows then.
MAX_WINDOW, MAX_STRIDE = 49.0, 16.0
# Prior standard deviations of log latency: of all kernels together, of a kind, of a set of fused
# operators.
SCALE_DEVIATION, KIND_DEVIATION, LABEL_DEVIATION = 0.5, 0.5, 0.3
# Correlation above which a kernel needs no point of its own beside another.
ALIKE = 0.9
WHOLE_FACTS, MAX_WHOLE_POINTS = 4, 30
WHOLE_AMPLITUDE, WHOLE_SLOPE_DEVIATION = 0.15, 0.03
# Factor (as natural logarithm) within which networks are alike.
WHOLE_LENGTH = 1.5
# Bytes, of weights, of activations a kernel, and of both, at which a network's context is 0, its
# range, and the prior standard deviation of the power of it that a kernel follows whose latency is
# all reading weights, moving activations, or being launched.
CONTEXT_CENTRE = np.array([4e6, 4e5, 2e7])
CONTEXT_RANGE = np.array([[2.5e5, 3e4, 2.5e5], [6.4e7, 6e6, 6.4e8]])
CONTEXT_DEVIATION = np.array([0.15, 0.1, 0.1])


def log_facts(kernels: Networks, names: Sequence[str] = tuple(FEATURES)) -> Floats:
    """Logarithms of what kernels do, by names of :data:`FEATURES`, shape (d, names).

    The last three of all tell how kernels fill registers: what outputs and sums waste, and whether
    channels are kept in blocks.
    """
    moved = kernels.fact("read_bytes") + kernels.fact("write_bytes")
    window = np.minimum(kernels.fact("window"), MAX_WINDOW)
    stride = np.minimum(kernels.fact("stride"), MAX_STRIDE)
    # What a convolution sums over, however it is divided between channels and window.
    depth = kernels.fact("inputs") * kernels.fact("window")
    amounts = {"traffic": moved, "depth": depth, "window": window, "stride": stride}
    of_itself = {
        "outputs_waste": np.log(vector_waste(kernels.fact("outputs"))),
        "depth_waste": np.log(vector_waste(depth)),
        "blocked": kernels.fact("blocked"),
    }

    def column(name: str) -> Floats:
        if name in of_itself:
            return of_itself[name]
        # A fact of 0, as MACs of a copy, has the logarithm of 1: kinds have constants of their own.
        amount = amounts[name] if name in amounts else kernels.fact(name)
        return np.asarray(np.log(np.maximum(amount, 1.0)))

    return np.stack([column(name) for name in names], axis=1)


@dataclass(frozen=True)
class Scale:
    """One of a kind's two Gaussian processes.

    Attributes:
        amplitude: its standard deviation.
        stretch: factor on the lengths of :data:`FEATURES`.
        most_points: inducing points of a kind at most.
    """

    amplitude: float
    stretch: float
    most_points: int


@dataclass(frozen=True)
class Basis:
    """Features of kernels whose prior is independent and standard normal.

    One constant for all; for each kind a constant, deviations from a power law, and two Gaussian
    processes, one of the large and one of the small; and a constant for each set of fused
    operators.

    Attributes:
        centres: mean logarithms, shape (kinds, names).
        points: inducing points, shape (points, names).
        point_kinds: kind of every point, shape (points,), ascending.
        labels: sets of fused operators that have a constant of their own.
        scales: of the processes. The first one's points are the first of its kind's points.
        names: of the columns of :func:`log_facts` that it is over.
        kinds: of kernels that it tells apart.
    """

    centres: Floats
    points: Floats
    point_kinds: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    scales: tuple[Scale, Scale]
    names: tuple[str, ...] = tuple(FEATURES)
    kinds: tuple[str, ...] = ALL_KINDS

    @classmethod
    def choose(cls, kernels: Networks, scales: tuple[Scale, Scale]) -> Basis:
        """Inducing points far from each other among the kernels."""
        lengths = np.array([length for length, _ in FEATURES.values()])
        z = log_facts(kernels)
        centres = np.zeros((len(ALL_KINDS), z.shape[1]))
        points = []
        most = max(scale.most_points for scale in scales)
        for kind in range(len(ALL_KINDS)):
            own = z[kernels.kinds == kind]
            if len(own):
                centres[kind] = own.mean(axis=0)
            points.append(single(spread_points(own / lengths, most) * lengths))
        kinds = np.repeat(np.arange(len(points)), [len(p) for p in points])
        return cls(
            centres, np.concatenate(points), kinds, tuple(sorted(set(kernels.labels))), scales
        )

    @property
    def lengths(self) -> Floats:
        """Factors (as natural logarithms) within which kernels are alike, shape (names,)."""
        return np.array([FEATURES[name][0] for name in self.names])

    @property
    def size(self) -> int:
        """Number of features."""
        return self._start(len(self.kinds)) + len(self.labels)

    @property
    def kind_constants(self) -> Columns:
        """Features that are the constants of kinds, of deviation 0.5, shape (kinds,)."""
        return np.array([self._start(k) for k in range(len(self.kinds))], dtype=np.int64)

    @property
    def blocks(self) -> Columns:
        """Kind of every feature, shape (size,): one more than there are for the constant of all.

        −1 for sets of fused operators, whose kind is not kept.
        """
        kinds = len(self.kinds)
        of_kinds = np.repeat(np.arange(kinds), [self._width(k) for k in range(kinds)])
        return np.concatenate([[kinds], of_kinds, np.full(len(self.labels), -1)])

    def features(self, kernels: Networks) -> Floats:
        """Features of every kernel, shape (d, features)."""
        return self.features_and_rest(kernels)[0]

    def features_and_rest(self, kernels: Networks) -> tuple[Floats, Floats]:
        """Features (d, features), and the prior variance of each kernel beside them (d,)."""
        z, lengths = log_facts(kernels, self.names), self.lengths
        deviations = np.array([FEATURES[name][1] for name in self.names])
        features = np.zeros((len(z), self.size))
        features[:, 0] = SCALE_DEVIATION
        rest = np.zeros(len(z))
        for kind in np.unique(kernels.kinds).tolist():
            rows = np.flatnonzero(kernels.kinds == kind)
            slopes = (z[rows] - self.centres[kind]) * deviations
            parts = [np.full((len(rows), 1), KIND_DEVIATION), slopes]
            for scale, points in zip(self.scales, self._points(kind), strict=True):
                unit = lengths * scale.stretch
                process, left = process_features(z[rows] / unit, points / unit, scale.amplitude)
                parts.append(process)
                rest[rows] += left
            start = self._start(kind)
            features[rows, start : start + self._width(kind)] = np.hstack(parts)
        column = {label: n for n, label in enumerate(self.labels, self._start(len(self.kinds)))}
        columns = np.array([column.get(x, -1) for x in kernels.labels], dtype=np.int64)
        known = np.flatnonzero(columns >= 0)
        features[known, columns[known]] = LABEL_DEVIATION
        return features, rest + np.where(columns < 0, LABEL_DEVIATION**2, 0.0)

    def extended(self, kernels: Networks, *, most_points: int) -> tuple[Basis, Columns]:
        """Return the basis with points and constants for kernels that are unlike its own.

        Args:
            kernels: that it shall be able to tell apart.
            most_points: new ones of a kind.

        Returns:
            The basis, and where its features hold those of this one, in order, which are the same.
        """
        z, lengths = log_facts(kernels, self.names), self.lengths
        unit = lengths * self.scales[-1].stretch
        points, kinds = [], []
        for kind in range(len(self.kinds)):
            old = self.points[self.point_kinds == kind]
            new = single(spread_points(z[kernels.kinds == kind] / lengths, most_points) * lengths)
            if len(old) and len(new):
                near = squared_exponential(old / unit, new / unit).max(axis=0)
                new = new[near < ALIKE]
            points += [old, new]
            kinds += [kind] * (len(old) + len(new))
        labels = (*self.labels, *sorted(set(kernels.labels) - set(self.labels)))
        wider = replace(
            self, points=np.concatenate(points), point_kinds=np.array(kinds), labels=labels
        )
        own = [wider._start(k) + self._kept(wider, k) for k in range(len(self.kinds))]
        named = wider._start(len(self.kinds)) + np.arange(len(self.labels))
        return wider, np.concatenate([np.zeros(1, dtype=np.int64), *own, named])

    def of_kinds(self, kinds: Sequence[str]) -> tuple[Basis, Columns]:
        """The same features of kernels over other kinds.

        Returns:
            The basis, and which feature of this one each of its features is; -1 where it is new.
        """
        order = [self.kinds.index(k) if k in self.kinds else -1 for k in kinds]
        points = [self.points[self.point_kinds == kind] for kind in order]
        other = replace(
            self,
            centres=np.array([self.centres[k] if k >= 0 else 0.0 * self.centres[0] for k in order]),
            points=np.concatenate(points),
            point_kinds=np.repeat(np.arange(len(order)), [len(p) for p in points]),
            kinds=tuple(kinds),
        )
        columns = [np.zeros(1, dtype=np.int64)]
        for new, old in enumerate(order):
            width = np.arange(other._width(new))
            columns.append(self._start(old) + width if old >= 0 else np.full(len(width), -1))
        columns.append(self._start(len(self.kinds)) + np.arange(len(self.labels)))
        return other, np.concatenate(columns)

    def _kept(self, wider: Basis, kind: int) -> Columns:
        """Return the positions of this basis's features of a kind among a wider basis's."""
        first = self._width(kind) - len(self._points(kind)[1])
        # The first process may have got points, which come before those of the second.
        added = len(wider._points(kind)[0]) - len(self._points(kind)[0])
        columns = np.arange(self._width(kind))
        return np.where(columns < first, columns, columns + added)

    def _points(self, kind: int) -> tuple[Floats, Floats]:
        """Points of the kind's two processes: the first has the first of them."""
        own = self.points[self.point_kinds == kind]
        return own[: self.scales[0].most_points], own

    def _width(self, kind: int) -> int:
        first, second = self._points(kind)
        return 1 + int(self.centres.shape[1]) + len(first) + len(second)

    def _start(self, kind: int) -> int:
        """The first feature of a kind; the one before the first kind's is the constant of all."""
        return 1 + sum(self._width(k) for k in range(kind))


@dataclass(frozen=True)
class Whole:
    """Features of networks, for a factor on all their kernels; prior independent, standard normal.

    A network whose weights stay in a cache from one pass to the next is faster than its kernels
    are in a large one. Its factor's logarithm is a Gaussian process, and slopes, over logarithms of
    its price, of the bytes of its weights, of the activations that it moves, and of its kernels.
    What a kernel reads comes out of a cache in a small network and out of memory in a large one:
    its share of weights, of activations and of launching follows powers of the bytes of the
    network's weights, of its activations by kernel, and of both.

    Attributes:
        centre: mean logarithms, shape (4,).
        points: inducing points, shape (points, 4).
        has_context: whether there are those powers; not of models in files that are older.
    """

    centre: Floats
    points: Floats
    has_context: bool = True

    @classmethod
    def choose(cls, kernels: Networks, prices: Prices) -> Whole:
        """Inducing points far from each other among the networks."""
        x = _logs(kernels, prices)
        return cls(x.mean(axis=0), spread_points(x, MAX_WHOLE_POINTS))

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.centre) + len(self.points) + self._contexts

    def at_prices(self, factor: float) -> Whole:
        """The same factors of networks whose prices are so many times as high."""
        moved = np.log(factor) * np.eye(1, len(self.centre))[0]
        return replace(self, centre=self.centre + moved, points=self.points + moved)

    @property
    def process(self) -> Columns:
        """Features that are the Gaussian process, shape (points,)."""
        return len(self.centre) + np.arange(len(self.points))

    @property
    def _contexts(self) -> int:
        return len(CONTEXT_DEVIATION) if self.has_context else 0

    def where_timed(self, observed: Observed, prices: Prices, features: Floats) -> Floats:
        """Features of each timed kernel, the means over the networks that it was timed in.

        Args:
            observed: networks and kernels.
            prices: of the kernels.
            features: of the networks, shape (n, features).
        """
        kernels, alone = observed.kernels, features.shape[1] - self._contexts
        timed = observed.mean_where_timed(np.hstack([features[:, :alone], _contexts(kernels)]))
        timed[:, alone:] *= _context_shares(kernels, prices)[observed.timed[0]]
        return timed[:, : features.shape[1]]

    def features_and_rest(self, kernels: Networks, prices: Prices) -> tuple[Floats, Floats]:
        """Features (n, features), and the prior variance of each network beside them (n,)."""
        x = _logs(kernels, prices)
        process, rest = process_features(
            x / WHOLE_LENGTH, self.points / WHOLE_LENGTH, WHOLE_AMPLITUDE
        )
        parts = [(x - self.centre) * WHOLE_SLOPE_DEVIATION, process]
        if self.has_context:
            ms = prices(kernels)
            shares = kernels.incidence @ (_context_shares(kernels, prices) * ms[:, None])
            total = np.maximum(kernels.incidence @ ms, np.finfo(float).tiny)  # views take no time
            parts.append(_contexts(kernels) * shares / total[:, None])
        return np.hstack(parts), rest


def _contexts(kernels: Networks) -> Floats:
    """Logarithms of what surrounds the kernels of each network, shape (n, 3)."""
    weights, moved, count = (kernels.incidence @ work_of(kernels)[:, [2, 1, 3]]).T
    surrounding = np.stack([weights, moved / np.maximum(count, 1), weights + moved], axis=1)
    return np.asarray(np.log(np.clip(surrounding, *CONTEXT_RANGE) / CONTEXT_CENTRE))


def _context_shares(kernels: Networks, prices: Prices) -> Floats:
    """How much of each kernel's price follows each of a network's contexts, shape (d, 3)."""
    parts = prices.parts(kernels)
    return np.asarray((parts / parts.sum(axis=1, keepdims=True))[:, [2, 1, 3]] * CONTEXT_DEVIATION)


def _logs(kernels: Networks, prices: Prices) -> Floats:
    work = work_of(kernels)
    sums = kernels.incidence @ np.stack(
        [prices(kernels), work[:, 2], work[:, 1], work[:, 3]], axis=1
    )
    return np.asarray(np.log(np.maximum(sums, 1e-9)))
