"""Networks as counts of kernels: in closed form, and one way of counting against the other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.graph import KERNEL_FACTS, UNKNOWN, Graph, rules_of
from latcast.graph.read.onnx import read_onnx
from latcast.graph.write.onnx import to_onnx
from latcast.models.kernels._fit import select
from latcast.models.kernels._prices import Observed
from latcast.networks import ALL_KINDS, OPS, Networks, working_kernels
from latcast.spaces import space

SPACES = ("ofa-mobilenet-v3", "ofa-proxyless", "ofa-resnet50", "nasbench201", "fbnet")
WHOLE_BLOCKS = ("ofa-mobilenet-v3", "ofa-proxyless", "ofa-resnet50")
"""Spaces whose kernels do not reach from block to block."""
LONE_NORM_MACS = {"nasbench201": 64 * 8 * 8}
"""Of a batch norm that follows no convolution, which readers take for a depthwise one."""


def graphs(simulator: type, n: int = 12) -> list[Graph]:
    return list(simulator().measured(n, 5).graphs)


def test_equal_kernels_are_one_row(chain: type) -> None:
    network = chain(16, 8).conv(16).add("relu").conv(16).add("relu").conv(32, 1).graph()
    counts = Networks.of_graphs([network])
    assert counts.labels == ("conv+relu/blocked", "conv/blocked")
    assert counts.counts.toarray().tolist() == [[2, 1]]
    assert [r.tolist() for r in counts.rows] == [[0, 0, 1]]
    assert [OPS[n] for n in counts.ops] == ["conv", "conv"]
    assert [ALL_KINDS[n] for n in counts.kinds] == ["conv", "conv"]
    facts = dict(zip(KERNEL_FACTS, counts.facts.T.tolist(), strict=True))
    assert facts == {
        "macs": [64 * 16 * 16 * 9, 64 * 16 * 32],
        "param_bytes": [4 * (16 * 16 * 9 + 16), 4 * (16 * 32 + 32)],
        "read_bytes": [4 * 64 * 16] * 2,
        "write_bytes": [4 * 64 * 16, 4 * 64 * 32],
        "positions": [64, 64],
        "outputs": [16, 32],
        "inputs": [16, 16],
        "window": [9, 1],
        "stride": [1, 1],
        "groups": [1, 1],
        "layers": [2, 1],
        "batch": [1, 1],
        "blocked": [1, 1],
    }
    np.testing.assert_array_equal(counts.fact("window"), [9, 1])


def test_a_batch_works_so_many_times_with_the_same_constants(chain: type) -> None:
    one, four = (
        Networks.of_graphs([chain(16, 8, batch).conv(24).add("relu").graph()]) for batch in (1, 4)
    )
    constant = ("param_bytes", "outputs", "inputs", "window", "stride", "groups", "layers")
    for name in KERNEL_FACTS:
        factor = 1 if name in (*constant, "blocked") else 4
        np.testing.assert_array_equal(four.fact(name), factor * one.fact(name))
    both = Networks.joined([one, four])
    assert both.counts.toarray().tolist() == [[1, 0], [0, 1]]


def test_layouts_and_operators_part_kernels(chain: type) -> None:
    """The same work in blocks or not, or by another operator, is not the same kernel."""
    blocked = chain(16, 8).conv(16).add("max_pool", (1, 16, 4, 4), window=(2, 2), stride=(2, 2))
    plain = chain(16, 8).conv(15).add("max_pool", (1, 15, 4, 4), window=(2, 2), stride=(2, 2))
    average = chain(16, 8).conv(16).add("avg_pool", (1, 16, 4, 4), window=(2, 2), stride=(2, 2))
    counts = Networks.of_graphs([x.graph() for x in (blocked, plain, average)])
    blocked_labels = ("conv/blocked", "max_pool/blocked", "conv/blocked")
    assert counts.labels == (*blocked_labels, "max_pool", "avg_pool/blocked")
    assert counts.counts.toarray().tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]


def test_views_are_left_out_and_the_unknown_is_not(chain: type) -> None:
    network = chain(16, 8).conv(16).add(UNKNOWN).classify().graph()
    counts = Networks.of_graphs([network])
    assert counts.labels == ("conv/blocked", "com.example::Odd", "global_pool", "linear")
    assert ALL_KINDS[counts.kinds[1]] == UNKNOWN
    assert counts.fact("macs")[1] == 0
    assert counts.fact("write_bytes")[1] == 4 * 16 * 64
    main_ops = [network.layers[k.main].op for k in working_kernels(network)]
    assert main_ops == ["conv", UNKNOWN, "global_pool", "linear"]


@given(st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=10)
def test_parts_joined_are_the_whole(simulator: type, one: int, other: int) -> None:
    all_graphs = graphs(simulator)
    low, high = sorted((one, other))
    parts = [all_graphs[:low], all_graphs[low:high], all_graphs[high:]]
    joined = Networks.joined([Networks.of_graphs(part) for part in parts])
    whole = Networks.of_graphs(all_graphs)
    assert joined.labels == whole.labels
    np.testing.assert_array_equal(joined.ops, whole.ops)
    np.testing.assert_array_equal(joined.facts, whole.facts)
    np.testing.assert_array_equal(joined.counts.toarray(), whole.counts.toarray())
    assert [r.tolist() for r in joined.rows] == [r.tolist() for r in whole.rows]


def test_rows_tell_what_counts_add_up(simulator: type) -> None:
    counts = Networks.of_graphs(graphs(simulator))
    assert len(counts) == 12
    distinct = {(*map(float, f), x) for f, x in zip(counts.facts, counts.labels, strict=True)}
    assert len(distinct) == len(counts.labels)
    for rows, line in zip(counts.rows, counts.counts.toarray(), strict=True):
        np.testing.assert_array_equal(np.bincount(rows, minlength=len(line)), line)
    nothing = Networks.of_graphs([])
    assert (len(nothing), nothing.facts.shape) == (0, (0, len(KERNEL_FACTS)))


def by_label(kernels: Networks) -> list[dict[str, tuple[int, int]]]:
    """Of every network, how many kernels of each label it has, and their MACs."""
    found = []
    for line in kernels.counts.toarray():
        numbers: dict[str, tuple[int, int]] = {}
        for label, count, macs in zip(kernels.labels, line, kernels.fact("macs"), strict=True):
            if count:
                old = numbers.get(label, (0, 0))
                numbers[label] = (old[0] + int(count), old[1] + int(count * macs))
        found.append(numbers)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_blocks_and_onnx_of_a_space_do_the_same(name: str) -> None:
    networks = space(name)
    archs = networks.sample(3, seed=1)
    blocks = Networks.of_archs(archs, 2)
    read = Networks.of_graphs(
        [read_onnx(to_onnx(networks.network(archs[n]).with_batch(2))) for n in range(3)]
    )
    assert len(blocks) == 3
    assert blocks.rows == ()
    macs = 2 * networks.costs(archs)["macs"].to_numpy()
    np.testing.assert_array_equal(blocks.counts @ blocks.fact("macs"), macs)
    lone = 2 * LONE_NORM_MACS.get(name, 0)
    np.testing.assert_array_equal(read.counts @ read.fact("macs"), macs + lone)
    if name in WHOLE_BLOCKS:
        assert by_label(blocks) == by_label(read)


def test_eager_runtimes_run_blocks_that_nothing_reads() -> None:
    cells = space("nasbench201")
    archs = cells.sample(20, seed=0)
    whole = [cells.network(archs[n]) for n in range(len(archs))]
    called, left = (Networks.of_archs(archs, 1, rules_of(r)) for r in ("eager", "onnxruntime"))
    graphs = Networks.of_graphs(whole, rules_of("eager"))
    # Whose batch norms are folded, but for one after a sum.
    counts = [x.counts @ (x.kinds != ALL_KINDS.index("norm")) for x in (called, graphs, left)]
    np.testing.assert_array_equal(counts[0] + 1, counts[1])
    assert (counts[0] > counts[2]).all()
    pruned = Networks.of_archs(archs, 1, rules_of("eager"), runs_all=False)
    assert (pruned.counts.sum(axis=1) < called.counts.sum(axis=1)).any()


def test_an_architecture_counts_for_itself(simulator: type) -> None:
    """Whoever else is in the batch."""
    archs = space("ofa-mobilenet-v3").sample(6, seed=2)
    together = Networks.of_archs(archs, 1)
    for n in range(6):
        alone = Networks.of_archs(archs[n : n + 1], 1)
        np.testing.assert_allclose(
            (alone.counts @ alone.facts)[0], (together.counts @ together.facts)[n]
        )
    joined = Networks.joined([Networks.of_graphs(graphs(simulator)), together])
    assert len(joined) == 18
    assert len(joined.rows) == 12
    np.testing.assert_allclose(
        (joined.counts @ joined.facts)[12:], together.counts @ together.facts
    )


def test_a_selection_has_its_own_kernels_alone(simulator: type) -> None:
    data = simulator().measured(12, 5, profiled=True)
    counts = Networks.of_graphs(data.graphs)
    times = sp.csr_matrix(counts.counts.multiply(np.arange(1.0, counts.counts.shape[1] + 1)))
    rows = np.array([7, 2])
    part = select(Observed(counts, data.latency_ms, times), rows)
    np.testing.assert_array_equal(part.total_ms, data.latency_ms[rows])
    own = Networks.of_graphs([data.graphs[n] for n in rows])
    assert part.kernels.counts.shape == own.counts.shape
    np.testing.assert_array_equal(part.kernels.counts @ part.kernels.facts, own.counts @ own.facts)
    assert part.times_ms.sum() == times[rows].sum()
    assert set(part.kernels.labels) == set(own.labels)
