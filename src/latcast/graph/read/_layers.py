"""The parts that both readers share: asked shapes, tensors, facts of operators, and layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from latcast.graph._graph import Graph
from latcast.graph._operators import GRAPH_INPUT, OPERATORS, Layer
from latcast.graph.precision import BITS, precision_of
from latcast.graph.shapes import TensorShape


class Origin(NamedTuple):
    """A trainable tensor of the file, from which constants of the graph are computed."""

    name: str
    elements: int


@dataclass(frozen=True, slots=True)
class ElementType:
    """The type of a tensor's elements.

    Attributes:
        name: its name in numpy and PyTorch.
        bits: size of one element.
        numpy: numpy's code for it; None where numpy lacks it.
    """

    name: str
    bits: int
    numpy: str | None = None

    @property
    def bytes(self) -> int:
        """Whole bytes of one element."""
        return -(-self.bits // 8)


class Quantized(NamedTuple):
    """The quantized tensor that a dequantization reads.

    Attributes:
        type: of the elements.
        scale_bytes: of the scales and zero points.
    """

    type: ElementType
    scale_bytes: int


@dataclass(slots=True)
class Value:
    """A tensor that the network reads, computes or holds.

    Attributes:
        shape: its shape with the batch; None where it is not known.
        type: the type of its elements.
        source: position of the layer that gives it, ``GRAPH_INPUT``, or None for a constant.
        origins: the trainable tensors that a constant was computed from.
        load: gives the elements of a small constant, and None where they cannot be had.
        port: which of that layer's outputs, or of the network's inputs, it is.
        quantized: the type that a dequantization made it of, and the bytes of its scales.
        computed: whether it is a constant that nodes compute, not one of the file's.
        inferred: whether its shape follows without constants that are computed.
    """

    shape: TensorShape | None
    type: ElementType
    source: int | None = None
    origins: frozenset[Origin] = frozenset()
    load: Callable[[], npt.NDArray[Any] | None] | None = None
    port: int = 0
    quantized: Quantized | None = None
    computed: bool = False
    inferred: bool = True

    @property
    def is_constant(self) -> bool:
        """Whether no layer and no input of the network changes it."""
        return self.source is None

    @property
    def is_empty(self) -> bool:
        """Whether it has no elements."""
        return self.shape is not None and 0 in self.shape

    @property
    def bytes(self) -> int:
        """Bytes of all elements, as they are held; 0 where the shape is not known."""
        scales = self.quantized.scale_bytes if self.quantized else 0
        return 0 if self.shape is None else scales - (-prod(self.shape) * self.held.bits // 8)

    @property
    def held(self) -> ElementType:
        """The type of its elements before they are dequantized."""
        return self.quantized.type if self.quantized else self.type

    def data(self) -> npt.NDArray[Any] | None:
        """Elements of a small constant, else None."""
        if self.load is None:
            return None
        array = self.load()
        self.load = lambda: array
        return array


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The description of an operator in our vocabulary; its fields are those of :class:`Layer`.

    Attributes:
        trained: numbers that its weights stand for, where several share an element.
    """

    op: str | None = None
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    sum_length: int = 0
    order: tuple[int, ...] = ()
    inside: float = 1.0
    steps: int = 1
    grid: tuple[float, ...] = ()
    trained: int = 0


def clip_op(low: float | None, high: float | None) -> str:
    """The operator of a clip with these bounds; None is a bound that is missing."""
    if low == 0 and high == 6:
        return "relu6"
    return "relu" if low == 0 and high in (None, np.inf) else "clip"


def _least(weights: Value | None) -> tuple[float, ...]:
    """The least integer of weights that are dequantized."""
    if weights is None or weights.quantized is None:
        return ()
    return (float(least_integer(weights.held)),)


def least_integer(kind: ElementType) -> int:
    """The least integer of a type of integers."""
    return 0 if kind.name.startswith("u") else -(2 ** (kind.bits - 1))


def _precision(op: str, trained: int, reads: Sequence[Value], weights: Value | None) -> str:
    """Precision of what a layer multiplies: its weights, or else the wider of two activations."""
    kind = OPERATORS[op].kind if op in OPERATORS else ""
    if weights is not None and kind in _WEIGHTED:
        if trained:  # several of them share a byte
            return f"int{max(1, 8 * weights.bytes // trained)}"
        return precision_of(weights.held.name)
    if op in ("quantize", "dequantize", "cast"):
        return "fp32"
    kept = [v for v in reads if not v.is_constant and v.type.name != "bool"][:2]
    names = (precision_of(v.held.name) for v in kept)
    return max(names, key=BITS.__getitem__, default="fp32")


_WEIGHTED = frozenset(("conv", "depthwise_conv", "conv_transpose", "linear", "matmul", "attention"))


@dataclass
class Layers:
    """Layers of a graph that is being read, in the order in which they were found."""

    _found: list[Layer] = field(default_factory=list)
    _learned: list[frozenset[Origin]] = field(default_factory=list)
    _held: list[list[Value]] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._found)

    def add(
        self,
        name: str,
        operator: str,
        op: str,
        facts: Facts,
        reads: Sequence[Value],
        outputs: Sequence[Value],
        learned: frozenset[Origin],
        element_bytes: int,
        *,
        in_shapes: tuple[TensorShape | None, ...] | None = None,
        out_shapes: tuple[TensorShape | None, ...] | None = None,
        runs: tuple[int, int] = (1, 1),
    ) -> int:
        """Add a layer; gives its position.

        Args:
            name: name of the layer; a number is appended where it is taken.
            operator: the file's name of the operator.
            op: our name of it.
            facts: the other facts of the operator.
            reads: activations and constants that it reads, in order.
            outputs: tensors that it writes.
            learned: trainable tensors that it reads.
            element_bytes: bytes of one element of its activations.
            in_shapes: shapes in which it sees the activations, where they are others.
            out_shapes: shapes in which it writes the outputs, where they are others.
            runs: how often it runs with the dearest branches, and with the cheapest.
        """
        self._learned.append(learned)
        held = [v for v in reads if v.is_constant]
        self._held.append(held)
        activations = [*(v for v in reads if not v.is_constant), *outputs]
        bits = tuple(v.type.bits for v in activations)
        # By elements: a quantized bias has four times the bytes of each weight.
        weights = max(held, key=lambda v: prod(v.shape or ()), default=None)
        ports = tuple(v.port for v in reads if v.source is not None)
        inputs = sum(v.source == GRAPH_INPUT for v in reads)
        self._found.append(
            Layer(
                name=self._unique(name),
                op=op,
                operator=operator,
                inputs=tuple(v.source for v in reads if v.source is not None),
                in_shapes=in_shapes or tuple(v.shape for v in reads if not v.is_constant),
                out_shapes=out_shapes or tuple(v.shape for v in outputs),
                param_bytes=sum(v.bytes for v in self._held[-1]),
                window=facts.window,
                stride=facts.stride,
                dilation=facts.dilation,
                groups=facts.groups,
                element_bytes=element_bytes,
                sum_length=facts.sum_length,
                order=facts.order,
                ports=ports if any(ports) or inputs > 1 else (),
                inside=facts.inside,
                steps=facts.steps,
                runs=runs[0],
                min_runs=None if runs[1] == runs[0] else runs[1],
                bits=bits if set(bits) != {8 * element_bytes} else (),
                precision=_precision(op, facts.trained, reads, weights),
                weight_bits=weights.held.bits if weights and weights.quantized else 0,
                grid=facts.grid or _least(weights),
                inferred=all(v.inferred for v in outputs),
            )
        )
        return len(self._found) - 1

    def work(self, span: range) -> tuple[tuple[int, int], tuple[int, int]]:
        """MACs and bytes of some layers, with the dearest branches and with the cheapest."""
        sums = []
        layers = [self._found[n] for n in span]
        for runs in (
            [x.runs for x in layers],
            [x.runs if x.min_runs is None else x.min_runs for x in layers],
        ):
            pairs = list(zip(layers, runs, strict=True))
            macs = sum(x.macs * r for x, r in pairs if x.is_supported)
            moved = sum((x.read_bytes + x.write_bytes + x.read_param_bytes) * r for x, r in pairs)
            sums.append((macs, moved))
        return sums[0], sums[1]

    def skip(self, span: range, *, dearest: bool, cheapest: bool) -> None:
        """Layers of a branch that is not taken in the dearest pass, or not in the cheapest."""
        for n in span:
            found = self._found[n]
            least = found.runs if found.min_runs is None else found.min_runs
            runs, least = 0 if dearest else found.runs, 0 if cheapest else least
            self._found[n] = found._replace(runs=runs, min_runs=None if least == runs else least)

    def cut(self, length: int) -> None:
        """Forget all layers from a position on."""
        for found in self._found[length:]:
            self._names.pop(found.name, None)
        del self._found[length:], self._learned[length:], self._held[length:]

    def graph(self, name: str, outputs: Sequence[int], written: Iterable[int] = ()) -> Graph:
        """The graph of the layers that the outputs are computed from, as runtimes drop others.

        A constant that several layers read counts in the first of them.

        Args:
            name: of the graph.
            outputs: positions of the layers that give its outputs.
            written: positions of others that are kept: they write into what is no output.
        """
        kept = self._needed((*outputs, *written))
        place = {GRAPH_INPUT: GRAPH_INPUT} | {n: new for new, n in enumerate(kept)}
        counted: set[Origin] = set()
        seen: dict[object, int] = {}
        layers = []
        for n in kept:
            new = self._learned[n] - counted
            counted |= new
            found = self._found[n]
            inputs = tuple(place[i] for i in found.inputs)
            params = sum(o.elements for o in new)
            shared = sum(_counted_before(v, seen) for v in self._held[n])
            layers.append(found._replace(inputs=inputs, params=params, shared_bytes=shared))
        return Graph(tuple(layers), name, tuple(place[n] for n in outputs))

    def _needed(self, outputs: Sequence[int]) -> list[int]:
        alive = set(outputs)
        for n in range(len(self._found) - 1, -1, -1):
            if n in alive:
                alive.update(self._found[n].inputs)
        return sorted(alive - {GRAPH_INPUT})

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0) + 1
        self._names[name] = count
        return name if count == 1 else self._unique(f"{name}#{count}")


def _counted_before(value: Value, seen: dict[object, int]) -> int:
    """Bytes of a constant that count in an earlier layer; ``seen`` holds how many of which do.

    Parts of one trainable tensor, such as queries, keys and values of one matrix, are as many as
    that has before any of them counts twice.
    """
    key = value.origins or id(value)
    scales = value.quantized.scale_bytes if value.quantized else 0
    whole = scales - (-sum(o.elements for o in value.origins) * value.held.bits // 8)
    before = seen.get(key, 0)
    new = max(0, min(value.bytes, whole - before)) if before else value.bytes
    seen[key] = before + new
    return value.bytes - new
