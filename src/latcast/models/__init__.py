"""Predictors: networks -> a quantity on one target, with intervals."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import adaptation, zoo
    from ._base import Predictor
    from ._block_predictor import ADAPTATIONS, BlockPredictor, Explanation
    from ._form import Form
    from ._kinds import KINDS, PREDICTORS, predictor, register_predictor
    from .base_model import BaseModel
    from .bayes import Bayes
    from .flops import Flops
    from .kernels import Kernels
    from .kernels import Kernels as LayerPredictor  # what it was called
    from .lookup_table import LookupTable
    from .mlp import MLP
    from .resolve import TargetQuery, load, load_base, load_layers
    from .roofline import Roofline

__all__ = [
    "ADAPTATIONS",
    "KINDS",
    "MLP",
    "PREDICTORS",
    "BaseModel",
    "Bayes",
    "BlockPredictor",
    "Explanation",
    "Flops",
    "Form",
    "Kernels",
    "LayerPredictor",
    "LookupTable",
    "Predictor",
    "Roofline",
    "TargetQuery",
    "adaptation",
    "load",
    "load_base",
    "load_layers",
    "predictor",
    "register_predictor",
    "zoo",
]

# Module -> its public names, loaded when one is first asked for: who needs the contract of a
# predictor loads none of the kinds.
_PUBLIC = {
    "_base": ("Predictor",),
    "_block_predictor": ("ADAPTATIONS", "BlockPredictor", "Explanation"),
    "_form": ("Form",),
    "_kinds": ("KINDS", "PREDICTORS", "predictor", "register_predictor"),
    "base_model": ("BaseModel",),
    "bayes": ("Bayes",),
    "flops": ("Flops",),
    "kernels": ("Kernels", "LayerPredictor"),
    "lookup_table": ("LookupTable",),
    "mlp": ("MLP",),
    "resolve": ("TargetQuery", "load", "load_base", "load_layers"),
    "roofline": ("Roofline",),
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in ("adaptation", "zoo"):
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A former name of Kernels.
    attribute = "Kernels" if name == "LayerPredictor" else name
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), attribute)
    globals()[name] = value
    return value
