"""Parts of mixed networks that read and give tokens or vectors."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod

from latcast.graph import Tensor

from ._draws import Draws


def _linear(d: Draws, x: Tensor) -> Tensor:
    features = d.features(prod(x.shape[1:-1]), x.shape[-1])
    return d.activate(d.b.linear(x, features, bias=d.chance(0.9)))


def _norm(d: Draws, x: Tensor) -> Tensor:
    return d.activate(d.b.layer_norm(x, native=d.chance(0.6)), 0.3)


def _perceptron(d: Draws, x: Tensor) -> Tensor:
    y = d.b.layer_norm(x, native=d.chance(0.6)) if d.chance(0.7) else x
    hidden = d.b.linear(y, d.features(prod(x.shape[1:-1]), x.shape[-1]))
    return d.b.add(x, d.b.linear(d.activate(hidden, 1.0), x.shape[-1]))


def _activation(d: Draws, x: Tensor) -> Tensor:
    return d.activate(x, 1.0)


def _gate(d: Draws, x: Tensor) -> Tensor:
    return d.b.mul(x, d.gate(d.b.linear(x, d.pick((1, x.shape[-1])))))


def _softmax(d: Draws, x: Tensor) -> Tensor:
    return d.b.add(x, d.b.softmax(x))


def _concat(d: Draws, x: Tensor) -> Tensor:
    y = d.b.linear(x, d.features(prod(x.shape[1:-1]), x.shape[-1]))
    return d.b.concat([x, d.activate(y)], axis=len(x.shape) - 1)


def attend(d: Draws, x: Tensor) -> Tensor:
    """Attention of tokens, mostly with a norm before and a sum after it."""
    if x.shape[1] * (x.shape[1] + 2 * x.shape[2]) * x.shape[2] > 2 * d.most_macs:
        return _norm(d, x)
    heads = gcd(x.shape[-1], d.pick((1, 2, 3, 4, 6, 8)))
    y = d.b.layer_norm(x, native=d.chance(0.6)) if d.chance(0.7) else x
    y = d.b.attention(y, heads)
    return d.b.add(x, y) if d.chance(0.8) else y


def _mix(d: Draws, x: Tensor) -> Tensor:
    """Linear layers along the tokens (arXiv:2105.01601)."""
    y = d.b.transpose(x, 0, 2, 1)
    hidden = d.b.linear(y, d.features(y.shape[1], y.shape[2]))
    y = d.b.linear(d.activate(hidden, 1.0), x.shape[1])
    return d.b.add(x, d.b.transpose(y, 0, 2, 1))


def _product(d: Draws, x: Tensor) -> Tensor:
    """Tokens as weighed by their likeness, without weights of its own."""
    if 2 * x.shape[1] ** 2 * x.shape[2] > d.most_macs:
        return _norm(d, x)
    scores = d.b.matmul(x, d.b.transpose(x, 0, 2, 1))
    return d.b.matmul(d.b.softmax(d.b.mul(scores, 1 / x.shape[2])), x)


VECTOR_PARTS: tuple[Callable[[Draws, Tensor], Tensor], ...] = (
    *[_linear] * 4,
    _perceptron,
    _norm,
    _activation,
    _gate,
    _softmax,
    _concat,
)
TOKEN_PARTS: tuple[Callable[[Draws, Tensor], Tensor], ...] = (
    *VECTOR_PARTS,
    _perceptron,
    *[attend] * 4,
    _mix,
    _product,
)
"""What is drawn from; a part that is listed n times is drawn n times as often."""
