"""A model out of its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latcast._files import check_file

if TYPE_CHECKING:
    from onnx import ModelProto

_MOST_BYTES = 2**31 - 1
"""Of a message, as the file format has it."""


def load(model: str | Path | bytes) -> tuple[ModelProto, Path | None, str]:
    """A model, the folder of its external data, and its name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no ONNX model.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    file = None if isinstance(model, bytes) else Path(model)
    if file is not None:
        check_file(file)
    label = "the model" if file is None else str(file)
    size = len(model) if isinstance(model, bytes) else Path(model).stat().st_size
    if not 0 < size <= _MOST_BYTES:
        raise ValueError(f"{label} must have from 1 byte to 2 GiB; it has {size}")
    proto = ModelProto()
    try:
        proto.ParseFromString(model if isinstance(model, bytes) else Path(model).read_bytes())
    except DecodeError as error:
        raise ValueError(
            f"{label} must be an ONNX model; it is something else, or cut off"
        ) from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ValueError(f"{label} must be an ONNX model with nodes; it has none")
    name = str(proto.graph.name) if file is None else file.stem
    return proto, None if file is None else file.parent, name or "network"
