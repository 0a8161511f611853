"""Milliseconds of any network, from its kernels."""

from ._explanation import Doubt, KernelForecast, LayerExplanation
from ._fit import MIN_GROUPS
from ._predictor import Kernels

__all__ = ["MIN_GROUPS", "Doubt", "KernelForecast", "Kernels", "LayerExplanation"]
