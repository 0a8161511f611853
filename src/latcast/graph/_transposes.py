"""Transposes that never run, because layouts are changed where they are changed anyway.

ONNX Runtime's ``TransposeOptimizer`` moves transposes behind what works on any layout, until they
meet their inverse or a convolution, which reads channels that come last as well as others.
"""

from __future__ import annotations

from ._blocked import BLOCK, takes_blocks
from ._graph import Graph, Layer

CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)
_SWAPPED = (0, 2, 1)
_MOVABLE = ("activation", "elementwise")


def cancelled(graph: Graph) -> frozenset[int]:
    """Positions of the transposes that never run."""
    pending = _pending(graph)
    settled: set[int] = set()
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
        before = {pending.get(i, ()) for i in layer.inputs}
        if layer.op == "transpose" and layer.is_costed and before == {()}:
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
    shape = layer.in_shapes[0] if layer.op == "transpose" and layer.is_costed else None
    if shape is None or len(shape) != len(order):
        return False
    if layer.order:
        return layer.order == order
    return layer.out_shapes[0] == tuple(shape[n] for n in order)


def _order(layer: Layer) -> tuple[int, ...]:
    """Of a transpose; of one that does not tell it only what is known by its shapes."""
    orders = (CHANNELS_FIRST, CHANNELS_LAST, _SWAPPED)
    return layer.order or next((x for x in orders if transposes(layer, x)), ())
