"""Features in which the efficiency of kernels is learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from latcast.graph import KERNEL_FACTS
from latcast.math.gaussian_process import process_features, spread_points, squared_exponential

from ._kernels import ALL_KINDS, KernelCounts

Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.int64]

LENGTHS = np.array([2.0, 2.0, 3.0, 1.5, 1.2, 1.2, 1.0, 0.7, 1.0, 1.0, 2.0, 0.2, 0.2, 0.12])
"""Factors (as natural logarithms) within which kernels are alike, by column of
:func:`log_facts`."""
VECTOR = 16
"""Numbers that a vector register holds: what does not fill the last one is wasted."""
MOST_WINDOW, MOST_STRIDE = 49.0, 16.0
"""Beyond these, windows are alike: a convolution is a product of long rows then."""
SCALE_DEVIATION, KIND_DEVIATION, LABEL_DEVIATION = 0.5, 0.5, 0.3
SLOPE_DEVIATIONS = np.array([0.12] * 13 + [0.7])
"""Prior standard deviations of log latency: of all kernels together, of a kind, of a power of each
fact, of a set of fused operators."""
ALIKE = 0.9
"""Correlation above which a kernel needs no point of its own beside another."""


def log_facts(kernels: KernelCounts) -> Floats:
    """Logarithms of what kernels do, shape (d, 14).

    The last three tell how kernels fill registers: what outputs and sums waste, and whether
    channels are kept in blocks.
    """
    moved = kernels.fact("read_bytes") + kernels.fact("write_bytes")
    window = np.minimum(kernels.fact("window"), MOST_WINDOW)
    stride = np.minimum(kernels.fact("stride"), MOST_STRIDE)
    # What a convolution sums over, however it is divided between channels and window.
    depth = kernels.fact("inputs") * kernels.fact("window")
    facts = {name: kernels.fact(name) for name in KERNEL_FACTS}
    columns = [
        facts["macs"], moved, facts["param_bytes"], facts["positions"], facts["outputs"], depth,
        window, stride, facts["groups"], facts["layers"], facts["inputs"],
    ]  # fmt: skip
    logs = [np.log(np.maximum(c, 1.0)) for c in columns]
    waste = [_waste(facts["outputs"]), _waste(depth)]
    return np.stack([*logs, *waste, facts["blocked"]], axis=1)


def _waste(channels: Floats) -> Floats:
    channels = np.maximum(channels, 1.0)
    return np.asarray(np.log(np.ceil(channels / VECTOR) * VECTOR / channels))


@dataclass(frozen=True)
class Scale:
    """One of a kind's two Gaussian processes.

    Attributes:
        amplitude: its standard deviation.
        stretch: factor on :data:`LENGTHS`.
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
        centres: mean logarithms, shape (kinds, 14).
        points: inducing points, shape (points, 14).
        point_kinds: kind of every point, shape (points,), ascending.
        labels: sets of fused operators that have a constant of their own.
        scales: of the processes. The first one's points are the first of its kind's points.
    """

    centres: Floats
    points: Floats
    point_kinds: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    scales: tuple[Scale, Scale]

    @classmethod
    def choose(cls, kernels: KernelCounts, scales: tuple[Scale, Scale]) -> Basis:
        """Inducing points far from each other among the kernels."""
        z = log_facts(kernels)
        centres = np.zeros((len(ALL_KINDS), z.shape[1]))
        points = []
        most = max(scale.most_points for scale in scales)
        for kind in range(len(ALL_KINDS)):
            own = z[kernels.kinds == kind]
            if len(own):
                centres[kind] = own.mean(axis=0)
            points.append(spread_points(own / LENGTHS, most) * LENGTHS)
        kinds = np.repeat(np.arange(len(points)), [len(p) for p in points])
        return cls(
            centres, np.concatenate(points), kinds, tuple(sorted(set(kernels.labels))), scales
        )

    @property
    def size(self) -> int:
        """Number of features."""
        return self._start(len(ALL_KINDS)) + len(self.labels)

    def features(self, kernels: KernelCounts) -> Floats:
        """Features of every kernel, shape (d, features)."""
        return self.features_and_rest(kernels)[0]

    def features_and_rest(self, kernels: KernelCounts) -> tuple[Floats, Floats]:
        """Features (d, features), and the prior variance of each kernel beside them (d,)."""
        z = log_facts(kernels)
        features = np.zeros((len(z), self.size))
        features[:, 0] = SCALE_DEVIATION
        rest = np.zeros(len(z))
        for kind in np.unique(kernels.kinds).tolist():
            rows = np.flatnonzero(kernels.kinds == kind)
            slopes = (z[rows] - self.centres[kind]) * SLOPE_DEVIATIONS
            parts = [np.full((len(rows), 1), KIND_DEVIATION), slopes]
            for scale, points in zip(self.scales, self._points(kind), strict=True):
                unit = LENGTHS * scale.stretch
                process, left = process_features(z[rows] / unit, points / unit, scale.amplitude)
                parts.append(process)
                rest[rows] += left
            start = self._start(kind)
            features[rows, start : start + self._width(kind)] = np.hstack(parts)
        column = {label: n for n, label in enumerate(self.labels, self._start(len(ALL_KINDS)))}
        columns = np.array([column.get(x, -1) for x in kernels.labels], dtype=np.int64)
        known = np.flatnonzero(columns >= 0)
        features[known, columns[known]] = LABEL_DEVIATION
        return features, rest + np.where(columns < 0, LABEL_DEVIATION**2, 0.0)

    def extended(self, kernels: KernelCounts, *, most_points: int) -> tuple[Basis, Columns]:
        """With points and constants for kernels that are unlike those of this basis.

        Args:
            kernels: that it shall be able to tell apart.
            most_points: new ones of a kind.

        Returns:
            The basis, and where its features hold those of this one, in order, which are the same.
        """
        z = log_facts(kernels)
        unit = LENGTHS * self.scales[-1].stretch
        points, kinds = [], []
        for kind in range(len(ALL_KINDS)):
            old = self.points[self.point_kinds == kind]
            new = spread_points(z[kernels.kinds == kind] / LENGTHS, most_points) * LENGTHS
            if len(old) and len(new):
                near = squared_exponential(old / unit, new / unit).max(axis=0)
                new = new[near < ALIKE]
            points += [old, new]
            kinds += [kind] * (len(old) + len(new))
        labels = (*self.labels, *sorted(set(kernels.labels) - set(self.labels)))
        wider = replace(
            self, points=np.concatenate(points), point_kinds=np.array(kinds), labels=labels
        )
        own = [wider._start(k) + self._kept(wider, k) for k in range(len(ALL_KINDS))]
        named = wider._start(len(ALL_KINDS)) + np.arange(len(self.labels))
        return wider, np.concatenate([np.zeros(1, dtype=np.int64), *own, named])

    def _kept(self, wider: Basis, kind: int) -> Columns:
        """Where among a wider basis's features of a kind those of this one are, in order."""
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
