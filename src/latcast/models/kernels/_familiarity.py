"""How near the kernels of a network are to those that a model was fitted to, and what of that.

The deviations that a layer model states are as large for networks of the kinds it was fitted to as
for others. Its errors are not: they grow with the distance to the nearest measured kernels, and at
equal distance are as large on families that were left out as on networks of known ones
(docs/tried.md). So a model keeps where its kernels were, and by how much an interval is narrower
near them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from latcast.math.conformal import DeviationScores, quantile
from latcast.networks import Networks

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

# Side of a cell, as a share of the factor (as natural logarithm) within which kernels are alike.
# With sides of 0.1 and with none intervals are as wide; half of the features, or 60 to 400 points
# of a kind far from each other in the place of all cells, leave them 5 to 110 % wider.
CELL = 0.25
MAX_CELL = 255
# Distance at which a kernel is unlike any other; that of kinds that were not measured.
FAR = 5.0
# Coverage at which factors are fitted, and networks of a part of them: so many tell a quantile.
TOLD = 0.9
PARTS, MIN_PART = 8, 20
# Of errors that were all but nothing.
MIN_FACTOR = 1e-3
# Distances that are computed at once.
_AT_ONCE = 1_000_000
# Standard deviations to the end of a 90 % interval, at which a sum's tail is looked at, too.
REACH = 1.645


@dataclass(frozen=True, eq=False)
class LeftOut:
    """The predictions for left-out networks, by models that had not seen them.

    Attributes:
        scores: errors of log latencies, in deviations that the model stated, shape (n,).
        novelty: mean distances to measured kernels (:meth:`Familiarity.distances`), shape (n,).
    """

    scores: Floats
    novelty: Floats


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The positions of measured kernels, and the growth of intervals with the distance to them.

    Attributes:
        cells: of a grid over logarithms of facts, in which a measured kernel is, (cells, names).
        kinds: of the kernels in them, shape (cells,).
        knots: ascending novelties of networks, shape (knots,), and
        factors: on the deviations that the model states, at each of them.
        apart: scores of families that were left out, in deviations without these factors,
            ascending: they calibrate where these errors tell nothing, as on another target.
    """

    cells: Numbers
    kinds: Numbers
    knots: Floats
    factors: Floats
    apart: Floats

    @classmethod
    def of(cls, kinds: Numbers, facts: Floats) -> Familiarity:
        """Make it of measured kernels' kinds (d,) and facts in lengths (d, names)."""
        near = cls(_cells(facts), kinds, np.zeros(1), np.ones(1), np.zeros(1))
        return near._of_cells(near.kinds, near.cells)

    def fitted(
        self, known: LeftOut, families: LeftOut
    ) -> tuple[Familiarity, DeviationScores] | None:
        """Fit factors to the errors on left-out networks, and score them; None if they are too few.

        At each novelty an interval holds both for networks of known families and for families that
        the model has not seen, as far as there are any.

        Args:
            known: random networks left out.
            families: families left out.
        """
        count = min(PARTS, len(known.scores) // MIN_PART)
        if count < 2:
            return None
        near, far = _reaches(known, count), _reaches(families, count)
        knots = np.union1d(near[0], far[0])
        own = np.interp(knots, *near)
        reach = np.where(knots < far[0][0], own, np.maximum(own, np.interp(knots, *far)))
        factors = np.maximum(np.maximum.accumulate(reach) / REACH, MIN_FACTOR)
        apart = np.sort(np.abs(families.scores))
        fitted = replace(self, knots=knots, factors=factors, apart=apart)
        both = [x.scores / fitted.factor(x.novelty) for x in (known, families)]
        return fitted, DeviationScores.of(np.concatenate(both))

    def distances(self, kernels: Networks, facts: Floats) -> Floats:
        """To the nearest measured kernel of the kind, in lengths, at most :data:`FAR`; shape (d,).

        A network's novelty is the mean of its kernels', weighted by their shares of milliseconds.

        Args:
            kernels: d kernels.
            facts: of these, in lengths, shape (d, names).
        """
        distances = np.full(len(facts), FAR)
        cells = _cells(facts)
        for kind in np.unique(kernels.kinds).tolist():
            if len(known := self.cells[self.kinds == kind]):
                rows = np.flatnonzero(kernels.kinds == kind)
                distances[rows] = CELL * _nearest(cells[rows], known)
        return np.asarray(np.minimum(distances, FAR), dtype=np.float64)

    def factor(self, novelty: Floats) -> Floats:
        """Return the factor on stated deviations at such distances; shape of novelty."""
        return np.asarray(np.interp(novelty, self.knots, self.factors), dtype=np.float64)

    def of_kinds(self, positions: Numbers) -> Familiarity:
        """The same with other numbers of kinds; what is of none of them (-1) is left out.

        Raises:
            ValueError: a cell is of none of the kinds, or there is no knot.
        """
        if len(self.kinds) and not 0 <= self.kinds.min() <= self.kinds.max() < len(positions):
            raise ValueError("kinds of cells must be known")
        if not len(self.knots):
            raise ValueError("factors by novelty must be at one knot at least; got none")
        kinds = positions[self.kinds]
        return self._of_cells(kinds[kinds >= 0], self.cells[kinds >= 0])

    def _of_cells(self, kinds: Numbers, cells: Numbers) -> Familiarity:
        rows = np.unique(np.column_stack([kinds, cells]), axis=0)
        return replace(self, cells=rows[:, 1:], kinds=rows[:, 0])


def _nearest(points: Numbers, cells: Numbers) -> Floats:
    """Distance of each point (n, names) to the nearest of the cells (m, names), shape (n,).

    A tree of SciPy's takes longer to import than all distances of a network to compute.
    """
    squares = (cells**2).sum(axis=1)
    found = np.empty(len(points))
    step = max(1, _AT_ONCE // len(cells))
    for rows in (slice(n, n + step) for n in range(0, len(points), step)):
        own = points[rows].astype(np.float64)  # products of such integers are exact, and fast
        apart = (own**2).sum(axis=1)[:, None] + squares - 2 * own @ cells.T.astype(np.float64)
        found[rows] = apart.min(axis=1)
    return np.sqrt(found)


def _cells(facts: Floats) -> Numbers:
    return np.clip(np.round(facts / CELL), 0, MAX_CELL).astype(np.int64)


def _reaches(left_out: LeftOut, count: int) -> tuple[Floats, Floats]:
    """Median novelties of parts of the networks, and deviations that hold each; (count,)."""
    parts = np.array_split(np.argsort(left_out.novelty, kind="stable"), count)
    middle = np.array([np.median(left_out.novelty[rows]) for rows in parts])
    reach = [quantile(np.sort(np.abs(left_out.scores[rows])), TOLD) for rows in parts]
    # What is more novel is never surer.
    return middle, np.maximum.accumulate(reach)
