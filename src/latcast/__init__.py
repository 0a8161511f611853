"""latcast forecasts how long a neural network takes on a device.

It also finds the most accurate network that fits a latency budget there. Start with
:func:`space`, :func:`read`, :mod:`predictors`, :func:`load` and :func:`search`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._imports import public_names

if TYPE_CHECKING:
    from latcast import models as predictors

    from .data import Dataset, LatencyDataset, NetworkDataset, Quantity, read
    from .devices import Target
    from .graph import Graph
    from .graph.read import read_graph
    from .models import load, load_base, load_layers
    from .models.adaptation import suggest
    from .models.comparison import compare
    from .models.forecast import forecast
    from .models.suggestions import suggest_for, suggest_on
    from .models.sweep import sweep
    from .ofa import export
    from .search import InfeasibleError, search
    from .search.budgets import check
    from .search.choose import choose
    from .search.which import which
    from .spaces import Archs, space
else:
    __getattr__, __dir__ = public_names(__name__, {"search": ".search"})

__version__ = "0.1.0"

__all__ = [
    "Archs",
    "Dataset",
    "Graph",
    "InfeasibleError",
    "LatencyDataset",
    "NetworkDataset",
    "Quantity",
    "Target",
    "check",
    "choose",
    "compare",
    "export",
    "forecast",
    "load",
    "load_base",
    "load_layers",
    "predictors",
    "read",
    "read_graph",
    "search",
    "space",
    "suggest",
    "suggest_for",
    "suggest_on",
    "sweep",
    "which",
]
