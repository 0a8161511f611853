"""ONNX Runtime's own operators, which its optimizer and its quantizer write into files.

As its *ContribOperators* documents them, in the domain ``com.microsoft``. The inputs that are
trained are told by position; scales and zero points of quantized ones are not.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from latcast.graph.layouts import BLOCK
from latcast.graph.read._layers import ElementType
from latcast.graph.shapes import TensorShape, axis_of, broadcast, concatenated, product, reduced

from ._arithmetic import convolution, matmul, pool, typed
from ._moves import MOVES
from ._nodes import Node, Reading, Rule, shape_rule
from ._tensors import FLOAT, INT32

# -- attention ---------------------------------------------------------------------------------


def _projected_attention(
    past: int | None, kind: ElementType | None = None
) -> Callable[[Node], Reading]:
    """Reader of an attention with the products that give queries, keys and values.

    It reads (batch, tokens, features), or tokens without padding as (tokens, features), and its
    weights are (features, widths of queries, keys and values). Keys before these are an input
    ``past`` of (2, batch, heads, tokens, features of a head).
    """

    def read(node: Node) -> Reading:
        shape, weights = node.shape(0, min_axes=2), node.shape(1, min_axes=2)
        third = weights[1] // 3
        query, key, value = node.integers("qkv_hidden_sizes", []) or [third] * 3
        if shape[-1] != weights[0] or query + key + value != weights[1]:
            raise ValueError(f"weights {list(weights)} must fit {list(shape)}")
        heads = max(1, node.integer("num_heads"))
        before = node.shape(past)[-2] if past is not None and node.get(past) is not None else 0
        keys = before + shape[-2]
        held = (2, shape[0], heads, keys, value // heads)
        return Reading(
            ((*shape[:-1], value), held)[: node.outputs],
            type=kind,
            weights=(1, 2),
            groups=heads,
            sum_length=shape[-1] * sum((query, key, value)) + keys * (query + value),
        )

    return read


def _multi_head_attention(past: int | None, bias: int) -> Callable[[Node], Reading]:
    """Reader of an attention of (batch, tokens, features), which may be packed into one input.

    Packed queries, keys and values are (batch, tokens, heads, 3, features of a head), keys and
    values (…, 2, …); keys and values of a cross attention may be (batch, heads, tokens, features).
    """

    def read(node: Node) -> Reading:
        query = node.shape(0, min_axes=2)
        heads = max(1, node.integer("num_heads"))
        if query[-2:-1] == (3,) and len(query) > 3 and node.get(1) is None:
            tokens, width = query[-4], heads * query[-1]
            value, out = width, (*query[:-3], heads * query[-1])
        else:
            key = node.shape(1, min_axes=2)
            packed = len(key) == 5
            last = key if node.get(2) is None else node.shape(2)
            tokens, width = key[1] if packed else key[-2], query[-1]
            value = last[-1] if len(last) < 4 else heads * last[-1]
            out = (*query[:-1], value)
        tokens += node.shape(past)[-2] if past is not None and node.get(past) is not None else 0
        held = tuple((query[0], heads, tokens, w // heads) for w in (width, value))
        scores = (query[0], heads, out[-2], tokens)
        return Reading(
            (out, *held, scores)[: node.outputs],
            weights=(bias,),
            groups=heads,
            sum_length=tokens * (width + value),
        )

    return read


def _grouped_attention(node: Node) -> Reading:
    """Attention in which several heads of queries share one of keys and values."""
    query, heads = node.shape(0, min_axes=3), max(1, node.integer("num_heads"))
    shared = max(1, node.integer("kv_num_heads", heads))
    packed = node.get(1) is None
    side = query[-1] // (heads + 2 * shared) if packed else query[-1] // heads
    tokens = query[1] if packed else node.shape(1)[1]
    total = node.get(6)
    data = total.data() if total is not None and total.is_constant else None
    if data is not None and data.size == 1:
        tokens = int(data.reshape(-1)[0])
    elif node.get(3) is not None:
        tokens += node.shape(3)[-2]
    held = (query[0], shared, tokens, side)
    out = (*query[:-1], heads * side)
    scores = (query[0], heads, query[1], tokens)
    return Reading(
        (out, held, held, scores)[: node.outputs],
        groups=heads,
        sum_length=2 * tokens * heads * side,
    )


# -- products ----------------------------------------------------------------------------------


def _packed_matmul(bias: int | None) -> Rule:
    """A product with weights of K x N of some bits each, several in a byte."""

    def read(node: Node) -> Reading:
        shape, terms, columns = node.shape(0, min_axes=1), node.integer("K"), node.integer("N")
        if shape[-1] != terms or columns < 1:
            raise ValueError(f"K must be the last side of {list(shape)}; got {terms}")
        return Reading(
            ((*shape[:-1], columns),),
            op="linear",
            weights=(1,) if bias is None else (1, bias),
            trained=terms * columns,
            sum_length=terms,
        )

    return Rule(read)


def _quantized_gemm(node: Node) -> Reading:
    """Alpha A B + C, quantized: floats where no scale of the result is given."""
    left, right = node.shape(0, min_axes=2), node.shape(3, min_axes=2)
    left = left[::-1] if node.integer("transA", 0) else left
    right = right[::-1] if node.integer("transB", 0) else right
    return Reading(
        (product(left, right),),
        FLOAT if node.get(7) is None else None,
        op="linear" if node.value(3).is_constant else "matmul",
        weights=(3, 6),
        sum_length=left[-1],
    )


def _activated_product(node: Node) -> Reading:
    """A product with weights, its bias and a GELU."""
    out = product(node.shape(0), node.shape(1))
    return Reading((out,), op="linear", weights=(1, 2), sum_length=node.shape(0)[-1])


def _experts(node: Node) -> Reading:
    """A mixture of experts, ``k`` of which work on a token: the products of each.

    Weights are (experts, rows, columns); those of some bits have several in a byte.
    """
    shape = node.shape(0, min_axes=2)
    is_quantized = node.op_type == "QMoE"
    places = (2, 5, 8) if is_quantized else (2, 4, 6)
    weights = [n for n in places if node.get(n) is not None]
    bits = node.integer("expert_weight_bits", 4) if is_quantized else 8
    each = sum(prod(node.shape(n)[1:]) for n in weights) * 8 // max(1, min(bits, 8))
    terms = -(-node.integer("k", 1) * each // shape[-1])
    return Reading((shape,), op="linear", weights=tuple(weights), sum_length=terms)


# -- norms, activations, sums, moves -----------------------------------------------------------


def _embedded(node: Node) -> Reading:
    """Sums of embeddings and their layer norm, a mask's lengths, and the sums."""
    shape, table = node.shape(0, min_axes=2), node.shape(2, min_axes=2)
    out = (*shape, table[1])
    kind = FLOAT if node.op_type.startswith("Q") else node.value(2).type
    return Reading((out, shape[:1], out)[: node.outputs], kind, weights=(2, 3, 4, 5, 6))


def _skip_layer_norm(*weights: int) -> Rule:
    """A sum and its layer norm; the sum may be given as the fourth output."""

    def read(node: Node) -> Reading:
        shape = broadcast(node.shape(0), node.shape(1))
        return Reading((shape, None, None, shape)[: node.outputs], weights=weights)

    return Rule(read)


def _biased(node: Node) -> Reading:
    """An activation of a sum with a bias, or of what it reads alone."""
    return Reading((node.shape(0),), weights=(1,))


def _half(node: Node) -> TensorShape:
    shape = node.shape(0, min_axes=1)
    return (*shape[:-1], shape[-1] // 2)


def _of(first: int, second: int) -> Rule:
    """An operator of two tensors that are stretched to one shape."""
    return Rule(
        lambda n: Reading(
            (broadcast(n.shape(first), n.shape(second)),),
            n.value(first).type,
            weights=tuple(i for i in (first, second) if prod(n.shape(i)) > 1),
        )
    )


def _quantized_concat(node: Node) -> Reading:
    shapes = [node.shape(n) for n in range(2, len(node.inputs), 3)]
    out = concatenated(shapes, axis_of(node.integer("axis"), len(shapes[0])))
    return Reading((out,), node.value(2).type)


def _quantized_mean(node: Node) -> TensorShape:
    shape = node.shape(0)
    axes = node.integers("axes", range(len(shape)))
    return reduced(shape, axes, keep=bool(node.integer("keepdims", 1)))


def _quantized_embedding(node: Node) -> Reading:
    """Rows by index of a quantized table, of floats then."""
    table, indices = node.shape(0, min_axes=2), node.shape(1)
    axis = axis_of(node.integer("gather_axis", 0), len(table))
    packed = 8 // max(1, node.integer("bits", 4)) if node.value(0).type.bits == 8 else 1
    sides = (*table[:-1], table[-1] * packed)
    out = (*sides[:axis], *indices, *sides[axis + 1 :])
    return Reading((out,), node.value(2).type, weights=(0,), trained=prod(sides))


def _sampled(node: Node) -> Reading:
    """Maps read at the points of a grid (batch, sides …, coordinates)."""
    shape = (*node.shape(0, min_axes=2)[:2], *node.shape(1, min_axes=2)[1:-1])
    is_cubic = "cubic" in node.text("mode", "")
    return Reading((shape,), op="grid_sample_cubic" if is_cubic else None)


def _expanded_axis(node: Node) -> TensorShape:
    shape, axes = node.shape(0), node.whole_numbers(1)
    at = axis_of(axes[0] if axes else 0, len(shape) + 1)
    return (*shape[:at], 1, *shape[at:])


def _into_blocks(node: Node) -> TensorShape:
    """Maps with their channels in blocks of 16, the last of which may be filled up."""
    shape = node.shape(0, min_axes=3)
    if node.integer("channels_last", 0):
        shape = (shape[0], shape[-1], *shape[1:-1])
    return (shape[0], -(-shape[1] // BLOCK) * BLOCK, *shape[2:])


def _out_of_blocks(node: Node) -> TensorShape:
    shape, channels = node.shape(0, min_axes=3), node.integer("channels")
    last = node.integer("channels_last", 0)
    return (shape[0], *shape[2:], channels) if last else (shape[0], channels, *shape[2:])


def _stretched_blocks(node: Node) -> TensorShape:
    shape = node.shape(0)
    scales = node.integers("scales")
    if len(scales) != len(shape):
        raise ValueError(f"there must be {len(shape)} scales; got {scales[:20]}")
    return tuple(s * f for s, f in zip(shape, scales, strict=True))


_SAME = shape_rule(lambda n: n.shape(0))

_OWN: dict[str, Rule] = {
    "Attention": Rule(_projected_attention(4)),
    "DecoderMaskedSelfAttention": Rule(_projected_attention(4)),
    "QAttention": Rule(_projected_attention(8, FLOAT)),
    "PackedAttention": Rule(_projected_attention(None)),
    "MultiHeadAttention": Rule(_multi_head_attention(6, 3)),
    "DecoderMaskedMultiHeadAttention": Rule(_multi_head_attention(5, 10)),
    "PackedMultiHeadAttention": Rule(_multi_head_attention(None, 3)),
    "GroupQueryAttention": Rule(_grouped_attention),
    "SparseAttention": Rule(_grouped_attention),
    "DynamicQuantizeMatMul": Rule(typed(matmul(0, 1, (4,)), FLOAT)),
    "MatMulIntegerToFloat": Rule(typed(matmul(0, 1, (6,)), FLOAT)),
    "MatMulInteger16": Rule(typed(matmul(), INT32)),
    "MatMulNBits": _packed_matmul(5),
    "MatMulBnb4": _packed_matmul(None),
    "QGemm": Rule(_quantized_gemm),
    "GemmFastGelu": Rule(_activated_product),
    "MoE": Rule(_experts),
    "QMoE": Rule(_experts),
    "NhwcConv": Rule(convolution(is_last=True)),
    "NhwcFusedConv": Rule(convolution(extra=3, is_last=True)),
    "NhwcMaxPool": Rule(lambda n: pool(n, is_last=True)),
    "QLinearConv": Rule(convolution(weights=3, bias=8)),
    "EmbedLayerNormalization": Rule(_embedded),
    "QEmbedLayerNormalization": Rule(_embedded),
    "SkipLayerNormalization": _skip_layer_norm(2, 3, 4),
    "SkipSimplifiedLayerNormalization": _skip_layer_norm(2, 3),
    "GatedRMSNorm": Rule(_biased),
    "GroupNorm": Rule(lambda n: Reading((n.shape(0),), weights=(1, 2))),
    "SkipGroupNorm": Rule(
        lambda n: Reading((n.shape(0),) * n.outputs, weights=(1, 2, 4)),
    ),
    "FastGelu": Rule(_biased),
    "BiasGelu": Rule(_biased),
    "BiasSplitGelu": Rule(lambda n: Reading((_half(n),), weights=(1,))),
    "QuickGelu": _SAME,
    "ScaledSiLU": _SAME,
    "BiasAdd": Rule(lambda n: Reading((n.shape(0),), weights=(1,))),
    "BiasSoftmax": _SAME,
    "SwiGLU": _SAME,
    "QLinearSoftmax": _SAME,
    "QLinearSigmoid": _SAME,
    "QLinearLeakyRelu": _SAME,
    "QLinearAdd": _of(0, 3),
    "QLinearMul": _of(0, 3),
    "QLinearWhere": _of(1, 4),
    "ComplexMul": _of(0, 1),
    "QLinearConcat": Rule(_quantized_concat, (0, 1)),
    "QLinearReduceMean": shape_rule(_quantized_mean),
    "GatherBlockQuantized": Rule(_quantized_embedding),
    "GatherND": MOVES["GatherND"],
    "Range": MOVES["Range"],
    "Pad": MOVES["pad"],
    "Trilu": shape_rule(lambda n: n.shape(0), 1),
    "ExpandDims": shape_rule(_expanded_axis, 1),
    "RotaryEmbedding": _SAME,
    "GridSample": Rule(_sampled),
}

# Name, after the domain, -> how its nodes are read.
RUNTIME: dict[str, Rule] = {
    **{f"com.microsoft::{name}": rule for name, rule in _OWN.items()},
    "com.microsoft.nchwc::Conv": Rule(convolution(extra=3)),
    "com.microsoft.nchwc::ReorderInput": shape_rule(_into_blocks),
    "com.microsoft.nchwc::ReorderOutput": shape_rule(_out_of_blocks),
    "com.microsoft.nchwc::Upsample": shape_rule(_stretched_blocks),
    "RotaryEmbedding": _SAME,
    "GridSample": Rule(_sampled),
}
