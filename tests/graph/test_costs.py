"""What layers and graphs cost, in closed form."""

from __future__ import annotations

import pytest

from latcast.graph import (
    GRAPH_INPUT,
    KERNEL_FACTS,
    Graph,
    GraphBuilder,
    Layer,
    fuse,
    kernel_facts,
)
from latcast.graph.inspection import inspect


def test_convolutions_in_closed_form() -> None:
    b = GraphBuilder()
    x = b.conv(b.input(3, 10, 10), 16, 3, stride=2)
    b.conv(x, 16, 5, stride=2, groups=16, bias=False)
    first, second = b.build().layers
    assert first.macs == 3 * 3 * 3 * 16 * 5 * 5
    assert (first.params, first.param_bytes) == (3 * 3 * 3 * 16 + 16, 4 * (3 * 3 * 3 * 16 + 16))
    assert (first.read_bytes, first.write_bytes) == (4 * 3 * 100, 4 * 16 * 25)
    assert (second.op, second.out_shape) == ("depthwise_conv", (1, 16, 3, 3))
    assert (second.macs, second.params) == (25 * 16 * 9, 25 * 16)


def test_what_is_read_is_not_always_trained() -> None:
    b = GraphBuilder()
    x = b.conv(b.input(6, 2, 2), 6, zero_bias=True)
    b.mul(b.batch_norm(x), 2.0)
    conv, norm, double = b.build().layers
    assert (conv.params, conv.param_bytes) == (36, 4 * 42)
    assert (norm.macs, norm.params, norm.param_bytes) == (0, 12, 4 * 24)
    assert (double.params, double.param_bytes) == (0, 4)


def test_sums_and_products_in_closed_form() -> None:
    b = GraphBuilder()
    x = b.input(6, 2, 2)
    y = b.add(b.activation(x, "relu"), x)
    b.linear(b.flatten(b.mul(b.global_pool(y), y)), 4)
    _, add, _, scale, flatten, linear = b.build().layers
    assert (add.read_bytes, add.write_bytes) == (2 * 96, 96)
    assert (scale.op, scale.read_bytes) == ("scale", 96 + 24)
    assert flatten.kind == "view"
    assert (linear.macs, linear.params) == (24 * 4, 24 * 4 + 4)


def embedded(rows: int, tokens: int, trained: int = 1) -> Graph:
    """Rows of a table by index, whose table is trained or was counted before."""
    ids = Layer(
        "table", "gather", "Gather", (GRAPH_INPUT,), ((1, tokens),), ((1, tokens, 8),),
        params=trained * rows * 8, param_bytes=4 * rows * 8, bits=(64, 32),
    )  # fmt: skip
    return Graph((ids,))


@pytest.mark.parametrize("trained", [0, 1])
def test_a_lookup_reads_the_rows_that_are_asked_for(trained: int) -> None:
    graph = embedded(30_000, 16, trained)
    assert graph.layers[0].param_bytes == 4 * 30_000 * 8  # what the memory holds
    facts = dict(zip(KERNEL_FACTS, kernel_facts(graph, fuse(graph))[0], strict=True))
    assert (facts["param_bytes"], facts["write_bytes"]) == (4 * 16 * 8, 4 * 16 * 8)
    found = inspect(graph)
    assert found.layers[0].traffic_bytes == 16 * 8 + 2 * 4 * 16 * 8
    assert found.layers[0].param_bytes == 4 * 30_000 * 8
    # A table that is smaller than what is asked for is read once.
    assert embedded(3, 16, trained).layers[0].read_param_bytes == 4 * 3 * 8


def test_a_lookup_in_a_table_of_integers_reads_integers() -> None:
    (layer,) = embedded(30_000, 16).layers
    assert layer._replace(param_bytes=30_000 * 8).read_param_bytes == 16 * 8


def test_berts_embeddings_and_their_norm_read_three_rows_a_token() -> None:
    shape = (1, 16, 8)
    norm = Layer("norm", "layer_norm", "com.microsoft::EmbedLayerNormalization", (GRAPH_INPUT,),
                 ((1, 16),), (shape,), params=31_000 * 8, param_bytes=4 * 31_000 * 8)  # fmt: skip
    assert norm.read_param_bytes == 5 * 4 * 16 * 8
    assert norm._replace(params=16, param_bytes=64).read_param_bytes == 64


@pytest.mark.parametrize(
    ("kernel_size", "stride", "side", "out", "ceil"),
    [
        (3, 1, 8, 8, 8), (2, 2, 8, 4, 4), (2, 2, 9, 4, 5), (3, 2, 9, 5, 5), (3, 2, 8, 4, 5),
        (4, 2, 8, 4, 4), (4, 3, 9, 3, 4),
    ],
)  # fmt: skip
def test_pools_keep_whole_windows_or_all(
    kernel_size: int, stride: int, side: int, out: int, ceil: int
) -> None:
    b = GraphBuilder()
    x, padding = b.input(4, side, side), (kernel_size - 1) // 2
    for pool in (b.max_pool, b.avg_pool):
        for is_ceil, shape in ((False, out), (True, ceil)):
            y = pool(x, kernel_size, stride=stride, padding=padding, ceil=is_ceil)
            assert y.shape == (1, 4, shape, shape)
            layer = b.build().layers[-1]
            assert (layer.macs, layer.params) == (0, 0)
            assert (layer.read_bytes, layer.write_bytes) == (4 * 4 * side**2, 4 * 4 * shape**2)
            assert bool(layer.attribute("ceil_mode")) == (shape > out)


def test_a_batch_leads_all_shapes_or_is_refused() -> None:
    b = GraphBuilder()
    x = b.conv(b.input(3, 8, 8), 4)
    graph = b.build()
    assert graph.with_batch(1) is graph
    assert graph.with_batch(5).macs == 5 * graph.macs
    assert (graph.with_batch(5).in_shape, graph.with_batch(5).batch) == ((5, 3, 8, 8), 5)
    with pytest.raises(ValueError, match="at least one sample; got 0"):
        graph.with_batch(0)
    b.transpose(x, 1, 0, 2, 3)
    with pytest.raises(ValueError, match=r"must begin with its batch, 1; one is \(4, 1, 8, 8\)"):
        b.build().with_batch(2)


def test_what_is_not_known_is_an_error_and_not_zero() -> None:
    layer = Layer("odd", "unknown", "com.example::Odd", (-1,), ((1, 2),), (None,))
    with pytest.raises(ValueError, match=r"cost of com\.example::Odd is not known"):
        _ = layer.macs
    with pytest.raises(ValueError, match="must have an output of known shape"):
        _ = Graph((layer,), outputs=(0,)).out_shape
    several = Layer("add", "add", "Add", (-1, -1), ((1, 2), (1, 1)), ((1, 2),))
    with pytest.raises(ValueError, match="must have one input of known shape"):
        _ = Graph((several,)).in_shape


def test_json_keeps_what_is_no_affair_of_writers() -> None:
    b = GraphBuilder(name="both")
    first, second = b.split(b.conv(b.input(3, 8, 8), 4), [1, 3])
    b.concat([second, first])
    graph = b.build()
    kept = tuple(x._replace(ports=(), constants=(), attributes=()) for x in graph.layers)
    assert Graph.from_json(graph.to_json()) == Graph(kept, "both", graph.outputs)
