"""Parts of mixed networks that read and give maps."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from latcast.graph import Tensor

from ._draws import Draws
from ._token_parts import attend

Part = Callable[[Draws, Tensor], Tensor | None]
"""Adds to a network; None where the map does not suit it."""


def conv(d: Draws, x: Tensor) -> Tensor:
    """A convolution of any window, stride, dilation and groups."""
    size, stride = d.kernel_size(x), d.stride(x)
    extent = min(x.shape[2:])
    dilation = d.pick((1, 1, 1, 1, 2, 3)) if size > 1 and extent > 3 * size else 1
    groups = d.groups(x.shape[1])
    positions = prod(x.shape[2:]) // stride**2
    fan_in = x.shape[1] // groups * size**2
    channels = d.features(positions, fan_in, of=groups)
    odd = size % 2 == 1 and size > 1
    window = d.pick(((1, size), (size, 1))) if odd and d.chance(0.1) else size
    y = d.b.conv(
        x,
        channels,
        window,
        stride=stride,
        groups=groups,
        dilation=dilation,
        bias=d.chance(0.9),
    )
    return d.activate(y)


def _depthwise(d: Draws, x: Tensor) -> Tensor:
    size = d.kernel_size(x, depthwise=True)
    dilation = d.pick((1, 1, 1, 2)) if min(x.shape[2:]) > 2 * size else 1
    y = d.b.conv(x, x.shape[1], size, stride=d.stride(x), groups=x.shape[1], dilation=dilation)
    return d.activate(y, 0.6)


def _pointwise(d: Draws, x: Tensor) -> Tensor:
    channels = d.features(prod(x.shape[2:]), x.shape[1])
    return d.activate(d.b.conv(x, channels))


def _residual(d: Draws, x: Tensor) -> Tensor:
    size = min(d.pick((1, 3, 3, 5)), *(s | 1 for s in x.shape[2:]))
    positions = prod(x.shape[2:])
    inner = d.features(positions, x.shape[1] * size**2)
    y = d.activate(d.b.conv(x, inner, size))
    y = d.b.conv(y, x.shape[1], d.pick((1, size)))
    return d.activate(d.b.add(y, x), 0.6)


def _inverted(d: Draws, x: Tensor) -> Tensor:
    positions, size, stride = prod(x.shape[2:]), d.kernel_size(x, depthwise=True), d.stride(x)
    y = d.activate(d.b.conv(x, d.features(positions, x.shape[1])))
    y = d.activate(d.b.depthwise(y, size, stride))
    if d.chance(0.5):
        y = _squeeze(d, y)
    channels = x.shape[1] if stride == 1 else d.features(prod(y.shape[2:]), y.shape[1])
    y = d.b.conv(y, channels)
    return d.b.add(x, y) if x.shape == y.shape else y


def _squeeze(d: Draws, x: Tensor) -> Tensor:
    hidden = d.b.conv(d.b.global_pool(x), max(1, x.shape[1] // d.pick((2, 4, 8, 16))))
    return d.b.mul(x, d.gate(d.b.conv(d.activate(hidden, 1.0), x.shape[1])))


def _gate(d: Draws, x: Tensor) -> Tensor:
    return d.b.mul(x, d.gate(d.b.conv(x, d.pick((1, x.shape[1])))))


def _norm(d: Draws, x: Tensor) -> Tensor:
    norm = d.pick((d.b.batch_norm, d.b.batch_norm, d.b.instance_norm))
    return d.activate(norm(x), 0.7)


def _channel_norm(d: Draws, x: Tensor) -> Tensor:
    y = d.b.layer_norm(d.b.transpose(x, 0, 2, 3, 1), native=d.chance(0.6))
    if d.chance(0.7):
        y = d.b.linear(y, d.features(prod(x.shape[2:]), x.shape[1]))
        y = d.b.linear(d.activate(y), x.shape[1])
    y = d.b.transpose(y, 0, 3, 1, 2)
    return d.b.add(x, y) if d.chance(0.7) else y


def _activation(d: Draws, x: Tensor) -> Tensor:
    return d.activate(x, 1.0)


def _pool(d: Draws, x: Tensor) -> Tensor | None:
    size = d.pick((2, 3, 3, 5))
    if size > min(x.shape[2:]):
        return None
    pool = d.pick((d.b.max_pool, d.b.avg_pool))
    padding = d.pick((0, (size - 1) // 2))
    return pool(x, size, stride=d.pick((1, 2, 2)), padding=padding)


def _branches(d: Draws, x: Tensor) -> Tensor:
    parts = [x] if d.chance(0.4) else []
    for _ in range(d.pick((2, 2, 3, 4))):
        size = min(d.pick((1, 1, 3, 5)), *(s | 1 for s in x.shape[2:]))
        channels = d.features(4 * prod(x.shape[2:]), x.shape[1] * size**2)
        parts.append(d.activate(d.b.conv(x, channels, size)))
    return d.b.concat(parts)


def _split(d: Draws, x: Tensor) -> Tensor | None:
    channels = x.shape[1]
    if channels < 4:
        return None
    left, right = d.b.split(x, [channels // 2, channels - channels // 2])
    y = d.activate(d.b.conv(right, right.shape[1], d.pick((1, 3)), groups=d.groups(right.shape[1])))
    return d.b.concat([left, y])


def _shuffle(d: Draws, x: Tensor) -> Tensor | None:
    groups = d.groups(x.shape[1])
    return d.b.channel_shuffle(x, groups) if groups > 1 else None


def _enlarge(d: Draws, x: Tensor) -> Tensor | None:
    if prod(x.shape[1:]) > 2e5 or max(x.shape[2:]) > 64:
        return None
    if d.chance(0.6):
        return d.b.resize(x, 2, linear=d.chance(0.5))
    return d.activate(d.b.conv_transpose(x, d.features(prod(x.shape[2:]), 4 * x.shape[1]), 2))


def _pad(d: Draws, x: Tensor) -> Tensor:
    around = d.pick((1, 2, 3))
    y, size = d.b.pad(x, around), 2 * around + 1
    groups = x.shape[1]
    return d.activate(d.b.conv(y, groups, size, groups=groups, padding=0))


def _profile(d: Draws, x: Tensor) -> Tensor:
    """A gate from the means along one side (arXiv:2103.02907)."""
    means = d.b.mean(x, d.pick((2, 3)), keep=True)
    return d.b.mul(x, d.gate(d.b.conv(means, x.shape[1])))


def _softmax(d: Draws, x: Tensor) -> Tensor:
    """Shares of positions, or of channels."""
    if d.chance(0.5):
        return d.b.mul(x, d.b.softmax(d.b.conv(x, d.pick((1, x.shape[1]))), axis=1))
    flat = d.b.reshape(x, *x.shape[:2], prod(x.shape[2:]))
    return d.b.add(x, d.b.reshape(d.b.softmax(flat), *x.shape))


def _arithmetic(d: Draws, x: Tensor) -> Tensor:
    match d.pick(("sub", "div", "max", "scale")):
        case "sub":
            return d.b.binary("Sub", x, d.b.global_pool(x))
        case "div":
            return d.b.binary("Div", x, d.b.add(d.b.unary("Abs", x), 1.0))
        case "max":
            return d.b.binary("Max", x, d.b.conv(x, x.shape[1], groups=x.shape[1]))
        case _:
            return d.b.mul(x, d.b.weight((x.shape[1], 1, 1), 0.5, center=1.0))


def _attention(d: Draws, x: Tensor) -> Tensor | None:
    batch, channels, height, width = x.shape
    if height * width > 1024 or channels < 8:
        return None
    tokens = d.b.transpose(d.b.reshape(x, batch, channels, height * width), 0, 2, 1)
    tokens = attend(d, tokens)
    return d.b.reshape(d.b.transpose(tokens, 0, 2, 1), *x.shape)


MAP_PARTS: tuple[Part, ...] = (
    *[conv] * 5,
    *[_pointwise, _depthwise] * 3,
    *[_residual, _inverted, _branches, _norm, _pool] * 2,
    _squeeze,
    _gate,
    _channel_norm,
    _activation,
    _split,
    _shuffle,
    _enlarge,
    _pad,
    _profile,
    _softmax,
    _arithmetic,
    _attention,
)
"""What is drawn from; a part that is listed n times is drawn n times as often."""
