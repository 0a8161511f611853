"""Datasets of architectures and of graphs: slicing, joining, saving, and files that are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from latcast.data import (
    ENERGY_MJ,
    LATENCY_MS,
    Dataset,
    LatencyDataset,
    NetworkDataset,
    read,
    read_latencies,
)
from latcast.devices import Target
from latcast.graph import GRAPH_INPUT, Graph, Layer
from latcast.spaces import space

SPACE = space("ofa-mobilenet-v3")
TARGET = Target("my-phone", "onnxruntime", batch=2, precision="int8", threads=4)
HEADER = {"schema_version": 2, "quantity": "latency_ms", "provenance": {}}
FILES = Path(__file__).parent / "files"
COLUMNS = ("values", "order", "reference", "uncorrected", "standard_error")
N = 12


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


def common() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "values": rng.uniform(5, 9, N),
        "target": TARGET,
        "order": rng.permutation(N),
        "reference": rng.uniform(1, 2, N),
        "samples": tuple(rng.uniform(5, 9, k % 4) for k in range(N)),
        "uncorrected": rng.uniform(5, 9, N),
        "standard_error": rng.uniform(0, 0.1, N),
        "provenance": {"source": "a test", "licence": "none"},
    }


def of_archs() -> Dataset:
    return Dataset(SPACE.sample(N, 0), **common())


def of_graphs() -> Dataset:
    rng = np.random.default_rng(1)
    graphs = tuple(graph(1 + k % 3) for k in range(N))
    return Dataset(
        graphs,
        names=tuple(f"chain(layers={k})" for k in range(N)),
        families=tuple("chain" if k % 2 else "" for k in range(N)),
        layers=tuple(np.where(rng.random(len(g)) < 0.5, np.nan, 1.5) for g in graphs),
        **common(),
    )


KINDS: dict[str, Callable[[], Dataset]] = {"archs": of_archs, "graphs": of_graphs}


@pytest.fixture(params=KINDS)
def data(request: pytest.FixtureRequest) -> Dataset:
    return KINDS[request.param]()


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.networks == other.networks
    assert (one.names, one.families) == (other.names, other.families)
    assert (one.target, one.quantity, one.provenance) == (
        other.target, other.quantity, other.provenance,
    )  # fmt: skip
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("samples", "layers"):
        for a, b in zip(getattr(one, name) or (), getattr(other, name) or (), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "index", [3, slice(3, 9), slice(None, None, -2), np.array([7, 7, 0]), np.arange(N) % 3 == 0]
)
def test_slicing_keeps_everything_together(data: Dataset, index: Any) -> None:
    part = data[index]
    rows = np.atleast_1d(np.arange(N)[index]).tolist()
    assert len(part) == len(rows)
    assert part.target == data.target
    for position, row in enumerate(rows):
        assert part.networks[position] == data.networks[row]
        for name in ("names", "families"):
            assert getattr(part, name)[position:][:1] == getattr(data, name)[row:][:1]
        for name in (*COLUMNS, "samples", *(["layers"] if data.space is None else [])):
            np.testing.assert_array_equal(getattr(part, name)[position], getattr(data, name)[row])


def test_parts_make_the_whole_again(data: Dataset) -> None:
    data = replace(data, order=np.arange(N))
    assert_same(data[:7].concatenate(), data[:7])
    joined = data[:7].concatenate(data[7:8], data[8:])
    assert_same(replace(joined, order=data.order), data)
    # The second part's positions go on from the first one's last, the third's from there.
    assert joined.order.tolist() == [*range(7), 7 + 7, *range(15 + 8, 15 + 12)]
    bare = Dataset(data.networks, data.values, TARGET, provenance={"source": "a test"})
    both = data.concatenate(bare)
    assert len(both) == 2 * N
    assert (both.reference, both.samples, both.layers) == (None, None, None)
    assert both.provenance == {"source": "a test"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": Target("my-phone", "onnxruntime")}, "one target can be joined; got my-phone"),
        ({"quantity": ENERGY_MJ}, "one quantity can be joined; got latency_ms and energy_mj"),
        ({"networks": (graph(1),) * N}, "one subject can be joined; got architecture and network"),
    ],
)
def test_what_cannot_be_joined(change: Any, message: str) -> None:
    data = Dataset(SPACE.sample(N, 0), np.ones(N), TARGET)
    with pytest.raises(ValueError, match=f"only measurements of {message}"):
        data.concatenate(replace(data, **change))


def test_columns_are_the_dataset_s_own(data: Dataset) -> None:
    for column in (data.latency_ms, data.order, data.reference, data.samples[1]):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
    latency = np.ones(N)
    other = Dataset(data.networks, latency, TARGET)
    latency[0] = 7
    assert other.latency_ms[0] == 1


@pytest.mark.parametrize("name", [*COLUMNS, "samples"])
def test_columns_of_another_length_are_refused(data: Dataset, name: str) -> None:
    short = np.ones(2, dtype=int if name == "order" else float)
    with pytest.raises(ValueError, match=rf"{name} must have one (value|list) per {data.subject}"):
        replace(data, **{name: short})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("names", ("a",), r"names must have one entry per network \(12\); got 1"),
        ("families", ("a",) * 13, r"families must have one entry per network \(12\); got 13"),
        ("layers", ((1.0,),), "layers must have one array per network"),
        ("layers", ((1.0,),) * N, r"graphs of \[1, 2, 3"),
        ("layers", (1.0,) * N, r"arrays of \[0, 0"),
        ("target", None, "latency_ms must have a target"),
        ("quantity", "energie", "no quantity is called 'energie'; did you mean 'energy_mj'"),
    ],
)
def test_what_graphs_must_have(name: str, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(of_graphs(), **{name: values})


def test_values_are_checked_on_demand(data: Dataset) -> None:
    data = replace(data[:4], values=[1, np.nan, 0, np.inf])
    with pytest.raises(ValueError, match=r"finite and positive; got nan ms in row 1 \(3 such"):
        data.check_values()
    data.valid().check_values()
    assert len(data.valid()) == 1


def test_the_thin_names() -> None:
    archs, graphs = of_archs(), of_graphs()
    assert LatencyDataset is NetworkDataset is Dataset
    assert archs.archs is archs.networks
    assert graphs.graphs is graphs.networks
    assert (archs.space, graphs.space) == (SPACE, None)
    assert repr(graphs) == f"<Dataset of 12 networks: latency_ms on {TARGET}>"
    np.testing.assert_array_equal(archs.latency_ms, archs.values)
    with pytest.raises(ValueError, match="got one of graphs"):
        _ = graphs.archs
    with pytest.raises(ValueError, match="got one of architectures of ofa-mobilenet-v3"):
        _ = archs.graphs
    with pytest.raises(ValueError, match="needs values of latency_ms; got energy_mj"):
        _ = replace(archs, quantity=ENERGY_MJ).latency_ms


# -- files --------------------------------------------------------------------------------------


def test_saved_and_loaded_is_the_same(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "data.parquet"
    data.save(path)
    assert_same(Dataset.load(path), data)
    assert_same(read(path), data)
    assert_same(read(path, target=str(TARGET), quantity="latency_ms"), data)


def test_rows_are_those_of_the_file(data: Dataset, tmp_path: Path) -> None:
    data.save(tmp_path / "a.parquet")
    frame = pl.read_parquet(tmp_path / "a.parquet")
    assert data.to_polars().equals(frame)
    assert pl.DataFrame(data).equals(frame)  # by Arrow's PyCapsule interface


def test_any_quantity_is_saved(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    replace(data, quantity=ENERGY_MJ).save(path)
    assert_same(read(path), replace(data, quantity=ENERGY_MJ))
    assert {"energy_mj", "samples_mj", "reference_mj"} <= set(pl.read_parquet_schema(path))
    with pytest.raises(ValueError, match="is of energy_mj; asked for latency_ms"):
        read(path, quantity="latency_ms")


def test_without_optional_columns(data: Dataset, tmp_path: Path) -> None:
    bare = Dataset(data.networks[:3], [1, np.nan, np.inf], str(TARGET))  # type: ignore[arg-type]
    bare.save(tmp_path / "a.parquet")
    assert_same(Dataset.load(tmp_path / "a.parquet"), bare)


@pytest.mark.parametrize(
    ("name", "latency_ms"),
    [
        ("schema-1.parquet", [7.00697431, 9.41110119, 14.62645295]),
        ("schema-1.networks.parquet", [0.89713503, 2.17898613]),
    ],
)
def test_files_of_the_first_schema_are_read(name: str, latency_ms: list[float]) -> None:
    data = read(FILES / name)
    np.testing.assert_allclose(data.latency_ms, latency_ms, atol=1e-8)
    assert data.quantity == LATENCY_MS
    assert data.provenance == {"source": "latcast", "licence": "CC-BY-4.0"}
    assert [len(s) for s in data.samples] == [3] * len(data)
    assert all(getattr(data, column) is not None for column in COLUMNS)
    if data.space is None:
        assert data.families == ("mixed", "mixed")
        assert [len(g) for g in data.graphs] == [len(ms) for ms in data.layers] == [9, 14]
    else:
        assert data.space == SPACE


def test_what_a_file_must_not_contradict(tmp_path: Path) -> None:
    archs, graphs = tmp_path / "archs.parquet", tmp_path / "graphs.parquet"
    of_archs().save(archs)
    of_graphs().save(graphs)
    with pytest.raises(ValueError, match="is of space ofa-mobilenet-v3; asked for compofa"):
        read(archs, space="compofa-fixed-kernel")
    with pytest.raises(ValueError, match="leave the space out"):
        read(graphs, space="ofa-mobilenet-v3")
    with pytest.raises(ValueError, match="must be of a search space's architectures"):
        read_latencies(graphs)
    for path in (archs, graphs):
        with pytest.raises(ValueError, match="is of target my-phone/onnxruntime/b2/int8/t4; asked"):
            read(path, target="other/onnxruntime/b1")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "data.parquet"
    of_archs().save(path)

    def half(self: pl.DataFrame, target: BytesIO, **_: Any) -> None:
        target.write(b"PAR1 half")
        raise error

    monkeypatch.setattr(pl.DataFrame, "write_parquet", half)
    with pytest.raises(type(error)):
        of_archs()[:5].save(path)
    assert_same(Dataset.load(path), of_archs())
    assert [p.name for p in tmp_path.iterdir()] == ["data.parquet"]


def write(
    path: Path, made: Dataset, metadata: dict[str, str] | None = None, drop: str = "none",
    **columns: Any,
) -> Path:  # fmt: skip
    """A valid file with some columns or the metadata replaced."""
    made.save(path)
    frame = pl.read_parquet(path).with_columns(**columns).drop(drop, strict=False)
    frame.write_parquet(path, metadata=metadata or {"latcast": json.dumps(HEADER)})
    return path


BOTH: list[tuple[dict[str, Any], str]] = [
    ({"latency_ms": pl.lit("fast")}, "latency_ms must hold numbers"),
    ({"reference_ms": pl.lit("fast")}, "reference_ms must hold numbers"),
    ({"samples_ms": pl.lit("x")}, "samples_ms must hold lists of numbers"),
    ({"order": pl.lit(None, pl.Int64)}, "order must hold integers"),
    ({"order": pl.lit(0.5)}, "order must hold integers"),
    ({"device": pl.lit(None, pl.String)}, "device must be text"),
    ({"device": pl.lit("../../etc")}, "a target's device must be"),
    ({"batch": pl.lit("many")}, "batch must be an integer"),
    ({"batch": pl.int_range(1, N + 1)}, "mixes batch"),
    ({"runtime": pl.Series(["a"] * 11 + ["b"])}, "mixes runtime"),
    ({"drop": "threads"}, "lacks the column 'threads'"),
]
OWN: dict[str, list[tuple[dict[str, Any], str]]] = {
    "archs": [
        ({"arch": pl.lit("x")}, "arch must hold lists of integers"),
        ({"arch": pl.lit(None, pl.List(pl.UInt8))}, "integers from 0 to 255"),
        ({"arch": pl.Series([[None] * 46] * N, dtype=pl.List(pl.UInt8))}, "from 0 to 255"),
        ({"arch": pl.Series([[256 + 3] * 46] * N)}, "integers from 0 to 255"),
        ({"arch": pl.Series([[3] * 45] * N)}, r"need 46 genes; got lists of \[45\]"),
        ({"arch": pl.Series([[8] * 46] * N)}, "ks1 must be one of 3, 5, 7; got 8"),
        ({"space": pl.lit("resnet")}, "no search space is called 'resnet'"),
        ({"space": pl.lit(3)}, "space must be text"),
        ({"drop": "arch"}, "lacks the column 'arch'"),
    ],
    "graphs": [
        ({"graph": pl.lit("x")}, "a graph must be JSON as latcast writes it"),
        ({"graph": pl.lit('{"name":"a","outputs":[],"layers":[]}')}, "at least one layer"),
        ({"graph": pl.lit(3)}, "graph must be text"),
        ({"name": pl.lit(None, pl.String)}, "name must be text"),
        ({"family": pl.lit(1.0)}, "family must be text"),
        ({"layers_ms": pl.lit("x")}, "layers_ms must hold lists of numbers"),
        ({"layers_ms": pl.Series([[1.0]] * N)}, "a value for each layer"),
        ({"layers_ms": pl.lit(None, pl.List(pl.Float64))}, "a value for each layer"),
        ({"drop": "graph"}, "lacks the column 'graph'"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "columns", "message"),
    [(kind, *case) for kind, own in OWN.items() for case in (*BOTH, *own)],
)
def test_bad_columns_are_named(tmp_path: Path, kind: str, columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dataset.load(write(tmp_path / "bad.parquet", KINDS[kind](), **columns))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"schema_version": 3}', "schema version 3, this latcast reads up to 2: upgrade"),
        ('{"schema_version": true}', "no 'latcast' entry"),
        ('{"schema_version": "1"}', "no 'latcast' entry"),
        ("[1]", "no 'latcast' entry"),
        ("null", "must be a dataset written by latcast"),
        ("{", "must be a whole Parquet file"),
        ("[" * 100_000, "must be a whole Parquet file"),
        ('{"schema_version": 1, "provenance": [1]}', "provenance must be a mapping"),
        ('{"schema_version": 2, "quantity": "cost"}', "no quantity is called 'cost'.*register"),
        ('{"schema_version": 2}', "no quantity is called 'None'"),
    ],
)
def test_bad_metadata_is_refused(tmp_path: Path, header: str, message: str) -> None:
    path = write(tmp_path / "bad.parquet", of_archs(), {"latcast": header})
    with pytest.raises(ValueError, match=message):
        Dataset.load(path)


def test_files_without_rows_of_others_and_truncated(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    data[:0].save(path)
    with pytest.raises(ValueError, match="holds no rows"):
        Dataset.load(path)
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(ValueError, match="no 'latcast' entry"):
        Dataset.load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        Dataset.load(tmp_path / "none.parquet")
    data.save(path)
    whole = path.read_bytes()
    for size in [0, 1, 4, *range(10, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="must be a whole Parquet file"):
            Dataset.load(path)


def test_percentiles_are_told_where_samples_are_many_enough() -> None:
    counts = (0, 9, 10, 99, 100, 1000)
    rng = np.random.default_rng(0)
    samples = tuple(rng.lognormal(2, 0.1, count) for count in counts)
    archs = SPACE.sample(len(counts), seed=0)
    data = Dataset(archs, np.arange(1.0, 7), Target("a", "b", batch=8), samples=samples)
    found = data.percentiles(50, 90, 99)
    known = [[False] * 3, [True, False, False], *[[True, True, False]] * 2, *[[True] * 3] * 2]
    assert np.isfinite(found).tolist() == known
    assert found[5] == pytest.approx(np.percentile(samples[5], (50, 90, 99)))
    assert (np.diff(found[4:], axis=1) > 0).all()
    assert np.isnan(replace(data, samples=None).percentiles(50)).all()
    assert data.inputs_per_s == pytest.approx(8000 / data.values)
    with pytest.raises(ValueError, match="percentiles must be between 0 and 100; got"):
        data.percentiles(0.5, 100)
    with pytest.raises(ValueError, match="needs values of latency_ms; got energy_mj"):
        _ = replace(data, quantity=ENERGY_MJ).inputs_per_s
