"""GPUs left out: a base model of the others, and the paper's network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.bench import gpu
from latcast.bench.conditioned import RECIPES, ConditionedMLP, inputs
from latcast.bench.help_folder import HelpFolder
from latcast.data import Dataset
from latcast.models import BaseModel
from latcast.spaces import space

pytestmark = pytest.mark.slow


def test_a_gpu_is_left_out_at_all_batch_sizes(latcast: Any, help_data: Path) -> None:
    rows = latcast.json(
        "bench", "gpu", "--data", help_data, "--space", "nasbench201", "--gpu", "rtx-2080-ti",
        "--samples", 0, "--samples", 5, "--seeds", 2, "--base-samples", 60, "--epochs", 2,
    )["rows"]  # fmt: skip
    own = [r for r in rows if r["target"] != "mean"]
    assert {r["target"] for r in own} == {"2080ti_1", "2080ti_32"}
    assert all(r["train"] == ["titan_rtx_1", "titan_rtx_32", "v100_32"] for r in own)
    found = {(r["target"], r["method"], r["samples"]): r for r in rows}
    assert len(found) == len(rows) == 3 * (2 + 2)
    for (_, method, samples), row in found.items():
        assert row["base_samples"] == 60
        assert row["seeds"] == (2 if samples else 1)
        assert (row["coverage_90_mean"] is None) == (method != "base-model")
    few = found["2080ti_32", "base-model", 5]
    assert few["spearman_mean"] > 0.97
    assert few["mape_mean"] < found["2080ti_32", "base-model", 0]["mape_mean"] < 100
    assert (few["scored"], few["batch"], few["gpu"]) == (115, 32, "rtx-2080-ti")


def test_only_gpus_of_the_catalogue_take_part(help_data: Path) -> None:
    assert gpu.gpus_of(HelpFolder.find(help_data, "ofa")) == {
        "rtx-2080-ti": ("2080ti_1", "2080ti_32"),
        "titan-rtx": ("titan_rtx_1", "titan_rtx_32"),
        "tesla-v100": ("v100_32",),
    }
    plan = gpu.plan(help_data)
    assert [f.path.name for f, _ in plan.folders] == ["nasbench201", "ofa"]
    assert plan.left_out == ("rtx-2080-ti", "tesla-v100", "titan-rtx")


def test_the_tables_state_machine_and_space(latcast: Any, help_data: Path) -> None:
    arguments = ("bench", "gpu", "--data", help_data, "--gpu", "tesla-v100", "--samples", 3,
                 "--seeds", 2, "--base-samples", 30, "--method", "base-model")  # fmt: skip
    run = latcast(*arguments)
    machine, *lines = run.stdout.splitlines()
    assert "cores, Python 3" in machine
    heads = [line for line in lines if "base models of 30 networks a target" in line]
    assert [head.partition(";")[0] for head in heads] == ["nasbench201", "ofa-mobilenet-v3"]
    assert "ofa: base-model without tesla-v100" in run.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpu", "titan"), "did you mean 'titan-rtx'?"),
        (("--method", "mlp"), "did you mean 'mlp-paper'?"),
        (("--space", "of"), "did you mean 'ofa'?"),
    ],
)
def test_wrong_usage_is_told(
    latcast: Any, help_data: Path, options: tuple[str, ...], message: str
) -> None:
    assert message in latcast.error("bench", "gpu", "--data", help_data, *options, code=2)


def test_too_many_samples_are_found_out_before_a_fit(
    latcast: Any, help_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaseModel, "fit", lambda *_: pytest.fail("found out after a fit"))
    error = latcast.error("bench", "gpu", "--data", help_data / "ofa", "--samples", 119, code=1)
    assert "2080ti_1 has 120; got 119 samples" in error


def test_three_gpus_are_needed(latcast: Any, tmp_path: Path, write_help_folder: Any) -> None:
    prices = {"2080ti_1": (1e-8, 1e-9, 0.1), "v100_1": (1e-8, 1e-9, 0.1), "raspi4": (1e-6, 0, 0)}
    write_help_folder(tmp_path / "own", networks=30, prices=prices)
    error = latcast.error("bench", "gpu", "--data", tmp_path, code=2)
    assert "at least 3 GPUs of the catalogue are needed; got own: rtx-2080-ti, tesla-v100" in error


def test_the_papers_inputs_are_genes_and_raw_specification() -> None:
    the_space = space("ofa-mobilenet-v3")
    archs = the_space.sample(5, 0)
    data = Dataset(archs, np.ones(5), "rtx-2080-ti/pytorch/b64")
    x = inputs(data)
    np.testing.assert_array_equal(x[:, :-4], the_space.one_hot(archs))
    np.testing.assert_array_equal(x[:, -4:], np.tile([4352, 11, 616, 64], (5, 1)))


def gpu_data(device: str, batch: int, factor: float) -> Dataset:
    the_space = space("nasbench201")
    archs = the_space.sample(300, batch)
    ms = factor * the_space.block_sums(archs, the_space.block_table.facts["macs"]) * 1e-8
    return Dataset(archs, 1.0 + ms, f"{device}/pytorch/b{batch}")


def test_the_standardized_network_learns_the_targets_it_is_trained_on() -> None:
    pytest.importorskip("torch", reason="training an MLP needs PyTorch")
    data = [gpu_data("rtx-2080-ti", 1, 1.0), gpu_data("tesla-v100", 32, 20.0)]
    mlp = ConditionedMLP(RECIPES["mlp-paper-standardized"], epochs=15).fit(data)
    for known in data:
        predicted = mlp.predict(known)
        assert np.mean(np.abs(predicted / known.latency_ms - 1)) < 0.1
        assert np.corrcoef(predicted, known.latency_ms)[0, 1] > 0.95
    again = ConditionedMLP(RECIPES["mlp-paper-standardized"], epochs=15).fit(data)
    np.testing.assert_array_equal(again.predict(data[0]), mlp.predict(data[0]))


def test_a_network_that_diverged_has_no_scores(
    latcast: Any, help_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConditionedMLP, "predict", lambda self, data: np.full(len(data), np.inf))
    arguments = ("bench", "gpu", "--data", help_data / "ofa", "--gpu", "tesla-v100",
                 "--method", "mlp-paper", "--epochs", 1)  # fmt: skip
    row = latcast.json(*arguments)["rows"][0]
    assert row["spearman_mean"] is row["mape_mean"] is None
    assert "inf" not in latcast(*arguments).stdout
    plan = gpu.plan(help_data / "ofa", gpus=["tesla-v100"], methods=["mlp-paper"], epochs=1)
    assert math.isnan(gpu.run(plan).rows[0]["within_10_mean"])
