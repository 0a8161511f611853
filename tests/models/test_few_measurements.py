"""What a handful of measurements is worth on targets that were really measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast.data import Dataset, paper_split, read
from latcast.models import Bayes, Predictor

pytestmark = pytest.mark.slow

DATASETS = Path(__file__).parents[2] / "datasets"
SEEDS = 6


def draws(data: Dataset, samples: int) -> list[Dataset]:
    rngs = [np.random.default_rng(seed) for seed in range(SEEDS)]
    return [data[rng.choice(len(data), samples, replace=False)] for rng in rngs]


def error(predicted: np.ndarray, data: Dataset) -> float:
    return 100 * float(np.abs(predicted / data.latency_ms - 1).mean())


def scaled(base: Predictor, few: Dataset, test: Dataset) -> np.ndarray:
    factor = np.median(few.latency_ms / base.predict(few.archs))
    return np.asarray(factor * base.predict(test.archs))


@pytest.mark.parametrize(("runtime", "most"), [("ncnn", 3.0), ("mnn", 3.25), ("openvino", 1.6)])
def test_ten_of_another_runtime(runtime: str, most: float) -> None:
    base = latcast.load("epyc-genoa-2c-onnxruntime-b1-t1")
    data = read(DATASETS / f"epyc-genoa-2c_{runtime}_b1_t1.parquet")
    train, test = data[:500], data[500:]
    few = draws(train, 10)
    ours = np.mean([error(base.adapt(f).predict(test.archs), test) for f in few])
    assert ours < most
    assert ours < np.mean([error(scaled(base, f, test), test) for f in few])


@pytest.mark.parametrize("name", ["RTX_2080_Ti_GPU_ofa", "Tesla_P40_GPU_ofa"])
def test_a_phone_helps_with_a_gpu(shared: Path, name: str) -> None:
    base = latcast.load("samsung-note10")
    data = read(shared / "ofanas" / "datasets" / f"{name}.csv")
    train, _, test = paper_split(data)
    few = draws(train, 12)
    ours = np.mean([error(base.adapt(f).predict(test.archs), test) for f in few])
    assert ours < np.mean([error(scaled(base, f, test), test) for f in few])
    assert ours < np.mean([error(Bayes().fit(f).predict(test.archs), test) for f in few])
