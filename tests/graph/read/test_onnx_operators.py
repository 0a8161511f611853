"""What operators of ONNX files cost: recurrent ones, bodies, ONNX Runtime's own, old and odd ones.

All values are by hand; shapes are compared with those that ONNX Runtime gives where it runs them.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import model

from latcast.graph import UNKNOWN, Graph
from latcast.graph._operators import OPERATORS
from latcast.graph.inspection import Inspection
from latcast.graph.read import read_graph

node = helper.make_node
MS = "com.microsoft"


def weights(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name: np.full(shape, 0.1, np.float32) for name, shape in shapes.items()}


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


def body(
    nodes: list[Any], inputs: dict[str, Any], outputs: list[str], constants: dict[str, Any]
) -> onnx.GraphProto:
    """A graph within a node; inputs are name -> (type, shape), outputs have no shape."""
    told = [helper.make_tensor_value_info(n, *kind) for n, kind in inputs.items()]
    given = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in outputs]
    held = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    return helper.make_graph(nodes, "body", told, given, held)


def read(*args: Any, trip_count: int | None = None, **more: Any) -> Graph:
    content = model(*args, **more).SerializeToString()
    return read_graph(content, trip_count=trip_count)


# -- recurrent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_operators_cost_their_steps(
    operator: str, gates: int, layout: int, direction: str
) -> None:
    steps, batch, features, hidden, ways = 7, 2, 5, 3, 1 + (direction == "bidirectional")
    held = weights(
        w=(ways, gates * hidden, features),
        r=(ways, gates * hidden, hidden),
        b=(ways, 2 * gates * hidden),
        h=(ways, batch, hidden) if layout == 0 else (batch, ways, hidden),
        p=(ways, 3 * hidden),
    )
    reads = ["x", "w", "r", "b", "", "h", *(["", "p"] if operator == "LSTM" else [])]
    made = node(operator, reads, ["y", "last"], hidden_size=hidden, direction=direction,
                layout=layout)  # fmt: skip
    shape = (steps, batch, features) if layout == 0 else (batch, steps, features)
    graph = read([made], {"x": shape}, held, outputs=("y", "last"))
    (layer,) = graph.layers
    assert graph.macs == steps * batch * ways * gates * hidden * (features + hidden)
    peepholes = 3 * hidden * (operator == "LSTM")
    assert graph.params == ways * (gates * hidden * (features + hidden + 2) + peepholes)
    assert (layer.op, layer.steps) == (operator.lower(), steps)
    last = (ways, batch, hidden) if layout == 0 else (batch, ways, hidden)
    every = (steps, *last) if layout == 0 else (batch, steps, ways, hidden)
    assert layer.out_shapes == (every, last)


def test_a_recurrent_operator_without_its_sequence_has_one_output() -> None:
    made = node("GRU", ["x", "w", "r"], ["", "last"], hidden_size=3)
    behind = node("MatMul", ["last", "m"], ["y"])
    graph = read([made, behind], {"x": [4, 1, 5]}, weights(w=(1, 9, 5), r=(1, 9, 3), m=(3, 8)))
    assert graph.macs == 4 * 9 * 8 + 3 * 8
    with pytest.raises(ValueError, match=r"weights must be \[1, 9, 4\] and \[1, 9, 3\]"):
        read([made], {"x": [4, 1, 4]}, weights(w=(1, 9, 5), r=(1, 9, 3)), outputs=("last",))


# -- bodies ------------------------------------------------------------------------------------

STATE = (TensorProto.FLOAT, [1, 8])
LOOP_INPUTS = {"i": (TensorProto.INT64, []), "c": (TensorProto.BOOL, []), "s": STATE}


def loop(count: str = "n", condition: str = "", *, inner: list[Any] | None = None) -> Any:
    """A loop of a product of 8 x 8, which also gives what it computes in every trip."""
    nodes = [*(inner or [node("MatMul", ["s", "wb"], ["t"])]), node("Identity", ["c"], ["c2"]),
             node("Relu", ["t"], ["each"])]  # fmt: skip
    held = body(nodes, LOOP_INPUTS, ["c2", "t", "each"], weights(wb=(8, 8)))
    return node("Loop", [count, condition, "x"], ["y", "all"], body=held)


def test_a_loop_runs_as_often_as_a_constant_says() -> None:
    graph = read([loop()], {"x": [1, 8]}, {"n": i64(50)}, outputs=("y", "all"))
    assert (graph.macs, graph.params, graph.unsupported) == (50 * 64, 64, {})
    product = next(x for x in graph.layers if x.op == "linear")
    assert (product.runs, product.min_runs, product.name) == (50, None, "Loop/t")
    assert next(x for x in graph.layers if x.op == "concat").out_shapes == ((50, 1, 8),)
    assert graph.cheapest is graph


def test_loops_in_loops_multiply() -> None:
    inner_body = body(
        [node("MatMul", ["u", "wi"], ["v"]), node("Identity", ["cc"], ["cc2"])],
        {"j": (TensorProto.INT64, []), "cc": (TensorProto.BOOL, []), "u": STATE},
        ["cc2", "v"], weights(wi=(8, 8)),
    )  # fmt: skip
    inner = [node("Loop", ["m", "", "s"], ["t"], body=inner_body)]
    graph = read([loop(inner=inner)], {"x": [1, 8]}, {"n": i64(3), "m": i64(4)})
    assert (graph.macs, graph.params) == (3 * 4 * 64, 64)


@pytest.mark.parametrize(
    ("count", "condition", "asked", "most", "fewest"),
    [
        pytest.param("n", "decided", None, 50, 1, id="the condition may end it before"),
        pytest.param("n", "decided", 9, 9, 9, id="told"),
        pytest.param("n", "decided", 90, 50, 50, id="told more than the count"),
        pytest.param("", "decided", 9, 9, 9, id="without a count"),
        pytest.param("endless", "", 9, 9, 9, id="a count that stands for none"),
    ],
)
def test_a_loop_that_is_decided_later_has_a_range(
    count: str, condition: str, asked: int | None, most: int, fewest: int
) -> None:
    decide = [
        node("ReduceMax", ["x"], ["top"], keepdims=0),
        node("Cast", ["top"], ["decided"], to=9),
    ]
    held = {"n": i64(50), "endless": i64(2**63 - 1)}
    graph = read([*decide, loop(count, condition)], {"x": [1, 8]}, held, trip_count=asked)
    assert (graph.macs, graph.cheapest.macs, graph.unsupported) == (most * 64, fewest * 64, {})


def test_a_loop_of_unknown_trips_counts_as_one_and_is_told() -> None:
    graph = read([loop("endless")], {"x": [1, 8]}, {"endless": i64(2**63 - 1)})
    assert (graph.macs, graph.params, graph.unsupported) == (64, 64, {"Loop": 1})
    with pytest.raises(ValueError, match="trip count must be from 0"):
        read([loop("endless")], {"x": [1, 8]}, {"endless": i64(2**63 - 1)}, trip_count=-1)


def test_a_state_that_grows_costs_as_in_the_middle() -> None:
    """From 1 row to 10, one every trip: products with 1, 2, …, 9 rows."""
    nodes = [node("MatMul", ["s", "wb"], ["t"]), node("Concat", ["s", "row"], ["s2"], axis=0),
             node("Identity", ["c"], ["c2"])]  # fmt: skip
    held = body(nodes[1:], LOOP_INPUTS, ["c2", "s2"], weights(row=(1, 8)))
    used = body([*nodes[:1], node("ReduceMax", ["t"], ["e"]), *nodes[1:]], LOOP_INPUTS,
                ["c2", "s2", "e"], weights(wb=(8, 8), row=(1, 8)))  # fmt: skip
    made = node("Loop", ["n", "", "x"], ["y", "all"], body=used)
    graph = read([made], {"x": [1, 8]}, {"n": i64(9)}, outputs=("y", "all"))
    assert graph.macs == sum(rows * 64 for rows in range(1, 10))
    behind = node("Relu", ["y"], ["z"])
    graph = read([node("Loop", ["n", "", "x"], ["y"], body=held), behind], {"x": [1, 8]},
                 {"n": i64(9)})  # fmt: skip
    assert graph.layers[-1].out_shapes == ((10, 8),)


@pytest.mark.parametrize(("new_axis", "shape"), [(1, (1, 5, 8)), (0, (1, 40))])
def test_a_sequence_holds_what_a_loop_appends(new_axis: int, shape: tuple[int, ...]) -> None:
    """As the scripts of PyTorch are exported."""
    held = body(
        [node("MatMul", ["x", "wb"], ["t"]), node("SequenceInsert", ["q", "t"], ["q2"]),
         node("Identity", ["c"], ["c2"])],
        {**LOOP_INPUTS, "q": STATE}, ["c2", "q2"], weights(wb=(8, 8)),
    )  # fmt: skip
    del held.input[2]
    made = [node("SequenceEmpty", [], ["none"]),
            node("Loop", ["n", "", "none"], ["all"], body=held),
            node("ConcatFromSequence", ["all"], ["y"], axis=1, new_axis=new_axis),
            node("Relu", ["y"], ["z"])]  # fmt: skip
    graph = read(made, {"x": [1, 8]}, {"n": i64(5)})
    assert (graph.macs, graph.unsupported) == (5 * 64, {})
    assert graph.layers[-1].out_shapes == (shape,)


@pytest.mark.parametrize(("axis", "shape"), [(0, (6, 2, 8)), (1, (2, 6, 8))])
def test_a_scan_runs_over_a_side(axis: int, shape: tuple[int, ...]) -> None:
    row = (TensorProto.FLOAT, [2, 8])
    held = body(
        [node("MatMul", ["e", "wb"], ["p"]), node("Add", ["s", "p"], ["s2"]),
         node("Relu", ["s2"], ["each"])],
        {"s": row, "e": row}, ["s2", "each"], weights(wb=(8, 8)),
    )  # fmt: skip
    made = node("Scan", ["zero", "x"], ["end", "y"], body=held, num_scan_inputs=1,
                scan_input_axes=[axis], scan_output_axes=[axis])  # fmt: skip
    graph = read([made], {"x": shape}, weights(zero=(2, 8)), outputs=("end", "y"))
    assert (graph.macs, graph.params) == (6 * 2 * 64, 64)
    assert graph.layers[-1].out_shapes == (shape,)


def branch(width: int) -> onnx.GraphProto:
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("MatMul", ["h", "b"], ["o"])]
    return body(nodes, {}, ["o"], weights(a=(8, width), b=(width, 8)))


@pytest.mark.parametrize("swapped", [False, True])
def test_branches_give_a_range(swapped: bool) -> None:
    made = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["c"], to=9)]
    then, other = (branch(2), branch(64))[:: -1 if swapped else 1]
    made.append(node("If", ["c"], ["y"], then_branch=then, else_branch=other))
    graph = read([*made, node("Relu", ["y"], ["z"])], {"x": [1, 8]})
    assert graph.macs == 2 * 8 * 64
    assert graph.cheapest.macs == 2 * 8 * 2
    assert graph.params == 2 * 8 * (2 + 64)
    assert graph.layers[-1].in_shapes == ((1, 8),)


def test_a_branch_that_cannot_run_is_left_out() -> None:
    made = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["c"], to=9)]
    wrong = body([node("MatMul", ["x", "a"], ["o"])], {}, ["o"], weights(a=(9, 8)))
    made.append(node("If", ["c"], ["y"], then_branch=wrong, else_branch=branch(4)))
    graph = read([*made, node("Relu", ["y"], ["z"])], {"x": [1, 8]})
    assert graph.macs == graph.cheapest.macs == graph.params == 64
    assert "cannot run with these inputs" in graph.notes[-1]
    made[-1] = node("If", ["c"], ["y"], then_branch=wrong, else_branch=wrong)
    with pytest.raises(ValueError, match="must fit each other"):
        read(made, {"x": [1, 8]})


def test_a_loop_whose_condition_is_false_never_runs() -> None:
    held = {"n": i64(50), "no": np.array(False)}
    graph = read([loop("n", "no"), node("Relu", ["y"], ["z"])], {"x": [1, 8]}, held)
    assert (graph.macs, graph.params) == (0, 64)
    assert graph.layers[-1].out_shapes == ((1, 8),)


# -- operators that are not known --------------------------------------------------------------

BEHIND = node("MatMul", ["h", "w"], ["y"])


@pytest.mark.parametrize(
    ("made", "inputs", "constants", "shape"),
    [
        pytest.param(node("MaxRoiPool", ["x", "r"], ["h"], pooled_shape=[2, 6]),
                     {"x": [1, 3, 9, 9], "r": [4, 5]}, {}, (4, 3, 2, 6), id="by ONNX's inference"),
        pytest.param(node("Hardmax", ["x"], ["h"]), {"x": [2, 6]}, {}, (2, 6), id="of one input"),
        pytest.param(node("Mystery", ["x"], ["h"], domain="com.example"), {"x": [5, 7]}, {},
                     (5, 6), id="by the file's value_info"),
    ],
)  # fmt: skip
def test_what_lies_behind_an_unknown_operator_keeps_its_shape(
    made: Any, inputs: Any, constants: Any, shape: tuple[int, ...]
) -> None:
    told = {"h": shape} if made.domain else {}
    graph = read([made, BEHIND], inputs, constants | weights(w=(6, 4)), values=told)
    assert [x.op for x in graph.layers] == [UNKNOWN, "linear"]
    assert graph.layers[0].out_shapes == (shape,)
    assert (graph.macs, graph.params) == (prod(shape) * 4, 24)


@pytest.mark.parametrize(
    ("behind", "held", "params"),
    [
        (node("Conv", ["h", "w", "b"], ["y"]), weights(w=(8, 4, 3, 3), b=(8,)), 8 * 36 + 8),
        (node("Gemm", ["h", "w"], ["y"]), weights(w=(8, 4)), 32),
        (node("LSTM", ["h", "w", "r"], ["y"], hidden_size=2),
         weights(w=(1, 8, 4), r=(1, 8, 2)), 48),
        (node("BatchNormalization", ["h", *"abcd"], ["y"]),
         weights(a=(4,), b=(4,), c=(4,), d=(4,)), 8),
    ],
)  # fmt: skip
def test_an_operator_of_unknown_extent_has_its_weights(behind: Any, held: Any, params: int) -> None:
    graph = read([node("Mystery", ["x"], ["h"], domain="com.example"), behind], {"x": [1, 4]}, held)
    assert graph.params == params
    assert len(graph.unsupported) == 2


# -- ONNX Runtime's own ------------------------------------------------------------------------

B, T, W = 2, 6, 8
HEADS = {"num_heads": 2}
Q8 = np.zeros((W, 12), np.uint8)
SCALE, ZERO = np.float32(1), np.uint8(0)
OWN: dict[str, tuple[Any, Any, Any, tuple[int, ...], int, int]] = {
    "Attention": (node("Attention", ["x", "w", "b"], ["y"], domain=MS, **HEADS), [B, T, W],
                  weights(w=(W, 24), b=(24,)), (B, T, W), B * T * (W * 24 + 2 * T * W),
                  24 * W + 24),
    "Attention of other widths": (
        node("Attention", ["x", "w", "b"], ["y"], domain=MS, qkv_hidden_sizes=[4, 4, 10], **HEADS),
        [B, T, W], weights(w=(W, 18), b=(18,)), (B, T, 10), B * T * (W * 18 + T * 14), 18 * W + 18),
    "QAttention": (
        node("QAttention", ["x", "w", "b", "s", "s", "", "z", "z"], ["y"], domain=MS, **HEADS),
        [B, T, W], {"w": np.zeros((W, 24), np.uint8), "s": SCALE, "z": ZERO, **weights(b=(24,))},
        (B, T, W), B * T * (W * 24 + 2 * T * W), 24 * W + 24),
    "PackedAttention": (node("PackedAttention", ["x", "w", "b", "", ""], ["y"], domain=MS, **HEADS),
                        [T, W], weights(w=(W, 24), b=(24,)), (T, W), T * (W * 24 + 2 * T * W),
                        24 * W + 24),
    "MultiHeadAttention": (
        node("MultiHeadAttention", ["x", "k", "v"], ["y"], domain=MS, **HEADS), [B, T, W],
        weights(k=(B, 5, W), v=(B, 5, 10)), (B, T, 10), B * T * 5 * (W + 10), 0),
    "MultiHeadAttention, packed": (
        node("MultiHeadAttention", ["x"], ["y"], domain=MS, **HEADS), [B, T, 2, 3, 4], {},
        (B, T, W), B * T * 2 * T * W, 0),
    "GroupQueryAttention": (
        node("GroupQueryAttention", ["x", "k", "k", "past", "past", "l", "n"],
             ["y", "p1", "p2"], domain=MS, kv_num_heads=1, **HEADS), [1, T, W],
        {**weights(k=(1, T, 4), past=(1, 1, 10, 4)), "l": np.int32([15]), "n": np.int32([16])},
        (1, T, W), T * 16 * 2 * W, 0),
    "MatMulNBits": (
        node("MatMulNBits", ["x", "q", "s"], ["y"], domain=MS, K=W, N=12, bits=4, block_size=16),
        [B, T, W], {"q": np.zeros((12, 1, 8), np.uint8), **weights(s=(12,))},
        (B, T, 12), B * T * W * 12, W * 12),
    "DynamicQuantizeMatMul": (
        node("DynamicQuantizeMatMul", ["x", "q", "s", "z", "b"], ["y"], domain=MS), [B, T, W],
        {"q": Q8, "s": SCALE, "z": ZERO, **weights(b=(12,))}, (B, T, 12), B * T * W * 12,
        W * 12 + 12),
    "FusedMatMul, turned": (
        node("FusedMatMul", ["x", "w"], ["y"], domain=MS, transA=1, transB=1), [B, W, T],
        weights(w=(12, W)), (B, T, 12), B * T * W * 12, W * 12),
    "FusedMatMul, batch turned": (
        node("FusedMatMul", ["x", "w"], ["y"], domain=MS, transBatchA=1), [T, B, W],
        weights(w=(B, W, 12)), (B, T, 12), B * T * W * 12, B * W * 12),
    "BiasGelu": (node("BiasGelu", ["x", "b"], ["y"], domain=MS), [B, T, W], weights(b=(W,)),
                 (B, T, W), 0, W),
    "QuickGelu": (node("QuickGelu", ["x"], ["y"], domain=MS), [B, T, W], {}, (B, T, W), 0, 0),
    "SkipLayerNormalization": (
        node("SkipLayerNormalization", ["x", "x", "g", "g", "b"], ["y"], domain=MS), [B, T, W],
        weights(g=(W,), b=(W,)), (B, T, W), 0, 2 * W),
    "NhwcConv": (node("NhwcConv", ["x", "w"], ["y"], domain=MS, pads=[1] * 4), [1, 5, 6, 4],
                 weights(w=(8, 4, 3, 3)), (1, 5, 6, 8), 30 * 8 * 36, 8 * 36),
    "DynamicQuantizeLSTM": (
        node("DynamicQuantizeLSTM", ["x", "w", "r", *[""] * 5, "s", "z", "s", "z"], ["y"],
             domain=MS, hidden_size=3), [T, 1, W],
        {"w": np.zeros((1, W, 12), np.uint8), "r": np.zeros((1, 3, 12), np.uint8),
         "s": np.float32([1]), "z": np.uint8([0])}, (T, 1, 1, 3), T * 12 * (W + 3), 12 * (W + 3)),
    "GridSample": (node("GridSample", ["x", "g"], ["y"]), [1, 3, 9, 9], weights(g=(1, 4, 5, 2)),
                   (1, 3, 4, 5), 0, 0),
    "MoE": (node("MoE", ["x", "p", "f", "", "g"], ["y"], domain=MS, k=2), [T, W],
            weights(p=(T, 4), f=(4, 16, W), g=(4, W, 16)), (T, W), T * 2 * 2 * 16 * W,
            2 * 4 * 16 * W),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_operators_of_onnx_runtime(name: str) -> None:
    made, sides, held, shape, macs, params = OWN[name]
    graph = read([made], {"x": sides}, held)
    layer = graph.layers[-1]
    out = layer.out_shapes[0]
    assert out is not None
    if name == "NhwcConv":
        out = (out[0], *out[2:], out[1])  # a layer's maps have their channels first
    assert (out, graph.macs, graph.params) == (shape, macs, params)
    assert not graph.unsupported


@pytest.mark.parametrize("name", ["Attention", "Attention of other widths", "MultiHeadAttention",
                                  "MatMulNBits", "DynamicQuantizeMatMul", "FusedMatMul, turned",
                                  "FusedMatMul, batch turned", "GridSample",
                                  "DynamicQuantizeLSTM"])  # fmt: skip
def test_their_shapes_are_those_that_onnx_runtime_gives(name: str) -> None:
    made, sides, held, shape, _, _ = OWN[name]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model([made], {"x": sides}, held).SerializeToString(), options, ["CPUExecutionProvider"]
    )
    assert session.run(None, {"x": np.ones(sides, np.float32)})[0].shape == shape


def test_attention_of_opset_23_with_keys_before_and_wider_values() -> None:
    made = node("Attention", ["x", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"])
    held = weights(k=(1, 2, 3, 4), v=(1, 2, 3, 6), pk=(1, 2, 7, 4), pv=(1, 2, 7, 6))
    graph = read([made], {"x": [1, 2, 5, 4]}, held, opset=23, outputs=("y", "nk", "nv"))
    assert graph.macs == 2 * 5 * 10 * (4 + 6)
    assert graph.layers[0].out_shapes == ((1, 2, 5, 6), (1, 2, 10, 4), (1, 2, 10, 6))


# -- windows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dilation", "share"),
    [(1, 1.0), (12, (1 + 2 * 8 / 20) ** 2 / 9), (36, 1 / 9)],
)
def test_taps_of_a_dilated_window_in_the_padding_are_left_out(dilation: int, share: float) -> None:
    made = node("Conv", ["x", "w"], ["y"], pads=[dilation] * 4, dilations=[dilation] * 2)
    graph = read([made], {"x": [1, 4, 20, 20]}, weights(w=(8, 4, 3, 3)))
    assert graph.layers[0].inside == pytest.approx(share)
    assert graph.macs == 8 * 400 * 36  # as is usual, all taps


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_facts_of_a_convolution_do_not_depend_on_its_rank(
    operator: str, groups: int, rank: int
) -> None:
    from latcast.graph import KERNEL_FACTS, fuse, kernel_facts

    def facts(axes: int) -> dict[str, float]:
        ones = [1] * (axes - 1)
        made = node(operator, ["x", "w"], ["y"], group=groups,
                    pads=[*[0] * (axes - 1), 1] * 2)  # fmt: skip
        held = weights(w=(16, 16 // groups, *ones, 3))
        graph = read([made], {"x": [1, 16, *ones, 100]}, held)
        kernels = fuse(graph)
        return dict(zip(KERNEL_FACTS, kernel_facts(graph, kernels)[0].tolist(), strict=True))

    found = facts(rank)
    assert found == facts(2)
    assert (found["positions"], found["outputs"], found["inputs"]) == (100, 16, 16 // groups)


# -- old opsets and resizing -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "held", "opset", "shape"),
    [
        (node("Add", ["x", "c"], ["y"], broadcast=1, axis=1), weights(c=(4,)), 6, (2, 4, 6, 8)),
        (node("Mul", ["x", "c"], ["y"], broadcast=1, axis=1), weights(c=(4, 6)), 6, (2, 4, 6, 8)),
        (node("Reshape", ["x"], ["y"], shape=[2, -1]), {}, 1, (2, 192)),
        (node("Pad", ["x"], ["y"], paddings=[0, 0, 1, 1, 0, 0, 1, 1]), {}, 1, (2, 4, 8, 10)),
        (node("Upsample", ["x"], ["y"], height_scale=2.0, width_scale=3.0), {}, 1, (2, 4, 12, 24)),
        (node("Cast", ["x"], ["y"], to="INT64"), {}, 5, (2, 4, 6, 8)),
        (node("Concat", ["x", "x"], ["y"]), {}, 1, (2, 8, 6, 8)),
        (node("Tile", ["x", "n", "a"], ["y"]), {"n": i64(3), "a": i64(1)}, 5, (2, 12, 6, 8)),
        (node("Resize", ["x", "", "", "n"], ["y"], keep_aspect_ratio_policy="not_larger",
              axes=[2, 3]), {"n": i64(9, 9)}, 18, (2, 4, 7, 9)),
        (node("Resize", ["x", "", "", "n"], ["y"], keep_aspect_ratio_policy="not_smaller",
              axes=[2, 3]), {"n": i64(9, 9)}, 18, (2, 4, 9, 12)),
        (node("Resize", ["x", "", "", "n"], ["y"], keep_aspect_ratio_policy="not_larger",
              axes=[3, 2]), {"n": i64(4, 30)}, 18, (2, 4, 3, 4)),
    ],
)  # fmt: skip
def test_shapes_of_old_operators_and_of_aspect_policies(
    made: Any, held: Any, opset: int, shape: tuple[int, ...]
) -> None:
    graph = read([made], {"x": [2, 4, 6, 8]}, held, opset=opset)
    assert graph.layers[-1].out_shapes == (shape,)
    assert not graph.unsupported
    if opset >= 18:
        session = ort.InferenceSession(
            model([made], {"x": [2, 4, 6, 8]}, held, opset=opset).SerializeToString()
        )
        assert session.run(None, {"x": np.ones([2, 4, 6, 8], np.float32)})[0].shape == shape


def in_opset(version: int, *nodes: onnx.NodeProto) -> onnx.FunctionProto:
    return helper.make_function("my", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", version)])


@pytest.mark.parametrize(
    ("version", "inner", "shape"),
    [
        (1, node("Concat", ["x", "x"], ["y"]), (2, 6, 4)),  # along axis 1, which is told later
        (11, node("ReduceSum", ["x"], ["y"], axes=[1], keepdims=0), (2, 4)),
        (18, node("ReduceSum", ["x"], ["y"], keepdims=0), ()),
    ],
)
def test_a_function_has_an_opset_of_its_own(
    version: int, inner: onnx.NodeProto, shape: tuple[int, ...]
) -> None:
    made = model([node("F", ["x"], ["y"], domain="my")], {"x": [2, 3, 4]}, opset=18)
    made.functions.append(in_opset(version, inner))
    made.opset_import.append(helper.make_opsetid("my", 1))
    assert read_graph(made.SerializeToString()).layers[-1].out_shapes == (shape,)


def test_a_scan_of_samples_is_refused_by_its_opset() -> None:
    made = node("Scan", ["", "s", "x"], ["y", "z"], num_scan_inputs=1, body=branch(4))
    with pytest.raises(ValueError, match="must be of opset 9 or later; got one of 8"):
        read([made], {"s": [3, 4], "x": [3, 5, 4]}, opset=8)


def test_what_an_optional_holds_and_frames_of_a_spectrum_have_shapes() -> None:
    nodes = [node("Optional", ["x"], ["o"]), node("OptionalGetElement", ["o"], ["g"]),
             node("STFT", ["g", "step", "", "length"], ["y"])]  # fmt: skip
    held = {"step": np.array(64), "length": np.array(128)}
    (shape,) = read(nodes, {"x": [1, 640]}, held).layers[-1].out_shapes
    made = model(nodes[2:], {"g": [1, 640]}, held).SerializeToString()
    given = ort.InferenceSession(made).run(None, {"g": np.ones([1, 640], np.float32)})
    assert shape == given[0].shape == (1, 9, 65, 2)


# -- operators that runtimes are slow at -----------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "held", "op", "least"),
    [
        (node("Resize", ["x", "", "s"], ["y"], mode="cubic"),
         {"s": np.array([1, 1, 2, 2], np.float32)}, "resize_cubic", 300),
        (node("Resize", ["x", "", "s"], ["y"], mode="linear"),
         {"s": np.array([1, 1, 2, 2], np.float32)}, "resize", 1),
        (node("GridSample", ["x", "g"], ["y"], mode="cubic"), weights(g=(1, 5, 5, 2)),
         "grid_sample_cubic", 100),
        (node("GridSample", ["x", "g"], ["y"]), weights(g=(1, 5, 5, 2)), "grid_sample", 4),
        (node("Pow", ["x", "e"], ["y"]), {"e": np.array(2, np.float32)}, "pow", 1),
        (node("Pow", ["x", "e"], ["y"]), {"e": np.array(0.3, np.float32)}, "power", 10),
        (node("Pow", ["x", "x"], ["y"]), {}, "power", 10),
        (node("LpPool", ["x"], ["y"], kernel_shape=[3, 3]), {}, "lp_pool", 50),
        (node("GlobalLpPool", ["x"], ["y"]), {}, "global_lp_pool", 20),
        (node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2]), {}, "max_pool_indices", 10),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2]), {}, "max_pool", 1),
        (node("TopK", ["x", "k"], ["y", "i"]), {"k": i64(3)}, "top_k", 5),
        (node("Atanh", ["x"], ["y"]), {}, "hyperbolic", 20),
        (node("Shrink", ["x"], ["y"]), {}, "shrink", 5),
    ],
)  # fmt: skip
def test_slow_operators_are_told_apart(made: Any, held: Any, op: str, least: float) -> None:
    """Their shapes are those that ONNX Runtime gives, their slowdowns those that it has."""
    graph = read([made], {"x": [1, 4, 9, 9]}, held, opset=20)
    assert graph.layers[-1].op == op
    assert OPERATORS[op].slowdown >= least
    content = model([made], {"x": [1, 4, 9, 9]}, held, opset=20).SerializeToString()
    given = ort.InferenceSession(content).run(None, {"x": np.full([1, 4, 9, 9], 0.5, np.float32)})
    assert graph.layers[-1].out_shapes[0] == given[0].shape


# -- constants -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "held", "params", "size"),
    [
        ([node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "w"], ["y"])],
         weights(w=(8, 8)), 64, 256),
        ([node("MatMul", ["x", "w"], ["h"]), node("Transpose", ["w"], ["t"]),
          node("MatMul", ["h", "t"], ["y"])], weights(w=(8, 8)), 64, 256),
        ([node("Slice", ["w", "a", "b", "one"], ["l"]),
          node("Slice", ["w", "b", "c", "one"], ["r"]),
          node("MatMul", ["x", "l"], ["p"]), node("MatMul", ["x", "r"], ["q"]),
          node("Add", ["p", "q"], ["y"])],
         {**weights(w=(8, 8)), "a": i64(0), "b": i64(4), "c": i64(8), "one": i64(1)}, 64, 256),
        ([node("MatMul", ["x", "w"], ["h"]),
          node("Loop", ["n", "", "h"], ["y"], body=body(
              [node("MatMul", ["s", "w"], ["t"]), node("Identity", ["c"], ["d"])],
              {"i": (TensorProto.INT64, []), "c": (TensorProto.BOOL, []),
               "s": (TensorProto.FLOAT, [1, 8])}, ["d", "t"], {}))],
         {**weights(w=(8, 8)), "n": np.array(5)}, 64, 256),
        ([node("Constant", [], ["b"], value_floats=[0.5] * 8), node("Add", ["x", "b"], ["y"])],
         {}, 8, 32),
        ([node("Odd", ["x", "w"], ["y"], domain="odd")], weights(w=(8, 8)), 64, 256),
        ([node("Einsum", ["x", "w", "v"], ["y"], equation="ai,ij,jk->ak")],
         weights(w=(8, 8), v=(8, 4)), 96, 384),
    ],
    ids=["twice", "turned", "in parts", "in a body", "floats of a node", "of an unknown operator",
         "of a long sum"],
)  # fmt: skip
def test_constants_count_once(nodes: list[Any], held: Any, params: int, size: int) -> None:
    total = Inspection.of(read(nodes, {"x": [1, 8]}, held)).total
    assert (total.params, total.param_bytes) == (params, size)
