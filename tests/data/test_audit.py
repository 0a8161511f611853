"""The audit on planted traps, on clean data, on degenerate data and on the public files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.data import ACCURACY, ENERGY_MJ, Dataset, read
from latcast.data._audited import SEVERITIES, Audited
from latcast.data.audit import Finding, audit, check_near_zero
from latcast.data.evidence import concerned, evidence_rows
from latcast.devices import Target
from latcast.spaces import space

REAL = Path(__file__).parents[3] / "shared" / "data"
SPACE = space("ofa-mobilenet-v3")
COMPOFA = space("compofa-fixed-kernel")
TARGET = Target("a", "b")
RESOLUTIONS = [160, 176, 192, 208, 224]


def measured(n: int, noise: float = 0.01, seed: int = 0, space_: Any = SPACE) -> Dataset:
    """Clean measurements: a roofline of the blocks, a launch overhead, white relative noise."""
    rng = np.random.default_rng(seed)
    archs = space_.sample(n, rng, restrict={"r": RESOLUTIONS})
    facts = space_.block_table.facts
    moved = facts["read_bytes"] + facts["write_bytes"]
    times = facts["macs"] / 2e9 + moved / 5e7 + 0.01 * facts["launches"]
    latency = 1.0 + space_.block_sums(archs, times) * (1 + noise * rng.standard_normal(n))
    return Dataset(archs, latency, TARGET)


def changed(data: Dataset, rows: Any, factor: float) -> Dataset:
    """The dataset with some latencies multiplied."""
    latency = data.latency_ms.copy()
    latency[rows] *= factor
    return replace(data, values=latency)


def memoized(n: int = 3000, seed: int = 0) -> Dataset:
    """Measurements cached by everything but the resolution."""
    data = measured(n, seed=seed, space_=COMPOFA)
    depths = data.archs.genes[:, :-1]
    _, first, inverse = np.unique(depths, axis=0, return_index=True, return_inverse=True)
    return replace(data, values=data.latency_ms[first][inverse.ravel()])


def found(data: Dataset) -> dict[str, Finding]:
    findings = audit(data)
    by_kind = {f.kind: f for f in findings}
    assert len(by_kind) == len(findings)
    ranks = [SEVERITIES.index(f.severity) for f in findings]
    assert ranks == sorted(ranks)
    for finding in findings:
        json.dumps(finding.evidence, allow_nan=False)
        told = [label for label, _ in evidence_rows(finding)]
        assert len(set(told)) == len(told)
        # In words: a key of its own tells no unit, and no share from a percentage.
        assert not any(re.search("percent|share|_", label) for label in told), told
        assert all((finding.message, finding.consequence, finding.advice))
    return by_kind


# -- nothing may be found -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100, 300, 1000, 5000])
@pytest.mark.parametrize("seed", range(3))
def test_clean_data_has_no_findings(n: int, seed: int) -> None:
    assert found(measured(n, seed=seed)) == {}


@pytest.mark.slow
def test_noise_is_no_drift_in_other_amounts() -> None:
    for noise in (1e-3, 0.05, 0.2):
        assert "drift" not in found(measured(3000, noise))


# -- latencies ------------------------------------------------------------------------------


def test_rows_without_a_latency() -> None:
    data = measured(500)
    latency = data.latency_ms.copy()
    latency[[3, 50, 70, 90]] = [np.nan, np.inf, 0, -1]
    finding = found(replace(data, values=latency))["impossible"]
    assert finding.severity == "error"
    assert finding.evidence["rows"] == [3, 50, 70, 90]


def test_rows_near_zero() -> None:
    data = measured(500)
    findings = found(changed(data, [7, 300], 0.0005))
    assert set(findings) == {"near-zero"}
    assert findings["near-zero"].evidence["rows"] == [7, 300]
    assert findings["near-zero"].severity == "error"
    isolated_by_a_gap = changed(data, [7, 300], 0.02)
    assert found(isolated_by_a_gap)["near-zero"].evidence["count"] == 2
    merely_fast = np.exp(np.random.default_rng(0).uniform(0, 4, 500))
    assert "near-zero" not in found(replace(data, values=merely_fast))


def test_rows_that_cheaper_networks_do_not_come_near() -> None:
    data = measured(500)
    cheapest = np.argsort(data.archs.space.costs(data.archs)["macs"].to_numpy())[:25]
    limit = np.median(data.latency_ms[cheapest]) / 4
    latency = data.latency_ms.copy()
    latency[[7, 300, 301]] = np.array([0.95, 0.6, 0.4]) * limit
    finding = found(replace(data, values=latency))["near-zero"]
    assert finding.evidence["rows"] == [7, 300, 301]
    assert "of them are networks" not in finding.message
    latency[[7, 300, 301]] = np.array([1.05, 1.6, 1.3]) * limit
    findings = found(replace(data, values=latency))
    assert "near-zero" not in findings
    assert "outliers" in findings


def test_dead_networks_are_told() -> None:
    cells = space("nasbench201")
    rng = np.random.default_rng(0)
    archs = cells.sample(2_000, rng)
    live = cells.live_blocks(archs)
    ms = cells.gather(archs, cells.block_table.facts["macs"] / 2e7 + 0.05) * live
    latency = ms.sum(axis=1) * rng.normal(1, 0.01, len(archs))
    finding = found(Dataset(archs, latency, TARGET))["near-zero"]
    dead = np.flatnonzero(~live[:, 0])
    assert finding.evidence["count"] == finding.evidence["dead_networks"]
    assert set(finding.evidence["rows"]) <= set(dead.tolist())
    assert finding.evidence["count"] >= 0.7 * len(dead)
    assert "networks that make nothing of their input" in finding.message


@pytest.mark.parametrize("factor", [0.6, 1.5, 30.0])
def test_outliers_are_found_and_no_others(factor: float) -> None:
    findings = found(changed(measured(1000), [5, 500], factor))
    assert set(findings) == {"outliers"}
    assert findings["outliers"].evidence["rows"] == [5, 500]
    assert np.isclose(findings["outliers"].evidence["worst_relative"], factor - 1, rtol=0.2)


def test_rounded_and_constant_latencies() -> None:
    data = measured(1000)
    findings = found(replace(data, values=np.maximum(1, np.round(data.latency_ms))))
    assert set(findings) == {"rounded"}
    assert findings["rounded"].evidence["step_ms"] == 1.0
    assert set(found(replace(data, values=np.full(1000, 3.0)))) == {"constant"}


@pytest.mark.parametrize(("name", "count"), [("pixel3", 283), ("raspi4", 289)])
def test_helps_rows_near_zero(shared: Path, name: str, count: int) -> None:
    pytest.importorskip("torch")
    data = read(shared / "help" / "nasbench201" / "latency" / f"{name}.pt")
    subject = Audited(data)
    (finding,) = check_near_zero(subject)
    assert finding.evidence["count"] == finding.evidence["dead_networks"] == count
    # Exactly those that take less than any network that makes something of its input.
    live = data.archs.space.live_blocks(data.archs)[:, 0]
    assert subject.near_zero.sum() == (data.latency_ms < data.latency_ms[live].min()).sum()


@pytest.mark.parametrize("path", [
    "nasbench201/latency/eyeriss.pt", "nasbench201/latency/essential_ph_1.pt",
    "nasbench201/latency/samsung_s7.pt", "nasbench201/latency/titanx_256.pt",
    "fbnet/latency/pixel3.pt", "fbnet/latency/essential_ph_1.pt", "ofa/latency/titan_xp_64.pt",
])  # fmt: skip
def test_no_row_of_other_files_is_near_zero(shared: Path, path: str) -> None:
    pytest.importorskip("torch")
    assert not list(check_near_zero(Audited(read(shared / "help" / path))))


# -- copies ---------------------------------------------------------------------------------


def test_memoized_labels() -> None:
    """Their first rows are the measurements, unless they are shuffled."""
    data = memoized()
    findings = found(data)
    finding, evidence = findings["memoized"], findings["memoized"].evidence
    assert finding.severity == "error"
    assert (evidence["gene"], evidence["rows"]) == ("r", 3000)
    assert evidence["distinct_architectures"] == len(data.archs.unique())
    assert evidence["distinct_latencies"] == evidence["groups"] == 243
    assert "drift" not in findings
    assert evidence["first_rows_are_genuine"]
    truth = measured(3000, space_=COMPOFA).latency_ms
    rows = evidence["genuine_rows"]
    assert len(rows) == 243
    np.testing.assert_array_equal(data.latency_ms[rows], truth[rows])
    assert "memoized" not in found(data[np.array(rows)])
    shuffled = replace(data[np.random.default_rng(1).permutation(3000)], order=None)
    evidence = found(shuffled)["memoized"].evidence
    assert not evidence["first_rows_are_genuine"]
    assert evidence["genuine_rows"] == []


def test_any_gene_can_be_memoized() -> None:
    rng = np.random.default_rng(0)
    genes = SPACE.sample(50, rng).genes.repeat(3, axis=0)
    for gene, choices in (("ks1", (3, 5, 7)), ("d2", (2, 3, 4))):
        column = [g.name for g in SPACE.genes].index(gene)
        altered = genes.copy()
        altered[:, column] = np.tile(choices, 50)
        archs = type(SPACE.sample(0))(SPACE, altered)
        data = Dataset(archs, rng.uniform(5, 20, 50).repeat(3), TARGET)
        assert found(data)["memoized"].evidence["gene"] == gene


def test_a_gene_with_a_small_effect_is_not_memoized() -> None:
    data = measured(3000, space_=COMPOFA)
    assert "memoized" not in found(data)
    rounded = replace(data, values=np.ceil(data.latency_ms / 10) * 10)
    assert "memoized" not in found(rounded)


def test_copied_rows_leak_into_the_papers_test_split() -> None:
    data = measured(1000)
    rows = np.append(np.arange(900), np.arange(100))
    finding = found(replace(data[rows], order=None))["duplicates"]
    assert finding.severity == "error"
    assert finding.evidence["test_rows_trained_on"] == 100
    assert finding.evidence["distinct_architectures"] == 900
    assert finding.evidence["exactly_equal_share"] == 1


def test_repeat_measurements_are_told_from_copies() -> None:
    data = measured(500)
    again = replace(data[np.arange(1000) % 500], order=None)
    noisy = again.latency_ms * (1 + 0.01 * np.random.default_rng(0).standard_normal(1000))
    finding = found(replace(again, values=noisy))["duplicates"]
    assert finding.severity == "warning"
    assert finding.evidence["exactly_equal_share"] == 0
    assert 0.5 < finding.evidence["spread_percent"] < 2


def test_networks_that_differ_in_inactive_genes_are_duplicates() -> None:
    genes = np.repeat(measured(1).archs.genes, 2, axis=0).copy()
    genes[:, 40:45] = 2  # depths
    genes[1, 3] = 3 if genes[0, 3] != 3 else 5  # the fourth position of the first stage
    data = Dataset(type(SPACE.sample(0))(SPACE, genes), [1.0, 1.1], TARGET)
    assert found(data)["duplicates"].evidence["distinct_architectures"] == 1


# -- order ----------------------------------------------------------------------------------


def test_drift_is_found_where_it_is() -> None:
    findings = found(changed(measured(3000), slice(1200, 1800), 0.98))
    assert set(findings) == {"drift"}
    (segment,) = findings["drift"].evidence["segments"]
    assert concerned(findings["drift"]) == segment["rows"]
    assert abs(segment["from"] - 1200) < 40
    assert abs(segment["to"] - 1799) < 40
    assert abs(segment["percent"] + 2) < 0.3


def test_drift_follows_the_order_and_not_the_rows() -> None:
    data = changed(measured(3000), slice(2000, 3000), 1.03)
    shuffled = data[np.random.default_rng(0).permutation(3000)]
    (segment,) = found(shuffled)["drift"].evidence["segments"]
    assert abs(segment["from"] - 2000) < 40
    assert "drift" not in found(replace(shuffled, order=None))


def test_a_wandering_machine() -> None:
    data = measured(3000)
    wave = 1 + 0.02 * np.sin(np.arange(3000) / 150)
    finding = found(replace(data, values=data.latency_ms * wave))["drift"]
    assert len(finding.evidence["segments"]) > 5
    assert finding.evidence["lag1_autocorrelation"] > 0.4


def test_the_warm_up_is_told_from_drift() -> None:
    findings = found(changed(measured(3000), slice(0, 60), 1.05))
    assert set(findings) == {"warm-up"}
    assert findings["warm-up"].severity == "note"


def test_drift_does_not_hide_behind_outliers() -> None:
    data = changed(measured(3000), slice(1200, 1800), 0.98)
    spikes = changed(data, np.arange(0, 3000, 100), 2.0)
    (segment,) = found(spikes)["drift"].evidence["segments"]
    assert abs(segment["from"] - 1200) < 40


def test_rows_in_the_order_of_their_latency_do_not_look_like_drift() -> None:
    data = measured(3000, 0.05)
    for rows in (np.argsort(data.latency_ms), np.argsort(data.archs.genes[:, -1], kind="stable")):
        assert set(found(replace(data[rows], order=None))) == {"ordered"}


def test_repeats_in_a_row_do_not_look_like_drift() -> None:
    data = measured(500, 0.05)[np.repeat(np.arange(500), 20)]
    noise = 1 + 0.001 * np.random.default_rng(0).standard_normal(len(data))
    again = replace(data, order=None, values=data.latency_ms * noise)
    assert set(found(again)) == {"duplicates"}


# -- sums of a table ------------------------------------------------------------------------


def test_sums_of_a_table_are_told_from_measurements() -> None:
    findings = found(measured(3000, noise=0))
    assert set(findings) == {"exactly-additive"}
    assert "exactly-additive" not in found(measured(3000, noise=1e-4))


# -- degenerate data ------------------------------------------------------------------------

HOSTILE = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 5e-324, 1e-9, 1.0, 7.5, 1e12, 1e308])


@pytest.mark.slow
@settings(max_examples=60)
@given(values=st.lists(HOSTILE, min_size=0, max_size=60), seed=st.integers(0, 3))
def test_nothing_is_ever_raised(values: list[float], seed: int) -> None:
    for space_ in (SPACE, COMPOFA):
        found(Dataset(space_.sample(len(values), seed), np.array(values), TARGET))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_raised_on_many_absurd_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    latency = np.exp(rng.normal(0, 10 * (1 + seed), 2000))
    latency[rng.random(2000) < 0.1] = np.nan
    for space_ in (SPACE, COMPOFA):
        found(Dataset(space_.sample(2000, rng), latency, TARGET))


@pytest.mark.slow
@pytest.mark.parametrize("n", [0, 1, 2, 3, 29, 30, 31, 99, 100])
def test_small_and_constant_and_missing(n: int) -> None:
    data = measured(n)
    for latency in (data.latency_ms, np.full(n, np.nan), np.ones(n), np.arange(n) + 1.0):
        found(replace(data, values=latency))


def test_one_network_many_times() -> None:
    data = measured(1)[np.zeros(200, dtype=int)]
    assert set(found(replace(data, order=None))) == {"duplicates"}
    noise = np.random.default_rng(0).uniform(1, 2, 200)
    assert set(found(replace(data, order=None, values=noise))) == {"duplicates"}


# -- the public files -----------------------------------------------------------------------


@cache
def real(*parts: str) -> Dataset:
    path = REAL.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the public data: {'/'.join(parts)}")
    if path.suffix == ".pt":
        pytest.importorskip("torch")
    return read(path)


def paper(name: str) -> Dataset:
    return real("ofanas", "datasets", f"{name}.csv")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("device", ["RTX_2080_Ti_GPU", "Tesla_P40_GPU", "Intel_Xeon_CPU"])
def test_the_papers_memoized_files(device: str) -> None:
    findings = found(paper(f"{device}_fixedkernelcompofa"))
    evidence = findings["memoized"].evidence
    assert evidence["gene"] == "r"
    assert evidence["distinct_architectures"] == 1215
    assert evidence["distinct_latencies"] == evidence["groups"] == 243
    assert evidence["rows"] == 10_000
    assert len(evidence["genuine_rows"]) == 243
    assert findings["duplicates"].evidence["test_rows_trained_on"] == 1494


def overlap(segment: dict[str, Any], first: int, last: int) -> float:
    return (min(segment["to"], last) - max(segment["from"], first)) / (last - first)


@pytest.mark.data
@pytest.mark.slow
def test_the_papers_drifting_machine() -> None:
    findings = found(paper("RTX_2080_Ti_GPU_ofa"))
    early, late = findings["drift"].evidence["segments"]
    assert overlap(early, 4_300, 5_200) > 0.9
    assert overlap(late, 8_000, 9_500) > 0.9
    assert -3 < late["percent"] < -1.5
    assert -3 < early["percent"] < -1.5
    assert 0.2 < findings["drift"].evidence["lag1_autocorrelation"] < 0.4
    assert findings["drift"].evidence["test_against_train_percent"] < -1


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_shuffled_rows_do_not_drift(seed: int) -> None:
    data = paper("RTX_2080_Ti_GPU_ofa")
    shuffled = replace(data[np.random.default_rng(seed).permutation(len(data))], order=None)
    assert not {"drift", "warm-up"} & set(found(shuffled))


@pytest.mark.data
@pytest.mark.slow
def test_no_drift_is_invented() -> None:
    findings = found(paper("Tesla_P40_GPU_ofa"))
    assert "drift" not in findings
    assert findings["warm-up"].evidence["segments"][0]["to"] < 50  # the cold card's boost


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ofa", "elastickernelcompofa", "fixedkernelcompofa"])
def test_the_papers_sums_of_a_table(kind: str) -> None:
    findings = found(paper(f"note10_lookuptable_{kind}"))
    expected = {"exactly-additive"} | ({"duplicates"} if kind.startswith("fixed") else set())
    assert set(findings) == expected
    assert findings["exactly-additive"].evidence["largest"] < 1e-9


@pytest.mark.data
@pytest.mark.slow
def test_helps_drifting_machine() -> None:
    finding = found(real("help", "ofa", "latency", "titan_rtx_1.pt"))["drift"]
    assert finding.evidence["lag1_autocorrelation"] > 0.6
    assert len(finding.evidence["segments"]) > 10


# -- other quantities ---------------------------------------------------------------------------


def test_any_quantity_of_a_target_is_audited() -> None:
    data = changed(measured(500), [7, 300], 0.0005)
    finding = found(replace(data, quantity=ENERGY_MJ))["near-zero"]
    assert "2 of 500 rows have an energy near zero: down to" in finding.message
    assert "mJ" in finding.message
    latency = found(data)["near-zero"]
    assert finding.evidence["worst_mj"] == latency.evidence["worst_ms"]
    accuracies = Dataset(data.archs, np.full(len(data), 70.0), quantity=ACCURACY)
    with pytest.raises(ValueError, match="measured on a target; got values of accuracy"):
        audit(accuracies)


def test_unstable_rows_and_those_of_a_busy_machine_are_named() -> None:
    """As a campaign wrote them whose reference network was slow while no drift could be shown."""
    data = measured(40)
    error = np.full(40, 0.01)
    error[[3, 5]], error[7] = 0.08, np.nan
    level = np.full(40, 4.0)
    level[[8, 9]] = 9.0
    slow = replace(data, standard_error=error, reference=level, uncorrected=data.values)
    issues = found(slow)
    assert issues["unstable"].evidence["rows"] == [3, 5, 7]
    assert "row 3 (± 8 %), row 5 (± 8 %), row 7 (± unknown)" in issues["unstable"].message
    assert issues["unstable"].evidence["of_a_busy_machine"] == 1
    assert issues["busy"].evidence["rows"] == [8, 9]
    assert "2.25 to 2.25 times" in issues["busy"].message
    corrected = data.values / (level / 4.0)
    assert "busy" not in found(replace(slow, values=corrected))


def test_rows_weigh_the_same_unless_they_state_their_scatter() -> None:
    data = measured(4)
    assert not data.excess_variance.any()
    assert not data.unstable.any()
    stated = replace(data, standard_error=np.array([0.0, 0.03, 0.05, np.nan]))
    assert stated.unstable.tolist() == [False, False, True, True]
    assert stated.excess_variance == pytest.approx([0, 0, 0.05**2 - 0.03**2, 0.3**2 - 0.03**2])
