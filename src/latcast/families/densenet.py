"""DenseNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.graph import GraphBuilder, Tensor

from ._family import RESOLUTIONS, Family


def _published(depths: str, growth: int = 32) -> dict[str, int]:
    return {
        "growth": growth,
        **{f"depth{i}": int(d) for i, d in enumerate(depths.split(), 1)},
        "bottleneck": 4,
        "resolution": 224,
        "classes": 1000,
    }


class DenseNet(Family):
    """Every layer of a stage reads all before it, side by side.

    ``growth`` is the number of channels that a layer adds, ``bottleneck`` the width inside a
    layer in multiples of it (0: none). Batch norms come before convolutions: those after a
    concatenation stay operators of their own.
    """

    name = "densenet"
    title = "DenseNet"
    source = "Huang et al., arXiv:1608.06993"
    parameters: Mapping[str, Sequence[int]] = {
        "growth": (6, 8, 12, 16, 20, 24, 32, 48),
        "depth1": (1, 2, 3, 4, 6),
        "depth2": (2, 3, 4, 6, 12),
        "depth3": (2, 3, 4, 6, 8, 12, 24, 32, 48),
        "depth4": (2, 3, 4, 6, 8, 16, 32),
        "bottleneck": (0, 2, 4),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "densenet-121": _published("6 12 24 16"),
        "densenet-169": _published("6 12 32 32"),
        "densenet-201": _published("6 12 48 32"),
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        x = b.input(3, p["resolution"], p["resolution"])
        x = b.conv_norm(x, 2 * p["growth"], 7, "relu", stride=2)
        x = b.max_pool(x, 3, stride=2, padding=1)
        for stage in (1, 2, 3, 4):
            if stage > 1:
                x = b.conv(_norm_relu(b, x), x.shape[1] // 2, bias=False)
                x = b.avg_pool(x, 2, stride=2)
            x = _stage(b, x, p[f"depth{stage}"], p["growth"], p["bottleneck"])
        return b.classifier(_norm_relu(b, x), p["classes"])


def _stage(b: GraphBuilder, x: Tensor, depth: int, growth: int, bottleneck: int) -> Tensor:
    parts = [x]
    for _ in range(depth):
        y = _norm_relu(b, b.concat(parts) if len(parts) > 1 else x)
        if bottleneck:
            y = b.conv_norm(y, growth * bottleneck, 1, "relu")
        parts.append(b.conv(y, growth, 3, bias=False))
    return b.concat(parts)


def _norm_relu(b: GraphBuilder, x: Tensor) -> Tensor:
    return b.activation(b.batch_norm(x), "relu")
