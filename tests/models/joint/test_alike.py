"""Known networks on new chips: a Gaussian over targets, and its average with what prices say."""

from dataclasses import replace

import numpy as np
import pytest

from latcast.graph import GraphBuilder
from latcast.models.joint import JointModel, Observations, TargetFacts
from latcast.models.joint._fit import fit
from latcast.models.joint._posterior import Posterior, Rest
from latcast.models.joint.alike import (
    NOISE,
    SAMPLES,
    UNTOLD,
    WORTH,
    Gaussian,
    LatencyTable,
    gaussians,
    log_work,
)
from latcast.networks import Networks

CHIPS, NETWORKS = 7, 40


def _observations(values: np.ndarray, networks: Networks, chips: int = CHIPS) -> Observations:
    """Targets x networks of log ms."""
    targets = tuple(
        TargetFacts(
            f"t{n}", f"chip{n % chips}", "qnn-npu", "qnn", precision="int8",
            facts={"peak_flops": 1e13 * 1.3**n, "bandwidth_gb_s": 50.0 * 1.2**n},
        )
        for n in range(len(values))
    )  # fmt: skip
    target, network = np.indices(values.shape).reshape(2, -1)
    names = tuple(f"net{n}" for n in range(values.shape[1]))
    return Observations(
        networks, names, names, targets, network, target, values.ravel(), np.zeros(values.size)
    )


@pytest.fixture(scope="module")
def networks() -> Networks:
    graphs = []
    for n in range(NETWORKS):
        b = GraphBuilder(1, f"net{n}")
        x = b.input(3, 32, 32)
        for _ in range(1 + n % 3):
            x = b.activation(b.conv(x, 8 + n, 3, padding=1), "relu")
        graphs.append(b.build(b.linear(b.global_pool(x), 10)))
    return Networks.of_graphs(graphs)


@pytest.fixture(scope="module")
def made(networks: Networks) -> Observations:
    """Chips that are one speed apart, and one direction that prices know nothing of."""
    rng = np.random.default_rng(0)
    own, odd = rng.normal(0, 0.4, (2, NETWORKS))
    speed, how = rng.normal(0, 0.5, (CHIPS, 1)), rng.normal(0, 0.7, (CHIPS, 1))
    values = log_work(networks) - 20 + own + speed + how * odd
    return _observations(values + 0.03 * rng.standard_normal(values.shape), networks)


def test_what_is_measured_conditions_a_normal_distribution(made: Observations) -> None:
    gaussian = Gaussian.fit(made)
    covariance = gaussian.factors @ gaussian.factors.T + NOISE * np.eye(NETWORKS)
    measured, others = np.array([3, 9, 20, 31]), np.array([0, 5, -1])
    values = gaussian.mean[measured] + np.array([0.5, 0.4, -0.1, 0.7])
    seen = gaussian.told(measured, values)
    mean, variance = gaussian.forecast(seen, others)
    known = others[:2]
    gain = np.linalg.solve(covariance[np.ix_(measured, measured)], covariance[measured][:, known])
    np.testing.assert_allclose(
        mean[:2], gaussian.mean[known] + gain.T @ (values - gaussian.mean[measured])
    )
    np.testing.assert_allclose(
        variance[:2],
        np.diag(covariance[np.ix_(known, known)] - covariance[known][:, measured] @ gain),
    )
    assert np.isnan(mean[2])
    # Each measurement as the three others tell it.
    for n in range(4):
        rest = np.delete(np.arange(4), n)
        told, deviation = gaussian.forecast(
            gaussian.told(measured[rest], values[rest]), measured[[n]]
        )
        assert seen.away[n] == pytest.approx((values[n] - told[0]) ** 2 / deviation[0], rel=1e-6)


def test_a_table_takes_the_mean_of_what_was_measured_twice(made: Observations) -> None:
    twice = made.select(np.array([0, 0, 1]))
    twice = replace(twice, log_ms=np.array([1.0, 2.0, 3.0]))
    table = LatencyTable(twice)
    np.testing.assert_allclose(table.values, [np.array([1.5, 3.0]) - log_work(made.networks)[:2]])
    columns, values = table.measured(made.select(np.array([1, 2])))
    assert columns.tolist() == [1]
    np.testing.assert_allclose(values, made.log_ms[1] - log_work(made.networks)[1])


def _after(pull: list[float]) -> Posterior:
    """After measurements with a covariance of one."""
    none, k = np.zeros((len(pull), 0)), len(pull)
    rest = Rest(np.eye(k))
    return Posterior(np.zeros(0), np.zeros((0, 0)), none, np.array(pull), rest, none, np.ones(k))


@pytest.mark.parametrize("k", [1, 4])
def test_two_forecasts_count_by_their_variances(made: Observations, k: int) -> None:
    """From three measurements on as the measurements confirm them, each told by the others."""
    gaussian = replace(Gaussian.fit(made), farther={1: 2.0, 5: 9.0})
    measured, names = made.select(np.arange(k)), ("net30", "unheard of", "net31")
    prices, deviation = np.array([1.0, 2.0, 3.0]), np.full(3, 0.3)
    networks = made.networks.select([30, 30, 31])
    log_ms, found = gaussian.averaged(
        (prices, deviation), _after([0.1] * k), measured, networks, names
    )
    columns, values = gaussian.table.measured(measured)
    seen = gaussian.told(columns, values)
    own, variance = gaussian.forecast(seen, np.array([30, 31]))
    by_name, by_price = 2 * variance, 0.3**2
    if k == 4:
        by_name = by_name * (WORTH + seen.away.sum() / 2) / (WORTH + k)
        by_price *= (WORTH + k * 0.1**2) / (WORTH + k)
    share = by_price / (by_price + by_name)
    own += log_work(networks)[[0, 2]]
    np.testing.assert_allclose(log_ms[[0, 2]], (1 - share) * prices[[0, 2]] + share * own)
    assert (found[[0, 2]] < np.sqrt(np.maximum(by_name, by_price)) + 1e-12).all()
    assert (log_ms[1], found[1]) == (2.0, 0.3)
    one_kernel = made.networks.select([30])
    nothing = gaussian.averaged(
        (prices[:1], deviation[:1]), _after([0.1] * k), measured, one_kernel, ("unheard of",)
    )
    assert (nothing[0][0], nothing[1][0]) == (1.0, 0.3)


def test_chips_left_out_say_how_far_off_a_gaussian_is(made: Observations) -> None:
    """Where each is of a direction of its own, none tells of the next; few tell too little."""
    rng = np.random.default_rng(1)
    values = made.log_ms.reshape(CHIPS, NETWORKS)
    unlike = values + 0.5 * rng.standard_normal(values.shape)
    (key,), (one,) = zip(*gaussians(made).items(), strict=True)
    assert key == ("qnn-npu", "int8")
    assert one.farther[5] < 4
    far = gaussians(_observations(unlike, made.networks))[key]
    assert far.farther[5] > 3 * one.farther[5]
    for chips in (1, 3):
        few = gaussians(_observations(values, made.networks, chips))[key]
        assert set(few.farther) == set(SAMPLES)
        assert few.farther[1] >= UNTOLD / chips**2
        assert min(few.farther[k] for k in SAMPLES if k > 1) >= UNTOLD / chips > one.farther[5]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_one_chip_tells_little_of_others(made: Observations, k: int) -> None:
    """A direction that it does not know widens what it tells after any number of networks."""
    inside = []
    for known in range(CHIPS):
        (gaussian,) = gaussians(made.select(made.target == known)).values()
        for new in np.setdiff1d(np.arange(CHIPS), [known]):
            columns, values = gaussian.table.measured(made.select(made.target == new))
            mean, variance = gaussian.forecast(gaussian.told(columns[:k], values[:k]), columns[k:])
            farther = gaussian.farther[k]
            inside.append(np.abs(values[k:] - mean) < 1.645 * np.sqrt(farther * variance))
    assert np.mean(inside) > 0.56


def test_kernels_that_were_measured_alone_have_no_gaussian(made: Observations) -> None:
    b = GraphBuilder(1, "one")
    x = b.input(3, 32, 32)
    single = Networks.of_graphs([b.build(b.conv(x, 8, 3))])
    assert gaussians(_observations(np.zeros((CHIPS, 1)), single)) == {}


def test_a_chip_much_like_others_is_told_by_their_networks(made: Observations) -> None:
    """Prices cannot tell the networks' direction: three of them and the other chips do."""
    new = made.target == CHIPS - 1
    model = JointModel(fit(made.select(~new)))
    plain = JointModel(replace(model.learnt, alike={}))
    rows = np.flatnonzero(new)
    target, names = made.targets[CHIPS - 1], made.names
    measured, rest = made.select(rows[[0, 13, 31]]), np.setdiff1d(np.arange(NETWORKS), [0, 13, 31])
    true = made.log_ms[rows[rest]]

    def error(model: JointModel, measured: Observations | None) -> float:
        found = model.forecast(target, made.networks, names, measured)
        return float(np.median(np.abs(np.log(found.ms)[rest] - true)))

    assert error(model, measured) < 0.6 * error(plain, measured)
    assert error(model, None) == error(plain, None)
    # What was learnt from is known better by its own weights.
    known = made.targets[0]
    own = made.select(made.target == 0)
    ms = [m.forecast(known, made.networks, names, own).ms for m in (model, plain)]
    np.testing.assert_array_equal(*ms)
