"""Milliseconds of any network, from its layers."""

from ._explanation import KernelForecast, LayerExplanation
from ._predictor import LayerPredictor

__all__ = ["KernelForecast", "LayerExplanation", "LayerPredictor"]
