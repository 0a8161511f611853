"""Tools' outputs, as public reports have them (data/tools/README.md says where from)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.families import Variant
from latcast.measure.tools import (
    BenchmarkModel,
    BenchNcnn,
    Job,
    MNNBasic,
    MNNBenchmark,
    OperatorTime,
    Report,
    find_tool,
)

FOLDER = Path(__file__).parent / "data/tools"
MODEL, NCNN, MNN, BASIC = BenchmarkModel(), BenchNcnn(), MNNBenchmark(), MNNBasic()
JOB = Job(threads=4, precision="fp32", warm_up_s=0.5, run_s=1, shape=(1, 3, 224, 192))


def text(name):
    return (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("tool", "name", "report"),
    [
        (MODEL, "benchmark_model-2018", Report(108.787, 10, 108.165, 109.337, 16.46)),
        (MODEL, "benchmark_model-2020",
         Report(33.2094, 50, 32.641, 34.005, 0.855, 49.06, 12.8672)),
        (MODEL, "benchmark_model-2021",
         Report(55.0432, 50, 53.077, 60.727, 18.777, 64.791, 18.7227)),
        (MODEL, "benchmark_model-profile",
         Report(2950.34, 50, 2727.568, 3189.954, 17.187, 3512.391, 46.0859)),
        (MODEL, "benchmark_model-median",
         Report(1239.807, 50, 1238.588, 1252.566, 5.579, 1357.602, 109.832)),
        (MNN, "benchmark.out-2020", Report(5.192, 50, 4.821, 6.496)),
        (MNN, "benchmark.out-2024", Report(13.997, 50, 13.765, 14.354)),
        (BASIC, "MNNV2Basic.out", Report(5.5706, None, 3.863, 11.596001)),
    ],
)  # fmt: skip
def test_outputs_are_read(tool, name, report):
    assert tool.read(text(f"{name}.txt")) == report


def test_the_last_invocation_of_a_log_counts():
    log = text("benchmark_model-2020.txt") + text("benchmark_model-2021.txt")
    assert MODEL.read(log).latency_ms == 55.0432


def test_benchncnn_times_one_network():
    both = text("benchncnn.txt")
    one = both[: both.index("     efficientnet")]
    assert NCNN.read(one) == Report(86.86, 4, 86.61, 87.47)
    # ModuleBasic.out has no sum over operators.
    basic = "Avg= 5.570600 ms, min= 3.863000 ms, max= 11.596001 ms"
    assert BASIC.read(basic).latency_ms == 5.5706
    with pytest.raises(ValueError, match="latency of one network; it printed 2"):
        NCNN.read(both)


@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_profiles_are_those_of_the_timed_passes(ending):
    found = MODEL.read_profile(text(f"benchmark_model-profile.{ending}"))
    assert found[0] == OperatorTime("CONV_2D", "MobilenetV1/MobilenetV1/Conv2d_0/Relu6", 60.957)
    assert [x.kind for x in found] == ["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "SOFTMAX"]
    assert sum(x.ms for x in found) == pytest.approx(111.929)


def test_operators_types_may_have_commas():
    table = (
        "===== Run Order =====\nnode type, first, avg_ms, %, cdf%, mem KB, times called, name\n"
        "Convolution (NHWC, F32) IGEMM, 0.1, 0.25, 50%, 50%, 0, 1, Delegate/Convolution:0\n\n"
    )
    (found,) = MODEL.read_profile(table)
    assert found == OperatorTime("Convolution (NHWC, F32) IGEMM", "Delegate/Convolution:0", 0.25)


def test_mnn_tells_operators():
    found = BASIC.read_profile(text("MNNV2Basic.out.txt"))
    assert found[1] == OperatorTime("Convolution", "483", 0.4526)
    assert len(found) == 3


@pytest.mark.parametrize("tool", [MODEL, NCNN, MNN, BASIC])
@pytest.mark.parametrize("name", ["benchmark_model-crash.txt", "benchmark_model-abi.txt"])
def test_what_is_no_result_is_told_with_the_last_words(tool, name):
    with pytest.raises(ValueError, match=f"{tool.name}.*(Segmentation fault|64-bit ELF file)"):
        tool.read(text(name))


def test_failures_say_what_to_do():
    said = MODEL.failure(126, text("benchmark_model-abi.txt"), "armeabi-v7a")
    assert "code 126" in said
    assert "take the tool's build for this device's ABI, armeabi-v7a" in said
    link = 'CANNOT LINK EXECUTABLE "./a": library "libMNN.so" not found'
    assert "its libraries into one folder" in MNN.failure(1, link)
    assert MODEL.failure(1, " \n").endswith("it printed nothing")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("33209.4", "nan"), "must print"),
        (("33209.4", "-1"), "above 0; got -0.001"),
        (("Inference (avg): 33209.4", "Inference (avg): 99999"), "between the fastest and"),
        (("count=50", "count=0"), "passes of a tool's output must be above 0"),
    ],
)
def test_impossible_figures_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        MODEL.read(text("benchmark_model-2020.txt").replace(*change))


WORDS = st.sampled_from([
    *" \n\t\r.,:=-[]\x00é", "count=", "avg=", "min =", "max =", "1e9", "nan", "inf", "9" * 400,
    "Inference timings in us: Init: 1, First inference: 1, Warmup (avg): 1, Inference (avg): ",
    "[ - ] a.mnn ", "ms", "Avg= ", "loop_count = ", "===== Run Order =====\n", "node type, avg_ms",
    "\t[node type]\t[avg ms]\n", "\tCONV\t1\n", " [Op] run 1 average cost ", "MB): init=1 overall=",
])  # fmt: skip
GARBAGE = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map("".join))


def result(read, output):
    """What a reader makes of an output; or what its error says."""
    try:
        return read(output)
    except ValueError as error:
        return str(error)


@given(GARBAGE)
def test_garbage_is_an_error_and_nothing_else(output):
    for tool in (MODEL, NCNN, MNN, BASIC):
        found = result(tool.read, output)
        assert len(found) < 500 if isinstance(found, str) else found.latency_ms > 0
        found = result(tool.read_profile, output)
        assert len(found) < 500 if isinstance(found, str) else all(x.kind for x in found)


@given(st.data())
def test_cut_outputs_are_read_or_refused(data):
    tool, name = data.draw(st.sampled_from([
        (MODEL, "benchmark_model-profile.txt"), (NCNN, "benchncnn.txt"),
        (MNN, "benchmark.out-2024.txt"), (BASIC, "MNNV2Basic.out.txt"),
    ]))  # fmt: skip
    whole = text(name)
    cut = data.draw(st.integers(0, len(whole)))
    found = result(tool.read, whole[:cut])
    assert tool.name in found if isinstance(found, str) else found.latency_ms > 0


def test_command_lines():
    assert MODEL.command("./benchmark_model", "model.tflite", JOB) == [
        "./benchmark_model", "--graph=model.tflite", "--num_threads=4", "--warmup_runs=1",
        "--warmup_min_secs=0.5", "--num_runs=2", "--min_secs=1", "--max_secs=150",
    ]  # fmt: skip
    # benchncnn takes width, height and channels.
    assert NCNN.command("./benchncnn", "model.param", JOB) == [
        "./benchncnn", "4", "4", "0", "-1", "0", "param=model.param", "shape=[192,224,3]",
    ]  # fmt: skip
    assert MNN.command("./benchmark.out", "model.mnn", JOB)[1:] == ["./", "4", "1", "0", "4", "1"]
    assert BASIC.command("x", "model.mnn", JOB)[1:] == ["model.mnn", "4", "0", "0", "4", "1"]


@pytest.mark.parametrize(("pass_ms", "loops"), [(None, 4), (10.0, 100), (0.01, 1000), (9e9, 4)])
def test_passes_fill_the_time(pass_ms, loops):
    assert Job(1, "fp32", 0, 1, pass_ms).loops == loops


def test_tools_are_found_by_runtime_and_name(tmp_path):
    assert isinstance(
        find_tool("litert", tmp_path / "android_aarch64_benchmark_model"), type(MODEL)
    )
    assert isinstance(find_tool("mnn", tmp_path / "MNNV2Basic.out"), MNNBasic)
    with pytest.raises(ValueError, match=r"must be called benchmark.out or MNNV2Basic.out"):
        find_tool("mnn", tmp_path / "bench")
    with pytest.raises(ValueError, match="runtime with a tool for phones"):
        find_tool("openvino", tmp_path / "bench")


SMALL = "mobilenet-v1(width=25,depth=1,kernel=3,relu6=0,resolution=96,classes=10)"


@pytest.mark.parametrize(
    ("tool", "package", "start"),
    [(MODEL, "ai_edge_litert", b"TFL3"), (NCNN, "latcast", b"7767517"), (MNN, "MNN", b"")],
)
def test_networks_are_written(tool, package, start):
    pytest.importorskip(package)
    ((name, content),) = tool.write(Variant.parse(SMALL).graph(), 0).items()
    assert name == f"model{tool.suffix}"
    assert start in content[:8]
    assert len(content) > 100
