"""Files that ask for more than any file needs, or make no sense: refused by a limit, in one line.

Damaged and hostile files of networks are in ``graph/read/test_hostile_files.py``.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from safetensors.numpy import save

import latcast
from latcast import _limits, models
from latcast._files import check_archive
from latcast._model_file import read_model
from latcast.data import ofa_lookup_table, read
from latcast.data.public._table import _read as read_public
from latcast.devices import load_devices
from latcast.graph import Graph
from latcast.graph.read import read_graph

SRC = Path(__file__).parents[1] / "src" / "latcast"
HEADER = json.dumps({"schema_version": 2, "quantity": "latency_ms", "provenance": {}})


def _model(path: Path, arrays: int) -> None:
    tensors = {f"a{n}": np.zeros(0, np.float32) for n in range(arrays)}
    path.write_bytes(save(tensors, {"latcast": '{"schema_version": 1}'}))


def _dataset(path: Path, rows: int = 1, **columns: Any) -> None:
    target = {"device": "a", "runtime": "b", "batch": 1, "precision": "fp32", "threads": 0}
    frame = pl.DataFrame({"order": range(rows)}).with_columns(
        latency_ms=pl.lit(1.0), space=pl.lit("nasbench201"),
        arch=pl.lit([0] * 6, pl.List(pl.UInt8)),
        **{k: pl.lit(v) for k, v in target.items()},
    )  # fmt: skip
    frame.with_columns(**columns).write_parquet(path, metadata={"latcast": HEADER})


def _sparse(path: Path, size: int, beginning: bytes = b"") -> None:
    """A file of a size that takes no room on the disk."""
    path.write_bytes(beginning)
    os.truncate(path, size)


def _constants(path: Path) -> None:
    nodes = [helper.make_node("Add", [f"c{n}", "c0"], [f"c{n + 1}"]) for n in range(2_100)]
    nodes.append(helper.make_node("Add", ["x", "c2100"], ["y"]))
    info = [helper.make_tensor_value_info(name, 1, [4096]) for name in "xy"]
    start = numpy_helper.from_array(np.ones(4096, np.float32), "c0")
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], [start])
    path.write_bytes(helper.make_model(graph).SerializeToString())


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2 * 10**7))


def _graph(path: Path) -> Graph:
    return Graph.from_json(path.read_text())


# What it is -> the file's name, what makes it, what reads it, and what the limit says.
Bomb = tuple[str, Callable[[Path], Any], Callable[[Path], Any], str]
BOMBS: dict[str, Bomb] = {
    "arrays": ("a.latcast", lambda p: _model(p, _limits.MAX_ARRAYS + 1), read_model,
               f"more than {_limits.MAX_ARRAYS} arrays"),
    "a header": ("a.latcast", lambda p: _sparse(p, 2**24, struct.pack("<Q", 2**23 + 1)),
                 read_model, f"a header of more than {_limits.MAX_HEADER_BYTES} bytes"),
    "a large model": ("a.latcast", lambda p: _sparse(p, 2**40), read_model, "at most 1073741824"),
    "a large dataset": ("a.parquet", lambda p: _sparse(p, 2**40), read, "at most 1073741824 bytes"),
    "rows": ("a.parquet", lambda p: _dataset(p, 1_000), read, "5000 values"),
    "a text for all rows": ("a.parquet", lambda p: _dataset(p, 100, device=pl.lit("x" * 300)),
                            read, "device must hold at most 20000"),
    "columns": ("a.csv", lambda p: p.write_bytes(b"a," * 5_000 + b"\n1"), read,
                f"at most {_limits.MAX_COLUMNS} columns"),
    "a large CSV": ("a.csv", lambda p: _sparse(p, 2**40), read, "at most 1073741824 bytes"),
    "a compressed table": ("a.csv.gz", lambda p: p.write_bytes(gzip.compress(bytes(2 * 10**7))),
                           read_public, "must unpack to at most"),
    "a large lookup table": ("224_lookup_table.yaml", lambda p: _sparse(p, 2**40),
                             ofa_lookup_table.read, "at most 16000000 bytes"),
    "a large catalogue": ("a.toml", lambda p: _sparse(p, 2**40), load_devices, "at most 4194304"),
    "layers": ("a.json", lambda p: p.write_text('{"layers":[%s1]}' % ("1," * 200_000)), _graph,
               "200001 layers, more than 200000"),
    "a long graph": ("a.json", lambda p: p.write_text(" " * (2**26 + 1)), _graph,
                     f"more than {_limits.MAX_TEXT_BYTES}"),
    "computed constants": ("a.onnx", _constants, read_graph, "at most 8388608 elements in all"),
    "a large network of ncnn": ("a.param", lambda p: _sparse(p, 2**40, b"7767517\n"), read_graph,
                                "at most 67108864 bytes"),
    "a large network of OpenVINO": ("a.xml", lambda p: _sparse(p, 2**40, b"<net>"), read_graph,
                                    "at most 268435456 bytes"),
    "a compressed checkpoint": ("a.pt", _archive, check_archive, "must unpack to at most"),
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_a_limit_refuses(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Lower ones, for which the files need not take seconds to make.
    monkeypatch.setattr("latcast.data._parquet.MAX_VALUES", 5_000)
    monkeypatch.setattr("latcast.data._parquet.MAX_FILE_BYTES", 20_000)
    name, make, reads, told = BOMBS[what]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=told) as caught:
        reads(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_limits_stand_in_one_place() -> None:
    """Readers name no limit of their own, in constants called MAX_ that count parts or levels."""
    words = ("BYTES", "NODES", "FIELDS", "DEPTH", "RATIO", "ROWS", "COLUMNS", "ARRAYS")
    for path in [*SRC.glob("graph/read/**/*.py"), *SRC.glob("data/**/_[!a]*.py")]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [ast.unparse(t) for t in node.targets] if isinstance(node, ast.Assign) else []
            own = [x for x in names if "MAX_" in x and x.endswith(words)]
            assert not own, (path, own)


# -- files that make no sense, by their structure -------------------------------------------------

NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), -0.5])
TEXTS = st.sampled_from(["", "a", "x" * 300, "\0", "é", "nasbench201", "fp32", "-1", "1e999"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Container and key of every value in a tree."""
    items: list[tuple[Any, Any]] = []
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree[:20]))
    return [x for key, value in items for x in ((tree, key), *_places(value))]


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """A tree with values replaced, missing, or put into each other."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(tree)
        if not places:
            return draw(JSON)
        container, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "replace", "remove", "move", "deepen"])):
            case "replace":
                container[key] = draw(JSON)
            case "remove":
                del container[key]
            case "move":
                other, name = places[draw(st.integers(0, len(places) - 1))]
                if name in other if isinstance(other, dict) else name < len(other):
                    container[key] = json.loads(json.dumps(other[name]))
            case "deepen":
                container[key] = json.loads("[" * 80 + "]" * 80)
    return tree


def clear(path: Path, reads: Callable[[Path], Any]) -> None:
    """A file is read, or its error is a ValueError in one line."""
    try:
        reads(path)
    except ValueError as error:
        message = str(error)
        assert 10 < len(message) < 2_000, message  # reading is fine as well


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def shipped() -> list[tuple[Any, dict[str, Any]]]:
    """Headers and arrays of models of several kinds."""
    names = ("tesla-p40", "fbnet.base", "ofa-mobilenet-v3.accuracy")
    found = [read_model(SRC / "zoo" / f"{name}.latcast") for name in names]
    return [(m.header, dict(m.tensors)) for m in found]


@given(data=st.data())
def test_model_files(
    folder: Path, shipped: list[tuple[Any, dict[str, Any]]], data: st.DataObject
) -> None:
    header, tensors = data.draw(st.sampled_from(shipped))
    tensors = dict(tensors)
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(tensors)))
        array = tensors.pop(name)
        dtype = data.draw(st.sampled_from([None, "float16", "int8", "uint64", "bool"]))
        if dtype is not None:
            other = np.zeros(data.draw(st.sampled_from([(), (0,), (3, 2), array.shape])), dtype)
            tensors[data.draw(st.sampled_from([name, "", "x" * 300]))] = other
    changes = data.draw(changed(header))
    path = folder / "a.latcast"
    path.write_bytes(save(tensors, {"latcast": json.dumps(changes)}))
    with np.errstate(all="ignore"):
        clear(path, models.load)


@given(data=st.data())
def test_graphs(folder: Path, data: st.DataObject) -> None:
    text = latcast.space("nasbench201").network(latcast.space("nasbench201").sample(1, 0)).to_json()
    path = folder / "a.json"
    path.write_text(json.dumps(data.draw(changed(json.loads(text)))))
    clear(path, _graph)


@given(data=st.data())
def test_datasets(folder: Path, data: st.DataObject) -> None:
    lits = st.one_of(NUMBERS.filter(lambda x: abs(x) < 2**63), TEXTS, st.none(), st.booleans())
    names = (
        "order",
        "latency_ms",
        "space",
        "arch",
        "device",
        "batch",
        "threads",
        "samples_ms",
        "x",
    )
    columns = data.draw(st.dictionaries(st.sampled_from(names), lits, max_size=3))
    path = folder / "a.parquet"
    _dataset(path, data.draw(st.integers(0, 3)), **{k: pl.lit(v) for k, v in columns.items()})
    if data.draw(st.booleans()):
        frame = pl.read_parquet(path)
        header = json.dumps(data.draw(changed(json.loads(HEADER))))
        frame.write_parquet(path, metadata={"latcast": header})
    clear(path, read)


DEVICE = {"a": {"title": "A", "kind": "cpu", "cores": 4, "memory_gb": 8.0, "bandwidth_gb_s": 20.0,
                "peak_fp32_flops": 1e11, "clock_ghz": 2.0, "source": "s"}}  # fmt: skip


@given(data=st.data())
def test_device_files(folder: Path, data: st.DataObject) -> None:
    tables = data.draw(changed(DEVICE))
    path = folder / "a.toml"
    lines = [f"k = {json.dumps(tables)}"]
    if isinstance(tables, dict):
        lines = []
        for name, table in tables.items():
            lines.append(f"[{json.dumps(name)}]" if isinstance(table, dict) else "")
            pairs = table.items() if isinstance(table, dict) else [(name, table)]
            lines += [f"{json.dumps(k)} = {json.dumps(v)}".replace(": ", "= ") for k, v in pairs]
    path.write_text("\n".join(lines), encoding="utf-8")
    clear(path, load_devices)


@given(data=st.data())
def test_lookup_tables(folder: Path, data: st.DataObject) -> None:
    key = "Conv-input:224x224x3-output:112x112x16"
    table = data.draw(changed({key: {"count": 1, "mean": 0.5, "std": 0.1}}))
    path = folder / "224_lookup_table.yaml"
    path.write_text(json.dumps(table), encoding="utf-8")  # JSON is YAML
    clear(path, ofa_lookup_table.read)
