"""ONNX models as graphs of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._file import read_inputs
    from ._reader import read_onnx
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = ["read_inputs", "read_onnx"]
