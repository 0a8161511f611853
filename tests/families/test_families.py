"""What every family must do, whichever it is."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from latcast.families import Variant, family, family_names, population
from latcast.graph import OPENVINO_RULES, RULES, GraphBuilder, fuse
from latcast.graph.read.onnx import read_onnx

# More than a runtime's sums in another order, less than one wrong weight.
TOLERANCE = 1e-3


@cache
def small_variants(name):
    """The smallest of a few variants; how large they are is no matter here."""
    rng = np.random.default_rng(3)
    drawn = [Variant(name, family(name).sample(rng)) for _ in range(16 if name == "mixed" else 6)]
    return sorted(drawn, key=lambda variant: variant.graph().macs)


VARIANTS = [(name, i) for name in family_names() for i in range(8 if name == "mixed" else 1)]


def run(content, x):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def images(content, batch):
    (value,) = onnx.load_from_string(content).graph.input
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
    assert shape[0] == batch
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def relative(difference, to):
    return np.abs(difference).max() / np.abs(to).max()


@pytest.fixture(params=family_names())
def each(request):
    return family(request.param)


def test_a_family_says_what_it_is(each):
    assert each.title
    assert each.source
    assert each.name in family_names()
    assert all(len(choices) for choices in each.parameters.values())
    assert str(len(each.parameters)) in repr(each)


def test_samples_are_members_and_differ(each):
    rng = np.random.default_rng(0)
    drawn = [each.sample(rng) for _ in range(20)]
    assert all(each.check(p) == p for p in drawn)
    assert len({Variant(each.name, p) for p in drawn}) > 10


@pytest.fixture(params=VARIANTS, ids=lambda x: f"{x[0]}-{x[1]}")
def variant(request):
    name, i = request.param
    return small_variants(name)[i]


class TestFile:
    def test_checker_passes_and_names_are_numbered(self, variant):
        model = onnx.load_from_string(variant.to_onnx())
        onnx.checker.check_model(model, full_check=True)
        nodes = model.graph.node
        for n, node in enumerate(nodes):
            assert node.name == f"{node.name.rsplit('_', 1)[0]}_{n}"
            assert node.output[0] == (f"t{n}" if n < len(nodes) - 1 else "output")
        assert [v.name for v in model.graph.input] == ["input"]
        assert [v.name for v in model.graph.output] == ["output"]

    def test_nothing_is_written_that_nobody_reads(self, variant):
        graph = onnx.load_from_string(variant.to_onnx()).graph
        read = {name for node in graph.node for name in node.input} | {"output"}
        assert {i.name for i in graph.initializer} <= read
        # Of a split, one part may be all that is wanted.
        assert all(set(node.output) & read for node in graph.node)

    def test_runs_alike_at_any_batch(self, variant):
        one, two = variant.to_onnx(batch=1), variant.to_onnx(batch=2)
        x = images(one, 1)
        y = run(one, x)
        assert np.isfinite(y).all()
        assert y.std() > 0
        both = run(two, np.concatenate([x, x * 0.5]))
        assert np.isfinite(both).all()
        assert both.shape == (2, *y.shape[1:])
        assert relative(both[:1] - y, to=y) < TOLERANCE

    def test_same_arguments_same_bytes(self, variant):
        content = variant.to_onnx(seed=4)
        assert content == variant.to_onnx(seed=4)
        other = variant.to_onnx(seed=5)
        assert other != content
        assert len(other) == len(content)

    def test_reader_finds_the_graph(self, variant):
        graph, again = variant.graph(batch=2), read_onnx(variant.to_onnx(batch=2))
        assert again.unsupported == {}
        assert again.macs == graph.macs
        assert again.params == graph.params
        alone, read = variant.graph(), read_onnx(variant.to_onnx())
        for fuses in (RULES, OPENVINO_RULES):
            kernels, same = fuse(alone, fuses), fuse(read, fuses)
            assert [(k.main, k.layers, k.idle) for k in kernels] == [
                (k.main, k.layers, k.idle) for k in same
            ]


@pytest.mark.slow
def test_openvino_agrees():
    ov = pytest.importorskip("openvino")
    core = ov.Core()
    for variant in (small_variants(n)[0] for n in ("convnext", "densenet", "mixed")):
        content = variant.to_onnx()
        x = images(content, 1)
        y = run(content, x)
        options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(content), "CPU", options)
        assert relative(compiled(x)[0] - y, to=y) < TOLERANCE


def test_population_is_within_its_limits():
    variants = population(len(family_names()), seed=1)
    assert [m.family for m in variants] == family_names()
    for variant in variants:
        builder = GraphBuilder()
        graph = builder.build(family(variant.family).build(builder, variant.parameters))
        assert 2e6 <= graph.macs <= 1.6e9
        assert graph.params + builder.folded_params <= 30e6
