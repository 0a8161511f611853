"""Vision transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.graph import GraphBuilder, Tensor

from ._family import Family


def _published(width: int) -> dict[str, int]:
    return {
        "patch": 16,
        "width": width,
        "depth": 12,
        "head": 64,
        "expand": 4,
        "native_gelu": 1,
        "native_norm": 1,
        "resolution": 224,
        "classes": 1000,
    }


class ViT(Family):
    """Attention among patches of an image and a class token.

    ``head`` is the least width of an attention head; ``native_gelu`` and ``native_norm`` 0
    write those operators as formulas.
    """

    name = "vit"
    title = "Vision transformer (ViT, DeiT)"
    source = "Dosovitskiy et al., arXiv:2010.11929; Touvron et al., arXiv:2012.12877"
    parameters: Mapping[str, Sequence[int]] = {
        "patch": (8, 16, 16, 32),
        "width": (64, 96, 128, 160, 192, 256, 320, 384, 768),
        "depth": (1, 2, 3, 4, 6, 8, 12),
        "head": (32, 64),
        "expand": (2, 3, 4),
        "native_gelu": (0, 1),
        "native_norm": (0, 1),
        "resolution": (96, 128, 160, 192, 224, 256),
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "deit-tiny": _published(192),
        "deit-small": _published(384),
        "vit-base": _published(768),
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        native = bool(p["native_norm"])
        x = _tokens(b, p)
        for _ in range(p["depth"]):
            y = b.layer_norm(x, native=native)
            x = b.add(x, b.attention(y, max(1, p["width"] // p["head"])))
            y = b.linear(b.layer_norm(x, native=native), p["width"] * p["expand"])
            y = b.activation(y, "gelu", native=bool(p["native_gelu"]))
            x = b.add(x, b.linear(y, p["width"]))
        return b.linear(b.gather(b.layer_norm(x, native=native), 0, 1), p["classes"])


def _tokens(b: GraphBuilder, p: Mapping[str, int]) -> Tensor:
    """A class token and one of every patch, with learned positions."""
    x = b.input(3, p["resolution"], p["resolution"])
    x = b.conv(x, p["width"], p["patch"], stride=p["patch"], padding=0)
    count = x.shape[2] * x.shape[3]
    x = b.transpose(b.reshape(x, b.batch, p["width"], count), 0, 2, 1)
    token = b.expand(b.weight((1, 1, p["width"]), 1.0), b.batch, 1, p["width"])
    x = b.concat([token, x])
    return b.add(x, b.weight((1, count + 1, p["width"]), 1.0))
