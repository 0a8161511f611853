"""A model's file without its large weights: of them only the sizes are needed.

The file is walked as protobuf has it on the wire (https://protobuf.dev/programming-guides/encoding):
a message is a list of fields, each a tag (number and wire type) and a value; values of wire type 2
have their length before them, so that they can be passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ._tensors import MOST_FOLDED

_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5
"""Wire types."""
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Numbers of fields: in ModelProto, in GraphProto, in TensorProto."""
_LARGE = MOST_FOLDED * 16
"""Bytes of the largest constant that is computed with."""
_MOST_FIELDS = 500_000
"""Of a model and its graph: more than any network has, and few enough to be soon done."""


@dataclass
class LightModel:
    """A model whose large weights were passed over.

    Attributes:
        content: the model, as its file has it but for those weights.
        raw_bytes: position among the graph's initializers -> bytes that were passed over.
    """

    content: bytes = b""
    raw_bytes: dict[int, int] = field(default_factory=dict)


def without_weights(file: BinaryIO, size: int) -> LightModel:
    """Read a model of ``size`` bytes.

    Raises:
        ValueError: the file is no protobuf message, or cut off.
    """
    walk = _Walk(file)
    walk.light.content = walk.model(size)
    return walk.light


@dataclass
class _Walk:
    file: BinaryIO
    light: LightModel = field(default_factory=LightModel)
    fields_seen: int = 0
    initializers: int = 0

    def model(self, end: int) -> bytes:
        parts: list[bytes] = []
        for tag, length in self._fields(end, parts):
            is_graph = tag >> 3 == _GRAPH
            parts.append(_delimited(tag, self._graph(length) if is_graph else self._read(length)))
        return b"".join(parts)

    def _graph(self, length: int) -> bytes:
        parts: list[bytes] = []
        for tag, inner in self._fields(self.file.tell() + length, parts):
            is_weights = tag >> 3 == _INITIALIZER
            large = is_weights and inner > _LARGE
            parts.append(_delimited(tag, self._tensor(inner) if large else self._read(inner)))
            self.initializers += is_weights
        return b"".join(parts)

    def _tensor(self, length: int) -> bytes:
        parts: list[bytes] = []
        for tag, inner in self._fields(self.file.tell() + length, parts):
            if tag >> 3 == _RAW_DATA and inner > _LARGE:
                self.file.seek(inner, 1)
                self.light.raw_bytes[self.initializers] = inner
            else:
                parts.append(_delimited(tag, self._read(inner)))
        return b"".join(parts)

    def _fields(self, end: int, parts: list[bytes]) -> Iterator[tuple[int, int]]:
        """Tag and length of the delimited fields until ``end``; others go to ``parts``."""
        while (at := self.file.tell()) < end:
            self.fields_seen += 1
            if self.fields_seen > _MOST_FIELDS:
                raise ValueError(f"more than {_MOST_FIELDS} parts")
            tag = self._varint()
            kind = tag & 7
            if kind == _DELIMITED:
                length = self._varint()
                if self.file.tell() + length > end:
                    raise ValueError(f"a part at byte {at} that ends beyond what it is part of")
                yield tag, length
            elif kind == _VARINT:
                parts.append(_varint(tag) + _varint(self._varint()))
            elif kind in {_EIGHT, _FOUR}:
                parts.append(_varint(tag) + self._read(8 if kind == _EIGHT else 4))
            else:
                raise ValueError(f"a part at byte {at} of no known kind")
        if self.file.tell() > end:
            raise ValueError(f"a part at byte {at} that ends beyond what it is part of")

    def _varint(self) -> int:
        """A number, 7 bits a byte, the lowest first."""
        number = 0
        for shift in range(0, 70, 7):
            byte = self._read(1)[0]
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise ValueError("a number of more than 10 bytes")

    def _read(self, length: int) -> bytes:
        content = self.file.read(length)
        if len(content) < length:
            raise ValueError("an end that is cut off")
        return content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _delimited(tag: int, content: bytes) -> bytes:
    return _varint(tag) + _varint(len(content)) + content
