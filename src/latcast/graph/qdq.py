"""Graphs in floats as ONNX Runtime's static quantizer writes them, in integers of 8 bits; and back.

Every tensor that an operator of the quantizer's table reads or writes gets a quantization and its
inverse (QDQ), which all who read it share. The rules are those of ``onnxruntime.quantization`` 1.32
(``registry.py`` and ``operators``) with its defaults, activations in uint8, weights in int8 with a
scale for each output channel. Scales themselves come from a calibration: here they are made up,
each tensor's its own, since kernels depend on whether two are equal and not on what they are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any

from ._graph import Graph, GraphInput
from ._operators import GRAPH_INPUT, OPERATORS, Layer
from .precision import BITS
from .shapes import TensorShape

# A layer's position, and which of its outputs, or which input of the graph.
Tensor = tuple[int, int]

_BITS = 8
# Bytes of a scale and a zero point of 8 bits, and of those of a bias in int32 beside itself.
_SCALE, _BIAS = 5, 12
WEIGHTED = frozenset(("conv", "depthwise_conv", "conv_transpose", "linear"))
# By their own ranges, whatever is before them.
COMPUTING = frozenset((
    "matmul", "add", "mul", "scale", "leaky_relu", "sigmoid", "global_pool", "concat", "softmax",
    "batch_norm", "layer_norm", "instance_norm",
))  # fmt: skip
# These take the place of what they read, if nothing else reads it: its range tells what is cut off.
REMOVABLE = frozenset(("relu", "relu6", "clip"))
# Where what they read is quantized already, what they give is quantized the same way.
MOVING = frozenset((
    "reshape", "transpose", "avg_pool", "max_pool", "slice", "resize", "gather", "top_k",
))  # fmt: skip
_NOT_NEGATIVE = frozenset(("relu", "relu6", "sigmoid", "h_sigmoid", "softmax", "exp", "abs"))
_KEEPS_SIGN = MOVING | {"add", "mul", "scale", "global_pool", "concat", "identity", "split", "pad"}
_PAIR = frozenset(("quantize", "dequantize"))
# Of two truth values, whose bytes are no integers of a quantization.
_LOGICAL = frozenset(("compare", "not"))
# Half of the range of a tensor of either sign.
_MIDDLE = 128.0
# Below that of the bound of a ReLU6, 6 / 255; each tensor's is another one.
_FIRST_SCALE, _NEXT_SCALE = 0.02, 1e-9


# That campaigns quantize networks for (``latcast.measure.runtimes``). Of all others (ncnn, MNN,
# TensorRT, NPUs) kernels in int8 count the bytes of floats: the joint model's prices were learnt so
# from public tables, which have no quantized files. To count a quarter needs a fit of it anew. What
# ONNX Runtime ran on CPUs of AI Hub's are taken for such files (``latcast.networks.quantized``).
_RUNTIMES = ("onnxruntime", "openvino", "litert")


def runs_quantized(runtime: str, precision: str) -> bool:
    """Whether what runs on a target is what the quantizer writes, on integers."""
    return precision == "int8" and runtime in _RUNTIMES


def as_run(graph: Graph, runtime: str, precision: str) -> Graph:
    """Return the graph that a runtime runs in a target's precision.

    In int8 that is :func:`quantized` where campaigns quantize. What others take in int8 was learnt
    from networks in floats, so that there it is :func:`dequantized`: a quantized file and the one
    that it was made of are one network.
    """
    if precision != "int8":
        return graph
    return quantized(graph) if runs_quantized(runtime, precision) else dequantized(graph)


def quantized(graph: Graph) -> Graph:
    """The graph in integers; one that is quantized or holds other types stays as it is.

    Bodies of loops and branches stay in floats.
    """
    if any(x.op in _PAIR or x.weight_bits for x in graph.layers):
        return graph
    return _noted(_quantized(graph), graph.sources, graph.notes)


@lru_cache(maxsize=8)
def _quantized(graph: Graph) -> Graph:
    return _Writing(graph, _Marking(graph)).written()


def _noted(graph: Graph, sources: tuple[GraphInput, ...], notes: tuple[str, ...]) -> Graph:
    """The graph with these inputs and notes, by which graphs are not told apart."""
    is_same = (graph.sources, graph.notes) == (sources, notes)
    return graph if is_same else graph.noted(sources, notes)


def dequantized(graph: Graph) -> Graph:
    """The graph in floats of 32 bits, without quantizations: as a quantizer found it.

    A ReLU that a quantization took the place of comes back where its integers begin at zero and
    what it quantizes may be negative. Other integers than those of 8 bits stay.
    """
    if all(x.op not in _PAIR and x.precision != "int8" for x in graph.layers):
        return graph
    found, integers = _dequantized(graph)
    sources = tuple(
        replace(x, dtype="float32") if port in integers else x
        for port, x in enumerate(graph.sources)
    )
    return _noted(found, sources, graph.notes)


@lru_cache(maxsize=8)
def _dequantized(graph: Graph) -> tuple[Graph, frozenset[int]]:
    """The graph, and which of its inputs are floats now."""
    reverting = _Reverting(graph)
    return reverting.written(), frozenset(reverting.floats)


class _Marking:
    """The quantized tensors, and the layers that are gone, as the quantizer passes over nodes.

    Attributes:
        marked: tensor -> the one whose scale it has.
        gone: tensor of an activation that was removed -> what it was made of.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.marked: dict[Tensor, Tensor] = {}
        self.gone: dict[Tensor, Tensor] = {}
        for n, layer in enumerate(graph.layers):
            if layer.runs == 1 and layer.min_runs is None and layer.is_supported:
                self._visit(n, layer)

    def root(self, tensor: Tensor) -> Tensor:
        """Return the tensor that stands in place of one whose layer is gone."""
        while tensor in self.gone:
            tensor = self.gone[tensor]
        return tensor

    def reads(self, layer: Layer) -> list[Tensor]:
        """Tensors that a layer reads."""
        ports = layer.ports or (0,) * len(layer.inputs)
        return [self.root(x) for x in zip(layer.inputs, ports, strict=True)]

    def _visit(self, n: int, layer: Layer) -> None:
        reads, writes = self.reads(layer), [(n, port) for port in range(len(layer.out_shapes))]
        if layer.op in WEIGHTED:
            self._mark([*reads[:1], *writes])
        elif layer.op in COMPUTING:
            self._mark([*reads, *writes])
        elif layer.op in REMOVABLE and reads[0] in self.marked:
            if self._has_one_reader(reads[0]):
                self.gone[writes[0]] = reads[0]
                self.marked[reads[0]] = reads[0]
            else:
                self._mark([*reads, *writes])
        elif layer.op in ("split", "pad") or (layer.op in MOVING and reads[:1] and (
            reads[0] in self.marked
        )):  # fmt: skip
            self._mark(reads[:1])
            for tensor in writes:
                if reads[:1] and self._is_float(tensor):
                    self.marked[tensor] = self.marked.get(reads[0], reads[0])
        elif layer.op == "where" and all(x in self.marked for x in reads[1:]):
            self._mark(writes)

    def _mark(self, tensors: list[Tensor]) -> None:
        for tensor in filter(self._is_float, tensors):
            self.marked.setdefault(tensor, tensor)

    def _is_float(self, tensor: Tensor) -> bool:
        n, port = tensor
        if n != GRAPH_INPUT:
            return self.graph.layers[n].out_bits(port) == BITS["fp32"]
        sources = self.graph.sources
        return not sources or sources[port].dtype == "float32"

    def _has_one_reader(self, tensor: Tensor) -> bool:
        """One alone reads it, and it is no input or output of the graph."""
        if tensor[0] == GRAPH_INPUT or tensor[0] in self.graph.outputs:
            return False
        last = tensor[0]
        # Where an activation was removed, those who read it count.
        names = [last, *(n for n, _ in self.gone if self.root((n, 0)) == tensor)]
        readers = {r for n in names for r in self.graph.readers[n]} - set(names)
        return len(readers) == 1 and not set(names).intersection(self.graph.outputs)


class _Writing:
    """The layers of the quantized graph, one after the other."""

    def __init__(self, graph: Graph, marking: _Marking) -> None:
        self._graph = graph
        self._marking = marking
        self._layers: list[Layer] = []
        self._places: dict[Tensor, Tensor] = {}
        self._held: set[Tensor] = set()
        self._scales: dict[Tensor, float] = {}
        self._signs: set[Tensor] = set()

    def written(self) -> Graph:
        """The graph."""
        graph, marking = self._graph, self._marking
        self._note_signs()
        for n, layer in enumerate(graph.layers):
            ports = layer.ports or (0,) * len(layer.inputs)
            for (source, port), shape in zip(
                zip(layer.inputs, ports, strict=True), layer.in_shapes, strict=True
            ):
                if source == GRAPH_INPUT and (source, port) not in self._places:
                    name = graph.sources[port].name if graph.sources else "input"
                    self._give((source, port), (source, port), name, shape)
            if (n, 0) in marking.gone:
                continue
            self._layers.append(self._as_read(layer))
            for port, shape in enumerate(layer.out_shapes):
                name = f"{layer.name}:{port}" if port else layer.name
                self._give((n, port), (len(self._layers) - 1, port), name, shape)
        outputs = tuple(
            n if n == GRAPH_INPUT else self._places[marking.root((n, 0))][0] for n in graph.outputs
        )
        written = Graph.trusted(tuple(self._layers), graph.name, outputs)
        return written.noted(graph.sources, graph.notes)

    def _note_signs(self) -> None:
        """Note the tensors that are never negative: their zero point is the least integer."""
        marking = self._marking
        for n, layer in enumerate(self._graph.layers):
            reads = marking.reads(layer)
            if layer.op in _NOT_NEGATIVE or (
                layer.op in _KEEPS_SIGN and reads and not layer.params
                and all(x in self._signs for x in reads)
            ):  # fmt: skip
                self._signs.add(marking.root((n, 0)))

    def _give(self, tensor: Tensor, place: Tensor, name: str, shape: TensorShape | None) -> None:
        """Add what quantizes a tensor, if anything does, and note where those read it who read."""
        of = self._marking.marked.get(tensor)
        if of is None:
            self._places[tensor] = place
            source = self._layers[place[0]] if place[0] != GRAPH_INPUT else None
            # What is moved is dequantized from the same integers.
            if source is not None and source.kind in ("view", "copy") and source.inputs:
                first = (source.inputs[0], (source.ports or (0,))[0])
                self._held.update({place} if first in self._held else ())
            return
        values = self._values_of(of)
        fresh = _FIRST_SCALE - len(self._scales) * _NEXT_SCALE
        own = self._scales.setdefault(values, fresh)
        # One that is taken over from what was read is the same constant of the file.
        shared = _SCALE if of != tensor else 0
        grid = (own, 0.0 if of in self._signs else _MIDDLE, 0.0)
        pair: dict[str, Any] = {
            "in_shapes": (shape,),
            "out_shapes": (shape,),
            "param_bytes": _SCALE,
            "grid": grid,
        }
        self._layers.append(
            Layer(
                f"{name}/quantize",
                "quantize",
                "QuantizeLinear",
                place[:1],
                ports=place[1:] if place[1] else (),
                bits=(32, _BITS),
                element_bytes=1,
                shared_bytes=shared,
                **pair,
            )
        )
        self._layers.append(
            Layer(
                f"{name}/dequantize",
                "dequantize",
                "DequantizeLinear",
                (len(self._layers) - 1,),
                bits=(_BITS, 32),
                shared_bytes=_SCALE,
                **pair,
            )
        )
        self._places[tensor] = (len(self._layers) - 1, 0)
        self._held.add(self._places[tensor])

    def _values_of(self, tensor: Tensor) -> Tensor:
        """The tensor of the same values, and so of the same range, that was there first."""
        n = tensor[0]
        while n != GRAPH_INPUT and self._graph.layers[n].op == "identity":
            tensor = self._marking.reads(self._graph.layers[n])[0]
            n = tensor[0]
        return tensor

    def _as_read(self, layer: Layer) -> Layer:
        """A layer of what is quantized now, as it would be read from the quantizer's file."""
        places = [self._places[x] for x in self._marking.reads(layer)]
        ports = tuple(port for _, port in places)
        several = sum(n == GRAPH_INPUT for n, _ in places) > 1
        new = layer._replace(
            inputs=tuple(n for n, _ in places),
            ports=ports if any(ports) or several else (),
            constants=(),
        )
        if layer.op not in WEIGHTED and layer.op != "cast":
            kinds = ["int8" if x in self._held else "fp32" for x in places[:2]]
            new = new._replace(precision=max(kinds, key=BITS.__getitem__, default="fp32"))
        is_once = layer.runs == 1 and layer.min_runs is None
        if not (layer.param_bytes and is_once and layer.is_supported):
            return new
        elements = layer.param_bytes // layer.element_bytes
        if layer.op in WEIGHTED:
            channels = _channels(layer)
            bias = channels if elements - channels == _weights(layer) else 0
            size = elements - bias + _SCALE * channels + _BIAS * bias
            precision, least = "int8", -_MIDDLE
        elif layer.op in ("layer_norm", "instance_norm", "batch_norm"):
            # The scale is a weight, the shift is in int32, and means and variances stay in floats.
            each = elements // (4 if layer.op == "batch_norm" else 2)
            size = 5 * each + 4 * (elements - 2 * each) + _SCALE + 8
            precision, least = new.precision, -_MIDDLE
        elif layer.op in COMPUTING:
            size, precision, least = elements + _SCALE, new.precision, 0.0
        else:
            return new
        return new._replace(
            param_bytes=size, precision=precision, weight_bits=_BITS, grid=(least,),
            shared_bytes=layer.shared_bytes * size // layer.param_bytes,
        )  # fmt: skip


class _Reverting:
    """The layers of a quantized graph in floats, one after the other."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._layers: list[Layer] = []
        # Tensor of the quantized graph -> where it is now; which are integers; which of those that
        # are there now cannot be negative.
        self._places: dict[Tensor, Tensor] = {}
        self._integers: set[Tensor] = set()
        self._signs: set[Tensor] = set()
        # Inputs of the graph that quantizations or integers were made of.
        self.floats: set[int] = set()

    def written(self) -> Graph:
        """The graph."""
        graph = self._graph
        for n, layer in enumerate(graph.layers):
            ports = layer.ports or (0,) * len(layer.inputs)
            reads = list(zip(layer.inputs, ports, strict=True))
            if layer.op in _PAIR and reads:
                self._revert(n, layer, reads[0])
            else:
                self._add(n, layer, reads)
            if layer.op in _PAIR or layer.precision == "int8":
                self.floats.update(port for source, port in reads if source == GRAPH_INPUT)
        if not self._layers:
            return graph
        outputs = tuple(
            n if n == GRAPH_INPUT else self._places.get((n, 0), (GRAPH_INPUT, 0))[0]
            for n in graph.outputs
        )
        return Graph.trusted(tuple(self._layers), graph.name, outputs)

    def _place(self, tensor: Tensor) -> Tensor:
        return self._places.get(tensor, tensor)

    def _revert(self, n: int, layer: Layer, read: Tensor) -> None:
        """Leave out a quantization or its inverse, but for the activation that it stands for."""
        place = self._place(read)
        if layer.op == "quantize":
            self._integers.add((n, 0))
            begins_at_zero = len(layer.grid) == 3 and layer.grid[1] == layer.grid[2]
            source = None if place[0] == GRAPH_INPUT else self._layers[place[0]]
            # A constant that is added may be what makes it so: 1 to an Erf.
            is_activated = (
                source is not None
                and source.op in _ACTIVATED
                and (source.op != "add" or len(source.inputs) > 1)
            )
            if begins_at_zero and source is not None and is_activated:
                if place not in self._signs:
                    new = Layer(
                        f"{source.name}/relu", "relu", "Relu", place[:1], layer.in_shapes,
                        layer.out_shapes, ports=place[1:] if place[1] else (),
                    )  # fmt: skip
                    self._layers.append(new)
                    place = len(self._layers) - 1, 0
                self._signs.add(place)
        self._places[n, 0] = place

    def _add(self, n: int, layer: Layer, reads: list[Tensor]) -> None:
        places = [self._place(x) for x in reads]
        ports = tuple(port for _, port in places)
        several = sum(source == GRAPH_INPUT for source, _ in places) > 1
        new = layer._replace(
            inputs=tuple(source for source, _ in places),
            ports=ports if any(ports) or several else (),
        )
        is_int8 = layer.precision == "int8"
        if is_int8 or self._integers.intersection(reads):
            new = self._in_floats(n, new, reads)
        self._layers.append(new)
        at = len(self._layers) - 1
        self._places.update({(n, port): (at, port) for port in range(len(layer.out_shapes))})
        if layer.op in _NOT_NEGATIVE or (
            layer.op in _KEEPS_SIGN and not layer.params and places
            and all(x in self._signs for x in places)
        ):  # fmt: skip
            self._signs.add((at, 0))

    def _in_floats(self, n: int, layer: Layer, reads: list[Tensor]) -> Layer:
        """A layer that computes with integers, or moves them."""
        is_int8 = layer.precision == "int8"
        bits = [
            BITS["fp32"] if x in self._integers or (is_int8 and x[0] == GRAPH_INPUT) else
            layer.in_bits(k) for k, x in enumerate(reads)
        ]  # fmt: skip
        for port in range(len(layer.out_shapes)):
            is_integer = layer.out_bits(port) == _BITS and layer.op not in _LOGICAL
            self._integers.update({(n, port)} if is_integer else ())
            bits.append(BITS["fp32"] if is_integer else layer.out_bits(port))
        # Constants beside floats are floats, too, but for those that are dequantized.
        held = layer.weight_bits or (layer.in_bits(0) if layer.in_shapes else 0)
        is_held = is_int8 and layer.param_bytes and held == _BITS
        size = _float_bytes(layer) if is_held else layer.param_bytes
        shared = layer.shared_bytes * size // max(1, layer.param_bytes)
        widest = max(bits, default=BITS["fp32"])
        return layer._replace(
            bits=tuple(bits) if set(bits) != {widest} else (), element_bytes=widest // 8,
            param_bytes=size, shared_bytes=shared, weight_bits=0, grid=(),
            precision="fp32" if is_int8 else layer.precision,
        )  # fmt: skip


# What an activation may follow that a quantization takes the place of.
_ACTIVATED = WEIGHTED | {"matmul", "add", "batch_norm"}


def _float_bytes(layer: Layer) -> int:
    """Bytes in fp32 of the constants of a layer in integers."""
    element = BITS["fp32"] // 8
    if layer.op in WEIGHTED and layer.is_supported:
        weights, channels = _weights(layer), _channels(layer)
        # Scales and zero points take no more than this; what is beyond is a bias.
        bias = channels if layer.param_bytes - weights > _SCALE * channels else 0
        return element * max(layer.params, weights + bias)
    if layer.op == "batch_norm":
        return 2 * element * layer.params  # means and variances are not trained
    if layer.params:
        return element * layer.params
    return element * max(1, layer.param_bytes - (_SCALE if layer.weight_bits else 0))


def _channels(layer: Layer) -> int:
    """Scales of a layer's weights: one for each output channel, or feature."""
    shape = layer.out_shape
    if OPERATORS[layer.op].kind == "linear":
        return shape[-1]
    return shape[1] // layer.groups if layer.op == "conv_transpose" else shape[1]


def _weights(layer: Layer) -> int:
    """Numbers of a layer's weights, without a bias."""
    if OPERATORS[layer.op].kind == "linear":
        return (layer.sum_length or layer.in_shape[-1]) * layer.out_shape[-1]
    return prod(layer.window) * layer.in_shape[1] * layer.out_shape[1] // layer.groups
