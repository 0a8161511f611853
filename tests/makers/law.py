"""Networks and targets made by a law that is known, for the tests of the joint model."""

from __future__ import annotations

import numpy as np

from latcast.graph import Graph, GraphBuilder
from latcast.models.joint import Observations, TargetFacts
from latcast.networks import Networks


def network(width: int, depth: int, size: int = 32, kernel: int = 3) -> Graph:
    b = GraphBuilder(1, f"net{width}-{depth}-{size}-{kernel}")
    x = b.input(3, size, size)
    for _ in range(depth):
        x = b.activation(b.conv(x, width, kernel, padding=kernel // 2), "relu")
        x = b.activation(b.conv(x, width, kernel, padding=kernel // 2, groups=width), "relu")
        x = b.conv(x, 2 * width, 1)
    return b.build(b.linear(b.global_pool(x), 10))


GRAPHS = [
    network(w, d, s, k) for w in (8, 16, 40) for d in (1, 3) for s in (16, 32) for k in (3, 5)
]


def target(n: int, **facts: float) -> TargetFacts:
    return TargetFacts(f"t{n}", f"chip{n // 2}", "cpu", "ncnn", facts=facts)


def made(networks: Networks, targets: int = 12) -> Observations:
    """Latencies by a law: arithmetic at a peak, bytes at a bandwidth, a launch for each kernel."""
    rng = np.random.default_rng(0)
    peak, bandwidth = np.exp(rng.normal([22.0, 22.0], 0.7, (targets, 2))).T
    launch = np.exp(rng.normal(-12, 0.5, targets))
    macs, moved, runs = (
        np.asarray(networks.counts @ x)
        for x in (
            networks.fact("macs"),
            networks.fact("read_bytes")
            + networks.fact("write_bytes")
            + networks.fact("param_bytes"),
            np.ones(len(networks.ops)),
        )
    )
    seconds = 2 * macs / peak[:, None] + moved / bandwidth[:, None] + runs * launch[:, None]
    t, n = np.indices(seconds.shape).reshape(2, -1)
    facts = [
        target(i, peak_flops=float(peak[i]), bandwidth_gb_s=float(bandwidth[i] / 1e9))
        for i in range(targets)
    ]
    log_ms = np.log(seconds * 1e3).ravel() + 0.01 * rng.standard_normal(t.size)
    names = tuple(g.name for g in GRAPHS)
    return Observations(networks, names, names, tuple(facts), n, t, log_ms, np.zeros(len(log_ms)))
