"""ncnn models as graphs of layers."""

from ._reader import read_ncnn, translate_ncnn

__all__ = ["read_ncnn", "translate_ncnn"]
