"""What GPUs execute for products: tiles and waves of known sizes, and what physics rules out."""

import numpy as np
import pytest

from latcast.graph import Graph, GraphBuilder
from latcast.models.joint._gpu import _products, executed_operations, multiprocessors
from latcast.networks import Networks

V100 = {
    "is_gpu": 1.0, "vendor_nvidia": 1.0, "memory_hbm": 1.0, "cores": 5120.0, "year": 2017.0,
    "peak_flops": 14e12, "base_flops": 14e12, "power_w": 250.0,
}  # fmt: skip
T4 = {
    "is_gpu": 1.0, "vendor_nvidia": 1.0, "memory_gddr": 1.0, "cores": 2560.0, "year": 2018.0,
    "peak_flops": 8.1e12, "base_flops": 8.1e12, "power_w": 70.0,
}  # fmt: skip
P100 = {**V100, "cores": 3584.0, "year": 2016.0, "peak_flops": 9.3e12, "base_flops": 9.3e12}


def _linear(rows: int, columns: int, depth: int) -> Graph:
    b = GraphBuilder(1, f"linear{rows}-{columns}-{depth}")
    return b.build(b.linear(b.input(rows, depth), columns))


def _batched(count: int, rows: int, columns: int, depth: int) -> Graph:
    b = GraphBuilder(count, f"batched{count}-{rows}-{columns}-{depth}")
    return b.build(b.matmul(b.input(rows, depth), b.input(depth, columns)))


def _executed(facts: dict[str, float], *graphs: Graph) -> np.ndarray:
    """Operations of networks of one product each."""
    networks = Networks.of_graphs(graphs)
    return networks.counts @ executed_operations(networks, facts)


@pytest.mark.parametrize(
    ("facts", "units"),
    [
        (V100, 80),
        (T4, 40),
        (P100, 56),
        ({**T4, "year": 2016.0}, 20),  # P4
        ({**T4, "cores": 16384.0, "year": 2022.0}, 128),  # RTX 4090
        ({"cores": 7680.0, "vendor_amd": 1.0, "year": 2020.0}, 120),  # MI100
        ({**T4, "cores": None}, None),
        ({"cores": 1024.0}, None),
    ],
)
def test_multiprocessors_are_those_of_the_generation(facts, units) -> None:
    assert multiprocessors(facts) == units


def test_a_product_of_few_tiles_leaves_multiprocessors_idle() -> None:
    few, wave, two = _executed(V100, *(_linear(32, 32 * n, 256) for n in (1, 80, 81)))
    assert few > 30 * 2 * 32 * 32 * 256
    assert few < wave < two < 1.2 * wave


def test_large_products_execute_hardly_more_than_they_are() -> None:
    rows, columns, depth = 8192, 4096, 4096
    assert _executed(V100, _linear(rows, columns, depth))[0] == pytest.approx(
        2 * rows * columns * depth, rel=0.1
    )


def test_products_in_a_batch_are_counted_by_what_is_read() -> None:
    networks = Networks.of_graphs([_batched(24, 100, 64, 200)])
    product = _products(networks, np.ones(1, dtype=bool))
    assert [float(x[0]) for x in product] == [24, 100, 64, 200]


@pytest.mark.parametrize("facts", [V100, T4, P100])
@pytest.mark.parametrize(
    "graphs",
    [
        [_linear(n, 512, 768) for n in range(1, 700, 9)],
        [_batched(n, 64, 64, 80) for n in range(1, 200, 5)],
        [_batched(4, n, n, 64) for n in range(60, 200)],
        [_batched(4, n, 64, n) for n in range(60, 200)],
        [_linear(2 ** (n // 2), 1024, 1024) for n in range(6, 32, 2)],
    ],
)
def test_time_does_not_fall_with_batch_and_sequence(facts, graphs) -> None:
    assert (np.diff(_executed(facts, *graphs)) >= 0).all()


@pytest.mark.parametrize("graph", [_linear(n, n, n) for n in (32, 128, 500, 3000, 9000)])
def test_more_cores_of_one_clock_are_not_slower(graph) -> None:
    seconds = []
    for cores in range(640, 12000, 640):
        peak = cores * 2 * 1.4e9
        facts = {**T4, "cores": float(cores), "peak_flops": peak, "base_flops": peak}
        seconds.append(_executed(facts, graph)[0] / peak)
    assert (np.diff(seconds) <= 1e-12 * np.array(seconds[1:])).all()


def test_clocks_fall_on_boards_of_little_power_once_kernels_are_long() -> None:
    graphs = [_linear(256, 512, 512), _linear(16384, 4096, 4096)]
    cool = {**T4, "power_w": 1000.0}
    short, long = _executed(T4, *graphs) / _executed(cool, *graphs)
    assert short == pytest.approx(1.0, abs=0.02)
    assert 1.6 < long < 2.0


def test_wide_outputs_slow_pascal_down() -> None:
    narrow, wide = _linear(1024, 4096, 1024), _linear(1024, 50_000, 1024)
    ratio = [np.divide(*_executed(facts, wide, narrow)) * 4096 / 50_000 for facts in (P100, V100)]
    assert ratio[0] > 2 * ratio[1]
    assert ratio[1] < 1.1


def test_what_is_no_product_or_has_no_units_is_as_it_was() -> None:
    b = GraphBuilder(1, "depthwise")
    x = b.conv(b.input(32, 20, 20), 32, 3, padding=1, groups=32)
    networks = Networks.of_graphs([b.build(b.softmax(x)), _linear(4, 4, 4)])
    plain = 2 * networks.fact("macs")
    executed = executed_operations(networks, V100)
    products = networks.fact("groups") == 1
    products &= networks.fact("macs") > 0
    assert (executed[~products] == plain[~products]).all()
    assert (executed[products] > plain[products]).all()
    for facts in ({"peak_flops": 1e12}, {**V100, "peak_flops": 112e12}):
        assert (executed_operations(networks, facts) == plain).all()
