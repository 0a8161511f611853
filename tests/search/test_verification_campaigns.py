"""Measuring the rounds of a search on this host."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from latcast.devices import host_name
from latcast.measure import CampaignFile, CampaignRunningError, Progress, Protocol
from latcast.measure._machine import machine_lock
from latcast.models import LookupTable
from latcast.search.verification import Campaigns, VerifiedResult, search_and_verify
from latcast.search.verification._scope import find
from latcast.spaces import space

SPACE = space("compofa-fixed-kernel")
QUICK = Protocol(
    runs=2, warm_up_s=0.0, run_s=0.02, min_samples=5, reference_s=0.0,
    other_cpus=1e9, halves_disagree=1.0, reference_disagrees=1.0,
)  # fmt: skip
HARMLESS = 224
RAISES = 160


@pytest.fixture
def here(tmp_path: Path, fake: ModuleType) -> Any:
    """Campaigns of the fake runtime: 1 ms for each 100 M MACs."""

    def make(**settings: Any) -> Campaigns:
        settings = {"protocol": QUICK, "device": "here", **settings}
        return Campaigns(tmp_path / "a.parquet", fake.FakeRuntime, **settings)

    return make


def run(measuring: Campaigns, **options: Any) -> VerifiedResult:
    options = {"restrict": {"r": [HARMLESS]}, "verify": 2, "rounds": 1, "suggested": 2, **options}
    return search_and_verify(
        SPACE, latency="samsung-note10", measuring=measuring, max_latency_ms=4.0, **options
    )


def run_count(path: Path) -> int:
    with CampaignFile.open(path) as campaign:
        return campaign.counts()[1]


@pytest.mark.slow
def test_rounds_are_campaigns_and_can_be_resumed(here: Any, tmp_path: Path) -> None:
    made = 0

    def interrupt(_: Progress) -> None:
        nonlocal made
        made += 1
        if made == 7:  # the third of the first round's four
            raise KeyboardInterrupt

    first = run(here(on_progress=interrupt))
    assert first.stopped == "interrupted"
    assert first.measured is not None
    # Of the two networks of the first round, one had its two runs.
    assert len(first.measured) == 3
    assert [len(v) for v in first.rounds] == [2, 1]
    assert run_count(tmp_path / "a.0.campaign") == 4
    assert run_count(tmp_path / "a.1.campaign") == 3
    with pytest.raises(FileExistsError, match="resume them, or name another record"):
        here()

    again = run(here(resume=True))
    assert again.stopped is None
    assert run_count(tmp_path / "a.0.campaign") == 4
    assert run_count(tmp_path / "a.1.campaign") == 4
    assert [len(v) for v in again.rounds] == [2, 2]
    assert find(first.rounds[1].archs, again.rounds[1].archs)[0] >= 0
    assert again.measured is not None
    truth = SPACE.costs(again.measured.archs)["macs"].to_numpy() / 1e8
    np.testing.assert_allclose(again.measured.latency_ms, truth, rtol=0.02)
    assert str(again.measured.target) == "here/onnxruntime/b1/t1"
    assert again.is_verified.all()
    assert again.measured_ms[0] <= 4.0
    with pytest.raises(ValueError, match="runs was 2, got 1"):
        run(here(resume=True, protocol=Protocol(**{**_settings(QUICK), "runs": 1})))
    with pytest.raises(ValueError, match="target was here/onnxruntime/b1/t1, got there"):
        run(here(resume=True, device="there"))


def _settings(protocol: Protocol) -> dict[str, Any]:
    return {name: getattr(protocol, name) for name in Protocol.__dataclass_fields__}


@pytest.mark.slow
def test_networks_that_fail_are_left_out(here: Any, fake: ModuleType) -> None:
    assert fake.RAISES == RAISES
    archs = SPACE.sample(1, 0, restrict={"r": [HARMLESS]})
    bad = SPACE.sample(2, 0, restrict={"r": [RAISES]})
    measured = here().measure(bad.concatenate(archs), 1)
    assert measured.dataset is not None
    assert measured.dataset.archs == archs
    assert [why for _, why in measured.failures] == ["RuntimeError: no kernel for this"] * 2
    assert bad.concatenate(*(a for a, _ in measured.failures)).unique() == bad.unique()


@pytest.mark.usefixtures("instant_campaigns")
def test_runs_that_are_too_few_are_no_latency(here: Any, tmp_path: Path) -> None:
    once = here(protocol=Protocol(**{**_settings(QUICK), "runs": 1}))
    archs = SPACE.sample(1, 0, restrict={"r": [HARMLESS]})
    assert once.measure(archs, 1).dataset is None
    assert run_count(tmp_path / "a.1.campaign") == 1


@pytest.mark.usefixtures("instant_campaigns")
def test_later_rounds_are_brought_to_the_first_one_s_state(here: Any) -> None:
    measuring = here()
    archs = SPACE.sample(2, 0, restrict={"r": [HARMLESS]})
    first = measuring.measure(archs, 1)
    level = measuring.like_ms
    assert level == pytest.approx(1)
    measuring.like_ms = 2.0  # as if the machine had been half as fast in the first round
    second = measuring.measure(archs, 2)
    assert first.dataset is not None
    assert second.dataset is not None
    np.testing.assert_allclose(second.dataset.latency_ms, 2 * first.dataset.latency_ms)
    assert second.dataset.archs == first.dataset.archs == archs


def test_another_campaign_is_not_disturbed(here: Any, tmp_path: Path) -> None:
    with machine_lock(tmp_path / "other"), pytest.raises(CampaignRunningError, match="other"):
        run(here())
    assert not (tmp_path / "a.0.campaign").exists()
    here()  # there is nothing to be resumed


def test_settings_are_checked_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no runtime is called 'onnxrt'"):
        Campaigns(tmp_path / "a", "onnxrt")
    with pytest.raises(ValueError, match="precision"):
        Campaigns(tmp_path / "a", precision="bf16")
    with pytest.raises(FileNotFoundError, match="no campaign to resume"):
        Campaigns(tmp_path / "a", resume=True)
    default = Campaigns(tmp_path / "b.c", threads=2)
    assert str(default.target) == f"{host_name()}/onnxruntime/b1/t2"
    assert default.path(3) == tmp_path / "b.c.3.campaign"


@pytest.mark.slow
def test_on_the_real_runtime(tmp_path: Path) -> None:
    quick = Protocol(runs=2, warm_up_s=0.0, run_s=0.01, min_samples=3, redo=0)
    measuring = Campaigns(tmp_path / "real", device="here", protocol=quick)
    facts = space(SPACE.block_space).block_table.facts
    table = LookupTable.from_blocks(
        space(SPACE.block_space), measuring.target, facts["macs"] * 1e-7, overhead_ms=1.0
    )
    found = search_and_verify(
        SPACE,
        latency=table,
        measuring=measuring,
        max_latency_ms=1e4,
        verify=2,
        rounds=1,
        restrict={"r": [160], "d1": [2], "d2": [2]},
    )
    assert found.measured is not None
    assert len(found.measured) == 2
    assert found.is_verified.all()
    assert (found.measured.latency_ms > 0).all()
    (first,) = found.rounds
    assert first.roles == ("pick", "front")
    np.testing.assert_allclose(first.predicted_ms, table.predict(first.archs))
    assert measuring.path(1).exists()
