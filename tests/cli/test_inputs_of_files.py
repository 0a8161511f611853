"""Files whose sides are open, or fixed for another batch, in all commands that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, save
from onnx_models import model

from latcast import sweep

HALF = "epyc-genoa-2c-openvino-b1-bf16-t1"
ONE, MANY = "epyc-genoa-2c-onnxruntime-b1-t1", "help-1080ti-64"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequence first, fixed and open; images of a fixed batch; an open batch and sequence."""
    folder = tmp_path_factory.mktemp("files")
    shapes: dict[str, list[Any]] = {
        "short": [10, 1, 256], "long": [1000, 1, 256], "first": ["seq", "batch", 256],
        "tokens": ["batch", "seq", 256], "nameless": ["?", "?", 256],
    }  # fmt: skip
    for name, sides in shapes.items():
        _save(
            folder / f"{name}.onnx",
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            sides,
            (256,) * 2,
        )
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    _save(folder / "image.onnx", conv, [1, 64, 28, 28], (64, 64, 3, 3))
    return folder


def _save(
    path: Path,
    node: Any,
    sides: list[Any],
    weight: tuple[int, ...],
    kind: int = TensorProto.FLOAT,
    dtype: Any = np.float32,
) -> None:
    held = {"w": np.ones(weight, dtype)}
    save(model([node], {"x": sides}, held, kind=kind), path)


def test_steps_are_no_batch_and_cost_what_they_cost(latcast: Any, files: Path) -> None:
    short, long = (
        latcast.json("predict", files / f"{n}.onnx", "--device", ONE)["devices"][0]
        for n in ("short", "long")
    )
    assert long["latency_ms"] > 20 * short["latency_ms"]
    assert (long["batch"], long["per_sample_ms"]) == (None, None)
    assert "nothing tells which side is the batch" in long["notes"][0]


def test_suggestions_are_for_open_files_too(latcast: Any, files: Path) -> None:
    path = str(files / "first.onnx")
    arguments = ("suggest", "--for", path, "--device", ONE)
    assert "--shape" in latcast.error(*arguments, code=1)
    shaped = ("--shape", "x=8x1x256")
    found = latcast.json(*arguments, *shaped)
    row = latcast.json("predict", path, "--device", ONE, *shaped)["devices"][0]
    assert found["latency_ms"] == pytest.approx(row["latency_ms"])
    message = latcast.error("suggest", "--device", ONE, *shaped, code=2)
    assert "are of the network of --for" in message


def test_forecasts_say_how_many_threads_they_are_for(latcast: Any, files: Path) -> None:
    arguments = ("predict", files / "image.onnx", "--device", "raspberry-pi-4")
    assert "threads: 4 on raspberry-pi-4, one for each core" in latcast(*arguments).stdout
    assert "threads:" not in latcast(*arguments, "--threads", 2).stdout


def test_another_batch_is_said_in_the_table_and_in_json(latcast: Any, files: Path) -> None:
    arguments = ("predict", files / "image.onnx", "--device", MANY)
    record = latcast.json(*arguments)
    assert record["inputs"] == [
        {"name": "x", "shape": [64, 64, 28, 28], "sides": [1, 64, 28, 28], "batch_axis": 0,
         "dtype": "float32"}
    ]  # fmt: skip
    assert record["devices"][0]["batch"] == 64
    assert any("read for 64 instead of 1" in note for note in record["devices"][0]["notes"])
    assert "side 0: 1 to 64" in latcast(*arguments).stdout
    # Nothing tells which side it is: the file's own sides hold.
    record = latcast.json("predict", files / "long.onnx", "--device", MANY)
    assert (record["inputs"][0]["shape"], record["devices"][0]["batch"]) == ([1000, 1, 256], None)
    assert any("the target's batch is 64" in note for note in record["devices"][0]["notes"])
    record = latcast.json("predict", files / "long.onnx", "--device", MANY, "--batch-axis", 1)
    assert record["inputs"][0]["shape"] == [1000, 64, 256]


def test_what_does_not_go_along_with_the_batch_is_said(latcast: Any, tmp_path: Path) -> None:
    """Behind an unknown operator stand shapes that were recorded for batch 1."""
    path = tmp_path / "stale.onnx"
    nodes = [
        helper.make_node("Warp", ["x"], ["a"], domain="com.example"),
        helper.make_node("Conv", ["a", "w"], ["y"], pads=[1] * 4),
    ]
    held = {"w": np.ones((8, 8, 3, 3), np.float32)}
    save(model(nodes, {"x": ["N", 8, 9, 9]}, held, values={"a": [1, 8, 9, 9]}), path)
    device = latcast.json("predict", path, "--device", MANY)["devices"][0]
    said = "with batch 64 instead of 1 the network has 1 times the MACs"
    assert any(said in note for note in device["notes"])


@pytest.mark.parametrize(
    ("arguments", "macs"),
    [
        (("inspect", "first.onnx", "--shape", "x=100x1x256"), 100),
        (("predict", "first.onnx", "--shape", "x=100x1x256", "--device", ONE), 100),
        (("inspect", "first.onnx", "--shape", "seq=100", "--batch", 2), 200),
        (("inspect", "nameless.onnx", "--shape", "x=3x5x256"), 15),
        (("predict", "nameless.onnx", "--shape", "x=3x5x256", "--device", ONE), 15),
        (("inspect", "long.onnx", "--batch", 4, "--batch-axis", "x=1"), 4000),
    ],
)
def test_a_shape_that_the_file_admits_holds(
    latcast: Any, files: Path, arguments: tuple[Any, ...], macs: int
) -> None:
    command, name, *options = arguments
    record = latcast.json(command, files / name, *options)
    total = record["total"] if command == "inspect" else record["network"]
    assert total["macs"] == macs * 256 * 256


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("inspect", "image.onnx", "--shape", "x=1x64x32x28"), 1, "side 2 of input 'x' must be 28"),
        (("inspect", "long.onnx", "--batch", 8), 1, "say it (--batch-axis 0)"),
        (("inspect", "first.onnx"), 1, "--shape x=128x1x256"),
        (("inspect", "first.onnx", "--batch-axis", "one"), 2, "--batch-axis must be like 0"),
        (
            ("predict", "tokens.onnx", "--device", ONE, "--sweep", "seq=a"),
            2,
            "must be like",
        ),
        (("predict", "image.onnx", "--device", ONE, "--sweep", "x.2=14,56"), 1, "must be 28"),
        (("predict", "tokens.onnx", "--device", ONE, "--sweep", "width=7"), 1, "its open sides"),
        (("predict", "tokens.onnx", "--device", ONE, "--sweep", "seq=0"), 1, "positive values"),
        (
            ("measure", "--samples", 9, "--shape", "x=1", "--out", "a.parquet"),
            2,
            "--models",
        ),
        (
            ("measure", "--models", "timm:resnet18", "--out", "a.parquet"),
            2,
            "which has no weights: export it with import torch, timm; m = timm.create_model(",
        ),
        (("export", "image.onnx", "--out", "b.onnx"), 1, "of no search space: latcast predict"),
        (("suggest", "--samples", 3, "image.onnx"), 2, "latcast predict forecasts a network"),
        (("suggest", "--samples", 3, "--model", "image.onnx"), 2, "a network, which is what they"),
        (("search", "--device", "image.onnx", "--max-latency", 9), 2, "what they forecast"),
    ],
)
def test_what_cannot_be_is_an_error_in_one_line(
    latcast: Any, files: Path, arguments: tuple[Any, ...], code: int, message: str
) -> None:
    given = [files / a if str(a).endswith((".onnx", ".parquet")) else a for a in arguments]
    assert message in latcast(*given, code=code).stderr


def test_a_precision_that_is_another_is_said_and_widens_the_interval(
    latcast: Any, files: Path, tmp_path: Path
) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    rows = {}
    for kind, dtype in ((TensorProto.FLOAT, np.float32), (TensorProto.FLOAT16, np.float16)):
        path = tmp_path / f"{kind}.onnx"
        _save(path, node, [1, 256], (256, 256), kind, dtype)
        rows[kind] = latcast.json("predict", path, "--device", ONE)["devices"][0]
    single, half = rows.values()
    assert (single["precision"], half["precision"]) == ("fp32", "fp16")
    assert not single["notes"]
    assert any("the network is of precision fp16" in note for note in half["notes"])
    assert half["lower_ms"] < 0.8 * single["lower_ms"] * half["latency_ms"] / single["latency_ms"]
    assert "fp16" in latcast("predict", path, "--device", ONE).stdout


def test_a_note_is_told_once_and_of_which_devices_it_is(latcast: Any, files: Path) -> None:
    found = latcast(
        "predict", files / "tokens.onnx", "--device", ONE, "--device", HALF, "--shape", "seq=16",
    )  # fmt: skip
    notes = found.stderr.splitlines()
    assert len(notes) == len(set(notes))
    assert any(f"{HALF}: the network is of precision fp32" in note for note in notes)


@pytest.mark.slow
def test_a_sweep_is_a_curve_over_a_side(latcast: Any, files: Path) -> None:
    record = latcast.json(
        "predict", files / "tokens.onnx", "--device", ONE, "--sweep", "seq=128,256,512"
    )
    points = record["points"]
    assert [p["value"] for p in points] == [128, 256, 512]
    assert [p["macs"] for p in points] == [n * 256 * 256 for n in (128, 256, 512)]
    assert points[0]["latency_ms"] < points[1]["latency_ms"] < points[2]["latency_ms"]
    run = latcast("predict", files / "image.onnx", "--device", ONE, "--sweep", "batch=1,4")
    assert run.stdout.count("epyc-genoa-2c/onnxruntime/b1/t1") == 2
    assert "batch 4: the target's batch is 1" in run.stderr


def test_a_side_that_is_varied_is_not_fixed(files: Path) -> None:
    with pytest.raises(ValueError, match="leave out the other one"):
        sweep(files / "tokens.onnx", ONE, "batch", [1], batch=1)
