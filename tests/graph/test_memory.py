"""Memory of activations: in closed form, and against a walk that asks of every tensor anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.graph import GRAPH_INPUT, Graph, GraphBuilder, Layer
from latcast.graph.memory import IN_PLACE, VIEWS


def peak(b: GraphBuilder) -> int:
    return b.build().peak_activation_bytes


def test_peak_memory_keeps_what_is_still_read() -> None:
    b = GraphBuilder()
    x = b.input(2, 4, 4)
    y = b.conv(b.conv(x, 8), 2)
    one = 4 * 4 * 4  # bytes of one channel
    assert peak(b) == (8 + 2) * one
    b.add(y, x)
    # While the second convolution runs: the block's input (for the sum), 8 and 2 channels.
    assert peak(b) == (2 + 8 + 2) * one
    assert b.build().with_batch(3).peak_activation_bytes == 3 * (2 + 8 + 2) * one


def test_peak_memory_of_parts_that_are_read_at_different_times() -> None:
    b = GraphBuilder()
    first, second = b.split(b.conv(b.input(1, 4, 4), 8), [2, 6])
    b.conv(b.conv(second, 16), 1)
    b.add(b.conv(first, 1), b.input(1, 4, 4))
    graph, one = b.build(), 4 * 4 * 4
    # The large part is let go after the convolution that reads it; the small one waits.
    assert graph.activation_memory().held_bytes == tuple(
        one * channels for channels in (1 + 8, 1 + 8 + 2 + 6, 1 + 2 + 6 + 16, 1 + 2 + 16 + 1,
        1 + 2 + 1, 1 + 1 + 1))  # fmt: skip


def test_what_is_held_at_the_peak() -> None:
    b = GraphBuilder()
    x = b.activation(b.conv(b.input(2, 4, 4), 8), "relu")
    b.add(b.conv(x, 4), b.conv(x, 4))
    memory = b.build().activation_memory()
    assert (memory.peak_layer, memory.peak_bytes) == (1, (8 + 8) * 64)
    assert [(x.layer, x.bytes) for x in memory.held(3)] == [(1, 512), (2, 256), (3, 256)]
    in_place = b.build().activation_memory("in-place")
    assert (in_place.peak_layer, in_place.peak_bytes) == (3, (8 + 4 + 4) * 64)


def walked(graph: Graph, *, in_place: bool) -> list[int]:
    """Bytes that are held while each layer runs, by asking of every memory who needs it yet."""
    places: list[set[tuple[int, int]]] = []
    sizes: list[int] = []
    of: dict[tuple[int, int], int] = {}

    def allocate(tensor: tuple[int, int], size: int) -> None:
        of[tensor] = len(places)
        places.append({tensor})
        sizes.append(size)

    def needs(place: set[tuple[int, int]], start: int) -> bool:
        later = {t for x in graph.layers[start:] for t in zip(x.inputs, x.ports, strict=True)}
        return bool(place & later) or any(n in graph.outputs for n, _ in place)

    for layer in graph.layers:
        for port, shape in zip(layer.ports, layer.in_shapes, strict=True):
            if (GRAPH_INPUT, port) not in of and GRAPH_INPUT in layer.inputs:
                allocate((GRAPH_INPUT, port), layer.element_bytes * (shape or (0,))[0])
    held = []
    for n, layer in enumerate(graph.layers):
        before = [i for i, place in enumerate(places) if needs(place, n)]
        source = of[layer.inputs[0], layer.ports[0]]
        over = in_place and layer.op in IN_PLACE and (
            GRAPH_INPUT not in {t[0] for t in places[source]}
            and sizes[source] == layer.write_bytes and not needs(places[source], n + 1)
        )  # fmt: skip
        for port, shape in enumerate(layer.out_shapes):
            if layer.op in VIEWS or over:
                of[n, port] = source
                places[source].add((n, port))
            else:
                allocate((n, port), layer.element_bytes * (shape or (0,))[0])
        own = {of[n, port] for port in range(len(layer.out_shapes))}
        held.append(sum(sizes[i] for i in {*before, *own}))
    return held


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Layers that read one to three tensors of any earlier layer, and write one to three."""
    shapes: dict[tuple[int, int], tuple[int]] = {(GRAPH_INPUT, 0): (5,), (GRAPH_INPUT, 1): (7,)}
    layers = []
    for n in range(draw(st.integers(1, 12))):
        # Inputs are read by the first layer alone, so that each is large from the start.
        known = [t for t in shapes if t[0] != GRAPH_INPUT] if n else list(shapes)
        read = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
        read = list(shapes) if not n else read
        op = draw(st.sampled_from(["add", "relu", "softmax", "reshape", "identity", "split"]))
        size = draw(st.integers(1, 9))
        written = [(draw(st.integers(1, 9)),) for _ in range(3)] if op == "split" else [(size,)]
        if op in ("relu", "softmax", "reshape", "identity"):
            read, written = read[:1] if n else read, [shapes[read[0]]]
        sources, ports = zip(*read, strict=True)
        layers.append(
            Layer(f"{op}_{n}", op, op, sources, tuple(shapes[t] for t in read), tuple(written),
                  ports=ports, element_bytes=draw(st.sampled_from([4])))
        )  # fmt: skip
        shapes.update({(n, port): shape for port, shape in enumerate(written)})
    outputs = draw(st.sets(st.integers(0, len(layers) - 1), min_size=1, max_size=2))
    return Graph(tuple(layers), outputs=tuple(outputs))


@pytest.mark.slow
@given(graphs(), st.booleans())
def test_liveness_is_what_a_walk_finds(graph: Graph, in_place: bool) -> None:
    if any(len(graph.layers[n].out_shapes) > 1 for n in graph.outputs):
        return  # which of several is the output is not told
    memory = graph.activation_memory("in-place" if in_place else "none")
    assert list(memory.held_bytes) == walked(graph, in_place=in_place)
    assert memory.peak_bytes == max(memory.held_bytes)


@given(graphs())
def test_a_plan_holds_what_is_alive_and_no_more_buffers(graph: Graph) -> None:
    alive, planned = (graph.activation_memory(x) for x in ("in-place", "onnxruntime"))
    assert all(a <= p for a, p in zip(alive.held_bytes, planned.held_bytes, strict=True))
    assert len(planned.buffers) <= len(alive.buffers)


def test_a_plan_keeps_memory_for_the_next_tensor_of_its_shape() -> None:
    b = GraphBuilder()
    x = b.conv(b.conv(b.input(1, 4, 4), 8), 2)
    b.conv(b.conv(x, 16), 8, 1)
    b.conv(b.conv(b.conv(x, 4), 8), 1)
    graph, one = Graph(b.build().layers, outputs=(6,)), 4 * 4 * 4
    # The 8 channels of the first convolution wait for the fourth, beside the 16 of the third.
    assert graph.activation_memory("in-place").peak_bytes == (2 + 16 + 8) * one
    assert graph.activation_memory("onnxruntime").held_bytes[2] == (8 + 2 + 16) * one
    # What has no shape as the file is loaded is not planned for.
    blind = Graph(tuple(x._replace(inferred=False) for x in graph.layers), outputs=(6,))
    planned, in_place = (blind.activation_memory(x) for x in ("onnxruntime", "in-place"))
    assert planned.held_bytes == in_place.held_bytes
    with pytest.raises(ValueError, match="must be one of none, in-place, onnxruntime; got 'all'"):
        graph.activation_memory("all")
