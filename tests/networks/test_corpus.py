"""A corpus gives back the networks that it was made of, on every runtime and at every batch."""

from __future__ import annotations

import csv
import importlib
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from latcast.graph import Graph, GraphBuilder, rules_of
from latcast.graph.read.pytorch import read_pytorch
from latcast.networks import OPS, Networks
from latcast.networks.corpus import RUNTIMES, TOTALS, Corpus, read_corpus

ROOT = Path(__file__).parents[2]


def convolutions(batch: int) -> Graph:
    builder = GraphBuilder(batch=batch)
    x = builder.conv_norm(builder.input(3, 32, 32), 16, 3, stride=2, activation="relu")
    for _ in range(2):
        x = builder.squeeze_excitation(builder.depthwise(x, 3, 1, "h_swish"), 4)
    return builder.build(builder.classifier(x, 10))


def tokens(batch: int) -> Graph:
    builder = GraphBuilder(batch=batch)
    x = builder.layer_norm(builder.input(9, 16))
    scores = builder.softmax(builder.matmul(x, builder.transpose(x, 0, 2, 1)))
    return builder.build(builder.linear(builder.activation(builder.matmul(scores, x), "gelu"), 8))


GRAPHS = {"ours:convolutions@32": convolutions, "ours:tokens@9": tokens}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    parts = [Corpus.of({name: graph(1)}) for name, graph in GRAPHS.items()]
    Corpus.joined(parts).save(folder)
    return read_corpus(folder)


def kernels(networks: Networks, row: int = 0) -> list[tuple[object, ...]]:
    times = networks.counts[row].toarray()[0]
    found = zip(networks.ops, networks.labels, map(tuple, networks.facts), times, strict=True)
    return sorted((int(op), label, facts, n) for op, label, facts, n in found if n)


@pytest.mark.parametrize("runtime", [*RUNTIMES, "ncnn"])
def test_networks_are_those_of_the_graphs_at_their_batch(corpus, runtime):
    names = [*GRAPHS, "ours:tokens@9"]
    batches = [4, 1, 32]
    found = corpus.networks(names, runtime, batches)
    for row, (name, batch) in enumerate(zip(names, batches, strict=True)):
        wanted = Networks.of_graphs([GRAPHS[name](batch)], rules_of(runtime))
        assert kernels(found, row) == kernels(wanted)
    assert kernels(corpus.networks(names[:1], runtime, 4)) == kernels(found)


def test_totals_are_those_of_the_graphs(corpus):
    graphs = [graph(1) for graph in GRAPHS.values()]
    assert corpus.total("macs").tolist() == [g.macs for g in graphs]
    assert corpus.total("params").tolist() == [g.params for g in graphs]
    assert corpus.total("peak_bytes").tolist() == [g.peak_activation_bytes for g in graphs]
    assert corpus.totals.shape == (len(corpus), len(TOTALS)) == (2, 4)


def test_a_network_has_other_names(tmp_path):
    Corpus.of({"a": tokens(1)}, ["eager"], {"b": "a"}).save(tmp_path)
    corpus = read_corpus(tmp_path)
    assert "b" in corpus
    assert corpus.place("b") == corpus.place("a") == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda c: c.networks(["ours:token@9"]), "did you mean 'ours:tokens@9'"),
        (lambda c: c.networks(["ours:tokens@9"], batch=0), "batch must be 1 or more"),
        (lambda c: c.networks(["ours:tokens@9"], batch=[1, 2]), "one for each of 1 names"),
        (lambda c: Corpus.of({"a": tokens(2)}), "a must be of batch 1; it is of batch 2"),
        (lambda c: Corpus.of({}), "must have networks"),
        (
            lambda c: Corpus.joined([c, Corpus.of({"a": tokens(1)}, ["eager"])]),
            "all for the same runtimes",
        ),
        (
            lambda c: Corpus.of({"a": tokens(1)}, ["eager"]).networks(["a"], "ncnn"),
            "must hold kernels of ncnn; it has those of eager",
        ),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told(corpus, make, said):
    with pytest.raises(ValueError, match=said):
        make(corpus)


@pytest.mark.parametrize("file", ["kernels.parquet", "networks.parquet"])
def test_damaged_files_are_told(corpus, tmp_path, file):
    corpus.save(tmp_path)
    pl.read_parquet(tmp_path / file).drop("macs").write_parquet(tmp_path / file)
    with pytest.raises(ValueError, match=r"must hold a corpus .* 'macs'"):
        read_corpus(tmp_path)
    (tmp_path / file).write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="must be a whole Parquet file"):
        read_corpus(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        read_corpus(tmp_path)


ATTENTION = "transpose+mul+mul+matmul+softmax+matmul"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "wanted"),
    [
        # An operator each: silu, a product with its bias and attention are one, views are none.
        (
            "eager",
            {"conv": 1, "batch_norm": 1, "sigmoid+mul": 1, "linear+add": 2, "transpose": 1,
             ATTENTION: 1, "mul": 1, "add": 1, "layer_norm": 1, "mean": 1},
        ),
        # What works element by element is one kernel, with the reduction behind it.
        (
            "inductor",
            {"conv": 1, "batch_norm+sigmoid+mul": 1, "linear+add": 2, "transpose": 1,
             ATTENTION: 1, "mul+add+layer_norm": 1, "mean": 1},
        ),
    ],
)  # fmt: skip
def test_what_pytorch_runs_with_and_without_a_compiler(runtime, wanted):
    torch = pytest.importorskip("torch")

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 8, 4, 4, bias=False), torch.nn.BatchNorm2d(8)
            self.joint, self.out = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8)
            self.scale = torch.nn.Parameter(torch.ones(8))
            self.last = torch.nn.LayerNorm(8)

        def forward(self, x):
            x = torch.nn.functional.silu(self.norm(self.conv(x))).flatten(2).transpose(1, 2)
            joint = self.joint(x).reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
            y = torch.nn.functional.scaled_dot_product_attention(*joint.unbind(0))
            y = self.out(y.transpose(1, 2).reshape(x.shape))
            return self.last(x + y * self.scale).mean(1)

    graph = read_pytorch(Block(), (1, 3, 32, 32))
    found = Networks.of_graphs([graph], rules_of(runtime))
    labels = [label.removesuffix("/blocked") for label in found.labels]
    times: Counter[str] = Counter()
    for label, n in zip(labels, found.counts.toarray()[0], strict=True):
        times[label] += int(n)
    assert times == wanted


@pytest.fixture(scope="module")
def shipped() -> Corpus:
    return read_corpus()


@pytest.mark.parametrize(
    ("name", "millions_of_macs", "params"),
    [
        # As the packages' own pages state them.
        ("timm:resnet50@224", 4089, 25_557_032),
        ("timm:tv_resnet50@224", 4089, 25_557_032),
        ("timm:repvgg_a0@224", 1520, 9_108_968),
        ("timm:repvgg_a0@224/merged", 1362, 8_309_384),
        ("torchvision:mobilenet_v3_large@224", 217, 5_483_032),
        ("ai_hub:yolov8_det/YOLOv8-Detection", 4370, 3_151_904),
        ("neusight:gpt2_large@1024", 887_285, 774_030_080),
    ],
)
def test_the_shipped_networks_are_those_of_their_packages(shipped, name, millions_of_macs, params):
    place = shipped.place(name)
    assert shipped.total("macs")[place] / 1e6 == pytest.approx(millions_of_macs, rel=0.01)
    assert shipped.total("params")[place] == params
    for runtime in shipped.runtimes:
        networks = shipped.networks([name], runtime)
        macs = (networks.counts @ networks.fact("macs"))[0]
        assert macs == pytest.approx(shipped.total("macs")[place], rel=1e-6)


def test_the_shipped_corpus_is_small_and_names_what_is_there(shipped):
    files = (ROOT / "src" / "latcast" / "zoo" / "corpus").glob("*.parquet")
    assert sum(file.stat().st_size for file in files) < 2.5e6
    assert set(shipped.aliases.values()) <= set(shipped.names)
    table = (ROOT / "datasets" / "ai_hub_networks.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert all(bool(row["network"]) != bool(row["left_out_because"]) for row in rows)
    mapped = {f"ai_hub:{x['model']}/{x['component']}": x["network"] for x in rows if x["network"]}
    assert {alias: shipped.aliases[alias] for alias in mapped} == mapped
    assert len({row["model"] for row in rows if row["network"]}) >= 100


def test_the_shipped_networks_read_of_embeddings_what_they_look_up(shipped):
    kernels = shipped.kernels
    lookups = kernels.ops == OPS.index("gather")
    assert lookups.sum() > 100
    assert (kernels.fact("param_bytes") <= kernels.fact("write_bytes"))[lookups].all()


def test_what_is_recorded_is_what_is_exported(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(ROOT / "scripts")
    recorded = importlib.import_module("_recorded").recorded
    layers = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(inplace=True), layers).eval()
    exported = read_pytorch(module, (1, 5, 8))
    on_meta = module.to("meta")
    graph = recorded(on_meta, {"input": torch.zeros((1, 5, 8), device="meta")}, "network")
    for runtime in RUNTIMES:
        ours, theirs = (Networks.of_graphs([g], rules_of(runtime)) for g in (graph, exported))
        assert kernels(ours) == kernels(theirs)
