from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast.data import read
from latcast.models import zoo
from latcast.models.overview import ModelList, list_models, model_card

OUR_DATASETS = Path(__file__).parents[2] / "datasets"
EXPECTED = {
    "samsung-note10",
    "rtx-2080-ti",
    "tesla-p40",
    *(path.stem.replace("_", "-") for path in OUR_DATASETS.glob("*_t[0-9].parquet")),
    *(f"help-{d}-{b}" for d in ("2080ti", "titan-rtx", "titan-xp", "v100") for b in (1, 32, 64)),
}


def test_all_models_are_shipped_and_small() -> None:
    assert set(zoo.names()) == EXPECTED
    folder = resources.files("latcast") / "zoo"
    with resources.as_file(folder) as path:
        sizes = {f.name: f.stat().st_size for f in path.iterdir()}
    assert sum(sizes.values()) < 6_000_000


def test_a_model_of_networks_of_every_target_is_shipped() -> None:
    targets = {zoo.header(name)["target"] for name in zoo.names()}
    for space in zoo.names("base"):
        targets |= {source["spec"]["target"] for source in zoo.header(space, "base")["sources"]}
    # On one machine networks of any kind were measured, and no architectures of a space.
    shipped = {zoo.header(name, "networks")["target"] for name in zoo.names("networks")}
    assert shipped - targets == {
        "epyc-turin-2c/onnxruntime/b1/t1", "epyc-turin-2c/onnxruntime/b1/int8/t1",
        "epyc-turin-2c/openvino/b1/int8/t1",
    }  # fmt: skip
    assert targets <= shipped


LICENCES = {"Apache-2.0", "MIT", "CC-BY-4.0"}


@pytest.mark.parametrize("name", zoo.names("networks"))
def test_every_model_of_networks_has_a_card(name: str) -> None:
    card = zoo.header(name, "networks")["card"]
    assert all(d["licence"] in LICENCES for d in card["data"])
    assert "at random" in card["split"]
    assert card["metrics"]["median_error"] >= 0


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_model_has_a_card(name: str) -> None:
    card = zoo.header(name)["card"]
    assert card["data"]["source"]
    assert card["data"]["licence"] in LICENCES
    assert "by architecture" in card["split"]
    assert card["metrics"]["mae_ms"] >= 0


def test_cards_name_the_traps() -> None:
    assert any("additive" in t for t in zoo.header("samsung-note10")["card"]["data_issues"])
    assert any("drift" in t for t in zoo.header("rtx-2080-ti")["card"]["data_issues"])


def test_note10_model_is_the_table(shared: Path) -> None:
    data = read(shared / "ofanas" / "datasets" / "note10_lookuptable_ofa.csv")
    predicted = latcast.load("samsung-note10").predict(data.archs)
    assert np.abs(predicted - data.latency_ms).max() < 1e-4


def test_joint_models_are_listed_with_what_they_know() -> None:
    *others, joint = list_models().models
    assert all(m.chips is None for m in others)
    assert (joint.kind, joint.space, joint.target) == ("joint", None, None)
    assert len(joint.sources) > joint.chips > 80
    tables = [row["table"] for row in joint.card["data"]]
    errors = [
        {"domain": "", "way": way, "samples": 0, "median_error": error}
        for way, error in (("network", 7.0), ("device", 21.5), ("both", 24.0))
    ]
    known = replace(joint, card={**joint.card, "left_out": errors})
    text = ModelList((known,)).to_text()
    assert re.search(rf"{joint.name} +{len(joint.sources)} +{joint.chips} +{len(tables)} ", text)
    assert re.search(r"7\.0 +21\.5 +24\.0", text)
    card = model_card(joint.name).to_text()
    assert all(table in card for table in tables)
