"""From one layer model to another: a new family, or a new target, by a few measurements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.math.laplace import NormalWeights

from ._basis import SCALE_DEVIATION
from ._model import LayerModel
from ._posterior import Observed, learn

Floats = npt.NDArray[np.float64]

FRESH_POINTS = 20
"""New inducing points of a kind at most."""
SHIFTS = {True: (0.0, 0.03, 0.1), False: (0.1, 0.3, 0.6)}
"""Standard deviations by which weights may differ from the base's, on the same target and on
others; the evidence chooses."""
SAME_TARGET_SCALE, OTHER_TARGET_SCALE = 0.15, 2.0
"""The same of the factor on all kernels, in log latency."""


def adapted_model(base: LayerModel, few: Observed, *, same_target: bool) -> LayerModel:
    """The base model after a few more measurements."""
    # Totals alone: of a few networks, what their profiler adds to each kernel cannot be told.
    few = replace(few, times_ms=sp.csr_matrix(few.times_ms.shape))
    basis, columns = base.basis.extended(few.kernels, most_points=FRESH_POINTS)
    log_prices = np.log(base.prices(few.kernels))
    features = basis.features(few.kernels)
    whole = base.whole.features_and_rest(few.kernels, base.prices)[0]
    columns = np.concatenate([columns, basis.size + np.arange(base.whole.size)])
    size = basis.size + base.whole.size
    scale = SAME_TARGET_SCALE if same_target else OTHER_TARGET_SCALE
    best: tuple[float, NormalWeights | None] = (-np.inf, None)
    for shift in SHIFTS[same_target]:
        before = _loosened(base.weights, columns, size, shift, scale)
        weights, evidence = learn(few, log_prices, features, whole, base.noise, before)
        if evidence > best[0]:
            best = (evidence, weights)
    assert best[1] is not None
    return replace(base, basis=basis, weights=best[1])


def _loosened(
    weights: NormalWeights,
    columns: npt.NDArray[np.int64],
    size: int,
    shift: float,
    scale: float,
) -> NormalWeights:
    """What the base knows, in the columns of a wider basis, and that much may be different."""
    mean = np.zeros(size)
    prior = np.ones(size)
    gained = np.zeros((size, weights.gained.shape[1]))
    mean[columns], prior[columns], gained[columns] = weights.mean, weights.prior, weights.gained
    prior += shift**2
    prior[0] += (scale / SCALE_DEVIATION) ** 2
    return NormalWeights(mean, prior, gained)
