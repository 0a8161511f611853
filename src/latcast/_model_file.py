"""Model files: safetensors, with everything but the arrays in a JSON header. Never a pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._files import atomic_path, check_file

SCHEMA_VERSION = 1
_METADATA_KEY = "latcast"


@dataclass(frozen=True)
class ModelFile:
    """Header (JSON-able) and arrays of a model file."""

    header: dict[str, Any]
    tensors: dict[str, npt.NDArray[Any]]


def write_model(path: str | Path, model: ModelFile) -> None:
    """Write a model file; an interruption or a full disk leaves the old one as it was."""
    from safetensors.numpy import save_file

    header = json.dumps({"schema_version": SCHEMA_VERSION, **model.header}, sort_keys=True)
    tensors = {k: np.ascontiguousarray(v) for k, v in model.tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_METADATA_KEY: header})


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a model file; its arrays are not read.

    Raises:
        ValueError, FileNotFoundError: as :func:`read_model`.
    """
    return _read(path, arrays=False).header


def read_model(path: str | Path) -> ModelFile:
    """Read a model file; nothing in it is executed.

    Raises:
        ValueError: the file is damaged, no model of latcast's, holds numbers that are not
            finite, or has a newer schema version.
        FileNotFoundError: there is no such file.
    """
    model = _read(path, arrays=True)
    for name, tensor in model.tensors.items():
        if tensor.dtype.kind not in "fiu" or not np.isfinite(tensor).all():
            raise ValueError(f"{path}: the array {name!r} must hold finite numbers")
    return model


def _read(path: str | Path, *, arrays: bool) -> ModelFile:
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    check_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get(_METADATA_KEY, "null"))
            names = file.keys() if arrays else ()
            tensors = {name: file.get_tensor(name) for name in names}
    except (
        # The last two: element types that numpy has no name for.
        SafetensorError, json.JSONDecodeError, OSError, RecursionError, TypeError, AttributeError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} must be a whole latcast model file; got: {error}") from None
    version = header.get("schema_version") if isinstance(header, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{path} must be a latcast model file; its header has no schema version")
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {version}, this latcast reads up to {SCHEMA_VERSION}: "
            "upgrade with pip install -U latcast"
        )
    return ModelFile(header, tensors)
