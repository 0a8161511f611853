"""The commands for devices that were not trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import latcast as library
from latcast.data import Dataset
from latcast.devices import Target
from latcast.models import BaseModel, load, zoo
from latcast.spaces import space

SPACE = space("ofa-mobilenet-v3")
PRICES = {"gtx-1080-ti": (4e-8, 1e-8), "tesla-p40": (3e-8, 3e-8), "titan-xp": (5e-8, 2e-8)}
"""ms per MAC and per byte written, of targets that follow their physics."""


def measured(device: str, n: int, seed: int, prices: tuple[float, float]) -> Dataset:
    """Latencies that follow the target's prices, with 0.5 % of noise."""
    rng = np.random.default_rng(seed)
    archs = SPACE.sample(n, rng, restrict={"r": [160, 224]})
    facts = SPACE.block_table.facts
    ms = 1 + SPACE.block_sums(archs, prices[0] * facts["macs"] + prices[1] * facts["write_bytes"])
    return Dataset(archs, ms * rng.normal(1, 0.005, n), Target(device, "simulator"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, latcast) -> Path:
    """Datasets of three known devices and a new one, and a base model of the three."""
    path = tmp_path_factory.mktemp("generalize")
    for n, (device, prices) in enumerate(PRICES.items()):
        measured(device, 200, n, prices).save(path / f"{device}.parquet")
    measured("new-board", 120, 9, (8e-8, 1e-8)).save(path / "new.parquet")
    latcast("train", *(path / f"{d}.parquet" for d in PRICES), "--out", path / "base.latcast")
    return path


@pytest.mark.slow
def test_several_datasets_make_a_base_model(latcast, folder):
    base = load(folder / "base.latcast")
    assert isinstance(base, BaseModel)
    assert [t.device for t in base.targets] == list(PRICES)
    files = [folder / f"{d}.parquet" for d in PRICES]
    result = latcast.json("train", *files[:2], "--out", folder / "two.latcast")
    assert [row["target"] for row in result["targets"]] == [
        f"{d}/simulator/b1" for d in list(PRICES)[:2]
    ]
    assert all(row["mape"] < 2 for row in result["targets"])
    message = latcast.error("train", *files, "--predictor", "mlp", "--out", "x.latcast", code=2)
    assert "several make a base" in message
    message = latcast.error("train", files[0], files[0], "--out", folder / "x.latcast", code=1)
    assert "occurs twice" in message
    for name in (folder / "base.latcast", "ofa-mobilenet-v3"):
        assert "is a base model of many targets: adapt it" in latcast.error(
            "evaluate", name, folder / "new.parquet", code=2
        )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bayes", "last-layer"])
def test_a_model_of_one_target_is_adapted(latcast, folder, method):
    base = folder / "p40.latcast"
    latcast("train", folder / "tesla-p40.parquet", "--predictor", "flops", "--out", base)
    result = latcast.json(
        "adapt", base, folder / "new.parquet", "--samples", 30, "--method", method,
        "--out", folder / "from-p40.latcast",
    )  # fmt: skip
    assert result["metrics"]["mape"] < (3 if method == "bayes" else 8)


def test_cards_of_adapted_models_are_shown(latcast, folder):
    out, new = folder / "card.latcast", folder / "new.parquet"
    latcast("adapt", folder / "base.latcast", new, "--out", out)
    shown = latcast("models", out).stdout
    assert "adapted from: a base model of 3 targets: " in shown
    assert "measurements: 120" in shown
    assert "each measurement predicted from the others: " in shown
    latcast("adapt", "samsung-note10", new, "--samples", 30, "--out", out)
    shown = latcast("models", out).stdout
    assert "adapted from: roofline model of samsung-note10/lookup-table/b1" in shown
    assert "split: by architecture at random, seed 0: 30 rows to adapt to, 90 to test" in shown
    assert "Spearman" in shown


def test_what_is_adapted_to_is_not_scored(latcast, folder, tmp_path):
    data = Dataset.load(folder / "new.parquet")
    twice = data[np.tile(np.arange(40), 2)]
    twice.save(tmp_path / "twice.parquet")
    base, out = folder / "base.latcast", tmp_path / "x.latcast"
    result = latcast.json("adapt", base, tmp_path / "twice.parquet", "--samples", 30, "--out", out)
    assert (result["samples"], result["scored"]) == (30, 20)
    assert "at most 40, as many as there are networks" in latcast.error(
        "adapt", base, tmp_path / "twice.parquet", "--samples", 41, "--out", out, code=2
    )


def test_rows_that_a_base_model_leaves_out_are_counted(latcast, folder, tmp_path):
    data = measured("gtx-1080-ti", 60, 0, (4e-8, 1e-8))
    latency = data.latency_ms.copy()
    latency[:20] = np.nan
    Dataset(data.archs, latency, data.target).save(tmp_path / "holes.parquet")
    run = latcast(
        "train", tmp_path / "holes.parquet", folder / "tesla-p40.parquet",
        "--out", tmp_path / "b.latcast", "--json",
    )  # fmt: skip
    assert [t["left_out"] for t in json.loads(run.stdout)["targets"]] == [20, 0]
    assert "gtx-1080-ti/simulator/b1: 20 rows are impossible or copied" in run.stderr


def test_adapting_says_what_is_wrong(latcast, folder):
    base, new, out = folder / "base.latcast", folder / "new.parquet", folder / "x.latcast"
    for arguments, code, message in (
        ((base, new, "--out", "x.txt"), 2, "must end in .latcast"),
        ((base, new, "--method", "bays", "--out", out), 2, "did you mean 'bayes'"),
        ((base, new, "--method", "last-layer", "--out", out), 2, "adapts by the method bayes"),
        (
            (base, new, "--samples", 121, "--out", out),
            2,
            "at most 120, as many as there are networks",
        ),
        (("samsung-note1", new, "--out", out), 2, "did you mean 'samsung-note10'"),
        ((folder / "none.latcast", new, "--out", out), 2, "no such file"),
    ):
        assert message in latcast.error("adapt", *arguments, code=code)
    assert not out.exists()


def test_suggestions_can_be_predicted_and_measured(latcast, folder, fake, monkeypatch):
    suggested = latcast("suggest", "--samples", 5, "--model", folder / "base.latcast", "--quiet")
    items = json.loads(suggested.stdout)
    archs = SPACE.parse(items)
    assert len(archs.unique()) == 5
    again = latcast("suggest", "--samples", 5, "--model", folder / "base.latcast", "--quiet")
    assert again.stdout == suggested.stdout
    path = folder / "suggested.json"
    path.write_text(suggested.stdout)
    (found,) = latcast.json("predict", path, "--device", "samsung-note10")["devices"]
    assert len(found["architectures"]) == 5
    more = latcast.json(
        "suggest", "--space", SPACE.name, "--samples", 3, "--measured", folder / "new.parquet"
    )
    assert len(more) == 3
    csv = folder / "measured.csv"
    csv.write_text(
        "arch,latency_ms\n" + '"|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|"' + ",3\n"
    )
    more = latcast.json(
        "suggest", "--space", "nasbench201", "--samples", 2, "--measured", csv,
        "--target", "mine/x/b1",
    )  # fmt: skip
    assert len(more) == 2
    assert "give --space or --model" in latcast.error("suggest", "--samples", 3, code=2)
    assert "the base must be for" in latcast.error(
        "suggest", "--samples", 3, "--space", "fbnet", "--model", folder / "base.latcast", code=2
    )


@pytest.mark.slow
def test_a_device_is_predicted_from_its_specification(latcast, folder):
    arch = folder / "arch.json"
    arch.write_text(json.dumps(SPACE.sample(1, 0, restrict={"r": [160]}).to_dicts()))
    base = folder / "base.latcast"
    latcast("train", folder / "tesla-p40.parquet", "--out", folder / "p40-own.latcast")
    run = latcast("predict", arch, "--device", "rtx-3090", "--model", base)
    assert "is predicted from its specification, as rtx-3090/simulator/b1" in run.stderr
    (found,) = latcast.json("predict", arch, "--device", "rtx-3090", "--model", base)["devices"]
    assert found["basis"] == "specification"
    only = found["architectures"][0]
    assert only["upper_ms"] > 1.5 * only["latency_ms"]
    (other,) = latcast.json(
        "predict", arch, "--device", "rtx-3090", "--model", base, "--batch", 8, "--runtime", "mnn"
    )["devices"]
    assert other["target"] == "rtx-3090/mnn/b8"
    run = latcast(
        "predict", arch, "--device", "eyeriss", "--model", base, "--runtime", "mnn",
        "--precision", "fp16",
    )  # fmt: skip
    assert "no known target runs on mnn, only on simulator" in run.stderr
    message = latcast.error(
        "predict", arch, "--device", folder / "p40-own.latcast", "--batch", 4, code=2
    )
    assert "must be a model of batch 4; it is one of tesla-p40/simulator/b1" in message
    cell = folder / "cell.json"
    cell.write_text(json.dumps(space("nasbench201").sample(1, 0).to_dicts()))
    assert "(read as ofa-mobilenet-v3; --space names another)" in latcast.error(
        "predict", cell, "--device", "rtx-3090", "--model", base, "--quiet", code=1
    )
    own = folder / "own.toml"
    own.write_text(
        '[my-board]\ntitle = "Mine"\nkind = "gpu"\ncores = 64\nmemory_gb = 4\nbandwidth_gb_s = 10\n'
        'peak_fp32_flops = 1e11\nsource = "me"\n'
    )
    (mine,) = latcast.json(
        "predict", arch, "--device", "my-board", "--model", base, "--devices", own
    )["devices"]
    assert mine["architectures"][0]["latency_ms"] > only["latency_ms"]
    assert "no model or device is called 'rtx-309'" in latcast.error(
        "predict", arch, "--device", "rtx-309", "--model", base, code=2
    )
    assert "must be a base model of many targets" in latcast.error(
        "predict", arch, "--device", "rtx-3090", "--model", folder / "p40-own.latcast", code=2
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fbnet", "nasbench201", "ofa-mobilenet-v3"])
def test_shipped_base_models_answer(latcast, tmp_path, name):
    assert name in zoo.names("base")
    assert name not in zoo.names()
    assert library.load_base(name).space.name == name
    card = latcast.json("models", name)
    assert len(card["sources"]) == len(card["card"]["metrics"])
    assert latcast("models", name).stdout.startswith(f"{name}: base model of ")
    arch = tmp_path / "arch.json"
    arch.write_text(json.dumps(space(name).sample(1, 0).to_dicts()))
    (found,) = latcast.json("predict", arch, "--device", "rtx-4090", "--space", name)["devices"]
    assert found["architectures"][0]["latency_ms"] > 0
