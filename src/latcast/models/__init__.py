"""Predictors: networks -> a quantity on one target, with intervals."""

from __future__ import annotations

from . import adaptation, zoo
from ._base import Predictor
from ._block_predictor import ADAPTATIONS, BlockPredictor, Explanation
from ._form import Form
from ._kinds import KINDS, PREDICTORS, predictor, register_predictor
from .base_model import BaseModel
from .bayes import Bayes
from .flops import Flops
from .kernels import Kernels
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

LayerPredictor = Kernels
"""What :class:`Kernels` was called."""
