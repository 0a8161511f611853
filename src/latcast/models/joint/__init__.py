"""One model of all targets: measurements of many tables, and what is learnt from them together."""

from ._observations import Observations, TargetFacts

__all__ = ["Observations", "TargetFacts"]
