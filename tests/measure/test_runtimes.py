"""The contract that every runtime goes through."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from onnx import helper, numpy_helper

import latcast
from latcast.devices import Target
from latcast.families import Variant
from latcast.graph import GraphBuilder, as_run
from latcast.graph.read import read_graph
from latcast.graph.write.onnx import INPUT, to_onnx
from latcast.measure import Plan, Protocol, class_name, measured
from latcast.measure._worker import WorkerProcess, worker_setup
from latcast.measure.runtimes import (
    RUNTIMES,
    Runtime,
    UnsupportedNetworkError,
    _base,
    _quantized,
    litert,
    onnx_runtime,
    pytorch,
    register_runtime,
    runtime,
)
from latcast.measure.runtimes._onnx_models import denormals
from latcast.measure.runtimes._quantized import quantized
from latcast.measure.runtimes.pytorch import PyTorchCompile
from latcast.networks import OPS, Networks
from latcast.testing import RUNTIME_CHECKS
from latcast.testing.runtimes import assert_close, reference_output, small_network

# PyTorch's compiler uses parts of PyTorch that PyTorch deprecates.
pytestmark = [
    pytest.mark.worker,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


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


@pytest.mark.parametrize("check", RUNTIME_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("kind", "precision"), CPU)
def test_contract(kind, precision, check):
    make(kind, precision=precision)
    check(kind, precision)


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
    assert_close(loaded.output(), reference_output(network, 1), precision, kind.name)


def test_only_a_coarser_quantizer_has_a_smaller_cosine_to_reach():
    expected = np.ones((1, 100), np.float32)
    output = expected.copy()
    output[0, :6] = 0  # a cosine of .97
    assert_close(output, expected, "int8", "litert")
    for name in ("onnxruntime", "openvino", "a-plugin"):
        with pytest.raises(AssertionError, match=r"cosine of 0\.995 or more; got 0\.9695"):
            assert_close(output, expected, "int8", name)


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler"
)
def test_outputs_of_compiled_pytorch_are_those_of_the_reference(tmp_path, monkeypatch):
    """All of the network is compiled: what breaks the graph would leave it to eager mode."""
    made = make(PyTorchCompile, batch=2)
    import torch._dynamo.utils
    import torch._inductor.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    # Headers that are compiled before pay off from the second network on.
    monkeypatch.setattr(torch._inductor.config, "cpp_cache_precompile_headers", False)
    torch._dynamo.utils.counters.clear()
    b = GraphBuilder()  # whose every kernel the C++ compiler takes seconds for
    x = b.activation(b.conv(b.input(3, 9, 9), 8, 3), "h_swish")
    b.add(b.mul(x, 0.5), x)
    network = b.build()
    loaded = made.load(network)
    loaded.run()
    assert_close(loaded.output(), reference_output(network, 2), "fp32")
    assert not torch._dynamo.utils.counters["graph_break"]


NETWORKS = {
    "ofa-mobilenet-v3-w1.0": {"r": [128]},
    "ofa-proxyless": {"r": [128]},
    "ofa-resnet50": {"r": [132]},  # maps of odd sides
    "nasbench201": {},
    "fbnet": {f"layer{n}": [1, 3, 4, 5, 7, 8, 9] for n in range(1, 23)},  # no groups
}


def networks_of(case) -> list[str]:
    """Those that a runtime is put through: what is traced, in one precision as in the other."""
    traced_before = case.values == (TracedOnly, "bf16")
    return ["nasbench201"] if traced_before else list(NETWORKS)


@cache
def network_and_output(name):
    """A network of a space, and what ONNX Runtime computes of it, for all that stand beside it."""
    space = latcast.space(name)
    network = space.network(space.sample(1, seed=3, restrict=NETWORKS[name]))
    reference = make(OWN["onnxruntime"]).load(network)
    reference.run()
    return network, np.array(reference.output())


@pytest.mark.parametrize(
    ("kind", "precision", "name"),
    [pytest.param(*c.values, n, id=f"{c.id}-{n}") for c in CPU for n in networks_of(c)],
)
def test_a_whole_subnet_gives_the_same_outputs(kind, precision, name):
    network, expected = network_and_output(name)
    loaded = make(kind, precision=precision).load(network)
    loaded.run()
    if precision == "int8":
        assert_close(loaded.output(), expected, precision, kind.name)
        return
    error = np.abs(loaded.output() - expected)
    if precision == "fp32":
        assert error.max() <= 1e-4 * max(1.0, np.abs(expected).max())
    else:
        assert error.mean() <= 0.1 * np.abs(expected).mean()


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


def test_public_tables_names_measure_too():
    assert runtime("onnx") is runtime("onnxruntime")
    assert runtime("tflite") is runtime("litert")


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(RUNTIMES, "_things", dict(RUNTIMES._things))
    monkeypatch.setattr(RUNTIMES, "_unread", None)


@pytest.mark.usefixtures("registry")
def test_a_runtime_of_the_user_s_own_is_measured_on(tmp_path, fake):
    assert register_runtime(fake.Own) is fake.Own
    assert runtime("my-own") is fake.Own
    target = Target("here", "my-own", threads=1)
    variant = Variant.parse(
        "mobilenet-v1(width=25,depth=1,kernel=3,relu6=0,resolution=96,classes=10)"
    )
    hasty = Protocol(runs=2, warm_up_s=0.0, run_s=0.0, reference_s=0.0, redo=0)
    found = measured(tmp_path / "a", Plan(target, [variant], hasty))
    truth_ms = sum(fake.graph_ms(found.dataset.graphs[0]))
    assert found.dataset.latency_ms == pytest.approx(truth_ms, rel=0.02)
    with pytest.raises(ValueError, match="'onnxruntime' is latcast's"):
        register_runtime(fake.FakeRuntime)


@pytest.mark.usefixtures("registry")
def test_entry_points_are_runtimes(monkeypatch, fake):
    points = [
        EntryPoint("my-own", "fake_runtime:Own", RUNTIMES.group),
        EntryPoint("broken", "json:JSONDecoder", RUNTIMES.group),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    assert {"my-own", "broken", "onnxruntime"} <= set(RUNTIMES.names())
    assert runtime("my-own") is fake.Own
    with pytest.raises(TypeError, match="must be a subclass of Runtime; got <class 'json"):
        runtime("broken")


@pytest.mark.usefixtures("registry")
def test_incomplete_runtimes_are_refused():
    class Bare(Runtime):
        name = "bare"
        title = "Bare"

    with pytest.raises(TypeError, match="Bare must define package, extra, facts, _load_onnx or"):
        register_runtime(Bare)
    with pytest.raises(ValueError, match=r"must be able to import .*Bare: define it at the top"):
        class_name(Bare)


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


# By its bits: where an earlier test's runtime flushes denormal numbers, 1e-40 is 0 as well.
DENORMAL = np.array([0, 1, 0x3F800000], np.uint32).view(np.float32)


def _squares_of_tiny_numbers() -> bytes:
    """``(x * 2e-20)² * 1e20``: its middle is denormal, its output only where that is flushed 0."""
    weights = [
        numpy_helper.from_array(np.full((1, 64), 2e-20, np.float32), "w"),
        numpy_helper.from_array(np.array([1e20], np.float32), "c"),
        numpy_helper.from_array(DENORMAL, "unused"),
    ]
    parts = (("input", "w", "y"), ("y", "y", "z"), ("z", "c", "output"))
    nodes = [helper.make_node("Mul", [a, b], [to]) for a, b, to in parts]
    ends = [[helper.make_tensor_value_info(n, 1, [1, 64])] for n in ("input", "output")]
    graph = helper.make_graph(nodes, "g", *ends, weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


# ONNX Runtime sets the mode of a thread with the first session of a process.
IN_A_WORKER = """
import sys
from pathlib import Path
from latcast.measure.runtimes import runtime
loaded = runtime(sys.argv[1])().load(Path(sys.argv[2]).read_bytes())
loaded.run()
assert not loaded.output().any()"""


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_denormal_numbers_are_flushed_and_the_facts_say_so(name, tmp_path):
    made = make(runtime(name))
    assert made.flushes_denormals
    assert made.facts()["denormals"].startswith("flushed")
    (tmp_path / "model.onnx").write_bytes(_squares_of_tiny_numbers())
    command = [sys.executable, "-c", IN_A_WORKER, name, tmp_path / "model.onnx"]
    subprocess.run(command, check=True)


def test_denormal_numbers_that_are_kept_are_counted():
    assert denormals(_squares_of_tiny_numbers(), DENORMAL) == 2
    assert not any(OWN[name].flushes_denormals for name in ("litert", "mnn"))


def _integers_of_onnxruntime(loaded) -> list[str]:
    """Operators that ran, by the trace."""
    loaded.run()
    trace = Path(loaded._session.end_profiling())
    events = json.loads(trace.read_text())
    trace.unlink()
    trace.parent.rmdir()
    return [e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time")]


def test_int8_of_onnx_runtime_runs_the_operators_on_integers_that_we_count():
    made = make(OWN["onnxruntime"], precision="int8")
    graph = small_network()
    ran = Counter(_integers_of_onnxruntime(made.load(graph, profiling=True)))
    assert not ran["Conv"] + ran["Add"] + ran["Gemm"]
    ours = Networks.of(graph, Target("here", "onnxruntime", precision="int8", threads=1))
    of_op: Counter[str] = Counter()
    for op, times in zip(ours.ops, ours.counts.toarray()[0], strict=True):
        of_op[OPS[op]] += int(times)
    assert ran["QLinearConv"] == of_op["conv"] + of_op["depthwise_conv"] > 0
    same = (
        ("QLinearAdd", "add"),
        ("QuantizeLinear", "quantize"),
        ("DequantizeLinear", "dequantize"),
    )
    for theirs, op in same:
        assert ran[theirs] == of_op[op] > 0
    assert "quantization" in made.facts()
    assert "quantization" not in make(OWN["onnxruntime"]).facts()


def test_int8_of_openvino_runs_operators_on_integers():
    loaded = make(OWN["openvino"], precision="int8").load(small_network(), profiling=True)
    loaded.run()
    ran = loaded._request.get_profiling_info()
    types = {x.exec_type.rpartition("_")[2] for x in ran if "Convolution" in x.node_type}
    assert types <= {"I8", "i8", "U8", "u8"}
    assert types


def test_a_model_that_is_quantized_is_not_quantized_again(tmp_path):
    graph = small_network()
    once = quantized(to_onnx(graph), {INPUT: graph.inputs()})
    assert quantized(once, {INPUT: graph.inputs()}) is once
    # Nor copied into memory, with all of its external data.
    (path := tmp_path / "once.onnx").write_bytes(once)
    assert quantized(path, {INPUT: graph.inputs()}) is path


def test_quantized_networks_are_kept_where_a_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(_quantized.KEPT, str(tmp_path))
    graph = small_network(side=21)
    model, inputs = to_onnx(graph), {INPUT: graph.inputs()}
    first = quantized(model, inputs)
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == first
    _quantized._quantized.cache_clear()
    monkeypatch.setattr(_quantized, "_made", None)  # it is not made again
    assert quantized(model, inputs) == first


def test_batch_norms_are_quantized_as_parts_of_their_convolutions():
    b = GraphBuilder()
    x = b.activation(b.batch_norm(b.conv(b.input(3, 9, 9), 8, 3, bias=False)), "relu")
    b.classifier(x, 4)
    model = to_onnx(b.build())
    assert b"BatchNormalization" in model
    loaded = make(OWN["onnxruntime"], precision="int8").load(model, profiling=True)
    ran = _integers_of_onnxruntime(loaded)
    assert "QLinearConv" in ran
    assert "BatchNormalization" not in ran


def test_int8_of_litert_is_by_its_own_quantizer():
    pytest.importorskip("ai_edge_quantizer")
    made, plain = make(OWN["litert"], precision="int8"), make(OWN["litert"])
    b = GraphBuilder()
    x = b.activation(b.conv(b.input(3, 20, 20), 64, 3), "relu")
    x = b.max_pool(x, 3, stride=2, padding=1)  # padded with what no integer stands for
    x = b.depthwise(x, 5, 1, "relu6")  # weights that stand behind the file's tables
    b.classifier(x, 10)
    graph = b.build()
    both = [runtime.load(graph) for runtime in (plain, made)]
    for loaded in both:
        loaded.run()
    real, rounded = (loaded.output() for loaded in both)
    assert rounded.dtype == np.float32
    assert np.corrcoef(real.ravel(), rounded.ravel())[0, 1] > 0.9
    model = litert.quantized_tflite(graph, graph.weights(), graph.inputs())
    read = read_graph(model)
    assert read.precisions == {"int8": 1.0}
    assert read.macs == graph.macs
    ours = as_run(graph, "litert", "int8")
    assert ours.precisions == {"int8": 1.0}
    assert "ai-edge-quantizer" in made.facts()["quantization"]
    assert "quantization" not in plain.facts()


class Event:
    """Of CUDA: a pass takes 3 ms on the GPU by them, whatever the clock says."""

    recorded: ClassVar[list[Event]] = []

    def __init__(self, *, enable_timing):
        assert enable_timing

    def record(self):
        self.recorded.append(self)

    def synchronize(self):
        assert self is self.recorded[-1]

    def elapsed_time(self, end):
        assert self.recorded.index(end) == self.recorded.index(self) + 1
        return 3.0


def test_passes_of_pytorch_on_a_gpu_are_timed_by_events(monkeypatch):
    torch = pytest.importorskip("torch")
    waits = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(len(Event.recorded)))
    Event.recorded.clear()
    loaded = pytorch._LoadedOnGPU(torch.nn.Identity(), torch.ones(2))
    assert loaded.time(4) == pytest.approx(0.012)
    assert len(Event.recorded) == 8
    assert waits[0] == 0  # what was under way before is over
    assert loaded.output().tolist() == [1, 1]


def test_onnx_runtime_on_a_gpu_keeps_input_and_output_there(monkeypatch):
    import onnxruntime as ort

    calls = []

    class Binding:
        def __getattr__(self, name):
            def call(*given):
                calls.append((name, *given))
                return [np.ones(3, np.float32)]

            return call

    class Session:
        def io_binding(self):
            return Binding()

        def get_outputs(self):
            return [SimpleNamespace(name="y")]

        def run_with_iobinding(self, binding):
            calls.append(("run",))

    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", lambda x, *on: (x.shape, *on))
    loaded = onnx_runtime._LoadedOnGPU(Session(), {"x": np.zeros((1, 2), np.float32)})
    loaded.run()
    assert calls == [
        ("bind_ortvalue_input", "x", ((1, 2), "cuda", 0)),
        ("bind_output", "y", "cuda", 0),
        ("run",),
        ("synchronize_outputs",),  # a pass is over when it returns
    ]
    assert loaded.output().tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["mnn", "ncnn", "pytorch"])
def test_runtimes_without_int8_name_those_that_have_it(name):
    with pytest.raises(ValueError, match=r"must be fp32.*; got 'int8': .*use onnxruntime or openv"):
        make(OWN[name], precision="int8")


def test_bf16_that_the_cpu_lacks_is_refused_by_what_it_has(monkeypatch):
    for module in (_base, onnx_runtime):
        monkeypatch.setattr(module, "cpu_features", lambda: ("avx2", "fma"))
    with pytest.raises(ValueError, match=r"pytorch needs one of avx512_bf16.*; this CPU has avx2"):
        OWN["pytorch"](precision="bf16")
    with pytest.raises(ValueError, match=r"onnxruntime has bf16 on ARM.*; this CPU has avx2"):
        OWN["onnxruntime"](precision="bf16")


def test_bf16_of_onnx_runtime_is_asked_for_where_an_arm_cpu_has_it(monkeypatch):
    """Asked for; what becomes of it needs such a CPU."""
    monkeypatch.setattr(onnx_runtime, "cpu_features", lambda: ("asimd", "bf16"))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    made = OWN["onnxruntime"](precision="bf16")
    entry = made._options().get_session_config_entry(onnx_runtime._BF16_PRODUCTS)
    assert (entry, made.facts()["products"][:7]) == ("1", "in bf16")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it has other folders")
def test_onnx_runtime_leaves_nothing_in_the_home_folder(tmp_path):
    """It writes a number of the machine there when it is imported, unless it is told not to."""
    script = "from latcast.measure.runtimes import runtime; runtime('onnxruntime')()"
    environment = {**os.environ, "HOME": str(tmp_path)}
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert not list(tmp_path.iterdir())
