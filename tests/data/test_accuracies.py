"""Reading tables of accuracies."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.data import ACCURACY, Dataset, read, read_accuracies
from latcast.models.accuracy import TableAccuracy
from latcast.spaces import Archs, space

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def cells(n: int, seed: int = 0) -> Archs:
    return space("nasbench201").sample(4 * n, seed).unique()[:n]


def strings(archs: Archs) -> list[str]:
    return [a["arch"] for a in archs.to_dicts()]


@given(
    accuracy=st.lists(st.floats(0.02, 1), min_size=1, max_size=8),
    unit=st.sampled_from(["fraction", "percent", "accuracy_percent"]),
)
def test_either_unit_gives_fractions(tmp_path: Path, accuracy: list[float], unit: str) -> None:
    archs = cells(len(accuracy))
    percent = unit != "fraction"
    column = unit if unit == "accuracy_percent" else "accuracy"
    values = [a * 100 if percent else a for a in accuracy]
    path = write(tmp_path / "t.csv", {"arch": strings(archs), column: values})
    data = read_accuracies(path, "nasbench201")
    assert data.archs == archs
    assert (data.quantity, data.target) == (ACCURACY, None)
    assert data.provenance["unit"] == ("percent" if percent else "fraction")
    np.testing.assert_allclose(data.values, accuracy)
    assert data.accuracy is data.values


@pytest.mark.parametrize("form", ["json", "genes"])
def test_both_ways_to_write_an_architecture(tmp_path: Path, form: str) -> None:
    the_space = space("ofa-mobilenet-v3")
    archs = the_space.sample(5, 0)
    columns: dict[str, list[Any]] = {"accuracy": [0.7, 0.71, 0.72, 0.73, 0.74]}
    if form == "json":
        columns["arch"] = [json.dumps(a) for a in archs.to_dicts()]
    else:
        for gene, values in zip(the_space.genes, archs.genes.T.tolist(), strict=True):
            columns[gene.name] = values
    data = read_accuracies(write(tmp_path / "t.csv", columns), the_space)
    assert data.archs == archs
    np.testing.assert_allclose(data.accuracy, columns["accuracy"], rtol=1e-15)
    assert data.provenance["source"] == "t.csv"


def test_a_unit_can_be_stated(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"arch": strings(cells(3)), "accuracy": [0.5, 0.9, 1.0]})
    assert read_accuracies(path, "nasbench201").provenance["unit"] == "fraction"
    stated = read_accuracies(path, "nasbench201", unit="percent")
    np.testing.assert_allclose(stated.accuracy, [0.005, 0.009, 0.01])


@pytest.mark.parametrize(
    ("values", "unit", "message"),
    [
        ([0.7, 0.8, 73], None, "must be fractions or percent, and most are at most 1 but row 2"),
        ([0.7, 0.8, 1.2], "fraction", r"row 2: accuracy in fraction must be from 0 to 1; got 1\.2"),
        ([70, 80, 173], None, "row 2: accuracy in percent must be from 0 to 100; got 173"),
        ([70, -1, 73], None, "row 1: accuracy in percent must be from 0 to 100; got -1"),
        ([0.7, "nan", 0.8], None, "row 1: accuracy must be finite; got nan"),
        ([0.7, "inf", 0.8], None, "row 1: accuracy must be finite; got inf"),
        ([0.7, "", 0.8], None, "row 1: accuracy must be a number"),
        ([0.7, "__import__('os')", 0.8], None, "row 1: accuracy must be a number"),
        ([0.7, 0.8, 0.9], "permille", "the unit must be fraction or percent; got 'permille'"),
    ],
)
def test_wrong_accuracies_are_named(
    tmp_path: Path, values: list[Any], unit: str | None, message: str
) -> None:
    path = write(tmp_path / "t.csv", {"arch": strings(cells(3)), "accuracy": values})
    with pytest.raises(ValueError, match=message):
        read_accuracies(path, "nasbench201", unit=unit)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"arch": [CELL]}, "must have one column 'accuracy' or 'accuracy_percent'; it has arch"),
        ({"arch": [CELL], "accuracy": [1], "accuracy_percent": [1]}, "must have one column"),
        ({"accuracy": [0.5]}, "must have a column 'arch', or one per gene"),
        ({"arch": ["|none~0|"], "accuracy": [0.5]}, r"t.csv, row 0 must be a string like"),
        ({"arch": ["[1].__class__"], "accuracy": [0.5]}, "t.csv, row 0"),
    ],
)
def test_wrong_columns_are_named(
    tmp_path: Path, columns: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_accuracies(write(tmp_path / "t.csv", columns), "nasbench201")


def test_what_a_table_does_not_tell(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"arch": [CELL], "accuracy_percent": [50]})
    with pytest.raises(ValueError, match="'accuracy_percent' is in percent; asked for fractions"):
        read_accuracies(path, "nasbench201", unit="fraction")
    with pytest.raises(ValueError, match="does not tell its search space: give --space"):
        read_accuracies(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_accuracies(tmp_path / "other.csv", "nasbench201")


# -- HELP's list --------------------------------------------------------------------------------


def test_the_list_of_help(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    archs = cells(3)
    lines = [f"{s}, {a}, 0.001" for s, a in zip(strings(archs), (73.1, 1.0, 70), strict=True)]
    path.write_text("\n".join(["116.99", *lines, ""]))
    data = read_accuracies(path)
    assert data.archs == archs
    np.testing.assert_allclose(data.accuracy, [0.731, 0.01, 0.7])
    assert (data.provenance["unit"], data.provenance["licence"]) == ("percent", "MIT")
    with pytest.raises(ValueError, match="of nasbench201; asked for fbnet"):
        read_accuracies(path, "fbnet")
    with pytest.raises(ValueError, match="is in percent"):
        read_accuracies(path, unit="fraction")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{CELL}, 73.1", "row 1: a line must be an architecture, its accuracy in percent"),
        (f"{CELL}, much, 0.1", "row 1: a line must be an architecture"),
        (f"{CELL}, 730, 0.1", "row 1: accuracy in percent must be from 0 to 100; got 730"),
        ("|none~0|, 73, 0.1", "architecture 1 must be a string like"),
        ("|\xff, 70, 0.1", r"list\.txt must be text in UTF-8; got: .* byte 0xff"),
    ],
)
def test_a_wrong_line_of_help_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(f"1.0\n{CELL}, 70, 0.1\n{line}\n".encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        read_accuracies(path)


def test_help_s_own_file(shared: Path) -> None:
    data = read_accuracies(shared / "help" / "nasbench201" / "arch_generated_by_metad2a.txt")
    assert len(data) == 500
    assert data.accuracy.max() == pytest.approx(0.735133, abs=1e-6)
    table = TableAccuracy.of(data)
    np.testing.assert_array_equal(table.predict(data.archs[::-1]), data.accuracy[::-1])


def test_accuracies_are_saved_as_every_dataset(tmp_path: Path) -> None:
    data = Dataset(cells(4), [0.7, 0.71, 0.72, 0.73], quantity="accuracy")
    data.save(tmp_path / "a.parquet")
    loaded = read(tmp_path / "a.parquet", quantity="accuracy")
    np.testing.assert_array_equal(loaded.values, data.values)
    assert (loaded.archs, loaded.target, loaded.quantity) == (data.archs, None, ACCURACY)
    with pytest.raises(ValueError, match="is of accuracy; asked for latency_ms"):
        read(tmp_path / "a.parquet", quantity="latency_ms")
    with pytest.raises(ValueError, match="this needs values of latency_ms; got accuracy"):
        _ = loaded.latency_ms
