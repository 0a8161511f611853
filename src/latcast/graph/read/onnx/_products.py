"""Products of matrices, and attention, which is made of them."""

from __future__ import annotations

from latcast.graph._graph import UNKNOWN, TensorShape

from ._shapes import broadcast
from ._values import Entry, Node, Reading


def _kind(node: Node, first: int = 0, second: int = 1) -> str:
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
    return Reading((out,), _kind(node), weights=(0, 1, 2), sum_length=terms)


def _product(left: TensorShape, right: TensorShape) -> TensorShape:
    """Shape of numpy's matmul."""
    if not left or not right:
        raise ValueError("a product of matrices must be of tensors with at least one axis")
    whole_left = left if len(left) > 1 else (1, *left)
    whole_right = right if len(right) > 1 else (*right, 1)
    if whole_left[-1] != whole_right[-2]:
        raise ValueError(f"matrices {list(left)} and {list(right)} must fit each other")
    sides = (whole_left[-2],) * (len(left) > 1) + (whole_right[-1],) * (len(right) > 1)
    return (*broadcast(whole_left[:-2], whole_right[:-2]), *sides)


def _matmul(first: int = 0, second: int = 1) -> Entry:
    def read(node: Node) -> Reading:
        left, right = node.shape(first), node.shape(second)
        out = _product(left, right)
        op = _kind(node, first, second)
        return Reading((out,), op, weights=(first, second), sum_length=left[-1])

    return Entry("matmul", read)


def _fused_matmul(node: Node) -> Reading:
    left = _turned(node.shape(0, least=2), node.integer("transA", 0))
    right = _turned(node.shape(1, least=2), node.integer("transB", 0))
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        return Reading((None,), UNKNOWN)
    return Reading((_product(left, right),), _kind(node), weights=(0, 1), sum_length=left[-1])


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
        return Reading((out,), "reduce" if summed else "transpose")
    if len(shapes) > 2:
        return Reading((out,), UNKNOWN)
    length = 1
    for letter in sides.keys() - set(result):
        length *= sides[letter]
    return Reading((out,), _kind(node), weights=(0, 1), sum_length=length)


def _equation(text: str, ranks: list[int]) -> tuple[list[str], str]:
    """Letters of the inputs' axes and of the output's; an ellipsis is upper-case digits' place."""
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
    query, key, value = (node.shape(n, least=3) for n in range(3))
    if node.get(4) is not None or not len(query) == len(key) == len(value) <= 4:
        return Reading((None,) * node.outputs, UNKNOWN)
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
    """The same as onnxruntime fuses it: queries, keys and values of (batch, tokens, features)."""
    query = node.shape(0)
    packed = node.get(1) is None or node.get(2) is None
    if packed or len(query) != 3 or len(node.shape(1)) != 3 or node.get(6) is not None:
        return Reading((None,) * node.outputs, UNKNOWN)
    value = node.shape(2)
    if len(value) not in {3, 4}:
        raise ValueError(f"values must have 3 or 4 axes; got {list(value)}")
    features = value[2] if len(value) == 3 else value[1] * value[3]
    out = (*query[:2], features)
    heads = max(1, node.integer("num_heads"))
    return Reading((out, *(None,) * (node.outputs - 1)), weights=(3,), groups=heads)


PRODUCTS: dict[str, Entry] = {
    "Gemm": Entry("linear", _gemm),
    "com.microsoft::FusedGemm": Entry("linear", _gemm),
    "MatMul": _matmul(),
    "MatMulInteger": _matmul(),
    "QLinearMatMul": _matmul(0, 3),
    "com.microsoft::FusedMatMul": Entry("matmul", _fused_matmul),
    "com.microsoft::TransposeMatMul": Entry("matmul", _fused_matmul),
    "Einsum": Entry("matmul", _einsum),
    "Attention": Entry("attention", _attention),
    "com.microsoft::MultiHeadAttention": Entry("attention", _multi_head_attention),
}
"""ONNX operator -> how it is read."""
