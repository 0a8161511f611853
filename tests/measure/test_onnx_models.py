"""Any ONNX model in the runtimes that take one."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from latcast.families import Variant
from latcast.graph.read import ReadOptions
from latcast.measure.runtimes import Runtime, UnsupportedNetworkError, runtime
from latcast.measure.runtimes._onnx_models import LayerNumbers, parse, random_inputs

pytestmark = pytest.mark.worker

WEIGHT = np.random.default_rng(1).standard_normal((6, 4), dtype=np.float32)
TABLE = np.random.default_rng(2).standard_normal((5, 4), dtype=np.float32)


@pytest.fixture(params=["onnxruntime", "openvino", "mnn"])
def kind(request):
    kind = runtime(request.param)
    if importlib.util.find_spec(kind.package) is None:
        pytest.skip(f"{request.param} is not installed")
    return kind


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def two_inputs(batch, *, ids=TensorProto.INT32):
    """A linear layer, and rows of a table, added."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="a"),
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="b"),
        helper.make_node("Add", ["product", "rows"], ["sum"], name="c"),
        helper.make_node("Relu", ["sum"], ["y"], name="d"),
    ]
    inputs = [value("x", [batch, 6]), value("ids", [batch], ids)]
    constants = [numpy_helper.from_array(WEIGHT, "weight"), numpy_helper.from_array(TABLE, "table")]
    graph = helper.make_graph(nodes, "two", inputs, [value("y", [batch, 4])], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def expected(batch):
    x = np.random.default_rng(0).standard_normal((batch, 6), dtype=np.float32)
    return np.maximum(x @ WEIGHT + TABLE[0], 0)


@pytest.mark.parametrize("side", [3, "n", None])
def test_every_input_is_fed_and_an_open_batch_is_the_targets(kind, side):
    loaded = kind(batch=3).load(two_inputs(side).SerializeToString())
    loaded.run()
    np.testing.assert_allclose(loaded.output(), expected(3), rtol=1e-4, atol=1e-5)
    assert loaded.time(2) > 0


def test_data_beside_the_file_is_found(kind, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(
        two_inputs(1), path, save_as_external_data=True, location="model.data", size_threshold=0
    )
    assert (tmp_path / "model.data").stat().st_size >= WEIGHT.nbytes
    loaded = kind().load(path)
    loaded.run()
    np.testing.assert_allclose(loaded.output(), expected(1), rtol=1e-4, atol=1e-5)


def test_a_member_is_profiled_by_the_numbers_of_its_nodes(kind):
    variant = Variant.parse(
        "vit(patch=16,width=96,depth=1,head=32,expand=2,native_gelu=0,native_norm=0,"
        "resolution=96,classes=10)"
    )
    model = variant.to_onnx()
    profile = kind().load(model, profiling=True).profile(5)
    nodes = onnx.load_model_from_string(model).graph.node
    assert set(profile) <= set(range(len(nodes)))
    heavy = [n for n, node in enumerate(nodes) if node.name.startswith(("linear_", "conv_"))]
    # A product is fused with the addition of a bias after it, whose name some keep. OpenVINO's
    # times come in whole microseconds, of which the classifier takes less.
    assert all({n, n + 1} & set(profile) for n in heavy[:-1])
    assert kind().load(model).profile(5) is None


def test_a_model_without_numbers_has_no_profile(kind):
    model = two_inputs(1).SerializeToString()
    assert kind().load(model, profiling=True).profile(5) is None


def test_an_operator_that_nobody_knows_is_an_error(kind):
    model = two_inputs(1)
    model.graph.node[3].op_type = "Nonsense"
    with pytest.raises(Exception, match="Nonsense"):
        kind().load(model.SerializeToString())


class Bare(Runtime):
    name = title = extra = "bare"
    package = "json"

    def _load(self, network, inputs, *, profiling):
        raise NotImplementedError

    def facts(self):
        return {}


def test_a_runtime_without_onnx_says_which_have_it():
    with pytest.raises(UnsupportedNetworkError, match=r"bare does not .* onnxruntime, openvino or"):
        Bare().load(two_inputs(1).SerializeToString())


@pytest.mark.parametrize("content", [b"", b"\x08\x08", b"# a text file\n" * 9])
def test_what_is_no_model_is_refused(content):
    with pytest.raises(UnsupportedNetworkError, match="a model must be an ONNX file"):
        parse(content)


def test_a_fixed_batch_must_be_the_targets():
    with pytest.raises(UnsupportedNetworkError, match=r"which side .* be known"):
        random_inputs(two_inputs(2), 8)
    with pytest.raises(UnsupportedNetworkError, match=r"'x' is fixed at \[2, 6\]: measure with"):
        random_inputs(two_inputs(2), 8, ReadOptions(batch_axis=0))


def test_shapes_that_are_asked_for_are_fed():
    options = ReadOptions(shapes={"x": (5, 6)})
    arrays = random_inputs(two_inputs(None), 5, options)
    assert (arrays["x"].shape, arrays["ids"].shape) == ((5, 6), (5,))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (value("x", [1, "width"]), r"sides of input 'x' must be known; .* \[1, width\]"),
        (value("x", [1, 0]), r"the file tells \[1, \?\]: give them \(--shape x="),
        (value("x", None), "the file tells nothing: give them"),
        (value("x", [1, 1 << 40]), "must hold numbers, at most"),
        (value("x", [1, 6], TensorProto.STRING), "STRING"),
        (helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1]), "must be a tensor"),
    ],
)
def test_inputs_that_cannot_be_filled_are_named(info, message):
    model = two_inputs(1)
    model.graph.input[0].CopyFrom(info)
    with pytest.raises(UnsupportedNetworkError, match=message):
        random_inputs(model, 1)


def test_inputs_have_the_models_types_and_constants_are_none():
    model = two_inputs(2, ids=TensorProto.INT64)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.input.append(value("weight", [6, 4]))
    arrays = random_inputs(model, 2)
    assert {name: (x.dtype.name, x.shape) for name, x in arrays.items()} == {
        "x": ("float16", (2, 6)), "ids": ("int64", (2,))
    }  # fmt: skip
    assert not arrays["ids"].any()
    assert np.array_equal(arrays["x"], random_inputs(model, 2)["x"])


def test_numbers_are_those_of_named_nodes_and_of_what_they_write():
    nodes = [
        helper.make_node("Relu", ["x"], ["t0"], name="relu_0"),
        helper.make_node("Relu", ["t0"], ["inner"], name="model/Relu"),
        helper.make_node("Split", ["inner"], ["a", ""], name="h_split_2"),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", [1, 2])], [value("a", [1, 1])])
    numbers = LayerNumbers.of(helper.make_model(graph).SerializeToString())
    names = ("relu_0", "t0", "inner", "model/Relu", "h_split_2", "a")
    assert [numbers[name] for name in names] == [0, 0, None, None, 2, 2]
    assert numbers.last == 2
