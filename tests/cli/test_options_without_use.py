"""An option that has no effect beside the others is refused, or a note says that it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latcast.graph import GraphBuilder
from latcast.graph.write.onnx import to_onnx

SPACE = ("--space", "nasbench201", "--samples", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("suggest", *SPACE, "--runtime", "ncnn"), "--runtime is of networks on a --device"),
        (("suggest", *SPACE, "--batch", "2"), "--batch is of networks on a --device"),
        (("suggest", *SPACE, "--among", "a.onnx"), "--among is of networks on a --device"),
        (("suggest", *SPACE, "--similar-to", "pixel-3"), "--similar-to is of networks on a"),
        (("suggest", *SPACE, "--unit", "s"), "--unit is of the dataset of --measured"),
        (("suggest", "--device", "pixel-3", "--target", "a/b/b1"), "--target is of a dataset"),
        (("suggest", "--device", "pixel-3", "--seed", "1"), "--seed is of architectures"),
        (("suggest", "--host", "a@b", "--server", "http://c"), "--host is measured here"),
        (("suggest", "--host", "a@b", "--similar-to", "pixel-3"), "describes the device itself"),
        (("audit", ".", "--unit", "s"), "must be a file: space, target, format, unit"),
        (("measure", "--models", "a.onnx", "--trip-count", "3", "--out", "b.parquet"),
         "--trip-count is of forecasts"),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_refused(
    latcast: Any, arguments: tuple[str, ...], message: str
) -> None:
    assert message in latcast.error(*arguments, code=2)


def test_a_service_reads_no_models_of_this_machine(latcast: Any, tmp_path: Path) -> None:
    (model := tmp_path / "energy.latcast").write_bytes(b"")
    asked = ("search", "--device", "samsung-note10", "--server", "http://127.0.0.1:9")
    told = latcast.error(*asked, "--energy", model, code=2)
    assert "--energy and --memory name models of this machine" in told


def test_threads_change_nothing_on_a_gpu(latcast: Any, tmp_path: Path) -> None:
    b = GraphBuilder(1)
    (file := tmp_path / "small.onnx").write_bytes(to_onnx(b.build(b.conv(b.input(3, 8, 8), 4, 3))))
    found = latcast.json("predict", file, "--device", "rtx-4090", "--threads", 2)
    assert any(
        "threads are of CPUs: 2 of them change nothing" in n for n in found["devices"][0]["notes"]
    )
