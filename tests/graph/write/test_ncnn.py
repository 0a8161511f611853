"""What stands in ncnn's files; what they compute is tested with all writers."""

from __future__ import annotations

from latcast.graph import Graph, GraphBuilder
from latcast.graph.write.ncnn import to_ncnn


def contents(graph: Graph) -> list[str]:
    """The graph's lines: kind, name, numbers of inputs and outputs, blobs, arguments."""
    magic, counts, *lines = to_ncnn(graph)[0].splitlines()
    assert magic == "7767517"
    outputs = sum(int(x.split()[3]) for x in lines)
    assert counts == f"{len(lines)} {outputs}"
    return [x.strip() for x in lines]


def test_the_graph_is_that_of_the_optimizer():
    b = GraphBuilder()
    first = b.conv(b.input(4, 9, 8), 4, 3, stride=2)
    first = b.unary("Identity", b.activation(first, "relu"))  # fused; and no layer
    y = b.conv(first, 4, 5, groups=4)
    shared = b.conv(b.activation(y, "h_swish"), 4)  # fused
    y = b.activation(shared, "relu6")  # not fused: the sum reads the convolution, too
    y = b.activation(b.add(y, shared), "relu6")  # not fused: sums have no activation in ncnn
    y = b.linear(b.flatten(b.global_pool(b.add(y, first))), 3)
    b.activation(y, "relu6")  # fused; the output
    depthwise, h_swish = "0=4 1=5 3=1 4=2 5=1 6=100 7=4", "9=6 -23310=2,0.16666667,0.5"
    assert contents(b.build()) == [
        "Input input 0 1 input 0=8 1=9 2=4",
        "Convolution conv_0 1 1 input t1 0=4 1=3 3=2 4=1 5=1 6=144 9=1",
        "Split split_t1 1 2 t1 t1_0 t1_1",
        f"ConvolutionDepthWise depthwise_conv_3 1 1 t1_0 t4 {depthwise} {h_swish}",
        "Convolution conv_5 1 1 t4 t5 0=4 1=1 3=1 4=0 5=1 6=16",
        "Split split_t5 1 2 t5 t5_0 t5_1",
        "Clip relu6_6 1 1 t5_0 t6 0=0.0 1=6.0",
        "BinaryOp add_7 2 1 t6 t5_1 t7 0=0",
        "Clip relu6_8 1 1 t7 t8 0=0.0 1=6.0",
        "BinaryOp add_9 2 1 t8 t1_1 t9 0=0",
        "Pooling global_pool_10 1 1 t9 t10 0=1 4=1",
        "InnerProduct linear_12 1 1 t10 output 0=3 1=1 2=12 9=3 -23310=2,0.0,6.0",
    ]


def test_a_convolution_of_a_vector_is_a_product_with_a_matrix():
    b = GraphBuilder()
    b.conv(b.conv(b.global_pool(b.input(8, 3, 4)), 6), 5)
    kinds = [x.split()[0] for x in contents(b.build())]
    assert kinds == ["Input", "Pooling", "InnerProduct", "InnerProduct"]


def test_weights_follow_each_other_in_the_order_of_the_graph():
    b = GraphBuilder()
    b.linear(b.flatten(b.conv(b.input(3, 9, 9), 5, 3)), 7)
    weights = b.build().weights(3)
    want = b"".join(
        bytes(4) + b"".join(x.tobytes() for x in values) for values in weights if values
    )
    assert to_ncnn(b.build(), weights)[1] == want
