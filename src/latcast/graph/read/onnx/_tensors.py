"""Element types and constants of ONNX files; data are read only where they are small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._values import Origin, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import TensorProto

MOST_FOLDED = 4096
"""Elements of the largest constant that is computed with; of larger ones the shape is enough."""

FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9
EXTERNAL = 1
"""Where a tensor's data lie outside of the file (``TensorProto.data_location``)."""


@dataclass(frozen=True, slots=True)
class ElementType:
    """Of a tensor.

    Attributes:
        bits: of one element.
        numpy: numpy's name of it; None where numpy lacks it.
        field: where a TensorProto without raw data holds it.
    """

    bits: int
    numpy: str | None
    field: str


ELEMENT_TYPES: dict[int, ElementType] = {
    1: ElementType(32, "<f4", "float_data"),
    2: ElementType(8, "u1", "int32_data"),
    3: ElementType(8, "i1", "int32_data"),
    4: ElementType(16, "<u2", "int32_data"),
    5: ElementType(16, "<i2", "int32_data"),
    6: ElementType(32, "<i4", "int32_data"),
    7: ElementType(64, "<i8", "int64_data"),
    8: ElementType(64, None, "string_data"),
    9: ElementType(8, "?", "int32_data"),
    10: ElementType(16, "<f2", "int32_data"),
    11: ElementType(64, "<f8", "double_data"),
    12: ElementType(32, "<u4", "uint64_data"),
    13: ElementType(64, "<u8", "uint64_data"),
    14: ElementType(64, "<c8", "float_data"),
    15: ElementType(128, "<c16", "double_data"),
    16: ElementType(16, None, "int32_data"),
    **{code: ElementType(8, None, "int32_data") for code in (17, 18, 19, 20, 24)},
    **{code: ElementType(4, None, "int32_data") for code in (21, 22, 23)},
    **{code: ElementType(2, None, "int32_data") for code in (25, 26)},
}
"""Code of ``TensorProto.DataType`` -> what is known of it."""

_NO_WEIGHTS = frozenset({4, 5, INT64, 8, BOOL, 12, 13})
"""Types in which no network holds what it has learned (int8 and int32 are of quantized ones)."""


def type_of(code: int) -> ElementType:
    """Of a code; what the file does not tell is taken for a float."""
    return ELEMENT_TYPES.get(code, ELEMENT_TYPES[FLOAT])


def element_bytes(code: int) -> int:
    """Whole bytes of one element."""
    return -(-type_of(code).bits // 8)


def bytes_of(value: Value) -> int:
    """Bytes of a tensor; 0 where its shape is not known."""
    if value.shape is None:
        return 0
    return -(-prod(value.shape) * type_of(value.dtype).bits // 8)


def constant(array: NDArray[Any], origins: frozenset[Origin] = frozenset()) -> Value:
    """A constant that was computed."""
    return Value(array.shape, _code(array.dtype), None, origins, lambda: array)


def _code(dtype: np.dtype[Any]) -> int:
    for code, known in ELEMENT_TYPES.items():
        if known.numpy is not None and np.dtype(known.numpy) == dtype:
            return code
    raise ValueError(f"a constant must be of a type that ONNX has; got {dtype}")


def read_tensor(
    tensor: TensorProto, name: str, folder: Path | None, raw_bytes: int | None = None
) -> Value:
    """A constant of the file.

    Args:
        tensor: the constant.
        name: by which the whole graph tells it from others.
        folder: that external data lie in; None where the model came as bytes.
        raw_bytes: of the data that it is without, if it is.

    Raises:
        ValueError: its shape, type or place is impossible.
    """
    shape = tuple(tensor.dims)
    if any(side < 0 for side in shape) or prod(shape) > 2**48:
        raise ValueError(f"constant {name!r} must have a possible shape; got {list(shape)}")
    if tensor.data_type not in ELEMENT_TYPES:
        raise ValueError(
            f"constant {name!r} must be of a type that ONNX has; got number {tensor.data_type}"
        )
    if raw_bytes is None and tensor.HasField("raw_data"):
        raw_bytes = len(tensor.raw_data)
    load = _loader(tensor, name, shape, folder, raw_bytes)
    weights = tensor.data_type not in _NO_WEIGHTS
    origins = frozenset({Origin(name, prod(shape))}) if weights else frozenset()
    return Value(shape, tensor.data_type, None, origins, load)


def _loader(
    tensor: TensorProto,
    name: str,
    shape: tuple[int, ...],
    folder: Path | None,
    raw_bytes: int | None,
) -> Callable[[], NDArray[Any] | None] | None:
    external = tensor.data_location == EXTERNAL
    place = _Place.of(tensor, name, shape, folder) if external and folder else None
    if prod(shape) > MOST_FOLDED:
        if not external:
            _check_length(tensor, name, shape, raw_bytes)
        return None
    known = type_of(tensor.data_type)
    if known.numpy is None:
        return None

    def load() -> NDArray[Any] | None:
        if not external:
            return _data(tensor, name, shape, known)
        if place is None:
            raise ValueError(
                f"constant {name!r} lies outside of the model: it must be read from its file, "
                "not from bytes"
            )
        return np.frombuffer(place.read(), known.numpy).reshape(shape)

    return load


def _check_length(
    tensor: TensorProto, name: str, shape: tuple[int, ...], raw_bytes: int | None
) -> None:
    """Make sure that a constant has as many elements as its shape says."""
    known = type_of(tensor.data_type)
    per_element = 2 if known.numpy in {"<c8", "<c16"} else 1
    if raw_bytes is not None:
        unit, wanted, got = "bytes", -(-prod(shape) * known.bits // 8), raw_bytes
    else:
        unit, wanted = "elements", prod(shape) * per_element
        got = len(getattr(tensor, known.field))
    # Elements of less than a byte are packed in ways of their own.
    if got != wanted and known.bits >= 8:
        raise ValueError(f"constant {name!r} must hold {wanted} {unit}; got {got}")


def _data(
    tensor: TensorProto, name: str, shape: tuple[int, ...], known: ElementType
) -> NDArray[Any]:
    assert known.numpy is not None  # others have no loader
    if tensor.HasField("raw_data"):
        flat = np.frombuffer(tensor.raw_data[: prod(shape) * 16], np.uint8)
    else:
        flat = _typed(tensor, known).view(np.uint8)
    wanted = prod(shape) * np.dtype(known.numpy).itemsize
    if flat.size != wanted:
        raise ValueError(f"constant {name!r} must hold {wanted} bytes; got {flat.size}")
    return flat.view(known.numpy).reshape(shape)


def _typed(tensor: TensorProto, known: ElementType) -> NDArray[Any]:
    """Elements out of the typed field, as the type's own bytes."""
    assert known.numpy is not None
    values = getattr(tensor, known.field)[: MOST_FOLDED * 2 + 1]
    if known.numpy == "<f2":  # bit patterns
        return np.array(values, "<i4").astype("<u2")
    if known.numpy in {"<c8", "<c16"}:
        return np.array(values, known.numpy.replace("c8", "f4").replace("c16", "f8"))
    return np.array(values).astype(known.numpy)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a constant lies outside of the model's file."""

    file: Path
    offset: int
    length: int

    @classmethod
    def of(cls, tensor: TensorProto, name: str, shape: tuple[int, ...], folder: Path) -> _Place:
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
                f"{file.stat().st_size}; got {length} from {facts.get('offset', 0)} on"
            )
        return cls(file, offset, length)

    def read(self) -> bytes:
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


def _inside(folder: Path, location: str, name: str) -> Path:
    """The file of external data, which must lie in the model's folder."""
    home = folder.resolve()
    try:
        file = (home / location).resolve()
        found = location != "" and file.is_relative_to(home) and file.is_file()
    except (OSError, ValueError):
        found = False
    if not found:
        raise ValueError(
            f"constant {name!r} must lie in a file in the folder of the model; there is no "
            f"{location!r} in {home}"
        )
    return file
