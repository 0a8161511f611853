"""Which side is the batch, and what shapes inputs get; of ONNX files, and of sides alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx_models import Sides, model

from latcast.graph import Graph
from latcast.graph.read import ReadOptions, UnknownBatchError, read_as_run, read_graph
from latcast.graph.read._expressions import is_expression, solved, value_of
from latcast.graph.read._inputs import KnownInputs, ToldInput, known_inputs
from latcast.graph.read.onnx import read_onnx


def weights(name: str, *shape: int) -> Any:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def content(nodes: list[Any], inputs: dict[str, Sides], constants: list[Any]) -> bytes:
    return bytes(model(nodes, inputs, constants).SerializeToString())


def product(sides: Sides, features: int = 256) -> bytes:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return content([node], {"x": sides}, [weights("w", features, features)])


def convolution(sides: Sides, before: list[Any] = ()) -> bytes:  # type: ignore[assignment]
    reads = before[-1].output[0] if before else "x"
    node = helper.make_node("Conv", [reads, "w"], ["y"], pads=[1] * 4)
    return content([*before, node], {"x": sides}, [weights("w", 64, 64, 3, 3)])


def recurrent(x: Sides, h: Sides, **attributes: Any) -> bytes:
    node = helper.make_node("GRU", ["x", "w", "r", "", "", "h"], ["y"], hidden_size=8, **attributes)
    constants = [weights("w", 1, 24, 4), weights("r", 1, 24, 8)]
    return content([node], {"h": h, "x": x}, constants)


def batch_axes(graph: Graph) -> dict[str, int | None]:
    return {x.name: x.batch_axis for x in graph.sources}


# -- files that fix their sides ----------------------------------------------------------------


@pytest.mark.parametrize("steps", [10, 1000])
def test_a_sequence_first_is_no_batch(steps: int) -> None:
    """The time axis comes first: its length counts, whatever the batch of a target."""
    graph = read_graph(product([steps, 1, 256]))
    assert (graph.macs, graph.batch, graph.notes) == (steps * 256 * 256, None, ())
    with pytest.raises(UnknownBatchError, match=r"batch 8; it tells x \[10+, 1, 256\]: say it"):
        read_graph(product([steps, 1, 256]), batch=8)
    graph = read_graph(product([steps, 1, 256]), batch=8, batch_axis=1)
    assert (graph.macs, graph.batch) == (8 * steps * 256 * 256, 8)
    (note,) = graph.notes
    assert f"side 1 of [{steps}, 1, 256]: it is read for 8 instead of 1" in note
    assert graph.sources[0].change == "side 1: 1 to 8"


@pytest.mark.parametrize(
    ("sides", "before", "axis"),
    [
        ([1, 64, 14, 14], [], 0),
        ([1, 64, 14, 14], [helper.make_node("Relu", ["x"], ["a"])], 0),
        ([1, 14, 14, 64], [helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2])], 0),
        ([64, 14, 14, 1], [helper.make_node("Transpose", ["x"], ["a"], perm=[3, 0, 1, 2])], 3),
    ],
)
def test_a_convolution_says_which_side_is_the_batch(
    sides: Sides, before: list[Any], axis: int
) -> None:
    graph = read_graph(convolution(sides, before), batch=8)
    assert batch_axes(graph) == {"x": axis}
    assert graph.macs == 8 * read_onnx(convolution(sides, before)).macs
    assert len(graph.notes) == 1


def test_images_without_a_batch_have_none() -> None:
    axes = numpy_helper.from_array(np.array([0]), "axes")
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axes"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["y"], pads=[1] * 4),
    ]
    made = content(nodes, {"x": [64, 14, 14]}, [axes, weights("w", 64, 64, 3, 3)])
    assert (read_graph(made).batch, read_graph(made).macs) == (None, 14 * 14 * 64 * 64 * 9)
    with pytest.raises(UnknownBatchError):
        read_graph(made, batch=8)


@pytest.mark.parametrize(
    ("x", "h", "attributes", "axes"),
    [
        ([50, 1, 4], [1, 1, 8], {}, {"h": 1, "x": 1}),
        ([1, 50, 4], [1, 1, 8], {"layout": 1}, {"h": 0, "x": 0}),
        ([50, "N", 4], [1, "N", 8], {}, {"h": 1, "x": 1}),
        ([50, None, 4], [1, None, 8], {}, {"h": 1, "x": 1}),
    ],
)
def test_a_recurrent_state_may_come_first(
    x: Sides, h: Sides, attributes: dict[str, int], axes: dict[str, int]
) -> None:
    graph = read_graph(recurrent(x, h, **attributes), batch=3)
    assert batch_axes(graph) == axes
    assert {s.shape[axes[s.name]] for s in graph.sources} == {3}
    assert read_graph(recurrent(x, h, **attributes)).batch == 1


def test_the_file_may_say_which_side_is_the_batch() -> None:
    from onnx import ModelProto

    model = ModelProto.FromString(product([100, 1, 256]))
    model.graph.input[0].type.tensor_type.shape.dim[1].denotation = "DATA_BATCH"
    assert read_graph(model.SerializeToString(), batch=4).macs == 400 * 256 * 256


def test_a_reshape_that_fixes_the_batch_is_refused_or_goes_along() -> None:
    """A constant target of a Reshape in the file: never wrong work in silence."""
    target = numpy_helper.from_array(np.array([1, 8, 16]), "t")
    nodes = [
        helper.make_node("Reshape", ["x", "t"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    made = content(nodes, {"x": [1, 128]}, [target])
    assert read_graph(made, batch=4, batch_axis=0).macs == 4 * read_graph(made).macs
    mixed = content(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "a"], ["y"]),
        ],
        {"x": [2, 128]},
        [],
    )
    with pytest.raises(ValueError, match="would not do 4 / 2 of its work"):
        read_graph(mixed, batch=4, batch_axis=0)


def test_a_runtime_runs_what_a_file_fixes() -> None:
    made = convolution([1, 64, 14, 14])
    assert read_as_run(made, ReadOptions(), 1).batch == 1
    with pytest.raises(ValueError, match=r"target's, 8; its input 'x' is fixed at \[1, 64, 14, 14"):
        read_as_run(made, ReadOptions(), 8)
    with pytest.raises(UnknownBatchError):
        read_as_run(product([10, 1, 256]), ReadOptions(), 1)


# -- open sides --------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [-1, 0, None, "?", "", "-1", "unk__12", "dynamic_axes_1", "None"])
def test_an_open_first_side_is_the_batch_and_a_note_says_so(side: Any) -> None:
    graph = read_graph(product([side, 3, 256]))
    assert (graph.macs, graph.batch, len(graph.notes)) == (3 * 256 * 256, 1, 1)
    assert "side 0 of input 'x'" in graph.notes[0]
    assert "is open and nothing names it: it is taken for the batch, 1" in graph.notes[0]
    # The definition of what reads it is better than its place.
    assert read_graph(convolution([side, 64, 56, 56])).notes == ()
    assert read_graph(convolution([side, 64, 56, 56])).macs == 115_605_504


@pytest.mark.parametrize("name", ["N", "n", "batch", "batch_size", "Batch", "bs", "input_batch"])
def test_a_side_that_is_called_the_batch_is_it(name: str) -> None:
    graph = read_graph(product([7, name, 256]), batch=4)
    assert (batch_axes(graph), graph.macs, graph.notes) == ({"x": 1}, 28 * 256 * 256, ())
    assert read_graph(product([7, name, 256])).batch == 1


def test_an_open_sequence_first_takes_a_shape() -> None:
    made = product(["seq", "batch", 256])
    assert read_graph(made, shapes={"x": (100, 1, 256)}).macs == 100 * 256 * 256
    graph = read_graph(made, shapes={"seq": (100,)}, batch=2)
    assert (graph.macs, graph.batch) == (200 * 256 * 256, 2)
    with pytest.raises(ValueError, match=r"\[seq, batch, 256\]: give them \(--shape x=128x1x256\)"):
        read_graph(made)


def known(told: dict[str, Sides], dtype: str = "float32", **asked: Any) -> KnownInputs:
    return known_inputs([ToldInput(n, s, dtype) for n, s in told.items()], ReadOptions(**asked))


@pytest.mark.parametrize(
    ("told", "asked", "shapes"),
    [
        # Two sides named "?" are two sides.
        ({"x": ["?", 3, "?", "?"]}, {"shapes": {"x": (1, 3, 4, 5)}}, {"x": (1, 3, 4, 5)}),
        ({"x": ["N", "s"], "z": ["N", "s"]}, {"shapes": {"z": (2, 5)}}, {"x": (2, 5), "z": (2, 5)}),
        ({"x": ["2*N", 4], "m": ["N"]}, {"batch": 3}, {"x": (6, 4), "m": (3,)}),
        ({"x": ["2*N", 4]}, {}, {"x": (2, 4)}),
        ({"x": [1, "2*steps"]}, {"shapes": {"steps": [7]}}, {"x": (1, 14)}),
        ({"x": ["2*N", 4]}, {"batch": 6}, {"x": (6, 4)}),
        (
            {"ids": ["batch", "s"], "past": ["batch", 2, "p", 4], "mask": ["batch", "p + s"]},
            {"shapes": {"ids": (1, 1), "past": (1, 2, 15, 4)}},
            {"ids": (1, 1), "past": (1, 2, 15, 4), "mask": (1, 16)},
        ),
        ({"x": [None, 6], "ids": [None]}, {"batch": 3}, {"x": (3, 6), "ids": (3,)}),
        ({"x": [None, None], "s": [2, None, 128], "r": []},
         {"shapes": {"x": (1, 576), "s": (2, 1, 128)}},
         {"x": (1, 576), "s": (2, 1, 128), "r": ()}),
        ({"x": ["N", 3, "H", "W"]}, {"shapes": {"resolution": (64,)}}, {"x": (1, 3, 64, 64)}),
        ({"x": [-1, 3, -1, -1]}, {"shapes": {"resolution": (64,)}}, {"x": (1, 3, 64, 64)}),
        ({"x": ["b", "tokens"]}, {"shapes": {"sequence": (9,)}}, {"x": (1, 9)}),
        ({"x": ["b", None, 4]}, {"shapes": {"x.1": (9,)}, "batch": 2}, {"x": (2, 9, 4)}),
        ({"x": ["b", "DynamicDimension.0"]}, {"shapes": {"x": (1, 9)}}, {"x": (1, 9)}),
        ({"p": ["b", 2, "past", 4]}, {"shapes": {"p": (1, 2, 0, 4)}}, {"p": (1, 2, 0, 4)}),
        ({"x": None}, {"shapes": {"x": (5, 4)}}, {"x": (5, 4)}),
        ({"a": [1, 4], "b": [1, 9], "c": [5, 1]}, {"batch": 3, "batch_axis": 0},
         {"a": (3, 4), "b": (3, 9), "c": (5, 1)}),
        ({"a": [1, 4], "b": [7, 1]}, {"batch": 3, "batch_axis": {"a": 0, "b": -1}},
         {"a": (3, 4), "b": (7, 3)}),
        ({"x": [4, 3]}, {"batch": 4}, {"x": (4, 3)}),
    ],
)  # fmt: skip
def test_shapes_of_all_kinds_of_sides(
    told: dict[str, Sides], asked: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> None:
    assert {x.name: x.shape for x in known(told, **asked).sources} == shapes


@pytest.mark.parametrize(
    ("told", "asked", "message"),
    [
        ({"x": [1, 3, 8, 8]}, {"shapes": {"x": (1, 3, 9, 8)}}, "side 2 of input 'x' must be 8"),
        ({"x": [1, 3, 8, 8]}, {"shapes": {"x": (2, 3, 8, 8)}}, "--batch asks for another batch"),
        ({"x": ["N", 3]}, {"shapes": {"x": (0, 3)}}, "the batch of input 'x' must be positive"),
        ({"x": ["N", 3]}, {"shapes": {"x": (1, -4)}}, "sides of input 'x' must be positive"),
        ({"x": ["N", 3]}, {"shapes": {"x": (1, 3)}, "batch": 2}, "the batch 2 at side 0"),
        ({"x": ["N", 3]}, {"batch": 0}, "the batch must be positive"),
        ({"x": ["N", 3]}, {"shapes": {"resolution": (9,)}}, "an image is open in no input: x"),
        ({"x": ["N", "s"], "z": ["N", "s"]}, {"shapes": {"x": (2, 3), "z": (2, 4)}},
         "'s' must be the same in all inputs"),
        ({"x": ["N", 4]}, {"shapes": {"x": (1, 4, 4)}}, r"must have 2 sides, as \[N, 4\]"),
        ({"x": ["N", 4]}, {"shapes": {"z": (1, 2)}}, "a shape was given for 'z'; inputs"),
        ({"x": ["N", 4]}, {"shapes": {"s": (9,)}}, "inputs of the model: x; its open sides: N"),
        ({"x": ["N", 4]}, {"shapes": {"x.1": (9,)}}, "side 1 of input 'x' must be 4"),
        ({"x": ["2*N", 4]}, {"batch": 3}, "one that side 0 of input 'x', 2.N, can have; got 3"),
        (
            {"x": ["N", "s"], "m": ["N", "s+1"]},
            {"shapes": {"x": (1, 8), "m": (1, 8)}},
            r"side 1 of input 'm', s\+1, must be 9",
        ),
        ({"x": ["seq", 4]}, {}, "--shape x=128x4"),
        ({"x": [None]}, {}, "--shape x=128"),
        ({"x": [None, 3, None, None]}, {}, "--shape x=1x3x224x224"),
        ({"x": [None, "h", "w", 3]}, {"batch": 8}, "--shape x=8x224x224x3"),
        ({"x": [1, 4]}, {"batch_axis": 2}, "side of an input, from 0; got 2 of x"),
        ({"x": [1, 4]}, {"batch_axis": {"z": 0}}, "a batch axis was given for 'z'"),
        ({"x": [1, 4], "z": [2, 4]}, {"batch": 4, "batch_axis": {"x": 0, "z": 0}}, "have 1, 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    told: dict[str, Sides], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        known(told, **asked)


@pytest.mark.parametrize(
    ("text", "symbols", "value"),
    [
        ("2*N", {"N": 3}, 6), ("floor(H/2) + 1", {"H": 9}, 5), ("p+s", {"p": 3, "s": 4}, 7),
        ("max(a, 4)", {"a": 2}, 4), ("N", {}, None), ("2*N", {}, None), ("1//0", {}, None),
        ("9**9**9", {}, None), ("__import__('os')", {}, None), ("a.b", {"a": 1}, None),
        ("(" * 300, {}, None), (7, {}, 7),
    ],
)  # fmt: skip
def test_expressions_are_arithmetic_and_nothing_else(
    text: Any, symbols: dict[str, int], value: int | None
) -> None:
    assert value_of(text, symbols) == value


def test_a_linear_expression_is_solved_for_its_symbol() -> None:
    assert solved("2*N + 1", 9, {}) == {"N": 4}
    assert solved("2*N", 9, {}) == {}
    assert solved("a*b", 9, {}) == {}
    assert solved("a*b", 12, {"a": 3}) == {"b": 4}
    assert is_expression("batch-size", ["batch", "size"])
    assert not is_expression("batch-size", [])
