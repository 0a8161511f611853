from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast import models
from latcast.data import Dataset
from latcast.devices import Target
from latcast.math.metrics import metrics
from latcast.models import BaseModel, Bayes
from latcast.spaces import Archs, space

RESOLUTIONS = {"r": [160, 192, 224]}
MEASUREMENTS = (1, 3, 10, 50)


@pytest.fixture(scope="module")
def adapted(base_model: BaseModel, newcomers: list[Any]) -> dict[int, list[Bayes]]:
    """Number of measurements -> a predictor for every newcomer."""
    return {
        k: [base_model.adapt(s.few(k, n), s.device) for n, s in enumerate(newcomers)]
        for k in MEASUREMENTS
    }


def test_it_says_what_it_knows(
    base_model: BaseModel, source_data: list[Dataset], newcomers: list[Any]
) -> None:
    assert set(base_model.targets) == {d.target for d in source_data}
    assert base_model.space.name == "ofa-mobilenet-v3"
    assert len(base_model.card["data"]) == len(source_data)
    archs = space("ofa-mobilenet-v3").sample(3, 0, restrict={"r": [128]})
    p = base_model.adapt(newcomers[0].measure(archs))
    assert p.fitted.seen["r"] == [128, 160, 192, 224]
    assert base_model.predictor(newcomers[0].target).fitted.seen["r"] == [160, 192, 224]
    assert p.fitted.card["base"] == [str(t) for t in base_model.targets]
    assert p.fitted.card["rows"] == 3


def test_new_targets_are_predicted_better_than_by_chance(
    base_model: BaseModel, sources: list[Any], newcomers: list[Any], networks: Archs
) -> None:
    """Chance is the mean of the targets that are known."""
    known = np.mean([np.log(s.mean_ms(networks).mean()) for s in sources])
    errors, chance, inside = [], [], []
    for s in newcomers:
        p = base_model.predictor(s.target, s.device)
        assert (p.target, p.fitted.card["rows"]) == (s.target, 0)
        true = s.mean_ms(networks)
        errors.append(abs(np.log(p.predict(networks).mean() / true.mean())))
        chance.append(abs(known - np.log(true.mean())))
        lower, upper = p.predict_interval(networks, 0.9)
        inside.append(((lower <= true) & (true <= upper)).mean())
    assert np.mean(errors) < 0.4 * np.mean(chance)
    assert np.mean(inside) >= 5 / 6  # of six targets whose networks are off together


def test_what_is_not_known_of_a_device_is_doubted(
    base_model: BaseModel, newcomers: list[Any], networks: Archs
) -> None:
    s = newcomers[0]
    widths = []
    for p in (base_model.predictor(s.target), base_model.predictor(s.target, s.device)):
        lower, upper = p.predict_interval(networks, 0.9)
        widths.append(((upper - lower) / p.predict(networks)).mean())
    assert widths[0] > 1.5 * widths[1]
    p = base_model.predictor(Target("nobody-knows-it", "simulator", batch=64))
    assert (p.predict(networks) > 0).all()


@pytest.mark.slow
def test_more_measurements_tell_more(
    adapted: dict[int, list[Bayes]], newcomers: list[Any], networks: Archs
) -> None:
    """The error falls and the interval narrows, and it holds as often as asked."""
    errors, widths, coverages = [], [], []
    for k in MEASUREMENTS:
        inside, width, error = [], [], []
        for n, (p, s) in enumerate(zip(adapted[k], newcomers, strict=True)):
            test = s.measure(networks, 500 + n)
            lower, upper = p.predict_interval(networks, 0.9)
            inside.append(((lower <= test.latency_ms) & (test.latency_ms <= upper)).mean())
            width.append(((upper - lower) / test.latency_ms).mean())
            error.append(s.error(p, networks))
        coverages.append(np.mean(inside))
        errors.append(np.mean(error))
        widths.append(np.mean(width))
    # Over twelve targets, a coverage's deviation is about 3 %.
    assert min(coverages) > 0.80, coverages
    assert np.mean(coverages) < 0.97, coverages
    assert (np.diff(errors) < 0).all(), errors
    assert (np.diff(widths) < 0).all(), widths
    assert errors[0] < 0.06
    assert errors[-1] < 0.006


@pytest.mark.slow
def test_order_of_the_datasets_does_not_matter(
    base_model: BaseModel,
    source_data: list[Dataset],
    sources: list[Any],
    newcomers: list[Any],
    networks: Archs,
) -> None:
    catalogue = {s.target.device: s.device for s in sources}
    again = BaseModel().fit(source_data[3:] + source_data[:3], catalogue=catalogue)
    s = newcomers[0]
    for p, q in (
        (base_model.predictor(s.target, s.device), again.predictor(s.target, s.device)),
        (base_model.adapt(s.few(5)), again.adapt(s.few(5))),
        (base_model.adapt(s.few(150)), again.adapt(s.few(150))),
    ):
        np.testing.assert_allclose(p.predict(networks), q.predict(networks), rtol=1e-9)


@pytest.mark.slow
def test_fitting_again_forgets(
    source_data: list[Dataset], newcomers: list[Any], networks: Archs
) -> None:
    twice = BaseModel().fit(source_data[:3]).fit(source_data[3:5])
    assert twice.targets == [d.target for d in source_data[3:5]]
    once = BaseModel().fit(source_data[3:5])
    few = newcomers[0].few(5)
    np.testing.assert_array_equal(
        twice.adapt(few).predict(networks), once.adapt(few).predict(networks)
    )


@pytest.mark.slow
def test_targets_of_unknown_devices_take_part(
    source_data: list[Dataset], sources: list[Any], newcomers: list[Any], networks: Archs
) -> None:
    """They tell nothing about specifications, but which shapes there are."""
    catalogue = {s.target.device: s.device for s in sources[:2]}
    base = BaseModel().fit(source_data[:5], catalogue=catalogue)
    assert len(base.targets) == 5
    s = newcomers[0]
    assert np.isfinite(base.predictor(s.target, s.device).predict(networks)).all()
    assert s.error(base.adapt(s.few(5), s.device), networks) < 0.05


def test_progress_is_told(source_data: list[Dataset]) -> None:
    told: list[tuple[int, int]] = []
    BaseModel().fit(source_data[:2], progress=lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


def test_subspaces_are_adapted_to(base_model: BaseModel, newcomers: list[Any]) -> None:
    small = space("compofa-elastic-kernel")
    s = newcomers[0]
    p = base_model.adapt(s.measure(small.sample(10, 0, restrict=RESOLUTIONS)), s.device)
    assert s.error(p, small.sample(100, 1, restrict=RESOLUTIONS)) < 0.05


@pytest.mark.slow
def test_spaces_with_dead_code(simulate: Callable[..., Any]) -> None:
    """Targets that leave dead code out are known as such when one more comes."""
    cells = space("nasbench201")
    facts = cells.block_table.facts
    values = facts["macs"] * 4e-8 + facts["launches"] * 0.01

    def measure(n: int, k: int) -> Dataset:
        archs = cells.sample(k, n)
        kept = cells.live_blocks(archs) if n % 2 else 1.0
        latency = (1 + n) * (0.5 + (cells.gather(archs, values) * kept).sum(axis=1))
        noise = np.random.default_rng(n).normal(1.0, 0.01, k)
        return Dataset(archs, latency * noise, Target(f"d{n}", "simulator"))

    base = BaseModel().fit([measure(n, 100) for n in range(6)])
    test = measure(7, 300)
    p = base.adapt(measure(7, 12))
    assert np.abs(p.predict(test.archs) / test.latency_ms - 1).mean() < 0.05


@pytest.mark.parametrize("k", [0, 3])
def test_file_round_trip(
    base_model: BaseModel, newcomers: list[Any], networks: Archs, tmp_path: Path, k: int
) -> None:
    base_model.save(tmp_path / "base.latcast")
    again = BaseModel.load(tmp_path / "base.latcast")
    assert (again.targets, again.card) == (base_model.targets, base_model.card)
    s = newcomers[1]
    pair = [
        m.adapt(s.few(k), s.device) if k else m.predictor(s.target, s.device)
        for m in (base_model, again)
    ]
    pair[0].save(tmp_path / "adapted.latcast")
    # Files keep singles.
    for other in (pair[1], models.load(tmp_path / "adapted.latcast")):
        for asked in ("predict", "predict_interval"):
            expected = getattr(pair[0], asked)(networks)
            np.testing.assert_allclose(getattr(other, asked)(networks), expected, rtol=1e-6)
    loaded = models.load(tmp_path / "adapted.latcast")
    assert loaded.fitted.seen == pair[0].fitted.seen


# -- what is refused ------------------------------------------------------------------------


def test_unfitted_says_so(newcomers: list[Any], tmp_path: Path) -> None:
    few = newcomers[0].few(2)
    for use in (
        lambda: BaseModel().predictor(few.target),
        lambda: BaseModel().adapt(few),
        lambda: BaseModel().prior(),
        lambda: BaseModel().save(tmp_path / "x.latcast"),
    ):
        with pytest.raises(RuntimeError, match=r"BaseModel must be fitted first: call fit"):
            use()


def test_what_cannot_be_learnt_from(
    base_model: BaseModel, source_data: list[Dataset], newcomers: list[Any]
) -> None:
    first, second, few = source_data[0], source_data[1], newcomers[0].few(3)
    holed = np.where(np.arange(len(second)) == 5, np.nan, second.values)
    other = newcomers[0].measure(space("fbnet").sample(20, 0))
    for data, message in (
        ([first], "at least 2 datasets, of different targets; got 1"),
        ([first, other], "one space, ofa-mobilenet-v3; got fbnet"),
        ([first, first[:50]], "different targets; known-0/simulator/b1 occurs twice"),
        ([first, replace(second, values=holed)], "finite and positive; got nan ms in row 5"),
        ([first, second[:9]], "at least 10 measurements; got 9 of known-1/"),
    ):
        with pytest.raises(ValueError, match=message):
            BaseModel().fit(data)
    for measured, message in (
        (other, "network of ofa-mobilenet-v3; got 20 of fbnet"),
        (replace(few, values=few.latency_ms * [0, 1, 1]), r"positive; got 0\.0 ms in row 0"),
        (first[:0], "at least one measurement"),
    ):
        with pytest.raises(ValueError, match=message):
            base_model.adapt(measured)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [10, 20])
def test_targets_alike_in_a_base_do_not_hide_one_unlike_them(
    simulate: Callable[..., Any], networks: Archs, samples: int
) -> None:
    """Copies of known targets, up to their speed, must not make those that differ worse."""
    data = [
        simulate(Target(f"alike-{n}-{speed}", "simulator"), 2e-8 * speed, 1e-9 * speed, ms * speed)
        .measure(networks[:120], seed=10 * n + copy)
        for copy, speed in enumerate((1.0, 1.3, 1.6, 1.9, 2.2))
        for n, ms in enumerate((0.002, 0.02, 0.06))
    ]  # fmt: skip
    bases = [BaseModel().fit(some, catalogue={}) for some in (data[:3], data)]
    unlike = simulate(Target("unlike", "simulator"), 1e-9, 3e-7, 0.005)
    test, true = networks[120:], unlike.mean_ms(networks[120:])
    distinct, copied = [
        np.mean([base.adapt(unlike.few(samples, n)).predict(test) for n in range(4)], axis=0)
        for base in bases
    ]
    assert metrics(true, copied)["spearman"] >= metrics(true, distinct)["spearman"] - 0.005
    assert np.abs(copied / distinct - 1).mean() < 0.01
