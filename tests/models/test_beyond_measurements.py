"""What nobody measured and what cannot run: refused, or told of as widely as it is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

import latcast
from latcast.families import Variant, family
from latcast.models.zoo import UnresolvedError


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    of = family("mobilenet-v2")
    file = tmp_path_factory.mktemp("network") / "mobilenet.onnx"
    file.write_bytes(Variant(of.name, of.published["mobilenet-v2"]).to_onnx())
    return file


@pytest.mark.parametrize(
    ("device", "runtime", "others"),
    [
        ("raspberry-pi-4", "tensorrt", "ncnn, "),
        ("google-tensor-mali-g78", "pytorch", "ncnn-vulkan"),
        ("rtx-4090", "openvino", "pytorch"),
        ("mi100", "tensorrt", "pytorch"),
    ],
)
def test_a_runtime_without_code_for_a_gpu_is_refused(
    network: Path, device: str, runtime: str, others: str
) -> None:
    with pytest.raises(
        UnresolvedError, match=f"runs on GPUs of .* alone; got .*{others}.*--runtime"
    ):
        latcast.forecast(network, device, runtime=runtime)


def test_more_threads_than_cores_are_refused(network: Path) -> None:
    with pytest.raises(UnresolvedError, match="at most the 4 cores of raspberry-pi-4; got 64"):
        latcast.forecast(network, "raspberry-pi-4", threads=64)
    assert latcast.forecast(network, "raspberry-pi-4", threads=4)


def test_a_runtime_that_was_measured_on_other_instruction_sets_alone_is_told_of_widely(
    network: Path,
) -> None:
    devices = ("raspberry-pi-4", "core-i7-12700k")
    arm, x86 = latcast.forecast(network, devices, runtime="openvino", threads=4).devices
    assert arm.upper_ms / arm.lower_ms > 2 * x86.upper_ms / x86.lower_ms
    assert any("no table measured openvino" in note for note in arm.notes)
    assert not any("no table measured" in note for note in x86.notes)


def test_what_a_device_cannot_hold_is_said(network: Path) -> None:
    def notes(batch: int) -> list[str]:
        (row,) = latcast.forecast(network, "rtx-4090", batch=batch).devices
        return [note for note in row.notes if "does not run there" in note]

    assert not notes(8)
    (note,) = notes(100_000)
    assert "more than the 24 GB of rtx-4090" in note


def test_what_is_asked_for_twice_is_answered_once(network: Path) -> None:
    names = ("raspberry-pi-4", "raspberry-pi-4")
    found = latcast.forecast(network, names, precision=("fp32", "fp32"))
    assert [row.device for row in found.devices] == ["raspberry-pi-4"]


def test_a_figure_without_a_part_in_forecasts_varies_and_says_so(network: Path) -> None:
    found = latcast.vary(network, "rtx-4090", "launch_us", [1.0, 20.0])
    first, second = found.points
    assert first.latency_ms == second.latency_ms
    assert "has no part in these forecasts" in "".join(found.doubts())
