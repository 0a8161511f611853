"""One model of all targets: measurements of many tables, and what is learnt from them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._faster import Faster
    from ._file import Joint
    from ._model import JointForecast, JointModel
    from ._observations import FUSES_AS, Observations, TargetFacts
    from ._predictor import JointPredictor
    from ._space import JointSpacePredictor
    from ._specification import Question, facts_with_peak
    from .within import within_each
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "FUSES_AS",
    "Faster",
    "Joint",
    "JointForecast",
    "JointModel",
    "JointPredictor",
    "JointSpacePredictor",
    "Observations",
    "Question",
    "TargetFacts",
    "facts_with_peak",
    "within_each",
]
