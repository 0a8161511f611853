"""Predictors: networks -> a quantity on one target, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from . import adaptation, zoo
    from ._base import Predictor, predictor
    from ._block_predictor import ADAPTATIONS, BlockPredictor, Explanation
    from ._fitted import Form
    from ._model import KINDS, Model, register_predictor
    from .base_model import BaseModel
    from .bayes import Bayes
    from .by_device import load_base
    from .flops import Flops
    from .kernels import Kernels
    from .kernels import Kernels as LayerPredictor  # what it was called
    from .lookup_table import LookupTable
    from .mlp import MLP
    from .query import TargetQuery
    from .resolve import load, load_layers
    from .roofline import Roofline
    from .tuning._plan import PREDICTORS
else:
    __getattr__, __dir__ = public_names(__name__)

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
    "Model",
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
