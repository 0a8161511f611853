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
from latcast.models import BaseModel, Bayes, Predictor
from latcast.spaces import Archs, space

RESOLUTIONS = {"r": [160, 192, 224]}
MEASUREMENTS = (1, 3, 10, 50)


def _few(simulated: Any, k: int, seed: int) -> Dataset:
    archs = space("ofa-mobilenet-v3").sample(k, 1_000 + seed, restrict=RESOLUTIONS)
    return simulated.measure(archs, 2_000 + seed)


def _error(p: Predictor, archs: Archs, true_ms: np.ndarray) -> float:
    return float(np.abs(p.predict(archs) / true_ms - 1).mean())


@pytest.fixture(scope="module")
def adapted(base_model: BaseModel, newcomers: list[Any]) -> dict[int, list[Bayes]]:
    """Number of measurements -> a predictor for every newcomer."""
    return {
        k: [base_model.adapt(_few(s, k, n), s.device) for n, s in enumerate(newcomers)]
        for k in MEASUREMENTS
    }


@pytest.mark.slow
def test_it_says_what_it_knows(base_model: BaseModel, source_data: list[Dataset]) -> None:
    assert set(base_model.targets) == {d.target for d in source_data}
    assert base_model.space.name == "ofa-mobilenet-v3"
    assert len(base_model.card["data"]) == len(source_data)


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
    assert np.mean(inside) >= 0.85


def test_what_is_not_known_of_a_device_is_doubted(
    base_model: BaseModel, newcomers: list[Any], networks: Archs
) -> None:
    s = newcomers[0]
    unknown, known = base_model.predictor(s.target), base_model.predictor(s.target, s.device)
    width = [np.subtract(*p.predict_interval(networks, 0.9)[::-1]) for p in (unknown, known)]
    assert (width[0] / unknown.predict(networks)).mean() > (
        1.5 * (width[1] / known.predict(networks)).mean()
    )


def test_the_batch_counts_without_a_specification(base_model: BaseModel, networks: Archs) -> None:
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
            error.append(_error(p, networks, s.mean_ms(networks)))
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
        (base_model.adapt(_few(s, 5, 0)), again.adapt(_few(s, 5, 0))),
        (base_model.adapt(_few(s, 150, 0)), again.adapt(_few(s, 150, 0))),
    ):
        np.testing.assert_allclose(p.predict(networks), q.predict(networks), rtol=1e-9)


def test_fitting_again_forgets(
    source_data: list[Dataset], newcomers: list[Any], networks: Archs
) -> None:
    twice = BaseModel().fit(source_data[:3]).fit(source_data[3:5])
    assert twice.targets == [d.target for d in source_data[3:5]]
    once = BaseModel().fit(source_data[3:5])
    few = _few(newcomers[0], 5, 0)
    np.testing.assert_array_equal(
        twice.adapt(few).predict(networks), once.adapt(few).predict(networks)
    )


def test_targets_of_unknown_devices_take_part(
    source_data: list[Dataset], sources: list[Any], newcomers: list[Any], networks: Archs
) -> None:
    """They tell nothing about specifications, but which shapes there are."""
    catalogue = {s.target.device: s.device for s in sources[:2]}
    base = BaseModel().fit(source_data[:5], catalogue=catalogue)
    assert len(base.targets) == 5
    s = newcomers[0]
    for p in (base.predictor(s.target, s.device), base.adapt(_few(s, 5, 0), s.device)):
        assert np.isfinite(p.predict(networks)).all()
    assert _error(base.adapt(_few(s, 5, 0), s.device), networks, s.mean_ms(networks)) < 0.05


def test_progress_is_told(source_data: list[Dataset]) -> None:
    told: list[tuple[int, int]] = []
    BaseModel().fit(source_data[:2], progress=lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


def test_adapted_predictors_tell_what_they_saw(base_model: BaseModel, newcomers: list[Any]) -> None:
    archs = space("ofa-mobilenet-v3").sample(3, 0, restrict={"r": [128]})
    p = base_model.adapt(newcomers[0].measure(archs))
    assert p.fitted.seen["r"] == [128, 160, 192, 224]
    assert base_model.predictor(newcomers[0].target).fitted.seen["r"] == [160, 192, 224]
    assert p.fitted.card["base"] == [str(t) for t in base_model.targets]
    assert p.fitted.card["rows"] == 3


def test_subspaces_are_adapted_to(base_model: BaseModel, newcomers: list[Any]) -> None:
    small = space("compofa-elastic-kernel")
    s = newcomers[0]
    p = base_model.adapt(s.measure(small.sample(10, 0, restrict=RESOLUTIONS)), s.device)
    archs = small.sample(100, 1, restrict=RESOLUTIONS)
    assert _error(p, archs, s.mean_ms(archs)) < 0.05


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
    assert _error(p, test.archs, test.latency_ms) < 0.05


@pytest.mark.parametrize("k", [0, 3])
def test_file_round_trip(
    base_model: BaseModel, newcomers: list[Any], networks: Archs, tmp_path: Path, k: int
) -> None:
    base_model.save(tmp_path / "base.latcast")
    again = BaseModel.load(tmp_path / "base.latcast")
    assert (again.targets, again.card) == (base_model.targets, base_model.card)
    s = newcomers[1]
    pair = [
        m.adapt(_few(s, k, 0), s.device) if k else m.predictor(s.target, s.device)
        for m in (base_model, again)
    ]
    np.testing.assert_array_equal(pair[0].predict(networks), pair[1].predict(networks))
    np.testing.assert_array_equal(
        pair[0].predict_interval(networks), pair[1].predict_interval(networks)
    )
    pair[0].save(tmp_path / "adapted.latcast")
    loaded = models.load(tmp_path / "adapted.latcast")
    np.testing.assert_array_equal(loaded.predict(networks), pair[0].predict(networks))
    np.testing.assert_array_equal(
        loaded.predict_interval(networks), pair[0].predict_interval(networks)
    )
    assert loaded.fitted.seen == pair[0].fitted.seen


# -- what is refused ------------------------------------------------------------------------


def test_unfitted_says_so(newcomers: list[Any], tmp_path: Path) -> None:
    few = _few(newcomers[0], 2, 0)
    for use in (
        lambda: BaseModel().predictor(few.target),
        lambda: BaseModel().adapt(few),
        lambda: BaseModel().prior(),
        lambda: BaseModel().save(tmp_path / "x.latcast"),
    ):
        with pytest.raises(RuntimeError, match=r"BaseModel must be fitted first: call fit"):
            use()


def test_one_dataset_is_too_few(source_data: list[Dataset]) -> None:
    with pytest.raises(ValueError, match="at least 2 datasets, of different targets; got 1"):
        BaseModel().fit(source_data[:1])


def test_two_spaces_do_not_mix(source_data: list[Dataset], newcomers: list[Any]) -> None:
    other = newcomers[0].measure(space("fbnet").sample(20, 0))
    with pytest.raises(ValueError, match="one space, ofa-mobilenet-v3; got fbnet"):
        BaseModel().fit([source_data[0], other])
    base = BaseModel().fit(source_data[:2])
    with pytest.raises(ValueError, match=r"network of ofa-mobilenet-v3; got 20 of fbnet"):
        base.adapt(other)


def test_a_target_occurs_once(source_data: list[Dataset]) -> None:
    with pytest.raises(ValueError, match=r"different targets; known-0/simulator/b1 occurs twice"):
        BaseModel().fit([source_data[0], source_data[0][:50]])


def test_bad_latencies_are_refused(
    base_model: BaseModel, source_data: list[Dataset], newcomers: list[Any]
) -> None:
    latency = source_data[1].latency_ms.copy()
    latency[5] = np.nan
    bad = replace(source_data[1], values=latency)
    with pytest.raises(ValueError, match="finite and positive; got nan ms in row 5"):
        BaseModel().fit([source_data[0], bad])
    few = _few(newcomers[0], 3, 0)
    with pytest.raises(ValueError, match=r"finite and positive; got 0\.0 ms in row 0"):
        base_model.adapt(replace(few, values=few.latency_ms * [0.0, 1.0, 1.0]))


def test_few_rows_are_refused(base_model: BaseModel, source_data: list[Dataset]) -> None:
    with pytest.raises(ValueError, match=r"at least 10 measurements; got 9 of known-1/"):
        BaseModel().fit([source_data[0], source_data[1][:9]])
    with pytest.raises(ValueError, match="at least one measurement"):
        base_model.adapt(source_data[0][:0])
