"""ONNX models as layers: closed forms of each group of operators, constants, batch, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import infos, model

from latcast.graph import GRAPH_INPUT, OPERATORS, UNKNOWN, Graph, Operator
from latcast.graph.read import read_graph
from latcast.graph.read.onnx import _reader, read_onnx

node = helper.make_node


def tensor(name: str, value: Any, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, kind), name)


def weights(name: str, *shape: int) -> TensorProto:
    return tensor(name, np.ones(shape))


def ints(name: str, *values: int) -> TensorProto:
    return tensor(name, values, np.int64)


def read(nodes: Any, inputs: Any, constants: Any = None, **options: Any) -> Graph:
    asked = {k: options.pop(k) for k in ("batch", "shapes") if k in options}
    content = model(nodes, inputs, constants or (), **options).SerializeToString()
    return read_graph(content, **asked)


def only(graph: Graph) -> Any:
    assert len(graph) == 1
    return graph.layers[0]


# -- closed forms ------------------------------------------------------------------------------


def conv(out: str = "y", reads: str = "x w", **attributes: Any) -> onnx.NodeProto:
    return node("Conv", reads.split(), [out], **attributes)


def one(operator: str, reads: str = "x", outputs: str = "y", **attributes: Any) -> list[Any]:
    """A model of one node."""
    return [node(operator, reads.split(), outputs.split(), **attributes)]


Case = tuple[Any, Any, Any, dict[str, Any]]
CASES: dict[str, Case] = {
    "convolution": (
        [conv(reads="x w b", strides=[2, 1], pads=[1, 1, 1, 1])],
        {"x": [2, 3, 8, 10]}, [weights("w", 16, 3, 3, 5), weights("b", 16)],
        {"op": ["conv"], "operator": ["Conv"], "inputs": [(GRAPH_INPUT,)],
         "in_shapes": [((2, 3, 8, 10),)], "out_shapes": [((2, 16, 4, 8),)],
         "window": [(3, 5)], "stride": [(2, 1)], "dilation": [(1, 1)], "groups": [1],
         "macs": [2 * 16 * 4 * 8 * 3 * 15], "params": [16 * 45 + 16],
         "param_bytes": [4 * (16 * 45 + 16)]},
    ),
    **{
        f"convolution of {channels} channels in {groups} groups": (
            [conv(group=groups, auto_pad="SAME_LOWER", strides=[2, 2])],
            {"x": [1, channels, 7, 7]}, [weights("w", 16, channels // groups, 3, 3)],
            {"op": [op], "out_shapes": [((1, 16, 4, 4),)],
             "macs": [16 * 16 * channels // groups * 9]},
        )
        for channels, groups, op in ((8, 8, "depthwise_conv"), (8, 4, "conv"), (1, 1, "conv"),
                                     (8, 1, "conv"))
    },
    **{
        f"convolution of rank {rank}": (
            [conv(dilations=[2] * rank)],
            {"x": [1, 4, *[9] * rank]}, [weights("w", 6, 4, *[3] * rank)],
            {"window": [window], "out_shapes": [((1, 6, *[5] * rank),)],
             "macs": [6 * 5**rank * 4 * 3**rank]},
        )
        for rank, window in ((1, (1, 3)), (3, (9, 3)))
    },
    "transposed convolution": (
        one("ConvTranspose", "x w", strides=[2, 2], pads=[1] * 4, output_padding=[1, 1], group=2),
        {"x": [1, 4, 5, 5]}, [weights("w", 4, 3, 3, 3)],
        {"out_shapes": [((1, 6, 10, 10),)], "macs": [4 * 25 * 3 * 9]},
    ),
    "fused convolution, which reads what it adds": (
        [*one("Relu", outputs="r"),
         node("FusedConv", ["x", "w", "b", "r"], ["y"], domain="com.microsoft",
              activation="Relu", kernel_shape=[1, 1])],
        {"x": [1, 4, 5, 5]}, [weights("w", 4, 4, 1, 1), weights("b", 4)],
        {"op": ["relu", "conv"], "operator": ["Relu", "com.microsoft::FusedConv"],
         "inputs": [(GRAPH_INPUT,), (GRAPH_INPUT, 0)], "params": [0, 20]},
    ),
    **{
        f"pool {how}": (
            one("MaxPool", outputs="y where", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=ceil),
            {"x": [1, 4, 7, 7]}, [],
            {"op": ["max_pool_indices"], "window": [(2, 2)], "stride": [(2, 2)],
             "out_shapes": [((1, 4, side, side),)]},
        )
        for how, ceil, side in (("of whole windows", 0, 3), ("that hangs over", 1, 4))
    },
    "global pool": (
        one("GlobalAveragePool"), {"x": [1, 4, 7, 7]}, [],
        {"op": ["global_pool"], "out_shapes": [((1, 4, 1, 1),)]},
    ),
    **{
        f"gemm {turned}": (
            one("Gemm", "x w b", transB=turned),
            {"x": [3, 5]}, [weights("w", *shape), weights("b", 12)],
            {"op": ["linear"], "out_shapes": [((3, 12),)], "macs": [180], "params": [72]},
        )
        for turned, shape in ((0, (5, 12)), (1, (12, 5)))
    },
    "gemm that turns its first matrix, whose sums are over rows": (
        one("Gemm", "x w", transA=1), {"x": [5, 3]}, [weights("w", 5, 12)], {"macs": [180]},
    ),
    "products of two activations and with a constant": (
        [*one("MatMul", "x w", "a"), *one("Transpose", "a", "t", perm=[0, 2, 1]),
         *one("MatMul", "a t", "b"), *one("MatMul", "left b")],
        {"x": [2, 7, 5]}, [weights("w", 5, 3), weights("left", 11, 7)],
        {"op": ["linear", "transpose", "matmul", "linear"],
         "macs": [2 * 7 * 5 * 3, 0, 2 * 7 * 7 * 3, 2 * 11 * 7 * 7],
         "inputs": [(GRAPH_INPUT,), (0,), (0, 1), (2,)], "params": [15, 0, 0, 77]},
    ),
    **{
        f"einsum {equation}": (
            one("Einsum", "a b", equation=equation), {"a": left, "b": right}, [],
            {"op": ["matmul"], "out_shapes": [(out,)], "macs": [macs]},
        )
        for equation, left, right, out, macs in (
            ("bhid,bhjd->bhij", [2, 3, 5, 4], [2, 3, 7, 4], (2, 3, 5, 7), 2 * 3 * 5 * 7 * 4),
            ("bid,bjd", [2, 5, 4], [2, 7, 4], (5, 7), 5 * 7 * 4 * 2),
            ("...ij,jk->...ik", [2, 3, 5, 4], [4, 6], (2, 3, 5, 6), 30 * 6 * 4),
        )
    },
    "attention": (
        one("Attention", "q k v", q_num_heads=4, kv_num_heads=2),
        {"q": [2, 5, 32], "k": [2, 9, 16], "v": [2, 9, 16]}, [],
        {"op": ["attention"], "groups": [4], "out_shapes": [((2, 5, 32),)],
         "macs": [2 * (2 * 5 * 9 * 32)]},
    ),
    "attention as ONNX Runtime fuses it": (
        one("MultiHeadAttention", "q k v", num_heads=4, domain="com.microsoft"),
        {name: [2, 5, 32] for name in "qkv"}, [], {"macs": [2 * (2 * 5 * 5 * 32)]},
    ),
    "norms, of which scale and shift are trained; the third reads what the first has counted": (
        [*one("BatchNormalization", "x s b m v", "n"),
         node("LayerNormalization", ["n", "ls", "lb"], ["l", "", ""], axis=1),
         *one("InstanceNormalization", "l s b")],
        {"x": [1, 4, 5, 5]},
        [*(weights(n, 4) for n in "sbmv"), weights("ls", 4, 5, 5), weights("lb", 4, 5, 5)],
        {"op": ["batch_norm", "layer_norm", "instance_norm"], "params": [8, 200, 0],
         "param_bytes": [64, 800, 32]},
    ),
    "constants of sums and products": (
        [*one("Mul", "x gamma", "a"), *one("Add", "a half", "b"), *one("Pow", "b half", "c"),
         *one("Add", "c position")],
        {"x": [2, 5, 8]},
        [weights("gamma", 8), tensor("half", 0.5), weights("position", 1, 5, 8)],
        {"op": ["mul", "add", "power", "add"], "params": [8, 0, 0, 40],
         "inputs": [(GRAPH_INPUT,), (0,), (1,), (2,)]},
    ),
    "a factor a channel is a scale": (
        [*one("GlobalAveragePool", outputs="p"), *one("Mul", "p x", "a"), *one("Mul", "a x", "b"),
         *one("Mul", "b layer_scale")],
        {"x": [2, 4, 5, 5]}, [weights("layer_scale", 4, 1, 1)],
        {"op": ["global_pool", "scale", "mul", "scale"],
         "inputs": [(GRAPH_INPUT,), (0, GRAPH_INPUT), (1, GRAPH_INPUT), (2,)]},
    ),
    "comparisons and casts have their own types": (
        [*one("Greater", "x half", "g"), *one("Where", "g x half", "w"),
         *one("Cast", "w", "h", to=TensorProto.FLOAT16),
         *one("Cast", "h", "same", to=TensorProto.FLOAT16), *one("Relu", "same")],
        {"x": [8]}, [tensor("half", 0.5)],
        {"op": ["compare", "where", "cast", "identity", "relu"],
         "element_bytes": [1, 4, 2, 2, 2]},
    ),
    "quantized layers": (
        [*one("QuantizeLinear", "x s z", "q"), *one("DequantizeLinear", "q s z", "d"),
         *one("DequantizeLinear", "wq ws wz", "w", axis=0), conv(reads="d w")],
        {"x": [1, 3, 8, 8]},
        [tensor("s", 0.1), tensor("z", 0, np.uint8), tensor("wq", np.ones((6, 3, 3, 3)), np.int8),
         weights("ws", 6), tensor("wz", np.zeros(6), np.int8)],
        {"op": ["quantize", "dequantize", "conv"], "params": [0, 0, 6 * 27],
         "bits": [(32, 8), (8, 32), ()], "weight_bits": [0, 0, 8],
         "param_bytes": [5, 5, 6 * 27 + 6 * 5], "precision": ["fp32", "fp32", "int8"]},
    ),
    "an embedding is trained": (
        one("Gather", "table x"), {"x": [2, 7]}, [weights("table", 50, 8)],
        {"op": ["gather"], "params": [400], "out_shapes": [((2, 7, 8),)]},
    ),
    "depth to space and back": (
        [*one("DepthToSpace", "x", "a", blocksize=2), *one("SpaceToDepth", "a", blocksize=4)],
        {"x": [1, 8, 6, 6]}, [], {"out_shapes": [((1, 2, 12, 12),), ((1, 32, 3, 3),)]},
    ),
    "what only gives a shape is left out": (
        [conv("c"), *one("Shape", "c", "shape"), *one("ConstantOfShape", "shape", "zeros"),
         *one("Relu", "x", "r"), *one("Add", "r zeros")],
        {"x": [1, 3, 4, 4]}, [weights("w", 3, 3, 1, 1)],
        {"op": ["relu", "add"], "params": [0, 0]},
    ),
    "weights that are computed count as they are held": (
        [*one("Transpose", "w", "t"), *one("Split", "t", "a b", axis=1),
         *one("MatMul", "x a", "p"), *one("MatMul", "x b", "q"), *one("Add", "p q")],
        {"x": [1, 100]}, [weights("w", 200, 100)],
        {"op": ["linear", "linear", "add"], "params": [20_000, 0, 0],
         "param_bytes": [40_000, 40_000, 0]},
    ),
    "an initializer that is an input too is a constant": (
        [conv()], {"x": [1, 3, 4, 4], "w": [2, 3, 1, 1]}, [weights("w", 2, 3, 1, 1)],
        {"params": [6]},
    ),
    **{
        operator: (
            one(operator), {"x": [2, 3, 4]}, [],
            {"op": [op], "out_shapes": [((2, 3, 4),)], "macs": [0], "read_bytes": [96],
             "write_bytes": [96]},
        )
        for operator, op in (
            ("Relu", "relu"), ("Sigmoid", "sigmoid"), ("HardSigmoid", "h_sigmoid"),
            ("HardSwish", "h_swish"), ("Mish", "mish"), ("Tanh", "tanh"), ("Erf", "erf"),
            ("Softmax", "softmax"), ("LogSoftmax", "log_softmax"), ("LeakyRelu", "leaky_relu"),
            ("Neg", "neg"), ("Sqrt", "sqrt"), ("Floor", "round"), ("Cos", "trigonometric"),
            ("Identity", "identity"), ("Dropout", "dropout"), ("Exp", "exp"),
        )
    },
}  # fmt: skip
"""Nodes, shapes of inputs, constants, and what the layers are, field by field."""


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layers_are_their_closed_forms(case: Case) -> None:
    nodes, inputs, constants, expected = case
    opset = {"Attention": 23, "Mish": 18}.get(nodes[0].op_type, 17)
    graph = read(nodes, inputs, constants, opset=opset, outputs=["y"])
    found = {name: [getattr(x, name) for x in graph.layers] for name in expected}
    assert found == expected
    assert graph.outputs == (len(graph) - 1,)
    assert not graph.unsupported


def test_every_name_of_an_operator_is_that_of_one() -> None:
    for names in ([n for x in OPERATORS.values() for n in x.onnx],
                  [n for x in OPERATORS.values() for n in x.aten]):  # fmt: skip
        assert len(names) == len(set(names))


def test_a_new_activation_is_one_row_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Operator("activation", OPERATORS["relu"].macs, onnx=("com.example::Wobble",))
    monkeypatch.setitem(OPERATORS, "wobble", row)
    monkeypatch.setattr(_reader, "_ENTRIES", _reader._entries())
    layer = only(read([node("Wobble", ["x"], ["y"], domain="com.example")], {"x": [2, 3]}))
    assert (layer.op, layer.kind, layer.out_shapes) == ("wobble", "activation", ((2, 3),))


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
        (node("TopK", ["x", "t"], ["y", "i"]), [ints("t", 2)], "top_k", (2, 3, 4, 2)),
    ],
)  # fmt: skip
def test_moves(moved: Any, constants: Any, op: str, out: tuple[int, ...]) -> None:
    layer = only(read([moved], {"x": [2, 3, 4, 5]}, constants, outputs=["y"]))
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
    assert [x.op for x in graph.layers] == ["reduce", "cast", "relu", "neg", "body"]
    assert graph.layers[-1].inputs == (1, 2, 3)
    assert not graph.unsupported


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
    graph = read(nodes, {"x": ["N", 4]}, values={"a": ["N", 8]}, batch=3)
    first, relu, second, last = graph.layers
    assert (first.op, first.operator) == (UNKNOWN, "com.example::Magic")
    assert first.out_shapes == ((3, 8),)
    assert relu.is_supported
    assert second.out_shapes == (None,)
    assert last.in_shapes == last.out_shapes == (None,)
    assert graph.unsupported == {"com.example::Magic": 2, "Relu": 1}


def test_a_shape_that_depends_on_data_is_not_known() -> None:
    graph = read(
        [node("NonZero", ["x"], ["n"]), node("Transpose", ["n"], ["y"], perm=[1, 0])],
        {"x": [4, 4]},
    )
    assert graph.unsupported == {"NonZero": 1, "Transpose": 1}


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
    graph = read_graph(content, batch=6)
    assert [x.out_shapes[0] for x in graph.layers] == [(6, 4, 4, 4), (6, 64), (6, 7)]
    assert graph.macs == 6 * read_onnx(content).macs


def test_another_batch_that_cannot_go_through_is_an_error() -> None:
    made = model(
        [node("Flatten", ["x"], ["f"], axis=0), node("Slice", ["f", "a", "b"], ["y"])],
        {"x": [1, 4]}, [ints("a", 0), ints("b", 1)], {"y": [1, 4]},
    )  # fmt: skip
    with pytest.raises(ValueError, match="made for any batch, or for 5; it is made for 1"):
        read_graph(made.SerializeToString(), batch=5, batch_axis=0)


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
    graph = read_graph(content, batch=batch, batch_axis=0)
    assert graph.layers[1].out_shapes == ((17, 4 * batch, 8),)
    assert graph.layers[8].out_shapes == ((17 * batch, 32),)
    assert graph.layers[-1].out_shapes == ((batch, 17, 32),)
    assert graph.macs == batch * (2 * 4 * 17 * 17 * 8 + 17 * 32 * 32)


def test_a_class_token_goes_along_with_the_batch() -> None:
    made = model(
        [node("Concat", ["token", "x"], ["y"], axis=1)],
        {"x": [1, 4, 8]}, [weights("token", 1, 1, 8)], {"y": [1, 5, 8]},
    )  # fmt: skip
    layer = only(read_graph(made.SerializeToString(), batch=5, batch_axis=0))
    assert layer.out_shapes == ((5, 5, 8),)
    assert layer.params == 8


def test_open_sides_are_asked_for() -> None:
    content = model([node("Relu", ["x"], ["y"])], {"x": ["N", 3, "h", "w"]}).SerializeToString()
    with pytest.raises(ValueError, match=r"\[N, 3, h, w\].*--shape x=1x3x224x224"):
        read_onnx(content)
    layer = only(read_graph(content, shapes={"x": (2, 3, 5, 6)}))
    assert layer.out_shapes == ((2, 3, 5, 6),)


def test_all_inputs_of_open_sides_are_asked_for_at_once() -> None:
    made = model([node("Add", ["x", "z"], ["y"])], {"x": ["N", "t"], "z": [2, "?"]})
    with pytest.raises(ValueError, match=r"'x', 'z' .*--shape x=1x128 --shape z=2x128\)"):
        read_onnx(made.SerializeToString())


# -- files -------------------------------------------------------------------------------------


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
