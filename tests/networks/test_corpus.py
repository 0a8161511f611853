"""A corpus gives back the networks that it was made of, on every runtime and at every batch."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from latcast.graph import Graph, GraphBuilder, rules_of
from latcast.graph.read.pytorch import read_pytorch
from latcast.networks import Networks
from latcast.networks.corpus import RUNTIMES, TOTALS, Corpus, read_corpus


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
