"""How sensitive adapting and the default predictor are to the constants that were tuned.

Prints mean error, and share of latencies inside of the 90 % interval, with each constant halved and
doubled; comments beside the constants quote it. Targets are our own datasets: adapting goes from
ONNX Runtime, and from a base model of it and OpenVINO, to the other runtimes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np

from latcast.data import Dataset, read
from latcast.models import BaseModel, Roofline
from latcast.models.evaluation import evaluate

BASES = ("onnxruntime", "openvino")
TARGETS = ("ncnn", "mnn", "openvino")
SEEDS = 4
TEST_ROWS = 500

ADAPTING = (
    ("models.transfer", "SPREAD"), ("models.transfer", "MAX_SHRUNK"),
    ("models.transfer", "PRIOR_WEIGHT"), ("models.transfer", "TAIL_FREEDOM"),
    ("models.transfer", "OUTLIER"), ("models.features", "POPULATION"),
    ("math.gaussian_process", "SUBSET"), ("math.gaussian_process", "KEPT"),
    ("math.gaussian_process", "OPTIMIZED_ROWS"),
)  # fmt: skip
FITTING = (
    ("models.roofline", "PHYSICS_PENALTY"), ("models.roofline", "BASE_PENALTY"),
    ("models.roofline", "FEW_BASE_PENALTY"), ("models.roofline", "FEW"),
    ("models.roofline", "ROW_FACTOR"), ("models.roofline", "FIRST_CORRECTION_PENALTY"),
    ("models.roofline", "MIN_REACHED"), ("models.roofline", "ROBUST_ROUNDS"),
)  # fmt: skip

Protocol = Callable[[int], list[dict[str, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measured", type=Path, default=Path("datasets"))
    folder = parser.parse_args().measured
    data = {r: read(folder / f"epyc-genoa-2c_{r}_b1_t1.parquet") for r in {*BASES, *TARGETS}}
    predictor = Roofline().fit(data[BASES[0]])
    base = BaseModel().fit([data[runtime] for runtime in BASES])

    def adapting(rows: int) -> list[dict[str, float]]:
        found = [(predictor, data[t]) for t in TARGETS]
        found += [(base, data[t]) for t in TARGETS if t not in BASES]  # type: ignore[misc]
        return [evaluate(b.adapt(few), d[TEST_ROWS:]) for b, d in found for few in _draws(d, rows)]

    def fitting(rows: int) -> list[dict[str, float]]:
        return [
            evaluate(Roofline().fit(few), data[r][TEST_ROWS:])
            for r in TARGETS
            for few in _draws(data[r], rows)
        ]

    _print("adapting", adapting, (3, 10, 100), ADAPTING)
    _print("fitting", fitting, (50, 200), FITTING)


def _print(
    title: str, protocol: Protocol, sizes: tuple[int, ...], constants: tuple[tuple[str, str], ...]
) -> None:
    print(f"{title:30}" + "".join(f"{n:>8} rows: error, covers" for n in sizes))
    print(f"{'as it is':30}" + "".join(map(_scores, map(protocol, sizes))))
    for (module, name), factor in product(constants, (0.5, 2.0)):
        with _scaled(f"latcast.{module}", name, factor):
            print(f"{name} x {factor:<4}".ljust(30) + "".join(map(_scores, map(protocol, sizes))))


def _scores(found: list[dict[str, float]]) -> str:
    covered = [f["coverage_90"] for f in found if "coverage_90" in f]
    error = np.mean([f["mape"] for f in found])
    return f"{error:18.2f} %" + (f"{np.mean(covered):9.1f}" if covered else f"{'–':>9}")


def _draws(data: Dataset, rows: int) -> Iterator[Dataset]:
    for seed in range(SEEDS):
        yield data[np.random.default_rng(seed).choice(TEST_ROWS, rows, replace=False)]


@contextmanager
def _scaled(module: str, name: str, factor: float) -> Iterator[None]:
    """A module's constant multiplied by a factor; whole numbers stay whole."""
    where = import_module(module)
    value = getattr(where, name)
    try:
        setattr(where, name, type(value)(value * factor))
        yield
    finally:
        setattr(where, name, value)


if __name__ == "__main__":
    main()
