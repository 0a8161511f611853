"""One model of all targets: measurements of many tables, and what is learnt from them together."""

from ._bound import bound_ms
from ._model import JointForecast, JointModel
from ._observations import Observations, TargetFacts

__all__ = ["JointForecast", "JointModel", "Observations", "TargetFacts", "bound_ms"]
