"""Files whose structure makes no sense: each is read, or refused in one line.

Files of networks are in ``graph/read/test_hostile_files.py``, accidental damage in
``test_files.py``; ``scripts/fuzz.py`` draws as many of all of them as it is asked for.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from foreign_files import (
    BUDGETS,
    DEVICES,
    FLEET,
    LOOKUP_TABLE,
    YAML,
    arch_files,
    help_list,
    help_trees,
    ofanas_columns,
    own_columns,
    read_every_space,
    read_help,
    read_tables,
    tables,
    toml_files,
    torch_files,
)
from hypothesis import given
from hypothesis import strategies as st
from odd_values import NUMBERS, TEXTS, changed, clear, mangled
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
from latcast.models.overview import model_card
from latcast.search import budgets
from latcast.spaces import space

ZOO = Path(latcast.__file__).parent / "zoo"
Strategy = st.SearchStrategy[bytes]

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
        model_card("tesla-p40"), latcast.list_devices(), latcast.list_spaces(),
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
    "architectures in JSON": Kind("a.json", arch_files, read_every_space),
    "results in JSON": Kind("a.json", result_files, _read_result),
    "CSV of one's own": Kind("a.csv", lambda: tables(own_columns()), read_tables),
    "CSV of the OFANAS paper": Kind(
        "note10_lookuptable_ofa.csv", lambda: tables(ofanas_columns()), read
    ),
    "accuracies of HELP": Kind("a.txt", lambda: mangled(help_list()), read),
    "latencies of HELP (.pt)": Kind(
        "a.pt", lambda: torch_files([1.0, 2.5, 3]), lambda path: read_help(
            path, None, {k: v for k, v in help_trees().items() if k[0] == "s"})
    ),
    "architectures of HELP (.pt)": Kind(
        "a.pt", lambda: st.sampled_from([*help_trees().values()]).flatmap(torch_files),
        lambda path: read_help(path, [1.0, 2.5, 3.0], dict.fromkeys(help_trees())),
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
        (lambda: help_list().replace("none", "x" * 5_000).encode(), r"got 'xx*\.\.\."),
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
