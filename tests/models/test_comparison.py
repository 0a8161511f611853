"""Which networks differ between two sides, and which conditions do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast.data import Dataset
from latcast.measure.conditions import EXPECTED, Condition, conditions
from latcast.models import Flops, Kernels
from latcast.models.comparison import compare

ARCHS = latcast.space("ofa-mobilenet-v3").sample(200, seed=0).unique()
N = len(ARCHS)
TRUTH = np.linspace(5, 40, N)
FACTS = {"machine governor": "performance", "runtime version": "1.20", "licence": "CC0"}


def _dataset(seed: int, times: object = 1.0, facts: object = None, runs: int = 4) -> Dataset:
    """Medians of runs with 1 % of noise, their error estimated as a campaign does."""
    rng = np.random.default_rng(seed)
    log = rng.normal(0, 0.01, (N, runs))
    spread = log.var(axis=1, ddof=1)
    # Means of its own scatter and of the campaign's, which counts for four.
    error = np.sqrt(((runs - 1) * spread + 4 * 0.01**2) / (runs + 3) / runs)
    values = TRUTH * np.exp(log.mean(axis=1)) * times
    return Dataset(ARCHS, values, "here/onnxruntime/b1/t1", standard_error=error,
                   provenance={**FACTS, **(facts or {})})  # fmt: skip


def test_networks_that_differ_are_found_beyond_what_all_share() -> None:
    times = np.full(N, 1.05)
    odd = np.array([3, 40, 77, 120, 160])
    times[odd] *= 1.10
    found = compare(_dataset(0), _dataset(1, times))
    assert (found.compared, found.only_a, found.only_b, found.tested) == (N, 0, 0, N)
    assert found.ratio == pytest.approx(1.05, rel=0.003)
    assert found.ratio_lower is not None
    assert found.ratio_lower < 1.05 < found.ratio_upper
    assert found.differing > 0.9 * N  # 5 % is seven standard errors
    by_themselves = {n.row_b for n in found.networks if n.differs_by_itself}
    assert set(odd) <= by_themselves
    assert len(by_themselves) <= 6
    assert {n.row_b for n in found.networks[:5]} == set(odd)  # the surest come first
    assert "200 networks in both" in found.to_text()
    assert f"({len(by_themselves)} of {len(by_themselves)} shown)" in found.to_text()
    assert found.ratio_low < 1.05 < found.ratio_high
    assert found.families == ()
    # What takes more is the second.
    assert f" takes {found.ratio:.3f} times" in found.answer()
    told = compare(_dataset(0), _dataset(1, times), names=("one", "other")).answer()
    assert told.startswith("other takes 1.0")
    # Datasets have the names of their targets, which are no paths.
    assert found.answer().startswith(f"{_dataset(1).target} takes ")


def test_false_ones_are_controlled() -> None:
    """Of networks that do not differ, one is said to in at most 5 % of the comparisons."""
    alarms = [compare(_dataset(2 * n), _dataset(2 * n + 1)).differing > 0 for n in range(40)]
    assert np.mean(alarms) <= 0.05


def test_what_scatters_unknown_is_not_tested() -> None:
    a, b = _dataset(0), _dataset(1, 1.5)
    error = b.standard_error.copy()
    error[:20] = np.nan
    found = compare(a, replace(b, standard_error=error))
    assert found.tested == N - 20
    assert sum(n.q_value is None for n in found.networks) == 20
    assert "20 values of B are of a machine that other programs kept busy" in found.notes[0]
    found = compare(a, replace(b, standard_error=None))
    assert (found.tested, found.differing) == (0, 0)
    assert found.ratio == pytest.approx(1.5, rel=0.01)
    assert "B does not state its runs' scatter" in found.notes[0]
    assert "none is tested" in found.to_text()


def test_networks_are_matched_and_repeats_count_once() -> None:
    a, b = _dataset(0), _dataset(1)
    order = np.random.default_rng(0).permutation(N)[:150]
    twice = b[order].concatenate(b[order[:10]])
    found = compare(a[50:], twice)
    assert found.compared == sum(order >= 50)
    assert (found.only_a, found.only_b) == (N - 50 - found.compared, sum(order < 50))
    for network in found.networks[:20]:
        assert a[50:].archs[network.row_a] == twice.archs[network.row_b]


@pytest.mark.slow
def test_families_have_ratios_of_their_own(network_data: Dataset) -> None:
    data = network_data
    families = np.array(data.families)
    slower = families == families[0]
    other = replace(data, values=data.values * np.where(slower, 2.0, 1.0))
    found = compare(data, other)
    by_family = {f.family: f for f in found.families}
    first = by_family[families[0]]
    assert (first.ratio_low, first.ratio, first.ratio_high) == pytest.approx((2, 2, 2))
    assert all(f.ratio == pytest.approx(1) for f in found.families if f != first)
    assert sum(f.networks for f in found.families) == found.compared
    assert "by family:" in found.to_text()


def test_batches_of_graphs_may_differ(network_data: Dataset) -> None:
    target = replace(network_data.target, batch=2)
    graphs = tuple(graph.with_batch(2) for graph in network_data.graphs)
    b = replace(network_data, networks=graphs, values=2 * network_data.values, target=target)
    found = compare(network_data, b)
    assert found.compared == 33
    assert found.ratio == 2
    differing = [c for c in found.conditions if c.differs]
    assert [(c.condition, c.a, c.b) for c in differing] == [("batch", "1", "2")]


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_a_forecast_is_tested_by_its_interval(
    network_data: Dataset, layer_model: Kernels, tmp_path: Path, first: bool
) -> None:
    layer_model.save(tmp_path / "m.latcast")
    values = network_data.values.copy()
    values[4] *= 3
    data = replace(network_data, values=values, standard_error=np.full(33, 0.005))
    sides = [tmp_path / "m.latcast", data]
    found = compare(*sides) if first else compare(*sides[::-1])
    assert found.kinds == (("forecast", "measured") if first else ("measured", "forecast"))
    assert [n.network for n in found.networks if n.differs] == [data.names[4]]
    assert found.networks[0].ratio == pytest.approx(3 if first else 1 / 3, rel=0.1)
    assert (found.only_a, found.only_b) == (0, 0)
    assert not any(c.differs for c in found.conditions)


def test_the_reference_network_tells_of_the_machine() -> None:
    facts = {"reference network, ms": "4.4", "machine governor": "powersave"}
    a = _dataset(0, facts={"reference network, ms": "4"})
    found = compare(a, _dataset(1, 1.12, facts))
    assert found.reference_ratio == pytest.approx(1.1)
    assert re.match(r"the reference network explains 8[345] % of the common ratio", found.notes[0])
    assert [c.condition for c in found.conditions if c.differs] == [
        "machine governor", "reference network, ms",
    ]  # fmt: skip
    assert "set performance on both" in found.to_text()


def test_what_neither_states_is_named() -> None:
    """A difference that nobody could have seen is not said to be none."""
    facts = {"machine microcode": "0x1", "machine clock, MHz": "2600"}
    a, b = _dataset(0, facts=facts), _dataset(1, facts={"runtime version": "1"})
    assert compare(a, b).notes[-1] == (
        "neither states machine temperature, °C: whether they differ is not known"
    )
    every = dict.fromkeys(EXPECTED[1:], "1")
    assert "neither" not in str(compare(_dataset(0, facts=every), b).notes)


@pytest.mark.parametrize(
    ("name", "a", "b", "differs"),
    [
        ("runtime version", "1.20", "1.21", True),
        ("machine clock, MHz", "2600", "2610", False),
        ("machine clock, MHz", "2600", "2900", True),
        ("machine temperature, °C", "60", "64", False),
        ("machine temperature, °C", "60", "82", True),
        ("noise of a run", "0.40%", "0.90%", False),
        ("noise of a run", "0.40%", "2.10%", True),
        ("reference network, ms", "4", "none", True),
        ("machine microcode", "0x1", None, None),
    ],
)
def test_conditions(name: str, a: str | None, b: str | None, differs: bool | None) -> None:
    found = Condition.of(name, a, b)
    assert found.differs is differs
    assert (found.effect is not None) is bool(differs)


def test_threads_that_a_target_does_not_tell_differ_from_none() -> None:
    known = _dataset(0)
    unknown = replace(known, target=latcast.Target("here", "onnxruntime"))
    threads = {c.condition: c for c in conditions(unknown, known)}["threads"]
    assert (threads.a, threads.b, threads.differs) == (None, "1", None)


def test_settings_of_the_protocol_are_conditions_and_a_licence_is_none() -> None:
    a = _dataset(0, facts={"protocol": "runs 4, run_s 0.1"})
    b = _dataset(1, facts={"protocol": "runs 8, run_s 0.1", "licence": "MIT"})
    found = conditions(a, b)
    assert [(c.condition, c.a, c.b) for c in found if c.differs] == [("protocol runs", "4", "8")]
    assert "licence" not in [c.condition for c in found]


def test_errors() -> None:
    a = _dataset(0)
    nasbench = latcast.space("nasbench201").sample(N, seed=0)
    flops = Flops().fit(a)
    for message, first, second in (
        ("one of the two must be a dataset", flops, flops),
        ("none is in both", a[:50], a[50:]),
        ("got architectures of ofa-mobilenet-v3 and architectures of nasbench201", a,
         replace(a, networks=nasbench)),
        ("needs values of energy_mj; got latency_ms", a, replace(a, quantity="energy_mj")),
        ("every latency must be finite and positive", a, replace(a, values=-a.values)),
        ("accuracy may be 0", replace(a, quantity="accuracy", values=a.values / 100),
         replace(a, quantity="accuracy", values=a.values / 100)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            compare(first, second)
    with pytest.raises(ValueError, match="false_share must be between 0 and 1"):
        compare(a, a, false_share=1.5)
