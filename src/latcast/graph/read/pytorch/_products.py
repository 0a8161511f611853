"""Rules of operators with weights or windows: convolutions, products, attention, pools."""

from __future__ import annotations

from functools import partial
from math import prod

from latcast.graph._graph import UNKNOWN, TensorShape

from ._operation import Facts, Operation, Rule


def _conv(o: Operation, *, transposed: bool = False) -> Facts:
    x, weight = o.tensor("input"), o.tensor("weight")
    out = o.outputs[0].shape
    transposed = transposed or o.arguments.get("transposed") is True
    groups = o.number("groups")
    # A single sample: convolutions of graphs have a batch.
    alone = (1,) * (len(weight.shape) - len(x.shape))
    others = tuple(t for t in o.operands if t is not x)
    shapes = ((*alone, *x.shape), *(t.shape for t in others if not t.is_constant))
    op = "depthwise_conv" if groups == shapes[0][1] > 1 else "conv"
    return Facts(
        "conv_transpose" if transposed else op,
        (x, *others),
        shapes,
        (*alone, *out),
        _plane(weight.shape[2:]),
        o.pair("stride"),
        o.pair("dilation"),
        groups,
    )


def _plane(sides: TensorShape) -> tuple[int, int]:
    """Height and width; a depth is folded into the height."""
    return prod(sides[:-1]), sides[-1]


def _linear(o: Operation) -> Facts:
    return _product(o, "input", "weight")


def _product(o: Operation, first: str = "self", second: str = "other") -> Facts:
    """A product of matrices; its sums run over the last axis of the first."""
    a, b = o.tensor(first), o.tensor(second)
    added = tuple(t for t in o.operands if t is not a and t is not b)
    op = "linear" if a.is_constant or b.is_constant else "matmul"
    return Facts(op, (a, b, *added), sum_length=a.shape[-1])


def _einsum(o: Operation) -> Facts:
    """Of two operands: a product of matrices, whose sums run over what is not in the output."""
    left, arrow, out = str(o.arguments.get("equation")).replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2 or not arrow or not _is_product(terms[0], terms[1], out):
        return Facts(UNKNOWN)
    sides = dict(zip(terms[0], o.operands[0].shape, strict=True))
    constant = any(x.is_constant for x in o.operands)
    length = prod(side for letter, side in sides.items() if letter not in out)
    return Facts("linear" if constant else "matmul", sum_length=length)


def _is_product(first: str, second: str, out: str) -> bool:
    """Whether every letter is once in a term, and in two of the three."""
    terms = (first, second, out)
    return all(t.isalpha() and len(set(t)) == len(t) for t in terms if t) and all(
        sum(c in t for t in terms) >= 2 for c in first + second + out
    )


def _pool(o: Operation, op: str) -> Facts:
    window = o.pair("kernel_size")
    return Facts(
        op,
        window=window,
        stride=o.pair("stride") if o.arguments.get("stride") else window,
        dilation=o.pair("dilation"),
    )


def _adaptive_pool(o: Operation, op: str, axes: int) -> Facts:
    """To one element a channel it is a pool of the whole map."""
    return Facts(op if set(o.outputs[0].shape[-axes:]) == {1} else "adaptive_pool")


PRODUCTS: dict[str, Rule] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution"), _conv),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        partial(_conv, transposed=True),
    ),
    "linear": _linear,
    "matmul": _product,
    "mv": partial(_product, second="vec"),
    "dot": partial(_product, second="tensor"),
    **dict.fromkeys(("mm", "bmm"), partial(_product, second="mat2")),
    "addmm": partial(_product, first="mat1", second="mat2"),
    "baddbmm": partial(_product, first="batch1", second="batch2"),
    "einsum": _einsum,
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices",
         "max_pool3d_with_indices", "max_pool1d_with_indices"),
        partial(_pool, op="max_pool"),
    ),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), partial(_pool, op="avg_pool")),
    **{
        f"{prefix}adaptive_{kind}_pool{axes}d": partial(_adaptive_pool, op=op, axes=axes)
        for kind, op in (("avg", "global_pool"), ("max", "global_max_pool"))
        for axes in (1, 2, 3)
        for prefix in ("", "_")
    },
}  # fmt: skip
"""Name of an aten operator -> its rule."""
