"""ONNX models as graphs of layers."""

from ._reader import read_onnx

__all__ = ["read_onnx"]
