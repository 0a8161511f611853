"""What suits one target best given another: where the default variances of adapting come from.

Prints median and deviation of the logarithm of every term's variance over pairs of targets: of our
own datasets, and of HELP's train and validation targets in NAS-Bench-201.
`latcast.models.transfer.DEFAULTS` holds them, rounded. Targets on which adapting is scored in
docs/results take no part.
"""

from __future__ import annotations

import argparse
from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from _sources import measured_files

from latcast.data import Dataset, read_latencies
from latcast.math.gaussian_process import OPTIMIZED_ROWS, maximize_evidence
from latcast.math.robust import robust_deviation
from latcast.models import Bayes
from latcast.models.adaptation import adaptation_prior
from latcast.models.transfer import Hyperprior

SCORED = ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss")
BASE_ROWS = 700
PAIRS = 40
WIDE = 6.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with help/")
    parser.add_argument("--measured", type=Path, required=True, help="folder of our datasets")
    arguments = parser.parse_args()
    cells = (arguments.data / "help" / "nasbench201" / "latency").glob("*.pt")
    groups = [
        list(measured_files(arguments.measured).values()),
        sorted(path for path in cells if path.stem not in SCORED),
    ]
    found: dict[str, list[float]] = {}
    for paths in groups:
        for term, values in _over_pairs(paths).items():
            found.setdefault(term, []).extend(values)
            print(f"{paths[0].parent}: {term:9} {np.median(values):6.1f} ± {_spread(values):.1f}")
    print("\nall")
    for term, values in found.items():
        print(f"{term:9} {np.median(values):6.1f} ± {_spread(values):.1f}")


def _over_pairs(paths: list[Path]) -> dict[str, list[float]]:
    """Term -> log variances that suit pairs of one space's targets."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(np.array(list(permutations(range(len(paths)), 2))))[:PAIRS]
    parts = {n: _part(read_latencies(paths[n]), rng) for n in np.unique(chosen).tolist()}
    bases = {n: Bayes().fit(parts[n]) for n in np.unique(chosen[:, 0]).tolist()}
    result: dict[str, list[float]] = {}
    for base, target in chosen.tolist():
        for term, value in _best(bases[base], parts[target]).items():
            result.setdefault(term, []).append(value)
    return result


def _best(base: Bayes, data: Dataset) -> dict[str, float]:
    data = data[:OPTIMIZED_ROWS]
    prior = adaptation_prior(base, base.fitted.seen)
    archs = data.archs.space.expand(data.archs)
    mean = prior.mean(archs)
    scale = float(np.median(data.latency_ms / mean))
    kernels: npt.NDArray[np.float64] = np.stack([f @ f.T for f in prior.design(archs, mean)])
    start = Hyperprior.default(prior.terms).centre
    residual = data.latency_ms / scale - mean
    values = maximize_evidence(kernels, residual, start, deviation=WIDE)
    return dict(zip(prior.terms, values.tolist(), strict=True))


def _part(data: Dataset, rng: np.random.Generator) -> Dataset:
    data = data.valid()
    return data[rng.permutation(len(data))[:BASE_ROWS]]


def _spread(values: list[float]) -> float:
    return robust_deviation(np.array(values))


if __name__ == "__main__":
    main()
