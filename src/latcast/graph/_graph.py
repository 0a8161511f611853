"""Any network as a graph of layers with the shapes that they work on, and what layers cost.

A MAC is one multiply-accumulate of a convolution or of a product of matrices (as fvcore counts
in its conv, addmm, bmm, matmul and einsum handles); everything else counts none. What has no
cost because no runtime does it is a ``view``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import prod
from typing import Any

GRAPH_INPUT = -1
"""Index by which a layer names an input of its graph."""

UNKNOWN = "unknown"
"""Operator of a layer whose cost nobody knows."""

TensorShape = tuple[int, ...]

_MOST_ELEMENTS = 2**48
"""Of one tensor: more than any machine holds."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of a graph, with shapes that include the batch.

    Attributes:
        name: of the node in the file that it was read from; unique in its graph.
        op: a key of :data:`OPERATORS`, or :data:`UNKNOWN`.
        operator: what its source calls it, such as ``Conv``, ``com.example::Conv`` or
            ``aten.convolution.default``.
        inputs: positions of the layers whose outputs it reads, in order;
            :data:`GRAPH_INPUT` for an input of the graph. Constants are not listed.
        in_shapes: shapes of those inputs, in the same order; None where nobody knows.
        out_shapes: shapes of its outputs; None where nobody knows.
        params: trainable numbers that it reads: weights, biases, scales and shifts.
        param_bytes: bytes of all constants that it reads.
        window: height and width of the window of a convolution or pool.
        stride: steps of the window; of a slice the largest one, as a width.
        dilation: of the window.
        groups: convolution groups, or heads of an attention.
        element_bytes: bytes of one element of its activations.
        sum_length: terms of each sum of a product (``linear``, ``matmul``); 0 where it is the
            last axis of its first input.
        order: axes of the input in the order in which a transpose writes them; empty where nobody
            knows.
    """

    name: str
    op: str
    operator: str
    inputs: tuple[int, ...]
    in_shapes: tuple[TensorShape | None, ...]
    out_shapes: tuple[TensorShape | None, ...]
    params: int = 0
    param_bytes: int = 0
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    element_bytes: int = 4
    sum_length: int = 0
    order: tuple[int, ...] = ()

    @property
    def is_costed(self) -> bool:
        """Whether its cost is known: the operator, and all shapes."""
        return self.op in OPERATORS and None not in (*self.in_shapes, *self.out_shapes)

    @property
    def kind(self) -> str:
        """Kind of its operator (see :data:`OPERATORS`), or :data:`UNKNOWN`."""
        return OPERATORS[self.op].kind if self.is_costed else UNKNOWN

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole batch (0 of what has no weights and no product).

        Raises:
            ValueError: the cost is not known.
        """
        if not self.is_costed:
            raise ValueError(f"layer {self.name!r}: the cost of {self.operator} is not known")
        return OPERATORS[self.op].macs(self)

    @property
    def read_bytes(self) -> int:
        """Bytes of its activations that are read; what is not known counts nothing."""
        return self.element_bytes * sum(prod(s) for s in self.in_shapes if s is not None)

    @property
    def write_bytes(self) -> int:
        """Bytes of its outputs; what is not known counts nothing."""
        return self.element_bytes * sum(prod(s) for s in self.out_shapes if s is not None)


@dataclass(frozen=True, slots=True)
class Operator:
    """What is known of an operator.

    Attributes:
        kind: what it costs like: ``conv``, ``depthwise_conv``, ``conv_transpose``, ``linear``
            (a product with constant weights), ``matmul`` (of two activations), ``attention``,
            ``norm``, ``softmax``, ``pool``, ``reduce``, ``activation`` (one input, one output of
            its shape), ``elementwise`` (of several inputs), ``copy`` (moves elements) or
            ``view`` (does nothing at run time).
        macs: of a layer, for the whole batch.
    """

    kind: str
    macs: Callable[[Layer], int]


def _none(_: Layer) -> int:
    return 0


def _known(shape: TensorShape | None) -> TensorShape:
    assert shape is not None  # costs are asked of layers with all shapes known
    return shape


def _conv(layer: Layer) -> int:
    """Output elements x weights of one of them; shapes are (batch, channels, sides …)."""
    channels = _known(layer.in_shapes[0])[1] // layer.groups
    return prod(_known(layer.out_shapes[0])) * channels * prod(layer.window)


def _conv_transpose(layer: Layer) -> int:
    channels = _known(layer.out_shapes[0])[1] // layer.groups
    return prod(_known(layer.in_shapes[0])) * channels * prod(layer.window)


def _product(layer: Layer) -> int:
    """Output elements x the length of the sums."""
    length = layer.sum_length or _known(layer.in_shapes[0])[-1]
    return prod(_known(layer.out_shapes[0])) * length


def _attention(layer: Layer) -> int:
    """Of (… tokens, features) queries with as many keys: scores and their mean of values."""
    *_, tokens, features = _known(layer.out_shapes[0])
    keys = _known(layer.in_shapes[min(1, len(layer.in_shapes) - 1)])[-2]
    batch = prod(_known(layer.out_shapes[0])) // (tokens * features)
    return 2 * batch * tokens * keys * features


def _of(kind: str, macs: Callable[[Layer], int] = _none) -> Operator:
    return Operator(kind, macs)


OPERATORS: dict[str, Operator] = {
    "conv": _of("conv", _conv),
    "depthwise_conv": _of("depthwise_conv", _conv),
    "conv_transpose": _of("conv_transpose", _conv_transpose),
    "linear": _of("linear", _product),
    "matmul": _of("matmul", _product),
    "attention": _of("attention", _attention),
    **dict.fromkeys(
        ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "lrn"), _of("norm")
    ),
    **dict.fromkeys(("softmax", "log_softmax"), _of("softmax")),
    **dict.fromkeys(("max_pool", "avg_pool", "adaptive_pool"), _of("pool")),
    **dict.fromkeys(("global_pool", "global_max_pool", "mean", "reduce", "arg_reduce"),
                    _of("reduce")),
    **dict.fromkeys(
        (
            "relu", "relu6", "clip", "leaky_relu", "prelu", "elu", "selu", "celu", "sigmoid",
            "tanh", "softplus", "softsign", "h_swish", "h_sigmoid", "silu", "gelu", "mish", "erf",
            "exp", "log", "sqrt", "reciprocal", "neg", "abs", "round", "trigonometric", "not",
            "cast", "quantize",
        ),
        _of("activation"),
    ),
    **dict.fromkeys(
        ("add", "sub", "mul", "div", "pow", "min", "max", "scale", "where", "compare", "mod"),
        _of("elementwise"),
    ),
    **dict.fromkeys(
        (
            "concat", "split", "slice", "pad", "transpose", "gather", "scatter", "expand", "tile",
            "resize", "channel_shuffle", "space_to_depth", "depth_to_space", "zero", "roll",
        ),
        _of("copy"),
    ),
    **dict.fromkeys(("reshape", "identity", "dropout", "constant"), _of("view")),
}  # fmt: skip
"""Operator -> what is known of it. ``scale`` multiplies a map by one factor a channel; ``reshape``
stands for flatten, squeeze and unsqueeze too; ``quantize`` for its inverse too; ``compare`` for
logic too."""

KINDS = tuple(dict.fromkeys(x.kind for x in OPERATORS.values()))
"""All kinds, in a fixed order."""


@dataclass(frozen=True)
class Graph:
    """Layers in an order in which they can run.

    Attributes:
        layers: every layer reads earlier ones only.
        name: of the network, for messages.
        outputs: positions of the layers that give the network's outputs.
    """

    layers: tuple[Layer, ...]
    name: str = "network"
    outputs: tuple[int, ...] = ()

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

    @property
    def batch(self) -> int | None:
        """Leading side of all inputs of the graph; None where they have none in common."""
        shapes = [
            shape
            for layer in self.layers
            for source, shape in zip(layer.inputs, layer.in_shapes, strict=True)
            if source == GRAPH_INPUT
        ]
        leading = {shape[0] if shape else None for shape in shapes}
        return leading.pop() if len(leading) == 1 else None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layers whose cost is known, for the whole batch."""
        return sum(x.macs for x in self.layers if x.is_costed)

    @property
    def params(self) -> int:
        """Trainable numbers."""
        return sum(x.params for x in self.layers)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """Of every layer the positions of the layers that read it."""
        readers: list[list[int]] = [[] for _ in self.layers]
        for n, layer in enumerate(self.layers):
            for source in dict.fromkeys(layer.inputs):
                if source != GRAPH_INPUT:
                    readers[source].append(n)
        return tuple(tuple(r) for r in readers)

    @property
    def uncosted(self) -> dict[str, int]:
        """Operators of the layers whose cost is not known, with how many there are of each."""
        return dict(Counter(x.operator for x in self.layers if not x.is_costed))

    def to_json(self) -> str:
        """Compact JSON, the inverse of :meth:`from_json`; defaults are left out."""
        layers = [
            {k: v for k, v in asdict(x).items() if k not in _DEFAULTS or v != _DEFAULTS[k]}
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
            record = json.loads(text)
            layers = tuple(_layer(x) for x in record["layers"])
            return cls(layers, str(record["name"]), tuple(int(n) for n in record["outputs"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"a graph must be JSON as latcast writes it; got {error}") from error


_DEFAULTS: dict[str, Any] = {
    f.name: f.default for f in fields(Layer) if isinstance(f.default, int | tuple)
}


def _layer(record: Mapping[str, Any]) -> Layer:
    known = {**_DEFAULTS, **record}
    for name in ("inputs", "window", "stride", "dilation", "order"):
        known[name] = tuple(known[name])
    for name in ("in_shapes", "out_shapes"):
        known[name] = tuple(None if s is None else tuple(s) for s in known[name])
    return Layer(**known)


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
    for shape in (*layer.in_shapes, *layer.out_shapes):
        if shape is not None and not _possible(shape):
            raise ValueError(
                f"layer {layer.name!r}: a shape must have positive integer sides and at most "
                f"{_MOST_ELEMENTS} elements; got {list(shape)}"
            )
    numbers = (*layer.window, *layer.stride, *layer.dilation, layer.groups, layer.element_bytes)
    if not all(isinstance(v, int) and v > 0 for v in numbers):
        raise ValueError(f"layer {layer.name!r}: window, stride, groups … must be positive")
    if not all(
        isinstance(v, int) and v >= 0 for v in (layer.params, layer.param_bytes, layer.sum_length)
    ):
        raise ValueError(f"layer {layer.name!r}: parameters and sums must be counted from 0")


def _possible(shape: Sequence[int]) -> bool:
    return all(isinstance(s, int) and s > 0 for s in shape) and prod(shape) <= _MOST_ELEMENTS
