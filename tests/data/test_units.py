"""Latencies in another unit are suspected, and milliseconds never are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast import data as data_of
from latcast.data import ENERGY_MJ, Dataset, _audit_units
from latcast.data.audit import audit, unit_doubt
from latcast.devices import Target, device
from latcast.graph import Graph, GraphBuilder
from latcast.spaces import Archs, space

SPACES = ("ofa-mobilenet-v3", "nasbench201", "fbnet")
# Of the catalogue with share of the peak that small networks reach there; None is unknown.
DEVICES = {"raspberry-pi-4": 0.2, "rtx-2080-ti": 0.2, "samsung-note10": 0.1, "a": None}


@cache
def networks(of: str) -> Archs | tuple[Graph, ...]:
    if of != "graphs":
        return space(of).sample(40, seed=1)
    return tuple(map(_graph, range(16, 56)))


def _graph(width: int) -> Graph:
    b = GraphBuilder(1)
    x = b.input(3, 64, 64)
    for _ in range(6):
        x = b.activation(b.conv(x, width, 3, padding=1), "relu")
    return b.build(b.linear(b.global_pool(x), 10))


@cache
def measured(of: str, name: str, batch: int = 1) -> Dataset:
    """Milliseconds by a share of the device's peak, and what kernels take."""
    some, share = networks(of), DEVICES[name]
    macs = [g.macs for g in some] if isinstance(some, tuple) else some.space.costs(some)["macs"]
    rate = 3e9 if share is None else share * (device(name).peak_flops("fp32") or 0) / 2
    ms = batch * np.array(macs) / rate * 1e3 + 1.5
    return Dataset(some, ms, Target(name, "onnxruntime", batch))


def times(data: Dataset, factor: float) -> Dataset:
    return replace(data, values=data.values * factor)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("of", [*SPACES, "graphs"])
@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1.0, None), (0.5, None), (3.0, None), (1e-3, "seconds"), (1e3, "microseconds"),
     (1e6, "nanoseconds")],
)  # fmt: skip
def test_units(of: str, name: str, factor: float, unit: str | None) -> None:
    if (of, name) == ("graphs", "a") and unit is not None:
        pytest.skip("ten kernels of a few MACs are as fast or as slow on some device")
    found = unit_doubt(times(measured(of, name), factor))
    assert (None if found is None else found.unit) == unit
    if found is not None:
        assert found.factor * factor == pytest.approx(1)
        assert found.sentence.startswith(f"latencies look like {unit}, not milliseconds")


@pytest.mark.parametrize("batch", [64, 256])
def test_milliseconds_of_one_sample_of_a_batch(batch: int) -> None:
    whole = measured("ofa-mobilenet-v3", "rtx-2080-ti", batch)
    assert unit_doubt(whole) is None
    found = unit_doubt(times(whole, 1 / batch))
    assert found is not None
    assert found.unit == f"milliseconds of one of the {batch} samples of a batch"
    assert found.factor == batch


@given(st.lists(st.sampled_from([0.0, -1.0, np.nan, np.inf]), max_size=9))
def test_impossible_rows_change_nothing(bad: Sequence[float]) -> None:
    data = measured("nasbench201", "a")
    seconds = times(data, 1e-3)
    for whole, is_doubted in ((data, False), (seconds, True)):
        values = np.concatenate([bad, whole.values[len(bad) :]])
        assert (unit_doubt(replace(whole, values=values)) is not None) == is_doubted


def test_the_audit_says_so_and_only_of_latencies() -> None:
    data = times(measured("ofa-mobilenet-v3", "raspberry-pi-4"), 1e-3)
    (finding,) = (f for f in audit(data) if f.kind == "unit")
    assert (finding.severity, finding.evidence["factor"]) == ("warning", 1000)
    assert finding.advice.startswith("Read the table with --unit s ")
    assert unit_doubt(replace(data, quantity=ENERGY_MJ)) is None
    assert unit_doubt(data[:0]) is None


@pytest.mark.parametrize("name", ["ofa-mobilenet-v3", "nasbench201", "fbnet", "ofa-resnet50"])
@pytest.mark.parametrize(
    "text",
    ["raspberry-pi-4/onnxruntime/b1/t4", "rtx-2080-ti/pytorch/b64", "samsung-note10/mnn/b1",
     "nowhere/onnxruntime/b2"],
)  # fmt: skip
def test_what_blocks_tell_lies_around_what_kernels_do(name: str, text: str) -> None:
    target = Target.parse(text)
    archs = space(name).sample(6, 1)
    facts = _audit_units._facts(target)
    exact = _audit_units._Work.of(Dataset(archs, np.ones(6), target), facts)
    fewest, most = _audit_units._Work.around(archs, facts, target)
    for part in ("kernels", "macs", "bound_ms"):
        below, value, above = (getattr(x, part) for x in (fewest, exact, most))
        assert (below <= value).all()
        assert (value <= above * (1 + 1e-12)).all()


def test_latencies_that_are_plausible_by_far_need_no_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_audit_units._Work, "of", lambda *_: pytest.fail("kernels were counted"))
    archs = space("ofa-mobilenet-v3").sample(6, 1)
    for text, ms in (("raspberry-pi-4/onnxruntime/b1/t4", 80.0), ("nowhere/onnxruntime/b1", 30.0)):
        assert unit_doubt(Dataset(archs, np.full(6, ms), Target.parse(text))) is None


@pytest.mark.parametrize("column", ["latency_ms", "latency", "child_arch"])
@pytest.mark.parametrize(("unit", "factor"), data_of.LATENCY_UNITS.items())
def test_a_table_is_read_in_its_unit(tmp_path: Path, column: str, unit: str, factor: float) -> None:
    archs = space("ofa-mobilenet-v3").sample(3, seed=1)
    name = column if column != "child_arch" else "latency"
    path = tmp_path / "mine.csv"
    rows = {
        "child_arch" if column == "child_arch" else "arch": map(json.dumps, archs.to_dicts()),
        name: np.array([20.0, 30.0, 40.0]) / factor,
    }
    pl.DataFrame(rows).write_csv(path)
    given = {"space": "ofa-mobilenet-v3", "target": "my-phone/onnxruntime/b1"}
    data = data_of.read(path, unit=unit, **given)
    assert data.values.tolist() == pytest.approx([20.0, 30.0, 40.0])
    assert data.provenance["unit"] == unit
    if column == "latency":
        with pytest.raises(
            ValueError, match="'latency' does not tell its unit: give --unit s, ms,"
        ):
            data_of.read(path, **given)
    data.save(tmp_path / "mine.parquet")
    assert (
        data_of.read(tmp_path / "mine.parquet", unit="ms").values.tolist() == data.values.tolist()
    )
    with pytest.raises(ValueError, match="latcast's own, whose latencies are milliseconds"):
        data_of.read(tmp_path / "mine.parquet", unit="s")
    with pytest.raises(ValueError, match="the unit must be s, ms, us or ns; got 'min'"):
        data_of.read_latencies(path, unit="min", **given)


@pytest.mark.parametrize(("unit", "factor"), data_of.LATENCY_UNITS.items())
def test_a_column_tells_its_unit(tmp_path: Path, unit: str, factor: float) -> None:
    archs = space("ofa-mobilenet-v3").sample(2, seed=1)
    path, given = tmp_path / "mine.csv", {"space": "ofa-mobilenet-v3", "target": "p/ncnn/b1"}
    rows = {"arch": list(map(json.dumps, archs.to_dicts()))}
    ms = np.array([20.0, 30.0])
    pl.DataFrame({**rows, f"latency_{unit}": ms / factor}).write_csv(path)
    found = data_of.read(path, unit=unit, **given).values
    assert found.tolist() == pytest.approx(ms.tolist())
    if unit != "ms":
        with pytest.raises(ValueError, match=f"lacks the column 'latency_ms'; .* --unit {unit} "):
            data_of.read(path, **given)
    frame = pl.DataFrame({**rows, "latency": ms / factor})
    found = data_of.read(frame, unit=unit, **given).values
    assert found.tolist() == pytest.approx(ms.tolist())
    if unit != "ms":
        other = "us" if unit == "s" else "s"
        with pytest.raises(ValueError, match=f"'latency_{unit}' is in {unit}; asked for {other}"):
            data_of.read(path, unit=other, **given)
    pl.DataFrame({**rows, "latency_s": ms, "latency_us": ms}).write_csv(path)
    with pytest.raises(ValueError, match="one column of latencies; it has latency_s, latency_us"):
        data_of.read(path, **given)
    pl.DataFrame({**rows, "time": ms}).write_csv(path)
    with pytest.raises(ValueError, match=r"lacks the column 'latency_ms' \(or latency_s, "):
        data_of.read(path, **given)
