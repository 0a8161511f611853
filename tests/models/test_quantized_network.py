"""Networks in int8: which targets answer for them, and what these run of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import latcast as library
from latcast.graph import Graph, GraphBuilder, as_run
from latcast.graph.write.onnx import to_onnx
from latcast.measure.runtimes._onnx_models import parse, random_inputs
from latcast.measure.runtimes._quantized import quantized
from latcast.models.forecast_records import NetworkOnTarget
from latcast.models.resolve import UnresolvedError
from latcast.search.budgets import check

AS_IT_IS = "no precision is asked for: the forecast is for int8, as the network is"
IN_FLOATS = "the network is in int8: the forecast is of the same one dequantized, in"


def network() -> Graph:
    b = GraphBuilder(1)
    x = b.activation(b.conv(b.input(3, 64, 64), 16, 3, padding=1), "relu")
    return b.build(b.linear(b.global_pool(x), 10))


def rows(graph: Graph | Path, device: str, **asked: Any) -> Sequence[NetworkOnTarget]:
    found: Sequence[NetworkOnTarget] = library.forecast(graph, device, **asked).devices
    return found


@pytest.fixture(scope="module")
def floats() -> Graph:
    return network()


@pytest.fixture(scope="module")
def integers(floats: Graph) -> Graph:
    return as_run(floats, "onnxruntime", "int8")


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("rk3588", {"runtime": "ncnn"}),
        ("rk3588", {"runtime": "onnxruntime"}),
        ("rk3588", {"runtime": "onnx"}),
        ("epyc-9654", {"runtime": "openvino", "threads": 1}),
        ("rtx-4090", {"runtime": "tensorrt"}),
        ("rtx-4090", {"runtime": "pytorch"}),
        ("snapdragon-8-gen-2-hexagon", {"runtime": "qnn"}),
        ("snapdragon-8-gen-2-hexagon", {"runtime": "litert"}),
    ],
)
@pytest.mark.parametrize("precision", ["int8", "fp32", "fp16"])
def test_a_network_has_one_forecast_quantized_or_not(
    floats: Graph, integers: Graph, device: str, asked: dict[str, Any], precision: str
) -> None:
    """It was that of the file's bytes and kernels in fp32, and on GPUs and NPUs in int8."""
    (one,), (other,) = (rows(g, device, precision=precision, **asked) for g in (floats, integers))
    assert one.target == other.target
    for name in ("latency_ms", "lower_ms", "upper_ms"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9)
    assert other.precision == "int8"
    assert any(note.startswith(IN_FLOATS) for note in other.notes) == (precision != "int8")


@pytest.mark.parametrize(
    ("device", "target"),
    [
        ("rk3588", "rk3588/ncnn/b1/int8"),
        ("xeon-gold-6226", "xeon-gold-6226/onnxruntime/b1/int8"),
        ("snapdragon-8-gen-2-hexagon", "snapdragon-8-gen-2-hexagon/qnn/b1/int8"),
    ],
)
def test_a_network_in_int8_is_answered_for_int8(integers: Graph, device: str, target: str) -> None:
    (row,) = rows(integers, device)
    assert row.target == target
    asked = rows(integers, device, precision="int8")[0]
    assert (row.latency_ms, row.upper_ms) == (asked.latency_ms, asked.upper_ms)
    assert (AS_IT_IS in row.notes) == (not device.endswith("hexagon"))


def test_where_no_int8_was_measured_the_answer_is_in_floats_and_says_so(integers: Graph) -> None:
    (row,) = rows(integers, "rtx-4090", runtime="pytorch")
    assert row.target == "rtx-4090/pytorch/b1"
    assert any("nothing was measured in int8 by pytorch" in note for note in row.notes)
    assert any(note.startswith(f"{IN_FLOATS} fp32") for note in row.notes)
    assert row.latency_ms == rows(integers, "rtx-4090", precision="fp32")[0].latency_ms


def test_a_whole_target_and_a_model_that_is_named_are_what_they_say(integers: Graph) -> None:
    (row,) = rows(integers, "rk3588/ncnn/b1/t4")
    assert row.target == "rk3588/ncnn/b1/t4"
    assert any(note.startswith(f"{IN_FLOATS} fp32") for note in row.notes)
    # It may have learnt from networks in int8: it is given the file's own kernels.
    (row,) = rows(integers, "epyc-genoa-2c-onnxruntime-b1-t1")
    assert row.target == "epyc-genoa-2c/onnxruntime/b1/t1"
    assert any("interval is widened" in note for note in row.notes)
    assert row.extrapolated_share


def test_which_ranks_targets_in_floats_of_a_network_in_int8(floats: Graph, integers: Graph) -> None:
    devices = ["rk3588", "rtx-4090"]
    one, other = (
        library.which(g, 2.0, devices=devices, precisions=["fp32"]) for g in (floats, integers)
    )
    assert other.notes[0] == "the network is in int8: targets in floats run it dequantized"
    for a, b in zip(one.targets, other.targets, strict=True):
        assert (a.target, a.memory_bytes) == (b.target, b.memory_bytes)
        assert a.latency_ms == pytest.approx(b.latency_ms, rel=1e-9)


def test_which_names_devices_without_int8(integers: Graph) -> None:
    asked: dict[str, Any] = {"runtimes": ["ncnn", "pytorch"]}
    found = library.which(integers, 2.0, devices=["rk3588", "rtx-4090"], **asked)
    assert {t.device for t in found.targets} == {"rk3588"}
    assert any("left out: rtx-4090; --precision fp32 asks" in note for note in found.notes)
    with pytest.raises(UnresolvedError, match=r"no device, runtime and precision.*is in int8"):
        library.which(integers, 2.0, devices=["rtx-4090"], **asked)


@pytest.fixture(scope="module")
def file(floats: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ONNX Runtime's quantizer writes it."""
    model = to_onnx(floats)
    path = tmp_path_factory.mktemp("int8") / "small.onnx"
    path.write_bytes(quantized(model, random_inputs(parse(model), 1)))
    return path


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("rk3588", ("onnx", "onnxruntime")),
        ("rk3588", ("tflite", "litert")),
        ("snapdragon-8-gen-2-hexagon", ("tflite", "litert")),
    ],
)
def test_names_of_a_runtime_mean_the_same_in_int8(
    floats: Graph, device: str, names: Sequence[str]
) -> None:
    """The bytes of integers were counted by one of the names, those of floats by the other."""
    one, other = (
        rows(floats, device, runtime=name, precision="int8")[0].latency_ms for name in names
    )
    assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.slow
def test_measurements_are_suggested_for_a_file_in_int8_as_it_is(
    floats: Graph, integers: Graph
) -> None:
    """They were for a target in fp32, of the file's own kernels."""
    found = library.suggest_for(integers, "rk3588", samples=1)
    assert found.target == "rk3588/ncnn/b1/int8"
    assert AS_IT_IS in found.notes
    assert found.latency_ms == pytest.approx(rows(integers, "rk3588")[0].latency_ms)
    asked = library.suggest_for(integers, "rk3588", samples=1, precision="fp32")
    assert any(note.startswith(f"{IN_FLOATS} fp32") for note in asked.notes)
    same = library.suggest_for(floats, "rk3588", samples=1, precision="fp32")
    assert asked.latency_ms == pytest.approx(same.latency_ms)
    assert asked.networks == same.networks


@pytest.mark.slow
def test_every_door_answers_a_file_in_int8_alike(file: Path, latcast: Any) -> None:
    found = latcast.json("predict", file, "--device", "rk3588")
    (row,) = found["devices"]
    assert (row["target"], row["precision"]) == ("rk3588/ncnn/b1/int8", "int8")
    assert AS_IT_IS in row["notes"]
    run = latcast("predict", file, "--device", "rk3588")
    assert "rk3588/ncnn/b1/int8" in run.stdout
    assert AS_IT_IS in run.stderr
    (point,) = latcast.json("predict", file, "--device", "rk3588", "--sweep", "batch=1")["points"]
    assert point["latency_ms"] == pytest.approx(row["latency_ms"])
    budgets = file.with_name("budgets.toml")
    budgets.write_text(
        f'[[budget]]\nmodel = "{file.name}"\ndevice = "rk3588"\nmax_latency_ms = 100\n'
    )
    checked = check(budgets)
    assert checked.budgets[0].latency_ms == pytest.approx(row["latency_ms"])
    assert any(note.endswith(AS_IT_IS) for note in checked.notes)


@pytest.mark.parametrize(
    ("device", "runtime", "is_told"),
    [
        ("epyc-turin-2c", "onnxruntime", True),
        ("epyc-turin-2c", "openvino", True),
        ("raspberry-pi-4", "onnxruntime", False),
        ("epyc-turin-2c", "ncnn", False),
    ],
)
def test_signed_activations_are_told_where_they_cost(
    integers: Graph, device: str, runtime: str, is_told: bool
) -> None:
    signed = replace(
        integers,
        layers=tuple(
            x._replace(grid=(*x.grid[:2], -128)) if x.op == "quantize" and x.grid else x
            for x in integers.layers
        ),
    )
    for graph, told in ((signed, is_told), (integers, False)):
        (row,) = rows(graph, device, runtime=runtime, precision="int8", threads=1)
        assert any("QuantType.QUInt8" in note for note in row.notes) == told


@pytest.mark.parametrize("runtime", ["ncnn", "onnxruntime", "openvino"])
def test_memory_is_the_same_whichever_file_holds_the_network(
    floats: Graph, integers: Graph, runtime: str
) -> None:
    asked: Any = {"devices": ["epyc-turin-2c"], "runtimes": [runtime], "precisions": ["int8"]}
    of_floats, of_integers = (
        {t.target: t.memory_bytes for t in library.which(g, 5.0, **asked).targets}
        for g in (floats, integers)
    )
    assert of_floats == of_integers != {}
