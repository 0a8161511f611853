"""Tables of accuracies of our own making."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast._model_file import ModelFile, read_model, write_model
from latcast.data import ACCURACY, Dataset
from latcast.spaces import Archs, space

Truth = Callable[[Archs], "np.ndarray[tuple[int], np.dtype[np.float64]]"]


Rewrite = Callable[[Path, dict[str, Any], dict[str, Any]], None]


def saturating(archs: Archs) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """More MACs help less and less, and every gene has an effect of its own."""
    macs = archs.space.costs(archs)["macs"].to_numpy()
    x = archs.space.one_hot(archs)
    effects: Any = np.random.default_rng(5).normal(0, 0.006, x.shape[1])
    return np.asarray(0.72 + 0.04 * np.tanh(np.log(macs / 1e8)) + x @ effects)


@pytest.fixture(scope="session")
def truth() -> Truth:
    return saturating


@pytest.fixture(scope="session")
def cells() -> Dataset:
    """150 cells of NAS-Bench-201, with noise of 0.2 % points."""
    return _table("nasbench201", 150)


@pytest.fixture(scope="session")
def mobile() -> Dataset:
    """120 OFA networks at three resolutions, with noise of 0.2 % points."""
    return _table("ofa-mobilenet-v3", 120)


def _table(name: str, n: int) -> Dataset:
    rng = np.random.default_rng(3)
    the_space = space(name)
    restrict = {"r": [160, 192, 224]} if "ofa" in name else None
    archs = the_space.sample(n, rng, restrict=restrict).unique()
    accuracy = saturating(archs) + rng.normal(0, 0.002, len(archs))
    provenance = {"source": "made up", "licence": "none"}
    return Dataset(archs, accuracy, quantity=ACCURACY, provenance=provenance)


@pytest.fixture(scope="session")
def rewrite() -> Rewrite:
    """Changes header entries and tensors of a model file; None removes one."""

    def change(path: Path, header: dict[str, Any], tensors: dict[str, Any]) -> None:
        old = read_model(path)
        changed = ({k: v for k, v in new.items() if v is not None}
                   for new in (old.header | header, old.tensors | tensors))  # fmt: skip
        write_model(path, ModelFile(*changed))

    return change
