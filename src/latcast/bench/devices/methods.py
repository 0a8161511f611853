"""The contract of the methods that are scored, and the form of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from latcast.models.joint import Observations, TargetFacts
from latcast.networks import Networks

Floats = npt.NDArray[np.float64]

# Two-sided 90 % of a normal distribution, in deviations.
REACH = 1.6449


class Forecast(NamedTuple):
    """Natural logarithms of ms, each (n,): NaN where a method cannot tell."""

    log_ms: Floats
    lower: Floats
    upper: Floats

    @classmethod
    def around(cls, log_ms: Floats, deviation: Floats | float) -> Forecast:
        """A 90 % interval by a standard deviation of the logarithm."""
        reach = REACH * np.broadcast_to(np.asarray(deviation, dtype=np.float64), log_ms.shape)
        return cls(log_ms, log_ms - reach, log_ms + reach)


class Method(Protocol):
    """Learns from observations of many targets, and forecasts networks on one.

    ``fit`` is called once; it must not keep what another instance has learnt. ``predict`` is then
    called for targets that are among the training's (by name) or not, with few or many
    measurements of it, and must change nothing. A forecast that a method cannot make is NaN.
    """

    is_calibrated: ClassVar[bool]
    """Whether its intervals are meant as they are; of others only the proportions count."""

    def fit(self, train: Observations) -> None:
        """Learn from all measurements of ``train``."""

    def predict(
        self,
        target: TargetFacts,
        measured: Observations,
        networks: Networks,
        names: Sequence[str],
    ) -> Forecast:
        """Forecast networks on a target, of which the rows of ``measured`` are known.

        Args:
            target: what is forecast for.
            measured: rows of this target only, maybe none.
            networks: n of them, at their own batches.
            names: of the networks, n texts.
        """
