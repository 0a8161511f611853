"""A model out of its file, without its large weights, and the shapes of its inputs.

The file is walked as protobuf has it on the wire (https://protobuf.dev/programming-guides/encoding):
a message is a list of fields, each a tag (number and wire type) and a value; values of wire type 2
have their length before them, so that they can be passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from latcast._files import check_file
from latcast.graph._operators import GRAPH_INPUT
from latcast.graph.read._layers import Side, Value, check_asked, left_open
from latcast.graph.shapes import TensorShape

from ._nodes import check_text
from ._tensors import MAX_FOLDED, type_of

if TYPE_CHECKING:
    from onnx import ModelProto, TypeProto, ValueInfoProto

# Wire types.
_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5
# Numbers of fields: in ModelProto, in GraphProto, in TensorProto.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
# Bytes of the largest constant that is computed with.
_LARGE_BYTES = MAX_FOLDED * 16
# Fields of a model and its graph: more than any network has, and few enough to be walked soon.
_MAX_FIELDS = 500_000


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model.

    Attributes:
        proto: without the data of large weights.
        raw_bytes: position among the graph's initializers -> bytes of data that it is without.
        folder: of its external data; None where it came as bytes.
        name: of the file, or the graph's own.
    """

    proto: ModelProto
    raw_bytes: dict[int, int]
    folder: Path | None
    name: str


def load(model: str | Path | bytes) -> ModelFile:
    """A model out of a file or of its bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no ONNX model.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    file = None if isinstance(model, bytes) else Path(model)
    label = "the model" if file is None else str(file)
    proto = ModelProto()
    try:
        light = _read(model)
        proto.ParseFromString(light.content)
    except (DecodeError, ValueError) as error:
        raise ValueError(
            f"{label} must be an ONNX model; it is something else, or cut off: {error}"
        ) from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ValueError(f"{label} must be an ONNX model with nodes; it has none")
    if file is not None:
        return ModelFile(proto, light.raw_bytes, file.parent, file.stem)
    return ModelFile(proto, light.raw_bytes, None, str(proto.graph.name) or "network")


def _read(model: str | Path | bytes) -> LightModel:
    if isinstance(model, bytes):
        return without_weights(BytesIO(model), len(model))
    path = Path(model)
    check_file(path)
    with path.open("rb") as file:
        return without_weights(file, path.stat().st_size)


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
            # Smaller ones may be shapes, axes or bounds, which are computed with.
            large = is_weights and inner > _LARGE_BYTES
            parts.append(_delimited(tag, self._tensor(inner) if large else self._read(inner)))
            self.initializers += is_weights
        return b"".join(parts)

    def _tensor(self, length: int) -> bytes:
        parts: list[bytes] = []
        for tag, inner in self._fields(self.file.tell() + length, parts):
            if tag >> 3 == _RAW_DATA and inner > _LARGE_BYTES:
                self.file.seek(inner, 1)  # not read: a model's weights may be larger than memory
                self.light.raw_bytes[self.initializers] = inner
            else:
                parts.append(_delimited(tag, self._read(inner)))
        return b"".join(parts)

    def _fields(self, end: int, parts: list[bytes]) -> Iterator[tuple[int, int]]:
        """Tag and length of the delimited fields until ``end``; others go to ``parts``."""
        while (at := self.file.tell()) < end:
            self.fields_seen += 1
            # Empty parts take two bytes each: a small file could keep the walk busy for long.
            if self.fields_seen > _MAX_FIELDS:
                raise ValueError(f"more than {_MAX_FIELDS} parts")
            tag = self._varint()
            kind = tag & 7
            if kind == _DELIMITED:
                length = self._varint()
                # Checked before anything of that length is read, which a file may lie about.
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


@dataclass
class Inputs:
    """Shapes that the inputs have, and what follows from them.

    Attributes:
        values: the inputs by name.
        symbols: sides that a model names instead of telling them.
        batch: the batch of the file and the one wanted, where they differ.
    """

    values: dict[str, Value] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    batch: tuple[int, int] | None = None

    def known(self, sides: Sequence[Side] | None) -> TensorShape | None:
        """A shape of the file with the values of its symbols; None where a side stays open."""
        known = [self.symbols.get(s) if isinstance(s, str) else s for s in sides or ()]
        shape = tuple(s for s in known if s is not None and s > 0)
        return shape if sides is not None and len(shape) == len(known) else None

    def resolved(self, sides: Sequence[Side] | None) -> TensorShape | None:
        """A shape of the file where it is known; with another batch it no longer holds."""
        shape = self.known(sides)
        if shape is None or self.batch is None:
            return shape
        return shape if shape[:1] == self.batch[1:] else None


def sides_of(kind: TypeProto) -> list[Side] | None:
    """Shape in the file; None where it tells none."""
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return [
        d.dim_value if d.HasField("dim_value") else str(d.dim_param) or None
        for d in kind.tensor_type.shape.dim
    ]


def read_inputs(
    infos: Iterable[ValueInfoProto],
    batch: int | None,
    shapes: Mapping[str, Sequence[int]] | None,
) -> Inputs:
    """Give every input a shape.

    A first side that the file leaves open is ``batch`` (1 by default), others come from
    ``shapes``. A first side that the file tells is changed to ``batch`` in all inputs that have
    the same one.

    Raises:
        ValueError: a side stays open, or what was asked for does not fit the file.
    """
    declared = {info.name: info.type for info in infos}
    check_text(*declared)
    asked = dict(shapes or {})
    for name, kind in declared.items():
        if not kind.HasField("tensor_type"):
            raise ValueError(f"input {name!r} must be a tensor; it is something else")
    told = {name: sides_of(kind) for name, kind in declared.items()}
    check_asked(told, asked, batch)
    inputs = Inputs()
    first = next((s[0] for s in told.values() if s), None)
    if batch is not None and isinstance(first, int) and first not in {0, batch}:
        inputs.batch = (first, batch)
    for name, sides in told.items():
        if name in asked:
            _bind(inputs, name, sides, tuple(asked[name]))
        elif sides:
            sides[0] = _first(sides[0], batch, inputs)
    for port, (name, sides) in enumerate(told.items()):
        shape = tuple(asked[name]) if name in asked else _closed(inputs, name, sides)
        element = type_of(declared[name].tensor_type.elem_type)
        inputs.values[name] = Value(shape, element, GRAPH_INPUT, port=port)
    return inputs


def _bind(inputs: Inputs, name: str, sides: Sequence[Side] | None, shape: TensorShape) -> None:
    """Learn symbols from a shape that was given."""
    for n, (side, given) in enumerate(zip(sides or (), shape, strict=sides is not None)):
        if isinstance(side, str) and inputs.symbols.setdefault(side, given) != given:
            raise ValueError(
                f"side {side!r} must be the same in all inputs; got {inputs.symbols[side]} "
                f"and, of {name!r}, {given}"
            )
        if n == 0 and isinstance(side, int) and side not in {0, given}:
            inputs.batch = (side, given)


def _first(side: Side, batch: int | None, inputs: Inputs) -> int:
    if isinstance(side, str):
        return inputs.symbols.setdefault(side, batch or 1)
    if not side:
        return batch or 1
    if inputs.batch is not None and side == inputs.batch[0]:
        return inputs.batch[1]
    return side


def _closed(inputs: Inputs, name: str, sides: Sequence[Side] | None) -> TensorShape:
    shape = inputs.known(sides)
    if shape is None:
        told = "nothing" if sides is None else f"[{', '.join(str(s or '?') for s in sides)}]"
        raise left_open(name, sides, told)
    return shape
