"""OpenVINO models as graphs of layers."""

from ._reader import read_openvino, translate_openvino

__all__ = ["read_openvino", "translate_openvino"]
