from __future__ import annotations

import pytest

import latcast
from latcast.devices import Target
from latcast.measure import Plan, Protocol
from latcast.measure.runtimes import RUNTIMES

SPACE = latcast.space("ofa-mobilenet-v3-w1.0")
QUICK = {
    "runs": 3, "warm_up_s": 0.0, "run_s": 0.02, "min_samples": 5, "reference_s": 0.0,
    # What else runs on the machine does not matter to a runtime without a computer.
    "other_cpus": 1e9, "cpu_share": 0.0,
    "halves_disagree": 1.0, "reference_disagrees": 1.0,
}  # fmt: skip


@pytest.fixture
def make_plan(fake, monkeypatch):
    """A plan of the fake runtime at given resolutions, one architecture each."""
    monkeypatch.setitem(RUNTIMES._things, "onnxruntime", fake.FakeRuntime)

    def make(resolutions, *, seed=0, kind=None, **protocol):
        archs = [SPACE.sample(1, n, restrict={"r": [r]}) for n, r in enumerate(resolutions)]
        return Plan(
            Target("here", "onnxruntime", threads=1),
            archs[0].concatenate(*archs[1:]),
            Protocol(**{**QUICK, **protocol}),
            seed,
            kind or fake.FakeRuntime,
        )

    return make
