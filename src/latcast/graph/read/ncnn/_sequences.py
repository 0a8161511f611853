"""Layers that normalize, and those of sequences: attention and recurrence."""

from __future__ import annotations

from math import prod
from typing import Any

from ._blobs import Blobs, Rule, axis_in
from ._file import Layer


def _batch_norm(r: Blobs, x: Layer) -> None:
    slope, mean, variance, bias = (r.constant(x.integer(0)) for _ in range(4))
    parts = slope, bias, mean, variance
    r.node(x, "BatchNormalization", r.input(x), *parts, epsilon=x.number(1))


def _scale(r: Blobs, x: Layer) -> None:
    if x.integer(0) < 0:
        raise LookupError("its scales must be in the file")
    count, rank = x.integer(0), len(r.shape(x))
    scales = r.t.reshaped(r.constant(count), 1, count, *(1,) * (rank - 2))
    out = r.t.node("Mul", r.input(x), scales, name=x.name)
    if x.integer(1):
        bias = r.t.reshaped(r.constant(count), 1, count, *(1,) * (rank - 2))
        out = r.t.node("Add", out, bias, name=f"{x.name}/bias")
    r.same(x, out)


def _layer_norm(op: str) -> Rule:
    def translate(r: Blobs, x: Layer) -> None:
        size, shape = x.integer(0), r.shape(x)
        axes = [len(shape) - 1]
        while prod(shape[axes[0] :]) < size and axes[0] > 1:
            axes.insert(0, axes[0] - 1)
        sides = shape[axes[0] :]
        epsilon = x.number(1, 0.001)
        if x.integer(2, 1):
            parts = [r.constant(*sides) for _ in range(1 if op == "RMSNormalization" else 2)]
            r.node(x, op, r.input(x), *parts, axis=axes[0], epsilon=epsilon)
        elif op == "RMSNormalization":
            raise LookupError("it must have a scale")
        else:
            r.same(x, r.t.norm(r.input(x), shape, axes, epsilon, name=x.name))

    return translate


def _channel_norm(op: str, *, channels: int, affine: int) -> Rule:
    """A norm with a scale and a bias a channel."""

    def translate(r: Blobs, x: Layer) -> None:
        count = x.integer(channels) or r.shape(x)[1]
        more = {"num_groups": x.integer(0)} if op == "GroupNormalization" else {}
        if not x.integer(affine, 1):
            raise LookupError("it must have a scale")
        parts = r.constant(count), r.constant(count)
        epsilon = x.number(channels + 1, 0.001)
        r.node(x, op, r.input(x), *parts, epsilon=epsilon, **more)

    return translate


def _softmax(r: Blobs, x: Layer) -> None:
    r.node(x, "Softmax", r.input(x), axis=axis_in(r, x, x.integer(0)))


def _sdpa(r: Blobs, x: Layer) -> None:
    """Attention of (heads, tokens, features), with a mask."""
    if x.integer(7) or x.integer(18):
        raise LookupError("it must keep nothing, and be of real numbers")
    names = [r.input(x, n) for n in range(len(x.inputs))]
    query, key, value = (r.shape(x, n) for n in range(3))
    if key[1] != query[1]:
        raise LookupError("queries and keys must have as many heads")
    scale = x.number(6) or query[-1] ** -0.5
    out = r.t.attention(*names, scale=scale, rank=len(query), name=x.name)
    r.give(x.outputs[0], out, (*query[:-1], value[-1]))


def _multi_head(r: Blobs, x: Layer) -> None:
    """Attention with its four products; one of a single input is of itself."""
    width, heads = x.integer(0), x.integer(1, 1)
    own = x.integer(2) // max(width, 1)
    if x.integer(7) or x.integer(18) or x.integer(5) or len(x.inputs) > 3:
        raise LookupError("it must keep nothing, have no mask, and be of real numbers")
    sides = (own, x.integer(3, width), x.integer(4, width))
    parts = []
    count = len(x.inputs)
    for n, (word, terms) in enumerate(zip(("query", "key", "value"), sides, strict=True)):
        weights, bias = r.constant(width, terms, flagged=True), r.constant(width)
        source = r.input(x, min(n, count - 1))
        part = r.t.node("MatMul", source, r.t.transposed(weights, 1, 0), name=f"{x.name}/{word}")
        parts.append(r.t.node("Add", part, bias, name=f"{x.name}/{word}_bias"))
    weights, bias = r.constant(own, width, flagged=True), r.constant(own)
    scale: Any = {"scale": x.number(6)} if 6 in x.values else {}
    mixed = r.t.node(
        "Attention", *parts, name=x.name, q_num_heads=heads, kv_num_heads=heads, **scale
    )
    out = r.t.node("MatMul", mixed, r.t.transposed(weights, 1, 0), name=f"{x.name}/out")
    out = r.t.node("Add", out, bias, name=f"{x.name}/out_bias")
    r.give(x.outputs[0], out, (*r.shape(x)[:-1], own))


def _recurrent(op: str, gates: int, order: tuple[int, ...]) -> Rule:
    """An LSTM, GRU or RNN over (tokens, features); ``order`` puts its gates as ONNX has them."""

    def translate(r: Blobs, x: Layer) -> None:
        t, out, kind = r.t, x.integer(0), x.integer(2)
        hidden = x.integer(3, out) if op == "LSTM" else out
        count = 2 if kind == 2 else 1
        terms = x.integer(1) // max(count * gates * hidden, 1)
        held = r.constant(count, gates, hidden, terms, flagged=True)
        rows = {"LSTM": 4, "GRU": 4, "RNN": 1}[op]
        biases = r.constant(count, rows, hidden, flagged=True)
        states = r.constant(count, gates, hidden, hidden, flagged=True)
        if hidden != out or x.integer(8) or len(x.inputs) > 1 or len(x.outputs) > 1:
            raise LookupError("it must have no projection, no states, and real numbers")
        pick = t.integers(*order)
        flat = [
            t.reshaped(t.layout("Gather", w, pick, axis=1), count, gates * hidden, n)
            for w, n in ((held, terms), (states, hidden))
        ]
        if op == "GRU":  # of the reset and the update gate, and two of the new state
            first = t.layout("Gather", biases, t.integers(1, 0, 2), axis=1)
            last = t.layout("Gather", biases, t.integers(3), axis=1)
            last = t.layout("Pad", last, t.integers(0, 2, 0, 0, 0, 0))
            bias = t.layout("Concat", first, last, axis=1)
        else:
            ordered = t.layout("Gather", biases, pick, axis=1)
            bias = t.layout("Pad", ordered, t.integers(0, 0, 0, 0, gates, 0))
        bias = t.reshaped(bias, count, 2 * gates * hidden)
        name = t.node(
            op, t.transposed(r.input(x), 1, 0, 2), *flat, bias, name=x.name, hidden_size=hidden,
            direction=("forward", "reverse", "bidirectional")[kind],
            linear_before_reset=1 if op == "GRU" else None,
        )  # fmt: skip
        after = (1, r.shape(x)[1], count * hidden)
        r.give(x.outputs[0], t.layout("Reshape", t.transposed(name, 2, 0, 1, 3),
                                      t.integers(0, *after[1:])), after)  # fmt: skip

    return translate


def _normalize(r: Blobs, x: Layer) -> None:
    scales = x.integer(3)
    if scales and (x.integer(1) or x.integer(4)) != 0:
        r.constant(scales)
    r.node(x, "LpNormalization", r.input(x), axis=1, p=2)


# Type -> how its layers are translated; one whose parameters do not allow it is unknown.
SEQUENCES: dict[str, Rule] = {
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "LayerNorm": _layer_norm("LayerNormalization"),
    "RMSNorm": _layer_norm("RMSNormalization"),
    "InstanceNorm": _channel_norm("InstanceNormalization", channels=0, affine=2),
    "GroupNorm": _channel_norm("GroupNormalization", channels=1, affine=3),
    "Softmax": _softmax,
    "SDPA": _sdpa,
    "MultiHeadAttention": _multi_head,
    "LSTM": _recurrent("LSTM", 4, (0, 2, 1, 3)),
    "GRU": _recurrent("GRU", 3, (1, 0, 2)),
    "RNN": _recurrent("RNN", 1, (0,)),
    "Normalize": _normalize,
}  # fmt: skip
