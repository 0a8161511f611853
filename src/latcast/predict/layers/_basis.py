"""Features in which the efficiency of kernels is learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ._kernels import ALL_KINDS, KernelCounts

Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.int64]

LENGTHS = np.array([2.0, 2.0, 3.0, 1.5, 1.2, 1.2, 1.0, 0.7, 1.0, 1.0, 0.2, 0.2, 0.5])
"""Factors (as natural logarithms) within which kernels are alike, by column of
:func:`log_facts`."""
VECTOR = 16
"""Numbers that a vector register holds: what does not fill the last one is wasted."""
_MOST = {"window": 49.0, "stride": 16.0}
"""Beyond these, windows are alike: a convolution is a product of long rows then."""
SCALE_DEVIATION, KIND_DEVIATION, SLOPE_DEVIATION, LABEL_DEVIATION = 0.5, 0.5, 0.12, 0.25
"""Prior standard deviations of log latency: of all kernels together, of a kind, of a power of each
fact, of a set of fused operators."""
ALIKE = 0.9
"""Correlation above which a kernel needs no point of its own beside another."""
_JITTER = 1e-6


def log_facts(kernels: KernelCounts) -> Floats:
    """Logarithms of what kernels do, shape (d, 13).

    The last three tell how kernels fill registers: what outputs and inputs waste, and whether
    outputs come in whole registers, which decides on layouts of memory.
    """
    moved = kernels.fact("read_bytes") + kernels.fact("write_bytes")
    names = ("positions", "outputs", "inputs", "window", "stride", "groups", "layers")
    columns = [kernels.fact("macs"), moved, kernels.fact("param_bytes")]
    columns += [np.minimum(kernels.fact(name), _MOST.get(name, np.inf)) for name in names]
    logs = [np.log(np.maximum(c, 1.0)) for c in columns]
    outputs = kernels.fact("outputs")
    ragged = np.where(outputs % VECTOR == 0, 0.0, 1.0)
    return np.stack([*logs, _waste(outputs), _waste(kernels.fact("inputs")), ragged], axis=1)


def _waste(channels: Floats) -> Floats:
    channels = np.maximum(channels, 1.0)
    return np.asarray(np.log(np.ceil(channels / VECTOR) * VECTOR / channels))


@dataclass(frozen=True)
class Basis:
    """Features of kernels whose prior is independent and standard normal.

    One constant for all; for each kind a constant, deviations from a power law and a Gaussian
    process with a squared exponential kernel by Nyström's method (Williams and Seeger, *Using the
    Nyström Method to Speed Up Kernel Machines*, 2001); and a constant for each set of fused
    operators.

    Attributes:
        centres: mean logarithms, shape (kinds, 13).
        points: inducing points, shape (points, 13).
        point_kinds: kind of every point, shape (points,), ascending.
        labels: sets of fused operators that have a constant of their own.
        amplitude: standard deviation of the processes.
        stretch: factor on :data:`LENGTHS`.
    """

    centres: Floats
    points: Floats
    point_kinds: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    amplitude: float
    stretch: float

    @classmethod
    def choose(
        cls, kernels: KernelCounts, *, most_points: int, amplitude: float, stretch: float
    ) -> Basis:
        """Inducing points far from each other among the kernels, up to ``most_points`` a kind."""
        z = log_facts(kernels)
        centres = np.zeros((len(ALL_KINDS), z.shape[1]))
        points = []
        for kind in range(len(ALL_KINDS)):
            own = z[kernels.kinds == kind]
            if len(own):
                centres[kind] = own.mean(axis=0)
            points.append(_spread(own / LENGTHS, most_points) * LENGTHS)
        kinds = np.repeat(np.arange(len(points)), [len(p) for p in points])
        labels = tuple(sorted(set(kernels.labels)))
        return cls(centres, np.concatenate(points), kinds, labels, amplitude, stretch)

    def extended(self, kernels: KernelCounts, *, most_points: int) -> tuple[Basis, Columns]:
        """With points and constants for kernels that are unlike those of this basis.

        Args:
            kernels: that it shall be able to tell apart.
            most_points: new ones of a kind.

        Returns:
            The basis, and where its features hold those of this one, in order, which are the same.
        """
        z = log_facts(kernels)
        points, kinds = [], []
        for kind in range(len(ALL_KINDS)):
            old = self.points[self.point_kinds == kind]
            new = _spread(z[kernels.kinds == kind] / LENGTHS, most_points) * LENGTHS
            if len(old) and len(new):
                new = new[_alike(old, new, self.stretch).max(axis=0) < ALIKE]
            points += [old, new]
            kinds += [kind] * (len(old) + len(new))
        labels = (*self.labels, *sorted(set(kernels.labels) - set(self.labels)))
        wider = replace(
            self, points=np.concatenate(points), point_kinds=np.array(kinds), labels=labels
        )
        starts = [wider._start(kind) for kind in range(len(ALL_KINDS))]
        columns = [np.zeros(1, dtype=np.int64)]
        columns += [start + np.arange(self._width(kind)) for kind, start in enumerate(starts)]
        columns.append(wider._start(len(ALL_KINDS)) + np.arange(len(self.labels)))
        return wider, np.concatenate(columns)

    @property
    def size(self) -> int:
        """Number of features."""
        return self._start(len(ALL_KINDS)) + len(self.labels)

    def _width(self, kind: int) -> int:
        return 1 + int(self.centres.shape[1]) + int((self.point_kinds == kind).sum())

    def _start(self, kind: int) -> int:
        """The first feature of a kind; the one before the first kind's is the constant of all."""
        return 1 + sum(self._width(k) for k in range(kind))

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
            rows, start = np.flatnonzero(kernels.kinds == kind), self._start(kind)
            slopes = start + 1 + z.shape[1]
            process, rest[rows] = self._process(z[rows], self.points[self.point_kinds == kind])
            features[rows, start] = KIND_DEVIATION
            features[rows, start + 1 : slopes] = (z[rows] - self.centres[kind]) * SLOPE_DEVIATION
            features[rows, slopes : slopes + process.shape[1]] = process
        column = {label: n for n, label in enumerate(self.labels, self._start(len(ALL_KINDS)))}
        columns = np.array([column.get(x, -1) for x in kernels.labels], dtype=np.int64)
        known = np.flatnonzero(columns >= 0)
        features[known, columns[known]] = LABEL_DEVIATION
        return features, rest + np.where(columns < 0, LABEL_DEVIATION**2, 0.0)

    def _process(self, z: Floats, points: Floats) -> tuple[Floats, Floats]:
        """Features of a kind's process (rows, m), and the variance that they leave out (rows,)."""
        from scipy.linalg import solve_triangular

        if not len(points):
            return np.zeros((len(z), 0)), np.full(len(z), self.amplitude**2)
        inner = _alike(points, points, self.stretch) + _JITTER * np.eye(len(points))
        half = np.linalg.cholesky(inner)
        cross = solve_triangular(half, _alike(points, z, self.stretch), lower=True).T
        left = np.maximum(1 - np.einsum("nm,nm->n", cross, cross), 0.0)
        return self.amplitude * cross, self.amplitude**2 * left


def _alike(a: Floats, b: Floats, stretch: float) -> Floats:
    """Squared exponential kernel, shape (len(a), len(b))."""
    from scipy.spatial.distance import cdist

    scale = LENGTHS * stretch
    return np.asarray(np.exp(-0.5 * cdist(a / scale, b / scale, "sqeuclidean")))


def _spread(points: Floats, most: int) -> Floats:
    """Up to ``most`` of the points, each far from those before it.

    Gonzalez, *Clustering to Minimize the Maximum Intercluster Distance* (1985).
    """
    points = np.unique(points, axis=0)
    if len(points) <= most:
        return points
    chosen = [int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < most:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(distance)))
    return points[chosen]
