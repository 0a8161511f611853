"""Search on devices of which ten latencies are known, on folders of our own making."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.bench import few_shot_search
from latcast.bench.few_shot_search import ACCURACIES, QUANTILES, HeldOutTarget
from latcast.bench.help_folder import HelpFolder
from latcast.bench.published import Split
from latcast.bench.tables import Scores
from latcast.data import Dataset
from latcast.models import BaseModel, Flops, LookupTable
from latcast.models.accuracy import TableAccuracy
from latcast.spaces import space

pytestmark = pytest.mark.slow

TRAIN = ("1080ti_1", "silver_4114", "samsung_a50")
TEST = ("titan_rtx_256", "fpga", "eyeriss")
CANDIDATES = 60


@pytest.fixture(scope="module", autouse=True)
def part_of_the_split() -> Iterator[None]:
    """Some of the split's targets: a base model of all nine takes its time."""
    published = few_shot_search.SPLITS["help"]["nasbench201"]
    assert set(TRAIN) < set(published.train)
    assert set(TEST) < set(published.test)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_shot_search, "SPLITS", {"help": {"nasbench201": Split(TRAIN, (), TEST)}})
        yield


@pytest.fixture(scope="module")
def help_split(tmp_path_factory: pytest.TempPathFactory, write_help_folder: Any) -> Path:
    """Targets of HELP's split, each at prices of its own; some networks have accuracies."""
    prices = {
        name: (1e-8 * (1 + n), 5e-9 * (3 + n % 4), 0.01 * (1 + n % 3))
        for n, name in enumerate(TRAIN + TEST)
    }
    data: Path = tmp_path_factory.mktemp("split")
    folder = write_help_folder(data / "nasbench201", networks=160, prices=prices)
    _write_accuracies(folder)
    return data


def _write_accuracies(folder: Path) -> None:
    archs = HelpFolder.find(folder).read("fpga").archs[:CANDIDATES]
    percent = 40 + archs.space.costs(archs)["params"].to_numpy() / 1e5
    percent += np.random.default_rng(0).normal(0, 2, CANDIDATES)
    lines = [f"{a['arch']}, {p}, 0.1" for a, p in zip(archs.to_dicts(), percent, strict=True)]
    (folder / ACCURACIES).write_text("\n".join(["116.99", *lines]) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Study:
    """A run, and what took part in it."""

    rows: list[dict[str, Any]]
    base: BaseModel
    trained: list[Dataset]
    measured: list[Dataset]


@pytest.fixture(scope="module")
def study(help_split: Path) -> Study:
    bases: list[BaseModel] = []
    trained: list[Dataset] = []
    measured: list[Dataset] = []
    adapt, fit = BaseModel.adapt, BaseModel.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            BaseModel, "fit", lambda s, d: (bases.append(s), trained.extend(d)) and fit(s, d)
        )
        patch.setattr(BaseModel, "adapt", lambda s, few: measured.append(few) or adapt(s, few))
        rows = few_shot_search.run(help_split, seeds=2, base_samples=60)
    (base,) = bases
    return Study(rows, base, trained, measured)


@pytest.fixture(scope="module")
def rows(study: Study) -> list[dict[str, Any]]:
    return study.rows


def test_every_target_source_and_confidence_has_its_budgets(rows: list[dict[str, Any]]) -> None:
    keys = [(r["target"], r["source"], r["confidence"], r["quantile"]) for r in rows]
    assert len(set(keys)) == len(keys) == (len(TEST) + 1) * 2 * 2 * len(QUANTILES)
    for row in rows:
        assert (row["samples"], row["seeds"]) == (10, 2)
        most = 2 * (len(TEST) if row["target"] == "mean" else 1)
        assert 0 <= row["kept"] <= row["found"] <= most
        assert (row["found"] == row["kept"]) == math.isnan(row["excess_percent"])
        assert row["regret_mean"] >= 0 or row["kept"] == 0
        if row["target"] != "mean":
            assert row["candidates"] == CANDIDATES


def test_means_are_those_of_the_targets(rows: list[dict[str, Any]]) -> None:
    for mean in (r for r in rows if r["target"] == "mean"):
        key = ("source", "confidence", "quantile")
        own = [r for r in rows if r["target"] != "mean" and all(r[k] == mean[k] for k in key)]
        assert mean["targets"] == [r["target"] for r in own] == list(TEST)
        assert mean["kept"] == sum(r["kept"] for r in own)
        assert mean["oracle"] == pytest.approx(np.mean([r["oracle"] for r in own]))
        there = [r["regret_mean"] for r in own if r["kept"]]
        assert mean["regret_targets"] == [r["target"] for r in own if r["kept"]]
        expected = np.mean(there) if there else math.nan
        assert mean["regret_mean"] == pytest.approx(expected, nan_ok=True)


def test_a_base_that_knows_physics_beats_macs(rows: list[dict[str, Any]]) -> None:
    def of(source: str, quantile: float) -> dict[str, Any]:
        (found,) = (
            r for r in rows
            if (r["target"], r["source"], r["confidence"], r["quantile"])
            == ("mean", source, None, quantile)
        )  # fmt: skip
        return found

    ours, macs = ([of(name, q) for q in QUANTILES] for name in ("base-model", "macs"))
    assert sum(r["kept"] for r in ours) > sum(r["kept"] for r in macs)
    both = [(a["regret_mean"], b["regret_mean"]) for a, b in zip(ours, macs, strict=True)
            if a["kept"] and b["kept"]]  # fmt: skip
    assert both
    assert sum(a for a, _ in both) < sum(b for _, b in both)


def test_what_is_measured_is_never_chosen(help_split: Path, study: Study) -> None:
    known = TableAccuracy.read(help_split / "nasbench201" / ACCURACIES).known(space("nasbench201"))
    assert known is not None
    for few in study.measured:
        assert len(few) == 10
        both = known.concatenate(few.archs)
        assert len(both.unique()) == len(known) + 10
    assert len(study.measured) == 2 * len(TEST)
    assert len(study.trained) == len(TRAIN)
    assert not {d.target for d in study.measured} & {d.target for d in study.trained}
    assert study.measured[0].archs != study.measured[1].archs


@pytest.fixture(scope="module")
def target(help_split: Path) -> HeldOutTarget:
    folder = HelpFolder.find(help_split)
    accuracy = TableAccuracy.read(folder.path / ACCURACIES)
    return HeldOutTarget.of("eyeriss", folder.read("eyeriss"), accuracy)


def test_the_true_latencies_have_no_regret(target: HeldOutTarget) -> None:
    """A predictor that knows all: a table of the prices by which the latencies were made."""
    archs, of = target.candidates.archs, target.candidates.target
    facts = archs.space.block_table.facts
    prices = 1e-8 * facts["macs"] + 0.01 * facts["launches"]
    table = LookupTable.from_blocks(archs.space, of, prices)
    exact = Dataset(archs, table.predict(archs), of)
    knowing = HeldOutTarget("eyeriss", exact, target.others, target.accuracy)
    accuracy, true_ms, predicted_ms = knowing.search(table, None)
    np.testing.assert_array_equal(accuracy, knowing.oracle())
    np.testing.assert_array_equal(true_ms, predicted_ms)
    assert (true_ms <= knowing.budgets_ms()).all()


def test_no_network_is_found_where_none_seems_fast_enough(target: HeldOutTarget) -> None:
    class Slow(Flops):
        def _predict(self, archs: Any) -> Any:
            return np.full(len(archs), 1e6)

    slow = Slow().fit(target.others, calibration=target.others)
    assert all(np.isnan(column).all() for column in target.search(slow, None))


def test_means_that_leave_targets_out_are_told_apart() -> None:
    regrets = {("a", "base-model"): 0.01, ("b", "base-model"): 0.03, ("a", "macs"): 0.01}
    numbers = {"oracle": 0.7, "accuracy_mean": 0.7, "excess_percent": math.nan, "found": 1}
    rows = [
        {
            "study": "nasbench201", "target": target, "source": source, "samples": 10,
            "confidence": None, "quantile": 0.5,
            "seeds": 1, "candidates": 60, **numbers, "kept": int((target, source) in regrets),
            "regret_mean": regrets.get((target, source), math.nan),
        }
        for target in "ab"
        for source in ("base-model", "macs")
    ]  # fmt: skip
    base, macs = few_shot_search._means(rows)
    assert (base["regret_targets"], macs["regret_targets"]) == (["a", "b"], ["a"])
    assert macs["regret_mean"] == 0.01
    assert "in 1 of 2 cells are not all" in Scores("search", [*rows, base, macs]).to_text()
    assert "are not all" not in Scores("search", [*rows, base]).to_text()


def test_scores_tell_kept_from_over() -> None:
    found = np.array([[0.7, 9.0, 8.0], [0.8, 12.0, 9.5], [np.nan] * 3])
    scores = few_shot_search._scores(found, 10.0, 0.75)
    assert (scores["found"], scores["kept"]) == (2, 1)
    assert scores["regret_mean"] == pytest.approx(0.05)
    assert scores["excess_percent"] == pytest.approx(20)
    assert scores["accuracy_mean"] == pytest.approx(0.75)


def test_a_line_over_macs_knows_operations_that_were_not_measured(target: HeldOutTarget) -> None:
    alike = target.others.archs.genes[:, 0] == target.others.archs.genes[0, 0]
    few = target.others[np.flatnonzero(alike)[:10]]
    line = few_shot_search.SOURCES["macs"](BaseModel(), few)
    assert line.fitted.seen == {gene.name: list(gene.choices) for gene in line.space.genes}
    assert line.covers(0.9)


def test_the_command_prints_regret_by_budget(
    latcast: Any, help_split: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_shot_search, "base_model", lambda *_: (study.base, 0.0, 60))
    arguments = ("bench", "search", "--help-data", help_split, "--seeds", 2)
    found = latcast.json(*arguments)
    assert {r["study"] for r in found["rows"]} == {"nasbench201"}
    assert [r["kept"] for r in found["rows"]] == [r["kept"] for r in study.rows]
    lines = latcast(*arguments, "--confidence", 0.8).stdout.splitlines()
    assert "a choice among 60 networks" in lines[1]
    means = [line.split() for line in lines if line.startswith(" mean")]
    partial = sum(len(r["regret_targets"]) < len(TEST) for r in study.rows if r["target"] == "mean")
    assert ("two sources can differ in their targets" in " ".join(lines)) == (partial > 0)
    assert [cells[:3] for cells in means] == [
        ["mean", source, level] for source in ("base-model", "macs") for level in ("–", "0.8")
    ]


def test_what_is_missing_is_told(
    latcast: Any, help_split: Path, tmp_path: Path, write_help_folder: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match="samples at least 10; got 2 and 5"):
        few_shot_search.run(help_split, seeds=2, samples=5)
    write_help_folder(tmp_path / "nasbench201", networks=20)
    error = latcast.error("bench", "search", "--help-data", tmp_path, code=1)
    assert "no target is called '1080ti_1'" in error
