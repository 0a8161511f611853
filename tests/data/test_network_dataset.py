"""NetworkDataset: slicing, joining, saving, and files that are not what they should be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from latcast.data import LatencyDataset, NetworkDataset, read, read_latencies
from latcast.devices import Target
from latcast.graph import GRAPH_INPUT, Graph, Layer
from latcast.spaces import space

TARGET = Target("my-phone", "onnxruntime", batch=2, threads=4)
HEADER = {"schema_version": 1, "provenance": {}, "kind": "networks"}


def graph(layers: int) -> Graph:
    """A chain of convolutions."""
    shape = (2, 8, 7, 7)
    return Graph(
        tuple(
            Layer(
                f"conv_{n}", "conv", "Conv", (n - 1 if n else GRAPH_INPUT,), (shape,), (shape,),
                params=576, param_bytes=2304, window=(3, 3),
            )
            for n in range(layers)
        ),
        f"chain-{layers}",
        (layers - 1,),
    )  # fmt: skip


def dataset(n: int = 12) -> NetworkDataset:
    rng = np.random.default_rng(0)
    graphs = tuple(graph(1 + k % 3) for k in range(n))
    return NetworkDataset(
        graphs,
        tuple(f"chain(layers={k})" for k in range(n)),
        tuple("chain" if k % 2 else "" for k in range(n)),
        rng.uniform(5, 9, n),
        TARGET,
        order=rng.permutation(n),
        reference_ms=rng.uniform(1, 2, n),
        samples_ms=tuple(rng.uniform(5, 9, k % 4) for k in range(n)),
        uncorrected_ms=rng.uniform(5, 9, n),
        standard_error=rng.uniform(0, 0.1, n),
        layers_ms=tuple(np.where(rng.random(len(g)) < 0.5, np.nan, 1.5) for g in graphs),
        provenance={"source": "a test", "licence": "none"},
    )


def assert_same(one: NetworkDataset, other: NetworkDataset) -> None:
    assert (one.graphs, one.names, one.families) == (other.graphs, other.names, other.families)
    for name in ("latency_ms", "order", "reference_ms", "uncorrected_ms", "standard_error"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("samples_ms", "layers_ms"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(a, b)
    assert one.target == other.target
    assert one.provenance == other.provenance


@pytest.mark.parametrize(
    "index", [3, slice(3, 9), slice(None, None, -2), np.array([7, 7, 0]), np.arange(12) % 3 == 0]
)
def test_slicing_keeps_everything_together(index: Any) -> None:
    data = dataset()
    part = data[index]
    rows = np.atleast_1d(np.arange(12)[index]).tolist()
    assert part.names == tuple(data.names[i] for i in rows)
    assert part.families == tuple(data.families[i] for i in rows)
    assert part.graphs == tuple(data.graphs[i] for i in rows)
    for name in ("latency_ms", "order", "standard_error"):
        np.testing.assert_array_equal(getattr(part, name), getattr(data, name)[rows])
    for one, row in zip(part.layers_ms, rows, strict=True):
        np.testing.assert_array_equal(one, data.layers_ms[row])


def test_parts_make_the_whole_again() -> None:
    data = replace(dataset(), order=np.arange(12))
    joined = data[:5].concatenate(data[5:6], data[6:])
    assert_same(replace(joined, order=data.order), data)
    bare = NetworkDataset(data.graphs, data.names, data.families, data.latency_ms, TARGET)
    both = data.concatenate(bare)
    assert len(both) == 24
    assert both.layers_ms is None
    assert both.provenance == {}
    other = replace(bare, target=Target("my-phone", "onnxruntime"))
    with pytest.raises(ValueError, match="only measurements of one target can be joined"):
        data.concatenate(other)


def test_columns_cannot_be_written_to() -> None:
    data = dataset()
    for column in (data.latency_ms, data.order, data.layers_ms[1], data.samples_ms[1]):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("names", ("a",), r"names must have one entry per network \(12\); got 1"),
        ("families", ("a",) * 13, r"families must have one entry per network \(12\); got 13"),
        ("latency_ms", np.ones(2), r"latency_ms must have one value per network, shape \(12,\)"),
        ("samples_ms", ((1.0,),), r"samples_ms must have one list per network \(12\)"),
        ("layers_ms", ((1.0,),), "layers_ms must have one array per network"),
        ("layers_ms", ((1.0,),) * 12, r"graphs of \[1, 2, 3"),
        ("layers_ms", (1.0,) * 12, r"arrays of \[0, 0"),
    ],
)
def test_columns_of_another_length_are_refused(name: str, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(dataset(), **{name: values})


def test_latencies_are_checked_on_demand() -> None:
    data = replace(dataset(4), latency_ms=[1, np.nan, 0, np.inf])
    with pytest.raises(ValueError, match=r"got nan ms in row 1 \(3 such rows\)"):
        data.check_latencies()
    data.valid().check_latencies()
    assert data.valid().names == data.names[:1]


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "data.parquet"
    dataset().save(path)
    assert_same(NetworkDataset.load(path), dataset())
    assert_same(read(path), dataset())  # type: ignore[arg-type]
    assert_same(read(path, target=str(TARGET)), dataset())  # type: ignore[arg-type]


def test_without_optional_columns(tmp_path: Path) -> None:
    data = NetworkDataset((graph(1),), ["a"], ["b"], [np.nan], str(TARGET))  # type: ignore[arg-type]
    data.save(tmp_path / "a.parquet")
    loaded = NetworkDataset.load(tmp_path / "a.parquet")
    assert loaded.layers_ms is None
    assert loaded.samples_ms is None
    assert loaded.names == ("a",)
    assert np.isnan(loaded.latency_ms).all()


def test_each_kind_of_file_is_read_as_what_it_is(tmp_path: Path) -> None:
    networks, archs = tmp_path / "networks.parquet", tmp_path / "archs.parquet"
    dataset().save(networks)
    LatencyDataset(space("ofa-mobilenet-v3").sample(3, 0), np.ones(3), TARGET).save(archs)
    assert isinstance(read(networks), NetworkDataset)
    assert isinstance(read(archs), LatencyDataset)
    for reader in (LatencyDataset.load, read_latencies):
        with pytest.raises(ValueError, match="must be a LatencyDataset; it is a NetworkDataset"):
            reader(networks)
    with pytest.raises(ValueError, match="must be a NetworkDataset; it is a LatencyDataset"):
        NetworkDataset.load(archs)
    with pytest.raises(ValueError, match="leave the space out"):
        read(networks, space="ofa-mobilenet-v3")
    with pytest.raises(ValueError, match="is of target my-phone/onnxruntime/b2/t4; asked for"):
        read(networks, target="other/onnxruntime/b1")


def write(path: Path, metadata: dict[str, str] | None = None, **columns: Any) -> Path:
    """A valid file with some columns or the metadata replaced."""
    dataset().save(path)
    frame = pl.read_parquet(path).with_columns(**columns)
    frame.write_parquet(path, metadata=metadata or {"latcast": json.dumps(HEADER)})
    return path


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"graph": pl.lit("x")}, "a graph must be JSON as latcast writes it"),
        ({"graph": pl.lit('{"name":"a","outputs":[],"layers":[]}')}, "at least one layer"),
        ({"graph": pl.lit(3)}, "graph must be text"),
        ({"name": pl.lit(None, pl.String)}, "name must be text"),
        ({"family": pl.lit(1.0)}, "family must be text"),
        ({"layers_ms": pl.lit("x")}, "layers_ms must hold lists of numbers"),
        ({"layers_ms": pl.Series([[1.0]] * 12)}, "a value for each layer"),
        ({"layers_ms": pl.lit(None, pl.List(pl.Float64))}, "a value for each layer"),
        ({"latency_ms": pl.lit("fast")}, "latency_ms must hold numbers"),
        ({"order": pl.lit(0.5)}, "order must hold integers"),
        ({"batch": pl.int_range(1, 13)}, "mixes batch"),
        ({"device": pl.lit("../../etc")}, "a target's device must be"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkDataset.load(write(tmp_path / "bad.parquet", **columns))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"schema_version": 2, "kind": "networks"}', "schema version 2, this latcast reads up to"),
        ('{"schema_version": 1, "kind": "forecasts"}', "kind must be networks or left out"),
        ('{"schema_version": 1, "kind": ["networks"]}', "kind must be networks or left out"),
        ("null", "must be a NetworkDataset written by latcast"),
    ],
)
def test_bad_metadata_is_refused(tmp_path: Path, header: str, message: str) -> None:
    path = write(tmp_path / "bad.parquet", {"latcast": header})
    with pytest.raises(ValueError, match=message):
        NetworkDataset.load(path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.parquet")
    frame = pl.read_parquet(path).drop("graph")
    frame.write_parquet(path, metadata={"latcast": json.dumps(HEADER)})
    with pytest.raises(ValueError, match="lacks the column 'graph' of a NetworkDataset"):
        NetworkDataset.load(path)
