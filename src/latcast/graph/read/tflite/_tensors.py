"""Tensors of a model while it is translated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from latcast.graph.read._translation import Translation
from latcast.graph.read.onnx._tensors import type_of
from latcast.graph.shapes import TensorShape

from ._file import Tensor


class Tensors:
    """Tensors of a graph that is translated, in the order of the file, in ours, or in both."""

    def __init__(self, written: Translation, model: Any, tensors: list[Tensor]) -> None:
        self.t = written
        self._model = model
        self._tensors = tensors
        self._names: dict[int, str] = {}
        self._maps: dict[int, str] = {}
        self._raw: dict[int, str] = {}

    def shape(self, n: int) -> TensorShape:
        """Shape of a tensor in the file."""
        return self._tensors[n].shape

    def code(self, n: int) -> int:
        """ONNX's code of a tensor's type."""
        return self._tensors[n].code

    def is_map(self, n: int) -> bool:
        """Whether a tensor is known as a map first."""
        return n in self._maps and n not in self._names

    def raw(self, n: int) -> str:
        """A tensor as the file has it, integers where it is quantized."""
        return self._raw.get(n) or self.value(n)

    def value(self, n: int) -> str:
        """A tensor in the order of the file, as real numbers where it is quantized."""
        if n not in self._names:
            if n in self._maps:
                rank = len(self.shape(n))
                self._names[n] = self.t.transposed(self._maps[n], 0, *range(2, rank), 1)
            else:
                self._names[n] = self._constant(n)
        return self._names[n]

    def map(self, n: int, rank: int = 0) -> str:
        """A tensor with its channels second; one of fewer axes gets leading ones before."""
        own = len(self.shape(n))
        rank = rank or own
        if n not in self._maps or own < rank:
            name = self.value(n)
            if own < rank:
                if own == 0:
                    return name
                name = self.t.reshaped(name, *(1,) * (rank - own), *self.shape(n))
            mapped = self.t.transposed(name, 0, rank - 1, *range(1, rank - 1))
            if own < rank:
                return mapped
            self._maps[n] = mapped
        return self._maps[n]

    def alike(self, tensors: Sequence[int]) -> tuple[bool, list[str]]:
        """Tensors in one order: as maps if one of them is first known as such."""
        rank = max((len(self.shape(n)) for n in tensors), default=0)
        if any(self.is_map(n) for n in tensors):
            return True, [self.map(n, rank) for n in tensors]
        return False, [self.value(n) for n in tensors]

    def integers(self, n: int) -> list[int]:
        """Elements of a small constant of integers.

        Raises:
            LookupError: the tensor is computed.
        """
        return self.t.values(self.value(n))

    def _constant(self, n: int) -> str:
        tensor = self._tensors[n]
        load = self._bytes_of(tensor)
        if tensor.is_sparse:  # what is not 0 alone, in an order of its own
            if self.t.with_weights:
                raise ValueError(f"tensor {tensor.name!r} must not be sparse, to be run")
            load = partial(bytes, -(-prod(tensor.shape) * type_of(tensor.code).bits // 8))
        name = self.t.constant(f"{tensor.name}#{n}", tensor.code, tensor.shape, load)
        return self._dequantized(n, name) if tensor.is_quantized else name

    def _bytes_of(self, tensor: Tensor) -> Callable[[], bytes]:
        """Loads the values of a constant, which may stand behind the tables of the file."""
        buffer = self._model.Buffers(tensor.buffer)
        data = buffer.DataAsNumpy()
        if not isinstance(data, int):
            return data.tobytes  # type: ignore[no-any-return]
        # Of files of more than 2 GB, and of some that ai-edge-quantizer writes.
        content, start, size = self._model._tab.Bytes, buffer.Offset(), buffer.Size()
        if not 0 < start < start + size <= len(content):
            raise ValueError(f"tensor {tensor.name!r} must be given by something; it is not")
        return lambda: bytes(content[start : start + size])

    def put(self, n: int, name: str, *, is_map: bool = False) -> None:
        """Note what gives a tensor, a map if ``is_map``; a quantized one is quantized."""
        tensor = self._tensors[n]
        if tensor.is_quantized:
            if name != tensor.name:
                name = self.t.node("QuantizeLinear", name, *self._scale(n, is_map=is_map))
            self._raw[n] = name
            name = self._dequantized(n, name, is_map=is_map)
            if is_map:
                self._raw[n] = self.t.transposed(self._raw[n], 0, *range(2, len(tensor.shape)), 1)
        (self._maps if is_map else self._names)[n] = name

    def _dequantized(self, n: int, name: str, *, is_map: bool = False) -> str:
        axis = self._tensors[n].axis if self._tensors[n].scale.size > 1 else None
        return self.t.node(
            "DequantizeLinear", name, *self._scale(n, is_map=is_map), name=f"{name}/real", axis=axis
        )

    def _scale(self, n: int, *, is_map: bool) -> tuple[str, str]:
        """Scale and zero point of a tensor."""
        tensor, t = self._tensors[n], self.t
        many = tensor.scale.size > 1
        if many and is_map:
            raise LookupError("activations must have one scale")
        shape = tensor.scale.shape if many else ()
        scale = np.asarray(tensor.scale, "<f4")
        zeros = np.zeros(shape, np.int64) if tensor.zero.size != scale.size else tensor.zero
        kind = {2: "u1", 3: "i1", 5: "<i2", 6: "<i4"}.get(tensor.code, "i1")
        packed = np.asarray(zeros).astype(kind)
        if tensor.code in (21, 22, 26):  # several in a byte: zero, as converters have it
            packed = np.zeros(-(-max(packed.size, 1) // (4 if tensor.code == 26 else 2)), "i1")
        name = f"{tensor.name}#{n}/scale"
        if t.constant_shape(name) is None:
            t.constant(name, 1, shape, scale.tobytes)
            t.constant(f"{name}/zero", tensor.code, shape, packed.tobytes)
        return name, f"{name}/zero"
