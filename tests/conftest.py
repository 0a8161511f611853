"""What tests share: the public data, and datasets of our own making."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latcast.data import LatencyDataset
from latcast.devices import Target
from latcast.spaces import space

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the public data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the public data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Campaigns of the tests keep each other out, but none that runs on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session")
def synthetic() -> LatencyDataset:
    """1,200 networks whose latency follows their physics, with 1 % of noise."""
    the_space = space("ofa-mobilenet-v3")
    rng = np.random.default_rng(1)
    archs = the_space.sample(1_200, rng, restrict={"r": [160, 192, 224]})
    facts = the_space.block_table.facts
    ms = facts["macs"] * 2e-8 + facts["elementwise_bytes"] * 5e-8 + facts["launches"] * 0.01
    latency = 1.0 + the_space.block_sums(archs, ms)
    noisy = latency * rng.normal(1.0, 0.01, len(archs))
    return LatencyDataset(archs, noisy, Target("imaginary", "simulator", batch=2))
