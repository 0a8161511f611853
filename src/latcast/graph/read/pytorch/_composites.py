"""Operators that are several layers, as PyTorch's ONNX exporters write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from latcast.graph._graph import TensorShape

from ._layers import GrowingLayers
from ._operation import Facts, Operand, Operation


def _attention(growing: GrowingLayers, name: str, operator: str, o: Operation) -> int:
    """Scores of scaled queries and keys, softmax, and the values weighted; the last's position.

    Both factors are scaled by the root of the scale, for the sake of the scores' range.
    """
    steps = _Steps(growing, name, operator)
    query, key, value = (o.tensor(n) for n in ("query", "key", "value"))
    out = o.outputs[0].shape
    scores = (*out[:-1], key.shape[-2])
    turned = (*key.shape[:-2], key.shape[-1], key.shape[-2])
    keys = steps.add("keys", "transpose", turned, key)
    queries = steps.add("queries", "mul", query.shape, query, _scalar(query))
    keys = steps.add("scaled_keys", "mul", turned, keys, _scalar(key))
    found = steps.add("scores", "matmul", scores, queries, keys)
    for mask in _masks(o, scores):
        found = steps.add("masked", "add", scores, found, mask)
    found = steps.add("weights", "softmax", scores, found)
    return _source(steps.add("values", "matmul", out, found, value))


def _channel_shuffle(growing: GrowingLayers, name: str, operator: str, o: Operation) -> int:
    """Channels as a table, which is transposed."""
    steps = _Steps(growing, name, operator)
    x, rows = o.operands[0], o.number("groups")
    batch, channels, *sides = x.shape
    found = steps.add("grouped", "reshape", (batch, rows, channels // rows, *sides), x)
    found = steps.add("dealt", "transpose", (batch, channels // rows, rows, *sides), found)
    return _source(steps.add("shuffled", "reshape", x.shape, found))


def _biased_linear(growing: GrowingLayers, name: str, operator: str, o: Operation) -> int:
    """A product, to which the bias is added."""
    steps = _Steps(growing, name, operator)
    shape = o.outputs[0].shape
    product = steps.add("product", "linear", shape, o.tensor("input"), o.tensor("weight"))
    return _source(steps.add("bias", "add", shape, product, o.tensor("bias")))


def _silu(growing: GrowingLayers, name: str, operator: str, o: Operation) -> int:
    steps = _Steps(growing, name, operator)
    x = o.operands[0]
    gate = steps.add("gate", "sigmoid", x.shape, x)
    return _source(steps.add("product", "mul", x.shape, x, gate))


def _source(x: Operand) -> int:
    if x.source is None:
        raise ValueError("its tensors must depend on the network's input")
    return x.source


def _scalar(like: Operand) -> Operand:
    return Operand((), like.dtype, like.element_bytes)


def _masks(o: Operation, scores: TensorShape) -> tuple[Operand, ...]:
    mask = o.arguments.get("attn_mask", o.arguments.get("attn_bias"))
    if isinstance(mask, Operand):
        return (mask,)
    return (
        (replace(_scalar(o.outputs[0]), shape=scores[-2:]),) if o.arguments.get("is_causal") else ()
    )


class _Steps:
    """Adds one layer after the other; what is made of constants alone is none."""

    def __init__(self, growing: GrowingLayers, name: str, operator: str) -> None:
        self._growing = growing
        self._name = name
        self._operator = operator

    def add(self, step: str, op: str, shape: TensorShape, *reads: Operand) -> Operand:
        out = replace(reads[0], shape=shape, source=None)
        if all(x.is_constant for x in reads):
            return replace(out, origins=frozenset(o for x in reads for o in x.origins))
        is_product = op in ("linear", "matmul")
        facts = Facts(op, sum_length=reads[0].shape[-1] if is_product else 0)
        name = f"{self._name}.{step}"
        source = self._growing.add(name, self._operator, facts, reads, (out,))
        return replace(out, source=source, origins=frozenset())


Composite = Callable[[GrowingLayers, str, str, Operation], int]
"""Adds the layers of an operator under a name, and gives the last one's position."""

_COMPOSITES: dict[str, Composite] = {
    **dict.fromkeys(
        ("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu",
         "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention"),
        _attention,
    ),
    "channel_shuffle": _channel_shuffle,
    "native_channel_shuffle": _channel_shuffle,
    "silu": _silu,
    "linear": _biased_linear,
}  # fmt: skip


def composite(name: str, o: Operation) -> Composite | None:
    """What adds the layers of an aten operator, if it is several of them.

    A linear layer of a matrix is one, as it is a ``Gemm`` in ONNX.
    """
    is_matrix = len(o.outputs[0].shape) == 2
    if name == "linear" and (is_matrix or not isinstance(o.arguments.get("bias"), Operand)):
        return None
    return _COMPOSITES.get(name)
