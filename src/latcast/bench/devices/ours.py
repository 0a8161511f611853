"""Our own method: one posterior of all targets of all tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from latcast.models.joint import Faster, JointModel, Observations, TargetFacts
from latcast.networks import Networks

from .methods import REACH, Forecast


class Joint:
    """:class:`latcast.models.joint.JointModel`, with the deviations that it states.

    Where groups are left out by turns, others of them say how far its intervals have to reach.
    """

    is_calibrated: ClassVar[bool] = False

    def fit(self, train: Observations) -> None:
        """Learn from all measurements of ``train``."""
        self._model = JointModel.fit(train, calibrate=self.is_calibrated)

    def predict(
        self,
        target: TargetFacts,
        measured: Observations,
        networks: Networks,
        names: Sequence[str],
    ) -> Forecast:
        """Forecast networks on a target, of which the rows of ``measured`` are known."""
        found = self._model.forecast(target, networks, names, measured if len(measured) else None)
        with np.errstate(divide="ignore"):
            bound = np.log(found.bound_ms)
        deviations = found.reach if self.is_calibrated else REACH
        log_ms, reach = np.log(found.ms), deviations * found.deviation
        return Forecast(log_ms, np.maximum(log_ms - reach, bound), log_ms + reach)


class CalibratedJoint(Joint):
    """The same with its own intervals, from groups that it leaves out itself: five fits, not one.

    For a folder that is only scored, where nothing else is left out.
    """

    is_calibrated: ClassVar[bool] = True

    @property
    def faster(self) -> Mapping[tuple[str, str, str], Faster]:
        """Domain and two precisions -> when the first is faster; nothing before the fit."""
        return self._model.faster if hasattr(self, "_model") else {}
