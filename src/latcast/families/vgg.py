"""VGG: chains of 3 x 3 convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.graph import GraphBuilder, Tensor

from ._family import RESOLUTIONS, Family


def _published(depths: str) -> dict[str, int]:
    return {
        **{f"depth{i}": int(d) for i, d in enumerate(depths.split(), 1)},
        "width": 64,
        "hidden": 4096,
        "resolution": 224,
        "classes": 1000,
    }


class VGG(Family):
    """Five stages, each ended by a pool; the last two are as wide as each other.

    ``hidden`` is the width of the two hidden linear layers that read the whole last map; without
    them (0) one linear layer reads its means.
    """

    name = "vgg"
    title = "VGG"
    source = "Simonyan and Zisserman, arXiv:1409.1556"
    parameters: Mapping[str, Sequence[int]] = {
        "depth1": (1, 2),
        "depth2": (1, 2),
        "depth3": (1, 2, 3, 4),
        "depth4": (1, 2, 3, 4),
        "depth5": (1, 2, 3, 4),
        "width": (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64),
        "hidden": (0, 0, 128, 256, 512, 1024, 2048, 4096),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "vgg-11": _published("1 1 2 2 2"),
        "vgg-13": _published("2 2 2 2 2"),
        "vgg-16": _published("2 2 3 3 3"),
        "vgg-19": _published("2 2 4 4 4"),
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        x = b.input(3, p["resolution"], p["resolution"])
        for stage in range(5):
            for _ in range(p[f"depth{stage + 1}"]):
                x = b.activation(b.conv(x, p["width"] * 2 ** min(stage, 3), 3), "relu")
            x = b.max_pool(x, 2, stride=2)
        if not p["hidden"]:
            return b.classifier(x, p["classes"])
        x = b.flatten(x)
        for _ in range(2):
            x = b.activation(b.linear(x, p["hidden"]), "relu")
        return b.linear(x, p["classes"])
