"""Architecture search on the Note10, by every latency source."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latcast as public
from latcast.bench import search
from latcast.bench.conditioned import RECIPES, ConditionedMLP, ConditionedPredictor
from latcast.bench.latency_sources import NOTE10, SOURCES, Material, Teacher
from latcast.bench.published import published_search
from latcast.bench.search import search_within
from latcast.data import Dataset, read
from latcast.devices import Target
from latcast.models import BaseModel, Predictor, Roofline
from latcast.search import accuracy_model
from latcast.spaces import Archs, space

FIXED = "compofa-fixed-kernel"
FIELDS = {
    "study",
    "space", "source", "samples", "confidence", "max_latency_ms", "seeds", "found",
    "accuracy_mean", "accuracy_std", "teacher_mean", "teacher_std", "predicted_ms", "true_ms",
    "over", "excess_ms", "best_known", "regret_mean", "learn_seconds", "search_seconds",
    "evaluations", "is_exact", "published", "runs", "trained_on",
}  # fmt: skip


@pytest.fixture(scope="module")
def material(shared: Path) -> Material:
    """One for all tests, whose base model is small."""
    return Material(shared / "ofanas", base_samples=40, epochs=1)


# -- the teacher ------------------------------------------------------------------------------


def _state(rng: np.random.Generator) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    sizes = (128, 9, 8, 7, 1)
    state = {}
    for n, layer in enumerate((0, 2, 4, 6)):
        state[f"{layer}.weight"] = torch.tensor(rng.normal(size=(sizes[n + 1], sizes[n])))
        state[f"{layer}.bias"] = torch.tensor(rng.normal(size=sizes[n + 1]))
    return state


def _inputs(arch: dict[str, Any]) -> list[float]:
    """The encoding, gene by gene, from the dict form: kernels, expand ratios, resolution."""
    x = [0.0] * 128
    for block in range(20):
        if block % 4 < arch["d"][block // 4]:
            x[3 * block + (3, 5, 7).index(arch["ks"][block])] = 1.0
            x[60 + 3 * block + (3, 4, 6).index(arch["e"][block])] = 1.0
    x[120 + (arch["r"][0] - 112) // 16] = 1.0
    return x


@pytest.mark.parametrize("name", ["ofa-mobilenet-v3", FIXED])
def test_the_teacher_is_a_network_on_one_hot_genes(name: str, tmp_path: Path) -> None:
    import torch

    state = _state(np.random.default_rng(0))
    torch.save(state, tmp_path / "teacher.pth")
    archs = space(name).sample(30, 0, restrict={"r": [160, 176, 224]})
    expanded = archs.space.expand(archs)
    x = torch.tensor([_inputs(arch) for arch in expanded.to_dicts()], dtype=torch.float64)
    for layer in (0, 2, 4, 6):
        x = x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        x = x if layer == 6 else torch.relu(x)
    found = Teacher(tmp_path / "teacher.pth").predict(archs)
    np.testing.assert_allclose(found, x[:, 0].numpy(), rtol=1e-6)


def test_a_file_without_its_layers_is_no_teacher(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = _state(np.random.default_rng(0))
    del state["4.bias"]
    torch.save(state, tmp_path / "teacher.pth")
    with pytest.raises(ValueError, match=r"four linear layers; got no '4\.bias'"):
        Teacher(tmp_path / "teacher.pth")


def test_the_shipped_model_imitates_the_teacher(shared: Path) -> None:
    archs = space("ofa-mobilenet-v3").sample(500, 0, restrict={"r": [160, 192, 224]})
    teacher = Teacher(shared / "ofanas" / "acc_predictor.pth").predict(archs)
    assert np.abs(teacher - accuracy_model().predict(archs)).max() < 0.005


# -- one search for several budgets -------------------------------------------------------------


def _best(archs: Archs, ms: Any, budget: float) -> float:
    return float(accuracy_model().predict(archs)[ms <= budget].max())


def test_budgets_that_no_network_keeps_are_left_out(synthetic: Dataset) -> None:
    predictor = Roofline().fit(synthetic)
    archs = space(FIXED).enumerate({"r": [160, 192, 224]})
    ms = predictor.predict(archs)
    budgets = [0.9 * ms.min(), 1.3 * ms.min(), float(np.median(ms))]
    found = search_within(FIXED, predictor, budgets)
    assert found.is_found.tolist() == [False, True, True]
    assert found.result is not None
    spread = found.spread(found.result.accuracy)
    assert math.isnan(spread[0])
    assert spread[1:].tolist() == pytest.approx([_best(archs, ms, b) for b in budgets[1:]])
    none = search_within(FIXED, predictor, budgets[:1])
    assert none.result is None
    assert np.isnan(none.spread([])).tolist() == [True]


# -- the paper's network as a predictor ---------------------------------------------------------


@pytest.mark.slow
def test_a_conditioned_network_is_asked_for_one_target() -> None:
    pytest.importorskip("torch")
    the_space = space("ofa-mobilenet-v3")
    archs = the_space.sample(60, 0, restrict={"r": [160, 224]})
    trained_on = [
        Dataset(archs, np.linspace(5, 9, 60) * factor, Target(name, "pytorch", batch=64))
        for name, factor in (("rtx-2080-ti", 1.0), ("tesla-p40", 2.0))
    ]
    mlp = ConditionedMLP(RECIPES["mlp-paper-standardized"], epochs=3).fit(trained_on)
    target = Target("samsung-note10", "lookup-table")
    predictor = ConditionedPredictor(mlp, trained_on, target)
    asked = Dataset(archs, np.ones(60), target)
    expected = np.maximum(mlp.predict(asked), 0.5)  # a tenth of the fastest it has seen
    np.testing.assert_array_equal(predictor.predict(archs), expected)
    assert predictor.fitted.seen["r"] == [160, 224]
    explained = predictor.explain(archs)
    assert not explained.blocks_ms.any()
    np.testing.assert_array_equal(explained.network_ms, expected)
    assert not predictor.covers(0.9)
    with pytest.raises(NotImplementedError, match="trained network"):
        predictor.fit(trained_on[0])


# -- the study ----------------------------------------------------------------------------------


def test_exact_searches_find_what_the_paper_found(shared: Path, material: Material) -> None:
    plan = search.plan([FIXED], ["predictor", "table"], seeds=2)
    rows = search.run(shared / "ofanas", plan, material=material).rows
    assert [(r["source"], r["max_latency_ms"]) for r in rows] == [
        (source, budget) for source in ("table", "predictor") for budget in (15, 20, 25, 30, 35)
    ]
    # The latencies that the paper's notebook states for its five searches on the table.
    ms = [14.69766179, 19.88688252, 24.83390001, 29.51272416, 34.79207886]
    for n, row in enumerate(rows):
        assert row.keys() == FIELDS
        assert row["true_ms"] == pytest.approx(ms[n % 5], abs=1e-6)
        assert (row["over"], row["found"], row["seeds"], row["is_exact"]) == (0, 2, 2, True)
        assert row["regret_mean"] == row["accuracy_std"] == 0
        assert row["accuracy_mean"] == row["best_known"]
        assert row["teacher_mean"] == pytest.approx(row["accuracy_mean"], abs=0.005)
        assert [run["seed"] for run in row["runs"]] == [0, 1]
        assert math.isnan(row["excess_ms"])
    assert rows[1]["published"] == {
        "who": "OFANAS paper", "top1": 0.752, "measured": True, "seconds": 90.7
    }  # fmt: skip
    assert json.loads(json.dumps(rows))[0]["runs"] == rows[0]["runs"]
    arch = rows[2]["runs"][0]["arch"]
    found = material.table.predict(space(FIXED).parse([arch]))
    assert found[0] == pytest.approx(ms[2], abs=1e-6)


def test_over_and_regret_are_told_apart(shared: Path, material: Material) -> None:
    plan = search.plan([FIXED], ["conditioned", "fine-tuned-10"], [14, 33], seeds=2)
    rows = search.run(shared / "ofanas", plan, material=material).rows
    assert {r["source"]: (r["samples"], r["trained_on"]) for r in rows} == {
        "fine-tuned-10": (10, ["RTX_2080_Ti_GPU_ofa"]),
        "conditioned": (0, ["RTX_2080_Ti_GPU_ofa", "Tesla_P40_GPU_ofa"]),
    }
    for row in rows:
        true_ms = np.array([run["true_ms"] for run in row["runs"]])
        accuracy = np.array([run["accuracy"] for run in row["runs"]])
        kept = true_ms <= row["max_latency_ms"]
        assert row["over"] == row["found"] - kept.sum()
        if kept.any():
            assert row["regret_mean"] == pytest.approx((row["best_known"] - accuracy[kept]).mean())
            assert row["regret_mean"] >= 0
        else:
            assert math.isnan(row["regret_mean"])
            assert row["excess_ms"] == pytest.approx((true_ms - row["max_latency_ms"]).mean())
    assert any(row["over"] for row in rows)  # a phone is not a GPU


def test_a_longer_search_shows_what_others_miss(
    shared: Path, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    original = search.search_within

    def within(the_space: Any, latency: Predictor, budgets: Sequence[float], **options: Any) -> Any:
        method = options["method"]
        asked.append(options["evaluations"] if method == "auto" else method.evaluations)
        return original(the_space, latency, budgets, **options)

    monkeypatch.setattr(search, "search_within", within)
    plan = search.plan(["ofa-mobilenet-v3"], ["table"], [20], seeds=1, evaluations=1_500)
    (row,) = search.run(shared / "ofanas", plan, material=material).rows
    assert asked == [1_500, 4_500]
    assert row["evaluations"] <= 1_500
    assert row["best_known"] > row["accuracy_mean"]
    assert row["regret_mean"] == pytest.approx(row["best_known"] - row["accuracy_mean"])
    assert not row["is_exact"]


def test_only_training_rows_of_the_note10_are_learnt_from(
    shared: Path, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read(shared / "ofanas" / "datasets" / f"{NOTE10}.csv")
    training = {bytes(genes) for genes in data[:7_000].archs.canonical().genes}
    seen: list[Dataset] = []
    fit, adapt, adapt_base = Predictor.fit, Predictor.adapt, BaseModel.adapt
    monkeypatch.setattr(
        Predictor, "fit", lambda s, d, **kw: seen.append(d) or fit(s, d[:300], **kw)
    )
    monkeypatch.setattr(Predictor, "adapt", lambda s, d, **kw: seen.append(d) or adapt(s, d, **kw))
    monkeypatch.setattr(BaseModel, "adapt", lambda s, d: seen.append(d) or adapt_base(s, d))
    sizes = {"predictor": 7_000, "fine-tuned-10": 10, "fine-tuned-100": 100, "conditioned-10": 10}
    for name, size in sizes.items():
        SOURCES[name].base(material)
        seen.clear()
        SOURCES[name].learn(material, 1)
        (rows,) = seen
        assert rows.target.device == "samsung-note10"
        assert len(rows) == size
        assert {bytes(genes) for genes in rows.archs.canonical().genes} <= training
    assert material.few(10, 0).archs != material.few(10, 1).archs


def test_what_is_conditioned_on_devices_knows_no_note10(
    material: Material, shared: Path, help_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Dataset] = []
    monkeypatch.setattr(BaseModel, "fit", lambda self, datasets: seen.extend(datasets) or self)
    both = Material(shared / "ofanas", help_data, base_samples=100)
    both.__dict__["gpus"] = material.gpus
    assert isinstance(both.base, BaseModel)
    gpus = ["rtx-2080-ti/pytorch/b64", "tesla-p40/pytorch/b64"]
    assert [str(data.target) for data in seen[:2]] == gpus
    assert len(seen) == 2 + 6
    assert {len(data) for data in seen} == {100}
    assert "samsung-note10" not in {data.target.device for data in seen}
    other = Material(shared / "ofanas", help_data / "nasbench201")
    other.__dict__["gpus"] = material.gpus
    assert list(other.others) == list(material.gpus)  # no OFA latencies there


def test_a_confidence_stands_beside_the_prediction_alone(shared: Path, material: Material) -> None:
    pytest.importorskip("torch")
    told: list[str] = []
    names = ["table", "fine-tuned-10", "mlp-conditioned-standardized"]
    plan = search.plan([FIXED], names, [20], seeds=3, confidence=0.9)
    rows = search.run(shared / "ofanas", plan, material=material, report=told.append).rows
    found = {(r["source"], r["confidence"]): r for r in rows}
    assert list(found) == [(names[0], None), (names[1], None), (names[1], 0.9), (names[2], None)]
    alone, sure = found[names[1], None], found[names[1], 0.9]
    for seed, (one, other) in enumerate(zip(alone["runs"], sure["runs"], strict=True)):
        assert other["predicted_ms"] < one["predicted_ms"] <= 20
        arch = space(FIXED).parse([other["arch"]])
        assert SOURCES[names[1]].learn(material, seed).upper_bound(arch, 0.9)[0] <= 20
    assert sure["true_ms"] < alone["true_ms"]
    (note,) = (text for text in told if text.startswith("note: "))
    assert note.startswith("note: mlp-conditioned-standardized has no bound of confidence 0.9")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spaces": ["compofa"]}, "compofa-fixed-kernel"),
        ({"sources": ["tabel"]}, "did you mean 'table'"),
        ({"budgets_ms": [20, 0]}, "budgets must be positive"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1"),
    ],
)
def test_plans_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search.plan(**options)


def test_plans_are_put_in_order() -> None:
    plan = search.plan([], ["predictor", "table"], [30, 20, 30])
    assert plan.sources == ("table", "predictor")
    assert plan.budgets_ms == (20, 30)
    assert plan.spaces == search.SPACES
    assert set(search.plan().sources) < set(SOURCES)


def test_published_figures_are_those_of_their_budget() -> None:
    found = published_search("ofa-mobilenet-v3", "table", 35.0)
    assert found == {"who": "Once-For-All", "top1": 0.8313, "measured": False, "seconds": 62.2}
    assert published_search("ofa-mobilenet-v3", "table", 21.0) is None
    assert published_search("ofa-mobilenet-v3", "predictor", 35.0) is None


# -- the command --------------------------------------------------------------------------------


def test_the_command_prints_the_table(
    latcast: Any, shared: Path, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("bench", "search", "--data", shared / "ofanas", "--space", FIXED,
                 "--source", "table", "--budget", 25, "--budget", 30, "--seeds", 1)  # fmt: skip
    found = latcast.json(*arguments)
    assert (found["schema"], found["bench"]) == ("latcast/bench", "search")
    assert {row["study"] for row in found["rows"]} == {"samsung-note10"}
    assert [row["max_latency_ms"] for row in found["rows"]] == [25, 30]
    assert found["rows"][0]["excess_ms"] is None
    monkeypatch.setattr(search, "Material", lambda *_, **__: material)
    run = latcast(*arguments)
    machine, title, *_ = run.stdout.splitlines()
    assert f"latcast {public.__version__}" in machine
    assert title.startswith("samsung-note10; mean ± deviation over 1 seed")
    row = next(line for line in run.stdout.splitlines() if "24.83" in line).split()
    assert row[:6] == [FIXED, "table", "0", "–", "25", "80.78"]
    kept = run.stdout.split("all spaces and budgets")[1].splitlines()[3].split()
    assert kept == ["table", "–", "2", "of", "2", "0", "–", "0.00"]
    assert row[-3:] == ["1,215", "(all)", "75.70"]
    assert "OFANAS paper, compofa-fixed-kernel, table: top-1 on images of ImageNet" in run.stdout
    assert f"{FIXED}: table" in run.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --data, --help-data, or both; got neither"),
        (("--data", "nowhere"), "the data must be in a folder; got nowhere"),
        (("--data", ".", "--source", "tabel"), "did you mean 'table'?"),
        (("--help-data", ".", "--source", "table"), "--source is of the Note10's searches"),
        (("--help-data", ".", "--space", FIXED), "--space is of the Note10's searches"),
        (("--help-data", ".", "--budget", 20), "which need --data: give both"),
        (("--help-data", ".", "--evaluations", 9), "--evaluations is of the Note10's searches"),
        (("--data", ".", "--confidence", 2), "confidence must be between 0 and 1"),
    ],
)
def test_wrong_usage_is_told(latcast: Any, options: tuple[Any, ...], message: str) -> None:
    assert message in latcast.error("bench", "search", *options, code=2)


def test_a_folder_without_the_data_is_a_failure(latcast: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert "acc_predictor.pth" in latcast.error("bench", "search", "--data", tmp_path, code=1)


def test_both_folders_are_looked_at_before_anything_is_run(
    latcast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Path] = []
    monkeypatch.setattr(search, "Teacher", ran.append)
    paper, other = tmp_path / "paper", tmp_path / "help"
    for folder in (paper / "datasets", paper / "lookup_tables", other):
        folder.mkdir(parents=True)
    arguments = ("bench", "search", "--data", paper, "--help-data", other)
    (paper / "acc_predictor.pth").touch()
    assert f"no such file: {paper / 'datasets' / NOTE10}.csv" in latcast.error(*arguments, code=1)
    (paper / "datasets" / f"{NOTE10}.csv").touch()
    assert "no space with latencies here" in latcast.error(*arguments, code=1)
    (paper / "lookup_tables").rmdir()
    assert "must hold a folder lookup_tables" in latcast.error(*arguments, code=1)
    assert not ran
