"""TensorFlow Lite models as graphs of layers."""

from ._reader import read_tflite, translate_tflite

__all__ = ["read_tflite", "translate_tflite"]
