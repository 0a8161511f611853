"""Any network as a graph of layers with the shapes that they work on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._limits import MAX_ELEMENTS, MAX_NODES, MAX_TEXT_BYTES
from latcast._names import short_repr
from latcast.report.markup import counted
from latcast.report.text import sides_text

from ._operators import GRAPH_INPUT, OPERATORS, Layer
from ._weights import Weights, conv_constants, draw
from .memory import ActivationMemory, activation_memory
from .precision import BITS, main_precision, precision_shares
from .shapes import TensorShape

# Activations that do not halve the second moment of what they read.
_BOUNDED = ("sigmoid", "h_sigmoid", "tanh")
_WEIGHTED = ("conv", "depthwise_conv", "conv_transpose", "linear")


@dataclass(frozen=True, slots=True)
class GraphInput:
    """An input of a network that was read from a file or a program.

    Attributes:
        name: in the file.
        shape: that the graph was read for.
        sides: as the file tells them: a number, a symbol or an expression, or None for an open
            side without a name; None where it tells no shape.
        batch_axis: which side is the batch; None where nothing tells it.
        dtype: type of its elements.
    """

    name: str
    shape: TensorShape
    sides: tuple[int | str | None, ...] | None
    batch_axis: int | None
    dtype: str

    @property
    def told(self) -> str:
        """Its shape as the file tells it, such as ``[N, 3, ?, ?]``."""
        return sides_text(self.sides)

    @property
    def change(self) -> str:
        """Sides that are others than the file fixes; empty where there are none."""
        return ", ".join(
            f"side {axis}: {side} to {value}"
            for axis, (side, value) in enumerate(zip(self.sides or (), self.shape, strict=False))
            if isinstance(side, int) and side != value
        )


@dataclass(frozen=True)
class Graph:
    """Layers in an order in which they can run.

    Attributes:
        layers: every layer reads earlier ones only.
        name: of the network, for messages.
        outputs: positions of the layers that give the network's outputs.
        sources: the inputs, where the graph was read from a file or a program.
        notes: what was assumed or changed when it was read, a sentence each.
    """

    layers: tuple[Layer, ...]
    name: str = "network"
    outputs: tuple[int, ...] = ()
    sources: tuple[GraphInput, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a network must have at least one layer; got none")
        for n, layer in enumerate(self.layers):
            _check_layer(n, layer)
        for n in self.outputs:
            if not GRAPH_INPUT <= n < len(self.layers):
                raise ValueError(f"outputs must be positions of layers; got {n}")

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"<Graph of {counted(len(self.layers), 'layer')}: {self.name[:60]}>"

    @classmethod
    def trusted(cls, layers: tuple[Layer, ...], name: str, outputs: tuple[int, ...]) -> Graph:
        """A graph of layers that were checked before, which takes a tenth of the time."""
        graph = cls.__new__(cls)
        known = {"layers": layers, "name": name, "outputs": outputs, "sources": (), "notes": ()}
        for attribute, value in known.items():
            object.__setattr__(graph, attribute, value)
        return graph

    def of(self, layers: tuple[Layer, ...]) -> Graph:
        """A copy whose layers differ in facts, not in what they read."""
        graph = Graph.trusted(layers, self.name, self.outputs)
        return graph.noted(self.sources, self.notes) if self.sources else graph

    def named(self, name: str) -> Graph:
        """A copy with another name."""
        return Graph.trusted(self.layers, name, self.outputs).noted(self.sources, self.notes)

    def noted(self, sources: tuple[GraphInput, ...], notes: tuple[str, ...]) -> Graph:
        """A copy that says what its inputs are, and what was assumed or changed about them."""
        graph = Graph.trusted(self.layers, self.name, self.outputs)
        object.__setattr__(graph, "sources", sources)
        object.__setattr__(graph, "notes", notes)
        return graph

    @property
    def batch(self) -> int | None:
        """Samples of a forward pass; None where nothing tells which side of the inputs they are.

        Of a graph that was read from a file its batch axes say it; of another one it is the
        leading side of all inputs.
        """
        if self.sources:
            told = {x.shape[x.batch_axis] for x in self.sources if x.batch_axis is not None}
            return told.pop() if len(told) == 1 else None
        leading = {shape[0] if shape else None for shape in self._input_shapes}
        return leading.pop() if len(leading) == 1 else None

    @property
    def precision(self) -> str | None:
        """Precision of nine tenths of the multiply-accumulates, as its file holds what they read.

        Else it is ``mixed``; None where nothing does any.
        """
        return main_precision(self.precisions)

    @property
    def precisions(self) -> dict[str, float]:
        """Share of the multiply-accumulates by precision, the largest first."""
        return precision_shares(self.layers)

    @property
    def in_shape(self) -> TensorShape:
        """Shape of the input, with the batch.

        Raises:
            ValueError: there is none, its shape is not known, or there are several shapes.
        """
        shapes = set(self._input_shapes)
        if len(shapes) != 1 or (shape := shapes.pop()) is None:
            raise ValueError(f"{self.name} must have one input of known shape; it has others")
        return shape

    @property
    def out_shape(self) -> TensorShape:
        """Shape of the (first) output, with the batch.

        Raises:
            ValueError: there is none, or its shape is not known.
        """
        shape = self.layers[self.outputs[0]].out_shapes[0] if self.outputs else None
        if shape is None:
            raise ValueError(f"{self.name} must have an output of known shape; it has none")
        return shape

    @property
    def _input_shapes(self) -> list[TensorShape | None]:
        return [
            shape
            for layer in self.layers
            for source, shape in zip(layer.inputs, layer.in_shapes, strict=True)
            if source == GRAPH_INPUT
        ]

    def with_batch(self, batch: int) -> Graph:
        """A copy for another batch, which must be the leading side of all shapes.

        Raises:
            ValueError: the batch is not positive, or leads not all shapes.
        """
        old = self.batch
        if batch < 1:
            raise ValueError(f"a batch must have at least one sample; got {batch}")
        if batch == old:
            return self

        def sized(shape: TensorShape | None) -> TensorShape:
            if not shape or shape[0] != old:
                raise ValueError(
                    f"all shapes of {self.name} must begin with its batch, {old}; one is {shape}"
                )
            return (batch, *shape[1:])

        layers = tuple(
            x._replace(
                in_shapes=tuple(map(sized, x.in_shapes)),
                out_shapes=tuple(map(sized, x.out_shapes)),
            )
            for x in self.layers
        )
        return Graph.trusted(layers, self.name, self.outputs)

    def weights(self, seed: int = 0) -> Weights:
        """Values of every layer's constants (see :meth:`drawn`)."""
        return list(self.drawn(seed))

    def drawn(self, seed: int = 0) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """Values of the constants of one layer after the other, so that few are in memory.

        They have the variance of He initialization (arXiv:1502.01852), without its factor 2 where
        no activation follows, so that activations neither vanish (denormal numbers are slow) nor
        overflow. Latency does not depend on them otherwise.
        """
        gains = [1.0] * len(self.layers)
        for layer in self.layers:
            if layer.kind != "activation" or layer.op in _BOUNDED:
                continue
            source = layer.inputs[0]
            while source >= 0 and (self.layers[source].op == "batch_norm" or self._is_bias(source)):
                source = self.layers[source].inputs[0]
            if source >= 0 and self.layers[source].kind in _WEIGHTED:
                gains[source] = sqrt(2)
        return draw([x.constants for x in self.layers], gains, seed)

    def _is_bias(self, n: int) -> bool:
        """Whether a layer gives a product of tokens its bias."""
        layer = self.layers[n]
        return layer.op == "add" and len(layer.inputs) == 1 and layer.params > 0

    def inputs(self, seed: int = 0) -> npt.NDArray[np.float32]:
        """Standard normal numbers of the shape of the input."""
        return np.random.default_rng(seed).standard_normal(self.in_shape, dtype=np.float32)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layers whose cost is known, for the whole batch.

        Of branches those of the dearest count, and of a loop every trip.
        """
        return sum(OPERATORS[x.op].macs(x) * x.runs for x in self.layers if x.is_supported)

    @property
    def cheapest(self) -> Graph:
        """The network with the cheapest branches and the fewest trips of its loops."""
        if all(x.min_runs is None for x in self.layers):
            return self
        return self.of(
            tuple(
                x if x.min_runs is None else x._replace(runs=x.min_runs, min_runs=None)
                for x in self.layers
            )
        )

    @property
    def params(self) -> int:
        """Trainable numbers."""
        return sum(x.params for x in self.layers)

    def activation_memory(self, reuse: str = "none") -> ActivationMemory:
        """Memory of activations, for the whole batch (see :func:`.memory.activation_memory`)."""
        return activation_memory(self.layers, self.outputs, reuse)

    @property
    def peak_activation_bytes(self) -> int:
        """Peak memory of activations, for the whole batch, where nothing is done in place."""
        return self.activation_memory().peak_bytes

    @cached_property
    def folded(self) -> Graph:
        """The network as it is deployed: batch norms become biases of the convolutions before them.

        A batch norm that no convolution of its own precedes becomes a depthwise convolution of
        1 x 1: a scale and a shift a channel.
        """
        kept: list[Layer] = []
        places: dict[int, int] = {GRAPH_INPUT: GRAPH_INPUT}
        for n, layer in enumerate(self.layers):
            inputs = tuple(places[i] for i in layer.inputs)
            if layer.op != "batch_norm":
                kept.append(layer._replace(name=f"{layer.word}_{len(kept)}", inputs=inputs))
            elif layer.inputs[0] >= 0 and self.readers[layer.inputs[0]] == (n,) and (
                kept[inputs[0]].op in ("conv", "depthwise_conv")
            ):  # fmt: skip
                kept[inputs[0]] = _with_bias(kept[inputs[0]])
                places[n] = inputs[0]
                continue
            else:
                kept.append(_scale(layer, len(kept), inputs))
            places[n] = len(kept) - 1
        return Graph.trusted(tuple(kept), self.name, tuple(places[n] for n in self.outputs))

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """The positions of the layers that read each layer's outputs."""
        readers: list[list[int]] = [[] for _ in self.layers]
        for n, layer in enumerate(self.layers):
            for source in dict.fromkeys(layer.inputs):
                if source != GRAPH_INPUT:
                    readers[source].append(n)
        return tuple(tuple(r) for r in readers)

    @property
    def working(self) -> int:
        """Number of layers that compute something: views name what they read anew, and cost 0."""
        return sum(x.kind != "view" for x in self.layers)

    @property
    def unsupported(self) -> dict[str, int]:
        """Operators of the layers whose cost is not known, with how many there are of each."""
        return dict(Counter(x.operator for x in self.layers if not x.is_supported))

    def to_json(self) -> str:
        """Compact JSON, the inverse of :meth:`from_json`; defaults are left out."""
        layers = [
            {
                name: value
                for name in _KEPT
                if (value := getattr(x, name)) != _DEFAULTS.get(name, _REQUIRED)
            }
            for x in self.layers
        ]
        record = {"name": self.name, "outputs": self.outputs, "layers": layers}
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """The graph that :meth:`to_json` wrote.

        Raises:
            ValueError: the text is of another form, or no graph.
        """
        try:
            _check_count(len(text), MAX_TEXT_BYTES, "characters")
            record = json.loads(text)
            _check_count(len(record["layers"]), MAX_NODES, "layers")
            layers = tuple(_layer(x) for x in record["layers"])
            return cls(layers, str(record["name"]), tuple(int(n) for n in record["outputs"]))
        except (
            KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError,
            RecursionError,
        ) as error:  # fmt: skip
            raise ValueError(
                f"a graph must be JSON as latcast writes it; got {str(error)[:300]}"
            ) from error


_DEFAULTS: dict[str, Any] = Layer._field_defaults
# Stands for the default of what has none.
_REQUIRED = object()
# Fields of a layer that a file keeps: all but those that only writers need.
_KEPT = tuple(x for x in Layer._fields if x not in ("ports", "constants", "attributes"))


def _with_bias(conv: Layer) -> Layer:
    return conv.reading(conv_constants(conv.constants[0].shape, "bias"))


def _scale(norm: Layer, n: int, inputs: tuple[int, ...]) -> Layer:
    channels = norm.constants[0].shape[0]
    conv = norm._replace(
        name=f"depthwise_conv_{n}", op="depthwise_conv", operator="Conv", inputs=inputs,
        groups=channels, attributes=(("pads", (0, 0, 0, 0)),),
    )  # fmt: skip
    return conv.reading(conv_constants((channels, 1, 1, 1), "bias"))


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise ValueError(f"{count} {what}, more than {most}")


def _layer(record: Mapping[str, Any]) -> Layer:
    """The layer of a file, whose entries may be of any type; the graph checks shapes and numbers.

    Raises:
        KeyError, IndexError, TypeError, ValueError: an entry is missing, unknown or of another
            type.
    """
    if unknown := record.keys() - set(_KEPT):
        raise ValueError(f"a layer with {short_repr(sorted(unknown)[0])}, which layers lack")
    known = {**_DEFAULTS, **record}
    for name in ("inputs", "window", "stride", "dilation", "order", "bits", "grid"):
        known[name] = tuple(known[name])
    for name in ("in_shapes", "out_shapes"):
        known[name] = tuple(None if s is None else tuple(s) for s in known[name])
    texts = [known[name] for name in ("name", "op", "operator", "precision")]
    numbers = (known["inside"], *known["grid"])
    for holds, what in (
        (_are(str, texts), "its texts"),
        (_are(int, (*known["inputs"], *known["order"])), "inputs and order"),
        (_are(int | float, numbers) and all(map(isfinite, numbers)), "inside and grid"),
        (0 <= known["inside"] <= 1 and len(numbers) in (1, 2, 4), "inside and grid"),
        (all(len(known[name]) == 2 for name in ("window", "stride", "dilation")), "its window"),
        (len(known["out_shapes"]) > 0, "its outputs"),
    ):
        if not holds:
            raise ValueError(f"a layer {short_repr(known['name'])} with {what} of another form")
    return Layer(**known)


def _are(kind: Any, values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) for value in values)


def _check_layer(n: int, layer: Layer) -> None:
    if not all(GRAPH_INPUT <= i < n for i in layer.inputs):
        raise ValueError(
            f"layer {layer.name!r} must read layers before it (or {GRAPH_INPUT}, an input); "
            f"it is at {n} and reads {layer.inputs}"
        )
    if len(layer.in_shapes) != len(layer.inputs):
        raise ValueError(
            f"layer {layer.name!r} must have a shape for each of its {len(layer.inputs)} inputs; "
            f"got {len(layer.in_shapes)}"
        )
    if layer.bits and len(layer.bits) != len(layer.in_shapes) + len(layer.out_shapes):
        raise ValueError(f"layer {layer.name!r}: bits must be told of every input and output")
    if layer.precision not in BITS:
        raise ValueError(f"layer {layer.name!r} must have one of the precisions {', '.join(BITS)}")
    for shape in (*layer.in_shapes, *layer.out_shapes):
        if shape is not None and not _possible(shape):
            raise ValueError(
                f"layer {layer.name!r}: a shape must have positive integer sides and at most "
                f"{MAX_ELEMENTS} elements; got {list(shape)}"
            )
    numbers = (
        *layer.window, *layer.stride, *layer.dilation, layer.groups, layer.element_bytes,
        layer.steps, *layer.bits,
    )  # fmt: skip
    if not all(isinstance(v, int) and v > 0 for v in numbers):
        raise ValueError(f"layer {layer.name!r}: window, stride, groups … must be positive")
    if not all(
        isinstance(v, int) and v >= 0
        for v in (
            layer.params,
            layer.param_bytes,
            layer.sum_length,
            layer.runs,
            layer.min_runs or 0,
            layer.weight_bits,
        )
    ):
        raise ValueError(f"layer {layer.name!r}: parameters, sums, runs must be counted from 0")
    if layer.is_supported:
        _check_sides(layer)


def _check_sides(layer: Layer) -> None:
    """An operator whose cost is known must have the sides that its work is counted by."""
    if layer.kind == "view":
        return
    if not (layer.in_shapes and layer.out_shapes):
        raise ValueError(f"layer {layer.name!r}: {layer.op} must read and write something")
    read = [len(shape or ()) for shape in layer.in_shapes]
    before, after = read[0], len(layer.out_shape)
    if layer.kind in _CONVOLUTIONS:
        possible = before == after > 1
    elif layer.kind == "attention":
        possible = min(read[:2]) > 1 and after > 0
    elif layer.op == "transpose":
        axes = list(range(before))
        possible = before == after and sorted(layer.order or axes) == axes
    else:
        possible = layer.kind not in _SUMS or (before > 0 and after >= _SUMS[layer.kind])
    if not possible:
        raise ValueError(
            f"layer {layer.name!r}: {layer.op} must have other numbers of sides than {before} "
            f"in and {after} out"
        )


_CONVOLUTIONS = ("conv", "depthwise_conv", "conv_transpose")
# Kind that sums along the last side of its first input -> sides that its output must have.
_SUMS = {"linear": 1, "matmul": 0}


def _possible(shape: Sequence[int]) -> bool:
    return all(isinstance(s, int) and s > 0 for s in shape) and prod(shape) <= MAX_ELEMENTS
