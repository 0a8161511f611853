"""Attention, as the layers that exporters make of it."""

from __future__ import annotations

from dataclasses import replace

from latcast.networks.graph._graph import TensorShape

from ._layers import GrowingLayers
from ._operation import Facts, Operand, Operation

ATTENTIONS = frozenset(
    ("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu",
     "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention")
)  # fmt: skip
"""Operators of queries, keys and values, each of (batch, heads, tokens, features)."""


def add_attention(growing: GrowingLayers, name: str, operator: str, o: Operation) -> int:
    """Scores of scaled queries and keys, softmax, and the values weighted; the last's position.

    Both factors are scaled by the root of the scale, as PyTorch's ONNX exporters write it for
    the sake of its range.
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
    source = steps.add("values", "matmul", out, found, value).source
    if source is None:
        raise ValueError("queries, keys or values must depend on the network's input")
    return source


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
        facts = Facts(op, sum_length=reads[0].shape[-1] if op == "matmul" else 0)
        name = f"{self._name}.{step}"
        source = self._growing.add(name, self._operator, facts, reads, (out,))
        return replace(out, source=source, origins=frozenset())
