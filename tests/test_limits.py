"""Files that ask for more than any file needs: refused by a limit, in one line.

Damaged and hostile files of networks are in ``graph/read/test_hostile_files.py``, files without
sense in ``test_senseless_files.py``.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx_models import model
from safetensors.numpy import save

from latcast import _limits
from latcast._files import check_archive
from latcast._model_file import read_model
from latcast._parquet_pages import _sums, check_pages
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
    made = model(nodes, {"x": [4096]}, {"c0": np.ones(4096, np.float32)})
    path.write_bytes(made.SerializeToString())


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
    "one list": ("a.parquet", lambda p: _dataset(p, samples_ms=pl.lit(pl.Series([[0.0] * 6_000]))
                 .first()), read, "5000 values"),
    "unpacked": ("a.parquet", lambda p: _dataset(p, 3, device=pl.col("order").cast(pl.String)
                 + "x" * 30_000), read, "at most 90000 bytes, unpacked"),
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
    monkeypatch.setattr("latcast._parquet_pages.MAX_VALUES", 5_000)
    monkeypatch.setattr("latcast._parquet_pages.MIN_UNPACKED_TABLE_BYTES", 90_000)
    monkeypatch.setattr("latcast._parquet_pages.unpacked_bytes", lambda size: 3 * size)
    monkeypatch.setattr("latcast.data._parquet.MAX_FILE_BYTES", 20_000)
    name, make, reads, told = BOMBS[what]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=told) as caught:
        reads(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


@cache
def _parquet() -> bytes:
    content = BytesIO()
    lists = pl.Series([[0.5] * n for n in range(30)], dtype=pl.List(pl.Float64))
    frame = pl.DataFrame({"a": lists, "b": ["é", "f"] * 15})
    frame.write_parquet(content, row_group_size=7, metadata={"latcast": HEADER})
    return content.getvalue()


@given(
    changes=st.dictionaries(st.integers(0, len(_parquet()) - 1), st.integers(0, 255), max_size=4),
    cut=st.integers(0, 9),
)
def test_headers_of_pages_are_read_or_refused(changes: dict[int, int], cut: int) -> None:
    """No checksum is looked at here: whoever makes a file can give it a right one."""
    content = bytearray(_parquet())
    for at, byte in changes.items():
        content[-1 - at] = byte  # the metadata is at the end
    with suppress(ValueError):
        check_pages(Path("a.parquet"), bytes(content[cut * 9 :]))


@given(data=st.data())
def test_values_of_a_parquet_file_are_counted_before_they_are_read(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 9) | st.none(), min_size=1, max_size=40))
    number = data.draw(st.sampled_from([0.0, 1.5]))
    lists = pl.Series(
        [None if n is None else [number] * n for n in lengths], dtype=pl.List(pl.Float64)
    )
    frame = pl.DataFrame({"a": lists, "b": ["é"] * len(lists)})
    packed: Any = data.draw(st.sampled_from(["zstd", "snappy", "uncompressed", "gzip"]))
    content = BytesIO()
    frame.write_parquet(
        content, compression=packed, row_group_size=data.draw(st.sampled_from([1, 7, None])),
        statistics=data.draw(st.booleans()), data_page_size=data.draw(st.sampled_from([16, None])),
    )  # fmt: skip
    rows, columns, values, unpacked = _sums(content.getvalue())
    held = sum(max(1, n or 0) for n in lengths)
    assert (rows, columns, values) == (len(lists), 2, held + len(lists))
    assert unpacked > 0


def test_limits_stand_in_one_place() -> None:
    """Readers name no limit of their own, in constants called MAX_."""
    # Of messages and options, and what is met by another way of reading, not refused.
    others = {
        "_MAX_MESSAGE",
        "_MAX_LETTERS",
        "_MAX_SIDE",
        "MAX_TRIPS",
        "_MAX_ORIGINS",
        "MAX_VALUE",
        "MAX_DRAWN",
    }
    readers = (
        "*.py", "graph/read/**/*.py", "data/[!_a]*.py", "data/_[!a]*.py", "data/public/*.py",
        "spaces/reading.py", "networks/*.py", "measure/_campaign_file.py", "ofa/*.py",
    )  # fmt: skip
    for path in {p for pattern in readers for p in SRC.glob(pattern)} - {SRC / "_limits.py"}:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [ast.unparse(t) for t in node.targets] if isinstance(node, ast.Assign) else []
            own = [x for x in names if x.strip("_").startswith("MAX_") and x not in others]
            assert not own, (path, own)
