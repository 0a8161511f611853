from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.measure import BlockSource, CampaignFile, Run

NETWORKS = [BlockSource("nasbench201", row) for row in range(3)]
PLAN = {"target": "here/onnxruntime/b1", "seed": 3, "protocol": {"runs": 2, "cpu_share": 0.9}}


@pytest.fixture
def campaign(tmp_path):
    with CampaignFile.create(tmp_path / "a.campaign", PLAN, NETWORKS) as file:
        file.extend(3)
        file.add_process({"pid": 1})
        yield file


def made(network, round_=0, attempt=0, *, accepted=True, samples=(1.0, 2.0)):
    return Run(
        network, round_, attempt, 1, 123.5, accepted, np.array(samples),
        (np.array([1.0]), np.array([3.0, 4.0])), {"doubts": [], "load_s": 0.5},
    )  # fmt: skip


def test_what_is_written_is_read_back(campaign):
    campaign.add_run(made(1, samples=(0.1, 1 / 3)))
    with CampaignFile.open(campaign.path) as again:
        assert again.plan() == PLAN
        assert again.networks() == NETWORKS
        assert again.extent() == 3
        (read,) = again.runs()
    assert read.samples_ms.tolist() == [0.1, 1 / 3]
    assert [r.tolist() for r in read.reference_ms] == [[1.0], [3.0, 4.0]]
    assert (read.network, read.round, read.accepted, read.time_s) == (1, 0, True, 123.5)
    assert read.details == {"doubts": [], "load_s": 0.5}


def test_what_is_pending(campaign):
    assert campaign.pending(0, 0, 2) == [0, 1]
    campaign.add_run(made(0))
    campaign.add_run(made(1, accepted=False))
    assert campaign.pending(0, 0, 3) == [2]
    assert campaign.pending(0, 1, 3) == [1, 2]
    assert campaign.pending(1, 0, 3) == [0, 1, 2]
    campaign.add_failure(2, "no", final=True)
    assert campaign.pending(0, 0, 3) == []
    assert campaign.failures() == {2: "no"}


def test_one_death_is_no_failure_and_no_row_stands_twice(campaign):
    campaign.add_failure(0, "killed", final=False)
    assert campaign.failures() == {}
    assert campaign.deaths(0) == 1
    campaign.add_run(made(0))
    with pytest.raises(sqlite3.IntegrityError):
        campaign.add_run(made(0))
    assert len(campaign.runs()) == 1


def test_a_campaign_is_not_overwritten_and_other_files_are_refused(campaign, tmp_path):
    with pytest.raises(FileExistsError, match="exists already"):
        CampaignFile.create(campaign.path, PLAN, NETWORKS)
    assert campaign.plan() == PLAN
    campaign._db.execute("PRAGMA user_version = 4")
    with pytest.raises(ValueError, match=r"schema version 4, this latcast reads up to 3"):
        CampaignFile.open(campaign.path)
    with pytest.raises(FileNotFoundError, match="no such campaign"):
        CampaignFile.open(tmp_path / "none")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(ValueError, match="another database"):
        CampaignFile.open(other)


@given(st.binary(min_size=1, max_size=5000))
def test_hostile_files_give_a_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("hostile") / "a"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a campaign file"):
        CampaignFile.open(path)


def test_a_truncated_campaign_gives_a_clear_error(tmp_path):
    path = tmp_path / "a"
    with CampaignFile.create(path, PLAN, NETWORKS) as file:
        for n in range(3):
            file.add_run(made(n, samples=np.ones(3000)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"campaign file"), CampaignFile.open(path) as file:
        file.runs()
