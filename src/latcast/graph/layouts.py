"""Layouts of ONNX Runtime's CPU kernels: channels in blocks, and transposes that never run.

Convolutions keep channels in blocks, so that they can add and activate what they write. The layout
is that of a CPU with AVX-512: blocks of 16 channels. What is asked of channels is what its
``NchwcTransformer`` asks.

Its ``TransposeOptimizer`` moves transposes behind what works on any layout, until they meet their
inverse or a convolution, which reads channels that come last as well as others.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._graph import Graph
from ._operators import Layer

# Channels of a block.
BLOCK = 16
# Channels that are put into blocks must be a multiple of it.
_ALIGNED = 4

_IMAGE_AXES = 4
_POOLS = frozenset(("max_pool", "avg_pool"))
_GLOBAL_POOLS = frozenset(("global_pool", "global_max_pool"))
# Work on blocks if they are given them.
_KEEPING = frozenset(
    ("batch_norm", "relu", "sigmoid", "tanh", "h_sigmoid", "h_swish", "silu", "gelu",
     "identity", "dropout")
)  # fmt: skip

CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)
_SWAPPED = (0, 2, 1)
_MOVABLE = ("activation", "elementwise")


def is_blocked(layer: Layer, word: str, sources: Sequence[bool]) -> bool:
    """Whether a kernel writes blocks of channels.

    Args:
        layer: its main layer.
        word: what the kernel goes by.
        sources: of each kernel that it reads, whether that one writes blocks.
    """
    shape = layer.in_shapes[0] if layer.is_supported and layer.in_shapes else None
    if word in ("quantized", "moved") or shape is None or len(shape) != _IMAGE_AXES:
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
    if layer.op in ("resize", "concat") and {len(s) for s in shapes} != {_IMAGE_AXES}:
        return False
    if layer.op == "resize":
        before, after = shapes[0], shapes[-1]
        return before[:2] == after[:2] and not any(
            after[n] % before[n] for n in range(2, _IMAGE_AXES)
        )
    if layer.op == "concat":
        beside = {(s[0], *s[2:]) for s in shapes}
        return len(beside) == 1 and all(s[1] % BLOCK == 0 for s in shapes)
    return word in _KEEPING


def costs_like_blocks(layer: Layer, *, quantized: bool = False) -> bool:
    """Whether a convolution along one axis takes as long as its twin of height 1 in blocks.

    It has no blocks, but long rows instead: 64 channels of 1,000 positions, each with 3 taps of
    its own, take 0.042 ms, the twin 0.049 ms, of which a good part goes to its layout (ONNX
    Runtime 1.32, one thread of an Intel Xeon (model 167)); as a Conv3d of height 1, 0.034 ms.
    One on integers has its channels last, which costs it nothing either.
    A true Conv3d is slow: 32 channels of 8 x 28 x 28, each with 27 taps, take 1.5 ms, the twin of
    224 x 28 with 3 x 9 taps 0.31 ms.
    """
    if layer.kind not in ("conv", "depthwise_conv"):
        return False
    sides = (layer.in_shapes[0] or ())[2:]
    is_along_one = len(sides) == 3 and sum(s > 1 for s in sides) <= 1
    return (
        takes_blocks(layer, axes=3)
        or (is_along_one and takes_blocks(layer, axes=5))
        or (quantized and takes_blocks(layer._replace(weight_bits=0)))
    )


def takes_blocks(layer: Layer, *, axes: int = _IMAGE_AXES) -> bool:
    """Whether a convolution runs on blocks of channels: its weights are put into blocks before."""
    before, after = layer.in_shapes[0], layer.out_shapes[0]
    if before is None or after is None or len(before) != axes or len(layer.inputs) > 1:
        return False
    if layer.weight_bits:  # dequantized in every pass
        return False
    channels, groups = before[1], layer.groups
    # Fewer channels than a block are those of an image: its first convolution has a kernel of its
    # own that reads them as they come.
    if groups == 1:
        return channels < BLOCK or channels % _ALIGNED == 0
    if groups == channels == after[1]:
        return channels % _ALIGNED == 0
    return channels // groups % BLOCK == 0 and after[1] // groups % BLOCK == 0


def cancelled_transposes(graph: Graph) -> frozenset[int]:
    """Positions of the transposes that never run."""
    pending = _pending(graph)
    settled: set[int] = set()
    # From the end: whether a transpose vanishes depends on what reads it.
    for n in sorted(pending, reverse=True):
        readers = graph.readers[n]
        if n not in graph.outputs and all(
            r in settled or (r not in pending and _ends(graph.layers[r], pending[n]))
            for r in readers
        ):
            settled.add(n)
    return frozenset(
        n
        for n, layer in enumerate(graph.layers)
        if layer.op == "transpose" and (n in settled or not settled.isdisjoint(layer.inputs))
    )


def _pending(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Layers that write what a transpose could still make of it later, and its order."""
    pending: dict[int, tuple[int, ...]] = {}
    for n, layer in enumerate(graph.layers):
        # Work on two inputs moves a transpose on only if both are transposed alike.
        before = {pending.get(i, ()) for i in layer.inputs}
        if layer.op == "transpose" and layer.is_supported and before == {()}:
            pending[n] = _order(layer)
        elif layer.kind in _MOVABLE and set(layer.in_shapes) == set(layer.out_shapes):
            pending[n] = before.pop() if len(before) == 1 else ()
    return {n: order for n, order in pending.items() if order}


def _ends(layer: Layer, order: tuple[int, ...]) -> bool:
    """Whether a transpose of an order ends at a reader of its value."""
    shape = layer.in_shapes[0]
    if layer.kind in ("conv", "depthwise_conv"):
        takes = shape is not None and shape[1] >= BLOCK and takes_blocks(layer)
        return takes and order == CHANNELS_FIRST
    if layer.kind == "reduce":
        return order == _SWAPPED and len(layer.out_shapes[0] or order) < len(order)
    return transposes(layer, tuple(order.index(n) for n in range(len(order))))


def transposes(layer: Layer, order: tuple[int, ...]) -> bool:
    """Whether a layer is a transpose that writes its axes in an order.

    Where the layer does not tell it, its shapes do, which axes of one size can mistake.
    """
    shape = layer.in_shapes[0] if layer.op == "transpose" and layer.is_supported else None
    if shape is None or len(shape) != len(order):
        return False
    if layer.order:
        return layer.order == order
    return layer.out_shapes[0] == tuple(shape[n] for n in order)


def _order(layer: Layer) -> tuple[int, ...]:
    """The order of a transpose; where it does not tell it, one that its shapes give away."""
    orders = (CHANNELS_FIRST, CHANNELS_LAST, _SWAPPED)
    return layer.order or next((x for x in orders if transposes(layer, x)), ())
