"""Tensors and operators of a flatbuffer, as far as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.graph.shapes import TensorShape

# Code of ``TensorType`` -> ONNX's.
_TYPES = {
    0: 1, 1: 10, 2: 6, 3: 2, 4: 7, 5: 8, 6: 9, 7: 5, 8: 14, 9: 3, 10: 11, 11: 15, 12: 13, 15: 12,
    16: 4, 17: 22, 18: 16, 19: 26, 20: 21, 21: 17, 22: 19,
}  # fmt: skip
# ONNX's codes of integers that stand for real numbers where they have a scale.
_QUANTIZED = (2, 3, 5, 6, 22, 26, 21)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the file; ``sides`` are its shape with None for open ones."""

    name: str
    shape: TensorShape
    sides: tuple[int | None, ...]
    code: int
    buffer: int
    scale: npt.NDArray[Any]
    zero: npt.NDArray[Any]
    axis: int
    is_sparse: bool

    @property
    def is_quantized(self) -> bool:
        return self.code in _QUANTIZED and self.scale.size > 0


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: its name in the schema, its tensors (-1 for one that is left out), options."""

    type: str
    inputs: list[int]
    outputs: list[int]
    options: Any
    name: str

    def get(self, option: str, default: Any = 0) -> Any:
        """An option, as the schema's accessors name it."""
        found = getattr(self.options, option, None)
        return default if found is None else found()


@dataclass(slots=True)
class Budget:
    """Bytes that may still be read: parts of a file do not overlap, so all have its size at most.

    A small file whose parts do could keep a reader busy for hours.
    """

    left: int

    def spend(self, count: int) -> None:
        """Note that so much was read.

        Raises:
            ValueError: it is more than the file has.
        """
        self.left -= count
        if self.left < 0:
            raise ValueError("parts of a TensorFlow Lite model must not overlap; these do")

    def numbers(self, vector: Any) -> list[int]:
        """A vector of the file; one that is missing is 0."""
        if isinstance(vector, int):
            return []
        self.spend(4 * len(vector))
        return [int(x) for x in vector]

    def text(self, content: bytes | None) -> str:
        """A name in the file."""
        self.spend(len(content or b""))
        return (content or b"").decode("utf-8", "replace")


def names_of(enumeration: Any) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


def tensor_of(table: Any, budget: Budget) -> Tensor:
    shape = tuple(budget.numbers(table.ShapeAsNumpy()))
    signature = budget.numbers(table.ShapeSignatureAsNumpy()) or shape
    sides = tuple(s if s >= 0 else None for s in signature)
    quantization = table.Quantization()
    none = np.zeros(0, np.float32)
    scale = none if quantization is None else quantization.ScaleAsNumpy()
    zero = none if quantization is None else quantization.ZeroPointAsNumpy()
    scale, zero = (none if isinstance(x, int) else x for x in (scale, zero))
    budget.spend(scale.size + zero.size)
    return Tensor(
        budget.text(table.Name()), shape, sides,
        _TYPES.get(table.Type(), 1), table.Buffer(),
        scale, zero,
        0 if quantization is None else quantization.QuantizedDimension(),
        table.Sparsity() is not None,
    )  # fmt: skip
