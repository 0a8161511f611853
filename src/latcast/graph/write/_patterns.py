"""Layers that a runtime has as one: activations in the layer before, shuffles of channels."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from latcast.graph import Graph

_SHUFFLED = (0, 2, 1, 3, 4)


def fused_activations(
    graph: Graph, absorbing: Collection[str], activations: Collection[str | None]
) -> dict[int, int]:
    """Activations that a runtime makes part of the layer before them.

    Args:
        graph: of a network.
        absorbing: operators that can take an activation in.
        activations: operators that can be taken in.

    Returns:
        Position of a layer -> position of its activation, which is the only one to read it.
    """
    return {
        source: n
        for n, layer in enumerate(graph.layers)
        if layer.op in activations
        and (source := layer.inputs[0]) >= 0
        and graph.layers[source].op in absorbing
        and graph.readers[source] == (n,)
    }


def channel_shuffles(graph: Graph) -> dict[int, int]:
    """Position of the last layer of every channel shuffle -> its groups.

    A shuffle is a reshape of channels to a matrix of groups, its transpose, and a reshape back.
    """
    found = {}
    for n, layer in enumerate(graph.layers):
        if layer.op != "transpose" or layer.order != _SHUFFLED:
            continue
        (before,), readers = layer.inputs, graph.readers[n]
        if before < 0 or len(readers) != 1 or graph.readers[before] != (n,):
            continue
        grouped, after = graph.layers[before], graph.layers[readers[0]]
        if grouped.op == after.op == "reshape" and grouped.in_shapes == after.out_shapes:
            found[readers[0]] = grouped.out_shape[1]
    return found


def parts_of(graph: Graph, shuffles: Mapping[int, int]) -> dict[int, int]:
    """Positions of all but the last layers of shuffles -> what the shuffle reads."""
    parts: dict[int, int] = {}
    for end in shuffles:
        (middle,) = graph.layers[end].inputs
        (start,) = graph.layers[middle].inputs
        parts |= dict.fromkeys((middle, start), graph.layers[start].inputs[0])
    return parts
