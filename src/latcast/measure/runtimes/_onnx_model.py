"""Inputs for any ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._unsupported import UnsupportedNetworkError

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, npt.NDArray[Any]]

_MOST_INPUT_BYTES = 2**31


def parse(model: bytes | Path) -> onnx.ModelProto:
    """The model, without data that is kept in other files.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedNetworkError: it is no ONNX model.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    content = model if isinstance(model, bytes) else model.read_bytes()
    parsed = ModelProto()
    try:
        parsed.ParseFromString(content)
    except DecodeError as error:
        raise UnsupportedNetworkError(f"a model must be an ONNX file; {error}") from error
    if not parsed.graph.node:
        raise UnsupportedNetworkError("a model must be an ONNX file with at least one node")
    return parsed


def random_inputs(model: onnx.ModelProto, batch: int, seed: int = 0) -> Arrays:
    """An array for each of the model's inputs: standard normal numbers, zeros for integers.

    An open first axis becomes the batch.

    Raises:
        UnsupportedNetworkError: an input has another open axis, or a type that has no numbers;
            or every axis is fixed and none of the first ones is the batch.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for value in inputs:
        shape = _shape(value, batch)
        arrays[value.name] = _filled(value, shape, rng)
    firsts = [array.shape[0] for array in arrays.values() if array.ndim]
    if firsts and batch not in firsts:
        raise UnsupportedNetworkError(
            f"the model's batch must be the target's, {batch}; its input "
            f"{next(iter(arrays))!r} has a fixed first axis of {firsts[0]}: measure with that batch"
        )
    return arrays


def _shape(value: onnx.ValueInfoProto, batch: int) -> tuple[int, ...]:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise UnsupportedNetworkError(
            f"input {value.name!r} must be a tensor of known shape; it is not"
        )
    sides = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
    if sides and sides[0] <= 0:
        sides[0] = batch
    if min(sides, default=1) <= 0:
        dims = [dim.dim_param or dim.dim_value or "?" for dim in kind.shape.dim]
        raise UnsupportedNetworkError(
            f"input {value.name!r} must have fixed sides, but for the first, the batch; its shape "
            f"is {dims}: fix it with `python -m onnxruntime.tools.make_dynamic_shape_fixed`"
        )
    return tuple(sides)


def _filled(
    value: onnx.ValueInfoProto, shape: tuple[int, ...], rng: np.random.Generator
) -> npt.NDArray[Any]:
    from onnx import TensorProto, helper

    code = value.type.tensor_type.elem_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(code))
    except KeyError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiub" or dtype.itemsize * np.prod(shape, dtype=float) > _MOST_INPUT_BYTES:
        names = {number: name for name, number in TensorProto.DataType.items()}
        raise UnsupportedNetworkError(
            f"input {value.name!r} must hold numbers, at most {_MOST_INPUT_BYTES} bytes of them; "
            f"it is of type {names.get(code, code)} and shape {list(shape)}"
        )
    if dtype.kind != "f":
        return np.zeros(shape, dtype)
    return rng.standard_normal(shape, dtype=np.float32).astype(dtype, copy=False)
