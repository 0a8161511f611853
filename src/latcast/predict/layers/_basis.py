"""Features in which the efficiency of kernels is learnt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._kernels import ALL_KINDS, KernelCounts

Floats = npt.NDArray[np.float64]

LENGTHS = np.array([2.0, 2.0, 3.0, 1.5, 1.2, 1.2, 1.0, 0.7, 1.0, 1.0, 0.2, 0.2])
"""Factors (as natural logarithms) within which kernels are alike, by column of
:func:`log_facts`."""
VECTOR = 16
"""Numbers that a vector register holds: what does not fill the last one is wasted."""
LINEAR_DEVIATION = 0.12
LABEL_DEVIATION = 0.25
_WASTE_INPUTS = ("conv", "linear", "matmul")


def log_facts(kernels: KernelCounts) -> Floats:
    """Logarithms of what kernels do, shape (d, 12); the last two are of what registers waste."""
    moved = kernels.fact("read_bytes") + kernels.fact("write_bytes")
    names = ("positions", "outputs", "inputs", "window", "stride", "groups", "layers")
    columns = [kernels.fact("macs"), moved, kernels.fact("param_bytes")]
    columns += [kernels.fact(name) for name in names]
    logs = [np.log(np.maximum(c, 1.0)) for c in columns]
    waste = [_waste(kernels.fact("outputs")), _waste(kernels.fact("inputs"))]
    return np.stack([*logs, *waste], axis=1)


def _waste(channels: Floats) -> Floats:
    channels = np.maximum(channels, 1.0)
    return np.asarray(np.log(np.ceil(channels / VECTOR) * VECTOR / channels))


@dataclass(frozen=True)
class Basis:
    """Features of kernels whose prior is independent and standard normal.

    For each kind: a constant, deviations from a power law, and a Gaussian process with a squared
    exponential kernel by Nyström's method (Williams and Seeger 2001); and a constant for each
    set of fused operators.

    Attributes:
        centres: of the logarithms, shape (kinds, 12).
        points: inducing points of every kind, each (m, 12).
        labels: sets of fused operators that have a constant of their own.
        amplitude: standard deviation of the processes.
        stretch: factor on :data:`LENGTHS`.
    """

    centres: Floats
    points: tuple[Floats, ...]
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
        labels = tuple(sorted(Counter(kernels.labels)))
        return cls(centres, tuple(points), labels, amplitude, stretch)

    def features(self, kernels: KernelCounts) -> sp.csr_matrix:
        """Features of every kernel, shape (d, features)."""
        return self._features(kernels)[0]

    def _features(self, kernels: KernelCounts) -> tuple[sp.csr_matrix, Floats]:
        z = log_facts(kernels)
        blocks: list[sp.csr_matrix] = []
        left = np.zeros(len(z))
        order = []
        for kind, points in enumerate(self.points):
            rows = np.flatnonzero(kernels.kinds == kind)
            order.append(rows)
            linear = (z[rows] - self.centres[kind]) * LINEAR_DEVIATION
            constant = np.full((len(rows), 1), 0.5)
            process, left[rows] = self._process(z[rows], points)
            blocks.append(sp.csr_matrix(np.hstack([constant, linear, process])))
        stacked = sp.block_diag(blocks, format="csr")
        back = np.argsort(np.concatenate(order), kind="stable")
        return sp.hstack([stacked[back], self._label_features(kernels)], format="csr"), left

    def unexplained(self, kernels: KernelCounts) -> Floats:
        """Prior variance of every kernel that the features leave out, shape (d,)."""
        variance = self._features(kernels)[1]
        known = set(self.labels)
        strange = np.array([label not in known for label in kernels.labels], dtype=np.float64)
        return variance + strange * LABEL_DEVIATION**2

    def _process(self, z: Floats, points: Floats) -> tuple[Floats, Floats]:
        """Nyström features (rows, m), and the prior variance that they leave out (rows,)."""
        if not len(points):
            return np.zeros((len(z), 0)), np.full(len(z), self.amplitude**2)
        inner = _alike(points, points, self.stretch) + 1e-6 * np.eye(len(points))
        half = np.linalg.cholesky(inner)
        cross = np.linalg.solve(half, _alike(points, z, self.stretch)).T
        left = np.maximum(1 - np.einsum("nm,nm->n", cross, cross), 0.0)
        return self.amplitude * cross, self.amplitude**2 * left

    def _label_features(self, kernels: KernelCounts) -> sp.csr_matrix:
        column = {label: n for n, label in enumerate(self.labels)}
        known = [(n, column[x]) for n, x in enumerate(kernels.labels) if x in column]
        rows, columns = (np.array(v, dtype=np.int64) for v in zip(*known, strict=True)) if known else (np.zeros(0, int),) * 2
        values = np.full(len(rows), LABEL_DEVIATION)
        return sp.csr_matrix((values, (rows, columns)), shape=(len(kernels.labels), len(self.labels)))


def _alike(a: Floats, b: Floats, stretch: float) -> Floats:
    """Squared exponential kernel, shape (len(a), len(b))."""
    from scipy.spatial.distance import cdist

    scale = LENGTHS * stretch
    return np.asarray(np.exp(-0.5 * cdist(a / scale, b / scale, "sqeuclidean")))


def _spread(points: Floats, most: int) -> Floats:
    """Up to ``most`` of the points, each far from those before (Gonzalez 1985)."""
    points = np.unique(points, axis=0)
    if len(points) <= most:
        return points
    chosen = [int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < most:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(distance)))
    return points[chosen]
