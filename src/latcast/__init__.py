"""latcast forecasts how long a neural network takes on a device.

It also finds the most accurate network that fits a latency budget there. Start with
:func:`space`, :func:`read`, :mod:`predictors`, :func:`load` and :func:`search`.
"""

from ._imports import public_names

# As typing's, which would be looked for in the current folder by ``python -m latcast``: until
# ``__main__`` leaves that out, nothing is imported that Python has not loaded itself.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from latcast import measure
    from latcast import models as predictors

    from .data import Dataset, LatencyDataset, NetworkDataset, Quantity, read
    from .data.audit_report import audit_of as audit
    from .devices import Device, Target, device, list_devices
    from .graph import Graph
    from .graph.inspection import inspect
    from .graph.read import read_graph
    from .models import load, load_base, load_layers
    from .models.adaptation import suggest
    from .models.calls import adapt, evaluate, train, tune
    from .models.comparison import compare
    from .models.forecast import forecast
    from .models.overview import list_models, model_card
    from .models.suggestions import suggest_for, suggest_on
    from .models.sweep import sweep, vary
    from .ofa import export
    from .search import InfeasibleError, search
    from .search.budgets import check
    from .search.choose import choose, verify_choice
    from .search.which import which
    from .serve.client import Client
    from .spaces import Archs, space
    from .spaces.overview import list_spaces
else:
    __getattr__, __dir__ = public_names(__name__, {"measure": ".measure", "search": ".search"})

__version__ = "0.1.0"

__all__ = [
    "Archs",
    "Client",
    "Dataset",
    "Device",
    "Graph",
    "InfeasibleError",
    "LatencyDataset",
    "NetworkDataset",
    "Quantity",
    "Target",
    "adapt",
    "audit",
    "check",
    "choose",
    "compare",
    "device",
    "evaluate",
    "export",
    "forecast",
    "inspect",
    "list_devices",
    "list_models",
    "list_spaces",
    "load",
    "load_base",
    "load_layers",
    "measure",
    "model_card",
    "predictors",
    "read",
    "read_graph",
    "search",
    "space",
    "suggest",
    "suggest_for",
    "suggest_on",
    "sweep",
    "train",
    "tune",
    "vary",
    "verify_choice",
    "which",
]
