"""Random networks of random layers of all kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from latcast.graph import GraphBuilder, Tensor

from ._family import RESOLUTIONS, Family
from ._parts import MAP_PARTS, TOKEN_PARTS, VECTOR_PARTS, Draws, conv

_LARGEST_MAP = 800_000
_MAX_TOKENS = 1024
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
