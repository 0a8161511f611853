"""Kernels are those that runtimes make: of small variants of all families, and of patterns."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import onnx
import onnx.parser
import pytest
from benchmark_files import load_benchmark

from latcast.families import Variant, family, family_names
from latcast.graph import OPENVINO_RULES, RULES
from latcast.graph.read.onnx import read_onnx


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


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    return load_benchmark("kernels")


@pytest.mark.slow
def test_variants_have_the_kernels_of_onnx_runtime(kernels: ModuleType) -> None:
    assert {m.family for m in VARIANTS} == set(family_names())
    total, (of_runtime, nodes) = kernels.Comparison(), kernels.RUNTIMES["onnxruntime"]
    for variant in VARIANTS:
        made = variant.to_onnx()
        ours = kernels.kernels_of(read_onnx(made), RULES, nodes)
        found = kernels.compare(ours, of_runtime(onnx.load_from_string(made)))
        assert found.kernels > 10
        assert found.share >= 0.9, (variant.text, found.ours, found.theirs)
        total.add(found)
    assert total.share >= 0.98, (total.ours, total.theirs)


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
