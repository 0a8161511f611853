"""ConvNeXt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.graph import GraphBuilder, Tensor

from ._family import RESOLUTIONS, Family

# Orders of axes that put channels last, and back.
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def _published(depth3: int) -> dict[str, int]:
    return {
        "width": 96,
        "depth1": 3,
        "depth2": 3,
        "depth3": depth3,
        "depth4": 3,
        "expand": 4,
        "kernel": 7,
        "native_gelu": 1,
        "native_norm": 1,
        "resolution": 224,
        "classes": 1000,
    }


class ConvNeXt(Family):
    """Depthwise convolutions with large windows, and linear layers on channels that come last.

    ``native_gelu`` and ``native_norm`` 0 write those operators as formulas.
    """

    name = "convnext"
    title = "ConvNeXt"
    source = "Liu et al., arXiv:2201.03545"
    parameters: Mapping[str, Sequence[int]] = {
        "width": (16, 24, 32, 40, 48, 64, 80, 96),
        "depth1": (1, 2, 3),
        "depth2": (1, 2, 3),
        "depth3": (1, 2, 3, 6, 9, 27),
        "depth4": (1, 2, 3),
        "expand": (2, 3, 4),
        "kernel": (3, 5, 7, 7, 9, 11),
        "native_gelu": (0, 1),
        "native_norm": (0, 1),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "convnext-tiny": _published(9),
        "convnext-small": _published(27),
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        native = bool(p["native_norm"])
        x = b.input(3, p["resolution"], p["resolution"])
        x = _norm(b, b.conv(x, p["width"], 4, stride=4, padding=0), native)
        for stage in (1, 2, 3, 4):
            if stage > 1:
                x = b.conv(_norm(b, x, native), 2 * x.shape[1], 2, stride=2, padding=0)
            for _ in range(p[f"depth{stage}"]):
                x = _block(b, x, p)
        x = _norm(b, b.global_pool(x), native)
        return b.linear(b.flatten(x), p["classes"])


def _norm(b: GraphBuilder, x: Tensor, native: bool) -> Tensor:
    """A layer norm of the channels of a map."""
    x = b.layer_norm(b.transpose(x, *_TO_LAST), native=native)
    return b.transpose(x, *_TO_FIRST)


def _block(b: GraphBuilder, x: Tensor, p: Mapping[str, int]) -> Tensor:
    channels = x.shape[1]
    y = b.conv(x, channels, p["kernel"], groups=channels)
    y = b.layer_norm(b.transpose(y, *_TO_LAST), native=bool(p["native_norm"]))
    y = b.linear(y, channels * p["expand"])
    y = b.linear(b.activation(y, "gelu", native=bool(p["native_gelu"])), channels)
    scale = b.weight((channels, 1, 1), 0.5, center=0.5)
    return b.add(b.mul(b.transpose(y, *_TO_FIRST), scale), x)
