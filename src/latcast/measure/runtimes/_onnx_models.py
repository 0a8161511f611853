"""Inputs for any ONNX model, and the layers that the times of a runtime's profile belong to.

Inputs are drawn by shape and type. Nodes of a runtime's profile are led back to the layers of the
network by the names that runtimes make of those of nodes and tensors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from latcast.graph.read._inputs import DEFAULTS, ReadOptions

if TYPE_CHECKING:
    import onnx

    from latcast.graph import GraphInput

Arrays = dict[str, npt.NDArray[Any]]

# As large as a message of protobuf can be.
_MAX_INPUT_BYTES = 2**31
_NUMBERED = re.compile(r"[a-z][a-z_0-9]*_(\d+)\Z")


class UnsupportedNetworkError(ValueError):
    """The runtime cannot run the network; the message names the operator."""


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


def denormals(model: bytes | Path, output: npt.NDArray[Any]) -> int:
    """How many of a model's single-precision weights and of its output's numbers are denormal."""
    from onnx import TensorProto, numpy_helper

    weights = (x for x in parse(model).graph.initializer if x.data_type == TensorProto.FLOAT)
    known = (x for x in weights if x.data_location != TensorProto.EXTERNAL)
    arrays = [*map(numpy_helper.to_array, known), np.asarray(output, dtype=np.float32)]
    # By their bits: in a thread that a runtime made flush them, they compare as equal to 0.
    bits = (np.ascontiguousarray(x).view(np.uint32) & 0x7FFFFFFF for x in arrays)
    return sum(int(((b > 0) & (b < 0x00800000)).sum()) for b in bits)


def random_inputs(
    model: onnx.ModelProto, batch: int, options: ReadOptions = DEFAULTS, seed: int = 0
) -> Arrays:
    """An array for each of the model's inputs: standard normal numbers, zeros for integers.

    Sides that the model leaves open are the batch and what ``options`` ask for.

    Raises:
        UnsupportedNetworkError: a side stays open, an input has a type that has no numbers, or
            the model fixes another batch.
    """
    rng = np.random.default_rng(seed)
    kinds = {value.name: value for value in model.graph.input}
    return {x.name: _filled(kinds[x.name], x.shape, rng) for x in _inputs(model, batch, options)}


def _inputs(model: onnx.ModelProto, batch: int, options: ReadOptions) -> tuple[GraphInput, ...]:
    from latcast.graph.read.onnx import read_inputs

    try:
        found = read_inputs(model.graph, replace(options, batch=batch))
    except ValueError as error:
        raise UnsupportedNetworkError(str(error)) from error
    if changed := [x for x in found.sources if x.change]:
        raise UnsupportedNetworkError(
            f"the model's batch must be the target's, {batch}; its input {changed[0].name!r} is "
            f"fixed at {changed[0].told}: measure with that batch"
        )
    return found.sources


def _filled(
    value: onnx.ValueInfoProto, shape: tuple[int, ...], rng: np.random.Generator
) -> npt.NDArray[Any]:
    from onnx import TensorProto, helper

    code = value.type.tensor_type.elem_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(code))
    except KeyError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiub" or dtype.itemsize * np.prod(shape, dtype=float) > _MAX_INPUT_BYTES:
        names = {number: name for name, number in TensorProto.DataType.items()}
        raise UnsupportedNetworkError(
            f"input {value.name!r} must hold numbers, at most {_MAX_INPUT_BYTES} bytes of them; "
            f"it is of type {names.get(code, code)} and shape {list(shape)}"
        )
    if dtype.kind != "f":
        return np.zeros(shape, dtype)
    return rng.standard_normal(shape, dtype=np.float32).astype(dtype, copy=False)


class LayerNumbers:
    """Numbers of layers by the names that runtimes make from those of nodes and tensors.

    It is false where there are none.

    Args:
        numbers: of nodes and tensors, by name.

    Attributes:
        last: number of the last layer.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._known: dict[str, int | None] = dict(numbers)
        self.last = max(numbers.values(), default=0)
        self._pattern = _pattern(numbers)

    @classmethod
    def of(cls, model: bytes | Path) -> LayerNumbers:
        """Return the numbers of an ONNX model whose nodes are called ``WORD_NUMBER``.

        A tensor has the number of the node that writes it. Nodes with other names have none.
        """
        return cls(_numbers(parse(model).graph.node))

    def __bool__(self) -> bool:
        return self._pattern is not None

    def __getitem__(self, name: str) -> int | None:
        """Number of the last layer or tensor that is named in ``name``; None if none is."""
        if name not in self._known:
            found = self._pattern.findall(name) if self._pattern else []
            self._known[name] = self._known[found[-1]] if found else None
        return self._known[name]


def _pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """Any of the names as a part of another: those without a digit at its start or end only.

    ``output`` is a common word.
    """
    parts = [
        re.escape(name) if name[-1:].isdigit() else rf"\A{name}(?![A-Za-z0-9])|{name}\Z"
        for name in sorted(names, key=len, reverse=True)
    ]
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(parts)})(?![0-9])") if parts else None


def _numbers(nodes: Iterable[onnx.NodeProto]) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in nodes:
        if numbered := _NUMBERED.match(node.name):
            found |= dict.fromkeys((node.name, *filter(None, node.output)), int(numbered[1]))
    return found


def attribute(times: Iterable[tuple[int | None, float]], last: int) -> dict[int, float]:
    """Milliseconds by layer from those of a runtime's nodes, in the order in which they run.

    A node of which nobody knows the layer, such as a change of layout that the runtime has
    inserted, is attributed to the layer after it; at the end, to the last layer.

    Args:
        times: number of a node's layer, or None, and its milliseconds.
        last: number of the last layer.
    """
    result: dict[int, float] = defaultdict(float)
    pending = 0.0
    for number, ms in times:
        if number is None:
            pending += ms
        else:
            result[number] += ms + pending
            pending = 0.0
    result[last] += pending
    return {n: ms for n, ms in result.items() if ms > 0}


def median_by_layer(passes: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The median time of every layer, by number; a layer that a pass lacks took 0 in it."""
    layers = dict.fromkeys(n for one in passes for n in one)
    return {n: float(np.median([one.get(n, 0.0) for one in passes])) for n in layers}
