"""Where ONNX Runtime keeps channels in blocks, so that convolutions can add and activate.

Its layout is that of a CPU with AVX-512: blocks of 16 channels. What is asked of channels is what
``NchwcTransformer`` asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._graph import Layer

BLOCK = 16
"""Channels of a block."""
ALIGNED = 4
"""Channels that are put into blocks must be a multiple of it."""

_IMAGE_AXES = 4
_POOLS = frozenset(("max_pool", "avg_pool"))
_GLOBAL_POOLS = frozenset(("global_pool", "global_max_pool"))
_KEEPING = frozenset(
    ("batch_norm", "relu", "sigmoid", "tanh", "h_sigmoid", "h_swish", "silu", "gelu",
     "identity", "dropout")
)  # fmt: skip
"""Work on blocks if they are given them."""


def is_blocked(layer: Layer, word: str, sources: Sequence[bool]) -> bool:
    """Whether a kernel writes blocks of channels.

    Args:
        layer: its main layer.
        word: what the kernel goes by.
        sources: of each kernel that it reads, whether that one writes blocks.
    """
    shape = layer.in_shapes[0] if layer.is_costed and layer.in_shapes else None
    if shape is None or len(shape) != _IMAGE_AXES:
        return False
    if layer.kind in ("conv", "depthwise_conv"):
        return takes_blocks(layer)
    if layer.op in _POOLS:
        return shape[1] % BLOCK == 0
    return bool(sources) and all(sources) and _keeps_blocks(layer, word)


def _keeps_blocks(layer: Layer, word: str) -> bool:
    """Whether a kernel works on blocks if they are given it."""
    shapes = [s for s in (*layer.in_shapes, *layer.out_shapes) if s is not None]
    if layer.op in _GLOBAL_POOLS:
        return shapes[0][1] % BLOCK == 0
    if layer.op in ("add", "mul") and word != "silu":
        return len(layer.inputs) > 1 and len(set(shapes)) == 1
    if layer.op == "concat":
        beside = {(s[0], *s[2:]) for s in shapes}
        return len(beside) == 1 and all(s[1] % BLOCK == 0 for s in shapes)
    return word in _KEEPING


def takes_blocks(layer: Layer) -> bool:
    """Whether a convolution runs on blocks of channels."""
    before, after = layer.in_shapes[0], layer.out_shapes[0]
    if before is None or after is None or len(before) != _IMAGE_AXES or len(layer.inputs) > 1:
        return False
    channels, groups = before[1], layer.groups
    if groups == 1:
        return channels < BLOCK or channels % ALIGNED == 0
    if groups == channels == after[1]:
        return channels % ALIGNED == 0
    return channels // groups % BLOCK == 0 and after[1] // groups % BLOCK == 0
