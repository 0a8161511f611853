"""Element types and constants of ONNX files; data are read only where they are small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast._limits import MAX_ELEMENTS, MAX_FOLDED
from latcast.graph.read._layers import ElementType, Origin, Value
from latcast.graph.shapes import check_shape

from ._nodes import label

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto

# Folders that a model's external data may lie in: its own, and that of what it is a link to.
Folder = tuple[Path, ...]

# Where a tensor's data lie outside of the file (`TensorProto.data_location`).
_EXTERNAL = 1

# Code of `TensorProto.DataType` -> the type, and where a tensor without raw data holds it.
_TYPES: dict[int, tuple[ElementType, str]] = {
    code: (ElementType(name, bits, numpy), f"{field}_data")
    for code, name, bits, numpy, field in (
        (1, "float32", 32, "<f4", "float"),
        (2, "uint8", 8, "u1", "int32"),
        (3, "int8", 8, "i1", "int32"),
        (4, "uint16", 16, "<u2", "int32"),
        (5, "int16", 16, "<i2", "int32"),
        (6, "int32", 32, "<i4", "int32"),
        (7, "int64", 64, "<i8", "int64"),
        (8, "string", 64, None, "string"),
        (9, "bool", 8, "?", "int32"),
        (10, "float16", 16, "<f2", "int32"),
        (11, "float64", 64, "<f8", "double"),
        (12, "uint32", 32, "<u4", "uint64"),
        (13, "uint64", 64, "<u8", "uint64"),
        (14, "complex64", 64, "<c8", "float"),
        (15, "complex128", 128, "<c16", "double"),
        (16, "bfloat16", 16, None, "int32"),
        (17, "float8e4m3fn", 8, None, "int32"),
        (18, "float8e4m3fnuz", 8, None, "int32"),
        (19, "float8e5m2", 8, None, "int32"),
        (20, "float8e5m2fnuz", 8, None, "int32"),
        (21, "uint4", 4, None, "int32"),
        (22, "int4", 4, None, "int32"),
        (23, "float4e2m1", 4, None, "int32"),
        (24, "float8e8m0", 8, None, "int32"),
        (25, "uint2", 2, None, "int32"),
        (26, "int2", 2, None, "int32"),
    )
}

# A type that the file does not tell is taken for a 32-bit float.
_UNTOLD = ElementType("untold", 32, "<f4")

# Types in which no network holds what it has learned (int8 and int32 are of quantized ones).
_NO_WEIGHTS = frozenset({4, 5, 7, 8, 9, 12, 13})


def type_of(code: int) -> ElementType:
    """The type of a code of ``TensorProto.DataType``."""
    return _TYPES[code][0] if code in _TYPES else _UNTOLD


def named_type(name: str) -> ElementType:
    """The type that ONNX names so, such as ``FLOAT``."""
    import onnx

    return type_of(dict(onnx.TensorProto.DataType.items()).get(name.upper(), 0))


def code_of(element: ElementType) -> int:
    """The code of a type; that of a 32-bit float where the file told none."""
    return next((code for code, (known, _) in _TYPES.items() if known == element), 1)


FLOAT, UINT8, INT32, STRING, INT64, BOOL = (type_of(code) for code in (1, 2, 6, 8, 7, 9))


def constant(array: NDArray[Any], origins: frozenset[Origin] = frozenset()) -> Value:
    """A constant that was computed."""
    for known, _ in _TYPES.values():
        if known.numpy is not None and np.dtype(known.numpy) == array.dtype:
            return Value(array.shape, known, None, origins, lambda: array)
    raise ValueError(f"a constant must be of a type that ONNX has; got {array.dtype}")


# Attribute of a `Constant` -> its type, its field, and the array that it is.
_FIELDS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "value_float": ("FLOAT", "f", np.float32),
    "value_floats": ("FLOATS", "floats", lambda v: np.array(v, np.float32)),
    "value_int": ("INT", "i", np.int64),
    "value_ints": ("INTS", "ints", lambda v: np.array(v, np.int64)),
}


def read_constant(
    node: NodeProto, attributes: Mapping[str, AttributeProto], prefix: str, folder: Folder | None
) -> Value:
    """The value of a ``Constant`` node; strings have no known shape."""
    name = prefix + (node.output[0] if node.output else node.name)
    if (value := attributes.get("value")) is not None:
        return read_tensor(value.t, name, folder)
    if (sparse := attributes.get("sparse_value")) is not None:
        return read_sparse(sparse.sparse_tensor)
    for key, attribute in attributes.items():
        if key in _FIELDS:
            kind, field, array_of = _FIELDS[key]
            if attribute.type != getattr(attribute, kind):
                raise ValueError(f"{label(node)}: attribute {key!r} must be of type {kind}")
            array = np.asarray(array_of(getattr(attribute, field)))
            origin = Origin(name, array.size)
            return constant(array, frozenset({origin} if array.dtype.kind == "f" else ()))
        if key in {"value_string", "value_strings"}:
            return Value(None, STRING)
    raise ValueError(f"{label(node)} must hold a value; it has none")


def read_sparse(tensor: SparseTensorProto) -> Value:
    """A sparse constant, of which only the shape is used."""
    shape = tuple(tensor.dims)
    check_shape(shape)
    return Value(shape, type_of(tensor.values.data_type))


def read_tensor(
    tensor: TensorProto, name: str, folder: Folder | None, raw_bytes: int | None = None
) -> Value:
    """A constant of the file.

    Args:
        tensor: the constant.
        name: its name, unique in the whole model.
        folder: folders of external data; None where the model came as bytes.
        raw_bytes: bytes of its data where they were left out of the tensor.

    Raises:
        ValueError: its shape, type or place is impossible.
    """
    shape = tuple(tensor.dims)
    if any(side < 0 for side in shape) or prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"constant {name!r} must have a possible shape; got {list(shape)}")
    if tensor.data_type not in _TYPES:
        raise ValueError(
            f"constant {name!r} must be of a type that ONNX has; got number {tensor.data_type}"
        )
    if raw_bytes is None and tensor.HasField("raw_data"):
        raw_bytes = len(tensor.raw_data)
    load = _loader(tensor, name, shape, folder, raw_bytes)
    weights = tensor.data_type not in _NO_WEIGHTS
    origins = frozenset({Origin(name, prod(shape))}) if weights else frozenset()
    return Value(shape, type_of(tensor.data_type), None, origins, load)


def _loader(
    tensor: TensorProto,
    name: str,
    shape: tuple[int, ...],
    folder: Folder | None,
    raw_bytes: int | None,
) -> Callable[[], NDArray[Any] | None] | None:
    external = tensor.data_location == _EXTERNAL
    place = _Place.of(tensor, name, shape, folder) if external and folder else None
    if prod(shape) > MAX_FOLDED:
        # Of a large one only the shape is used, which is all the more to be true.
        if not external:
            _check_length(tensor, name, shape, raw_bytes)
        return None
    numpy = type_of(tensor.data_type).numpy
    if numpy is None:
        return None

    def load() -> NDArray[Any] | None:
        if not external:
            return _data(tensor, name, shape, numpy)
        if place is None:
            raise ValueError(
                f"constant {name!r} lies outside of the model: it must be read from its file, "
                "not from bytes"
            )
        return np.frombuffer(place.read(), numpy).reshape(shape)

    return load


def _check_length(
    tensor: TensorProto, name: str, shape: tuple[int, ...], raw_bytes: int | None
) -> None:
    """Make sure that a constant holds as many elements as its shape says."""
    known, field = _TYPES[tensor.data_type]
    per_element = 2 if known.numpy in {"<c8", "<c16"} else 1
    if raw_bytes is not None:
        unit, wanted, got = "bytes", -(-prod(shape) * known.bits // 8), raw_bytes
    else:
        unit, wanted = "elements", prod(shape) * per_element
        got = len(getattr(tensor, field))
    # Elements of less than a byte are packed in ways of their own.
    if got != wanted and known.bits >= 8:
        raise ValueError(f"constant {name!r} must hold {wanted} {unit}; got {got}")


def _data(tensor: TensorProto, name: str, shape: tuple[int, ...], numpy: str) -> NDArray[Any]:
    wanted = prod(shape) * np.dtype(numpy).itemsize
    if tensor.HasField("raw_data"):
        flat = np.frombuffer(tensor.raw_data[: prod(shape) * 16], np.uint8)
    else:
        flat = _typed(tensor, numpy).view(np.uint8)
    if flat.size != wanted:
        raise ValueError(f"constant {name!r} must hold {wanted} bytes; got {flat.size}")
    return flat.view(numpy).reshape(shape)


def _typed(tensor: TensorProto, numpy: str) -> NDArray[Any]:
    """Elements out of the typed field, as the type's own bytes."""
    values = getattr(tensor, _TYPES[tensor.data_type][1])[: MAX_FOLDED * 2 + 1]
    if numpy == "<f2":  # bit patterns
        return np.array(values, "<i4").astype("<u2")
    if numpy in {"<c8", "<c16"}:
        return np.array(values, numpy.replace("c8", "f4").replace("c16", "f8"))
    return np.array(values).astype(numpy)


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a constant outside of the model's file.

    It lies in the folder of the model, or beside what the model is a link to: a hub's cache has
    all files of a model as links into one folder.
    """

    file: Path
    offset: int
    length: int

    @classmethod
    def of(cls, tensor: TensorProto, name: str, shape: tuple[int, ...], folder: Folder) -> _Place:
        facts = {str(entry.key): str(entry.value) for entry in tensor.external_data}
        file = _inside(folder, facts.get("location", ""), name)
        wanted = -(-prod(shape) * type_of(tensor.data_type).bits // 8)
        try:
            offset, length = int(facts.get("offset", 0)), int(facts.get("length", wanted))
        except ValueError:
            offset, length = -1, 0
        if length != wanted or not 0 <= offset <= offset + length <= file.stat().st_size:
            raise ValueError(
                f"constant {name!r} must be {wanted} bytes inside of {file}, which has "
                f"{file.stat().st_size}; got {length} from {offset} on"
            )
        return cls(file, offset, length)

    def read(self) -> bytes:
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


def _inside(folder: Folder, location: str, name: str) -> Path:
    """The file of external data, which must lie in one of the model's folders."""
    # Resolved before they are compared: a link or ".." could lead to any file of the machine.
    homes = [home.resolve() for home in folder]
    for home in homes:
        try:
            file = (home / location).resolve()
            if location and any(file.is_relative_to(x) for x in homes) and file.is_file():
                return file
        except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle
            continue
    raise ValueError(
        f"constant {name!r} must lie in a file in the folder of the model; there is no "
        f"{location!r} in {homes[0]}, or it is a link that leaves that folder and the one that "
        "the model is a link to"
    )
