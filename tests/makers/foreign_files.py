"""Files in the formats of others, and in those that users write by hand, with values changed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import cache
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from odd_values import NUMBERS, TEXTS, TOKENS, changed, clear, mangled, places_of

from latcast.data import read
from latcast.spaces import space, space_names
from latcast.spaces.reading import read_archs


@st.composite
def tables(draw: st.DrawFn, columns: dict[str, list[str]]) -> bytes:
    """A CSV file with cells, columns or lines changed."""
    columns = dict(columns)
    cells = TEXTS | st.sampled_from(TOKENS) | NUMBERS.map(str) | st.text(max_size=9)
    for name in draw(st.lists(st.sampled_from([*columns]), max_size=2, unique=True)):
        values = columns.pop(name)
        if draw(st.integers(0, 3)):
            at = draw(st.integers(0, len(values) - 1))
            values = [*values[:at], draw(cells), *values[at + 1 :]]
            columns[draw(st.sampled_from([name, name, name, "x", "device", "", "arch"]))] = values
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    text = "\n".join(",".join(_quoted(str(cell)) for cell in row) for row in rows) + "\n"
    return draw(st.just(text.encode("utf-8", "surrogatepass")) | mangled(text))


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\n') else cell


def read_tables(path: Path) -> None:
    for name in ("nasbench201", "ofa-mobilenet-v3"):
        try_each(path, lambda p, name=name: read(p, space=name, target="a/b/b1"))  # type: ignore[misc]
    try_each(path, lambda p: read(p, space="nasbench201", quantity="accuracy"))
    read(path, space="nasbench201")


def try_each(path: Path, *ways: Callable[[Path], Any]) -> None:
    """One of several ways to read a file, whose refusal is not the file's."""
    for way in ways:
        clear(path, way)


@cache
def own_columns() -> dict[str, list[str]]:
    archs = space("nasbench201").sample(4, 0)
    texts = [each["arch"] for each in archs.to_dicts()]
    of = {"device": "a", "runtime": "b", "batch": "1", "precision": "fp32", "threads": "1"}
    genes = {g.name: [str(x) for x in archs.genes[:, n]] for n, g in enumerate(archs.space.genes)}
    return {
        "arch": texts, "latency_ms": ["1", "2.5", "3", "1e2"], "order": ["3", "2", "1", "0"],
        "accuracy": ["0.5", "0.25", "0.9", "1"], **{k: [v] * 4 for k, v in of.items()}, **genes,
    }  # fmt: skip


@cache
def ofanas_columns() -> dict[str, list[str]]:
    items = space("ofa-mobilenet-v3").sample(3, 0).to_dicts()
    keys = ("ks", "e", "d", "r")
    return {
        "child_arch": [str({k: item[k] for k in keys} | {"wid": None}) for item in items],
        "latency": ["10", "20.5", "30"],
    }  # fmt: skip


@cache
def help_list() -> str:
    texts = [each["arch"] for each in space("nasbench201").sample(4, 0).to_dicts()]
    return "\n".join(["0.5", *(f"{text},{90 + n}.5,0.1" for n, text in enumerate(texts)), ""])


@st.composite
def torch_files(draw: st.DrawFn, tree: Any) -> bytes:
    """What ``torch.save`` writes of a tree with values changed; bytes changed, or a pickle."""
    torch = pytest.importorskip("torch", reason="reading HELP's files needs PyTorch")
    new = draw(changed(tree))
    odd = (torch.zeros(3), torch.zeros(2, 0), np.float64(1), np.arange(3), (1, 2), {1}, 1j, b"a",
           torch.float32, range(3), {1: 2}, {(1, 2): 3}, 10**400)  # fmt: skip
    if places := places_of(new):
        container, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            container[key] = draw(st.sampled_from(odd))
    content = BytesIO()
    torch.save(new, content, _use_new_zipfile_serialization=draw(st.booleans()))
    damaged = bytearray(content.getvalue())
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 3]))):
        damaged[draw(st.integers(0, len(damaged) - 1))] = draw(st.integers(0, 255))
    if draw(st.integers(0, 19)) == 0:
        return pickle.dumps(draw(st.sampled_from([print, Path("a"), new])))
    return bytes(damaged)


@cache
def help_trees() -> dict[str, Any]:
    """Files with architectures of HELP's, each of three."""
    cells = [each["arch"] for each in space("nasbench201").sample(3, 0).to_dicts()]
    layers = space("fbnet").sample(3, 0).to_dicts()
    return {
        "str_arch2idx.pt": {cell: n for n, cell in enumerate(cells)},
        "metainfo.pt": {"arch": [x["op_idx_list"] for x in layers], "dataset": "cifar100"},
        "ofa_archs.pt": {"arch": space("ofa-mobilenet-v3").sample(3, 0).to_dicts()},
    }


# The cache of architectures goes by time and size: no two inputs may share a folder.
_FOLDERS = count()


def read_help(path: Path, latencies: Any, archs: dict[str, Any]) -> None:
    """Read latencies beside architectures, one of which is the file."""
    import torch

    for name, tree in archs.items():
        folder = path.parent / f"help{next(_FOLDERS)}"
        (folder / "latency").mkdir(parents=True)
        for file, content in ((folder / "latency" / "gpu_4.pt", latencies), (folder / name, tree)):
            if content is None:
                file.write_bytes(path.read_bytes())
            else:
                torch.save(content, file)
        try:
            clear(folder / "latency" / "gpu_4.pt", read)
        finally:
            for file in (folder / "latency" / "gpu_4.pt", folder / name):
                file.unlink()
            (folder / "latency").rmdir()
            folder.rmdir()
    help_file = __import__("latcast.data.help", fromlist=["load_torch_file"])
    help_file.load_torch_file(path)


def _toml(value: Any) -> str:
    """A value of TOML, in one line; what TOML lacks is no TOML."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


@st.composite
def toml_files(draw: st.DrawFn, tables: dict[str, Any]) -> bytes:
    made: Any = draw(changed(tables)) if draw(st.integers(0, 3)) else tables
    pairs = made.items() if isinstance(made, dict) else [("k", made)]
    text = "\n".join(f"{json.dumps(key)} = {_toml(value)}" for key, value in pairs)
    return draw(mangled(text)) if made is tables else text.encode("utf-8", "surrogatepass")


DEVICES = {
    "a": {"title": "A", "kind": "cpu", "cores": 4, "memory_gb": 8.0, "bandwidth_gb_s": 20.0,
          "peak_fp32_flops": 1e11, "clock_ghz": 2.0, "source": "s"},
    "b": {"title": "B", "kind": "phone", "chip": "a", "source": "s",
          "clusters": [{"cores": 4, "clock_ghz": 2.0}]},
}  # fmt: skip
BUDGETS = {
    "device": "raspberry-pi-4", "coverage": 0.9, "threads": 1,
    "budget": [{"model": "none.onnx", "max_latency_ms": 20, "at_least": "likely", "batch": 1},
               {"model": "none.xml", "max_latency_ms": 1.5, "shapes": {"x": [1, 3]}}],
}  # fmt: skip
FLEET = {
    "target": [{"name": "a", "hosts": ["pi@a", "pi@b"], "runtime": "ncnn", "threads": 4},
               {"name": "b", "hosts": ["adb:1A2B"], "precision": "fp16", "batch": 1}],
}  # fmt: skip
LOOKUP_TABLE = {
    "Conv-input:224x224x3-output:112x112x16": {"count": 1, "mean": 0.5, "std": 0.1},
    "expanded_conv-input:112x112x16-output:112x112x16-expand:16-kernel:3-stride:1-idskip:1-se:0-hs:0":
        {"count": 3, "mean": 1.25, "std": 0.2},
}  # fmt: skip
YAML = "\n".join(
    f"{key}: {{count: {v['count']}, mean: {v['mean']}}}" for key, v in LOOKUP_TABLE.items()
)


@st.composite
def arch_files(draw: st.DrawFn) -> bytes:
    the_space = space(draw(st.sampled_from(space_names())))
    items: Any = the_space.sample(draw(st.integers(1, 2)), 0).to_dicts()
    items = items[0] if draw(st.booleans()) and len(items) == 1 else items
    if draw(st.integers(0, 4)) == 0:
        return draw(mangled(json.dumps(items)))
    return json.dumps(draw(changed(items))).encode()


def read_every_space(path: Path) -> None:
    for name in space_names():
        try_each(path, lambda p, name=name: read_archs(p, space(name)))  # type: ignore[misc]
    read_archs(path, space("ofa-mobilenet-v3"))
