"""How far off a prediction may be at each network, by a posterior over functions of networks.

Errors of a predictor from few measurements are not alike: small networks, or those of blocks that
were hardly measured, are told less well than a random one, and a search picks just these. The
posterior covariance of the predictions at some reference networks is written out in its principal
directions, each a function of networks (Nyström's method; Rasmussen and Williams, *Gaussian
Processes for Machine Learning*, 2006, section 8.1), so that the deviation of any network is a
gather and a sum. A posterior that holds for a network holds for one that was picked, too: which one
a search picks follows from predictions and accuracies alone, and both are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from latcast._model_file import Array
from latcast.math.gaussian_process import AveragedPosterior
from latcast.spaces import Archs, SearchSpace

from .features import Functions, NetworkFeatures, Units

Floats = npt.NDArray[np.float64]

# Random networks of the population, and the least and largest of it, at which covariances are
# looked at: what is picked for a tight budget is at an end.
TYPICAL, EXTREME = 128, 32
DIRECTIONS = 16
# Of the typical deviation, what that of a network is at most: beyond, a correction that no
# measurement reaches would forbid a network for good.
MAX_FACTOR = 6.0

ARRAYS = {
    "direction_rows": Array(("directions", "blocks"), "float32", is_optional=True),
    "direction_live": Array(("directions", "blocks"), "float32", is_optional=True),
    "direction_outputs": Array(("directions", "direction_units"), "float32", is_optional=True),
    "direction_weights": Array(("direction_sums", "direction_units"), is_optional=True),
    "direction_biases": Array(("direction_units",), is_optional=True),
    "direction_constants": Array(("directions", 2), is_optional=True),
    "direction_rest": Array((2,), check="not negative", is_optional=True),
}
"""Of a model file that holds a deviation."""


def references(population: Archs, values: Floats) -> Archs:
    """Networks at which covariances are looked at: typical ones first, then those at both ends."""
    order = np.argsort(values, kind="stable")
    ends = np.concatenate([order[:EXTREME], order[len(order) - EXTREME :]])
    return population[np.concatenate([np.arange(min(TYPICAL, len(population))), ends])]


@dataclass(frozen=True)
class PosteriorDeviation:
    """Standard deviations of new measurements, in the unit of the predictions.

    Attributes:
        directions: r functions of networks whose squares sum to what is not known of a prediction.
        of_base: what each holds of the prediction that the posterior's mean builds on, shape (r,).
        rest: variance of the noise, and of what the directions leave out.
        typical: root of the mean variance over networks.
    """

    directions: Functions
    of_base: Floats
    rest: float
    typical: float

    @classmethod
    def of(
        cls,
        found: AveragedPosterior,
        design: Sequence[Floats],
        new: Sequence[Floats],
        features: NetworkFeatures,
        mean: tuple[Functions, float],
        sources: Functions | None,
        widening: float,
    ) -> Self:
        """Compute the deviations of a posterior given k values.

        Args:
            found: the posterior.
            design: features of the values' networks by term, each (k, features of the term).
            new: the same of :func:`references`, each (q, features of the term).
            features: those of the last terms.
            mean: the first term, the prior mean: a function, and the weight of a base's prediction
                beside it. The second is a constant.
            sources: the third term, if there is one.
            widening: factor of all variances.
        """
        covariance, noise = _covariance(found, design, new)
        size, where = np.linalg.eigh(covariance)
        size, where = size[-DIRECTIONS:], where[:, -DIRECTIONS:]
        kept = size > 1e-12 * max(float(size[-1]), 1e-300)
        root = np.sqrt(widening)
        scaled = root * where[:, kept] / np.sqrt(size[kept])
        weights = _weights(found, design, new, scaled)
        first = len(weights) - len(features.names)
        functions = features.functions([w.T for w in weights[first:]], weights[1][0])
        functions += mean[0].combined(weights[0].T)
        if sources is not None:
            functions += sources.combined(weights[2].T)
        told = (where[:, kept] ** 2 * size[kept]).sum(axis=1)
        left = np.maximum(np.diag(covariance) - told, 0.0)[:TYPICAL].mean()
        rest = widening * float(noise + left)
        whole = widening * float(noise + np.diag(covariance)[:TYPICAL].mean())
        return cls(functions, mean[1] * weights[0][0], rest, float(np.sqrt(whole)))

    def scaled(self, factor: float) -> Self:
        """Return the deviation in another unit: multiplied by ``factor``."""
        return type(self)(
            self.directions.combined(factor * np.eye(len(self.of_base))),
            factor * self.of_base,
            factor**2 * self.rest,
            factor * self.typical,
        )

    def __call__(self, archs: Archs, base: Floats | None) -> Floats:
        """Standard deviations, shape (n,), of networks and what the base predicts of them (n,)."""
        away = self.directions(archs)
        if base is not None:
            away = away + base[:, None] * self.of_base
        found = np.sqrt(self.rest + (away**2).sum(axis=1))
        return np.asarray(np.minimum(found, MAX_FACTOR * self.typical))

    def state(self) -> dict[str, Any]:
        """Return the arrays that a file keeps, by the names of :data:`ARRAYS`."""
        f = self.directions
        live = {"direction_live": f.live} if f.live.shape[1] else {}
        return {
            **live,
            "direction_rows": f.rows,
            "direction_outputs": f.outputs,
            "direction_weights": f.units.weights,
            "direction_biases": f.units.biases,
            "direction_constants": np.stack([f.constant, self.of_base], axis=1),
            "direction_rest": np.array([self.rest, self.typical]),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any], space: SearchSpace) -> Self | None:
        """The inverse of :meth:`state`; None where a file holds none.

        Raises:
            ValueError: parts do not fit each other.
        """
        needed = [name for name in ARRAYS if name != "direction_live"]
        missing = [name for name in needed if name not in state]
        if missing == needed:
            return None
        if missing:
            raise ValueError(
                f"all arrays of a deviation must be there or none; there is no {missing[0]}"
            )
        rows, both = state["direction_rows"], state["direction_constants"]
        units = Units(state["direction_weights"], state["direction_biases"])
        live = state.get("direction_live", np.zeros((len(rows), 0)))
        functions = Functions(space, rows, live, units, state["direction_outputs"], both[:, 0])
        functions.check()
        rest, typical = (float(v) for v in state["direction_rest"])
        return cls(functions, both[:, 1], rest, typical)


def _covariance(
    found: AveragedPosterior, design: Sequence[Floats], new: Sequence[Floats]
) -> tuple[Floats, float]:
    """Return the covariance of functions at the references (q, q), and the noise variance."""
    own = np.stack([f @ f.T for f in new])
    cross = np.stack([f @ known.T for f, known in zip(new, design, strict=True)])
    covariance, noise = np.zeros(own.shape[1:]), 0.0
    mean = np.einsum("tk,tqk->q", found.weights, cross)
    for share, v, inverse in zip(found.shares, found.variances, found.inverses, strict=True):
        between = np.tensordot(v[:-1], cross, 1)
        away = between @ (inverse @ found.values) - mean
        covariance += share * (np.tensordot(v[:-1], own, 1) - between @ inverse @ between.T)
        # Draws that disagree add what they disagree by.
        covariance += share * np.outer(away, away)
        noise += float(share * v[-1])
    return (covariance + covariance.T) / 2, noise


def _weights(
    found: AveragedPosterior, design: Sequence[Floats], new: Sequence[Floats], scaled: Floats
) -> list[Floats]:
    """Coefficients of the directions by term, each (features of the term, r).

    The covariance of any network with the references, times ``scaled`` (q, r).
    """
    cross = np.stack([f @ known.T for f, known in zip(new, design, strict=True)])
    mean = np.einsum("tk,tqk->q", found.weights, cross)
    result = [np.zeros((f.shape[1], scaled.shape[1])) for f in new]
    for share, v, inverse in zip(found.shares, found.variances, found.inverses, strict=True):
        between = np.tensordot(v[:-1], cross, 1)
        pulled = inverse @ found.values
        away = scaled.T @ (between @ pulled - mean)
        told = inverse @ (between.T @ scaled) - np.outer(pulled, away)
        for n, (f, known) in enumerate(zip(new, design, strict=True)):
            result[n] += share * v[n] * (f.T @ scaled - known.T @ told)
    return result
