"""Models of one target brought to another by a few networks: parts of prices, and three numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from latcast.data import Dataset
from latcast.devices import Cluster, Target, device_files, devices
from latcast.math.least_squares import MIN_PRICED
from latcast.models import Kernels, load_layers
from latcast.models.kernels._adapting import (
    KIND_SHIFT,
    MEASURED_SCALE,
    Slowdown,
    _left_out,
    _numbers,
    adapted_model,
)
from latcast.models.kernels._model import physical_work
from latcast.models.kernels._prices import Observed
from latcast.networks import ALL_KINDS, OPS, Networks

OTHER = Target("another", "simulator")
# Networks by kernels: two kinds of convolutions, so that MACs and bytes are no multiples.
COUNTS = np.array([[1, 0], [0, 1], [2, 1], [1, 3], [4, 1], [2, 5]])


@pytest.fixture(scope="module")
def kernels(simulator: type) -> Networks:
    """Six networks of two kernels."""
    two = Networks.of(list(simulator().measured(2, families=("plain",)).graphs), OTHER)
    chosen = np.argsort(two.fact("macs"))[-2:]
    labels = tuple(two.labels[n] for n in chosen)
    return Networks(two.ops[chosen], labels, two.facts[chosen], sp.csr_matrix(COUNTS * 1.0))


def observed(kernels: Networks, ms: np.ndarray) -> Observed:
    return Observed(kernels, ms, sp.csr_matrix(kernels.counts.shape))


def test_errors_of_values_left_out_are_those_of_refits() -> None:
    rng = np.random.default_rng(0)
    root, values = rng.normal(size=(6, 6)), rng.normal(size=6)
    covariance = root @ root.T + np.eye(6)
    density, errors = _left_out(covariance, values)
    for n in range(6):
        rest = np.delete(np.arange(6), n)
        pulled = np.linalg.solve(covariance[np.ix_(rest, rest)], values[rest])
        assert errors[n] == pytest.approx(values[n] - covariance[n, rest] @ pulled)
    exact = values @ np.linalg.solve(covariance, values) + np.linalg.slogdet(covariance)[1]
    assert density == pytest.approx(-exact / 2)


@pytest.mark.parametrize(("own", "low", "high"), [(0.0, 0.0, 0.0), (0.5, 0.98, 1.0)])
def test_three_numbers_weigh_by_the_errors_of_both(
    kernels: Networks, own: float, low: float, high: float
) -> None:
    """What three numbers say exactly is theirs; a model without an error needs none."""
    work = physical_work(kernels)
    numbers = _numbers(observed(kernels, work @ [2e-9, 3e-8, 0.5]), np.full(len(work), own))
    assert low <= numbers[-1] <= high
    assert work @ numbers[:-1] == pytest.approx(work @ [2e-9, 3e-8, 0.5], rel=1e-3)


def test_few_networks_fit_no_three_numbers(kernels: Networks) -> None:
    few = kernels.select(np.arange(MIN_PRICED - 1))
    assert not _numbers(observed(few, np.ones(len(few))), np.ones(len(few))).any()


@pytest.fixture(scope="module")
def fitted(simulator: type) -> Kernels:
    """A model of 72 networks of three families."""
    return Kernels().fit(simulator().measured(72))


def errors(model: Kernels, data: Dataset) -> np.ndarray:
    return np.abs(model.predict(data.graphs) / data.latency_ms - 1)


@pytest.mark.slow
def test_what_other_kernels_take_is_learnt_from_ten_networks(
    simulator: type, fitted: Kernels, tmp_path: Path
) -> None:
    """Convolutions are twice as fast as on the base's target, other kernels as fast; file alike."""
    fast = simulator(OTHER, by_kind={"conv": 0.5, "linear": 0.5})
    test = fast.measured(40, seed=3)
    adapted = fitted.adapt(fast.measured(10, seed=4))
    assert np.median(errors(fitted, test)) > 0.3
    assert np.median(errors(adapted, test)) < 0.08
    adapted.save(tmp_path / "m.latcast")
    loaded = load_layers(tmp_path / "m.latcast")
    np.testing.assert_allclose(loaded.predict(test.graphs), adapted.predict(test.graphs), rtol=1e-6)
    again = loaded.adapt(fast.measured(10, seed=5))
    assert again.target == OTHER
    assert np.median(errors(again, test)) < 0.08


def described(folder: Path, **peaks: float) -> Path:
    """A file of CPUs of two cores with these peaks; none where it is 0."""
    path = folder / "devices.toml"
    path.write_text(
        "".join(
            f'["{name}"]\ntitle = "{name}"\nkind = "cpu"\ncores = 2\nmemory_gb = 8.0\n'
            f'bandwidth_gb_s = 20.0\nsource = "a test"\n'
            + (f"peak_fp32_flops = {peak}\n" if peak else "")
            for name, peak in peaks.items()
        )
    )
    return path


@pytest.mark.slow
def test_all_follows_the_peaks_of_cores(simulator: type, fitted: Kernels, tmp_path: Path) -> None:
    """Before anything was measured; measurements then tell the same as of the named model."""
    here, target = fitted.target, Target("fast", fitted.target.runtime)
    few = simulator(target).measured(3, seed=4)
    graphs = simulator(target).measured(5, seed=5).graphs
    file = described(tmp_path, **{here.device: 1e11, "fast": 2e11})
    with device_files([file]):
        fast = devices()["fast"]
        carried = fitted.carried(fast, target)
        assert carried.target == target
        kernels = Networks.of(graphs, target)
        before, after = (m._model.prices.parts(kernels) for m in (fitted, carried))
        np.testing.assert_allclose(after, before * 0.5)
        # A network is as large as before, although its price is another.
        np.testing.assert_allclose(carried.predict(graphs), fitted.predict(graphs) / 2, rtol=1e-9)
        adapted = [m.adapt(few).predict(graphs) for m in (fitted, carried)]
        np.testing.assert_allclose(adapted[0], adapted[1], rtol=1e-9)
        spans = [np.divide(*m.predict_interval(graphs)[::-1]) for m in (fitted, carried)]
        assert (spans[1] > spans[0]).all()
        # Two samples take more than one, and less than twice as long, as layers do that are larger.
        two = fitted.carried(fast, replace(target, batch=2))
        ratio = two.predict([g.with_batch(2) for g in graphs]) / carried.predict(graphs)
        assert ((ratio > 1.0) & (ratio < 2.1)).all()
        with pytest.raises(ValueError, match="but for the device"):
            fitted.carried(fast, Target("fast", here.runtime, threads=2))
    unknown = fitted.adapt(few).predict(graphs)
    assert not np.allclose(unknown, adapted[0], rtol=1e-3)


@pytest.mark.slow
def test_instructions_for_int8_speed_up_products_alone(
    simulator: type, fitted: Kernels, tmp_path: Path
) -> None:
    """All of a network followed the peak of AMX: a MobileNet was to run eight times as fast."""
    path = tmp_path / "devices.toml"
    path.write_text(
        "".join(
            f'["{name}"]\ntitle = "{name}"\nkind = "cpu"\ncores = 2\nmemory_gb = 8.0\n'
            f'bandwidth_gb_s = 20.0\nsource = "a test"\npeak_fp32_flops = {floats}\n'
            f"peak_int8_ops = {integers}\n"
            for name, floats, integers in (("vnni", 1e11, 4e11), ("amx", 2e11, 64e11))
        )
    )
    of, to = (Target(name, "onnxruntime", precision="int8", threads=1) for name in ("vnni", "amx"))
    with device_files([path]):
        slowdown = Slowdown.between(of, to, devices()["amx"])
        alike = Slowdown.between(of, to, replace(devices()["amx"], peak_int8_ops=8e11))
    assert slowdown is not None
    assert alike is not None
    assert (slowdown.factor, slowdown.products) == pytest.approx((0.5, 0.125))
    assert (alike.factor, alike.products) == pytest.approx((0.5, 1.0))
    # How much of a network that is no peak tells.
    assert slowdown.deviation > 0.5 * np.log(8) > alike.deviation
    graphs = simulator(fitted.target).measured(3, seed=5).graphs
    kernels = Networks.of(graphs, fitted.target)
    before, after = (
        m.prices.parts(kernels) for m in (fitted._model, slowdown.applied(fitted._model))
    )
    is_product = np.isin(np.array(ALL_KINDS)[kernels.kinds], ("conv", "linear", "matmul"))
    factors = np.full_like(before, 0.5)
    factors[is_product, 0] *= 0.125
    np.testing.assert_allclose(after, before * factors)


def halves(model: Kernels, graphs: object) -> np.ndarray:
    """Half the widths of 90 % intervals, in logarithms."""
    low, high = model.predict_interval(graphs)  # type: ignore[arg-type]
    return np.asarray(np.log(high / low) / 2)


@pytest.mark.slow
def test_less_is_known_of_a_cpu_the_less_its_peak_is(
    simulator: type, fitted: Kernels, tmp_path: Path
) -> None:
    target = Target("fast", fitted.target.runtime)
    graphs = simulator(target).measured(5, seed=5).graphs
    file = described(tmp_path, **{fitted.target.device: 1e11, "fast": 2e11, "unknown": 0.0})
    with device_files([file]):
        known = devices()
        of_a_core = replace(
            known["fast"], peak_fp32_flops=None, clusters=(Cluster("zen-4", 2, 3.1),)
        )
        models = (
            fitted,
            *(fitted.carried(d, target) for d in (known["fast"], of_a_core, known["unknown"])),
        )
    widths = np.stack([halves(m, graphs) for m in models])
    assert (np.diff(widths, axis=0) > 0).all()


@pytest.mark.slow
def test_errors_at_home_make_no_other_cpu_surer(
    simulator: type, fitted: Kernels, tmp_path: Path
) -> None:
    """Before a measurement and after one: what carrying may cost is no part of the calibration."""
    target = Target("fast", fitted.target.runtime)
    measured = simulator(target).measured(6, seed=4)
    few, graphs = measured[:1], measured.graphs[1:]
    surer = Kernels()
    surer._model, surer._ranges = fitted._model, fitted._ranges
    own = fitted._apart()
    scores = own.widened(0.4 / own.quantile(0.9))
    surer.become(replace(fitted.fitted, calibration=scores))
    surer._model = replace(surer._model, familiarity=None)
    file = described(tmp_path, **{fitted.target.device: 1e11, "fast": 2e11})
    with device_files([file]):
        carried = surer.carried(devices()["fast"], target)
        adapted = surer.adapt(few)
    # Networks of several kinds of kernels: their deviations are in part independent.
    least = 1.645 * np.hypot(MEASURED_SCALE, KIND_SHIFT / 2)
    assert (halves(carried, graphs) > least).all()
    assert (halves(adapted, graphs) > 1.645 * KIND_SHIFT / 4).all()  # type: ignore[arg-type]
    assert (halves(surer, graphs) < halves(carried, graphs) / 3).all()


@pytest.mark.slow
def test_what_a_slow_operator_takes_is_not_the_target_s(kernels: Networks, fitted: Kernels) -> None:
    """Networks take what is forecast, activations of 28 ReLUs' time included: nothing is learnt."""
    ops, labels = kernels.ops.copy(), ("softplus", kernels.labels[1])
    ops[0] = OPS.index("softplus")
    networks = replace(kernels, ops=ops, labels=labels)
    model, alone = fitted._model, kernels.select(np.array([1]))
    ms = model.forecast(networks, runtime="onnxruntime").ms
    adapted = adapted_model(model, observed(networks, ms), same_target=False)
    before, after = (m.forecast(alone, runtime="onnxruntime").ms for m in (model, adapted))
    np.testing.assert_allclose(after, before, rtol=0.01)
