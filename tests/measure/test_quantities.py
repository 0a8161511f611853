"""What a campaign measures beside the latency, and the datasets of it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from latcast.data import read
from latcast.devices import Target
from latcast.families import population
from latcast.measure import (
    CampaignFile,
    Plan,
    _memory,
    conclude,
    open_or_resume,
    quantity_datasets,
    run,
)
from latcast.measure._record import dataset_path
from latcast.measure._sources import as_sources
from latcast.measure._worker import worker_setup
from latcast.measure.runtimes import class_name, runtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak")


def measured(path, plan, *quantities):
    """A campaign that is over, and what it found."""
    whole = Plan(plan.target, plan.networks, plan.protocol, plan.seed, plan.runtime,
                 quantities=quantities)  # fmt: skip
    with open_or_resume(path, whole) as campaign:
        run(campaign)
        data, record = conclude(campaign, str(path.with_suffix(".parquet")))
        return {"latency_ms": data, **quantity_datasets(campaign, data)}, record


@pytest.mark.slow
def test_peak_memory_is_that_of_passes_beyond_the_floor(make_plan, fake, tmp_path):
    plan = make_plan([224, 240], runs=2, kind=fake.Hungry)
    datasets, record = measured(tmp_path / "a.campaign", plan, "peak_memory_mb")
    latencies, memory = datasets.values()
    assert list(datasets) == ["latency_ms", "peak_memory_mb"]
    assert memory.quantity.name == "peak_memory_mb"
    assert memory.networks == latencies.networks
    assert memory.target == latencies.target
    assert memory.values == pytest.approx([30, 30], abs=2)
    assert "process of its own" in memory.provenance["method"]
    assert record.datasets == {"peak_memory_mb": str(tmp_path / "a.peak_memory_mb.parquet")}
    assert [n.peak_memory_mb for n in record.by_network] == memory.values.tolist()
    assert "peak memory, MB" in record.to_text()
    with CampaignFile.open(tmp_path / "a.campaign") as campaign:
        told = [r.details["memory"] for r in campaign.runs() if "memory" in r.details]
    assert len(told) == 2  # once a network, whatever its runs
    assert told[0]["loaded_mb"] == pytest.approx(20, abs=2)
    assert told[0]["load_mb"] == pytest.approx(60, abs=5)
    path = dataset_path("cpu.parquet", "peak_memory_mb")
    memory.save(tmp_path / path)
    assert np.array_equal(read(tmp_path / path).values, memory.values)


IMPORTED = """
import json, sys
from latcast.measure import _memory
seen = []
_memory.forget_peak = lambda: seen.append(set(sys.modules)) or True
_memory._measured(json.loads(sys.argv[1]))
print(*sorted(name for name in set(sys.modules) - seen[0] if name.startswith("latcast")))
"""


@pytest.mark.slow
def test_nothing_of_ours_is_imported_beyond_the_floor():
    """It would count as the network's: the reader of ONNX took up to a megabyte."""
    target = Target("here", "onnxruntime", threads=1)
    setup = worker_setup(target, {}, class_name(runtime("onnxruntime")))
    (source,) = as_sources(population(1, 0, ["resnet-cifar"]))
    request = json.dumps({**setup, "network": source.text, "seed": 0})
    command = [sys.executable, "-c", IMPORTED, request]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


@pytest.mark.slow
def test_a_network_whose_memory_is_not_known_is_timed(make_plan, fake, tmp_path):
    plan = make_plan([224], runs=2, kind=fake.Forgetful)
    datasets, record = measured(tmp_path / "a.campaign", plan, "peak_memory_mb")
    assert len(datasets) == 1
    assert record.datasets == {}
    assert record.by_network[0].peak_memory_mb is None
    with CampaignFile.open(tmp_path / "a.campaign") as campaign:
        reasons = [r.details.get("peak_memory_mb_failed") for r in campaign.runs()]
    assert reasons == ["RuntimeError: RuntimeError: no memory for this", None]


@pytest.mark.slow
def test_energy_is_measured_in_two_rounds(make_plan, fake, tmp_path):
    plan = make_plan([224], runs=3, kind=fake.Metered)
    datasets, record = measured(tmp_path / "a.campaign", plan, "energy_mj")
    energy = datasets["energy_mj"]
    assert (energy.quantity.name, energy.quantity.unit) == ("energy_mj", "mJ")
    assert energy.values[0] > 0
    assert len(energy.samples[0]) == 2
    assert energy.standard_error[0] >= 0
    assert "less the idle power" in energy.provenance["method"]
    assert record.by_network[0].energy_mj == energy.values[0]
    assert "energy, mJ" in record.to_text()


def test_what_the_machine_does_not_tell_is_a_warning(make_plan, fake, tmp_path):
    plan = make_plan([224], runs=2, kind=fake.Unmetered)
    datasets, record = measured(tmp_path / "a.campaign", plan, "energy_mj")
    assert list(datasets) == ["latency_ms"]
    (warning,) = [w for w in record.warnings if "energy_mj" in w]
    assert warning.startswith(
        "energy_mj of 1 networks could not be measured: OSError: energy needs"
    )


def test_the_peak_of_this_process_is_forgotten():
    if not _memory.forget_peak():
        pytest.skip("the system does not let a peak be forgotten")
    before = _memory.peak_bytes()
    np.ones(50_000_000, np.int8)
    after = _memory.peak_bytes()
    assert after - before > 40_000_000
    assert _memory.forget_peak()
    assert _memory.peak_bytes() < after - 40_000_000


def test_where_no_peak_is_told_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(_memory, "_SELF", tmp_path)
    assert not _memory.forget_peak() or (tmp_path / "clear_refs").exists()
    with pytest.raises(RuntimeError, match="peak memory is told by Linux alone"):
        _memory.peak_bytes()


def test_only_what_can_be_measured_is_planned(make_plan):
    plan = make_plan([224])
    with pytest.raises(ValueError, match="that are measured are latency_ms, peak"):
        Plan(plan.target, plan.networks, quantities=["accuracy"])
    same = Plan(plan.target, plan.networks, quantities=["latency_ms"])
    assert same.quantities == ()
    assert "quantities" not in plan.record()
