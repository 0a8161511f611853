"""How far intervals of the joint model reach: chips, families and kernels that were left out."""

from __future__ import annotations

from dataclasses import replace

import law
import numpy as np
import pytest
from law import GRAPHS

from latcast.graph import GraphBuilder
from latcast.math.conformal import quantile
from latcast.models.joint import JointModel
from latcast.models.joint._model import (
    SAMPLES,
    _beside_networks,
    _folds,
    by_groups,
    errors_of,
    of_kernels,
)
from latcast.networks import Networks


def test_groups_count_alike_in_intervals_whatever_their_rows() -> None:
    # One group of many small errors, others of one large error each, and one more of another kind.
    def reach(others: int, level: float, beside: float = 1e3) -> float:
        groups = np.array(["many"] * 1000 + [f"g{n}" for n in range(others)])
        errors = np.concatenate([np.linspace(0, 1, 1000), 2.0 + np.arange(others)])
        return quantile(by_groups(groups, errors, np.full(5, beside)), level)

    assert reach(1, 0.3) < 1
    assert reach(1, 0.6) == 2
    # A fifth group's error is the 80 % quantile of five, and the 67 % one with one more of others:
    # that ends the interval, however far off they are, where it asks for more.
    assert reach(4, 0.66) == 4
    assert reach(4, 0.9) == 1e3
    assert reach(4, 0.9, beside=0.5) == 5
    assert reach(4, 0.5, beside=0.5) == 2
    # Of twenty it is the 85 % quantile with one beyond all; how far that is nobody tells.
    assert reach(19, 0.85) == reach(19, 0.85, beside=0.0) == 2 + 16


def test_errors_after_as_many_measurements_or_fewer_tell_how_far_intervals_reach() -> None:
    enough, few = np.arange(1.0, 20.0), np.ones(3)
    scores = {("cpu", "device", 0): enough, ("cpu", "device", 3): 3 * enough,
              ("cpu", "device", 10): few, ("", "device", 1): 5 * enough,
              ("", "network", 0): 7 * enough}  # fmt: skip

    def told(name: str, way: str, samples: int) -> float | None:
        found = errors_of(scores, (name, ""), way, samples)
        return None if found is None else float(found[0])

    # Too few after ten, none after one or two: with nothing measured errors are of another kind.
    assert [told("cpu", "device", k) for k in (0, 1, 2, 3, 12)] == [1, 5, 5, 3, 3]
    assert [told("cpu", "network", k) for k in (0, 30)] == [7, 7]
    assert told("gpu", "device", 0) is None
    assert told("gpu", "both", 1) is None


@pytest.mark.slow
def test_intervals_come_from_chips_and_families_left_out(networks: Networks) -> None:
    made = law.made(networks, 10)
    model = JointModel.fit(made)
    ways = {(way, samples) for domain, way, samples in model.scores if domain == "cpu"}
    assert ways == {("network", 0), *((w, k) for w in ("device", "both") for k in SAMPLES)}
    assert set(model.left_out) == set(model.scores)
    assert all(0 < error < 10 for error in model.left_out.values())  # percent
    found = model.forecast(law.target(99), networks, made.names)
    assert (found.reach > 0).all()


def test_the_few_chips_of_a_domain_leave_one_by_one(networks: Networks) -> None:
    made = law.made(networks, 40)
    few = {f"chip{n}" for n in (0, 1, 2)}
    targets = tuple(replace(t, domain="gpu") if t.chip in few else t for t in made.targets)
    made = replace(made, targets=targets)
    for seed in range(5):
        for chips, _ in _folds(made, np.random.default_rng(seed)):
            assert len(few.intersection(made.chips[chips].tolist())) <= 1
            assert 4 <= len(np.unique(made.chips[chips])) <= 6


def test_kernels_measured_alone_do_not_tell_how_far_networks_are_off(networks: Networks) -> None:
    b = GraphBuilder(1, "alone")
    alone = b.build(b.conv(b.input(3, 32, 32), 8, 3))
    some = Networks.of_graphs([alone, *GRAPHS[1:]])
    made = law.made(some)
    names = [f"chip{n}" for n in range(3)]
    targets = tuple(replace(t, domain="gpu") if t.chip in names else t for t in made.targets)
    made = replace(made, targets=targets)
    # Of the other domain kernels alone were measured: these are what its errors are of.
    made = made.select((made.network == 0) | np.isin(made.chips, names))
    of_gpus = np.isin(made.chips, names)
    np.testing.assert_array_equal(_beside_networks(made), of_gpus & (made.network == 0))
    learnt = JointModel.fit(made, calibrate=False).learnt
    scores = {
        ("gpu", "device", 0): np.full(20, 1.0),
        (of_kernels("gpu"), "device", 0): np.full(20, 5.0),
    }
    model = JointModel(learnt, scores)
    target = replace(made.targets[0], name="new", chip="new")
    reach = model.forecast(target, some, made.names).reach
    assert reach.tolist() == [5.0, *[1.0] * (len(some) - 1)]
