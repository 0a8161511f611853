"""What is expected of a target from targets that are known, before it is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from latcast.math.least_squares import non_negative
from latcast.spaces import Archs

from ._overlap import Overlap
from ._similarity import Source, TargetSpec, predict_log_scale, similarities

Floats = npt.NDArray[np.float64]

LEAST_WEIGHT = 1e-6
MIXTURE_PENALTY = 1e-4


def expect(
    spec: TargetSpec, sources: Sequence[Source], values: Floats, archs: Archs
) -> tuple[Floats, tuple[float, float]]:
    """A mixture of the known targets, and the scale.

    The more similar targets count more; for a GPU, the mixture is that nearest to what
    :class:`Overlap` expects, where the sources tell.

    Args:
        spec: the target.
        sources: the known targets.
        values: of the sources for a population, means of 1, shape (n, sources).
        archs: the population.

    Returns:
        Weights of the sources, at least 0, shape (sources,); what they lack to 1 is a constant.
        Mean and deviation of the logarithm of the mean latency in ms.
    """
    weights = similarities(spec, [s.spec for s in sources])
    weights += LEAST_WEIGHT * max(float(weights.max()), 1e-300)
    weights /= weights.sum()
    overlap = Overlap.of(spec, sources) if spec.kind == "gpu" else None
    if overlap is not None:
        wanted, log_scale = overlap.expect(values, archs)
        return _nearest_mixture(values, wanted, weights), log_scale
    log_scale = predict_log_scale(
        _log(spec.roofline_ms(archs)),
        [_log(s.spec.roofline_ms(archs)) for s in sources],
        np.log([s.mean_ms for s in sources]),
        weights,
    )
    return weights, log_scale


def _nearest_mixture(values: Floats, wanted: Floats, weights: Floats) -> Floats:
    """Weights of the sources whose mixture is nearest to what is wanted, shape (sources,).

    What is missing to 1 is a constant. A mixture of sources adds none of the errors that a fit
    to other features would; where it hardly matters which, it stays near ``weights``.

    Args:
        values: of the sources for a population, means of 1, shape (n, sources).
        wanted: likewise, shape (n,).
        weights: to begin with, shape (sources,).
    """
    pull = MIXTURE_PENALTY * len(wanted)
    return non_negative(values - 1.0, wanted - 1.0, pull=pull, toward=weights)


def _log(value: float | None) -> float | None:
    return None if value is None else float(np.log(value))
