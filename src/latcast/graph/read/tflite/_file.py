"""Tensors and operators of a flatbuffer, as far as they are read.

Each table begins with the distance back to a list of where its fields are
(https://flatbuffers.dev/internals); the list is unpacked once a table, in place of once a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from
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
        numbers: list[int] = vector.tolist()
        return numbers

    def text(self, content: bytes | None) -> str:
        """A name in the file."""
        self.spend(len(content or b""))
        return (content or b"").decode("utf-8", "replace")


def names_of(enumeration: Any) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


class Table:
    """A table of the file, whose fields go by their position in the schema."""

    def __init__(self, content: Any, at: int) -> None:
        self.content, self.at = content, at
        (back,) = unpack_from("<i", content, at)
        start = at - back
        size, _ = unpack_from("<HH", content, start)
        self._fields = unpack_from(f"<{max(size - 4, 0) // 2}H", content, start + 4)

    @classmethod
    def of(cls, table: Any) -> Table:
        """The same as the schema's package has."""
        return cls(table._tab.Bytes, table._tab.Pos)

    def _place(self, field: int) -> int:
        return self._fields[field] if field < len(self._fields) else 0

    def number(self, field: int, form: str) -> int:
        """A number in a form of :mod:`struct`; 0 where it is missing."""
        place = self._place(field)
        return int(unpack_from(form, self.content, self.at + place)[0]) if place else 0

    def _behind(self, field: int) -> int:
        """Return the position of the value that a field refers to; 0 if the field is missing."""
        place = self._place(field)
        if not place:
            return 0
        at = self.at + place
        return at + int(unpack_from("<I", self.content, at)[0])

    def table(self, field: int) -> Table | None:
        """Another table; None where it is missing."""
        at = self._behind(field)
        return Table(self.content, at) if at else None

    def vector(self, field: int, kind: str = "<i4") -> npt.NDArray[Any]:
        """A vector of numbers; empty where it is missing."""
        at = self._behind(field)
        if not at:
            return np.zeros(0, kind)
        (count,) = unpack_from("<I", self.content, at)
        return np.frombuffer(self.content, kind, count, at + 4)

    def text(self, field: int) -> bytes:
        """The bytes of a text; none where it is missing."""
        return self.vector(field, "u1").tobytes()


def tensor_of(table: Table, budget: Budget) -> Tensor:
    """A tensor of the file, by the fields of ``Tensor`` and ``QuantizationParameters``."""
    shape = tuple(budget.numbers(table.vector(0)))
    signature = budget.numbers(table.vector(7)) or shape
    sides = tuple(s if s >= 0 else None for s in signature)
    quantization = table.table(4)
    scale = zero = _NONE
    if quantization is not None:
        scale, zero = quantization.vector(2, "<f4"), quantization.vector(3, "<i8")
        budget.spend(scale.size + zero.size)
    return Tensor(
        budget.text(table.text(3)), shape, sides,
        _TYPES.get(table.number(1, "<b"), 1), table.number(2, "<I"),
        scale, zero,
        0 if quantization is None else quantization.number(6, "<i"),
        table.table(6) is not None,
    )  # fmt: skip


_NONE = np.zeros(0, np.float32)
