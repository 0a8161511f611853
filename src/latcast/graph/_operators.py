"""The vocabulary of graphs: operator -> kind and multiply-accumulates.

A MAC is one multiply-accumulate of a convolution or of a product of matrices (as fvcore counts
in its conv, addmm, bmm, matmul and einsum handles); everything else counts none. What has no
cost because no runtime does it is a ``view``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._graph import GraphLayer, TensorShape


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
    macs: Callable[[GraphLayer], int]


def _none(_: GraphLayer) -> int:
    return 0


def _known(shape: TensorShape | None) -> TensorShape:
    assert shape is not None  # costs are asked of layers with all shapes known
    return shape


def _conv(layer: GraphLayer) -> int:
    """Output elements x weights of one of them; shapes are (batch, channels, sides …)."""
    channels = _known(layer.in_shapes[0])[1] // layer.groups
    return prod(_known(layer.out_shapes[0])) * channels * prod(layer.window)


def _conv_transpose(layer: GraphLayer) -> int:
    channels = _known(layer.out_shapes[0])[1] // layer.groups
    return prod(_known(layer.in_shapes[0])) * channels * prod(layer.window)


def _product(layer: GraphLayer) -> int:
    """Output elements x the length of the sums."""
    length = layer.sum_length or _known(layer.in_shapes[0])[-1]
    return prod(_known(layer.out_shapes[0])) * length


def _attention(layer: GraphLayer) -> int:
    """Of (… tokens, features) queries with as many keys: scores and their mean of values."""
    *_, tokens, features = _known(layer.out_shapes[0])
    keys = _known(layer.in_shapes[min(1, len(layer.in_shapes) - 1)])[-2]
    batch = prod(_known(layer.out_shapes[0])) // (tokens * features)
    return 2 * batch * tokens * keys * features


def _of(kind: str, macs: Callable[[GraphLayer], int] = _none) -> Operator:
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
"""Operator -> what is known of it. Names are those of :data:`latcast.graph._costs.OPERATORS` where
it has them. ``scale`` multiplies a map by one factor a channel; ``reshape`` stands for flatten,
squeeze and unsqueeze too; ``quantize`` for its inverse too; ``compare`` for logic too."""

KINDS = tuple(dict.fromkeys(x.kind for x in OPERATORS.values()))
"""All kinds, in a fixed order."""
