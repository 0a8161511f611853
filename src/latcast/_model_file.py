"""Model files: safetensors, with everything but the arrays in a JSON header. Never a pickle.

What a kind of model keeps is declared once (:class:`Schema`), and the declaration both writes and
reads it: names, element types and shapes of arrays, and what must hold of their values.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ._checksums import SEAL, UNSEALED, check_seal, sealed
from ._files import read_file, write_file
from ._limits import MAX_ARRAYS, MAX_HEADER_BYTES
from ._names import short_repr

SCHEMA_VERSION = 1
_METADATA_KEY = "latcast"

Values = dict[str, Any]
T = TypeVar("T")


def _rises(values: npt.NDArray[Any], *, strictly: bool = False) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() if strictly else (steps >= 0).all())


def _is_finite(values: npt.NDArray[Any]) -> bool:
    if values.dtype == np.float16:
        # NumPy tests halves one by one. All bits of the exponent are set in what is not finite.
        return int((values.view(np.uint16) & 0x7C00).max(initial=0)) < 0x7C00
    return bool(np.isfinite(values).all())


CHECKS: Mapping[str, Callable[[npt.NDArray[Any]], bool]] = {
    "finite": _is_finite,
    "positive": lambda values: bool((values > 0).all()),
    "not negative": lambda values: bool((values >= 0).all()),
    "ascending": _rises,
    "strictly ascending": lambda values: _rises(values, strictly=True),
}
"""What may have to hold of an array's values."""


def single(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values as a file keeps them, so that a model that was read says what the fitted one said."""
    return values.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Array:
    """An array that a model file holds.

    Attributes:
        shape: its sides; a text names a size, which is the same wherever it is named.
        stored: its element type in the file.
        used: its element type in memory.
        check: what must hold of its values, a key of :data:`CHECKS`.
        is_optional: whether a file may lack it.
    """

    shape: tuple[int | str, ...]
    stored: str = "float64"
    used: str = "float64"
    check: str = "finite"
    is_optional: bool = False

    def checked(
        self, name: str, values: npt.NDArray[Any], sizes: dict[str, int]
    ) -> npt.NDArray[Any]:
        """The values in memory's element type.

        Args:
            name: of the array, for messages.
            values: of the array.
            sizes: those that are known; new ones are added.

        Raises:
            ValueError: the shape or kind of element is another, or the check does not hold.
        """
        wanted = tuple(s if isinstance(s, int) else sizes.get(s, s) for s in self.shape)
        if len(wanted) != values.ndim or any(
            isinstance(w, int) and w != got for w, got in zip(wanted, values.shape, strict=True)
        ):
            raise ValueError(f"array {name!r} must have shape {wanted}; got {values.shape}")
        sides = zip(self.shape, values.shape, strict=True)
        sizes |= {side: got for side, got in sides if isinstance(side, str)}
        if values.dtype.kind == "f" and np.dtype(self.used).kind != "f":
            raise ValueError(f"array {name!r} must be {self.used}; got {values.dtype}")
        used = np.asarray(values, dtype=self.used)
        # A kernel model has a million halves: they are tested sooner than doubles made of them.
        if not CHECKS[self.check](values if self.check == "finite" else used):
            raise ValueError(f"array {name!r} must be {self.check}; it is not")
        return used


@dataclass(frozen=True)
class Field:
    """An entry of a model file's header.

    Attributes:
        read: from JSON's types; raises ValueError or TypeError for what makes no sense.
        write: the inverse.
        default: of files that do not have it; None where all must.
    """

    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = lambda value: value
    default: Any = None

    def of(self, header: Mapping[str, Any], name: str) -> Any:
        """The value in a header."""
        if name not in header and self.default is not None:
            return self.default
        return self.read(header[name])


def finite_or(otherwise: float) -> Field:
    """An entry of a number, which may be infinite: a header has null then, or does without it."""
    return Field(
        lambda v: otherwise if v is None else float(v),
        lambda v: v if np.isfinite(v) else None,
        otherwise,
    )


def texts(value: Any) -> tuple[str, ...]:
    """Read a header's list of texts.

    Raises:
        ValueError: it is no list, or holds something else.
    """
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"names must be a list of texts; got {short_repr(value)}")
    return tuple(value)


NAMES = Field(texts, list)
"""An entry that is a list of names."""


def exactly(wanted: Any) -> Field:
    """An entry that is the same in all files of a kind."""

    def read(value: Any) -> Any:
        if value != wanted:
            raise ValueError(f"an entry of the header must be {wanted!r}; got {value!r}")
        return wanted

    return Field(read)


@dataclass(frozen=True)
class Schema:
    """The arrays and fields that a kind of model keeps in its file, by name.

    Attributes:
        fields: entries of the header by name.
        arrays: by name.
    """

    fields: Mapping[str, Field]
    arrays: Mapping[str, Array]

    def pack(self, values: Values, prefix: str = "", **sizes: int) -> ModelFile:
        """Header and arrays of values by name.

        Args:
            values: of every field and array.
            prefix: of the arrays' names in the file.
            sizes: that the shapes name, as far as they are known before.

        Raises:
            ValueError: an array is not as declared.
        """
        header = {name: f.write(values[name]) for name, f in self.fields.items()}
        tensors = {
            prefix + name: array.checked(name, np.asarray(values[name]), sizes).astype(array.stored)
            for name, array in self.arrays.items()
            if name in values or not array.is_optional
        }
        return ModelFile(header, tensors)

    def unpack(self, file: ModelFile, prefix: str = "", **sizes: int) -> Values:
        """The inverse of :meth:`pack`; what else the file holds is left alone.

        Raises:
            KeyError, TypeError, ValueError: something is missing or not as declared.
        """
        values: Values = {name: f.of(file.header, name) for name, f in self.fields.items()}
        for name, array in self.arrays.items():
            if array.is_optional and prefix + name not in file.tensors:
                continue
            if prefix + name not in file.tensors:
                raise ValueError(f"a file of this kind must have the array {name!r}; it has none")
            values[name] = array.checked(name, file.tensors[prefix + name], sizes)
        return values


def restored(path: str | Path, what: str, build: Callable[[ModelFile], T]) -> T:
    """Read a model file and build an object from it.

    Args:
        path: of the file.
        what: the model must be, for the message, such as ``a latcast base model``.
        build: from its contents; what it raises for those that make no sense becomes ValueError.

    Raises:
        ValueError, FileNotFoundError: as :func:`read_model`, or it cannot be built.
    """
    file = read_model(path)
    try:
        return build(file)
    except (
        KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError, RecursionError
    ) as error:  # fmt: skip
        raise ValueError(f"{path} must be {what}; got: {error}") from error


def positive(value: Any) -> float:
    """A finite, positive number of a header.

    Raises:
        ValueError: it is none.
    """
    number = float(str(value))  # of a truth value or none of all, ValueError, too
    if not 0 < number < np.inf:
        raise ValueError(f"a number of the header must be positive; got {value!r}")
    return number


@dataclass(frozen=True)
class ModelFile:
    """Header (JSON-able) and arrays of a model file."""

    header: dict[str, Any]
    tensors: dict[str, npt.NDArray[Any]]


def write_model(path: str | Path, model: ModelFile) -> None:
    """Write a model file; an interruption or a full disk leaves the old one as it was."""
    from safetensors.numpy import save

    header = {"schema_version": SCHEMA_VERSION, SEAL: UNSEALED, **model.header}
    tensors = {k: np.ascontiguousarray(v) for k, v in model.tensors.items()}
    content = save(tensors, {_METADATA_KEY: json.dumps(header, sort_keys=True)})
    write_file(path, sealed(content))


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a model file.

    Raises:
        ValueError, FileNotFoundError: as :func:`read_model`.
    """
    return _read(Path(path))[0]


def read_model(path: str | Path) -> ModelFile:
    """Read a model file; nothing in it is executed.

    Raises:
        ValueError: the file is damaged, no model of latcast's, beyond a limit, holds numbers that
            are not finite, or has a newer schema version.
        FileNotFoundError: there is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    header, content = _read(path)
    try:
        tensors: dict[str, npt.NDArray[Any]] = load(content)
    # The last three: element types that numpy has no name for.
    except (SafetensorError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} must be a whole latcast model file; got: {error}") from None
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "fiu" or not _is_finite(tensor):
            raise ValueError(f"{path}: the array {name!r} must hold finite numbers")
    return ModelFile(header, tensors)


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a file that is as it was written, and all its bytes.

    Raises:
        ValueError, FileNotFoundError: as :func:`read_model`.
    """
    content = read_file(path)
    try:
        header = _header(content)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} must be a whole latcast model file; got: {error}") from None
    version = header.get("schema_version") if isinstance(header, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{path} must be a latcast model file; its header has no schema version")
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {version}, this latcast reads up to {SCHEMA_VERSION}: "
            "upgrade with pip install -U latcast"
        )
    check_seal(path, content, header)
    _rename(header)
    return header, content


def _header(content: bytes) -> Any:
    """Read the entry of latcast's in the header of a safetensors file.

    Raises:
        ValueError: there is no such header, or it is beyond a limit.
        TypeError, AttributeError, RecursionError: it has another form.
    """
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else len(content)
    if length > len(content) - 8:
        raise ValueError("a file that is cut off")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of more than {MAX_HEADER_BYTES} bytes")
    record = json.loads(content[8 : 8 + length])
    if len(record) > MAX_ARRAYS:
        raise ValueError(f"more than {MAX_ARRAYS} arrays")
    return json.loads(record.get("__metadata__", {}).get(_METADATA_KEY, "null"))


def _rename(part: Any) -> None:
    """Give what older files call otherwise the name that it has now, in cards inside cards too."""
    if isinstance(part, dict):
        if isinstance(card := part.get("card"), dict) and "traps" in card:
            card["data_issues"] = card.pop("traps")
        for value in part.values():
            _rename(value)
