"""LatencyDataset: slicing, saving, loading, and files that are not what they should be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from latcast.data import LatencyDataset, read
from latcast.devices import Target
from latcast.spaces import space

SPACE = space("ofa-mobilenet-v3")
TARGET = Target("my-phone", "onnxruntime", batch=2, precision="int8", threads=4)
HEADER = {"schema_version": 1, "provenance": {}}


def dataset(n: int = 20) -> LatencyDataset:
    rng = np.random.default_rng(0)
    return LatencyDataset(
        SPACE.sample(n, rng),
        rng.uniform(5, 9, n),
        TARGET,
        order=rng.permutation(n),
        reference_ms=rng.uniform(1, 2, n),
        samples_ms=tuple(rng.uniform(5, 9, k % 4) for k in range(n)),
        provenance={"source": "a test", "licence": "none"},
    )


def assert_same(one: LatencyDataset, other: LatencyDataset) -> None:
    np.testing.assert_array_equal(one.archs.genes, other.archs.genes)
    np.testing.assert_array_equal(one.latency_ms, other.latency_ms)
    np.testing.assert_array_equal(one.order, other.order)
    np.testing.assert_array_equal(one.reference_ms, other.reference_ms)
    for a, b in zip(one.samples_ms, other.samples_ms, strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.target == other.target
    assert one.provenance == other.provenance


def test_parts_make_the_whole_again() -> None:
    data = replace(dataset(), order=np.arange(20))
    assert_same(data[:7].concatenate(), data[:7])
    joined = data[:7].concatenate(data[7:8], data[8:])
    assert_same(replace(joined, order=data.order), data)
    # The second part's positions go on from the first one's last, the third's from there.
    assert joined.order.tolist() == [*range(7), 7 + 7, *range(15 + 8, 15 + 20)]
    bare = LatencyDataset(data.archs, data.latency_ms, TARGET, provenance={"source": "a test"})
    both = data.concatenate(bare)
    assert both.reference_ms is None
    assert both.samples_ms is None
    assert both.provenance == {"source": "a test"}
    other = replace(bare, target=Target("my-phone", "onnxruntime"))
    with pytest.raises(ValueError, match="only measurements of one target can be joined"):
        data.concatenate(other)


@pytest.mark.parametrize(
    "index", [slice(3, 9), slice(None, None, -2), np.array([7, 7, 0]), np.arange(20) % 3 == 0]
)
def test_slicing_keeps_everything_together(index: Any) -> None:
    data = dataset()
    part = data[index]
    for position, row in zip(range(len(part)), np.arange(20)[index], strict=True):
        assert part.archs[position] == data.archs[int(row)]
        assert part.latency_ms[position] == data.latency_ms[row]
        assert part.order[position] == data.order[row]
        assert part.reference_ms[position] == data.reference_ms[row]
        np.testing.assert_array_equal(part.samples_ms[position], data.samples_ms[row])
    assert part.target == data.target


def test_columns_cannot_be_written_to() -> None:
    data = dataset()
    for column in (data.latency_ms, data.order, data.reference_ms, data.samples_ms[1]):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1


def test_the_callers_array_stays_the_callers() -> None:
    latency = np.ones(3)
    data = LatencyDataset(SPACE.sample(3, 0), latency, TARGET)
    latency[0] = 7
    assert data.latency_ms[0] == 1


@pytest.mark.parametrize("name", ["latency_ms", "order", "reference_ms", "samples_ms"])
def test_columns_of_another_length_are_refused(name: str) -> None:
    short = np.ones(2, dtype=int if name == "order" else float)
    arguments = {"latency_ms": np.ones(3), name: short}
    with pytest.raises(ValueError, match=f"{name} must have one"):
        LatencyDataset(SPACE.sample(3, 0), target=TARGET, **arguments)


def test_latencies_are_checked_on_demand() -> None:
    data = LatencyDataset(SPACE.sample(4, 0), [1, np.nan, 0, np.inf], TARGET)
    with pytest.raises(ValueError, match=r"got nan ms in row 1 \(3 such rows\)"):
        data.check_latencies()
    data.valid().check_latencies()
    assert len(data.valid()) == 1


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "data.parquet"
    dataset().save(path)
    assert_same(LatencyDataset.load(path), dataset())
    assert_same(read(path), dataset())


def test_without_optional_columns(tmp_path: Path) -> None:
    data = LatencyDataset(SPACE.sample(3, 0), [1, np.nan, np.inf], TARGET)
    data.save(tmp_path / "a.parquet")
    loaded = LatencyDataset.load(tmp_path / "a.parquet")
    assert loaded.reference_ms is None
    assert loaded.samples_ms is None
    np.testing.assert_array_equal(loaded.latency_ms, data.latency_ms)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "data.parquet"
    dataset().save(path)

    def half(self: pl.DataFrame, target: Path, **_: Any) -> None:
        Path(target).write_bytes(b"PAR1 half")
        raise error

    monkeypatch.setattr(pl.DataFrame, "write_parquet", half)
    with pytest.raises(type(error)):
        dataset(5).save(path)
    assert_same(LatencyDataset.load(path), dataset())
    assert [p.name for p in tmp_path.iterdir()] == ["data.parquet"]


def write(path: Path, metadata: dict[str, str] | None = None, **columns: Any) -> Path:
    """A valid file with some columns or the metadata replaced."""
    dataset().save(path)
    frame = pl.read_parquet(path).with_columns(**columns)
    frame.write_parquet(path, metadata=metadata or {"latcast": json.dumps(HEADER)})
    return path


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"arch": pl.lit("x")}, "arch must hold lists of integers"),
        ({"arch": pl.lit(None, pl.List(pl.UInt8))}, "integers from 0 to 255"),
        ({"arch": pl.Series([[None] * 46] * 20, dtype=pl.List(pl.UInt8))}, "from 0 to 255"),
        ({"arch": pl.Series([[256 + 3] * 46] * 20)}, "integers from 0 to 255"),
        ({"arch": pl.Series([[3] * 45] * 20)}, r"need 46 genes; got lists of \[45\]"),
        ({"arch": pl.Series([[8] * 46] * 20)}, "ks1 must be one of 3, 5, 7; got 8"),
        ({"latency_ms": pl.lit("fast")}, "latency_ms must hold numbers"),
        ({"reference_ms": pl.lit("fast")}, "reference_ms must hold numbers"),
        ({"samples_ms": pl.lit("x")}, "samples_ms must hold lists of numbers"),
        ({"order": pl.lit(None, pl.Int64)}, "order must hold integers"),
        ({"order": pl.lit(0.5)}, "order must hold integers"),
        ({"space": pl.lit("resnet")}, "no search space is called 'resnet'"),
        ({"space": pl.lit(3)}, "space must be text"),
        ({"device": pl.lit(None, pl.String)}, "device must be text"),
        ({"device": pl.lit("../../etc")}, "a target's device must be"),
        ({"batch": pl.lit("many")}, "batch must be an integer"),
        ({"batch": pl.int_range(1, 21)}, "mixes batch"),
        ({"runtime": pl.Series(["a"] * 19 + ["b"])}, "mixes runtime"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatencyDataset.load(write(tmp_path / "bad.parquet", **columns))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"schema_version": 2}', "schema version 2, this latcast reads up to 1: upgrade"),
        ('{"schema_version": true}', "no 'latcast' entry"),
        ('{"schema_version": "1"}', "no 'latcast' entry"),
        ("[1]", "no 'latcast' entry"),
        ("null", "no 'latcast' entry"),
        ("{", "must be a whole Parquet file"),
        ("[" * 100_000, "must be a whole Parquet file"),
        ('{"schema_version": 1, "provenance": [1]}', "provenance must be a mapping"),
    ],
)
def test_bad_metadata_is_refused(tmp_path: Path, header: str, message: str) -> None:
    path = write(tmp_path / "bad.parquet", {"latcast": header})
    with pytest.raises(ValueError, match=message):
        LatencyDataset.load(path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.parquet")
    frame = pl.read_parquet(path).drop("threads")
    frame.write_parquet(path, metadata={"latcast": json.dumps(HEADER)})
    with pytest.raises(ValueError, match="lacks the column 'threads'"):
        LatencyDataset.load(path)


def test_no_rows_and_no_latcast_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    dataset()[:0].save(path)
    with pytest.raises(ValueError, match="holds no rows"):
        LatencyDataset.load(path)
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(ValueError, match="no 'latcast' entry"):
        LatencyDataset.load(path)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    dataset().save(path)
    whole = path.read_bytes()
    for size in [0, 1, 4, *range(10, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="must be a whole Parquet file"):
            LatencyDataset.load(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        LatencyDataset.load(tmp_path / "none.parquet")


def test_asking_for_another_space_or_target_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    dataset().save(path)
    with pytest.raises(ValueError, match="is of space ofa-mobilenet-v3; asked for compofa"):
        read(path, space="compofa-fixed-kernel")
    with pytest.raises(ValueError, match="is of target my-phone"):
        read(path, target="other/onnxruntime/b1")
