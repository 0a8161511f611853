"""One model of all targets: measurements of many tables, and what is learnt from them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._faster import Faster
    from ._file import Joint
    from ._model import MANY_GROUPS, JointForecast, JointModel, by_groups, usual_errors
    from ._observations import FUSES_AS, Observations, TargetFacts
    from ._predictor import JointPredictor
    from ._space import JointSpacePredictor
    from ._specification import Question, facts_with_peak
    from .within import within_each
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "FUSES_AS",
    "MANY_GROUPS",
    "Faster",
    "Joint",
    "JointForecast",
    "JointModel",
    "JointPredictor",
    "JointSpacePredictor",
    "Observations",
    "Question",
    "TargetFacts",
    "by_groups",
    "facts_with_peak",
    "usual_errors",
    "within_each",
]
