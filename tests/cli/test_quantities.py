"""What is not a latency is told in its own unit, by every command that tells values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.data import ENERGY_MJ, Dataset
from latcast.models import load
from latcast.models.forecast import forecast
from latcast.report.record import read_record
from latcast.search.request import find_predictors
from latcast.spaces import SearchSpace, space

SPACE = space("nasbench201")
OFA = space("ofa-mobilenet-v3")
PEAK = "peak_memory_mb"


def _dataset(
    folder: Path, quantity: str, device: str, level: float, of: SearchSpace = SPACE
) -> str:
    """Values that grow with MACs, 2 % of noise."""
    archs = of.sample(120, seed=1)
    macs = of.costs(archs)["macs"].to_numpy()
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
    model = str(tmp_path / "e.latcast")
    latcast("train", energy, "--predictor", "flops", "--out", model)
    base = str(tmp_path / "base.latcast")
    for code, message, *command in (
        (1, "needs values of energy_mj", "train", energy, memory, "--out", base),
        (1, "is of energy_mj; asked for latency_ms", "tune", energy, "--trials", "1"),
    ):
        assert message in latcast.error(*command, code=code)
    with pytest.raises(ValueError, match="budgets are of latencies; got a model of energies"):
        find_predictors(SPACE, model)


@pytest.fixture
def models(latcast: Any, tmp_path: Path) -> dict[str, str]:
    """Models of one target that were trained from the command line, by their quantity."""
    found = {}
    for name, level in (("latency_ms", 5.0), ("energy_mj", 40.0), ("peak_memory_mb", 20.0)):
        folder = tmp_path / name
        folder.mkdir()
        data, found[name] = _dataset(folder, name, "box", level, OFA), str(folder / "m.latcast")
        latcast("train", data, "--predictor", "flops", "--out", found[name])
    return found


@pytest.mark.slow
def test_a_search_is_limited_by_every_quantity(
    latcast: Any, models: dict[str, str], tmp_path: Path
) -> None:
    energy, memory = find_predictors(OFA, models["energy_mj"], ENERGY_MJ)[0], models[PEAK]
    search = ("search", "--device", models["latency_ms"], "--method", "random",
              "--evaluations", "2000", "--energy", models["energy_mj"])  # fmt: skip
    free = latcast.json(*search)["front"]
    assert free[-1]["energy_mj"] > free[0]["energy_mj"] > 0
    limit = float(np.quantile([n["energy_mj"] for n in free], 0.5))
    # Alone; beside a budget; and with a confidence, by the bounds of both.
    alone = latcast.json(*search, "--max-energy", limit)
    assert alone["limits"] == {"energy_mj": limit}
    assert 0 < max(n["energy_mj"] for n in alone["front"]) <= limit
    best = max(n["accuracy"] for n in alone["front"])
    text = latcast(*search, "--max-energy", limit).stdout
    assert f"most accurate within energy of {limit:.4g} mJ: {100 * best:.2f}" in text
    beside = latcast.json(*search, "--max-energy", limit, "--max-latency", "1e6")["found"]
    assert beside[0]["accuracy"] == best
    sure = latcast.json(*search, "--max-energy", limit, "--confidence", "0.8")["front"]
    assert max(n["energy_mj"] for n in sure) < max(n["energy_mj"] for n in alone["front"])
    both = latcast.json(*search, "--memory", memory, "--max-memory", "1GB")["front"]
    assert all(n["peak_memory_mb"] > 0 for n in both)
    archs = OFA.parse([n["arch"] for n in free])
    assert energy.predict(archs) == pytest.approx([n["energy_mj"] for n in free])
    message = latcast.error(*search, "--max-energy", "1e-3", code=1)
    assert "exceeds energy of 0.001 mJ" in message
    checkpoint = str(tmp_path / "c.npz")
    latcast(*search, "--max-energy", limit, "--checkpoint", checkpoint)
    again = (*search, "--checkpoint", checkpoint, "--resume")
    message = latcast.error(*again, "--max-energy", 2 * limit, code=2)
    assert f"was [['energy of {limit:.4g} mJ'" in message


@pytest.mark.slow
def test_what_is_wrong_about_limits_is_told(latcast: Any, models: dict[str, str]) -> None:
    search = ("search", "--device", models["latency_ms"])
    for message, *options in (
        ("--max-energy needs a model of it: --energy FILE", "--max-energy", "5"),
        ("a limit in mJ is of energies; got a model of latencies", "--energy",
         models["latency_ms"]),
        ("must be positive and finite; got -1", "--energy", models["energy_mj"],
         "--max-energy=-1"),
        ("go without --verify", "--energy", models["energy_mj"], "--verify", "3"),
    ):  # fmt: skip
        assert message in latcast.error(*search, *options, code=2)


@pytest.mark.slow
def test_energy_is_forecast_in_its_unit(
    latcast: Any, models: dict[str, str], tmp_path: Path
) -> None:
    archs = OFA.sample(3, seed=0)
    file, model = tmp_path / "archs.json", models["energy_mj"]
    file.write_text(json.dumps(archs.to_dicts()))
    found = latcast.json("predict", file, "--device", model)
    assert (found["schema"], found["unit"]) == ("latcast/quantity-forecast", "mJ")
    values = [n["value"] for n in found["devices"][0]["networks"]]
    assert values == pytest.approx(load(model).predict(archs).tolist())
    assert all(n["lower"] < n["value"] < n["upper"] for n in found["devices"][0]["networks"])
    text = latcast("predict", file, "--device", model).stdout
    assert "energy, mJ" in text
    assert " ms" not in text
    record = forecast(archs, model)
    assert record.to_dict() == found
    assert read_record(found).to_dict() == found
    # Two quantities in one answer would be two units.
    two = ("--device", model, "--device", models["latency_ms"])
    mixed = latcast("predict", file, *two, code=1, partly=True)
    assert "a forecast of energies needs models of them" in mixed.stderr


def test_the_dataset_of_a_quantity_is_found_beside_that_of_latencies(
    latcast: Any, tmp_path: Path
) -> None:
    for name, beside in (("latency_ms", "cpu.parquet"), ("energy_mj", "cpu.energy_mj.parquet")):
        Path(_dataset(tmp_path, name, "box", 3.0)).rename(tmp_path / beside)
    model, data = str(tmp_path / "m.latcast"), str(tmp_path / "cpu.parquet")
    train = ("train", data, "--predictor", "flops", "--out", model)
    assert latcast.json(*train, "--quantity", "energy")["quantity"] == "energy_mj"
    assert latcast.json("evaluate", model, data, "--quantity", "energy_mj")["metrics"]["mae_mj"] > 0
    other = latcast.error("evaluate", model, data, code=1)
    assert "needs values of energy_mj; got latency_ms" in other
    assert "quantity" in latcast.error(*train, "--quantity", "enrgy", code=2)
    alone = latcast.error(*train, "--quantity", "memory", code=1)
    assert "needs values of peak_memory_mb; got latency_ms" in alone
