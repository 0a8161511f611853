"""Conditions that fusion rules name: what must hold of kernels beside the words of a rule."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ._operators import GRAPH_INPUT, Layer
from .fusion import Part, Parts, is_parting
from .layouts import BLOCK, CHANNELS_FIRST, CHANNELS_LAST, takes_blocks, transposes
from .quantization import dequantizes_weights
from .shapes import TensorShape

# Rules tell maps, tokens and heads of attention apart by their numbers of axes.
_IMAGE_AXES = 4
_TOKEN_AXES = 3
_HEAD_AXES = 4


def keeps_all(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one writes the shape that it reads, and reads nothing else."""
    return _keeps_shape(parts.layer(path[-1].main))


def is_one_call(parts: Parts, path: Sequence[Part]) -> bool:
    """All layers stand for one call of PyTorch's, which the reader wrote as several."""
    calls = {
        (layer.operator, layer.name.rpartition(".")[0])
        for part in path
        for layer in map(parts.layer, part.layers)
    }
    return len(calls) == 1 and all(name for _, name in calls)


def is_strided(parts: Parts, path: Sequence[Part]) -> bool:
    """The reader of the transpose takes elements in any order: no reshape or norm copies them."""
    readers = [parts.layer(n) for n in parts.graph.readers[path[-1].key]]
    return not any(x.op in ("reshape", "layer_norm", "rms_norm") for x in readers)


def alike(parts: Parts, path: Sequence[Part]) -> bool:
    """Both are one layer with the same facts; of constants they read one number at most.

    Factors of one number, such as the scales of weights, are not taken for equal ones.
    """
    first, second = (parts.layer(x.main) for x in path)
    return (
        len(path[1].layers) == 1
        and prod(first.out_shapes[0] or ()) > 1
        and first.params == 0
        and _constants(first) <= 2
        and _unplaced(first) == _unplaced(second)
    )


def is_single(parts: Parts, path: Sequence[Part]) -> bool:
    """It computes on more than half precision, which ONNX Runtime's CPU kernels have.

    It writes functions of half precision out before it would fuse them.
    """
    return all(parts.layer(x.main).element_bytes != _HALF for x in path)


def widened_at_once(parts: Parts, path: Sequence[Part]) -> bool:
    """A cast to half precision for a kernel that ONNX Runtime runs in single precision instead."""
    cast, reader = (parts.layer(x.main) for x in path)
    narrows = cast.in_bits(0) == 8 * _SINGLE and cast.out_bits(0) == 8 * _HALF
    return narrows and reader.kind not in ("view", "copy") and reader.op not in _OF_HALVES


# Bytes of a number of half and of single precision.
_HALF, _SINGLE = 2, 4
# Have kernels of half precision on CPUs, beside what only moves.
_OF_HALVES = frozenset(("cast", "layer_norm", "rms_norm"))


def _unplaced(layer: Layer) -> Layer:
    """The layer without what depends on where in its graph it stands."""
    return layer._replace(name="", inputs=(), shared_bytes=0)


def parts_of_all(parts: Parts, path: Sequence[Part]) -> bool:
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


def quantized_parts(parts: Parts, path: Sequence[Part]) -> bool:
    """Parts of integers that make up a tensor: all of them are taken of the integers."""
    first = parts.layer(path[0].main)
    if not is_parting(first) or parts.layer(path[1].main).op != first.op:
        return False
    takers = [n for n in parts.graph.readers[first.inputs[0]] if parts.layer(n).op == first.op]
    owners = map(parts.get, parts.keys(takers))
    return parts_of_all(parts, path) and all(x is not None and x.quantized for x in owners)


def slices_of_all(parts: Parts, path: Sequence[Part]) -> bool:
    """The slices of a tensor make it up, without steps."""
    first = parts.layer(path[0].main)
    takers = [parts.layer(n) for n in parts.graph.readers[first.inputs[0]]]
    takers = [x for x in takers if x.op == "slice"]
    return all(x.is_supported and x.stride == (1, 1) for x in takers) and (
        sum(prod(x.out_shapes[0] or ()) for x in takers) == prod(first.in_shapes[0] or ())
    )


def swaps_last(parts: Parts, path: Sequence[Part]) -> bool:
    """The transpose swaps the last two axes."""
    layer = parts.layer(path[0].key)
    *batch, rows, columns = range(len(layer.in_shapes[0] or (1, 1)))
    return transposes(layer, (*batch, columns, rows))


def has_heads(parts: Parts, path: Sequence[Part]) -> bool:
    """Products of heads of tokens: the weights, its first input, are multiplied with values."""
    first, last = parts.layer(path[0].main), parts.layer(path[-1].main)
    return (
        len(_written(parts, path[-1])) == _HEAD_AXES
        and last.inputs[0] in path[-2].layers
        and not (_is_transpose(parts, first.inputs[0]) and first.inputs[0] in path[0].layers)
    )


def are_groups(parts: Parts, path: Sequence[Part]) -> bool:
    """Equal convolutions of all parts of a split, which become one tensor again."""
    first = parts.layer(path[1].main)
    source = first.inputs[0]
    if source == GRAPH_INPUT or parts.layer(source).op != "split":
        return False
    readers = parts.graph.readers[source]
    facts = {parts.layer(n)._replace(name="", params=0, ports=(), shared_bytes=0) for n in readers}
    ends = {parts.graph.readers[n] for n in readers}
    return (
        len(facts) == 1
        and len(ends) == 1
        and len(end := ends.pop()) == 1
        and parts.layer(end[0]).op == "concat"
        and parts.layer(end[0]).inputs == readers
        and len(readers) == len(parts.layer(source).out_shapes)
    )


def constants_of_channels(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one keeps the shape, and reads a constant for every channel or one for all."""
    return _reads_constants(parts, path, 1)


def constants_of_features(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one keeps the shape, and reads a constant for every feature or one for all."""
    return _reads_constants(parts, path, -1)


def adds_in_place(parts: Parts, path: Sequence[Part]) -> bool:
    """The sum with another tensor of the shape can overwrite that one: nothing reads it later."""
    product, layer = path[0], parts.layer(path[1].key)
    if len(layer.inputs) != 2 or len({*layer.in_shapes, *layer.out_shapes}) > 1:
        return False
    other = next((n for n in layer.inputs if n not in product.layers), GRAPH_INPUT)
    if other == GRAPH_INPUT or other in parts.graph.outputs:
        return False
    return all(r < product.layers[0] or r == path[1].key for r in parts.graph.readers[other])


def scales_view(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one scales what a product gives, in another shape, by one number."""
    return _has_one_factor(parts.layer(path[-1].key))


def widens_one(parts: Parts, path: Sequence[Part]) -> bool:
    """The widened tensor meets a tensor that has its shape already."""
    layer = parts.layer(path[-1].key)
    others = [
        shape
        for n, shape in zip(layer.inputs, layer.in_shapes, strict=True)
        if n not in path[0].layers
    ]
    return others == [layer.out_shapes[0]]


def _reads_constants(parts: Parts, path: Sequence[Part], axis: int) -> bool:
    layer = parts.layer(path[-1].key)
    if len(path[-1].layers) > 1 or not _keeps_shape(layer):
        return False
    shape = layer.out_shapes[0] or ()
    return layer.op == "batch_norm" or _constants(layer) in (1, *shape[axis:][:1])


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


def one_constant_a_channel(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one reads a constant for every channel, or one for all in a product."""
    layer = parts.layer(path[-1].key)
    shape = layer.out_shapes[0]
    if not has_plain_weights(parts, path) or shape is None or layer.in_shapes[0] != shape:
        return False
    # A sum with one number could be folded as well, but ONNX Runtime's optimizer leaves it alone.
    numbers = _constants(layer)
    return shape[1:2] == (numbers,) or (numbers == 1 and layer.op != "add")


def has_plain_weights(parts: Parts, path: Sequence[Part]) -> bool:
    """The weights of the first one are held as they are multiplied, so that factors fit in."""
    return not parts.layer(path[0].main).weight_bits


def pads_with_zeros(parts: Parts, path: Sequence[Part]) -> bool:
    """Only height and width are padded."""
    before, after = parts.layer(path[0].key).in_shapes[0], _written(parts, path[0])
    return before is not None and len(before) == _IMAGE_AXES and before[:2] == after[:2]


def adds_a_bias(parts: Parts, path: Sequence[Part]) -> bool:
    """A product that has no bias yet gets one."""
    product, layer = parts.layer(path[0].main), parts.layer(path[1].key)
    *_, features = (1, *_written(parts, path[0]))
    # Weights are a multiple of the features: what is left over is a bias.
    has_bias = product.params % features != 0 or _has_bias(product)
    numbers = layer.params if layer.weight_bits else _constants(layer)
    return not has_bias and numbers == features and _keeps_shape(layer)


def is_gemm(parts: Parts, path: Sequence[Part]) -> bool:
    """A product of matrices with a bias, or one that is written as ``Gemm``."""
    product = parts.layer(path[0].main)
    is_matrix = len(_written(parts, path[0])) == 2
    has_bias = len(path[0].layers) > 1 or _has_bias(product)
    # One that reads quantized weights as they are held (``MatMulNBits``) activates nothing.
    is_float = not product.weight_bits or dequantizes_weights(parts.graph, product)
    return is_matrix and is_float and (has_bias or product.operator == "Gemm")


def adds_a_vector(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one adds a constant for every feature."""
    layer = parts.layer(path[0].key)
    shape = layer.out_shapes[0]
    return shape is not None and len(layer.inputs) == 1 and shape[-1:] == (_constants(layer),)


def adds_tokens(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one is a sum of tokens, without stretching."""
    layer = parts.layer(path[0].key)
    shapes = set(layer.in_shapes)
    is_alike = len(layer.inputs) == 2 and len(shapes) == 1
    return is_alike and len(_written(parts, path[0])) == _TOKEN_AXES and is_single(parts, path)


def scales(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one multiplies with one constant."""
    return _has_one_factor(parts.layer(path[0].key))


def scales_matmul(parts: Parts, path: Sequence[Part]) -> bool:
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


def swaps_for_matmul(parts: Parts, path: Sequence[Part]) -> bool:
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


def is_reshaped(parts: Parts, path: Sequence[Part]) -> bool:
    """Like :func:`swaps_for_matmul`, with a reshape that adds or drops axes of one element."""
    shape = parts.layer(path[1].key)
    sides = [tuple(s for s in x if s > 1) for x in (shape.in_shapes[0], shape.out_shapes[0]) if x]
    return sides[0] == sides[1] and swaps_for_matmul(parts, path)


def cancels(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one is a transpose that never runs."""
    return path[-1].main in parts.cancelled


def blocked(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one writes blocks of channels."""
    return path[0].key in parts.blocked


def blocked_first(parts: Parts, path: Sequence[Part]) -> bool:
    """Both inputs of a sum are in blocks and alike, and the first one is the convolution's."""
    return blocked_second(parts, path) and parts.sources(path[1])[0] == path[0].key


def blocked_second(parts: Parts, path: Sequence[Part]) -> bool:
    """Both inputs of a sum are in blocks and alike."""
    layer = parts.layer(path[1].key)
    return len(set(layer.in_shapes)) == 1 and parts.blocked.issuperset(parts.sources(path[1]))


def plain_last(parts: Parts, path: Sequence[Part]) -> bool:
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


def blocked_to_channels_last(parts: Parts, path: Sequence[Part]) -> bool:
    """A transpose, the first or the last one, puts blocks of channels last."""
    layers = (parts.layer(x.main) for x in path)
    return any(
        transposes(x, CHANNELS_LAST) and parts.blocked.issuperset(parts.keys(x.inputs))
        for x in layers
    )


def channels_last_to_blocked(parts: Parts, path: Sequence[Part]) -> bool:
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
    if layer.weight_bits:
        return layer.params > weights
    return layer.param_bytes > weights * layer.element_bytes
