"""ONNX operators that slide windows or multiply matrices: convolutions, pools, attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from latcast.graph._graph import UNKNOWN
from latcast.graph.shapes import TensorShape, Window, broadcast, plane, product

from ._node import Node, Reading, Rule, shape_rule


def _window(node: Node, kernel: Sequence[int]) -> Window:
    rank = len(kernel)
    ones = [1] * rank
    return Window(
        kernel,
        node.integers("strides", ones),
        node.integers("dilations", ones),
        node.integers("pads", [0] * 2 * rank),
        node.text("auto_pad", "NOTSET"),
        bool(node.integer("ceil_mode", 0)),
    )


def _windowed(
    window: Window,
    shapes: tuple[TensorShape | None, ...],
    op: str | None = None,
    groups: int = 1,
    weights: tuple[int, ...] = (),
) -> Reading:
    return Reading(
        shapes,
        weights=weights,
        op=op,
        window=plane(window.kernel),
        stride=_last_two(window.strides),
        dilation=_last_two(window.dilations),
        groups=groups,
    )


def _last_two(steps: Sequence[int]) -> tuple[int, int]:
    height, width = (1, 1, *steps)[-2:]
    return height, width


def _convolution(
    *, weights: int = 1, bias: int = 2, extra: int | None = None
) -> Callable[[Node], Reading]:
    """Reader of a convolution with its weights at input ``weights``.

    An input ``extra``, as fused convolutions have it, is added to the output.
    """

    def read(node: Node) -> Reading:
        shape, kernel = node.shape(0, min_axes=2), node.shape(weights, min_axes=2)
        groups = node.integer("group", 1)
        window = _window(node, node.integers("kernel_shape", kernel[2:]))
        if tuple(window.kernel) != kernel[2:]:
            raise ValueError(
                f"kernel_shape must be that of the weights {list(kernel)}; "
                f"got {list(window.kernel)}"
            )
        if groups < 1 or kernel[1] * groups != shape[1] or kernel[0] % groups:
            raise ValueError(
                f"weights {list(kernel)} in {groups} groups must fit the channels of {list(shape)}"
            )
        out = (shape[0], kernel[0], *window.sides(shape[2:]))
        if extra is not None and node.get(extra) is not None and node.shape(extra) != out:
            raise ValueError(f"what is added must have the shape of the output {list(out)}")
        op = "depthwise_conv" if groups == shape[1] > 1 else "conv"
        return _windowed(window, (out,), op, groups, (weights, bias))

    return read


def _conv_transpose(node: Node) -> Reading:
    shape, kernel = node.shape(0, min_axes=2), node.shape(1, min_axes=2)
    groups = node.integer("group", 1)
    window = _window(node, node.integers("kernel_shape", kernel[2:]))
    rank = len(window.kernel)
    if kernel[0] != shape[1] or groups < 1 or shape[1] % groups or len(shape) != rank + 2:
        raise ValueError(f"weights {list(kernel)} in {groups} groups must fit {list(shape)}")
    beyond = node.integers("output_padding", [0] * rank)
    asked = node.integers("output_shape", [])
    if len(beyond) != rank or len(asked) not in {0, rank, rank + 2}:
        raise ValueError(f"output_padding and output_shape must have {rank} numbers")
    sides = window.transposed_sides(shape[2:], beyond)
    out = (shape[0], kernel[1] * groups, *(asked[-rank:] or sides))
    return _windowed(window, (out,), None, groups, (1, 2))


def _pool(node: Node) -> Reading:
    shape = node.shape(0, min_axes=2)
    window = _window(node, node.integers("kernel_shape"))
    out = (*shape[:2], *window.sides(shape[2:]))
    return _windowed(window, (out,) * node.outputs)


def _global_pool(node: Node) -> TensorShape:
    shape = node.shape(0, min_axes=2)
    return (*shape[:2], *(1 for _ in shape[2:]))


def _product_op(node: Node, first: int = 0, second: int = 1) -> str:
    """A product with a constant is ``linear``."""
    constant = node.value(first).is_constant or node.value(second).is_constant
    return "linear" if constant else "matmul"


def _turned(shape: TensorShape, turned: int) -> TensorShape:
    return (*shape[:-2], shape[-1], shape[-2]) if turned else shape


def _gemm(node: Node) -> Reading:
    """Alpha A B + beta C, of matrices."""
    left, right = node.shape(0), node.shape(1)
    if len(left) != 2 or len(right) != 2:
        raise ValueError(f"both must be matrices; got {list(left)} and {list(right)}")
    rows, terms = _turned(left, node.integer("transA", 0))
    right_terms, columns = _turned(right, node.integer("transB", 0))
    if terms != right_terms:
        raise ValueError(f"matrices {list(left)} and {list(right)} must fit each other")
    out = (rows, columns)
    if node.get(2) is not None and broadcast(out, node.shape(2)) != out:
        raise ValueError(f"what is added must fit the shape {list(out)}; got {list(node.shape(2))}")
    return Reading((out,), op=_product_op(node), weights=(0, 1, 2), sum_length=terms)


def _matmul(first: int = 0, second: int = 1) -> Callable[[Node], Reading]:
    def read(node: Node) -> Reading:
        left, right = node.shape(first), node.shape(second)
        out, op = product(left, right), _product_op(node, first, second)
        return Reading((out,), op=op, weights=(first, second), sum_length=left[-1])

    return read


def _fused_matmul(node: Node) -> Reading:
    left = _turned(node.shape(0, min_axes=2), node.integer("transA", 0))
    right = _turned(node.shape(1, min_axes=2), node.integer("transB", 0))
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        return Reading((None,), op=UNKNOWN)
    out = product(left, right)
    return Reading((out,), op=_product_op(node), weights=(0, 1), sum_length=left[-1])


def _einsum(node: Node) -> Reading:
    """A sum of products by its equation: of two tensors a product of matrices, of one a sum."""
    shapes = [node.shape(n) for n in range(len(node.inputs))]
    terms, result = _equation(node.text("equation"), [len(s) for s in shapes])
    sides: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, side in zip(term, shape, strict=True):
            if sides.setdefault(letter, side) not in {side, 1} and side != 1:
                raise ValueError(f"sides of {letter!r} must be equal; got {sides[letter]}, {side}")
            sides[letter] = max(sides[letter], side)
    if not set(result) <= set(sides):
        raise ValueError("what the equation gives must be made of what it reads")
    out = tuple(sides[letter] for letter in result)
    if len(shapes) == 1:
        summed = len(result) < len(set(terms[0]))
        return Reading((out,), op="reduce" if summed else "transpose")
    if len(shapes) > 2:
        return Reading((out,), op=UNKNOWN)
    length = 1
    for letter in sides.keys() - set(result):
        length *= sides[letter]
    return Reading((out,), op=_product_op(node), weights=(0, 1), sum_length=length)


def _equation(text: str, ranks: list[int]) -> tuple[list[str], str]:
    """Letters of the axes of the inputs and of the output.

    An ellipsis becomes letters of Unicode's private use area, which no file's equation has, and
    which are counted from the last axis since ellipses are broadcast.
    """
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"equation {text[:80]!r} must have a term for each of {len(ranks)} inputs")
    most = 0
    for n, rank in enumerate(ranks):
        hidden = rank - len(terms[n].replace("...", ""))
        most = max(most, hidden)
        letters = "".join(chr(0xE000 + i) for i in range(hidden))[::-1]
        terms[n] = terms[n].replace("...", letters, 1)
        if len(terms[n]) != rank or hidden < 0:
            raise ValueError(f"equation {text[:80]!r} must name the {rank} axes of input {n}")
    if arrow:
        hidden_letters = "".join(chr(0xE000 + i) for i in range(most))[::-1]
        return terms, right.replace("...", hidden_letters, 1)
    every = "".join(terms)
    return terms, "".join(c for c in sorted(set(every)) if every.count(c) == 1)


def _attention(node: Node) -> Reading:
    """Attention of opset 23: (batch, tokens, features) or (batch, heads, tokens, features)."""
    query, key, value = (node.shape(n, min_axes=3) for n in range(3))
    if node.get(4) is not None or not len(query) == len(key) == len(value) <= 4:
        return Reading((None,) * node.outputs, op=UNKNOWN)
    heads = node.integer("q_num_heads", 1)
    key_heads = node.integer("kv_num_heads", heads)
    if len(query) == 4:
        heads = query[1]
        out: TensorShape = (*query[:3], value[3])
    elif heads < 1 or key_heads < 1 or value[2] % key_heads:
        raise ValueError(f"{heads} and {key_heads} heads must share {list(value)} evenly")
    else:
        out = (*query[:2], value[2] // key_heads * heads)
    return Reading((out, *(None,) * (node.outputs - 1)), groups=heads)


def _multi_head_attention(node: Node) -> Reading:
    """Attention as ONNX Runtime fuses it: all inputs of (batch, tokens, features)."""
    query = node.shape(0)
    packed = node.get(1) is None or node.get(2) is None
    if packed or len(query) != 3 or len(node.shape(1)) != 3 or node.get(6) is not None:
        return Reading((None,) * node.outputs, op=UNKNOWN)
    value = node.shape(2)
    if len(value) not in {3, 4}:
        raise ValueError(f"values must have 3 or 4 axes; got {list(value)}")
    features = value[2] if len(value) == 3 else value[1] * value[3]
    out = (*query[:2], features)
    heads = max(1, node.integer("num_heads"))
    return Reading((out, *(None,) * (node.outputs - 1)), weights=(3,), groups=heads)


PRODUCTS: dict[str, Rule] = {
    "Conv": Rule(_convolution()),
    "com.microsoft::FusedConv": Rule(_convolution(extra=3)),
    "ConvInteger": Rule(_convolution(bias=1)),
    "QLinearConv": Rule(_convolution(weights=3, bias=8)),
    "ConvTranspose": Rule(_conv_transpose),
    **dict.fromkeys(
        ("MaxPool", "AveragePool", "LpPool", "com.microsoft::QLinearAveragePool"), Rule(_pool)
    ),
    **dict.fromkeys(
        ("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool",
         "com.microsoft::QLinearGlobalAveragePool"),
        shape_rule(_global_pool),
    ),
    **dict.fromkeys(("Gemm", "com.microsoft::FusedGemm"), Rule(_gemm)),
    **dict.fromkeys(("MatMul", "MatMulInteger"), Rule(_matmul())),
    "QLinearMatMul": Rule(_matmul(0, 3)),
    **dict.fromkeys(
        ("com.microsoft::FusedMatMul", "com.microsoft::TransposeMatMul"), Rule(_fused_matmul)
    ),
    "Einsum": Rule(_einsum),
    "Attention": Rule(_attention),
    "com.microsoft::MultiHeadAttention": Rule(_multi_head_attention),
}  # fmt: skip
"""ONNX operator -> how it is read."""
