"""Devices for a network: how they are ranked, and what the exit code tells."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import latcast as library
from latcast.devices import device_files, devices
from latcast.graph import Graph, GraphBuilder, as_run
from latcast.graph.write.onnx import to_onnx
from latcast.models.resolve import UnresolvedError
from latcast.search.which import DeviceAnswer, answer_of
from latcast.search.which import _notes_of_measured as notes_of_measured
from latcast.search.which import _notes_of_width as notes_of_width
from latcast.search.which import _Wanted as Wanted
from latcast.search.within_budget import GraphKernels, KernelTotals

PLANNED = """[next]
title = "Next GPU"
kind = "gpu"
cores = 20480
memory_gb = 48
bandwidth_gb_s = 1800
peak_fp32_flops = 120e12
source = "the design as of today"
"""
ASKED = ["raspberry-pi-4", "rtx-4090"]


def network(width: int = 16, features: int = 10) -> Graph:
    b = GraphBuilder(1)
    x = b.activation(b.conv(b.input(3, 64, 64), width, 3, padding=1), "relu")
    return b.build(b.linear(b.global_pool(x), features))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(to_onnx(network()))
    return path


def test_targets_are_ranked_by_their_chance() -> None:
    found = library.which(network(), 2.0, devices=ASKED)
    order = ["certain", "likely", "unlikely", "no"]
    ranks = [(order.index(t.chance), -t.probability) for t in found.targets]
    assert ranks == sorted(ranks)
    assert sum(found.counts.values()) == len(found.targets) == len(found.to_polars())
    assert {t.device for t in found.targets} == set(ASKED)
    assert all(t.lower_ms <= t.latency_ms <= t.upper_ms for t in found.targets)
    runtimes = {t.target.split("/")[1] for t in found.targets if t.device == "rtx-4090"}
    assert "tensorrt" in runtimes
    assert "ncnn" not in runtimes


def test_a_network_in_int8_runs_in_int8() -> None:
    graph = as_run(network(), "onnxruntime", "int8")
    found = library.which(graph, 2.0, devices=["raspberry-pi-4", "rk3588-npu"])
    assert {t.target.rpartition("/")[2] for t in found.targets} == {"int8"}
    assert found.notes[0] == "the network is in int8: targets in other precisions are left out"
    assert not any("w8a16" in note for note in found.notes)
    floats = library.which(graph, 2.0, devices=["raspberry-pi-4"], precisions=["fp32"])
    assert floats.targets
    (row,) = library.forecast(graph, "raspberry-pi-4", precision="fp32").devices
    assert any("(as it is: --precision int8)" in note for note in row.notes)


@pytest.mark.parametrize("batch", [1, 6])
def test_all_targets_at_once_are_answered_as_one_by_one(batch: int) -> None:
    """CPUs of one core and of many, GPUs with learnt efficiencies, chips that were measured."""
    names = ["raspberry-pi-4", "epyc-9654", "rtx-4090", "tesla-v100", "rk3588-npu", "titan-rtx"]
    graph = network().with_batch(batch)
    kernels = GraphKernels(graph)
    wanted = Wanted([devices()[n] for n in names], None, None, None, None)
    found, _ = wanted.resolved(batch)
    together = {a.target: a for a in library.which(graph, 2.0, devices=names).targets}
    assert len(together) == len(found) > 40
    for one in found:
        answer = answer_of(one, kernels, 2.0, 0.9)
        other = together[answer.target]
        for name in ("latency_ms", "lower_ms", "upper_ms", "probability"):
            assert getattr(answer, name) == pytest.approx(getattr(other, name), rel=1e-9)
        assert (answer.basis, answer.memory_bytes) == (other.basis, other.memory_bytes)


def test_what_does_not_change_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for all targets that fuse alike; by a server, predictors for all networks."""
    made, names = list[str](), ["rtx-4090", "rtx-3090"]

    def counted(name: str, function: Any) -> Any:
        def count(*args: Any) -> Any:
            made.append(name)
            return function(*args)

        return count

    which_module = sys.modules["latcast.search.which"]  # whose function has its name
    monkeypatch.setattr(Wanted, "resolved", counted("predictors", Wanted.resolved))
    monkeypatch.setattr(KernelTotals, "of", counted("memory", KernelTotals.of))
    which_module.resolved.keep(2)
    try:
        found = [library.which(network().with_batch(b), 2.0, devices=names) for b in (1, 1, 2)]
    finally:
        which_module.resolved.keep(0)
    assert found[0] == found[1] != found[2]
    assert made.count("predictors") == 2
    runs = {t.target.partition("/")[2] for t in found[0].targets}
    assert made.count("memory") <= 3 * len(runs) < 3 * len(found[0].targets)
    assert found[0] == library.which(network(), 2.0, devices=names)


def test_answers_are_those_of_a_forecast() -> None:
    graph = network()
    found = library.which(
        graph, 2.0, devices=["rk3588"], runtimes=["ncnn"], precisions=["fp32"]
    )  # fmt: skip
    (row,) = library.forecast(graph, "rk3588", runtime="ncnn", precision="fp32").devices
    (answer,) = found.targets
    assert answer.target == row.target
    assert answer.latency_ms == pytest.approx(row.latency_ms)
    assert (answer.lower_ms, answer.upper_ms) == pytest.approx((row.lower_ms, row.upper_ms))
    assert answer.memory_bytes == graph.peak_activation_bytes + 4 * graph.params


def test_runtimes_are_those_that_devices_have(tmp_path: Path) -> None:
    """LiteRT has no delegate for the GPUs of computers; OpenVINO was measured on x86 alone.

    A planned GPU, of no known maker, runs PyTorch where its memory is no phone's.
    """
    names = ["rtx-4090", "snapdragon-865-adreno-650", "raspberry-pi-4", "epyc-9654"]
    found = library.which(network(), 2.0, devices=names)
    by_device = {n: {t.target.split("/")[1] for t in found.targets if t.device == n} for n in names}
    assert "tflite" not in by_device["rtx-4090"]
    assert "tflite" in by_device["snapdragon-865-adreno-650"]
    assert "openvino" not in by_device["raspberry-pi-4"]
    assert "openvino" in by_device["epyc-9654"]
    (tmp_path / "next.toml").write_text(PLANNED)
    with device_files([tmp_path / "next.toml"]):
        found = library.which(network(), 2.0, devices=["next"])
        (row,) = library.forecast(network(), "next").devices
    assert {t.target.split("/")[1] for t in found.targets} == {"pytorch", "inductor", "ncnn-vulkan"}
    assert row.target == "next/pytorch/b1"
    named = library.which(network(), 2.0, devices=["raspberry-pi-4"], runtimes=["openvino"])
    assert {t.target.split("/")[1] for t in named.targets} == {"openvino"}
    assert any("no table measured openvino on raspberry-pi-4" in note for note in named.notes)


@pytest.mark.parametrize("threads", [1, 4])
def test_x86_cpus_are_answered_as_by_a_forecast(threads: int) -> None:
    """By the models of our hosts: `which` asked the joint model alone."""
    asked: Any = {"threads": threads}
    targets: Any = {"runtimes": ["openvino"], "precisions": ["fp32"]}
    (answer,) = library.which(
        network(), 2.0, devices=["core-i7-12700k"], **asked, **targets
    ).targets
    (row,) = library.forecast(
        network(), "core-i7-12700k", runtime="openvino", precision="fp32", **asked
    ).devices
    told = (answer.target, answer.latency_ms, answer.lower_ms, answer.upper_ms)
    assert told[0] == row.target
    assert told[1:] == pytest.approx((row.latency_ms, row.lower_ms, row.upper_ms))


def test_targets_are_those_that_can_be() -> None:
    """MNN was measured on x86 alone; PyTorch on GPUs of AMD, too; no card runs QNN or LiteRT."""
    names = ["raspberry-pi-4", "rx-7900-xtx", "raspberry-pi-4-videocore-vi", "edge-tpu"]
    found = library.which(network(), 2.0, devices=names)
    of = {n: {t.target.split("/")[1] for t in found.targets if t.device == n} for n in names}
    assert of["raspberry-pi-4"] == {"ncnn", "onnx", "tflite"}
    assert of["rx-7900-xtx"] == {"pytorch", "ncnn-vulkan"}
    assert of["raspberry-pi-4-videocore-vi"] == {"ncnn-vulkan", "tflite"}
    assert "qnn-dlc" not in of["edge-tpu"]
    assert not any("raspberry-pi-4," in note for note in found.notes)
    few = library.which(network(), 2.0, devices=["raspberry-pi-4", "epyc-9654"], threads=8)
    assert {t.device for t in few.targets} == {"epyc-9654"}
    assert any("threads must be at most" in note for note in few.notes)


def test_answers_for_int8_are_those_of_forecasts_one_by_one() -> None:
    """Runtimes of one set of fusion rules run other kernels of a network in integers."""
    b = GraphBuilder(1)
    x = b.conv(b.input(3, 64, 64), 16, 3, padding=1)
    x = b.activation(b.conv(b.activation(x, "silu"), 16, 3, padding=1), "tanh")
    graph = as_run(b.build(b.linear(b.global_pool(x), 10)), "onnxruntime", "int8")
    found = library.which(graph, 2.0, devices=["raspberry-pi-4"])
    assert {t.target.split("/")[1] for t in found.targets} >= {"onnx", "ncnn"}
    for answer in found.targets:
        runtime = answer.target.split("/")[1]
        (row,) = library.forecast(graph, "raspberry-pi-4", runtime=runtime).devices
        assert answer.latency_ms == pytest.approx(row.latency_ms), runtime


@pytest.mark.parametrize(("name", "other"), [("onnxruntime", "onnx"), ("litert", "tflite")])
def test_a_runtime_has_all_of_its_names(name: str, other: str) -> None:
    options: Any = {"devices": ["raspberry-pi-4"], "precisions": ["fp32"]}
    (one,) = library.which(network(), 2.0, runtimes=[name], **options).targets
    assert library.which(network(), 2.0, runtimes=[other], **options).targets == (one,)


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        # What was measured there says 8 %; 58 % of another runtime is of not knowing it.
        ((("likely", "specification", 8.4, 709.0), ("unlikely", "measurements", 46.0, 107.0)),
         "undecided"),
        ((("likely", "measurements", 8.4, 709.0),), "likely"),
        ((("likely", "specification", 30.0, 80.0),), "likely"),
        ((("certain", "specification", 0.4, 39.0),), "certain"),
        ((("unlikely", "specification", 8.4, 709.0),), "undecided"),
        ((("unlikely", "specification", 40.0, 107.0),), "unlikely"),
        ((("no", "specification", 60.0, 709.0),), "no"),
    ],
)  # fmt: skip
def test_ignorance_keeps_no_budget(
    answers: Sequence[tuple[str, str, float, float]], verdict: str
) -> None:
    rows = tuple(
        DeviceAnswer("a", "cpu", f"a/r{n}/b1", chance, 0.5, 38.0, lower, upper, 1, None, basis)
        for n, (chance, basis, lower, upper) in enumerate(answers)
    )
    found = replace(library.which(network(), 2.0, devices=["raspberry-pi-4"]), targets=rows)
    counts = {name: int(name == verdict) for name in ("certain", "likely", "undecided")}
    told = ", ".join(f"{name} on {n}" for name, n in counts.items())
    assert f": {told} of 1 device" in found.answer()
    assert ("measure a" in found.answer()) == (verdict == "undecided")
    assert ("most probably" in found.answer()) == (verdict in ("certain", "likely"))


def test_what_was_measured_is_told_of_the_undecided() -> None:
    wide = DeviceAnswer(
        "a", "cpu", "a/onnx/b1", "likely", 0.6, 38, 8, 700, 1, None, "specification"
    )
    measured = replace(
        wide, target="a/ncnn/b1", chance="no", probability=0.01, upper_ms=46, lower_ms=35,
        basis="measurements",
    )  # fmt: skip
    (note,) = notes_of_measured([wide, measured])
    assert note == (
        "a is undecided by runtimes that were not measured there; by what was, ncnn/b1, it is "
        "38.00 ms (P(within budget) 1 %)"
    )
    assert not list(notes_of_measured([replace(measured, chance="likely")]))
    found = library.which(network(), 2.0, devices=["raspberry-pi-4"])
    lines = [str(part) for part in replace(found, targets=(wide, measured)).parts()]
    told = ": 0 certain, 0 likely, 1 undecided, 0 unlikely, 1 no"
    assert any(line.endswith(told) for line in lines)


def test_verdicts_count_devices(latcast: Any, file: Path) -> None:
    arguments = ("which", file, "--device", "raspberry-pi-4", "--device", "rtx-4090")
    found = latcast.json(*arguments, "--max-latency", 1e6)
    assert found["verdicts"] == {
        "certain": 2, "likely": 0, "undecided": 0, "unlikely": 0, "no": 0,
    }  # fmt: skip
    text = latcast(*arguments, "--max-latency", 1e6).stdout
    assert text.startswith(
        "small.onnx keeps 1e+06 ms: certain on 2, likely on 0, undecided on 0 of"
    )
    assert "a thread for each core (--threads); latcast measure takes 1" in text


@pytest.mark.parametrize("budget", [1e-9, 1e9])
def test_closed_forms_at_both_ends(budget: float) -> None:
    found = library.which(network(), budget, devices=["raspberry-pi-4"])
    assert {t.chance for t in found.targets} == {"certain" if budget > 1 else "no"}
    assert found.is_met == (budget > 1)


def test_what_does_not_fit_into_memory_does_not_run() -> None:
    # Two billion weights are 8 GB, and half of that in 16 bits.
    graph = network(width=100_000, features=20_000)
    found = library.which(graph, 1e9, devices=["raspberry-pi-3b"])
    has = devices()["raspberry-pi-3b"].memory_gb
    assert has is not None
    too_large = [t for t in found.targets if t.memory_bytes > has * 1e9]
    assert too_large
    assert all(t.chance == "no" for t in too_large)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"devices": ["raspberry"]}, "no device is called"),
        ({"at_least": "maybe"}, "no chance is called"),
        ({"devices": ASKED, "runtimes": ["ncnm"]}, "no runtime is called 'ncnm'; did you mean 'nc"),
        (
            {"devices": ASKED[:1], "runtimes": ["tensorrt"]},
            "there is litert in fp32, int8; ncnn in",
        ),
        (
            {"devices": ASKED[:1], "precisions": ["w8a16"]},
            r"--precision w8a16\); on .*leave both out",
        ),
    ],
)
def test_what_is_not_known_is_refused(options: Any, says: str) -> None:
    with pytest.raises(UnresolvedError, match=says):
        library.which(network(), 1.0, **options)


# --- on the command line ----------------------------------------------------------------------


def test_exit_codes_tell_whether_a_device_is_likely(latcast: Any, file: Path) -> None:
    arguments = ("which", file, "--device", "raspberry-pi-4", "--max-latency")
    assert "certain" in latcast(*arguments, 1e6).stdout
    latcast(*arguments, 1e-6, "--json", code=1, partly=True)
    error = latcast.error(*arguments, -1, code=2)
    assert "--max-latency must be" in error
    assert "no device is called" in latcast.error(
        "which", file, "--device", "raspberry", "--max-latency", 1, code=2
    )
    assert "no kind of device" in latcast.error(
        "which", file, "--kind", "abacus", "--max-latency", 1, code=2
    )


def test_text_has_the_best_of_each_device_and_json_all(latcast: Any, file: Path) -> None:
    arguments = ("which", file, "--max-latency", 1e6, "--device", ASKED[0], "--device", ASKED[1])
    found = latcast.json(*arguments)
    text = latcast(*arguments, "--limit", 1).stdout
    assert len(found["targets"]) > 2
    table = text.partition("\n")[2]
    assert sum(table.count(f"{name}/") for name in ASKED) == 1
    assert "1 more device," in text
    full = latcast(*arguments, "--all").stdout.partition("\n")[2]
    assert sum(full.count(f"{name}/") for name in ASKED) == len(found["targets"])


def test_intervals_that_are_too_wide_to_decide_are_told() -> None:
    wide = DeviceAnswer("a", "cpu", "a/r/b1", "likely", 0.6, 38, 8, 700, 1, None, "specification")
    unlikely = replace(wide, chance="unlikely", probability=0.2)
    narrow = replace(wide, lower_ms=20, upper_ms=50)
    (note,) = notes_of_width([wide, unlikely, narrow])
    assert note.startswith("2 of 3 intervals span more than a factor of 3 about the budget")
    assert not list(notes_of_width([wide, narrow]))
    # Where the budget lies beyond an interval, its width decides nothing.
    decided = [replace(wide, chance=chance) for chance in ("certain", "no")]
    assert not list(notes_of_width([wide, *decided]))

    found = library.which(network(), 2.0, devices=["raspberry-pi-4"], coverage=0.05)
    assert not any("too wide to decide" in note for note in found.notes)


def test_models_of_architectures_alone_answer_where_their_runtime_is_named() -> None:
    found = library.which(network(), 2.0, devices=["raspberry-pi-4"])
    assert "raspberry-pi-4/help/b1" not in {t.target for t in found.targets}
    named = library.which(network(), 2.0, devices=["raspberry-pi-4"], runtimes=["help"])
    assert [t.target for t in named.targets] == ["raspberry-pi-4/help/b1"]
