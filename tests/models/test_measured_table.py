from __future__ import annotations

import time

import numpy as np
import pytest

import latcast
from latcast import measure
from latcast.devices import Target
from latcast.measure import Plan, Protocol, blocks_of
from latcast.measure.runtimes import runtime
from latcast.models.measured_table import (
    _ONCE,
    block_times,
    compare,
    distinct_rows,
    isolated_table,
    profiled_table,
)

HERE = Target("here", "onnxruntime", threads=1)
SPACE = latcast.space("ofa-mobilenet-v3-w1.0")
FACTS = SPACE.block_table.facts


def test_every_row_is_found():
    assert len(distinct_rows(SPACE, [128])) == 96
    assert len(distinct_rows(SPACE, [160, 224])) == 192
    assert len(distinct_rows(latcast.space("ofa-proxyless"), [128])) == 104
    assert len(distinct_rows(latcast.space("ofa-resnet50"), [128])) == 163
    assert distinct_rows(latcast.space("nasbench201")) == list(range(24))
    assert distinct_rows(latcast.space("fbnet")) == list(range(106))
    with pytest.raises(ValueError, match="no gene 'r'"):
        distinct_rows(latcast.space("fbnet"), [224])
    with pytest.raises(ValueError, match="r must keep at least one of"):
        distinct_rows(SPACE, [130])


@pytest.mark.slow
def test_blocks_are_timed_by_themselves(tmp_path, fake):
    rows = distinct_rows(SPACE, [224])[:40]
    quick = Protocol(runs=2, warm_up_s=0.0, run_s=0.02, reference_s=0.0, other_cpus=1e9)
    plan = Plan(HERE, blocks_of(SPACE, rows), quick, runtime=fake.FakeRuntime)
    with measure.open_or_resume(tmp_path / "a", plan) as campaign:
        measure.run(campaign)
        table = isolated_table(campaign)
    assert np.flatnonzero(np.isfinite(table)).tolist() == rows
    work = FACTS["macs"][rows] / 1e8
    assert table[rows][work > 0] == pytest.approx(work[work > 0], rel=0.03)


def test_comparison_by_hand():
    sums = np.array([1.0, 2.0, 4.0, 8.0, np.nan])
    latency = np.array([2.0, 4.0, 10.0, 10.0, 1.0])
    few = np.array([True, True, False, False, False])
    found = compare("isolated", sums, latency, few)
    assert (found.scale, found.overhead_ms) == pytest.approx((2, 0), abs=1e-9)
    assert found.bias == pytest.approx(((4 / 10 - 1) + (8 / 10 - 1)) / 2)
    assert found.mape == pytest.approx(-found.bias)
    assert found.calibrated_mape == pytest.approx((0.2 + 0.6) / 2)
    assert found.networks == 2
    with pytest.raises(ValueError, match="at least 2 networks"):
        compare("isolated", np.ones(3), np.ones(3), np.array([True, True, False]))


def test_layers_of_a_profile_are_attributed_to_their_blocks():
    arch = SPACE.sample(1, seed=4)
    ids = [i for i in SPACE.block_ids(arch)[0].tolist() if i < len(SPACE.block_table)]
    blocks = [SPACE.block_table.blocks[i] for i in ids]
    profile = {n: float(x.macs) for n, x in enumerate(SPACE.network(arch).layers)}
    assert block_times(blocks, profile) == pytest.approx(FACTS["macs"][ids])


def test_layers_of_a_profile_are_attributed_to_their_blocks_in_a_cell_too():
    cells = latcast.space("nasbench201")
    arch = cells.sample(1, seed=4)
    ids = cells.block_ids(arch)[0].tolist()
    network = cells.network(arch)
    profile = {n: float(x.macs) for n, x in enumerate(network.layers)}
    times = block_times([cells.block_table.blocks[i] for i in ids], profile)
    macs = cells.block_table.facts["macs"][ids]
    head = cells.block_table.keys.index("batch norm")
    macs[ids.index(head)] = 64 * 8**2  # a scale and a shift, a convolution to runtimes
    assert times == pytest.approx(macs)


@pytest.mark.worker
@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "mnn"])
def test_profiles_of_real_networks_add_up_to_one_pass(name):
    kind = runtime(name)
    pytest.importorskip(kind.package)
    network = SPACE.network(SPACE.sample(1, seed=1, restrict={"r": [128]}))
    loaded = kind().load(network, profiling=True)
    start = time.perf_counter()
    profile = loaded.profile(10)
    all_passes_ms = (time.perf_counter() - start) * 1e3
    # Whatever else the machine does: no core multiplies 2,000 times a nanosecond, and in half of
    # the passes, all of which were within that time, a layer took its median or longer.
    assert network.macs / 2e9 < sum(profile.values()) < all_passes_ms / 5
    # Fused layers count as one; the times are spread over the whole network all the same.
    timed = sorted(n for n, ms in profile.items() if ms > 0)
    assert len(timed) > 0.35 * len(network.layers)
    assert max(np.diff([-1, *timed, len(network.layers)])) <= 6


@pytest.fixture
def profiled(tmp_path):
    def table(archs):
        plan = Plan(HERE, archs, _ONCE, profile_passes=10)
        with measure.open_or_resume(tmp_path / "a", plan) as campaign:
            measure.run(campaign)
            assert campaign.counts()[1] == len(archs)
            return profiled_table(campaign)

    return table


@pytest.mark.slow
def test_a_profile_of_the_space(profiled):
    archs = SPACE.sample(2, seed=0, restrict={"r": [128]})
    table = profiled(archs)
    known = np.isfinite(table)
    ids = np.unique(SPACE.block_ids(archs))
    assert np.flatnonzero(known).tolist() == [i for i in ids if i < len(SPACE.block_table)]
    assert (table[known] >= 0).all()


@pytest.mark.slow
def test_a_profile_of_cells(profiled):
    cells = latcast.space("nasbench201")
    archs = cells.sample(2, seed=0)
    keys = cells.block_table.keys
    found = {key: ms for key, ms in zip(keys, profiled(archs), strict=True) if np.isfinite(ms)}
    assert set(found) == {keys[i] for i in np.unique(cells.block_ids(archs))}
    for stage in (1, 2, 3):
        assert found[f"stage {stage}/skip_connect"] == 0
        assert found[f"stage {stage}/nor_conv_3x3"] > 0


def test_networks_that_were_not_profiled_make_no_table(tmp_path, fake):
    archs = [SPACE.sample(1, 0, restrict={"r": [r]}) for r in (224, fake.RAISES)]
    plan = Plan(
        HERE, archs[0].concatenate(archs[1]), _ONCE, runtime=fake.FakeRuntime, profile_passes=3
    )
    with measure.open_or_resume(tmp_path / "a", plan) as campaign:
        measure.run(campaign)
        assert set(campaign.runs()[0].details["profile_ms"]) > {"0", "1"}
        with pytest.raises(ValueError, match="RuntimeError: no kernel for this"):
            profiled_table(campaign)
        with pytest.raises(ValueError, match="blocks of one space"):
            isolated_table(campaign)
