"""ONNX models changed node by node: a graph or a clear error, soon, and nothing else."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from latcast.graph import Graph
from latcast.graph.read.onnx import read_onnx

FILES = 300
# The same files in every run, but at night, when `make nightly` numbers its runs.
FIRST = int(os.environ.get("LATCAST_FUZZ_RUN", "0")) * FILES
MOST_S = 5.0

Change = Callable[[ModelProto, random.Random], None]


def _weights(name: str, *shape: int, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, kind), name)


def _numbers(name: str, values: object) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _model(nodes: list, inputs: dict, outputs: dict, constants: list, **more: object) -> ModelProto:
    def infos(sides: dict) -> list:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sides.items()]

    graph = helper.make_graph(nodes, "g", infos(inputs), infos(outputs), constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, **more)


def _convolutions() -> ModelProto:
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4, strides=[2, 2], name="first"),
        node("Clip", ["c1", "low", "high"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], group=8, kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
        node("BatchNormalization", ["c2", "s", "s", "s", "s"], ["n2"]),
        node("GlobalAveragePool", ["n2"], ["p"]),
        node("HardSigmoid", ["p"], ["h"]),
        node("Mul", ["n2", "h"], ["m"]),
        node("MaxPool", ["m"], ["mp"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("Resize", ["mp", "", "scales"], ["u"], mode="nearest"),
        node("Add", ["u", "m"], ["a"]),
        node("Flatten", ["a"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    constants = [
        _weights("w1", 8, 3, 3, 3), _weights("b1", 8), _weights("w2", 8, 1, 3, 3),
        _weights("s", 8), _weights("w3", 5, 128), _weights("b3", 5),
        numpy_helper.from_array(np.float32(0), "low"),
        numpy_helper.from_array(np.float32(6), "high"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
    ]  # fmt: skip
    return _model(nodes, {"x": ["batch", 3, 8, 8]}, {"y": ["batch", 5]}, constants)


def _tokens() -> ModelProto:
    """An attention block with the shape arithmetic that exporters write, and a function."""
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "zero1"], ["n1"]),
        node("Concat", ["n1", "tail"], ["target"], axis=0),
        node("MatMul", ["x", "w"], ["qkv"]),
        node("Add", ["qkv", "b"], ["biased"]),
        node("Split", ["biased", "parts"], ["q", "k", "v"], axis=2),
        node("Reshape", ["q", "target"], ["q4"]),
        node("Transpose", ["q4"], ["qt"], perm=[0, 2, 1, 3]),
        node("Reshape", ["k", "target"], ["k4"]),
        node("Transpose", ["k4"], ["kt"], perm=[0, 2, 3, 1]),
        node("MatMul", ["qt", "kt"], ["scores"]),
        node("Softmax", ["scores"], ["soft"], axis=-1),
        node("Twice", ["soft"], ["soft2"], domain="local"),
        node("If", ["yes"], ["out"], then_branch=helper.make_graph(
            [node("Relu", ["soft2"], ["inner"])], "then", [],
            [helper.make_tensor_value_info("inner", 1, None)],
        ), else_branch=helper.make_graph(
            [node("Neg", ["soft2"], ["inner"])], "else", [],
            [helper.make_tensor_value_info("inner", 1, None)],
        )),
        node("ReduceMean", ["out"], ["y"], axes=[3], keepdims=0),
    ]  # fmt: skip
    constants = [
        _weights("w", 12, 36), _weights("b", 36), _numbers("zero", 0), _numbers("zero1", [0]),
        _numbers("tail", [5, 3, 4]), _numbers("parts", [12, 12, 12]),
        numpy_helper.from_array(np.array(True), "yes"),
    ]  # fmt: skip
    twice = helper.make_function(
        "local", "Twice", ["a"], ["c"],
        [node("Add", ["a", "a"], ["b"]), node("Mul", ["b", "a"], ["c"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    return _model(nodes, {"x": ["batch", 5, 12]}, {"y": [None] * 3}, constants, functions=[twice])


BASES = (_convolutions, _tokens)


# -- what is done to them ----------------------------------------------------------------------


def _node(model: ModelProto, rng: random.Random):
    return rng.choice(model.graph.node)


def cycle(model: ModelProto, rng: random.Random) -> None:
    node, later = _node(model, rng), _node(model, rng)
    node.input[rng.randrange(len(node.input))] = later.output[0]


def missing_shape(model: ModelProto, rng: random.Random) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def open_sides(model: ModelProto, rng: random.Random) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim[rng.randrange(3) :]:
        dim.dim_param = "some"


def huge_input(model: ModelProto, rng: random.Random) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim in rng.sample(list(dims), min(1, len(dims))):
        dim.dim_value = rng.choice([2**62, 2**40, -1, -(2**63), 2**31])


def huge_constant(model: ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.dims.insert(0, rng.choice([2**62, 2**33, -1, 0, 10**6]))


def unknown_domain(model: ModelProto, rng: random.Random) -> None:
    _node(model, rng).domain = "com.example\x1b[31m"


def unknown_operator(model: ModelProto, rng: random.Random) -> None:
    _node(model, rng).op_type = rng.choice(["Convv", "", "\n", "Loop", "Scan", "NonZero"])


def another_operator(model: ModelProto, rng: random.Random) -> None:
    _node(model, rng).op_type = _node(model, rng).op_type


def missing_input(model: ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    at = rng.randrange(len(node.input))
    node.input[at] = rng.choice(["", "nothing"])


def fewer_inputs(model: ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    del node.input[rng.randrange(len(node.input)) :]


def swapped_inputs(model: ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    inputs = [*node.input, rng.choice(model.graph.initializer).name]
    rng.shuffle(inputs)
    node.input[:] = inputs


def wrong_attribute(model: ModelProto, rng: random.Random) -> None:
    nodes = [n for n in model.graph.node if n.attribute]
    attribute = rng.choice(rng.choice(nodes).attribute)
    attribute.type = rng.choice([1, 2, 3, 4, 5, 6, 7, 0, 10])


def wild_attribute(model: ModelProto, rng: random.Random) -> None:
    nodes = [n for n in model.graph.node if n.attribute]
    attribute = rng.choice(rng.choice(nodes).attribute)
    value = rng.choice([-1, 0, 2**63 - 1, -(2**63), 10**9])
    attribute.i = value
    attribute.ints[:] = [value] * rng.choice([0, 1, 2, 4, 2000])


def duplicated_name(model: ModelProto, rng: random.Random) -> None:
    model.graph.node.append(_node(model, rng))


def wild_number(model: ModelProto, rng: random.Random) -> None:
    """Another shape target, split or scale; NaN among them."""
    held = [t for t in model.graph.initializer if t.data_location != TensorProto.EXTERNAL]
    small = [t for t in held if np.prod(t.dims) <= 4]
    tensor = rng.choice(small)
    name, array = tensor.name, numpy_helper.to_array(tensor).copy()
    extremes = [np.nan, np.inf, -1.0] if array.dtype == np.float32 else [-(2**63), 2**62, -1, 0]
    array = np.full_like(array, rng.choice(extremes))
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def wrong_type(model: ModelProto, rng: random.Random) -> None:
    rng.choice(model.graph.initializer).data_type = rng.choice([0, 8, 16, 22, 99, 7, 11])


def short_data(model: ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.raw_data = tensor.raw_data[: rng.randrange(4)]


def external(model: ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.data_location = TensorProto.EXTERNAL
    places = ["../../etc/passwd", "/etc/passwd", "", "\0"]
    tensor.external_data.add(key="location", value=rng.choice(places))


def endless_functions(model: ModelProto, rng: random.Random) -> None:
    """Functions that call each other, or themselves: doubling, 2 ** 30 times or for ever."""
    del model.functions[:]
    last = rng.choice([0, 30])
    for n in range(31):
        call = f"F{n + 1 if n < 30 else last}"
        nodes = [
            helper.make_node(call, ["a"], ["b"], domain="local"),
            helper.make_node(call, ["b"], ["c"], domain="local"),
        ]
        model.functions.append(helper.make_function("local", f"F{n}", ["a"], ["c"], nodes, []))
    node = _node(model, rng)
    node.op_type, node.domain = "F0", "local"


def deep(model: ModelProto, rng: random.Random) -> None:
    """An ``If`` in an ``If``, 30 times."""
    inner = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [],
        [helper.make_tensor_value_info("y", 1, None)],
    )  # fmt: skip
    for _ in range(30):
        branches = {"then_branch": inner, "else_branch": inner} if _ < 2 else {"then_branch": inner}
        node = helper.make_node("If", ["yes"], ["y"], **branches)
        inner = helper.make_graph([node], "g", [], inner.output)
    del model.graph.node[:]
    model.graph.node.extend(inner.node)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "sure"))
    model.graph.node[0].input[0] = "sure"
    model.graph.output[0].name = "y"


def long_chain(model: ModelProto, rng: random.Random) -> None:
    """2,000 nodes after each other, which a recursion would not survive."""
    last = model.graph.node[-1].output[0]
    for n in range(2_000):
        model.graph.node.add(op_type="Relu", input=[last], output=[f"z{n}"])
        last = f"z{n}"
    model.graph.output[0].name = last


def no_utf8(model: ModelProto, rng: random.Random) -> None:
    model.graph.node[0].name = "NAME-TO-BREAK"


CHANGES: tuple[Change, ...] = (
    cycle, missing_shape, open_sides, huge_input, huge_constant, unknown_domain,
    unknown_operator, another_operator, missing_input, fewer_inputs, swapped_inputs,
    wrong_attribute, wild_attribute, duplicated_name, wild_number, wrong_type, short_data,
    external, endless_functions, deep, long_chain, no_utf8,
)  # fmt: skip


def hostile_file(seed: int) -> bytes:
    """A file that was changed on purpose, once or twice; bytes are in ``test_hostile_files.py``."""
    rng = random.Random(seed)
    model = rng.choice(BASES)()
    CHANGES[seed // 4 % len(CHANGES)](model, rng)
    if seed % 4 == 3:
        rng.choice(CHANGES)(model, rng)
    content = model.SerializeToString()
    return content.replace(b"NAME-TO-BREAK", b"NAME\xff\xfe-BREAK")


def _read(content: bytes) -> Graph | ValueError:
    try:
        return read_onnx(content)
    except ValueError as error:
        return error


def test_the_undamaged_files_are_read() -> None:
    for base in BASES:
        graph = read_onnx(base().SerializeToString())
        assert not graph.unsupported
        assert graph.macs > 0


def check(content: bytes, seed: int) -> bool:
    """Whether a file is a graph; if not, its error is clear. Soon in any case."""
    begin = time.process_time()
    got = _read(content)
    assert time.process_time() - begin < MOST_S, seed
    if isinstance(got, ValueError):
        message = str(got)
        assert type(got) is ValueError, (seed, got)
        assert 10 < len(message) < 600, (seed, message)
        assert message.isprintable(), (seed, message)
    return isinstance(got, Graph)


@pytest.mark.parametrize("start", range(FIRST, FIRST + FILES, 30))
def test_a_hostile_file_gives_a_graph_or_a_clear_error(start: int) -> None:
    for seed in range(start, start + 30):
        check(hostile_file(seed), seed)


@pytest.mark.parametrize("seed", [1751, 4039, 7727, 9462])
def test_branches_that_hold_no_graph_and_weights_beside_are_refused(seed: int) -> None:
    assert not check(hostile_file(seed), seed)
