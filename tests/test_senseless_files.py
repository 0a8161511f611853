"""Files whose structure makes no sense: each is read, or refused in one line.

Files of networks are in ``graph/read/test_hostile_files.py``, accidental damage in
``test_files.py``; ``scripts/fuzz.py`` draws as many of all of them as it is asked for.
"""

from __future__ import annotations

import json
import pickle
import sqlite3
import tempfile
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

import latcast
from latcast import models
from latcast._model_file import read_model
from latcast.cli.report import read_result, rendered
from latcast.data import ofa_lookup_table, read
from latcast.devices import load_devices
from latcast.families import population
from latcast.graph import Graph, GraphBuilder, fuse
from latcast.graph.inspection import Inspection
from latcast.graph.qdq import quantized
from latcast.measure import (
    ArchSource,
    BlockSource,
    CampaignFile,
    Protocol,
    Run,
    read_fleet,
    results,
)  # fmt: skip
from latcast.measure import _campaign_file as campaign_file
from latcast.measure._sources import OnnxFile, VariantSource
from latcast.models.overview import ModelCard
from latcast.search import budgets
from latcast.spaces import space, space_names
from latcast.spaces.reading import read_archs

ZOO = Path(latcast.__file__).parent / "zoo"
Strategy = st.SearchStrategy[bytes]

# -- values that no file has ---------------------------------------------------------------------

NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), -0.5])
TEXTS = st.sampled_from(["", "a", "x" * 300, "\0", "é", "nasbench201", "fp32", "-1", "1e999"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
# What stands between the words of texts, and words that mean something to a parser.
TOKENS = (
    "", "\n", "\0", "'", '"', "[", "]", "{", "}", ",", ":", "=", "#", "-", "&a ", "*a", "!!x ",
    "|", "\\", "\ufeff", "\ud800", "\r", "nan", "-1", "1e999", "9" * 400, "0x1", "1_0", "1" * 5_000,
    "[" * 500, "{a: " * 100, "a.b", "true", "null", "1979-05-27", "[[a]]", "é", "[[budget]]\n",
)  # fmt: skip


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


@st.composite
def mangled(draw: st.DrawFn, text: str) -> bytes:
    """A text with some of it missing, twice, or replaced by what parsers take for syntax."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.sampled_from([0, 0, 1, 3, 20, 200])))
        match draw(st.sampled_from(["token", "token", "twice", "cut"])):
            case "token":
                text = text[:at] + draw(st.sampled_from(TOKENS)) + text[end:]
            case "twice":
                text = text[:end] + text[at:end] * draw(st.sampled_from([1, 50])) + text[end:]
            case "cut":
                text = text[:at]
    return text.encode("utf-8", "surrogatepass")


def clear(path: Path, reads: Callable[[Path], Any]) -> bool:
    """Whether a file is read; if not, its error is a ValueError in one line."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            reads(path)
    except (ValueError, OSError) as error:
        message = str(error)
        assert 10 < len(message) < 2_000, message
        return False
    return True


# -- latcast's own formats -------------------------------------------------------------------------


@cache
def _sound_models() -> list[tuple[Any, dict[str, Any]]]:
    """Headers and arrays of models of several kinds; the large ones are drawn less often."""
    names = ("tesla-p40", "fbnet.base", "ofa-mobilenet-v3.accuracy") * 4
    large = ("epyc-genoa-2c-onnxruntime-b1-t1.layers", "devices.joint")
    found = {n: read_model(ZOO / f"{n}.latcast") for n in {*names, *large}}
    return [(found[n].header, dict(found[n].tensors)) for n in (*names, *large)]


@st.composite
def model_files(draw: st.DrawFn) -> bytes:
    header, tensors = draw(st.sampled_from(_sound_models()))
    tensors = dict(tensors)
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(tensors)))
        array = tensors.pop(name)
        dtype = draw(st.sampled_from([None, "float16", "int8", "uint64", "bool", "same", "same"]))
        if dtype == "same":
            value = draw(st.sampled_from([0, 1, -1, 100, 3e4, 1e30]))
            with np.errstate(all="ignore"):
                tensors[name] = np.full_like(array, np.float64(value).astype(array.dtype))
        elif dtype is not None:
            other = np.zeros(draw(st.sampled_from([(), (0,), (3, 2), array.shape])), dtype)
            tensors[draw(st.sampled_from([name, "", "x" * 300]))] = other
    return save(tensors, {"latcast": json.dumps(draw(changed(header)))})


SEARCH: dict[str, Any] = {
    "latency": "samsung-note10", "max_latency_ms": 20, "evaluations": 300, "method": "nsga2",
}  # fmt: skip


@cache
def _sound_checkpoint() -> tuple[Any, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.checkpoint")
        latcast.search("ofa-mobilenet-v3", checkpoint=path, **SEARCH)
        found = read_model(path)
    return found.header, dict(found.tensors)


@st.composite
def checkpoints(draw: st.DrawFn) -> bytes:
    header, tensors = _sound_checkpoint()
    tensors = dict(tensors)
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(tensors)))
        array = tensors.pop(name)
        match draw(st.sampled_from(["missing", "shape", "type", "value", "short"])):
            case "shape":
                tensors[name] = array[None]
            case "type":
                tensors[name] = array.astype(draw(st.sampled_from(["int8", "float64", "uint64"])))
            case "value":
                tensors[name] = np.full_like(array, draw(st.sampled_from([0, 1, 200])))
            case "short":
                tensors[name] = array[: draw(st.integers(0, 3))]
    asked = {"question": header["question"]}
    return save(tensors, {"latcast": json.dumps(draw(changed(header)) | asked)})


def _search_on(path: Path) -> None:
    latcast.search("ofa-mobilenet-v3", checkpoint=path, resume=True, **SEARCH)


DATASET = {"schema_version": 2, "quantity": "latency_ms", "provenance": {"source": "a"}}
COLUMNS = (
    "order", "latency_ms", "space", "arch", "device", "batch", "threads", "precision", "samples_ms",
    "layers_ms", "graph", "family", "name", "reference_ms", "standard_error", "x",
)  # fmt: skip


@cache
def _graph_texts() -> list[str]:
    """A network of convolutions, often, and one with attention."""
    b = GraphBuilder()
    x = b.conv_norm(b.input(3, 17, 15), 16, 3, "h_swish", stride=2)
    y = b.squeeze_excitation(b.depthwise(x, 5, 1, "relu6"), 8, gate="h_sigmoid")
    x = b.max_pool(b.add(x, b.conv_norm(y, 16, 1)), 3, stride=2, padding=1)
    attention = population(1, 0, ["vit"])[0].graph()
    return [b.build(b.classifier(x, 5)).to_json()] * 3 + [attention.to_json()]


@st.composite
def datasets(draw: st.DrawFn) -> bytes:
    rows = draw(st.integers(0, 3))
    target = {"device": "a", "runtime": "b", "batch": 1, "precision": "fp32", "threads": 0}
    of_graphs = {"name": "a", "family": "b", "graph": _graph_texts()[0]}
    of_archs = {"space": "nasbench201", "arch": [0, 1, 2, 3, 4, 0]}
    columns = {"latency_ms": 1.5, **target, **draw(st.sampled_from([of_archs, of_graphs]))}
    frame = pl.DataFrame({"order": range(rows)}).with_columns(
        **{k: pl.lit(pl.Series([v])).first() for k, v in columns.items()}
    )
    value = st.one_of(NUMBERS.filter(lambda x: abs(x) < 2**63), TEXTS, st.none(), st.booleans())
    lists = st.lists(NUMBERS.map(float), max_size=4)
    values = value | lists | st.lists(lists, max_size=2)
    for name, put in draw(st.dictionaries(st.sampled_from(COLUMNS), values, max_size=3)).items():
        new = pl.Series([put], strict=False)
        frame = frame.with_columns(pl.lit(new).first().alias(name))
    if draw(st.booleans()):
        name = draw(st.sampled_from(frame.columns))
        kinds = (pl.Categorical, pl.Binary, pl.Date, pl.Decimal(10, 2), pl.UInt8, pl.Null, None)
        kind = draw(st.sampled_from(kinds))
        with suppress(pl.exceptions.PolarsError):  # what polars cannot make no file holds
            cast = pl.col(name).cast(kind or pl.Null, strict=False)
            frame = frame.drop(name) if kind is None else frame.with_columns(cast)
    header = draw(st.just(DATASET) | changed(DATASET))
    content = BytesIO()
    frame.write_parquet(content, metadata={"latcast": json.dumps(header)})
    return content.getvalue()


@cache
def _sound_campaign() -> bytes:
    protocol = {n: getattr(Protocol(), n) for n in ("runs", "runs_per_process", "cpu_share")}
    plan = {"target": "here/onnxruntime/b1", "seed": 3, "protocol": protocol}
    networks = [
        ArchSource("nasbench201", (0, 1, 2, 3, 4, 0)), BlockSource("nasbench201", 3),
        VariantSource(population(1, 0, ["squeezenet"])[0]), OnnxFile(Path("/none.onnx"), "0", "a"),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.campaign")
        with CampaignFile.create(path, plan, networks) as file:
            file.extend(3)
            reference = np.ones(3), np.ones(3)
            details = {"repeats": 1, "inference_s": 0.1, "doubts": [], "machine": {}}
            for round_ in range(2):
                process = file.add_process({"runtime": {"version": "1"}, "machine": {}})
                for n in range(2):
                    samples = np.array([1.0, 1.1, 1.2]) + n
                    file.add_run(Run(n, round_, 0, process, 5.0, True, samples, reference, details))
            file.add_failure(2, "no kernel", final=True)
        content = bytearray(path.read_bytes())
    content[18:20] = b"\1\1"  # without a log beside it, which memory cannot have
    return bytes(content)


@st.composite
def campaigns(draw: st.DrawFn) -> bytes:
    """Cells changed, rows missing or twice; mostly with right checksums, as whoever made it has."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.deserialize(_sound_campaign())
        for _ in range(draw(st.integers(1, 3))):
            table = draw(st.sampled_from(campaign_file._TABLES))
            rows = db.execute(f"SELECT rowid, * FROM {table}").fetchall()
            if not rows:
                continue
            number, *cells = draw(st.sampled_from(rows))
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            at = draw(st.integers(0, len(names) - 1))
            new = draw(_cells(cells[at]))
            match draw(st.sampled_from(["cell", "cell", "cell", "delete", "another"])):
                case "cell":
                    statement = f"UPDATE OR IGNORE {table} SET {names[at]} = ? WHERE rowid = ?"
                    with suppress(sqlite3.IntegrityError):  # a key that is no integer
                        db.execute(statement, (new, number))
                case "delete":
                    db.execute(f"DELETE FROM {table} WHERE rowid = ?", (number,))
                case "another":
                    cells[at] = new
                    places = ", ".join("?" * len(cells))
                    with suppress(sqlite3.IntegrityError):
                        db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", cells)
        if draw(st.integers(0, 9)):
            _seal(db)
        return db.serialize()


def _seal(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM checksums")
    for table in campaign_file._TABLES:
        campaign_file._seal(db, table)


@st.composite
def _cells(draw: st.DrawFn, cell: Any) -> Any:
    """A cell of SQLite in place of another."""
    numbers = st.sampled_from([0, -1, 1, 2, 2**31, 2**63 - 1, -(2**63), 1e308, -0.5, float("inf")])
    others = numbers | TEXTS | st.binary(max_size=24) | st.just(b"\0" * 800)
    text = cell if isinstance(cell, str) else None
    if isinstance(cell, bytes) and cell[:1] == b"{":
        text = cell.decode()
    try:
        tree = json.loads(text or "")
    except ValueError:
        return draw(others)
    new = json.dumps(draw(changed(tree)))
    return draw(st.sampled_from([new, new.encode()]) if isinstance(cell, str) else st.just(
        new.encode())) if draw(st.integers(0, 3)) else draw(others)  # fmt: skip


def _read_campaign(path: Path) -> None:
    try:
        with CampaignFile.open(path) as file:
            file.plan()
            file.networks()
            file.processes()
            file.sustained_runs()
            file.boards()
            results(file)
            file.pending(0, 1, file.extent())
    finally:
        for beside in path.parent.glob(f"{path.name}-*"):
            beside.unlink()


@st.composite
def graphs(draw: st.DrawFn) -> bytes:
    """Entries changed, or shapes with other numbers of sides and layers that read nothing."""
    tree = json.loads(draw(st.sampled_from(_graph_texts())))
    if draw(st.booleans()):
        return json.dumps(draw(changed(tree))).encode()
    for _ in range(draw(st.integers(1, 3))):
        layer = draw(st.sampled_from(tree["layers"]))
        name = draw(st.sampled_from(["in_shapes", "out_shapes", "inputs"]))
        if name == "inputs":
            layer |= {"inputs": [], "in_shapes": []}
        else:
            sides = draw(st.lists(st.sampled_from([1, 3, 16, 20]), max_size=5))
            layer[name] = [sides] * len(layer[name])
    return json.dumps(tree).encode()


def _read_graph(path: Path) -> None:
    graph = Graph.from_json(path.read_text())
    Inspection.of(graph).busiest(3).to_json()
    fuse(graph)
    fuse(quantized(graph))


@cache
def _sound_results() -> list[Any]:
    archs = space("nasbench201").sample(3, 0)
    found = [
        ModelCard.of("tesla-p40"), latcast.list_devices(), latcast.list_spaces(),
        latcast.inspect(Graph.from_json(_graph_texts()[0])), latcast.forecast(archs, "help-v100-1"),
    ]  # fmt: skip
    trees = [json.loads(record.to_json()) for record in found]
    trees[1]["devices"] = trees[1]["devices"][:3]
    return trees


@st.composite
def result_files(draw: st.DrawFn) -> bytes:
    tree = draw(st.sampled_from(_sound_results()))
    kept = {key: tree[key] for key in ("schema", "version")}
    tree = draw(changed(tree))
    if isinstance(tree, dict) and draw(st.integers(0, 9)):
        tree |= kept
    return json.dumps(tree).encode()


def _read_result(path: Path) -> None:
    record = read_result(path)
    with rendered():
        record.to_text()
        record.to_html()


# -- formats of others ---------------------------------------------------------------------------


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


def _csv(path: Path) -> None:
    for name in ("nasbench201", "ofa-mobilenet-v3"):
        _each(path, lambda p, name=name: read(p, space=name, target="a/b/b1"))  # type: ignore[misc]
    _each(path, lambda p: read(p, space="nasbench201", quantity="accuracy"))
    read(path, space="nasbench201")


def _each(path: Path, *ways: Callable[[Path], Any]) -> None:
    """One of several ways to read a file, whose refusal is not the file's."""
    for way in ways:
        clear(path, way)


@cache
def _columns() -> dict[str, list[str]]:
    archs = space("nasbench201").sample(4, 0)
    texts = [each["arch"] for each in archs.to_dicts()]
    of = {"device": "a", "runtime": "b", "batch": "1", "precision": "fp32", "threads": "1"}
    genes = {g.name: [str(x) for x in archs.genes[:, n]] for n, g in enumerate(archs.space.genes)}
    return {
        "arch": texts, "latency_ms": ["1", "2.5", "3", "1e2"], "order": ["3", "2", "1", "0"],
        "accuracy": ["0.5", "0.25", "0.9", "1"], **{k: [v] * 4 for k, v in of.items()}, **genes,
    }  # fmt: skip


@cache
def _ofanas_columns() -> dict[str, list[str]]:
    items = space("ofa-mobilenet-v3").sample(3, 0).to_dicts()
    keys = ("ks", "e", "d", "r")
    return {
        "child_arch": [str({k: item[k] for k in keys} | {"wid": None}) for item in items],
        "latency": ["10", "20.5", "30"],
    }  # fmt: skip


@cache
def _help_list() -> str:
    texts = [each["arch"] for each in space("nasbench201").sample(4, 0).to_dicts()]
    return "\n".join(["0.5", *(f"{text},{90 + n}.5,0.1" for n, text in enumerate(texts)), ""])


@st.composite
def torch_files(draw: st.DrawFn, tree: Any) -> bytes:
    """What ``torch.save`` writes of a tree with values changed; bytes changed, or a pickle."""
    torch = pytest.importorskip("torch", reason="reading HELP's files needs PyTorch")
    new = draw(changed(tree))
    odd = (torch.zeros(3), torch.zeros(2, 0), np.float64(1), np.arange(3), (1, 2), {1}, 1j, b"a",
           torch.float32, range(3), {1: 2}, {(1, 2): 3}, 10**400)  # fmt: skip
    if places := _places(new):
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
def _help_trees() -> dict[str, Any]:
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


def _read_help(path: Path, latencies: Any, archs: dict[str, Any]) -> None:
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


def _read_archs(path: Path) -> None:
    for name in space_names():
        _each(path, lambda p, name=name: read_archs(p, space(name)))  # type: ignore[misc]
    read_archs(path, space("ofa-mobilenet-v3"))


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of a file.
        contents: of files; made when it is drawn from, since it looks at what is shipped.
        reads: all that is read of one.
    """

    name: str
    contents: Callable[[], Strategy]
    reads: Callable[[Path], Any]

    def check(self, content: bytes, folder: Path) -> bool:
        """Whether a file of this content is read; if not, its error is clear."""
        path = folder / self.name
        path.write_bytes(content)
        return clear(path, self.reads)


KINDS = {
    "models (.latcast)": Kind("a.latcast", model_files, models.load),
    "checkpoints of searches": Kind("a.checkpoint", checkpoints, _search_on),
    "datasets (.parquet)": Kind("a.parquet", datasets, read),
    "campaigns": Kind("a.campaign", campaigns, _read_campaign),
    "graphs in JSON": Kind("a.json", graphs, _read_graph),
    "architectures in JSON": Kind("a.json", arch_files, _read_archs),
    "results in JSON": Kind("a.json", result_files, _read_result),
    "CSV of one's own": Kind("a.csv", lambda: tables(_columns()), _csv),
    "CSV of the OFANAS paper": Kind(
        "note10_lookuptable_ofa.csv", lambda: tables(_ofanas_columns()), read
    ),
    "accuracies of HELP": Kind("a.txt", lambda: mangled(_help_list()), read),
    "latencies of HELP (.pt)": Kind(
        "a.pt", lambda: torch_files([1.0, 2.5, 3]), lambda path: _read_help(
            path, None, {k: v for k, v in _help_trees().items() if k[0] == "s"})
    ),
    "architectures of HELP (.pt)": Kind(
        "a.pt", lambda: st.sampled_from([*_help_trees().values()]).flatmap(torch_files),
        lambda path: _read_help(path, [1.0, 2.5, 3.0], dict.fromkeys(_help_trees())),
    ),
    "lookup tables (.yaml)": Kind(
        "224_lookup_table.yaml",
        lambda: changed(LOOKUP_TABLE).map(lambda t: json.dumps(t).encode()) | mangled(YAML),
        ofa_lookup_table.read,
    ),
    "devices (.toml)": Kind("a.toml", lambda: toml_files(DEVICES), load_devices),
    "budgets (.toml)": Kind("a.toml", lambda: toml_files(BUDGETS), budgets.check),
    "fleets (.toml)": Kind("a.toml", lambda: toml_files(FLEET), read_fleet),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("senseless")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_file_without_sense_is_read_or_refused(
    kind: str, folder: Path, data: st.DataObject
) -> None:
    KINDS[kind].check(data.draw(KINDS[kind].contents()), folder)


# -- what was not refused, or not clearly ---------------------------------------------------------


def _graph_of(**layer: Any) -> bytes:
    record = json.loads(_graph_texts()[0])
    record["layers"][0] |= layer
    return json.dumps(record).encode()


def _campaign_of(statement: str) -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.deserialize(_sound_campaign())
        db.execute(statement)
        _seal(db)
        return db.serialize()


def _result_of(**entries: Any) -> bytes:
    return json.dumps(_sound_results()[0] | entries).encode()


def _checkpoint_of(**rows: int) -> bytes:
    """A checkpoint with so many rows of arrays of the population."""
    header, tensors = _sound_checkpoint()
    own = {f"state.population.{name}": n for name, n in rows.items()}
    kept = {name: array[: own.get(name, len(array))] for name, array in tensors.items()}
    return save(kept, {"latcast": json.dumps(header)})


# Kind -> content of a file, and what its refusal must say.
REFUSED: dict[str, list[tuple[Callable[[], bytes], str]]] = {
    "graphs in JSON": [
        (lambda: _graph_of(name=[]), "its texts of another form"),
        (lambda: _graph_of(inputs=[-0.5]), "inputs and order of another form"),
        (lambda: _graph_of(grid=["a", 1, 2]), "inside and grid of another form"),
        (lambda: _graph_of(inside=7), "inside and grid of another form"),
        (lambda: _graph_of(window=[3]), "its window of another form"),
        (lambda: _graph_of(out_shapes=[]), "its outputs of another form"),
        (lambda: _graph_of(attributes=[["axis", 1]]), "'attributes', which layers lack"),
        (lambda: _graph_of(in_shapes=[[3]]), "conv must have other numbers of sides than 1 in"),
        (lambda: _graph_of(out_shapes=[[15]]), "conv must have other numbers of sides than 4 in"),
        (lambda: _graph_of(op="linear", sum_length=3, inputs=[], in_shapes=[]),
         "linear must read and write"),
        (lambda: _graph_of(op="transpose", order=[0, 0, 1, 2]), "transpose must have other"),
        # Times the other sides a list of three took a gigabyte.
        (lambda: _graph_of(out_shapes=[[[1, 2, 3], 16, 9, 8]]), "positive integer sides"),
        (lambda: _graph_texts()[0].replace('"outputs":[', '"outputs":[Infinity,').encode(),
         "infinity"),
        (lambda: b'{"name": "a", "outputs": [], "layers": [[]]}', "a graph must be JSON as"),
    ],
    "campaigns": [
        (lambda: _campaign_of("DELETE FROM plan WHERE key = 'target'"), "a plan without target"),
        (lambda: _campaign_of("UPDATE plan SET value = '[]' WHERE key = 'seed'"), "or seed"),
        (lambda: _campaign_of(
            """UPDATE plan SET value = '{"runs": []}' WHERE key = 'protocol'"""),
         "settings are no numbers"),
        (lambda: _campaign_of("UPDATE processes SET facts = '7'"), "facts that are no object"),
        (lambda: _campaign_of("UPDATE visits SET details = '[]'"), "facts that are no object"),
        (lambda: _campaign_of("""UPDATE visits SET details = '{"machine": [7]}'"""),
         "facts that are no object"),
        (lambda: _campaign_of("""UPDATE visits SET details = '{"doubts": []}'"""),
         "lacks details that every run has"),
        (lambda: _campaign_of("UPDATE processes SET facts = '{}'"), "lacks runtime or machine"),
        (lambda: _campaign_of(
            """UPDATE archs SET genes = cast('{"space": "nasbench201", "genes": [-1]}' AS BLOB)
            WHERE arch = 0"""), "a network of a campaign must be"),
        (lambda: _campaign_of("UPDATE visits SET time_s = x'00'"), "a run without a time"),
        (lambda: _campaign_of("UPDATE visits SET round = 'a' WHERE visit = 1"), "are no integers"),
        (lambda: _campaign_of("DELETE FROM processes WHERE process = 2"), "which it lacks"),
    ],
    "checkpoints of searches": [
        (lambda: _checkpoint_of(genes=0, accuracy=0, ms=0, excess=0), "0 networks of population"),
        (lambda: _checkpoint_of(accuracy=3), "networks of population with arrays of other sizes"),
    ],
    "CSV of one's own": [
        (lambda: b"arch," + b"x" * 9_000 + b"\na,1\n", "lacks the column 'latency_ms'"),
        (lambda: b"arch,latency_ms,device,runtime\na,1,b,c\na,1,b," + b"x" * 9_000 + b"\n",
         r"mixes runtime 'c' and 'xx*\.\.\."),
        (lambda: b"arch,latency_ms\na," + b"1" * 9_000 + b"x\n",
         r"must be a number; got '11*\.\.\."),
    ],
    "results in JSON": [
        (lambda: _result_of(name=["a"]), "name must be of type str; got list"),
        (lambda: _result_of(target=1.5), "target must be of another type than float"),
        (lambda: _result_of(card={"data_issues": 7}), "showing them gave TypeError"),
        (lambda: b"[" * 100_000, "must be JSON as --json prints it"),
        (lambda: _result_of(schema=["x" * 5_000]), r"got \['xx*\.\.\."),
    ],
    "devices (.toml)": [
        (lambda: b'[a]\nkind = ["cpu"]\nchip = "b"\n[b]\nkind = "cpu"\n', "device 'a'"),
    ],
    "budgets (.toml)": [
        (lambda: b"x" * 5_000 + b" = 1", "no setting is called 'xx"),
        (lambda: b"budget = []", "it holds budget"),
    ],
    "fleets (.toml)": [(lambda: b"x" * 5_000 + b" = 1", "it holds xx")],
    "accuracies of HELP": [
        (lambda: _help_list().replace("none", "x" * 5_000).encode(), r"got 'xx*\.\.\."),
    ],
    "CSV of the OFANAS paper": [
        (lambda: b"child_arch,latency\n" + b'"a" b' * 5_000, "must be a CSV file"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, n) for kind, rows in REFUSED.items() for n in range(len(rows))]
)
def test_a_file_without_sense_is_refused(kind: str, number: int, tmp_path: Path) -> None:
    made, told = REFUSED[kind][number]
    path = tmp_path / KINDS[kind].name
    path.write_bytes(made())
    with pytest.raises(ValueError, match=told) as caught:
        KINDS[kind].reads(path)
    assert len(str(caught.value)) < 1_000
