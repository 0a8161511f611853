"""ONNX models as layers: closed forms of each group of operators, constants, batch, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from latcast.graph import GRAPH_INPUT, UNKNOWN, Graph, graph_of_layers
from latcast.graph.read.onnx import read_onnx
from latcast.graph.write.onnx import to_onnx
from latcast.spaces import space

node = helper.make_node


def tensor(name: str, value: Any, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, kind), name)


def weights(name: str, *shape: int) -> TensorProto:
    return tensor(name, np.ones(shape))


def ints(name: str, *values: int) -> TensorProto:
    return tensor(name, values, np.int64)


def infos(sides: dict[str, Any]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sides.items()]


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Any],
    constants: list[TensorProto] | None = None,
    outputs: dict[str, Any] | None = None,
    opset: int = 17,
    **more: Any,
) -> onnx.ModelProto:
    outputs = outputs or {nodes[-1].output[0]: None}
    graph = helper.make_graph(nodes, "g", infos(inputs), infos(outputs), constants or [])
    domains = {"", *(n.domain for n in nodes)}
    opsets = [helper.make_opsetid(d, opset if d == "" else 1) for d in sorted(domains)]
    return helper.make_model(graph, opset_imports=opsets, **more)


def read(nodes: Any, inputs: Any, constants: Any = None, **options: Any) -> Graph:
    asked = {k: options.pop(k) for k in ("batch", "shapes") if k in options}
    content = model(nodes, inputs, constants, **options).SerializeToString()
    return read_onnx(content, **asked)


def only(graph: Graph) -> Any:
    assert len(graph) == 1
    return graph.layers[0]


# -- windows ---------------------------------------------------------------------------------


def test_convolution() -> None:
    graph = read(
        [node("Conv", ["x", "w", "b"], ["y"], name="c", strides=[2, 1], pads=[1, 1, 1, 1])],
        {"x": [2, 3, 8, 10]},
        [weights("w", 16, 3, 3, 5), weights("b", 16)],
    )
    layer = only(graph)
    assert (layer.name, layer.op, layer.operator) == ("c", "conv", "Conv")
    assert layer.inputs == (GRAPH_INPUT,)
    assert layer.in_shapes == ((2, 3, 8, 10),)
    assert layer.out_shapes == ((2, 16, 4, 8),)
    assert (layer.window, layer.stride, layer.dilation, layer.groups) == ((3, 5), (2, 1), (1, 1), 1)
    assert layer.macs == 2 * 16 * 4 * 8 * 3 * 15
    assert layer.params == 16 * 3 * 15 + 16
    assert layer.param_bytes == 4 * layer.params
    assert graph.outputs == (0,)


@pytest.mark.parametrize(
    ("channels", "groups", "op"),
    [(8, 8, "depthwise_conv"), (8, 4, "conv"), (1, 1, "conv"), (8, 1, "conv")],
)
def test_depthwise_is_one_group_a_channel(channels: int, groups: int, op: str) -> None:
    graph = read(
        [node("Conv", ["x", "w"], ["y"], group=groups, auto_pad="SAME_LOWER", strides=[2, 2])],
        {"x": [1, channels, 7, 7]},
        [weights("w", 16, channels // groups, 3, 3)],
    )
    layer = only(graph)
    assert layer.op == op
    assert layer.out_shapes == ((1, 16, 4, 4),)
    assert layer.macs == 16 * 16 * channels // groups * 9


@pytest.mark.parametrize(("rank", "window"), [(1, (1, 3)), (3, (9, 3))])
def test_convolutions_of_other_ranks(rank: int, window: tuple[int, int]) -> None:
    graph = read(
        [node("Conv", ["x", "w"], ["y"], dilations=[2] * rank)],
        {"x": [1, 4, *[9] * rank]},
        [weights("w", 6, 4, *[3] * rank)],
    )
    layer = only(graph)
    assert layer.window == window
    assert layer.out_shapes == ((1, 6, *[5] * rank),)
    assert layer.macs == 6 * 5**rank * 4 * 3**rank


def test_transposed_convolution() -> None:
    graph = read(
        [node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=[1] * 4,
              output_padding=[1, 1], group=2)],
        {"x": [1, 4, 5, 5]},
        [weights("w", 4, 3, 3, 3)],
    )  # fmt: skip
    layer = only(graph)
    assert layer.out_shapes == ((1, 6, 10, 10),)
    assert layer.macs == 4 * 25 * 3 * 9


@pytest.mark.parametrize(("ceil", "side"), [(0, 3), (1, 4)])
def test_pools(ceil: int, side: int) -> None:
    pool = node("MaxPool", ["x"], ["y", "where"], kernel_shape=[2, 2], strides=[2, 2],
                ceil_mode=ceil)  # fmt: skip
    layer = only(read([pool], {"x": [1, 4, 7, 7]}, outputs={"y": None}))
    assert (layer.op, layer.window, layer.stride) == ("max_pool", (2, 2), (2, 2))
    assert layer.out_shapes == ((1, 4, side, side),)
    layer = only(read([node("GlobalAveragePool", ["x"], ["y"])], {"x": [1, 4, 7, 7]}))
    assert (layer.op, layer.out_shapes) == ("global_pool", ((1, 4, 1, 1),))


def test_fused_convolution_reads_what_it_adds() -> None:
    graph = read(
        [
            node("Relu", ["x"], ["r"]),
            node("FusedConv", ["x", "w", "b", "r"], ["y"], domain="com.microsoft",
                 activation="Relu", kernel_shape=[1, 1]),
        ],
        {"x": [1, 4, 5, 5]},
        [weights("w", 4, 4, 1, 1), weights("b", 4)],
    )  # fmt: skip
    layer = graph.layers[1]
    assert (layer.op, layer.operator) == ("conv", "com.microsoft::FusedConv")
    assert layer.inputs == (GRAPH_INPUT, 0)
    assert layer.params == 20


# -- products --------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [0, 1])
def test_gemm(turned: int) -> None:
    shape = (12, 5) if turned else (5, 12)
    graph = read(
        [node("Gemm", ["x", "w", "b"], ["y"], transB=turned)],
        {"x": [3, 5]},
        [weights("w", *shape), weights("b", 12)],
    )
    layer = only(graph)
    assert (layer.op, layer.out_shapes, layer.macs) == ("linear", ((3, 12),), 3 * 5 * 12)
    assert layer.params == 72


def test_gemm_that_turns_its_first_matrix_sums_over_rows() -> None:
    layer = only(read([node("Gemm", ["x", "w"], ["y"], transA=1)], {"x": [5, 3]},
                      [weights("w", 5, 12)]))  # fmt: skip
    assert layer.macs == 3 * 5 * 12


def test_products_of_two_activations_and_with_a_constant() -> None:
    graph = read(
        [
            node("MatMul", ["x", "w"], ["a"]),
            node("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["a", "t"], ["b"]),
            node("MatMul", ["left", "b"], ["y"]),
        ],
        {"x": [2, 7, 5]},
        [weights("w", 5, 3), weights("left", 11, 7)],
    )
    assert [x.op for x in graph.layers] == ["linear", "transpose", "matmul", "linear"]
    assert [x.macs for x in graph.layers] == [2 * 7 * 5 * 3, 0, 2 * 7 * 7 * 3, 2 * 11 * 7 * 7]
    assert graph.layers[2].inputs == (0, 1)
    assert graph.layers[3].out_shapes == ((2, 11, 7),)
    assert graph.params == 15 + 77


@pytest.mark.parametrize(
    ("equation", "shapes", "out", "macs"),
    [
        ("bhid,bhjd->bhij", ([2, 3, 5, 4], [2, 3, 7, 4]), (2, 3, 5, 7), 2 * 3 * 5 * 7 * 4),
        ("bid,bjd", ([2, 5, 4], [2, 7, 4]), (5, 7), 5 * 7 * 4 * 2),
        ("...ij,jk->...ik", ([2, 3, 5, 4], [4, 6]), (2, 3, 5, 6), 30 * 6 * 4),
    ],
)
def test_einsum_of_two(equation: str, shapes: Any, out: Any, macs: int) -> None:
    einsum = node("Einsum", ["a", "b"], ["y"], equation=equation)
    layer = only(read([einsum], {"a": shapes[0], "b": shapes[1]}))
    assert (layer.op, layer.out_shapes, layer.macs) == ("matmul", (out,), macs)


def test_attention() -> None:
    graph = read(
        [node("Attention", ["q", "k", "v"], ["y"], q_num_heads=4, kv_num_heads=2)],
        {"q": [2, 5, 32], "k": [2, 9, 16], "v": [2, 9, 16]},
        opset=23,
    )
    layer = only(graph)
    assert (layer.op, layer.groups, layer.out_shapes) == ("attention", 4, ((2, 5, 32),))
    assert layer.macs == 2 * (2 * 5 * 9 * 32)


def test_attention_as_onnxruntime_fuses_it() -> None:
    graph = read(
        [node("MultiHeadAttention", ["q", "k", "v"], ["y"], num_heads=4, domain="com.microsoft")],
        {name: [2, 5, 32] for name in "qkv"},
    )
    assert only(graph).macs == 2 * (2 * 5 * 5 * 32)


# -- what keeps the shape ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "op"),
    [
        ("Relu", "relu"), ("Sigmoid", "sigmoid"), ("HardSigmoid", "h_sigmoid"),
        ("HardSwish", "h_swish"), ("Mish", "mish"), ("Tanh", "tanh"), ("Erf", "erf"),
        ("Softmax", "softmax"), ("LogSoftmax", "log_softmax"), ("LeakyRelu", "leaky_relu"),
        ("Neg", "neg"), ("Sqrt", "sqrt"), ("Floor", "round"), ("Cos", "trigonometric"),
        ("Identity", "identity"), ("Dropout", "dropout"), ("Exp", "exp"),
    ],
)  # fmt: skip
def test_activations(operator: str, op: str) -> None:
    layer = only(read([node(operator, ["x"], ["y"])], {"x": [2, 3, 4]}, opset=18))
    assert (layer.op, layer.out_shapes, layer.macs) == (op, ((2, 3, 4),), 0)
    assert layer.read_bytes == layer.write_bytes == 4 * 24


@pytest.mark.parametrize(
    ("bounds", "op"),
    [([0, 6], "relu6"), ([0, None], "relu"), ([-1, 1], "clip"), ([0, np.inf], "relu"),
     ([np.nan, 6], "clip")],
)  # fmt: skip
def test_clip_by_its_bounds(bounds: list[float | None], op: str) -> None:
    names = ["low" if bounds[0] is not None else "", "high" if bounds[1] is not None else ""]
    constants = [tensor(n, b) for n, b in zip(names, bounds, strict=True) if n]
    layer = only(read([node("Clip", ["x", *names], ["y"])], {"x": [4]}, constants))
    assert (layer.op, layer.params, layer.param_bytes) == (op, 0, 0)


def test_clip_of_older_opsets() -> None:
    old = node("Clip", ["x"], ["y"], min=0.0, max=6.0)
    assert only(read([old], {"x": [4]}, opset=9)).op == "relu6"


def test_norms_count_scale_and_shift_only() -> None:
    graph = read(
        [
            node("BatchNormalization", ["x", "s", "b", "m", "v"], ["n"]),
            node("LayerNormalization", ["n", "ls", "lb"], ["l", "", ""], axis=1),
            node("InstanceNormalization", ["l", "s", "b"], ["y"]),
        ],
        {"x": [1, 4, 5, 5]},
        [*(weights(n, 4) for n in "sbmv"), weights("ls", 4, 5, 5), weights("lb", 4, 5, 5)],
    )
    assert [x.op for x in graph.layers] == ["batch_norm", "layer_norm", "instance_norm"]
    # The third reads what the first has counted.
    assert [x.params for x in graph.layers] == [8, 200, 0]
    assert [x.param_bytes for x in graph.layers] == [64, 800, 32]


def test_constants_of_sums_and_products() -> None:
    graph = read(
        [
            node("Mul", ["x", "gamma"], ["a"]),
            node("Add", ["a", "half"], ["b"]),
            node("Pow", ["b", "half"], ["c"]),
            node("Add", ["c", "position"], ["y"]),
        ],
        {"x": [2, 5, 8]},
        [weights("gamma", 8), tensor("half", 0.5), weights("position", 1, 5, 8)],
    )
    assert [x.op for x in graph.layers] == ["mul", "add", "pow", "add"]
    assert [x.params for x in graph.layers] == [8, 0, 0, 40]
    assert all(len(x.inputs) == 1 for x in graph.layers)


def test_a_factor_a_channel_is_a_scale() -> None:
    graph = read(
        [
            node("GlobalAveragePool", ["x"], ["p"]),
            node("Mul", ["p", "x"], ["a"]),
            node("Mul", ["a", "x"], ["b"]),
            node("Mul", ["b", "layer_scale"], ["y"]),
        ],
        {"x": [2, 4, 5, 5]},
        [weights("layer_scale", 4, 1, 1)],
    )
    assert [x.op for x in graph.layers] == ["global_pool", "scale", "mul", "scale"]
    assert graph.layers[1].inputs == (0, GRAPH_INPUT)


def test_comparisons_and_casts_have_their_own_types() -> None:
    graph = read(
        [
            node("Greater", ["x", "half"], ["g"]),
            node("Where", ["g", "x", "half"], ["w"]),
            node("Cast", ["w"], ["h"], to=TensorProto.FLOAT16),
            node("Cast", ["h"], ["same"], to=TensorProto.FLOAT16),
            node("Relu", ["same"], ["y"]),
        ],
        {"x": [8]},
        [tensor("half", 0.5)],
    )
    assert [x.op for x in graph.layers] == ["compare", "where", "cast", "identity", "relu"]
    assert graph.layers[-1].element_bytes == 2


def test_quantized_layers_read_bytes_of_their_own_types() -> None:
    graph = read(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=0),
            node("Conv", ["d", "w"], ["y"]),
        ],
        {"x": [1, 3, 8, 8]},
        [tensor("s", 0.1), tensor("z", 0, np.uint8), tensor("wq", np.ones((6, 3, 3, 3)), np.int8),
         weights("ws", 6), tensor("wz", np.zeros(6), np.int8)],
    )  # fmt: skip
    assert [x.op for x in graph.layers] == ["quantize", "quantize", "conv"]
    assert graph.layers[2].params == 6 * 27


# -- what moves elements -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moved", "constants", "op", "out"),
    [
        (node("Reshape", ["x", "t"], ["y"]), [ints("t", 0, -1, 2)], "reshape", (2, 30, 2)),
        (node("Flatten", ["x"], ["y"], axis=2), [], "reshape", (6, 20)),
        (node("Flatten", ["x"], ["y"], axis=-1), [], "reshape", (24, 5)),
        (node("Unsqueeze", ["x", "t"], ["y"]), [ints("t", 0, -1)], "reshape", (1, 2, 3, 4, 5, 1)),
        (node("Transpose", ["x"], ["y"]), [], "transpose", (5, 4, 3, 2)),
        (node("Slice", ["x", "a", "b", "c", "d"], ["y"]),
         [ints("a", -1, 0), ints("b", -(2**62), 9), ints("c", 3, 1), ints("d", -2, 2)],
         "slice", (2, 2, 4, 3)),
        (node("Gather", ["x", "t"], ["y"], axis=2), [ints("t", 0, 1, 1)], "gather", (2, 3, 3, 5)),
        (node("Pad", ["x", "t"], ["y"]), [ints("t", 0, 1, 0, 0, 0, 2, 0, -1)], "pad", (2, 6, 4, 4)),
        (node("Expand", ["x", "t"], ["y"]), [ints("t", 7, 1, 1, 1, 1)], "expand", (7, 2, 3, 4, 5)),
        (node("Tile", ["x", "t"], ["y"]), [ints("t", 1, 2, 3, 1)], "tile", (2, 6, 12, 5)),
        (node("Resize", ["x", "", "s"], ["y"]), [tensor("s", [1, 1, 2, 0.6])], "resize",
         (2, 3, 8, 3)),
        (node("Resize", ["x", "", "", "t"], ["y"]), [ints("t", 2, 3, 9, 9)], "resize",
         (2, 3, 9, 9)),
        (node("Concat", ["x", "x"], ["y"], axis=1), [], "concat", (2, 6, 4, 5)),
        (node("ReduceMean", ["x"], ["y"], axes=[-1, 1]), [], "mean", (2, 1, 4, 1)),
        (node("ReduceSum", ["x", "t"], ["y"], keepdims=0), [ints("t", 2)], "reduce", (2, 3, 5)),
        (node("ReduceMax", ["x"], ["y"], keepdims=0), [], "reduce", ()),
        (node("ArgMax", ["x"], ["y"], axis=1, keepdims=0), [], "arg_reduce", (2, 4, 5)),
        (node("TopK", ["x", "t"], ["y", "i"]), [ints("t", 2)], "arg_reduce", (2, 3, 4, 2)),
    ],
)  # fmt: skip
def test_moves(moved: Any, constants: Any, op: str, out: tuple[int, ...]) -> None:
    layer = only(read([moved], {"x": [2, 3, 4, 5]}, constants, outputs={"y": None}))
    assert (layer.op, layer.out_shapes) == (op, (out,))
    assert (layer.inputs, layer.macs) == ((GRAPH_INPUT,) * len(layer.in_shapes), 0)
    assert layer.params == 0


@pytest.mark.parametrize(
    ("moved", "opset"),
    [
        (node("Slice", ["x"], ["y"], starts=[1], ends=[9], axes=[2]), 9),
        (node("Squeeze", ["x"], ["y"], axes=[0]), 11),
        (node("Pad", ["x"], ["y"], pads=[0, 0, 1, 0, 0, 0], mode="constant"), 9),
        (node("Split", ["x"], ["y", "z"], axis=2, split=[1, 3]), 11),
        (node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 2.0]), 7),
    ],
)
def test_attributes_of_older_opsets(moved: Any, opset: int) -> None:
    out = {"Slice": (1, 3, 3), "Squeeze": (3, 4), "Pad": (1, 3, 5), "Split": (1, 3, 1),
           "Upsample": (1, 3, 8)}[moved.op_type]  # fmt: skip
    layer = only(read([moved], {"x": [1, 3, 4]}, opset=opset))
    assert layer.out_shapes[0] == out


def test_an_embedding_is_trained() -> None:
    graph = read([node("Gather", ["table", "x"], ["y"])], {"x": [2, 7]}, [weights("table", 50, 8)])
    layer = only(graph)
    assert (layer.op, layer.params, layer.out_shapes) == ("gather", 400, ((2, 7, 8),))


def test_depth_to_space_and_back() -> None:
    graph = read(
        [
            node("DepthToSpace", ["x"], ["a"], blocksize=2),
            node("SpaceToDepth", ["a"], ["y"], blocksize=4),
        ],
        {"x": [1, 8, 6, 6]},
    )
    assert [x.out_shapes[0] for x in graph.layers] == [(1, 2, 12, 12), (1, 32, 3, 3)]


# -- constants ---------------------------------------------------------------------------------


def test_shape_arithmetic_is_computed_and_no_layer() -> None:
    graph = read(
        [
            node("Relu", ["x"], ["r"]),
            node("Shape", ["r"], ["shape"]),
            node("Slice", ["shape", "zero", "two"], ["head"]),
            node("Gather", ["shape", "two"], ["side"]),
            node("Mul", ["side", "two"], ["double"]),
            node("Concat", ["head", "double", "double"], ["sizes"], axis=0),
            node("Resize", ["r", "", "", "sizes"], ["u"]),
            node("Reshape", ["u", "rest"], ["y"]),
        ],
        {"x": ["N", 3, 4, 4]},
        [ints("zero", 0), ints("two", 2), ints("rest", 0, -1)],
        batch=2,
    )
    assert [x.op for x in graph.layers] == ["relu", "resize", "reshape"]
    assert graph.layers[-1].out_shapes == ((2, 192),)


def test_what_only_gives_a_shape_is_left_out() -> None:
    graph = read(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Shape", ["c"], ["shape"]),
            node("ConstantOfShape", ["shape"], ["zeros"]),
            node("Relu", ["x"], ["r"]),
            node("Add", ["r", "zeros"], ["y"]),
        ],
        {"x": [1, 3, 4, 4]},
        [weights("w", 3, 3, 1, 1)],
    )
    assert [x.op for x in graph.layers] == ["relu", "add"]
    assert graph.params == 0


def test_weights_that_are_computed_count_as_they_are_held() -> None:
    graph = read(
        [
            node("Transpose", ["w"], ["t"]),
            node("Split", ["t"], ["a", "b"], axis=1),
            node("MatMul", ["x", "a"], ["p"]),
            node("MatMul", ["x", "b"], ["q"]),
            node("Add", ["p", "q"], ["y"]),
        ],
        {"x": [1, 100]},
        [weights("w", 200, 100)],
    )
    assert [x.op for x in graph.layers] == ["linear", "linear", "add"]
    assert [x.params for x in graph.layers] == [20_000, 0, 0]
    assert [x.param_bytes for x in graph.layers] == [40_000, 40_000, 0]


def test_an_initializer_that_is_an_input_too_is_a_constant() -> None:
    graph = read([node("Conv", ["x", "w"], ["y"])], {"x": [1, 3, 4, 4], "w": [2, 3, 1, 1]},
                 [weights("w", 2, 3, 1, 1)], ir_version=3)  # fmt: skip
    assert only(graph).params == 6


def test_a_branch_that_is_known_is_taken() -> None:
    def branch(operator: str) -> onnx.GraphProto:
        return helper.make_graph([node(operator, ["x"], ["b"])], operator, [], infos({"b": None}))

    branches = {"then_branch": branch("Relu"), "else_branch": branch("Neg")}
    nodes = [node("Greater", ["one", "two"], ["c"]), node("If", ["c"], ["y"], **branches)]
    graph = read(nodes, {"x": [4]}, [tensor("one", 1), tensor("two", 2)])
    assert only(graph).op == "neg"
    decided_later = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["c"], to=9),
                     node("If", ["c"], ["y"], **branches)]  # fmt: skip
    graph = read(decided_later, {"x": [4]})
    assert graph.layers[-1].op == UNKNOWN
    assert graph.layers[-1].inputs == (1, GRAPH_INPUT)
    assert graph.uncosted == {"If": 1}


def test_functions_are_read_as_their_nodes() -> None:
    body = [
        helper.make_node("Constant", [], ["k"], value_float=1.0),
        helper.make_node("LeakyRelu", ["a"], ["b"]),
        helper.make_node("Add", ["b", "k"], ["c"]),
    ]
    body[1].attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    function = helper.make_function(
        "local", "Act", ["a"], ["c"], body, [helper.make_opsetid("", 17)], ["slope"]
    )
    call = node("Act", ["x"], ["y"], domain="local", name="act", slope=0.2)
    graph = read([call], {"x": [4]}, functions=[function])
    assert [(x.name, x.op) for x in graph.layers] == [("act/b", "leaky_relu"), ("act/c", "add")]


# -- what is not known -------------------------------------------------------------------------


def test_unknown_operators_are_layers_with_the_shapes_that_the_file_tells() -> None:
    nodes = [
        node("Magic", ["x"], ["a"], domain="com.example", name="m1"),
        node("Relu", ["a"], ["b"]),
        node("Magic", ["b"], ["c"], domain="com.example", name="m2"),
        node("Relu", ["c"], ["y"]),
    ]
    made = model(nodes, {"x": ["N", 4]})
    made.graph.value_info.extend(infos({"a": ["N", 8]}))
    graph = read_onnx(made.SerializeToString(), batch=3)
    first, relu, second, last = graph.layers
    assert (first.op, first.operator) == (UNKNOWN, "com.example::Magic")
    assert first.out_shapes == ((3, 8),)
    assert relu.is_costed
    assert second.out_shapes == (None,)
    assert last.in_shapes == last.out_shapes == (None,)
    assert graph.uncosted == {"com.example::Magic": 2, "Relu": 1}


def test_a_shape_that_depends_on_data_is_not_known() -> None:
    graph = read(
        [node("NonZero", ["x"], ["n"]), node("Transpose", ["n"], ["y"], perm=[1, 0])],
        {"x": [4, 4]},
    )
    assert graph.uncosted == {"NonZero": 1, "Transpose": 1}


# -- batch and shapes --------------------------------------------------------------------------

CNN = [
    node("Conv", ["x", "w"], ["c"]),
    node("Reshape", ["c", "t"], ["f"]),
    node("Gemm", ["f", "v"], ["y"]),
]
CNN_CONSTANTS = [weights("w", 4, 3, 1, 1), weights("v", 64, 7)]


@pytest.mark.parametrize("target", [(1, -1), (1, 64), (-1, 64), (0, -1)])
def test_another_batch_goes_through_where_it_can(target: tuple[int, ...]) -> None:
    made = model(CNN, {"x": [1, 3, 4, 4]}, [*CNN_CONSTANTS, ints("t", *target)], {"y": [1, 7]})
    content = made.SerializeToString()
    assert read_onnx(content).layers[-1].out_shapes == ((1, 7),)
    graph = read_onnx(content, batch=6)
    assert [x.out_shapes[0] for x in graph.layers] == [(6, 4, 4, 4), (6, 64), (6, 7)]
    assert graph.macs == 6 * read_onnx(content).macs


def test_another_batch_that_cannot_go_through_is_an_error() -> None:
    made = model(
        [node("Flatten", ["x"], ["f"], axis=0), node("Slice", ["f", "a", "b"], ["y"])],
        {"x": [1, 4]}, [ints("a", 0), ints("b", 1)], {"y": [1, 4]},
    )  # fmt: skip
    with pytest.raises(ValueError, match="made for any batch, or for 5; it is made for 1"):
        read_onnx(made.SerializeToString(), batch=5)


@pytest.mark.parametrize("batch", [1, 5])
def test_attention_of_a_fixed_batch_as_exporters_write_it(batch: int) -> None:
    """Tokens before the batch; heads split off it; a linear layer as a product of matrices."""
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("Reshape", ["t", "heads"], ["h"]),
        node("Transpose", ["h"], ["q"], perm=[1, 0, 2]),
        node("Transpose", ["h"], ["k"], perm=[1, 2, 0]),
        node("MatMul", ["q", "k"], ["s"]),
        node("MatMul", ["s", "q"], ["v"]),
        node("Reshape", ["v", "split"], ["four"]),
        node("Transpose", ["four"], ["u"], perm=[2, 0, 1, 3]),
        node("Reshape", ["u", "matrix"], ["m"]),
        node("Gemm", ["m", "w"], ["g"]),
        node("Reshape", ["g", "tokens"], ["r"]),
        node("Transpose", ["r"], ["y"], perm=[1, 0, 2]),
    ]
    constants = [
        ints("heads", 17, 4, 8), ints("split", 1, 4, 17, 8), ints("matrix", 17, 32),
        ints("tokens", 17, 1, 32), weights("w", 32, 32),
    ]  # fmt: skip
    content = model(nodes, {"x": [1, 17, 32]}, constants, {"y": [1, 17, 32]}).SerializeToString()
    graph = read_onnx(content, batch=batch)
    assert graph.layers[1].out_shapes == ((17, 4 * batch, 8),)
    assert graph.layers[8].out_shapes == ((17 * batch, 32),)
    assert graph.layers[-1].out_shapes == ((batch, 17, 32),)
    assert graph.macs == batch * (2 * 4 * 17 * 17 * 8 + 17 * 32 * 32)


def test_another_batch_that_would_mix_samples_is_an_error() -> None:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "t"], ["s"]),
        node("MatMul", ["s", "x"], ["y"]),
    ]
    content = model(nodes, {"x": [2, 4]}, outputs={"y": [2, 4]}).SerializeToString()
    assert read_onnx(content).macs == 32
    with pytest.raises(ValueError, match="'s' would not do 6 / 2 of its work"):
        read_onnx(content, batch=6)


def test_a_class_token_goes_along_with_the_batch() -> None:
    made = model(
        [node("Concat", ["token", "x"], ["y"], axis=1)],
        {"x": [1, 4, 8]}, [weights("token", 1, 1, 8)], {"y": [1, 5, 8]},
    )  # fmt: skip
    layer = only(read_onnx(made.SerializeToString(), batch=5))
    assert layer.out_shapes == ((5, 5, 8),)
    assert layer.params == 8


def test_open_sides_are_asked_for() -> None:
    content = model([node("Relu", ["x"], ["y"])], {"x": ["N", 3, "h", "w"]}).SerializeToString()
    with pytest.raises(ValueError, match=r"\[1, 3, h, w\].*--shape x=1x3x224x224"):
        read_onnx(content)
    layer = only(read_onnx(content, shapes={"x": (2, 3, 5, 6)}))
    assert layer.out_shapes == ((2, 3, 5, 6),)


def test_symbols_are_the_same_everywhere() -> None:
    content = model(
        [node("Add", ["x", "z"], ["y"])], {"x": ["N", "s"], "z": ["N", "s"]}
    ).SerializeToString()
    assert only(read_onnx(content, shapes={"x": (2, 3)})).in_shapes == ((2, 3), (2, 3))
    with pytest.raises(ValueError, match="'s' must be the same in all inputs"):
        read_onnx(content, shapes={"x": (2, 3), "z": (2, 4)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shapes": {"z": (1, 2)}}, "a shape was given for 'z'; inputs of the model: x"),
        ({"shapes": {"x": (1, 0)}}, "sides of input 'x' must be positive"),
        ({"shapes": {"x": (1, 2, 3)}}, "must have 2 sides"),
        ({"shapes": {"x": (1, 4)}, "batch": 2}, "must start with the batch 2"),
        ({"batch": 0}, "the batch must be positive"),
    ],
)
def test_what_is_asked_for_must_fit(options: Any, message: str) -> None:
    content = model([node("Relu", ["x"], ["y"])], {"x": ["N", 4]}).SerializeToString()
    with pytest.raises(ValueError, match=message):
        read_onnx(content, **options)


# -- files -------------------------------------------------------------------------------------


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_onnx(path)
    for content in (b"", b"some text\n" * 20, b"\0" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="must"):
            read_onnx(path)


@pytest.fixture
def with_data_outside(tmp_path: Path) -> Path:
    made = model(
        [node("Reshape", ["x", "t"], ["r"]), node("MatMul", ["r", "w"], ["y"])],
        {"x": [2, 3, 4]},
        [ints("t", 0, -1), weights("w", 12, 5_000)],
    )
    path = tmp_path / "net.onnx"
    onnx.save(made, path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def test_external_data(with_data_outside: Path) -> None:
    graph = read_onnx(with_data_outside)
    assert graph.layers[-1].out_shapes == ((2, 5_000),)
    assert graph.params == 60_000


def test_external_data_must_be_there_and_whole(with_data_outside: Path) -> None:
    data = with_data_outside.with_name("net.data")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match="constant 'w' must be 240000 bytes inside of"):
        read_onnx(with_data_outside)
    data.unlink()
    with pytest.raises(ValueError, match=r"there is no 'net\.data'"):
        read_onnx(with_data_outside)


@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "", "link"])
def test_external_data_stay_in_the_folder(with_data_outside: Path, place: str) -> None:
    folder = with_data_outside.parent / "inner"
    folder.mkdir()
    (with_data_outside.parent / "secret").write_bytes(b"\0" * 300_000)
    (folder / "link").symlink_to(with_data_outside.parent / "secret")
    made = onnx.load(with_data_outside, load_external_data=False)
    for held in made.graph.initializer:
        held.external_data[0].value = place
    (folder / "net.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(ValueError, match="must lie in a file in the folder of the model"):
        read_onnx(folder / "net.onnx")


def test_external_data_of_bytes_are_asked_for_only_where_they_matter(
    with_data_outside: Path,
) -> None:
    with pytest.raises(ValueError, match="must be read from its file"):
        read_onnx(with_data_outside.read_bytes())


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([node("Conv", ["x", "w"], ["y"], name="c")], [weights("w", 2, 9, 1, 1)],
         r"node 'c' \(Conv\): weights \[2, 9, 1, 1\] in 1 groups must fit"),
        ([node("Relu", ["z"], ["y"])], [], r"node 'y' \(Relu\) reads 'z', which no node gives"),
        ([node("Relu", ["b"], ["a"]), node("Neg", ["a"], ["b"])], [], "a cycle"),
        ([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], [], "gives already"),
        ([node("Reshape", ["x", "t"], ["y"])], [ints("t", 5, -1)], "as many elements"),
        ([node("Softmax", [], ["y"])], [], "must have|input 0 must be given"),
        ([node("Concat", ["x", "x"], ["y"], axis=7)], [], "within the 4 axes"),
        ([node("Relu", ["w"], ["y"])], [weights("w", 3)], "at least one layer"),
    ],
)  # fmt: skip
def test_models_that_could_not_run(nodes: Any, constants: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(nodes, {"x": [1, 3, 4, 4]}, constants)


# -- our own networks --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ofa-mobilenet-v3", "nasbench201", "fbnet"])
@pytest.mark.parametrize("batch", [1, 4, None])
def test_our_own_networks_cost_what_their_layers_cost(name: str, batch: int | None) -> None:
    the_space = space(name)
    arch = the_space.sample(1, seed=3)
    network = the_space.network(arch)
    graph = read_onnx(to_onnx(network, batch), batch=batch or 2)
    expected = graph_of_layers(network.layers, batch or 2)
    assert (graph.macs, graph.params) == (expected.macs, expected.params)
    assert not graph.uncosted
