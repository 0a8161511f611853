"""Kernels of quantized networks: those on integers, and the conversions that stay around them.

A file has a pair of a quantization and its inverse around every operator. Where a runtime has a
kernel on integers, the inverses before an operator and the quantization behind it become part of
it, as ONNX Runtime's ``QDQSelectorActionTransformer`` does it; what remains of them runs. The rules
were read off the optimized models of a pattern each (ONNX Runtime 1.32).
"""

from __future__ import annotations

from collections.abc import Sequence

from ._graph import Graph
from ._operators import GRAPH_INPUT, Layer
from .fusion import MOVED, QUANTIZED, Part, Parts, Rule

_BITS = 8
# What moves elements gives those of a dequantization on as they are, and runs before it.
_PASSING = frozenset(("transpose", "reshape", "max_pool"))
# Of those after each other; to look through a longer chain for every layer of it is quadratic.
_MAX_PASSING = 16
_WEIGHTED = "conv|depthwise_conv|linear|matmul"
_COMPUTING = "add|mul|scale|avg_pool|global_pool|leaky_relu|sigmoid|softmax|concat|where"
_MOVING = (
    "max_pool|transpose|reshape|gather|slice|resize|expand|tile|depth_to_space|space_to_depth|"
    "identity"
)


def dequantized_bits(graph: Graph, n: int) -> int:
    """Bits of the integers that a layer's floats are dequantized from; 0 where they are not."""
    for _ in range(_MAX_PASSING):
        if n == GRAPH_INPUT:
            return 0
        layer = graph.layers[n]
        if layer.op == "dequantize":
            return layer.in_bits(0) if layer.inputs else 0
        if layer.op not in _PASSING or layer.operator == "Flatten" or len(layer.inputs) != 1:
            return 0
        n = layer.inputs[0]
    return 0


def dequantizes_weights(graph: Graph, layer: Layer) -> bool:
    """Whether floats are made of a layer's weights in every pass, where it reads floats.

    A product with quantized weights reads them as they are held (``MatMulNBits``), unless they are
    turned, or what it is multiplied by was quantized, too.
    """
    is_straight = layer.operator == "MatMul" or (layer.operator == "Gemm" and layer.order)
    reads_them = is_straight and dequantized_bits(graph, layer.inputs[0]) != _BITS
    return layer.weight_bits > 0 and not reads_them


def _reads_integers(parts: Parts, part: Part) -> bool:
    """All that a kernel reads is dequantized from 8 bits, its constants included."""
    layers = [parts.layer(n) for n in part.layers if n not in part.idle]
    # ONNX Runtime quantizes weights and biases of a product itself, but no other constants.
    has_product = any(x.kind in _PRODUCTS for x in layers)
    is_constant = all(
        x.weight_bits in (0, _BITS) if x.kind in _PRODUCTS or not x.params else
        x.weight_bits == (0 if has_product else _BITS)
        for x in layers
    )  # fmt: skip
    return is_constant and all(
        dequantized_bits(parts.graph, n) == _BITS or _is_condition(parts, n) for n in part.reads
    )


def _is_condition(parts: Parts, n: int) -> bool:
    return n != GRAPH_INPUT and parts.layer(n).op in ("compare", "not")


_PRODUCTS = ("conv", "depthwise_conv", "linear")


def _joins(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one reads integers and writes some of the same type."""
    written, graph = path[-1], parts.graph
    if parts.layer(written.key).out_bits(0) != _BITS or not _reads_integers(parts, path[0]):
        return False
    types = {_stays_signed(graph, n) for n in path[0].reads if not _is_condition(parts, n)}
    main = parts.layer(path[0].main)
    # Constants stay as they are; those of a product may be of another type.
    if main.weight_bits and main.kind not in _PRODUCTS:
        types.add(main.grid[-1] < 0)
    # Between two elements there is a value of its own: it is dequantized for that.
    is_mixed = main.op == "resize" and main.sum_length > 0
    return not is_mixed and types <= {_stays_signed(graph, written.key)}


def _stays_signed(graph: Graph, n: int) -> bool:
    """Whether signed integers stay so: those that several kernels read.

    On x86 ONNX Runtime makes all others unsigned (``QDQS8ToU8Transformer``), and joins nothing that
    reads integers of one type and writes another.
    """
    layer = graph.layers[n]
    if layer.op == "quantize":
        inverses = [r for r in graph.readers[n] if graph.layers[r].op == "dequantize"]
        read = sum(len(graph.readers[r]) for r in inverses)
    else:
        while layer.op != "dequantize":  # it is somewhere before: integers are read
            n = layer.inputs[0]
            layer = graph.layers[n]
        source = layer.inputs[0]
        same = (n,) if source == GRAPH_INPUT else graph.readers[source]
        read = sum(len(graph.readers[r]) for r in same)
    return read > 1 and layer.grid != () and layer.grid[2] < 0


def _moves(parts: Parts, path: Sequence[Part]) -> bool:
    """Integers are moved, and quantized as they were before."""
    return _joins(parts, path) and _keeps_grid(parts, path)


def _keeps_grid(parts: Parts, path: Sequence[Part]) -> bool:
    """The last one quantizes as what the first one reads was."""
    last, before = parts.layer(path[-1].key), _origin(parts, path[0])
    return last.grid != () and before is not None and before.grid == last.grid


def _follows_quantization(parts: Parts, path: Sequence[Part]) -> bool:
    """The first one is the inverse of a quantization, of which the last one is another."""
    before = _origin(parts, path[0])
    return before is not None and before.op == "quantize"


def _origin(parts: Parts, part: Part) -> Layer | None:
    """The layer that gives the first input of a kernel's main one."""
    source = next(iter(parts.layer(part.main).inputs), GRAPH_INPUT)
    return None if source == GRAPH_INPUT else parts.layer(source)


def _passes(parts: Parts, path: Sequence[Part]) -> bool:
    """Integers are moved, and dequantized behind that, unless they are quantized anew at once."""
    (part,) = path
    is_moved = len(part.layers) == 1 and dequantized_bits(parts.graph, part.main) == _BITS
    return is_moved and not _is_quantized_next(parts, part)


def _is_quantized_next(parts: Parts, part: Part) -> bool:
    return any(x is not None and x.word == "quantize" for x in map(parts.get, parts.readers(part)))


def _splits(parts: Parts, path: Sequence[Part]) -> bool:
    """Integers are split, and all that reads them quantizes them as they were."""
    (part,) = path
    readers = [parts.get(k) for k in parts.readers(part)]
    return _reads_integers(parts, part) and all(
        x is not None and x.word == "quantize" and _keeps_grid(parts, (part, x)) for x in readers
    )


def _is_rectified(parts: Parts, path: Sequence[Part]) -> bool:
    """The range of the quantization behind the layer cuts off as much as the layer does."""
    grid = parts.layer(path[1].main).grid
    if not grid or grid[1] > grid[2]:
        return False
    return path[0].word == "relu" or grid[0] * _LEVELS <= _SIX


_LEVELS = 2**_BITS - 1
# The bound of a ReLU6, and how far a scale is rounded.
_SIX = 6 * (1 + 1e-5)


def _gives_floats(parts: Parts, path: Sequence[Part]) -> bool:
    """A product of integers, with quantized weights or of two activations; a bias is one too."""
    (part,) = path
    layer = parts.layer(part.main)
    has_weights = layer.weight_bits == _BITS or len(layer.inputs) == 2
    is_alone = len(part.layers) == 1 and not _is_quantized_next(parts, part)
    return is_alone and has_weights and _reads_integers(parts, part)


def _scales_integers(parts: Parts, path: Sequence[Part]) -> bool:
    """A product of integers, which becomes floats again: times the scales of what it reads."""
    cast = parts.layer(path[2].main)
    return _is_of_integers(parts, path[1]) and cast.out_bits(0) > _BITS


def _is_of_integers(parts: Parts, part: Part) -> bool:
    return parts.layer(part.main).operator == "MatMulInteger"


def _adds_a_bias(parts: Parts, path: Sequence[Part]) -> bool:
    """A product that was scaled gets a constant for each feature."""
    layer = parts.layer(path[1].key)
    shape = layer.out_shapes[0] or (0,)
    return (
        _is_of_integers(parts, path[0])
        and len(path[0].layers) == _SCALED
        and layer.in_shapes == layer.out_shapes
        and layer.param_bytes == shape[-1] * layer.element_bytes
    )


# Layers of a product of integers that becomes floats: with the product of both scales, a cast, and
# the product with it.
_SCALED = 4


def _quantizes_first(parts: Parts, path: Sequence[Part]) -> bool:
    """The product's input is quantized by its own range, for this product alone."""
    product = parts.layer(path[1].main)
    return _is_of_integers(parts, path[1]) and product.inputs[0] == path[0].main


QUANTIZED_RULES: tuple[Rule, ...] = (
    Rule("ReluQuantFusion", "relu|relu6 quantize", "quantize", when=_is_rectified, idle=(0,)),
    Rule("DoubleQDQPairsRemover", "dequantize quantize", when=_follows_quantization, idle=(0, 1)),
    Rule("QDQSelectorActionTransformer", f"{_WEIGHTED}|{_COMPUTING} quantize", QUANTIZED,
         when=_joins, idle=(1,)),
    Rule("QDQSelectorActionTransformer", f"{_MOVING} quantize", QUANTIZED, when=_moves, idle=(1,)),
    Rule("QDQSelectorActionTransformer", "split|slice|gather", QUANTIZED, when=_splits),
)  # fmt: skip
"""The fusions of ONNX Runtime around quantized operators, before all others of its own."""

FLOATS_OF_INTEGERS: tuple[Rule, ...] = (
    Rule("MatMulIntegerToFloat", "linear|matmul", QUANTIZED, when=_gives_floats),
    Rule(
        "MatMulIntegerToFloatFusion",
        f"mul|scale ~{QUANTIZED} cast mul|scale@",
        QUANTIZED,
        when=_scales_integers,
        idle=(0, 2, 3),
    ),
    Rule("MatMulIntegerToFloatFusion", f"{QUANTIZED} add", QUANTIZED, when=_adds_a_bias),
    Rule("DynamicQuantizeMatMulFusion", f"quantize {QUANTIZED}", QUANTIZED, when=_quantizes_first),
    Rule("DynamicQuantizeMatMulFusion", f"quantize {QUANTIZED}+", QUANTIZED, when=_quantizes_first),
    Rule("QDQPropagation", "|".join(sorted(_PASSING)), MOVED, when=_passes),
)
"""Those after a product has taken its activation."""
