"""A model out of its file."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from latcast._files import check_file

from ._weights import LightModel, without_weights

if TYPE_CHECKING:
    from onnx import ModelProto


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
