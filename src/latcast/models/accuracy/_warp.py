"""Scales on which accuracies are fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._base import Floats

POWERS = (-1.0, 0.0, 1.0)
"""-1 leaves accuracies as they are, 0 is the logarithm of the error, 1 its inverse."""

LEAST_ERROR = 0.01


@dataclass(frozen=True)
class Warp:
    """Box and Cox's power transform (1964) of the error rate, negated: larger is better still.

    With e = 1 - accuracy + 0.01, which keeps a perfect network finite::

        t = (e ** -power - 1) / power      or -log(e) where the power is 0

    A positive power spreads out the good networks, among which a search has to choose, and draws
    the failures in.
    """

    power: float

    def __call__(self, accuracy: Floats) -> Floats:
        error = 1.0 - accuracy + LEAST_ERROR
        if self.power == 0.0:
            return np.asarray(-np.log(error))
        return np.asarray((error**-self.power - 1.0) / self.power)

    def inverse(self, t: Floats) -> Floats:
        """Accuracies, cut off at 0 and 1."""
        if self.power == 0.0:
            error = np.exp(-np.maximum(t, -1.0))
        else:
            # Beyond its range the scale has no accuracy; what is there is worse than all.
            base = np.maximum(1.0 + self.power * t, 1e-12)
            error = base ** (-1.0 / self.power)
        return np.clip(1.0 + LEAST_ERROR - error, 0.0, 1.0)

    def log_slope(self, accuracy: Floats) -> Floats:
        """Logarithm of dt / d accuracy, which makes evidences on two scales comparable."""
        return -(self.power + 1.0) * np.log(1.0 - accuracy + LEAST_ERROR)
