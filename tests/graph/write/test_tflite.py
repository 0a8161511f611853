"""What stands in TensorFlow Lite files; what they compute is tested with all writers."""

from __future__ import annotations

import numpy as np
import pytest

import latcast
from latcast.graph import Graph, GraphBuilder
from latcast.graph.write.tflite import to_tflite

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

CODES = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
ACTIVATIONS = {v: k for k, v in vars(schema.ActivationFunctionType).items() if k[0] != "_"}


def contents(graph: Graph):
    """Of every operator: its code, its fused activation and the name of the tensor it writes."""
    model = schema.ModelT.InitFromPackedBuf(to_tflite(graph))
    sub = model.subgraphs[0]
    return [
        (
            CODES[model.operatorCodes[x.opcodeIndex].builtinCode],
            ACTIVATIONS[getattr(x.builtinOptions, "fusedActivationFunction", 0)],
            sub.tensors[x.outputs[0]].name.decode(),
        )
        for x in sub.operators
    ]


def codes(method, *arguments, side, **options):
    b = GraphBuilder()
    getattr(b, method)(b.input(4, side, side), *arguments, **options)
    return [x[0] for x in contents(b.build())]


@pytest.mark.parametrize(
    ("kernel_size", "stride", "side", "padded"),
    [(3, 1, 8, False), (3, 2, 9, False), (1, 2, 8, False), (3, 2, 8, True), (7, 2, 2, True)],
)
def test_padding_is_explicit_only_where_same_is_another(kernel_size, stride, side, padded):
    found = codes("conv", 4, kernel_size, stride=stride, side=side)
    assert found == ["PAD"] * padded + ["CONV_2D"]


@pytest.mark.parametrize(
    ("kernel_size", "stride", "side", "padded"),
    [(3, 2, 5, 0), (3, 2, 6, 1), (3, 1, 4, 0), (2, 2, 6, 0), (2, 2, 7, 1), (5, 2, 8, 1)],
)
def test_max_pools_see_no_padding(kernel_size, stride, side, padded):
    padding = (kernel_size - 1) // 2
    found = codes("max_pool", kernel_size, stride=stride, padding=padding, side=side)
    assert found == ["PADV2"] * padded + ["MAX_POOL_2D"]


@pytest.mark.parametrize(("kernel_size", "stride", "side"), [(3, 2, 6), (4, 1, 6)])
def test_average_pools_that_do_not_exist_are_named(kernel_size, stride, side):
    with pytest.raises(ValueError, match="layer 0: TensorFlow Lite has no average pool"):
        codes("avg_pool", kernel_size, stride=stride, padding=1, side=side)


def test_activations_are_fused_where_nothing_else_reads_the_layer():
    b = GraphBuilder()
    first = b.activation(b.conv(b.input(4, 8, 8), 4, 3), "relu")  # fused: the only reader
    y = b.activation(b.conv(first, 4, 3, groups=4), "h_swish")  # no fused form
    shared = b.conv(b.unary("Identity", y), 4)
    y = b.activation(shared, "relu6")  # not fused: the sum reads the convolution, too
    y = b.activation(b.add(y, shared), "relu6")  # fused
    y = b.activation(y, "relu")  # not fused: an activation has one already
    b.add(y, first)
    assert contents(b.build()) == [
        ("CONV_2D", "RELU", "conv_0"),
        ("DEPTHWISE_CONV_2D", "NONE", "depthwise_conv_2"),
        ("HARD_SWISH", "NONE", "h_swish_3"),
        ("CONV_2D", "NONE", "conv_5"),
        ("RELU6", "NONE", "relu6_6"),
        ("ADD", "RELU6", "add_7"),
        ("RELU", "NONE", "relu_9"),
        ("ADD", "NONE", "add_10"),
    ]
    assert codes("activation", "relu", side=8) == ["RELU"]  # of the input: not fused
    b = GraphBuilder()
    b.unary("Identity", b.input(4, 8, 8))
    assert [x[0] for x in contents(b.build())] == ["RESHAPE"]  # a network is no wire


def test_values_are_aligned_and_equal():
    b = GraphBuilder()
    b.linear(b.flatten(b.conv(b.input(3, 9, 9), 5, 3)), 7)
    graph = b.build()
    content = to_tflite(graph)
    assert content[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(content)
    written = model.Subgraphs(0)
    values = {}
    for tensor in map(written.Tensors, range(written.TensorsLength())):
        buffer = model.Buffers(tensor.Buffer())
        if not buffer.DataIsNone():
            data = buffer.DataAsNumpy()
            start = data.__array_interface__["data"][0]
            base = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
            assert (start - base) % 16 == 0
            assert data.size == 4 * np.prod(tensor.ShapeAsNumpy())
            values[tensor.Name()] = data.view(np.float32).reshape(tensor.ShapeAsNumpy())
    weights = graph.weights()
    assert np.array_equal(values[b"weight_0"], weights[0][0].transpose(0, 2, 3, 1))
    assert np.array_equal(values[b"bias_2"], weights[2][1])


def test_xnnpack_takes_the_whole_of_a_sampled_network():
    space = latcast.space("ofa-mobilenet-v3-w1.0")
    graph = space.network(space.sample(1, seed=0, restrict={"r": [128]}))
    made = Interpreter(model_content=to_tflite(graph), num_threads=1)
    made.allocate_tensors()
    delegates = [x for x in made._get_ops_details() if x["op_name"] == "DELEGATE"]
    assert len(delegates) == 1
    assert list(delegates[0]["outputs"]) == [made.get_output_details()[0]["index"]]
    constants = ("input", "weight_", "bias_", "pads_", "axes_", "three_", "sixth_")
    names = {x["index"]: x["name"] for x in made.get_tensor_details()}
    assert all(names[i].startswith(constants) for i in delegates[0]["inputs"])
