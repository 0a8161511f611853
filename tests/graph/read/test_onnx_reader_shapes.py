"""Shapes and computed constants of ONNX models, against onnxruntime and onnx's own inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import model

from latcast.graph import Graph
from latcast.graph.read.onnx import read_onnx

node = helper.make_node
ort.set_default_logger_severity(4)


def outcome(made: onnx.ModelProto, shapes: dict[str, Any]) -> tuple[int, ...] | None:
    """Shape of the output that onnxruntime really gives; None where it refuses the model."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(
            made.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feeds = {n: np.ones(s, np.float32) for n, s in shapes.items()}
        return tuple(session.run(None, feeds)[0].shape)
    except Exception:  # noqa: BLE001  # the runtime has many types for a wrong model
        return None


def inferred(made: onnx.ModelProto) -> tuple[int, ...] | None:
    """Shape of the output that onnx infers; None where it does not tell all of it."""
    try:
        done = onnx.shape_inference.infer_shapes(made, data_prop=True)
    except Exception:  # noqa: BLE001  # likewise
        return None
    kind = done.graph.output[0].type.tensor_type
    dims = [d.dim_value for d in kind.shape.dim if d.HasField("dim_value")]
    whole = kind.HasField("shape") and len(dims) == len(kind.shape.dim)
    return tuple(dims) if whole else None


def check(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Any],
    constants: dict[str, Any],
    *,
    agreed: bool = True,
) -> None:
    """The shape is that of what runs, and (where both agree) that of onnx's inference."""
    made = model(nodes, inputs, constants, opset=18)
    expected = outcome(made, inputs)
    assert expected is not None, "onnxruntime refuses what was drawn"
    assert 0 not in expected
    graph: Graph = read_onnx(made.SerializeToString())
    assert not graph.unsupported
    assert graph.layers[graph.outputs[0]].out_shapes[0] == expected
    assert not agreed or inferred(made) in {None, expected}


small = st.integers(1, 4)
AUTO_PADS = st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])


@st.composite
def windows(draw: Any, rank: int, *, pool: bool = False) -> dict[str, Any]:
    """Attributes of a window that slides along some axes, its size ``kernel_shape`` among them."""

    def each(strategy: Any) -> list[int]:
        return draw(st.lists(strategy, min_size=rank, max_size=rank))

    window = {"kernel_shape": each(small), "strides": each(st.integers(1, 3))}
    window["auto_pad"] = draw(AUTO_PADS)
    if pool and window["auto_pad"].startswith("SAME"):
        # With a longer stride, the padding that keeps a pool's side would be negative.
        window["strides"] = list(map(min, window["strides"], window["kernel_shape"]))
    if window["auto_pad"] == "NOTSET":
        # A pool's padding has to be narrower than its window.
        widest = [min(1, k - 1) if pool else 1 for k in window["kernel_shape"]] * 2
        window["pads"] = [draw(st.integers(0, most)) for most in widest]
        window["dilations"] = each(st.integers(1, 2))
    return window


def sides(data: Any, window: dict[str, Any], more: int) -> list[int]:
    """Sides of an image on which the window finds a place."""
    kernel = window["kernel_shape"]
    steps = window.get("dilations", [1] * len(kernel))
    spans = [(k - 1) * step + 1 for k, step in zip(kernel, steps, strict=True)]
    return [data.draw(st.integers(span, span + more)) for span in spans]


@given(st.data())
@settings(max_examples=60)
def test_convolutions(data: Any) -> None:
    rank = data.draw(st.integers(1, 3))
    groups, inputs, outputs = (data.draw(small) for _ in range(3))
    window = data.draw(windows(rank))
    conv = node("Conv", ["x", "w"], ["y"], group=groups, **window)
    w = np.ones((outputs * groups, inputs, *window["kernel_shape"]), np.float32)
    check([conv], {"x": [2, inputs * groups, *sides(data, window, 6)]}, {"w": w})


@given(st.data())
@settings(max_examples=40)
def test_transposed_convolutions(data: Any) -> None:
    groups, inputs, outputs = (data.draw(small) for _ in range(3))
    window = data.draw(windows(2))
    conv = node("ConvTranspose", ["x", "w"], ["y"], group=groups, **window)
    w = np.ones((inputs * groups, outputs, *window["kernel_shape"]), np.float32)
    # Padding cuts off up to two of the output's rows.
    x = [2, inputs * groups, *(side + 2 for side in sides(data, window, 2))]
    check([conv], {"x": x}, {"w": w}, agreed=False)


@given(st.data())
@settings(max_examples=60)
def test_pools(data: Any) -> None:
    operator = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    window = data.draw(windows(2, pool=True))
    if operator == "AveragePool":
        window.pop("dilations", None)
    if window["auto_pad"] == "NOTSET":
        window["ceil_mode"] = data.draw(st.integers(0, 1))
    made = [node(operator, ["x"], ["y"], **window)]
    # onnx counts a last window that starts beyond the padding.
    x = [1, 3, *sides(data, window, 6)]
    check(made, {"x": x}, {}, agreed=not window.get("ceil_mode"))


def stretchable(data: Any, whole: list[int]) -> list[int]:
    """A shape that is stretched to another one: leading sides left out, others 1."""
    kept = whole[data.draw(st.integers(0, len(whole))) :]
    return [side if data.draw(st.booleans()) else 1 for side in kept]


@given(st.data())
@settings(max_examples=60)
def test_sums_and_products_of_any_shapes(data: Any) -> None:
    whole = data.draw(st.lists(small, max_size=4))
    shapes = {name: stretchable(data, whole) for name in "ab"}
    operator = data.draw(st.sampled_from(["Add", "Mul", "Div", "Pow"]))
    check([node(operator, ["a", "b"], ["y"])], shapes, {})


@given(st.data())
@settings(max_examples=40)
def test_products_of_matrices(data: Any) -> None:
    whole = data.draw(st.lists(small, max_size=2))
    rows, terms, columns = (data.draw(small) for _ in range(3))
    left, right = [rows, terms], [terms, columns]
    shapes = {
        "a": data.draw(st.sampled_from([[terms], left, [*stretchable(data, whole), *left]])),
        "b": data.draw(st.sampled_from([[terms], right, [*stretchable(data, whole), *right]])),
    }
    check([node("MatMul", ["a", "b"], ["y"])], shapes, {})


@st.composite
def slice_of(draw: Any, side: int) -> tuple[int, int, int]:
    """Start, end and step of at least one of ``side`` entries, in any of the ways to write them."""
    step = draw(st.sampled_from([-2, -1, 1, 2, 3]))
    first = draw(st.integers(0, side - 1))
    end = draw(st.integers(first + 1, side) if step > 0 else st.integers(-1, first - 1))
    far = 2**62
    starts, ends = [first, first - side], [end, end - side]
    if step > 0:
        starts += [-side - 2, -far] if first == 0 else []
        ends = [side, side + 2, far] if end == side else ends
    else:
        starts += [side, side + 2, far] if first == side - 1 else []
        ends = [-side - 1, -far] if end == -1 else ends
    return draw(st.sampled_from(starts)), draw(st.sampled_from(ends)), step


@pytest.mark.slow
@given(st.data())
@settings(max_examples=80)
def test_slices(data: Any) -> None:
    shape = [4, 5, 6]
    axes = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
    drawn = [data.draw(slice_of(shape[axis])) for axis in axes]
    starts, ends, steps = zip(*drawn, strict=True)
    constants = dict(zip("abcd", map(np.int64, [starts, ends, axes, steps]), strict=True))
    check([node("Slice", ["x", *"abcd"], ["y"])], {"x": shape}, constants)


@given(
    st.lists(st.floats(0.25, 3.0, width=32), min_size=2, max_size=2),
    st.lists(st.integers(4, 40), min_size=2, max_size=2),  # at least one entry is left
)
@settings(max_examples=40)
def test_resizes(scales: list[float], sides: list[int]) -> None:
    constants = {"s": np.array([1, 1, *scales], np.float32)}
    resize = [node("Resize", ["x", "", "s"], ["y"])]
    # onnx multiplies in double precision.
    check(resize, {"x": [1, 2, *sides]}, constants, agreed=False)


@given(st.data())
@settings(max_examples=60)
def test_moves(data: Any) -> None:
    shape = data.draw(st.lists(small, min_size=3, max_size=4))
    rank = len(shape)
    axis = data.draw(st.integers(-rank, rank - 1))
    axes = data.draw(st.lists(st.integers(0, rank - 1), min_size=1, unique=True))
    count = data.draw(st.integers(1, 3))
    made, constants = data.draw(
        st.sampled_from(
            [
                (node("Reshape", ["x", "t"], ["y"]), {"t": [*[0] * count, -1]}),
                (node("Flatten", ["x"], ["y"], axis=axis), {}),
                (node("Gather", ["x", "t"], ["y"], axis=axis),
                 {"t": np.zeros([side + 1 for side in axes], np.int64)}),
                (node("GatherND", ["x", "t"], ["y"]), {"t": np.zeros((3, count), np.int64)}),
                (node("ScatterND", ["x", "t", "u"], ["y"]),
                 {"t": np.zeros((1, 1), np.int64), "u": np.ones((1, *shape[1:]), np.float32)}),
                (node("Split", ["x"], ["y", "z"][: shape[axis]], axis=axis,
                      num_outputs=min(2, shape[axis])), {}),
                (node("Concat", ["x"] * count, ["y"], axis=axis), {}),
                (node("ReduceMean", ["x", "t"], ["y"], keepdims=count % 2), {"t": axes}),
                (node("ReduceMax", ["x"], ["y"], keepdims=count % 2), {}),
                (node("ArgMax", ["x"], ["y"], axis=axis, keepdims=count % 2), {}),
                (node("Pad", ["x", "t", "", "a"], ["y"]),
                 {"t": [count] * 2 * len(axes), "a": axes}),
                (node("Tile", ["x", "t"], ["y"]), {"t": [count] * rank}),
                (node("Unsqueeze", ["x", "t"], ["y"]), {"t": axes}),
                (node("Transpose", ["x"], ["y"]), {}),
                (node("OneHot", ["x", "d", "v"], ["y"], axis=axis),
                 {"d": np.float32(count), "v": np.ones(2, np.float32)}),
                (node("CumSum", ["x", "d"], ["y"]), {"d": 1}),
                (node("Trilu", ["x"], ["y"]), {}),
            ]
        )
    )  # fmt: skip
    check([made], {"x": shape}, {k: np.asarray(v) for k, v in constants.items()})


# -- constants that are computed --------------------------------------------------------------

BINARY = ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max")
MOVED = ("Gather", "Slice", "Concat", "Unsqueeze", "Transpose", "ReduceSum", "ReduceProd",
         "ReduceMax", "Cast", "Where", "Expand", "Tile", "CumSum", "Split", "Shape",
         "NonZero", "ArgMax", "Trilu", "Neg", "ScatterND", "GatherElements")  # fmt: skip


class Program:
    """A random program on small integers, as one node after the other."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Any] = {}
        self.last = self.constant(data.draw(st.lists(st.integers(-9, 9), min_size=1, max_size=4)))

    def constant(self, value: Any, kind: type = np.int64) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value, kind)
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> None:
        names = [f"{operator}{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(node(operator, list(inputs), names, **attributes))
        self.last = names[0]

    def binary(self) -> None:
        operator = self.data.draw(st.sampled_from(BINARY))
        number = self.data.draw(st.sampled_from([-7, -3, -2, -1, 1, 2, 3, 5]))
        self.add(operator, self.last, self.constant([number]))

    def moved(self) -> None:
        x, k = self.last, self.constant
        operator = self.data.draw(st.sampled_from(MOVED))
        if operator == "Where":
            self.add("Greater", x, k(0))
            self.add("Where", self.last, x, k(1))
        elif operator == "Cast":
            self.add("Cast", x, to=TensorProto.FLOAT)
            self.add("Mul", self.last, k(0.7, np.float32))
            self.add("Floor", self.last)
            self.add("Cast", self.last, to=TensorProto.INT64)
        elif operator == "Split":
            self.add("Concat", x, x, axis=0)
            self.add("Split", self.last, outputs=2, axis=0, num_outputs=2)
        elif operator == "Trilu":
            self.add("Unsqueeze", x, k([0]))
            self.add("Trilu", self.last, k(self.data.draw(st.integers(-2, 2))))
        else:
            more, attributes = {
                "Gather": ([k([0, -1])], {}),
                "Slice": ([k([-1]), k([-(2**62)]), k([0]), k([-1])], {}),
                "Concat": ([k([2, 3])], {"axis": 0}), "Unsqueeze": ([k([0])], {}),
                "Transpose": ([], {}), "ReduceSum": ([k([0])], {"keepdims": 1}),
                "ReduceProd": ([], {"keepdims": 0}), "ReduceMax": ([], {"keepdims": 1}),
                "Expand": ([k([2, 1])], {}), "Tile": ([k([2])], {}), "CumSum": ([k(0)], {}),
                "Shape": ([], {}), "NonZero": ([], {}), "ArgMax": ([], {"keepdims": 1}),
                "Neg": ([], {}), "ScatterND": ([k([[0]]), k([6])], {}),
                "GatherElements": ([k([0, -1])], {}),
            }[operator]  # fmt: skip
            self.add(operator, x, *more, **attributes)
        # Any shape becomes a list again, so that every operator can follow.
        self.add("Reshape", self.last, k([-1]))

    def expand(self) -> None:
        """Make a shape of the numbers: 1 to 5, at most 4 of them."""
        k = self.constant
        self.add("Abs", self.last)
        self.add("Mod", self.last, k(5))
        self.add("Add", self.last, k(1))
        self.add("Slice", self.last, k([0]), k([4]))
        self.add("Expand", "x", self.last)


@given(st.data())
@settings(max_examples=150)
def test_computed_shapes_are_those_of_onnxruntime(data: Any) -> None:
    program = Program(data)
    for _ in range(data.draw(st.integers(1, 5))):
        program.moved() if data.draw(st.booleans()) else program.binary()
    program.expand()
    check(program.nodes, {"x": [1]}, program.constants)


def test_elements_are_gathered_from_long_axes() -> None:
    made = [
        node("GatherElements", ["table", "indices"], ["row"], axis=1),
        node("Reshape", ["row", "flat"], ["shape"]),
        node("Expand", ["x", "shape"], ["y"]),
    ]
    constants = {"table": [list(range(1, 41))] * 2, "indices": [[1, -37]], "flat": [-1]}
    found = read_onnx(model(made, {"x": [1]}, constants).SerializeToString())
    assert found.layers[-1].out_shapes == ((2, 4),)
    check(made, {"x": [1]}, constants)


# -- whole networks ---------------------------------------------------------------------------


def test_shapes_that_follow_from_computed_constants_are_told_apart() -> None:
    made = model(
        [
            node("Relu", ["x"], ["a"], "given"),
            node("Reshape", ["a", "sizes"], ["b"], "told"),
            node("Concat", ["one", "rest"], ["c"], "computed", axis=0),
            node("Reshape", ["b", "c"], ["d"], "reshaped"),
            node("Sigmoid", ["d"], ["e"], "after"),
            node("Reshape", ["e", "whole"], ["f"], "again"),
            node("Transpose", ["w"], ["g"], "weights"),
            node("MatMul", ["f", "g"], ["h"], "product"),
            node("Slice", ["h", "start", "end"], ["i"], "cut"),
        ],
        {"x": (2, 12)},
        {
            "sizes": np.array([4, -1]), "one": np.array([3]), "rest": np.array([8]),
            "whole": np.array([6, 4]), "w": np.ones((5, 4), np.float32), "start": np.array([1]),
            "end": np.array([3]),
        },
    )  # fmt: skip
    layers = read_onnx(made.SerializeToString()).layers
    told = {v.name for v in onnx.shape_inference.infer_shapes(made).graph.value_info}
    dims = {n.name for n in made.graph.node if n.output[0] in told}
    assert [x.name for x in layers if not x.inferred] == ["reshaped", "after"]
    assert {x.name for x in layers[:-1] if x.inferred} <= dims
