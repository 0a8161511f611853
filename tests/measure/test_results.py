from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import latcast
from latcast.measure import CampaignFile, Run, conclude, results
from latcast.measure._sources import as_sources

SPACE = latcast.space("ofa-mobilenet-v3-w1.0")
ARCHS = SPACE.sample(30, seed=0)
TRUTH = np.linspace(5, 20, 30)


def write(path, state, *, rounds=4, seed=0, others=0.0, skip=()):
    """A campaign whose machine is ``state(progress)`` times slow, progress from 0 to 1."""
    rng = np.random.default_rng(seed)
    plan = {
        "target": "here/onnxruntime/b1/t1", "seed": 0,
        "protocol": {"runs": rounds, "cpu_share": 0.9},
    }  # fmt: skip
    facts = {"runtime": {"version": "1"}, "machine": {}}
    with CampaignFile.create(path, plan, as_sources(ARCHS)) as campaign:
        campaign.extend(30)
        n = 0
        for round_ in range(rounds):
            process = campaign.add_process(facts)
            for arch in rng.permutation(30):
                n += 1
                slow = state(n / (30 * rounds))
                if (round_, int(arch)) in skip:
                    continue
                samples = TRUTH[arch] * slow * rng.normal(1, 0.004) * rng.normal(1, 0.002, 9)
                reference = tuple(4 * slow * rng.normal(1, 0.004, 3) for _ in range(2))
                details = {
                    "doubts": ["other programs kept 0.9 CPUs busy"] if others else [],
                    "inference_s": 0.3, "load_s": 0.05, "repeats": 1,
                    "machine": {"other_cpus": others, "steal": others / 10, "clock_mhz": 2600.4,
                                "temperature_c": 60.0 + round_},
                }  # fmt: skip
                campaign.add_run(
                    Run(int(arch), round_, 0, process, 0.5 * n, True, samples, reference, details)
                )
    return CampaignFile.open(path)


def error(dataset, column="latency_ms"):
    """Mean relative error of a dataset's rows, apart from a common factor."""
    index = [int(np.flatnonzero((ARCHS.genes == g).all(axis=1))[0]) for g in dataset.archs.genes]
    log = np.log(getattr(dataset, column) / TRUTH[index])
    return float(np.abs(log - np.median(log)).mean())


def test_a_quiet_machine(tmp_path):
    with write(tmp_path / "a", lambda _: 1.0) as campaign:
        found = results(campaign, {"licence": "CC0"})
    data = found.dataset
    assert len(data) == 30
    assert error(data) < 0.004
    assert np.array_equal(data.latency_ms, data.uncorrected)  # nothing is invented
    assert found.drift.range == 0
    assert found.warnings == []
    assert found.inference_share == pytest.approx(0.6)
    assert data.standard_error.max() < 0.01
    assert found.reference_ms == pytest.approx(4, rel=0.01)
    assert data.provenance["licence"] == "CC0"
    assert data.provenance["machine clock, MHz"] == "2600"
    assert data.provenance["machine temperature, °C"] == "61.5"
    assert [len(s) for s in data.samples] == [36] * 30


def test_a_campaign_tells_percentiles_and_throughput(tmp_path):
    with write(tmp_path / "a", lambda _: 1.0) as campaign:
        data, record = conclude(campaign, "a.parquet")
    assert len(record.by_network) == 30
    first = record.by_network[0]
    assert (first.network, first.samples) == ("row 0", 36)
    assert first.latency_ms == data.latency_ms[0]
    assert [first.p50_ms, first.p90_ms] == pytest.approx(np.percentile(data.samples[0], (50, 90)))
    assert first.p99_ms is None  # of 36 samples
    assert first.inputs_per_s == pytest.approx(1000 / data.latency_ms[0])
    text = record.to_text()
    assert "p90 over the median of samples, %" in text
    assert "p99 over" not in text
    assert "as they were measured" not in text  # thirty rows are too many for a terminal
    few = replace(record, by_network=record.by_network[:3])
    assert "as they were measured" in few.to_text()
    *_, table = few.parts()
    heads = ["network", "latency, ms", "p50", "p90", "inputs/s", "samples"]
    assert [column.label for column in table.columns] == heads  # nothing else was measured
    known = replace(few.by_network[1], energy_mj=3.0)
    *_, table = replace(few, by_network=(few.by_network[0], known)).parts()
    assert [column.label for column in table.columns] == [*heads, "energy, mJ"]
    assert len(record.to_polars()) == 30


def test_drift_is_taken_out_and_both_are_kept(tmp_path):
    with write(tmp_path / "a", lambda t: 1.0 if t < 0.4 else 1.08) as campaign:
        data = results(campaign).dataset
        raw = campaign.runs()
    assert error(data) < error(data, "uncorrected") / 2
    assert not np.array_equal(data.latency_ms, data.uncorrected)
    # Samples are kept to five digits.
    arch = next(i for i in range(30) if (ARCHS.genes[i] == data.archs.genes[0]).all())
    whole = np.concatenate([v.samples_ms for v in raw if v.network == arch])
    assert data.samples[0] == pytest.approx(whole, rel=1e-4)


def test_campaigns_can_be_brought_to_one_state(tmp_path):
    """The second one ran on a machine that was 5 % slower all the time."""
    with write(tmp_path / "a", lambda t: 1.0 + 0.03 * t) as campaign:
        first = results(campaign)
    with write(tmp_path / "b", lambda t: 1.05 + 0.03 * t, seed=1) as campaign:
        alone = results(campaign)
        like = results(campaign, like_ms=first.reference_ms)
    gap = np.median(alone.dataset.latency_ms) / np.median(first.dataset.latency_ms)
    assert gap == pytest.approx(1.05, abs=0.01)
    brought = np.median(like.dataset.latency_ms) / np.median(first.dataset.latency_ms)
    assert brought == pytest.approx(1.0, abs=0.01)
    assert like.reference_ms == first.reference_ms


def test_a_loaded_machine_is_unstable_whatever_the_spread(tmp_path):
    with write(tmp_path / "a", lambda _: 1.0, others=0.9) as campaign:
        found = results(campaign)
    assert found.unstable.all()
    assert [w.split(":")[0] for w in found.warnings] == ["loaded machine", "steal time", "unstable"]


def test_unfinished_architectures_are_left_out(tmp_path):
    skip = {(r, 7) for r in range(1, 4)}
    with write(tmp_path / "a", lambda _: 1.0, skip=skip) as campaign:
        found = results(campaign)
    assert len(found.dataset) == 29
    assert found.unfinished == 1


def test_nothing_to_show_yet(tmp_path):
    with (
        write(tmp_path / "a", lambda _: 1.0, rounds=1) as campaign,
        pytest.raises(ValueError, match=r"at least 2 runs .* it has 30 .* --resume"),
    ):
        results(campaign)


BUSY = {(2, arch) for arch in range(30)} | {(r, a) for r in range(4) for a in (3, 4)}
"""A round and two networks of a campaign: the runs on which load came."""


def loaded(path, *, share=1.0, rounds=4, networks=30, timed=True):
    """A campaign whose runs :data:`BUSY` took 1.3 to 3.5 times as long, the reference beside them.

    Args:
        share: of their time that the passes had their CPU.
        timed: whether the load was there while the reference was timed, too.
    """
    rng = np.random.default_rng(0)
    plan = {
        "target": "here/onnxruntime/b1/t1",
        "seed": 0,
        "protocol": {"runs": rounds, "cpu_share": 0.9},
    }
    facts = {"runtime": {"version": "1"}, "machine": {}}
    with CampaignFile.create(path, plan, as_sources(ARCHS[:networks])) as campaign:
        campaign.extend(networks)
        for n, (round_, arch) in enumerate(product(range(rounds), range(networks))):
            if not arch:
                process = campaign.add_process(facts)
            is_busy = (round_, arch) in BUSY
            slow = rng.uniform(1.3, 3.5) if is_busy else 1.0
            samples = TRUTH[arch] * slow * rng.normal(1, 0.004) * rng.normal(1, 0.002, 9)
            level = 4 * (slow * rng.normal(1, 0.1) if is_busy and timed else 1.0)
            reference = tuple(level * rng.normal(1, 0.004, 3) for _ in range(2))
            details = {
                "doubts": [], "inference_s": 0.3, "load_s": 0.05, "repeats": 1, "machine": {},
                "cpu_share": share if is_busy else 1.0,
            }  # fmt: skip
            campaign.add_run(
                Run(arch, round_, 0, process, 0.5 * n, True, samples, reference, details)
            )
    return CampaignFile.open(path)


@pytest.mark.parametrize(("share", "timed"), [(1.0, True), (0.5, False)])
@pytest.mark.parametrize(("rounds", "networks"), [(4, 30), (3, 3)])
def test_load_within_a_campaign_is_left_out_or_corrected_and_marked(
    tmp_path, share, timed, rounds, networks
):
    """By the reference network beside the run, or by the time that its passes waited."""
    with loaded(
        tmp_path / "a", share=share, timed=timed, rounds=rounds, networks=networks
    ) as campaign:
        found = results(campaign)
    data = found.dataset
    arch = data.order % networks
    off = np.abs(data.latency_ms / TRUTH[arch] - 1)
    always = np.isin(arch, (3, 4))  # busy in every run
    assert off[~found.unstable].max() < 0.02
    assert found.unstable[always].all()
    assert np.mean(found.unstable[~always]) < 0.2  # whose reference hides the load, once
    if timed and always.any():
        assert off[always].max() < 0.3
        assert found.drift.range > 0.3
    words = [w.split(":")[0] for w in found.warnings]
    assert ("speed" if timed else "waiting") in words
    if always.any():
        (text,) = (w for w in found.warnings if w.startswith("unstable"))
        assert "row 3 (± unknown), row 4 (± unknown)" in text


def test_a_machine_that_was_busy_most_of_the_time_is_seen_from_its_quiet_runs(tmp_path):
    with write(tmp_path / "a", lambda t: 1.0 if t < 0.3 else 2.0) as campaign:
        for run in campaign.runs():
            share = 0.5 if np.mean(run.reference_ms) > 6 else 1.0
            details = json.dumps({**run.details, "cpu_share": share})
            campaign._db.execute(
                "UPDATE visits SET details = ? WHERE arch = ? AND round = ?",
                (details, run.network, run.round),
            )
        data = results(campaign).dataset
    index = [int(np.flatnonzero((ARCHS.genes == g).all(axis=1))[0]) for g in data.archs.genes]
    assert np.median(data.latency_ms / TRUTH[index]) == pytest.approx(1, abs=0.02)


def test_other_work_does_not_mark_passes_that_are_timed_by_cpu_time(tmp_path):
    """The reference network, timed so too, tells whether it slowed them all the same."""
    with write(tmp_path / "a", lambda t: 1.0 if t < 0.9 else 1.5, others=0.9) as campaign:
        for run in campaign.runs():
            details = json.dumps({**run.details, "cpu_share": 0.5, "clock": "cpu"})
            campaign._db.execute(
                "UPDATE visits SET details = ? WHERE arch = ? AND round = ?",
                (details, run.network, run.round),
            )
        found = results(campaign)
    assert not found.unstable.any()
    assert error(found.dataset) < 0.006
