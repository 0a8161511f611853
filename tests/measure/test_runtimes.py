"""The contract that every runtime goes through."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import latcast
from latcast.devices import Target
from latcast.graph import Graph, GraphBuilder, folded
from latcast.graph.write.onnx import to_onnx
from latcast.measure import Protocol, class_name
from latcast.measure._worker import WorkerProcess, worker_setup
from latcast.measure.runtimes import (
    RUNTIMES,
    Runtime,
    UnsupportedNetworkError,
    runtime,
)
from latcast.measure.runtimes.pytorch import PyTorchCompile

# PyTorch's compiler uses parts of PyTorch that PyTorch deprecates.
pytestmark = [
    pytest.mark.worker,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.01}
SPACE = latcast.space("ofa-mobilenet-v3-w1.0")


class TracedOnly(PyTorchCompile):
    """Up to the C++ compiler, which takes many seconds a network; one test of its own runs it."""

    backend = "aot_eager"


OWN = {name: runtime(name) for name in RUNTIMES.names()}

CPU = [
    pytest.param(TracedOnly if r is PyTorchCompile else r, precision, id=f"{name}-{precision}")
    for name, r in OWN.items()
    if r.kind == "cpu"
    for precision in r.precisions
]
GPU = [name for name, r in OWN.items() if r.kind == "gpu"]


def make(kind: type[Runtime], **options) -> Runtime:
    if importlib.util.find_spec(kind.package.split(".")[0]) is None:
        pytest.skip(f"{kind.package} is not installed")
    try:
        return kind(**options)
    except ValueError as error:
        if "this CPU has" not in str(error):
            raise
        pytest.skip(str(error))


def small_network(op: str = "h_swish", side: int = 19) -> Graph:
    """Every operator once, an odd and an even side, strides, a residual and a product."""
    b = GraphBuilder()
    first = b.activation(b.conv(b.input(3, side, side), 16, 3, stride=2), op)
    x = b.activation(b.conv(first, 16, 5, groups=16), "relu6")
    x = b.squeeze_excitation(x, 8, "relu", "h_sigmoid")
    x = b.conv(b.add(b.conv(x, 16), first), 16, 7, stride=2, groups=16)
    main = b.activation(b.unary("Identity", x), "relu")
    x = b.avg_pool(b.channel_shuffle(b.unary("Identity", main), 4), 3, padding=1)
    nothing = b.mul(b.add(x, main), 0.0)
    last = b.conv(b.avg_pool(main, 2, stride=2), 24, 3)
    x = b.add(b.conv(b.avg_pool(nothing, 2, stride=2), 24), last)
    b.classifier(b.activation(b.batch_norm(x), "relu"), 10)
    return folded(b.build())


def expected(graph: Graph, batch: int) -> np.ndarray:
    """The network's output by ONNX's reference implementation."""
    graph = graph.with_batch(batch)
    evaluator = ReferenceEvaluator(to_onnx(graph))
    return evaluator.run(None, {"input": graph.inputs()})[0]


@pytest.mark.parametrize(("kind", "precision"), CPU)
@pytest.mark.parametrize(("batch", "op", "side"), [(1, "h_swish", 19), (3, "relu", 20)])
def test_outputs_are_those_of_the_reference(kind, precision, batch, op, side):
    batch = min(batch, kind.max_batch or batch)
    network = small_network(op, side)
    loaded = make(kind, batch=batch, precision=precision).load(network)
    loaded.run()
    want = expected(network, batch)
    assert loaded.output().shape == want.shape
    assert np.abs(loaded.output() - want).max() <= TOLERANCE[precision] * np.abs(want).max()


@pytest.mark.parametrize(("kind", "precision"), CPU)
def test_grouped_convolutions_and_what_ncnn_makes_of_them(kind, precision):
    b = GraphBuilder()
    x = b.channel_shuffle(b.conv(b.input(12, 9, 9), 24, groups=2), 2)
    b.conv(x, 16, 3, stride=2, groups=4)
    network = b.build()
    made = make(kind, precision=precision)
    if (kind.name, precision) == ("ncnn", "bf16"):
        with pytest.raises(UnsupportedNetworkError, match=r"layer 0: .* grouped"):
            made.load(network)
        return
    loaded = made.load(network)
    loaded.run()
    want = expected(network, 1)
    assert np.abs(loaded.output() - want).max() <= TOLERANCE[precision] * np.abs(want).max()


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler"
)
def test_outputs_of_compiled_pytorch_are_those_of_the_reference(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    network = small_network()
    loaded = make(PyTorchCompile, batch=2).load(network)
    loaded.run()
    want = expected(network, 2)
    assert np.abs(loaded.output() - want).max() <= TOLERANCE["fp32"] * np.abs(want).max()


NETWORKS = {
    "ofa-mobilenet-v3-w1.0": {"r": [128]},
    "ofa-proxyless": {"r": [128]},
    "ofa-resnet50": {"r": [132]},  # maps of odd sides
    "nasbench201": {},
    "fbnet": {f"layer{n}": [1, 3, 4, 5, 7, 8, 9] for n in range(1, 23)},  # no groups
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("kind", "precision"), CPU)
def test_a_whole_subnet_gives_the_same_outputs(kind, precision, name):
    space = latcast.space(name)
    network = space.network(space.sample(1, seed=3, restrict=NETWORKS[name]))
    loaded = make(kind, precision=precision).load(network)
    loaded.run()
    reference = make(OWN["onnxruntime"]).load(network)
    reference.run()
    error = np.abs(loaded.output() - reference.output())
    if precision == "fp32":
        assert error.max() <= 1e-4 * max(1.0, np.abs(reference.output()).max())
    else:
        assert error.mean() <= 0.1 * np.abs(reference.output()).mean()


@pytest.mark.parametrize(("kind", "precision"), CPU)
def test_runs_again_times_and_states_itself(kind, precision):
    made = make(kind, precision=precision)
    loaded = made.load(small_network())
    assert loaded.time(3) > 0
    loaded.run()
    first = loaded.output().copy()
    loaded.run()
    assert np.array_equal(first, loaded.output())
    facts = made.facts()
    assert facts["version"]
    assert {"version", "build", "instructions"} <= set(facts)
    assert all(isinstance(v, str) for v in facts.values())


@pytest.mark.parametrize(("kind", "precision"), CPU)
def test_a_single_block_can_be_loaded(kind, precision):
    network = SPACE.assemble([40])
    batch = min(2, kind.max_batch or 2)
    loaded = make(kind, precision=precision, batch=batch).load(network)
    loaded.run()
    assert loaded.output().shape == network.with_batch(batch).out_shape


@pytest.mark.parametrize(("kind", "precision"), CPU)
def test_an_unknown_operator_is_named(kind, precision):
    b = GraphBuilder()
    b.unary("Erf", b.input(3, 8, 8))
    with pytest.raises(UnsupportedNetworkError, match=r"cannot run the operator erf"):
        make(kind, precision=precision).load(b.build())


@pytest.mark.parametrize(("kind", "precision"), CPU)
def test_profiles_name_layers_of_the_network(kind, precision):
    network = small_network()
    loaded = make(kind, precision=precision).load(network, profiling=True)
    profile = loaded.profile(5)
    if profile is None:
        return
    assert set(profile) <= set(range(len(network.layers)))
    assert sum(profile.values()) > 0
    assert all(ms >= 0 for ms in profile.values())


@pytest.mark.parametrize("kind", [r for r in OWN.values() if r.kind == "cpu"])
def test_impossible_settings_are_refused(kind):
    with pytest.raises(ValueError, match="the precision of"):
        make(kind, precision="int3")
    with pytest.raises(ValueError, match="at least 1"):
        make(kind, threads=0)
    with pytest.raises(ValueError, match="at least 1"):
        make(kind, batch=0)
    if kind.max_batch is not None:
        with pytest.raises(ValueError, match=rf"got batch 9: use batch {kind.max_batch}"):
            make(kind, batch=9)


@pytest.mark.parametrize("name", GPU)
def test_gpu_runtimes_say_what_is_missing(name):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ValueError, match=r"needs (a CUDA GPU|an onnxruntime with)"):
        make(OWN[name], threads=0)


def test_an_unknown_runtime_suggests_the_nearest():
    with pytest.raises(ValueError, match="onnxruntime"):
        runtime("onxruntime")


def test_a_missing_package_says_what_to_type(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'latcast\[onnxruntime\]'"):
        OWN["onnxruntime"]()


@pytest.mark.skipif(
    not Path("/proc/self/task").exists() or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs, and Linux to see where threads are",
)
def test_threads_of_onnx_runtime_are_on_a_cpu_each():
    target = Target("here", "onnxruntime", threads=2)
    setup = worker_setup(target, asdict(Protocol()), class_name(runtime("onnxruntime")))
    with WorkerProcess(setup, threads=2) as worker:
        assert worker.facts["runtime"]["threads"] == "each on a CPU of its own"
        tasks = Path(f"/proc/{worker.pid}/task").iterdir()
        allowed = [os.sched_getaffinity(int(task.name)) for task in tasks]
    for cpu in setup["cpus"]:
        assert {cpu} in allowed
