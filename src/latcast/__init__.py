"""latcast forecasts how long a neural network takes on a device.

It also finds the most accurate network that fits a latency budget there. Start with
:func:`space`, :func:`read`, :mod:`predictors`, :func:`load` and :func:`search`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latcast import models as predictors

    from .data import Dataset, LatencyDataset, NetworkDataset, Quantity, read
    from .devices import Target
    from .graph import Graph
    from .graph.read import read_graph
    from .models import load, load_base, load_layers
    from .models.design import suggest
    from .models.forecast import forecast
    from .ofa import export
    from .search import InfeasibleError, search
    from .spaces import Archs, space

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
]

# Name -> module and attribute. Imported on first use, so that `import latcast` stays cheap.
_PUBLIC = {
    "Archs": ("latcast.spaces", "Archs"),
    "Dataset": ("latcast.data", "Dataset"),
    "InfeasibleError": ("latcast.search", "InfeasibleError"),
    "LatencyDataset": ("latcast.data", "LatencyDataset"),
    "Graph": ("latcast.graph", "Graph"),
    "NetworkDataset": ("latcast.data", "NetworkDataset"),
    "Quantity": ("latcast.data", "Quantity"),
    "Target": ("latcast.devices", "Target"),
    "forecast": ("latcast.models.forecast", "forecast"),
    "export": ("latcast.ofa", "export"),
    "load": ("latcast.models", "load"),
    "load_base": ("latcast.models", "load_base"),
    "load_layers": ("latcast.models", "load_layers"),
    "predictors": ("latcast.models", None),
    "read": ("latcast.data", "read"),
    "read_graph": ("latcast.graph.read", "read_graph"),
    "search": ("latcast.search", None),
    "space": ("latcast.spaces", "space"),
    "suggest": ("latcast.models.design", "suggest"),
}


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'latcast' has no attribute {name!r}") from None
    value: Any = import_module(module)
    if attribute is not None:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
