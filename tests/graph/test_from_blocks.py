"""Layers of spaces as graphs: shapes, costs and names are those of the ONNX that is written."""

from __future__ import annotations

from math import prod

import onnx
import pytest
from onnx import shape_inference

from latcast.graph import GRAPH_INPUT, Graph, graph_of_layers
from latcast.graph._costs import cost
from latcast.graph._layer import BlockBuilder, Layer
from latcast.graph._network import Network
from latcast.graph.write.onnx import to_onnx
from latcast.spaces import space, space_names


@pytest.fixture(scope="module", params=space_names())
def network(request: pytest.FixtureRequest) -> Network:
    networks = space(request.param)
    return networks.network(networks.sample(1, seed=3))


def test_graph_has_the_costs_of_the_layers(network: Network) -> None:
    graph = graph_of_layers(network.layers, batch=3)
    assert graph.macs == 3 * sum(cost(x).macs for x in network.layers)
    assert graph.params == sum(p.weight.size + p.bias.size for p in network.parameters if p)


def test_graph_is_what_onnx_has(network: Network) -> None:
    model = shape_inference.infer_shapes(onnx.load_from_string(to_onnx(network, batch=2)))
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*model.graph.value_info, *model.graph.output, *model.graph.input)
    }
    sizes = {w.name: 4 * prod(w.dims) for w in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    graph = graph_of_layers(network.layers, batch=2)
    places = {output: n for n, node in enumerate(nodes) for output in node.output}
    for node, layer in zip(nodes, graph.layers, strict=True):
        activations = [i for i in node.input if i in places or i == "input"]
        assert layer.operator == node.op_type
        assert layer.name == (node.name or node.output[0])
        assert layer.inputs == tuple(places.get(i, GRAPH_INPUT) for i in activations)
        assert layer.in_shapes == tuple(shapes[i] for i in activations)
        assert layer.out_shapes == (shapes[node.output[0]],)
        if layer.params:
            assert layer.param_bytes == sum(sizes.get(i, 0) for i in node.input)


@pytest.mark.slow
@pytest.mark.parametrize("name", space_names())
def test_every_block_is_a_graph(name: str) -> None:
    for block in space(name).block_table.blocks:
        graph = graph_of_layers(block.layers)
        assert graph.macs == sum(cost(x).macs for x in block.layers)
        assert not graph.uncosted
        assert Graph.from_json(graph.to_json()) == graph


def test_batch_norm_gives_the_bias_of_its_convolution() -> None:
    builder = BlockBuilder("b", (3, 8, 8))
    builder.conv(5, 3)
    builder.elementwise("batch_norm")
    graph = graph_of_layers(builder.build().layers)
    assert [x.params for x in graph.layers] == [3 * 5 * 9, 2 * 5]
    assert [x.param_bytes for x in graph.layers] == [4 * 3 * 5 * 9, 4 * 4 * 5]


def test_a_convolution_read_twice_has_a_bias() -> None:
    builder = BlockBuilder("b", (3, 8, 8))
    conv = builder.conv(5, 3)
    builder.elementwise("batch_norm")
    builder.elementwise("add", conv)
    assert graph_of_layers(builder.build().layers).layers[0].params == 3 * 5 * 9 + 5


def test_a_vector_stays_one_after_a_linear_layer() -> None:
    builder = BlockBuilder("b", (4, 2, 2))
    builder.linear(3)
    builder.elementwise("relu")
    builder.linear(2)
    shapes = [x.out_shapes[0] for x in graph_of_layers(builder.build().layers, 7).layers]
    assert shapes == [(7, 16), (7, 3), (7, 3), (7, 3), (7, 2)]


def test_refuses_what_no_space_has() -> None:
    layer = Layer("gelu", (1, 1, 1), (1, 1, 1), (-1,))
    with pytest.raises(ValueError, match="'gelu' is not one of a space"):
        graph_of_layers([layer])
    with pytest.raises(ValueError, match="at least one sample"):
        graph_of_layers([layer], batch=0)
    with pytest.raises(ValueError, match="at least one layer"):
        graph_of_layers([])
