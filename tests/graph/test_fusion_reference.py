"""Kernels are those that runtimes make: of small variants of all families, and of patterns."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import onnxruntime
import pytest

from latcast.families import Variant, family, family_names
from latcast.graph import OPENVINO_RULES, RULES
from latcast.graph.read.onnx import read_onnx

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def small(name: str, **others: int) -> Variant:
    """The variant with the least of all parameters, but for some."""
    return Variant(name, {k: min(v) for k, v in family(name).parameters.items()} | others)


VARIANTS = (
    small("ofa", arch=704388),
    small("nb201", arch=475879),
    small("fbnet", arch=527045),
    small("resnet", bottleneck=1, depth2=2, groups=4, inner=150),
    small("resnet", groups=1, inner=100, depth1=2),
    small("resnet-cifar", preactivation=1),
    small("mobilenet-v1", relu6=1),
    small("mobilenet-v2", depth3=4),
    small("mobilenet-v3", squeeze=1, width=50),
    small("mobilenet-v3", squeeze=1, native=1),
    small("efficientnet", squeeze=1, silu=1, width=40),
    small("convnext", depth1=2, depth3=2),
    small("convnext", native_gelu=1, native_norm=1, width=24),
    small("vgg"),
    small("squeezenet"),
    small("densenet", bottleneck=4),
    small("vit", patch=32, depth=2),
    small("vit", patch=32, depth=2, native_gelu=1, native_norm=1),
    Variant.parse("mixed(seed=871137,parts=5,mega_macs=20,resolution=48)"),
)
TRACED = tuple(VARIANTS[n] for n in (3, 8, 11, 16))


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return loaded("fusion")


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    return loaded("kernels")


def model(variant: Variant) -> onnx.ModelProto:
    return onnx.load_from_string(variant.to_onnx())


def test_nodes_are_grouped_as_onnx_runtime_groups_them(benchmark: ModuleType) -> None:
    assert {m.family for m in VARIANTS} == set(family_names())
    total = benchmark.Comparison()
    for variant in VARIANTS:
        found = benchmark.compare(model(variant))
        assert found.nodes > 10
        assert found.same >= 0.9, (variant.text, found.different)
        total.add(found)
    assert total.same >= 0.98, total.different


@pytest.mark.parametrize("variant", TRACED, ids=lambda m: m.family)
def test_the_reference_traces_values_to_the_nodes_that_gave_them(
    benchmark: ModuleType, variant: Variant
) -> None:
    original = benchmark.named(model(variant))
    content = original.SerializeToString()
    extended, final = (
        benchmark.optimized(content, f"ORT_ENABLE_{level}") for level in ("EXTENDED", "ALL")
    )
    nodes = [benchmark.Nodes.of(m) for m in (original, extended, final)]
    ends = benchmark.Mapping(*nodes).ends
    x = np.random.default_rng(0).standard_normal((1, 3, 96, 96), dtype=np.float32)
    before, after = values(original, x), values(final, x)
    assert len(ends) > 10
    for tensor, end in ends.items():
        found = after[tensor]
        known = [before[o] for o in nodes[0].nodes[end].output]
        assert any(have_same_values(found, k) for k in known), (tensor, nodes[0].nodes[end].name)


def values(of: onnx.ModelProto, x: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """All tensors that the nodes of a model write, without further optimization."""
    every = onnx.ModelProto()
    every.CopyFrom(of)
    del every.graph.output[:]
    every.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(o) for n in of.graph.node for o in n.output if o
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        every.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": x}), strict=True))


def have_same_values(found: npt.NDArray[np.float32], known: npt.NDArray[np.float32]) -> bool:
    """Whether two tensors hold the same numbers in any order; the last block may be filled up."""
    ours, theirs = np.sort(found.ravel()), np.sort(known.ravel())
    if ours.size > theirs.size:
        # The channels that fill a block up are alike: most often it is their number that repeats.
        numbers, counts = np.unique(ours, return_counts=True)
        filling = np.full(ours.size - theirs.size, numbers[counts.argmax()])
        theirs = np.sort(np.concatenate([theirs, filling]))
    scale = float(np.abs(theirs).max(initial=1e-3))
    is_close = ours.size == theirs.size and np.allclose(ours, theirs, 1e-3, 1e-3 * scale)
    return bool(is_close)


# Patterns of real models. The input is x, the output y; numbers stand for constants.
PATTERNS = {
    "slices that make up a map": "e = Exp(x)  a = Slice(e, i0, i16, i1)  "
    "b = Slice(e, i16, i32, i1)  y = Mul(a, b)",
    "slices, and what reads all": "e = Exp(x)  a = Slice(e, i0, i16, i1)  "
    "b = Slice(e, i16, i32, i1)  r = Relu(e)  y = Concat<axis=1>(a, b, r)",
    "a slice of all by its end": "e = Tanh(x)  a = Slice(e, i0, i32, i1)  y = Exp(a)",
    "a slice of all": "a = Slice(x, i0, last, i1)  y = Exp(a)",
    "slices of a transpose": "t = Transpose<perm=[0,2,1,3]>(x)  a = Slice(t, i0, i16, i2)  "
    "b = Slice(t, i16, i32, i2)  r = Relu(b)  u = Transpose<perm=[0,1,3,2]>(r)  "
    "y = MatMul(a, u)",
    "nothing is added": "a = Exp(x)  b = Add(a, zero)  y = Tanh(b)",
    "nothing is changed by a product": "a = Exp(x)  b = Mul(a, one)  y = Tanh(b)",
    "a factor before a transpose": "a = Exp(x)  b = Mul(a, half)  "
    "t = Transpose<perm=[0,1,3,2]>(b)  y = MatMul(x, t)",
    "an enlarged map": "a = Conv(x, w, v1)  "
    'b = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", '
    'nearest_mode="floor">(a, , twice)  c = Conv(b, w, v2)  y = Add(b, c)',
}


def pattern(text: str) -> onnx.ModelProto:
    parsed = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        pattern (float[1,32,14,14] x) => (float[a,b,c,d] y) {{ {text} }}"""
    )
    whole = {"i0": [0], "i1": [1], "i2": [2], "i16": [16], "i32": [32], "last": [2**63 - 1]}
    real = {"zero": 0.0, "one": 1.0, "half": 0.5, "twice": [1.0, 1.0, 2.0, 2.0]}
    given = {n: np.array(v, np.int64) for n, v in whole.items()}
    given |= {n: np.array(v, np.float32) for n, v in real.items()}
    rng = np.random.default_rng(0)
    given |= {"g": rng.random(14, np.float32), "whole": np.array([1, 32, 14, 14], np.int64)}
    # A bias that several convolutions share stays apart in OpenVINO.
    given |= {n: rng.random((32, 32, 1, 1), np.float32) for n in ("w", "w2")}
    given |= {f"v{n}": rng.random(32, np.float32) for n in (1, 2, 3)}
    parsed.graph.initializer.extend(
        onnx.numpy_helper.from_array(given[n], n)
        for n in sorted({i for x in parsed.graph.node for i in x.input} & set(given))
    )
    return parsed


OPENVINO_PATTERNS = PATTERNS | {
    "HardSigmoid is apart": "a = Conv(x, w, v1)  y = HardSigmoid(a)",
    "HardSwish is not": "a = Conv(x, w, v1)  y = HardSwish(a)",
    "a sum in place": "a = Conv(x, w, v1)  r = Relu(a)  b = Conv(r, w, v2)  c = Conv(b, w, v3)  "
    "s = Add(c, r)  y = Relu(s)",
    "no sum with what is read later": "a = Conv(x, w, v1)  r = Relu(a)  b = Conv(r, w, v2)  "
    "c = Conv(b, w, v3)  s = Add(c, r)  y = Concat<axis=1>(s, r)",
    "no sum after an activation": "a = Conv(x, w, v1)  b = Conv(a, w, v2)  r = Relu(b)  "
    "y = Add(r, a)",
    "a norm of maps": "n = LayerNormalization(x, g, g)  y = Conv(n, w, v1)",
    "attention": "q = Conv(x, w, v1)  k = Conv(x, w2, v2)  t = Transpose<perm=[0,1,3,2]>(k)  "
    "s = MatMul(q, t)  p = Softmax(s)  m = MatMul(p, x)  y = Relu(m)",
    "a widened factor": "m = ReduceMean<axes=[1]>(x)  e = Expand(m, whole)  y = Mul(x, e)",
    "an activation behind a view": "a = Conv(x, w, v1)  t = Transpose<perm=[0,2,3,1]>(a)  "
    "y = Sigmoid(t)",
    "element by element": "a = Exp(x)  b = Mul(a, x)  c = Tanh(b)  d = MaxPool"
    "<kernel_shape=[1,1]>(c)  y = Add(c, d)",
}
RUNTIMES = {"onnxruntime": (RULES, PATTERNS), "openvino": (OPENVINO_RULES, OPENVINO_PATTERNS)}


@pytest.mark.parametrize(
    ("runtime", "name"), [(r, name) for r, (_, patterns) in RUNTIMES.items() for name in patterns]
)
def test_patterns_are_the_kernels_of_runtimes(kernels: ModuleType, runtime: str, name: str) -> None:
    pytest.importorskip(runtime)
    rules, patterns = RUNTIMES[runtime]
    made = pattern(patterns[name])
    of_runtime, nodes = kernels.RUNTIMES[runtime]
    graph = read_onnx(made.SerializeToString())
    found = kernels.compare(kernels.kernels_of(graph, rules, nodes), of_runtime(made))
    assert (found.ours, found.theirs) == ({}, {})
    assert found.same == found.kernels > 0


def test_kernels_are_compared_one_to_one(kernels: ModuleType) -> None:
    ours = [("conv", (1, 20, 8, 8)), ("add", (1, 8, 8, 20)), ("product", (1, 4, 6, 8)),
            ("relu", (1, 3)), ("relu", (1, 3))]  # fmt: skip
    theirs = [("conv", (1, 32, 8, 8)), ("add", (1, 20, 8, 8)), ("product", (24, 8)),
              ("relu", (1, 3)), ("exp", (1, 3))]  # fmt: skip
    found = kernels.compare(ours, theirs)
    assert (found.kernels, found.equal, found.same) == (5, 1, 4)
    assert (found.ours, found.theirs) == ({("relu", (1, 3)): 1}, {("exp", (1, 3)): 1})
