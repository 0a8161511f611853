"""Milliseconds of any network, from its layers."""

from ._explanation import KernelForecast, LayerExplanation
from ._predictor import LayerPredictor
from ._ranges import Doubt

__all__ = ["Doubt", "KernelForecast", "LayerExplanation", "LayerPredictor"]
