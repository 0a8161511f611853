"""Random networks of random layers of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import TypeVar

import numpy as np

from latcast.graph import GraphBuilder, Tensor

from ._family import RESOLUTIONS, Family

# As large as the first map of a ResNet, 64 x 112 x 112.
_LARGEST_MAP = 800_000
# Attention grows with their square.
_MAX_TOKENS = 1024
# Some maps, such as those of one pixel, suit few parts: a convolution suits all.
_TRIES = 20


class Mixed(Family):
    """No architecture of anybody's: parts in an order drawn by ``seed``.

    It teaches a model of layers what sizes and neighbours no single family shows. Parts of maps
    come first, then maybe parts of tokens, then those of vectors.

    ``parts`` is how many there are, ``mega_macs`` about how many million multiply-accumulates
    they may have together.
    """

    name = "mixed"
    title = "Random layers"
    source = "latcast"
    parameters: Mapping[str, Sequence[int]] = {
        "seed": range(1_000_000),
        "parts": (3, 5, 8, 12, 16, 24, 32),
        "mega_macs": (5, 10, 20, 40, 80, 160, 320, 640, 1280),
        "resolution": (32, 48, 64, 80, *RESOLUTIONS),
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        p = parameters
        rng = np.random.default_rng(p["seed"])
        draws = Draws(builder, rng, 1.5e6 * p["mega_macs"] / p["parts"])
        tokens = int(rng.integers(p["parts"] // 2 + 1)) if draws.chance(0.4) else 0
        vectors = int(rng.integers(3))
        x = conv(draws, builder.input(3, p["resolution"], p["resolution"]))
        for _ in range(max(1, p["parts"] - tokens - vectors)):
            x = _map_part(draws, x)
        if tokens:
            x = _to_tokens(draws, x)
            for _ in range(tokens):
                x = draws.pick(TOKEN_PARTS)(draws, x)
        x = _to_vector(draws, x)
        for _ in range(vectors):
            x = draws.pick(VECTOR_PARTS)(draws, x)
        return builder.linear(x, draws.pick((10, 100, 365, 1000)))


def _map_part(d: Draws, x: Tensor) -> Tensor:
    """Any part that suits the map; one that is too large is made smaller first."""
    while prod(x.shape[1:]) > _LARGEST_MAP:
        x = d.b.max_pool(x, 2, stride=2)
    for _ in range(_TRIES):
        y = d.pick(MAP_PARTS)(d, x)
        if y is not None:
            return y
    return conv(d, x)


def _to_tokens(d: Draws, x: Tensor) -> Tensor:
    """Patches of a map as tokens."""
    side = min(x.shape[2:])
    patch = min(side, d.pick((1, 2, 4)))
    while (x.shape[2] // patch) * (x.shape[3] // patch) > _MAX_TOKENS:
        patch *= 2
    if patch > 1 or d.chance(0.5):
        positions = (x.shape[2] // patch) * (x.shape[3] // patch)
        width = d.features(positions, x.shape[1] * patch**2, of=8)
        x = d.b.conv(x, width, patch, stride=patch, padding=0)
    batch, channels, height, width = x.shape
    return d.b.transpose(d.b.reshape(x, batch, channels, height * width), 0, 2, 1)


def _to_vector(d: Draws, x: Tensor) -> Tensor:
    if len(x.shape) == 3:
        return d.b.mean(x, 1) if d.chance(0.5) else d.b.gather(x, 0, 1)
    if prod(x.shape[1:]) <= 4096 and d.chance(0.5):
        return d.b.flatten(x)
    return d.b.flatten(d.b.global_pool(x))


# --- parts, and the random choices that they are made of ------------------------------------------

T = TypeVar("T")

_KINDS = (
    *["relu", "relu6", "h_swish", "silu", "gelu"] * 2,
    "leaky_relu",
    "elu",
    "sigmoid",
    "h_sigmoid",
    "tanh",
    "mish",
    "softplus",
)
_GATES = ("sigmoid", "h_sigmoid", "tanh")
# The usual sizes are drawn more often; even ones and large ones occur, too.
_KERNELS = (1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 6, 7)
_DEPTHWISE_KERNELS = (3, 3, 3, 5, 5, 7, 7, 9, 11)
_MAX_PARAMS = 3_000_000
_MAX_ELEMENTS = 800_000
_MAX_CHANNELS = 2048


@dataclass(frozen=True, slots=True)
class Draws:
    """Random sizes within the limits of one part of a network.

    Attributes:
        b: what the network is written with.
        rng: is advanced.
        max_macs: multiply-accumulates of one operator for one sample.
    """

    b: GraphBuilder
    rng: np.random.Generator
    max_macs: float

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``."""
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        """True in this share of all cases."""
        return bool(self.rng.random() < share)

    def between(self, least: float, most: float) -> int:
        """An integer from ``least`` to ``most``, uniform in its logarithm."""
        low, high = np.log(least), np.log(max(least, most) + 0.999)
        return int(np.exp(self.rng.uniform(low, high)))

    def features(self, positions: int, fan_in: float, *, of: int = 1) -> int:
        """A number of channels or features whose computation stays within the limits.

        Args:
            positions: for which each of them is computed, without the batch.
            fan_in: multiply-accumulates of one of them at one position.
            of: number of which it is a multiple.
        """
        most = min(
            self.max_macs / (positions * fan_in),
            _MAX_PARAMS / fan_in,
            _MAX_ELEMENTS / positions,
            _MAX_CHANNELS,
        )
        # Half of them near the most: else narrow ones would be nearly all.
        n = self.between(max(4.0, most / 8) if self.chance(0.5) else 4, max(4.0, most))
        # Half of all networks have round widths, for which runtimes have other code.
        unit = np.lcm(of, self.pick((1, 8, 16))) if n > 16 else of
        return max(int(unit), n // int(unit) * int(unit))

    def groups(self, channels: int) -> int:
        """Groups of a convolution of ``channels``: mostly one."""
        return gcd(channels, self.pick((1, 1, 1, 1, 2, 3, 4, 8, 16)))

    def kernel_size(self, x: Tensor, *, depthwise: bool = False) -> int:
        """Side of a window that fits into a map."""
        wanted = self.pick(_DEPTHWISE_KERNELS if depthwise else _KERNELS)
        return min(wanted, *(s | 1 for s in x.shape[2:]))

    def stride(self, x: Tensor) -> int:
        """1 or 2; 2 more often where the map is large, as networks have few large maps."""
        side = min(x.shape[2:])
        if side < 4:
            return 1
        return 2 if self.chance(min(0.8, side / 80 + 0.1)) else 1

    def activate(self, x: Tensor, share: float = 0.8) -> Tensor:
        """Some activation, in this share of all cases."""
        if not self.chance(share):
            return x
        return self.b.activation(x, self.pick(_KINDS), native=self.chance(0.6))

    def gate(self, x: Tensor) -> Tensor:
        """An activation with small outputs only, by which others may be multiplied."""
        return self.b.activation(x, self.pick(_GATES), native=self.chance(0.6))


def _activation(d: Draws, x: Tensor) -> Tensor:
    return d.activate(x, 1.0)


# -- parts of tokens and vectors ----------------------------------------------------------------


def _linear(d: Draws, x: Tensor) -> Tensor:
    features = d.features(prod(x.shape[1:-1]), x.shape[-1])
    return d.activate(d.b.linear(x, features, bias=d.chance(0.9)))


def _token_norm(d: Draws, x: Tensor) -> Tensor:
    return d.activate(d.b.layer_norm(x, native=d.chance(0.6)), 0.3)


def _perceptron(d: Draws, x: Tensor) -> Tensor:
    y = d.b.layer_norm(x, native=d.chance(0.6)) if d.chance(0.7) else x
    hidden = d.b.linear(y, d.features(prod(x.shape[1:-1]), x.shape[-1]))
    return d.b.add(x, d.b.linear(d.activate(hidden, 1.0), x.shape[-1]))


def _token_gate(d: Draws, x: Tensor) -> Tensor:
    return d.b.mul(x, d.gate(d.b.linear(x, d.pick((1, x.shape[-1])))))


def _token_softmax(d: Draws, x: Tensor) -> Tensor:
    return d.b.add(x, d.b.softmax(x))


def _concat(d: Draws, x: Tensor) -> Tensor:
    y = d.b.linear(x, d.features(prod(x.shape[1:-1]), x.shape[-1]))
    return d.b.concat([x, d.activate(y)], axis=len(x.shape) - 1)


def attend(d: Draws, x: Tensor) -> Tensor:
    """Attention of tokens, mostly with a norm before and a sum after it."""
    if x.shape[1] * (x.shape[1] + 2 * x.shape[2]) * x.shape[2] > 2 * d.max_macs:
        return _token_norm(d, x)
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
    if 2 * x.shape[1] ** 2 * x.shape[2] > d.max_macs:
        return _token_norm(d, x)
    scores = d.b.matmul(x, d.b.transpose(x, 0, 2, 1))
    return d.b.matmul(d.b.softmax(d.b.mul(scores, 1 / x.shape[2])), x)


VECTOR_PARTS: tuple[Callable[[Draws, Tensor], Tensor], ...] = (
    *[_linear] * 4,
    _perceptron,
    _token_norm,
    _activation,
    _token_gate,
    _token_softmax,
    _concat,
)
# Parts to draw from; one that is listed n times is drawn n times as often.
TOKEN_PARTS: tuple[Callable[[Draws, Tensor], Tensor], ...] = (
    *VECTOR_PARTS,
    _perceptron,
    *[attend] * 4,
    _mix,
    _product,
)


# -- parts of maps ------------------------------------------------------------------------------

# Adds to a network; None where the map does not suit it.
Part = Callable[[Draws, Tensor], Tensor | None]


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


# Parts to draw from; one that is listed n times is drawn n times as often.
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
