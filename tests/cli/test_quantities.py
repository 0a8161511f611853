"""What is not a latency is told in its own unit, by every command that tells values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.data import Dataset
from latcast.search.request import find_predictors
from latcast.spaces import space

SPACE = space("nasbench201")


def _dataset(folder: Path, quantity: str, device: str, level: float) -> str:
    """Values that grow with MACs, 2 % of noise."""
    archs = SPACE.sample(120, seed=1)
    macs = SPACE.costs(archs)["macs"].to_numpy()
    noise = np.random.default_rng(0).normal(0, 0.02, len(archs))
    values = level * (1 + macs / 1e7) * np.exp(noise)
    path = folder / f"{device}.parquet"
    Dataset(archs, values, f"{device}/onnxruntime/b1", quantity).save(path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(("quantity", "unit"), [("energy_mj", "mJ"), ("peak_memory_mb", "MB")])
def test_units_are_those_of_the_quantity(
    latcast: Any, tmp_path: Path, quantity: str, unit: str
) -> None:
    one, other = (_dataset(tmp_path, quantity, f"box-{n}", n) for n in (1, 2))
    model, base, adapted = (str(tmp_path / f"{n}.latcast") for n in ("model", "base", "adapted"))
    for command in (
        ("train", one, "--predictor", "flops", "--out", model),
        ("evaluate", model, one),
        ("adapt", model, other, "--samples", "20", "--out", adapted),
        ("train", one, other, "--out", base),
        ("adapt", base, other, "--samples", "20", "--out", adapted),
        ("models", adapted),
    ):
        text, found = latcast(*command).stdout, latcast.json(*command)
        assert " ms" not in text
        assert found["quantity"] == quantity
        if "targets" in found:
            assert all(t["mae"] > 0 and t["mae_ms"] is None for t in found["targets"])
        else:
            assert f"MAE, {unit}" in text
            metrics = found.get("metrics") or found["card"]["metrics"]
            assert metrics[f"mae_{unit.lower()}"] > 0
    assert " ms" not in latcast("audit", one).stdout


def test_other_values_are_never_told_as_latencies(latcast: Any, tmp_path: Path) -> None:
    """Where only latencies make sense, a model of energies is refused, as are mixed targets."""
    energy = _dataset(tmp_path, "energy_mj", "box-1", 1.0)
    memory = _dataset(tmp_path, "peak_memory_mb", "box-2", 1.0)
    model, archs = str(tmp_path / "e.latcast"), tmp_path / "archs.json"
    latcast("train", energy, "--predictor", "flops", "--out", model)
    archs.write_text(json.dumps(SPACE.sample(2, seed=0).to_dicts()))
    base = str(tmp_path / "base.latcast")
    for code, message, *command in (
        (2, "is one of energies in mJ", "predict", str(archs), "--device", model),
        (1, "needs values of energy_mj", "train", energy, memory, "--out", base),
        (1, "is of energy_mj; asked for latency_ms", "tune", energy, "--trials", "1"),
    ):
        assert message in latcast.error(*command, code=code)
    with pytest.raises(ValueError, match="budgets are of latencies; got a model of energies"):
        find_predictors(SPACE, model)
