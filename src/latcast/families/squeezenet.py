"""SqueezeNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.graph import GraphBuilder, Tensor

from ._family import RESOLUTIONS, Family

_LATER = {
    "squeeze": 125,
    "large": 50,
    "first": 128,
    "resolution": 224,
    "classes": 1000,
}


class SqueezeNet(Family):
    """Fire modules, which squeeze channels and expand them in two ways side by side.

    The metaparameters of the paper's section 5: ``first`` is the width of the first two fires,
    which every second one exceeds by as much again; ``squeeze`` the ratio of squeezed to expanded
    channels in per mille and ``large`` the share of 3 x 3 windows in percent. ``depth1`` … fires
    stand between pools.
    """

    name = "squeezenet"
    title = "SqueezeNet"
    source = "Iandola et al., arXiv:1602.07360"
    parameters: Mapping[str, Sequence[int]] = {
        "stem": (3, 7),
        "width": (16, 32, 48, 64, 96),
        "depth1": (1, 2, 3),
        "depth2": (1, 2, 3, 4),
        "depth3": (1, 2, 3, 4),
        "squeeze": (125, 125, 250, 500, 750),
        "large": (25, 50, 50, 75),
        "first": (32, 48, 64, 96, 128, 160),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "squeezenet-1.0": {"stem": 7, "width": 96, "depth1": 3, "depth2": 4, "depth3": 1, **_LATER},
        "squeezenet-1.1": {"stem": 3, "width": 64, "depth1": 2, "depth2": 2, "depth3": 4, **_LATER},
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        x = b.input(3, p["resolution"], p["resolution"])
        x = b.activation(b.conv(x, p["width"], p["stem"], stride=2, padding=0), "relu")
        fires = 0
        for stage in (1, 2, 3):
            x = b.max_pool(x, 3, stride=2, ceil=True)
            for _ in range(p[f"depth{stage}"]):
                x = _fire(b, x, p["first"] * (1 + fires // 2), p)
                fires += 1
        x = b.activation(b.conv(x, p["classes"]), "relu")
        return b.flatten(b.global_pool(x))


def _fire(b: GraphBuilder, x: Tensor, expanded: int, p: Mapping[str, int]) -> Tensor:
    squeezed = max(1, expanded * p["squeeze"] // 1000)
    x = b.activation(b.conv(x, squeezed), "relu")
    large = expanded * p["large"] // 100
    small = b.activation(b.conv(x, expanded - large), "relu")
    return b.concat([small, b.activation(b.conv(x, large, 3), "relu")])
