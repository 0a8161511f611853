"""A model out of its file, without its large weights, and the shapes of its inputs.

The file is walked as protobuf has it on the wire (https://protobuf.dev/programming-guides/encoding):
a message is a list of fields, each a tag (number and wire type) and a value; values of wire type 2
have their length before them, so that they can be passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from latcast._files import check_file
from latcast._limits import MAX_FOLDED, MAX_ONNX_FIELDS
from latcast.graph.read._expressions import Side
from latcast.graph.read._inputs import KnownInputs, ReadOptions, ToldInput, known_inputs

from ._nodes import check_text, operator
from ._tensors import Folder, type_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TypeProto

# Wire types.
_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5
# Numbers of fields: in ModelProto, in GraphProto, in TensorProto.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
# Bytes of the largest constant that is computed with.
_LARGE_BYTES = MAX_FOLDED * 16


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model.

    Attributes:
        proto: without the data of large weights.
        raw_bytes: position among the graph's initializers -> bytes of data that it is without.
        folder: folders of its external data; None where it came as bytes.
        name: of the file, or the graph's own.
    """

    proto: ModelProto
    raw_bytes: dict[int, int]
    folder: Folder | None
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
        folder = tuple(dict.fromkeys((*_linked(file), file.resolve().parent)))
        return ModelFile(proto, light.raw_bytes, folder, file.stem)
    return ModelFile(proto, light.raw_bytes, None, str(proto.graph.name) or "network")


def _linked(file: Path) -> Iterator[Path]:
    """The folder of a file, and those of the links that it leads through."""
    yield file.parent
    while file.is_symlink():
        file = file.parent / file.readlink()
        yield file.parent


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
            if self.fields_seen > MAX_ONNX_FIELDS:
                raise ValueError(f"more than {MAX_ONNX_FIELDS} parts")
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


def sides_of(kind: TypeProto) -> list[Side] | None:
    """Shape in the file; None where it tells none."""
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return [
        d.dim_value if d.HasField("dim_value") else str(d.dim_param) or None
        for d in kind.tensor_type.shape.dim
    ]


def read_inputs(graph: GraphProto, options: ReadOptions) -> KnownInputs:
    """Give every input a shape; what the graph holds itself is none.

    Raises:
        ValueError: an input is no tensor, a side stays open, or what was asked for does not fit.
    """
    held = {t.name for t in graph.initializer}
    held.update(t.values.name for t in graph.sparse_initializer)
    infos = [x for x in graph.input if x.name not in held]
    check_text(*(x.name for x in infos))
    for info in infos:
        if not info.type.HasField("tensor_type"):
            raise ValueError(f"input {info.name!r} must be a tensor; it is something else")
    axes = batch_axes(graph, {x.name: x.type for x in infos})
    told = [
        ToldInput(
            x.name, sides_of(x.type), type_of(x.type.tensor_type.elem_type).name, axes.get(x.name)
        )
        for x in infos
    ]
    return known_inputs(told, options)


# -- which side is the batch, by the definition of what reads an input -----------------------------

# Their first input has the batch first (ONNX, *Operators*: ``N x C x D1 x …``).
_BATCH_FIRST = frozenset(
    ("Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool",
     "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool", "BatchNormalization", "LRN",
     "InstanceNormalization", "GroupNormalization", "DepthToSpace", "SpaceToDepth",
     "com.microsoft::Attention", "com.microsoft::MultiHeadAttention",
     "com.microsoft::EmbedLayerNormalization", "com.microsoft::SkipLayerNormalization")
)  # fmt: skip
_RECURRENT = frozenset(("LSTM", "GRU", "RNN"))
# Inputs of a recurrent operator that are its first states, of directions x batch x features.
_STATES = (5, 6)
# Their output has the axes of their first input.
_KEEPING = frozenset(
    ("Cast", "Identity", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Neg", "Abs", "Sqrt",
     "Exp", "Log", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Dropout",
     "Pad", "Resize", "Upsample", "Slice", "Split")
)  # fmt: skip
_PAIRWISE = frozenset(("Add", "Sub", "Mul", "Div"))


def batch_axes(graph: GraphProto, inputs: Mapping[str, TypeProto]) -> dict[str, int]:
    """Input -> its side that is the batch, where the file or an operator's definition has it.

    An input is followed through operators that keep its axes, or put them in another order. It
    has no entry where two readers say different things.
    """
    found: dict[str, set[int]] = {}
    ranks = {t.name: len(t.dims) for t in graph.initializer}
    ranks |= {
        n.output[0]: len(a.t.dims)
        for n in graph.node if n.op_type == "Constant" and n.output
        for a in n.attribute if a.name == "value"
    }  # fmt: skip
    # Of every value that is an input in another order: which input, and which axis is where.
    known: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, kind in inputs.items():
        sides = sides_of(kind) or ()
        known[name] = (name, tuple(range(len(sides))))
        told = [n for n, d in enumerate(kind.tensor_type.shape.dim) if d.denotation == _DENOTED]
        found[name] = set(told[:1])
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name not in known or not known[name][1]:
                continue
            source, order = known[name]
            axis = _defined_axis(node, position)
            if axis is not None and axis < len(order):
                found[source].add(order[axis])
            elif (kept := _order_after(node, position, order, ranks)) and node.output:
                known |= dict.fromkeys(node.output, (source, kept))
    return {name: axes.pop() for name, axes in found.items() if len(axes) == 1}


# Denotation of the side (ONNX, *Dimension Denotation*).
_DENOTED = "DATA_BATCH"


def _defined_axis(node: NodeProto, position: int) -> int | None:
    """The axis of an input of a node that its operator's definition has for the batch."""
    kind = operator(node)
    if kind in _BATCH_FIRST and position == 0:
        return 0
    if kind not in _RECURRENT:
        return None
    is_batch_first = any(a.name == "layout" and a.i == 1 for a in node.attribute)
    if position in (0, *_STATES):
        return 0 if is_batch_first else 1
    return 0 if position == _LENGTHS else None


# Input of a recurrent operator that tells the length of every sample.
_LENGTHS = 4


def _order_after(
    node: NodeProto, position: int, order: tuple[int, ...], ranks: Mapping[str, int]
) -> tuple[int, ...] | None:
    """The axes of an input in what a node makes of it; None where that is not known."""
    kind = operator(node)
    if kind in _KEEPING and position == 0:
        return order
    if kind in _PAIRWISE:
        other = node.input[1 - position] if len(node.input) == 2 else ""
        return order if other in ranks and ranks[other] <= len(order) else None
    if kind != "Transpose":
        return None
    perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
    perm = list(range(len(order)))[::-1] if perm is None else perm
    return tuple(order[n] for n in perm) if sorted(perm) == list(range(len(order))) else None
