"""ONNX models written node by node, weights last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.graph.write.onnx import INPUT, OUTPUT

OPSET = 20
"""The first that has Gelu."""
IR_VERSION = 9
"""The one that opset 20 goes with."""

_POOL_SIZE = 1_048_573
"""Numbers that all weights are taken from: prime, so that rows of weights never coincide."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the graph: its name and its shape with the batch."""

    name: str
    shape: tuple[int, ...]


@dataclass(slots=True)
class _Node:
    op: str
    word: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Weight:
    """Uniform numbers from ``center - limit`` to ``center + limit``; ``result`` reads them."""

    name: str
    shape: tuple[int, ...]
    center: float
    limit: float
    result: str


class GraphWriter:
    """Collects nodes and weights; nothing is drawn or serialized before :meth:`to_onnx`.

    Node ``n`` of the file is named ``WORD_n`` and its output ``tn``, so that a runtime's profile
    can be read back; the graph's input is ``input``, its output ``output``.

    Args:
        batch: of all inputs.
        seed: of the weights.

    Attributes:
        macs: multiply-accumulates of the nodes so far, for the whole batch.
        params: trainable numbers as networks are defined, where a batch norm has two a channel.
        folded_params: those of them that the file lacks: folded into a convolution, a batch norm
            is one bias a channel.
        elements: of all outputs of the nodes so far, which are written if nothing is fused.
    """

    def __init__(self, batch: int = 1, seed: int = 0) -> None:
        if batch < 1:
            raise ValueError(f"the batch must be at least 1; got {batch}")
        self.batch = batch
        self.macs = 0
        self.params = 0
        self.folded_params = 0
        self.elements = 0
        self._seed = seed
        self._input: Tensor | None = None
        self._nodes: list[_Node] = []
        self._weights: list[_Weight] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}
        self._activated: set[str] = set()

    def input(self, *shape: int) -> Tensor:
        """The graph's input, ``shape`` without the batch."""
        self._input = Tensor(INPUT, (self.batch, *shape))
        return self._input

    def node(
        self,
        op: str,
        inputs: Sequence[Tensor | npt.NDArray[Any] | None],
        *shapes: tuple[int, ...],
        word: str,
        **attributes: Any,
    ) -> list[Tensor]:
        """Add a node; arrays among ``inputs`` are constants, None is left out.

        Returns:
            One tensor for each of ``shapes``.
        """
        n = len(self._nodes)
        names = [self._input_name(x, f"c{n}_{i}") for i, x in enumerate(inputs)]
        outputs = [Tensor(f"t{n}" if i == 0 else f"t{n}_{i}", s) for i, s in enumerate(shapes)]
        self.elements += sum(map(prod, shapes))
        self._nodes.append(_Node(op, word, names, [x.name for x in outputs], attributes))
        return outputs

    def weight(
        self, shape: tuple[int, ...], limit: float, *, center: float = 0.0, result: str = ""
    ) -> Tensor:
        """Trainable numbers for the next node, uniform around ``center``.

        Args:
            shape: of the numbers.
            limit: how far from ``center`` they lie at most.
            center: middle of the interval.
            result: tensor that they make: where an activation reads it, ``limit`` is larger.
        """
        name = f"w{len(self._nodes)}_{len(self._weights)}"
        self._weights.append(_Weight(name, shape, center, limit, result))
        self.params += prod(shape)
        return Tensor(name, shape)

    @property
    def next_name(self) -> str:
        """Name of the first output of the node that is added next."""
        return f"t{len(self._nodes)}"

    def mark_activated(self, x: Tensor) -> None:
        """An activation reads ``x``: it halves the second moment, which the weights make up."""
        self._activated.add(x.name)

    def to_onnx(self, output: Tensor) -> bytes:
        """The model whose output is ``output``, serialized.

        Weights have the variance of He initialization (arXiv:1502.01852) as in
        :meth:`latcast.graph._network.Network.from_blocks`.

        Raises:
            ValueError: the graph has no input, or no node.
        """
        from onnx import ModelProto, TensorProto, helper

        if self._input is None or not self._nodes:
            raise ValueError("a model must have an input and at least one node; add them first")
        model = ModelProto(ir_version=IR_VERSION, opset_import=[helper.make_opsetid("", OPSET)])
        graph = model.graph
        graph.name = "latcast"
        for values, name, tensor in (
            (graph.input, INPUT, self._input),
            (graph.output, OUTPUT, output),
        ):
            values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, tensor.shape))
        renamed = {output.name: OUTPUT}
        for n, node in enumerate(self._nodes):
            inputs, outputs = (
                [renamed.get(x, x) for x in side] for side in (node.inputs, node.outputs)
            )
            name = f"{node.word}_{n}"
            graph.node.append(
                helper.make_node(node.op, inputs, outputs, name=name, **node.attributes)
            )
        self._write_initializers(graph)
        content: bytes = model.SerializeToString()
        return content

    def _input_name(self, x: Tensor | npt.NDArray[Any] | None, name: str) -> str:
        if x is None:
            return ""
        if isinstance(x, Tensor):
            return x.name
        self._constants[name] = x
        return name

    def _write_initializers(self, graph: Any) -> None:
        rng = np.random.default_rng(self._seed)
        pool = rng.random(_POOL_SIZE, dtype=np.float32)
        pool *= 2
        pool -= 1
        for name, array in self._constants.items():
            kind = 7 if array.dtype == np.int64 else 1  # TensorProto.INT64, FLOAT
            graph.initializer.add(
                name=name, data_type=kind, dims=array.shape, raw_data=array.tobytes()
            )
        for w in self._weights:
            limit = w.limit * (np.sqrt(2.0) if w.result in self._activated else 1.0)
            start = int(rng.integers(_POOL_SIZE))
            values = _cycle(pool, start, prod(w.shape), np.float32(limit))
            if w.center:
                values += np.float32(w.center)
            graph.initializer.add(name=w.name, data_type=1, dims=w.shape, raw_data=values.tobytes())


def _cycle(
    pool: npt.NDArray[np.float32], start: int, count: int, factor: np.float32
) -> npt.NDArray[np.float32]:
    """``count`` numbers of ``pool`` from ``start`` on, round and round, times ``factor``."""
    result = np.empty(count, dtype=np.float32)
    done = 0
    while done < count:
        part = pool[start : start + count - done]
        np.multiply(part, factor, out=result[done : done + len(part)])
        done += len(part)
        start = 0
    return result
