"""Which layers become one kernel: rules that are data, and the conditions that they name.

:data:`RULES` are those of ONNX Runtime's optimizer for CPUs (all levels, ``ORT_ENABLE_ALL``),
whose names are given where a rule has one; ``benchmarks/fusion.py`` compares what comes of them. A
rule is a path of kernels; what it makes goes by a word that later rules can read on. Where a
convolution runs in blocks of channels is told by :mod:`.layouts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ._graph import Graph
from ._operators import GRAPH_INPUT, Layer
from .fusion import Kernel, Part, Parts, Rule, joined
from .layouts import BLOCK, CHANNELS_FIRST, CHANNELS_LAST, takes_blocks, transposes
from .quantization import FLOATS_OF_INTEGERS, QUANTIZED_RULES
from .shapes import TensorShape

_IMAGE_AXES = 4
_TOKEN_AXES = 3

_CONV = "conv|depthwise_conv"
_ABSORBED = "relu|relu6|clip|sigmoid|tanh|leaky_relu|h_sigmoid"
_BLOCKED = "relu|sigmoid|tanh|h_sigmoid"
# Operators that write the same if they read the same and have the same shapes.
_REPEATED = "relu|relu6|sigmoid|tanh|h_swish|h_sigmoid|gelu|max_pool|avg_pool|global_pool|add|mul"
_GEMM_ACTIVATIONS = "relu|sigmoid|tanh|leaky_relu|h_sigmoid|elu|selu|softplus|softsign"


def _keeps_all(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one writes the shape that it reads, and reads nothing else."""
    return _keeps_shape(parts.layer(path[-1].key))


def _alike(parts: Parts, path: Sequence[Part]) -> bool:
    """Both are one layer with the same facts; of constants they read one number at most."""
    first, second = (parts.layer(x.main) for x in path)
    return (
        len(path[1].layers) == 1
        and first.params == 0
        and _constants(first) <= 2
        and _unplaced(first) == _unplaced(second)
    )


def _unplaced(layer: Layer) -> Layer:
    """The layer without what depends on where in its graph it stands."""
    return layer._replace(name="", inputs=(), shared_bytes=0)


def _parts_of_all(parts: Parts, path: Sequence[Part]) -> bool:
    """The parts that are taken of a tensor make it up, without steps; others may read it too."""
    first = parts.layer(path[0].main)
    source = first.inputs[0]
    takers = [n for n in parts.graph.readers[source] if parts.layer(n).op == first.op]
    readers = [parts.layer(n) for n in takers]
    whole = prod(first.in_shapes[0] or ())
    return (
        all(x.is_supported and x.stride == (1, 1) for x in readers)
        and sum(prod(x.out_shapes[0] or ()) for x in readers) == whole
        and not (
            first.op == "slice"
            and _is_transpose(parts, source)
            and any(_is_turned(parts, n) for n in takers)
        )
    )


def _is_transpose(parts: Parts, position: int) -> bool:
    return position != GRAPH_INPUT and parts.layer(position).op == "transpose"


def _is_turned(parts: Parts, position: int) -> bool:
    """Whether a transpose follows, maybe after an activation.

    ONNX Runtime makes one transpose of two with a slice between them, before it looks for parts
    that make up a tensor: it finds those that are left alone.
    """
    readers = parts.graph.readers[position]
    while len(readers) == 1 and parts.layer(readers[0]).kind in ("activation", "view"):
        if parts.layer(readers[0]).op == "reshape":
            return False
        readers = parts.graph.readers[readers[0]]
    return len(readers) == 1 and _is_transpose(parts, readers[0])


def _one_constant_a_channel(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one reads a constant for every channel, or one for all in a product."""
    layer = parts.layer(path[-1].key)
    shape = layer.out_shapes[0]
    if not _has_plain_weights(parts, path) or shape is None or layer.in_shapes[0] != shape:
        return False
    # A sum with one number could be folded as well, but ONNX Runtime's optimizer leaves it alone.
    numbers = _constants(layer)
    return numbers == shape[1] or (numbers == 1 and layer.op != "add")


def _has_plain_weights(parts: Parts, path: Sequence[Part]) -> bool:
    """The weights of the first one are held as they are multiplied, so that factors fit in."""
    return not parts.layer(path[0].main).weight_bits


def _pads_with_zeros(parts: Parts, path: Sequence[Part]) -> bool:
    """Only height and width are padded."""
    before, after = parts.layer(path[0].key).in_shapes[0], _written(parts, path[0])
    return before is not None and len(before) == _IMAGE_AXES and before[:2] == after[:2]


def _adds_a_bias(parts: Parts, path: Sequence[Part]) -> bool:
    """A product that has no bias yet gets one."""
    product, layer = parts.layer(path[0].main), parts.layer(path[1].key)
    features = _written(parts, path[0])[-1]
    # Weights are a multiple of the features: what is left over is a bias.
    has_bias = product.params % features != 0 or _has_bias(product)
    return not has_bias and _constants(layer) == features and _keeps_shape(layer)


def _is_gemm(parts: Parts, path: Sequence[Part]) -> bool:
    """A product of matrices with a bias, or one that is written as ``Gemm``."""
    product = parts.layer(path[0].main)
    is_matrix = len(_written(parts, path[0])) == 2
    has_bias = len(path[0].layers) > 1 or _has_bias(product)
    return is_matrix and (has_bias or product.operator == "Gemm")


def _adds_a_vector(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one adds a constant for every feature."""
    layer = parts.layer(path[0].key)
    shape = layer.out_shapes[0]
    return shape is not None and len(layer.inputs) == 1 and _constants(layer) == shape[-1]


def _adds_tokens(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one is a sum of tokens, without stretching."""
    layer = parts.layer(path[0].key)
    shapes = set(layer.in_shapes)
    return (
        len(layer.inputs) == 2 and len(shapes) == 1 and len(_written(parts, path[0])) == _TOKEN_AXES
    )


def _adds_equals(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one is of two tensors of one shape, which it writes."""
    layer = parts.layer(path[-1].key)
    return len(layer.inputs) == len(path) and len({*layer.in_shapes, *layer.out_shapes}) == 1


def _scales(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one multiplies with one constant."""
    return _has_one_factor(parts.layer(path[0].key))


def _scales_matmul(parts: Parts, path: Sequence[Part]) -> bool:
    """A product of matrices, and a multiplication with one constant before or after it."""
    product = next(x for x in path if x.word == "matmul")
    factor = next(x for x in path if x.word != "matmul")
    # A sum in the notation of Einstein is no product that takes a factor.
    return (
        _has_one_factor(parts.layer(factor.key))
        and "einsum" not in parts.layer(product.main).operator.lower()
    )


def _has_one_factor(layer: Layer) -> bool:
    return len(layer.inputs) == 1 and _constants(layer) == 1


def _swaps_for_matmul(parts: Parts, path: Sequence[Part]) -> bool:
    """The transpose swaps the last two axes, or moves the first one to before the last.

    It does so alone: with another one that is before it, and that only parts are taken of, it
    becomes one of another order.
    """
    layer = parts.layer(path[0].key)
    if _follows_transpose(parts, layer):
        return False
    *batch, rows, columns = range(len(layer.in_shapes[0] or (1, 1)))
    orders = [(*batch, columns, rows), (*batch[1:], rows, *batch[:1], columns)]
    return any(transposes(layer, order) for order in orders)


def _follows_transpose(parts: Parts, layer: Layer) -> bool:
    source = layer.inputs[0]
    while source != GRAPH_INPUT and parts.layer(source).op in ("gather", "split", "slice"):
        source = parts.layer(source).inputs[0]
    return source not in (GRAPH_INPUT, layer.inputs[0]) and parts.layer(source).op == "transpose"


def _is_reshaped(parts: Parts, path: Sequence[Part]) -> bool:
    """Like :func:`_swaps_for_matmul`, with a reshape that adds or drops axes of one element."""
    shape = parts.layer(path[1].key)
    sides = [tuple(s for s in x if s > 1) for x in (shape.in_shapes[0], shape.out_shapes[0]) if x]
    return sides[0] == sides[1] and _swaps_for_matmul(parts, path)


def _cancels(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one is a transpose that never runs."""
    return path[-1].main in parts.cancelled


def _blocked(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one writes blocks of channels."""
    return path[0].key in parts.blocked


def _blocked_first(parts: Parts, path: Sequence[Part]) -> bool:
    """Both inputs of a sum are in blocks and alike, and the first one is the convolution's."""
    return _blocked_second(parts, path) and parts.sources(path[1])[0] == path[0].key


def _blocked_second(parts: Parts, path: Sequence[Part]) -> bool:
    """Both inputs of a sum are in blocks and alike."""
    layer = parts.layer(path[1].key)
    return len(set(layer.in_shapes)) == 1 and parts.blocked.issuperset(parts.sources(path[1]))


def _plain_last(parts: Parts, path: Sequence[Part]) -> bool:
    """A convolution that has no blocks, but a bias, is the last such one that a sum reads."""
    layer = parts.layer(path[1].key)
    others = [parts.get(k) for k in parts.sources(path[1]) if k > path[0].key]
    return (
        _is_plain(parts, path[0])
        and len(set(layer.in_shapes)) == 1
        and not any(
            x is not None and x.word == path[0].word and _is_plain(parts, x) for x in others
        )
    )


def _is_plain(parts: Parts, part: Part) -> bool:
    conv = parts.layer(part.main)
    return (
        conv.kind in ("conv", "depthwise_conv")
        and not takes_blocks(conv)
        and len(_written(parts, part)) == _IMAGE_AXES
        and (_has_bias(conv) or len(part.layers) > 1)
    )


def _blocked_to_channels_last(parts: Parts, path: Sequence[Part]) -> bool:
    """A transpose, the first or the last one, puts blocks of channels last."""
    layers = (parts.layer(x.main) for x in path)
    return any(
        transposes(x, CHANNELS_LAST) and parts.blocked.issuperset(parts.keys(x.inputs))
        for x in layers
    )


def _channels_last_to_blocked(parts: Parts, path: Sequence[Part]) -> bool:
    """A transpose makes what a convolution on blocks reads of channels that come last."""
    conv, layer = parts.layer(path[1].main), parts.layer(path[0].main)
    return (
        conv.kind in ("conv", "depthwise_conv")
        and takes_blocks(conv)
        and _written(parts, path[0])[1] >= BLOCK
        and transposes(layer, CHANNELS_FIRST)
    )


def _written(parts: Parts, part: Part) -> TensorShape:
    shape = parts.layer(part.key).out_shapes[0]
    assert shape is not None  # what is not known goes by a word that no rule has
    return shape


def _keeps_shape(layer: Layer) -> bool:
    return len(layer.inputs) == 1 and layer.in_shapes[0] == layer.out_shapes[0]


def _constants(layer: Layer) -> int:
    """Numbers that a layer of one input reads besides it."""
    return layer.param_bytes // layer.element_bytes if len(layer.inputs) == 1 else 0


def _has_bias(layer: Layer) -> bool:
    """Whether a convolution or product reads more numbers than its weights."""
    before, after = layer.in_shapes[0], layer.out_shapes[0]
    assert before is not None
    assert after is not None
    if layer.kind == "linear":
        weights = (layer.sum_length or before[-1]) * after[-1]
    else:
        weights = before[1] // layer.groups * after[1] * prod(layer.window)
    return layer.param_bytes > weights * layer.element_bytes


RULES: tuple[Rule, ...] = (
    Rule("EliminateIdentity", "* identity|dropout", idle=(1,)),
    Rule("EliminateExpand", "* expand", when=_keeps_all, idle=(1,)),
    Rule(
        "CommonSubexpressionElimination",
        f"{_REPEATED} ~{_REPEATED}",
        when=_alike,
        idle=(1,),
    ),
    # Level 1: operators of ONNX alone.
    Rule("ConvBNFusion", f"{_CONV} batch_norm", when=_has_plain_weights, idle=(1,)),
    Rule("ConvMulFusion", f"{_CONV} mul|scale", when=_one_constant_a_channel, idle=(1,)),
    Rule("ConvAddFusion", f"{_CONV} add", when=_one_constant_a_channel, idle=(1,)),
    Rule("PadFusion", f"pad {_CONV}|max_pool|avg_pool", when=_pads_with_zeros),
    Rule("FuseReluClip", "relu clip|relu6", "clip", idle=(0,)),
    Rule("MatMulAddFusion", "linear add", when=_adds_a_bias),
    Rule("GeluFusion", "div|mul erf add mul^ mul", "gelu"),
    Rule("GeluFusion", "div|mul erf add mul mul^", "gelu"),
    Rule("GeluFusion", "div|mul erf add ~mul mul@", "gelu"),
    Rule("LayerNormFusion", "mean sub^ pow|mul mean add sqrt div@ mul add", "layer_norm"),
    Rule("GatherSliceToSplitFusion", "gather ~gather", when=_parts_of_all),
    Rule("GatherSliceToSplitFusion", "slice ~slice", when=_parts_of_all),
    # Level 2: operators of ONNX Runtime's own.
    *QUANTIZED_RULES,
    Rule("FastGeluFusion", "pow mul add^ mul tanh add mul^ mul", "gelu"),
    Rule("FastGeluFusion", "pow mul add^ mul tanh add ~mul mul@", "gelu"),
    Rule("GemmActivationFusion", f"linear {_GEMM_ACTIVATIONS}", "done", when=_is_gemm),
    *FLOATS_OF_INTEGERS,
    Rule("ConvActivationFusion", f"{_CONV} {_ABSORBED}", "done"),
    Rule("BiasGeluFusion", "add gelu", "gelu", when=_adds_a_vector),
    Rule("SkipLayerNormFusion", "add+ layer_norm", "layer_norm", when=_adds_tokens),
    Rule("QuickGeluFusion", "mul sigmoid mul^", "silu", when=_scales),
    Rule("QuickGeluFusion", "sigmoid mul^", "silu"),
    Rule("MatMulScaleFusion", "mul|div matmul+", when=_scales_matmul),
    Rule("MatMulScaleFusion", "matmul mul|div", when=_scales_matmul),
    Rule("MatmulTransposeFusion", "transpose matmul+", when=_swaps_for_matmul),
    Rule("MatmulTransposeFusion", "transpose reshape matmul+", when=_is_reshaped),
    Rule("MatmulTransposeFusion", "transpose matmul+", when=_swaps_for_matmul),
    # A level is gone through until nothing changes: what was behind a transpose is now before it.
    Rule("MatMulScaleFusion", "mul|div matmul+", when=_scales_matmul),
    Rule("TransposeOptimizer", "* transpose", when=_cancels, idle=(1,)),
    # Level 3: layouts. A sum is added to what a convolution writes.
    Rule("NchwcTransformer", f"{_CONV}|batch_norm add+", "sum", when=_blocked_first),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm add+", "sum", when=_blocked_second),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm|sum {_BLOCKED}", "done", when=_blocked),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm|sum h_swish", "done", when=_blocked),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm|sum h_sigmoid mul@", "done", when=_blocked),
    Rule("ConvAddActivationFusion", f"{_CONV} add+", "plain_sum", when=_plain_last),
    Rule("ConvAddActivationFusion", f"plain_sum {_ABSORBED}", "done"),
    Rule("ReorderOutput", "* transpose", when=_blocked_to_channels_last, idle=(1,)),
    Rule("ReorderOutput", "transpose *", when=_blocked_to_channels_last, idle=(0,)),
    Rule(
        "ReorderInput",
        f"transpose {_CONV}|done|sum",
        when=_channels_last_to_blocked,
        idle=(0,),
    ),
)
"""The fusions of ONNX Runtime, in the order in which it does them."""

_ANY_ACTIVATION = (
    "relu|relu6|clip|leaky_relu|prelu|elu|selu|sigmoid|tanh|softplus|h_swish|h_sigmoid|silu|gelu|"
    "mish|exp|abs|sqrt|erf|softsign"
)
_HEAVY = "conv|depthwise_conv|conv_transpose|linear|matmul|batch_norm|sum|plain_sum|done|post"
_LIGHT = f"add|sub|mul|div|scale|max|min|pow|light|{_ANY_ACTIVATION}"

OPENVINO_RULES: tuple[Rule, ...] = (
    Rule("HSwishFusion", "add clip|relu6 mul^ div|mul", "h_swish"),
    Rule("HSwishFusion", "add clip|relu6 div|mul mul^", "h_swish"),
    Rule("HSwishFusion", "h_sigmoid mul^", "h_swish"),
    *RULES,
    Rule("oneDNN post-operation", f"{_HEAVY} {_ANY_ACTIVATION}", "post"),
    Rule("oneDNN post-operation", f"{_HEAVY} add|mul|sub|div|scale", "post"),
    Rule("oneDNN post-operation", f"{_HEAVY} add+", "post", when=_adds_equals),
    Rule("oneDNN post-operation", f"{_HEAVY} {_ANY_ACTIVATION}", "post"),
    Rule("Snippets", f"{_LIGHT} {_LIGHT}", "light"),
    Rule("Snippets", f"{_LIGHT} {_LIGHT}", "light"),
)
"""The fusions of OpenVINO's CPU plugin, which does more: element by element work becomes part of
the product before it, or one kernel of its own. Checked by the share of kernels that its profiler
times."""

_BY_RUNTIME = {"openvino": OPENVINO_RULES}


def rules_of(runtime: str) -> tuple[Rule, ...]:
    """Rules of a runtime; those of ONNX Runtime for all that have none of their own."""
    return _BY_RUNTIME.get(runtime, RULES)


def fuse(
    graph: Graph, rules: Sequence[Rule] = RULES, *, is_cut_out: bool = False
) -> tuple[Kernel, ...]:
    """A partition of all layers into kernels, as a runtime makes it.

    Kernels come in an order in which they can run. What is read from outside of a kernel, or is an
    output of the graph, is one of its layers, or several that read the same.

    Args:
        graph: any; a layer whose cost is not known stays alone.
        rules: are applied one after the other, each wherever it fits.
        is_cut_out: whether the graph is a block of a network, whose inputs others have written.
    """
    return joined(graph, rules, is_cut_out=is_cut_out)
