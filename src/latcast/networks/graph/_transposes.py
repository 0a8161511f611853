"""Transposes that never run, because layouts are changed where they are changed anyway.

ONNX Runtime's ``TransposeOptimizer`` moves transposes behind what works on any layout, until they
meet their inverse or a convolution, which reads channels that come last as well as others.
"""

from __future__ import annotations

from ._blocked import BLOCK, takes_blocks
from ._graph import GRAPH_INPUT, GraphLayer, LayerGraph

CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)
_MOVABLE = ("activation", "elementwise")


def cancelled(graph: LayerGraph) -> frozenset[int]:
    """Positions of the transposes from or to channels that come last which cancel each other."""
    pending = _pending(graph)
    settled: set[int] = set()
    for n in reversed(range(len(graph))):
        if n in pending and n not in graph.outputs and graph.readers[n]:
            readers = [(r, graph.layers[r]) for r in graph.readers[n]]
            if all(r in settled or _ends(x, r in pending) for r, x in readers):
                settled.add(n)
    return frozenset(
        n
        for n, x in enumerate(graph.layers)
        if (n in settled and _to_first(x)) or (_to_last(x) and x.inputs[0] in settled)
    )


def _pending(graph: LayerGraph) -> set[int]:
    """Layers whose output is a transpose of what could be written with channels last."""
    pending: set[int] = set()
    for n, layer in enumerate(graph.layers):
        sources = layer.inputs
        is_moved = (
            layer.kind in _MOVABLE
            and GRAPH_INPUT not in sources
            and pending.issuperset(sources)
            and set(layer.in_shapes) == set(layer.out_shapes)
        )
        if is_moved or _to_first(layer):
            pending.add(n)
    return pending


def _ends(layer: GraphLayer, is_pending: bool) -> bool:
    """Whether a transpose ends at a reader of its value."""
    if is_pending:
        return False
    shape = layer.in_shapes[0]
    if layer.kind in ("conv", "depthwise_conv"):
        return takes_blocks(layer) and shape is not None and shape[1] >= BLOCK
    return _to_last(layer)


def transposes(layer: GraphLayer, order: tuple[int, ...]) -> bool:
    """Whether a layer is a transpose that writes its axes in an order.

    Where the layer does not tell it, its shapes do, which axes of one size can mistake.
    """
    shape = layer.in_shapes[0] if layer.op == "transpose" and layer.is_costed else None
    if shape is None or len(shape) != len(order):
        return False
    if layer.order:
        return layer.order == order
    return layer.out_shapes[0] == tuple(shape[n] for n in order)


def _to_first(layer: GraphLayer) -> bool:
    return transposes(layer, CHANNELS_FIRST)


def _to_last(layer: GraphLayer) -> bool:
    return transposes(layer, CHANNELS_LAST)
