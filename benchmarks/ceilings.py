"""How far scores that fall short could go: tables' own repeatability, and models of the target.

    python benchmarks/ceilings.py --data ../shared/data

Twins of NAS-Bench-201 are cells that run the same operations, nodes 1 and 2 exchanged where no
operation joins them. Latencies of two versions of PyTorch, or of two boards of one chip at the same
threads, differ as two measurements of the same thing do at most. Base models that are told of many
rows of the very target show what their form leaves.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from latcast.bench import gpu, transfer
from latcast.bench.protocol import Pool, base_model
from latcast.bench.tables import machine
from latcast.data import Dataset, split
from latcast.data.public import read_table
from latcast.models import BaseModel, Roofline
from latcast.spaces.nasbench201 import CODES

Floats = npt.NDArray[np.float64]

TOLD = (10, 100, 1_000, 4_000)
DRAWS = {10: 5, 100: 3}
"""Rows that a base model is told of -> draws; one of others."""
MIN_SHARED = 4
OFA_BASE_ROWS = 600
VERSIONS = (
    ("fp32-nchw-pt221-cpu-i9_10940x-dynamo", "fp32-nchw-pt240-cpu-i9_10940x-dynamo"),
    ("amp-nchw-pt113-cu117-rtx3090", "amp-nchw-pt210-cu121-rtx3090"),
    ("amp-nchw-pt210-cu121-rtx3090", "amp-nchw-pt240-cu124-rtx3090"),
    ("amp-nhwc-pt113-cu117-rtx3090", "amp-nhwc-pt210-cu121-rtx3090"),
    ("amp-nhwc-pt210-cu121-rtx3090", "amp-nhwc-pt240-cu124-rtx3090"),
    ("amp-nchw-pt240-cu124-rtx4090", "amp-nchw-pt291-cu128-4090"),
    ("amp-nchw-pt240-cu124-rtx4090-dynamo", "amp-nchw-pt291-cu128-4090-dynamo"),
)


def _correlation(a: Floats, b: Floats) -> float:
    return float(spearmanr(a, b)[0])


def _median(logs: Floats) -> float:
    """Median relative difference in percent, of differences of logarithms."""
    return float(100 * np.median(np.abs(np.expm1(logs))))


def _told(base: BaseModel, pool: Pool, rows: int) -> float:
    """Mean Spearman correlation on the rows that the base was not told of."""
    found = []
    for seed in range(DRAWS.get(rows, 1)):
        order = np.random.default_rng(seed).permutation(len(pool.data))
        few, rest = pool.data[np.sort(order[:rows])], pool.data[np.sort(order[rows:])]
        found.append(_correlation(base.adapt(few).predict(rest.archs), rest.latency_ms))
    return float(np.mean(found))


def _twins(pool: Pool) -> tuple[int, float, float]:
    """Pairs of cells that are twins, the correlation between them, and by how much they differ."""
    number = {tuple(genes): n for n, genes in enumerate(pool.data.archs.genes.tolist())}
    pairs = []
    for genes, n in number.items():
        to_1, to_2, between, out_0, out_1, out_2 = genes
        twin = (to_2, to_1, between, out_0, out_2, out_1)
        if between == CODES["none"] and twin > genes and twin in number:
            pairs.append((n, number[twin]))
    first, second = pool.data.latency_ms[np.array(pairs).T]
    differ = _median(np.log(first) - np.log(second))
    return len(pairs), _correlation(first, second), differ


def _nas_bench_201(data: Path) -> None:
    asked = transfer.plan(data, "nasbench201", published_split="help", samples=(10,))
    ((train, test),) = asked.groups
    base, _, _ = base_model({n: asked.folder.read(n) for n in train}, None, lambda _: None)
    print(
        "NAS-Bench-201: twins, and Spearman of a base model of other targets told of so many rows"
    )
    means = []
    for name in test:
        pool = Pool.of(name, asked.folder.read(name))
        count, alike, differ = _twins(pool)
        means.append([_told(base, pool, rows) for rows in TOLD])
        print(
            f"{name:14} {count} pairs, Spearman {alike:.4f}, {differ:5.2f} % apart in the median; ",
            _line(TOLD, means[-1]),
        )
    print(f"{'mean':14}", _line(TOLD, np.mean(means, axis=0)), flush=True)


def _line(rows: tuple[int, ...], scores: list[float] | Floats) -> str:
    return ", ".join(f"{n}: {score:.4f}" for n, score in zip(rows, scores, strict=True))


def _ofa(data: Path) -> None:
    asked = gpu.plan(data, ["ofa"], methods=[gpu.OURS], samples=(0,), seeds=1)
    ((folder, groups),) = asked.folders
    known = {name: folder.read(name) for names in groups.values() for name in names}
    print(
        "\nOFA at batch 32, Spearman: GPU left out; told of 1,000 and 4,000 rows of that batch; "
        "its own model; by its latencies of the same networks at batches 1 and 64, "
        "fitted to 4,000 rows"
    )
    rows = []
    for names in groups.values():
        name = next(n for n in names if n.endswith("_32"))
        pool = Pool.of(name, known[name])
        others = {n: d for n, d in known.items() if n not in names}
        base, _, _ = base_model(others, OFA_BASE_ROWS, lambda _: None)
        unseen = base.predictor(pool.data.target).predict(pool.data.archs)
        train, rest = split(pool.data, 0.9, 0)
        own = Roofline().fit(train).predict(rest.archs)
        rows.append([
            _correlation(unseen, pool.data.latency_ms), _told(base, pool, 1_000),
            _told(base, pool, 4_000), _correlation(own, rest.latency_ms),
            _by_other_batches(known, names, name),
        ])  # fmt: skip
        print(f"{name:14}", *(f"{score:.4f}" for score in rows[-1]), flush=True)
    print(f"{'mean':14}", *(f"{score:.4f}" for score in np.mean(rows, axis=0)), flush=True)


def _by_other_batches(known: Mapping[str, Dataset], names: Sequence[str], name: str) -> float:
    """Spearman correlation of a regression on a GPU's latencies at its two other batches.

    It is quadratic in their logarithms, fitted to 4,000 networks and scored on the rest.
    """
    latency_ms = {n: known[n].latency_ms for n in names}
    one, two = (np.log(values) for n, values in latency_ms.items() if n != name)
    terms = np.stack([np.ones(len(one)), one, two, one**2, two**2, one * two], axis=1)
    order = np.random.default_rng(0).permutation(len(one))
    told, rest = order[:4_000], order[4_000:]
    weights = np.linalg.lstsq(terms[told], np.log(latency_ms[name])[told], rcond=None)[0]
    return _correlation(terms[rest] @ weights, latency_ms[name][rest])


def _versions(data: Path) -> None:
    frame = read_table("timm", data).frame
    print("\ntimm: two versions of PyTorch on one device, after one factor for all networks")
    columns = (frame[name].to_list() for name in ("setting", "network", "latency_ms", "batch"))
    of: dict[str, dict[str, float]] = {}
    for setting, network, latency_ms, batch in zip(*columns, strict=True):
        of.setdefault(setting, {})[network] = latency_ms / batch
    for one, other in VERSIONS:
        logs = _differences(of[one], of[other])
        logs -= np.median(logs)
        beyond = 100 * float((np.abs(logs) > np.log(1.1)).mean())
        print(f"{one}, {other}: {_median(logs):.1f} % in the median, {beyond:.0f} % beyond 10 %")


def _differences(one: Mapping[str, float], other: Mapping[str, float]) -> Floats:
    shared = sorted(set(one) & set(other))
    return np.log([one[n] / other[n] for n in shared])


def _boards(data: Path) -> None:
    frame = read_table("ncnn", data).frame
    names = ("setting", "chip", "heading", "part", "threads", "network", "latency_ms")
    chips: dict[str, dict[tuple[str, ...], dict[str, float]]] = {}
    for row in frame.select(names).rows():
        setting, chip, heading, part, threads, network, latency_ms = row
        if setting == "cpu":
            place = chips.setdefault(chip, {}).setdefault((heading, part, threads), {})
            place[network] = latency_ms
    found = []
    for targets in chips.values():
        pairs = [
            _differences(one, other)
            for (a, one), (b, other) in combinations(targets.items(), 2)
            if a[-1] == b[-1] and len(set(one) & set(other)) >= MIN_SHARED
        ]
        if pairs:
            scaled = [_median(logs - np.median(logs)) for logs in pairs]
            found.append((np.median([_median(logs) for logs in pairs]), np.median(scaled)))
    as_is, scaled_ = np.median(found, axis=0)
    print(
        f"\nncnn on CPUs: targets of one chip at the same threads, {len(found)} chips: {as_is:.1f} "
        f"% apart, {scaled_:.1f} % after one factor (median of chips' medians)"
    )


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of help and public")
    data = parser.parse_args().data
    print(machine())
    _nas_bench_201(data / "help")
    _ofa(data / "help")
    _versions(data / "public" / "timm")
    _boards(data / "public" / "ncnn")


if __name__ == "__main__":
    main()
