"""Predictors: architecture -> milliseconds on one target, with intervals."""

from __future__ import annotations

from . import zoo
from ._base import Explanation, Predictor
from ._form import Form
from ._kinds import PREDICTORS, predictor
from .base_model import BaseModel
from .bayes import Bayes
from .flops import Flops
from .layers import LayerPredictor
from .lookup_table import LookupTable
from .mlp import MLP
from .resolve import TargetQuery, load, load_base, load_layers
from .roofline import Roofline

__all__ = [
    "MLP",
    "PREDICTORS",
    "BaseModel",
    "Bayes",
    "Explanation",
    "Flops",
    "Form",
    "LayerPredictor",
    "LookupTable",
    "Predictor",
    "Roofline",
    "TargetQuery",
    "load",
    "load_base",
    "load_layers",
    "predictor",
    "zoo",
]
