"""Roofline: block physics on a target, plus a whole-network correction. The default predictor.

A network's latency is modelled as

    intercept + sum over blocks of value(block) + correction(totals of the network).

``value`` starts from the block's physics, MACs, bytes and launches at prices that are not
negative, and departs from it by three kinds of features, from general to particular: other prices,
which block it is (at any resolution, constant and growing with the bytes it moves), and the very
row of the block table. Each kind has its ridge penalty, so that rows that were seldom or never
seen fall back on their physics, and so does the division of time among blocks that always come
together.

``correction`` is a sum of ReLU units with random weights (Rahimi and Recht, *Random Features for
Large-Scale Kernel Machines*, NeurIPS 2007) of three totals: the physics' estimate, MACs and
launches. It carries what does not add up over blocks: launch overhead, cache, overlap. All
coefficients are solved in closed form; penalties are chosen on held-out rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.linalg import LinAlgError

from latcast._model_file import Array, Schema, single
from latcast.data import UNSTABLE
from latcast.data.additive import incidence
from latcast.math.least_squares import Ridge, non_negative
from latcast.math.robust import huber_weights, reweighted
from latcast.spaces import Archs, SearchSpace
from latcast.spaces._base import CHUNK

from ._base import Predictor
from ._block_predictor import LOWEST_SHARE, BlockPredictor
from ._fitted import Floats, Form, no_values
from ._model import State
from ._tunable import Choice, Whole
from .features import PHYSICS, BlockFeatures, Units

# Errors on our own datasets with these halved and doubled: docs/results/sensitivity.txt.
# Reweighted fits of the first estimate; half of them do as well.
ROBUST_ROUNDS = 6
# Of standardized features, in rows; halved or doubled, hardly anything changes.
PHYSICS_PENALTY = 1.0
BASE_PENALTY = 1.0
FEW_BASE_PENALTY = 1_000.0
# Of blocks in the first estimate: the second where there are less than so many rows a feature. The
# rows' errors get into what the correction sees, and held-out rows no longer tell them: with 200
# rows of our own datasets the error is 1.26 %, and 2.85 % with half of FEW. Chosen on learning
# curves of the RTX 2080 Ti and the Tesla P40 (docs/tried.md).
FEW = 1.5
# Penalty of a row of the block table beside that of its block. Halved, 50 rows are fitted a little
# better (1.83 % against 1.95), doubled a little worse (2.04).
ROW_FACTOR = 10.0
BLOCK_PENALTIES = (1e-4, 1e-2, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
# Held-out rows choose among these, the blocks' first, beside the next.
CORRECTION_PENALTIES = (0.1, 1.0, 10.0, 100.0, np.inf)
FIRST_CORRECTION_PENALTY = 10.0
MIN_REACHED = 0.02
# So large a share and so many of the networks must reach a unit. Scaled by its deviation, one that
# hardly any reaches grows without measure beyond them: networks a little larger came out at a tenth
# of their latency. Chosen on the RTX 2080 Ti (docs/tried.md).
MIN_REACHED_ROWS = 5

SCHEMA = Schema(
    {},
    {
        "rows": Array(("blocks",), "float32"),
        "base": Array(("blocks",), "float32"),
        "correction": Array(("units",)),
        "unit_weights": Array((3, "units")),
        "unit_biases": Array(("units",)),
        "scalars": Array((2,)),  # intercept, least value
    },
)


class Roofline(BlockPredictor):
    """Block physics and a whole-network correction, in closed form.

    Args:
        correction_units: number of random ReLU units, at least 0 (no correction).
        robust: whether rows far off (spikes of the machine) are weighted down.

    Raises:
        ValueError: ``correction_units`` is negative.
    """

    kind = "roofline"
    weighs_rows = True
    description = "block physics on the target plus a whole-network correction (the default)"
    tunable = {"correction_units": Whole(0, 512, step=32), "robust": Choice((True, False))}  # noqa: RUF012

    def __init__(self, correction_units: int = 128, robust: bool = True) -> None:
        super().__init__()
        if correction_units < 0:
            raise ValueError(f"correction_units must be at least 0; got {correction_units}")
        self._units = correction_units
        self._robust = robust

    def options(self) -> dict[str, Any]:
        return {"correction_units": self._units, "robust": self._robust}

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> None:
        features = BlockFeatures(archs)
        stable = 1 / (1 + self._excess_variance / UNSTABLE**2)
        prior = _physics_prior(archs, latency_ms, stable, robust=self._robust)
        left_ms = latency_ms - archs.space.block_sums(archs, prior)
        base, weights = _fit_base(features, left_ms, stable, self._robust)
        self._base = single(prior + base)
        facts = archs.space.block_table.facts
        summed = (self._base, facts["macs"], facts["launches"])
        totals = np.stack([archs.space.block_sums(archs, v) for v in summed], axis=1)
        self._units_of = _drawn_units(totals, self._units, rng)
        units = self._units_of(totals)
        scale = units.std(axis=0) + 1e-12
        x = np.hstack([features.matrix, units / scale])
        penalty = _choose_penalty(features, x, left_ms, weights, rng)
        coefficients, intercept = Ridge(x, left_ms, weights).solve(penalty)
        n = features.matrix.shape[1]
        self._rows = single(prior + features.row_values(coefficients[:n]))
        self._correction = coefficients[n:] / scale
        self._intercept = intercept - features.offset(coefficients[:n])
        self._lowest_ms = LOWEST_SHARE * float(latency_ms.min())
        self._prepare(archs.space)

    def _predict(self, archs: Archs) -> Floats:
        if not len(self._outputs):
            result = self.space.block_sums(archs, self._tables[:-1, 0]) + self._intercept
            return np.maximum(result, self._lowest_ms, out=result)
        result = np.empty(len(archs))
        # One memory for all chunks, here and of sums: new memory of that size took a third longer.
        of_chunk = np.empty((min(CHUNK, len(archs)), self._seen.shape[1]))
        for rows, sums in self._sums(archs):
            result[rows] = sums[:, 0]
            sums[:, 0] = 1.0  # the first of what units see, times which they have their biases
            units = np.matmul(sums, self._seen, out=of_chunk[: len(sums)])
            result[rows] += np.maximum(units, 0.0, out=units) @ self._outputs
        result += self._intercept
        return np.maximum(result, self._lowest_ms, out=result)

    def _explain(self, archs: Archs) -> Floats:
        # A correction can push a cheap block below 0; that part belongs to the network.
        return self.space.gather(archs, np.maximum(self._rows, 0.0))

    def _schema(self) -> Schema:
        return SCHEMA

    def _state(self) -> State:
        return {
            "rows": self._rows,
            "base": self._base,
            "correction": self._correction,
            "unit_weights": self._units_of.weights,
            "unit_biases": self._units_of.biases,
            "scalars": np.array([self._intercept, self._lowest_ms]),
        }

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        self._rows, self._base = state["rows"], state["base"]
        self._correction = state["correction"]
        self._units_of = Units(state["unit_weights"], state["unit_biases"])
        self._intercept, self._lowest_ms = (float(v) for v in state["scalars"])
        self._prepare(self.space)

    def _form(self) -> Form:
        rows, units = self._tables[:-1], self._units_of
        seen = np.vstack([np.zeros((1, len(units.biases))), units.weights])
        last = (self._correction[:, None], np.array([self._intercept]))
        linear = np.array([1.0, 0.0, 0.0, 0.0])
        nothing = no_values(len(rows))
        layers = [(seen, units.biases), last]
        return Form(rows, nothing, False, linear, layers, self._lowest_ms)

    def _prepare(self, space: SearchSpace) -> None:
        """Set what predicting works on.

        That is what is summed over the blocks, shape (rows + 1, 4), whose last row is "no block";
        and of the units that do not give 0 for all networks, biases and weights, and outputs.
        """
        facts = space.block_table.facts
        columns = [self._rows, self._base, facts["macs"], facts["launches"]]
        self._tables = np.vstack([np.stack(columns, axis=1), np.zeros((1, len(columns)))])
        seen = np.vstack([self._units_of.biases, self._units_of.weights])
        matter = seen.any(axis=0) & (self._correction != 0)
        self._seen, self._outputs = seen[:, matter].copy(), self._correction[matter]

    def _sums(self, archs: Archs) -> Iterator[tuple[slice, Floats]]:
        """Sums over the blocks, a chunk that fits the cache at a time."""
        blocks = np.empty((0, 0, 0))
        for start in range(0, len(archs), CHUNK):
            rows = slice(start, start + CHUNK)
            ids = self.space.block_ids(archs[rows])
            if not start:
                blocks = np.empty((*ids.shape, self._tables.shape[1]))
            # Clipped, as nothing is to be: only then it is written where it belongs at once.
            of_rows = np.take(self._tables, ids, axis=0, out=blocks[: len(ids)], mode="clip")
            # einsum sums the short middle axis several times faster than sum(axis=1).
            yield rows, np.einsum("nbk->nk", of_rows)


def _drawn_units(totals: Floats, units: int, rng: np.random.Generator) -> Units:
    """Random units; those that hardly any of the networks reaches are 0 everywhere."""
    drawn = Units.draw(totals, units, rng)
    reached = (drawn(totals) > 0).sum(axis=0)
    return drawn.only(reached >= max(MIN_REACHED * len(totals), MIN_REACHED_ROWS))


def _physics_prior(archs: Archs, latency_ms: Floats, stable: Floats, *, robust: bool) -> Floats:
    """Value of every row of the block table by physics alone, shape (rows,).

    Latencies (n,) are fitted by what the networks do of each of :data:`PHYSICS`, at cost
    coefficients that are not negative, and a constant; ``stable`` (n,) are their weights. Whole
    networks cannot tell how the time divides among blocks that always come together; physics can.
    """
    table = archs.space.block_table
    facts = np.stack([table.facts[name] for name in PHYSICS], axis=1)
    totals = np.hstack([incidence(archs) @ facts, np.ones((len(archs), 1))])

    def fit(weights: Floats) -> tuple[Floats, Floats]:
        prices = non_negative(totals, latency_ms, stable * weights)
        return prices, latency_ms - totals @ prices

    rounds = ROBUST_ROUNDS if robust else 1
    prices, _ = reweighted(fit, huber_weights, len(archs), rounds)
    prior: Floats = facts @ prices[:-1]
    return prior


def _fit_base(
    features: BlockFeatures, latency_ms: Floats, stable: Floats, robust: bool
) -> tuple[Floats, Floats]:
    """A first estimate of what the prior leaves, from physics and blocks alone.

    Returns:
        Its value per row of the block table (rows,), and the weight of every architecture (n,):
        that of its stability, times Huber's, and 0 for residuals beyond 8 robust standard
        deviations.
    """
    general = features.kinds < 2
    block = BASE_PENALTY if len(latency_ms) >= FEW * general.sum() else FEW_BASE_PENALTY
    penalty = np.where(features.kinds == 0, PHYSICS_PENALTY, block)
    x = features.matrix[:, general]

    def fit(weights: Floats) -> tuple[Floats, Floats]:
        coefficients, intercept = Ridge(x, latency_ms, stable * weights).solve(penalty[general])
        return coefficients, latency_ms - intercept - x @ coefficients

    rounds = ROBUST_ROUNDS if robust else 1
    weigh = huber_weights if robust else np.ones_like
    full = np.zeros(len(features.kinds))
    full[general], weights = reweighted(fit, weigh, len(latency_ms), rounds)
    return features.row_values(full), stable * weights


def _choose_penalty(
    features: BlockFeatures,
    x: Floats,
    latency_ms: Floats,
    weights: Floats,
    rng: np.random.Generator,
) -> Floats:
    """The penalties with the smallest weighted error on held-out rows, shape (columns of x,)."""
    folds = list(_folds(len(latency_ms), rng))
    problems = [
        (
            Ridge(x[train], latency_ms[train], weights[train]),
            x[test],
            latency_ms[test],
            weights[test],
        )
        for train, test in folds
    ]
    kinds = np.concatenate(
        [features.kinds, np.full(x.shape[1] - features.matrix.shape[1], 3, dtype=np.int64)]
    )

    def loss(penalty: Floats) -> float:
        total = 0.0
        for problem, held_out, held_out_ms, weight in problems:
            try:
                coefficients, intercept = problem.solve(penalty)
            # A penalty too small for the rows there are: others are not.
            except LinAlgError:
                return np.inf
            error = held_out_ms - intercept - held_out @ coefficients
            # By the robust weights: an outlier among the held-out rows must not choose the penalty.
            total += float(weight @ np.abs(error))
        return total

    def penalties(block: float, correction: float) -> Floats:
        by_kind = np.array([PHYSICS_PENALTY, block, ROW_FACTOR * block, correction])
        result: Floats = by_kind[kinds]
        return result

    # One after the other: a grid of both takes three times as long, and the first hardly depends on
    # the second (docs/results/sensitivity.txt: FIRST_CORRECTION_PENALTY).
    block = min(BLOCK_PENALTIES, key=lambda b: loss(penalties(b, FIRST_CORRECTION_PENALTY)))
    correction = min(CORRECTION_PENALTIES, key=lambda c: loss(penalties(block, c)))
    return penalties(block, correction)


def _folds(
    n: int, rng: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Train and test rows: five folds, or one of a fifth where there are plenty of rows."""
    shuffled = rng.permutation(n)
    edges = np.linspace(0, n, 6).astype(int)
    for start, end in list(pairwise(edges))[: 1 if n >= 1_000 else 5]:
        yield np.concatenate([shuffled[:start], shuffled[end:]]), shuffled[start:end]
