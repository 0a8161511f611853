"""What benchmarks compute by themselves."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_files import load_benchmark

import latcast
from latcast.search import accuracy_model


def test_hypervolume() -> None:
    volume = load_benchmark("search").hypervolume
    # Two steps up to 60 ms above 0.7; what is dominated or outside adds nothing.
    accuracy, ms = np.array([0.8, 0.9, 0.75, 0.6, 0.99]), np.array([20.0, 50.0, 30.0, 10.0, 70.0])
    assert volume(accuracy, ms) == pytest.approx(30 * 0.1 + 10 * 0.2)
    assert volume(accuracy[3:], ms[3:]) == 0


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("fixed", [0.0, 0.3])
def test_exponents_of_growth(power: float, fixed: float) -> None:
    sizes = [100, 200, 400, 800]
    seconds = [fixed + 0.1 * (n / 100) ** power for n in sizes]
    assert load_benchmark("scaling").exponent(sizes, seconds) == pytest.approx(power, abs=0.02)
    noisy = np.array(seconds) * [1.02, 0.98, 1.02, 0.98]
    assert load_benchmark("scaling").exponent(sizes, noisy) == pytest.approx(power, abs=0.3)


def test_the_best_that_keeps_both_budgets() -> None:
    best = load_benchmark("search")._best_keeping
    models = (latcast.load("samsung-note10"), latcast.load("rtx-2080-ti"))
    archs = latcast.space("compofa-fixed-kernel").sample(40, 0, restrict={"r": [160, 192, 224]})
    ms = np.stack([m.predict(archs) for m in models], axis=1)
    inside = (ms <= (25, 14)).all(axis=1)
    assert 0 < inside.sum() < 40
    expected = accuracy_model().predict(archs)[inside].max()
    assert best(archs, models, (25, 14)) == pytest.approx(expected, abs=1e-6)
    assert np.isnan(best(archs, models, (1, 1)))


def made_up(factor: float, precision: str) -> object:
    """What ``precisions.py`` forecasts of 100 networks of one target, right to 1 %."""
    from latcast.data import Dataset
    from latcast.devices import Target

    benchmark, rng = load_benchmark("precisions"), np.random.default_rng(3)
    b = latcast.graph.GraphBuilder()
    b.conv(b.input(3, 8, 8), 4)
    ms = np.exp(rng.normal(size=100)) * (
        1 if precision == "fp32" else factor ** rng.normal(size=100)
    )
    target = Target("here", "onnxruntime", precision=precision, threads=1)
    data = Dataset(
        networks=(b.build(),) * 100, values=ms, target=target,
        names=tuple(f"n{i}" for i in range(100)), families=tuple("ab"[i % 2] for i in range(100)),
    )  # fmt: skip
    told = benchmark.Told(data, np.arange(100) % 5)
    for way in benchmark.WAYS:
        told.log_ms[way] = np.log(ms) + 0.01 * rng.normal(size=100)
        told.inside[way] = np.ones(100, dtype=bool)
    return told


def test_precisions_are_scored_on_pairs_of_networks() -> None:
    benchmark = load_benchmark("precisions")
    told = [made_up(1.5, precision) for precision in ("fp32", "int8")]
    (pairs,) = benchmark.pairs(told)
    assert pairs.name == "here/onnxruntime/b1/t1"
    ratio = np.log(told[1].data.values / told[0].data.values)
    assert np.allclose(pairs.true, ratio)
    lines = [*benchmark.errors(told), *benchmark.answers(told)]
    assert lines[-1].split()[:2] == ["here/onnxruntime/b1/t1", "100"]
    accuracy, brier, base, off = map(float, lines[-1].split()[4:8])
    assert accuracy > 95
    assert brier < base / 4
    assert off < 3
    # Forecasts that tell nothing of it are no better than the share of others.
    nothing = benchmark._cell(pairs.fold, pairs.true, np.zeros(100)).split()
    assert float(nothing[1]) == pytest.approx(float(nothing[2]), abs=0.01)


def test_a_joint_model_is_fitted_to_the_other_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    from latcast.models.joint import TargetFacts

    benchmark = load_benchmark("precisions")
    told = [made_up(1.5, precision) for precision in ("fp32", "int8")]
    asked = benchmark.Question.of_target

    def facts(target: latcast.Target, domains: object) -> object:
        known = asked(replace(target, device="epyc-genoa-2c"), {}).facts
        assert isinstance(known, TargetFacts)
        return SimpleNamespace(facts=replace(known, name=str(target)))

    monkeypatch.setattr(benchmark.Question, "of_target", facts)
    benchmark.add_fitted(told)
    for each in told:
        # One network under a hundred names: each fold is forecast at the middle of the others.
        for fold in range(benchmark.FOLDS):
            own = each.fold == fold
            middle = np.median(np.log(each.data.values[~own]))
            assert each.log_ms["fitted"][own] == pytest.approx(middle, abs=0.3)
        assert 0.7 <= each.inside["fitted"].mean() <= 1


def test_networks_are_dealt_to_one_fold_in_all_datasets() -> None:
    benchmark = load_benchmark("precisions")
    told = [made_up(1.5, precision) for precision in ("fp32", "int8")]
    folds = benchmark.dealt([x.data for x in told], "network", 0)
    assert sorted(np.bincount(list(folds.values()))) == [20] * 5
    by_family = benchmark.dealt([x.data for x in told], "family", 0)
    assert {by_family[f"n{i}"] for i in range(0, 100, 2)} != {by_family["n1"]}
    assert len(set(by_family.values())) == 2
