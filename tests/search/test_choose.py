"""Pretrained models for a device: closed forms on a corpus of three networks, and its errors."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latcast as library
from latcast.cli._options import parse_count
from latcast.data.public.timm import find_imagenet, read_imagenet
from latcast.devices import Target
from latcast.graph import Graph, GraphBuilder
from latcast.models import Kernels
from latcast.networks import Networks
from latcast.networks.corpus import Corpus
from latcast.search import InfeasibleError
from latcast.search.within_budget import CHANCES, KernelTotals, chance, memory_bytes

TABLE = """\
model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation
small.first,32,60,40,80,20,0.1,1,bicubic
small.second,32,62,38,81,19,0.1,1,bicubic
middle.first,32,61,39,80,20,0.2,1,bicubic
wide.first,32,80,20,95,5,"1,014.45",1,bicubic
absent.first,224,90,10,99,1,9,1,bicubic
"""


def network(width: int, depth: int) -> Graph:
    b = GraphBuilder(1)
    x = b.input(3, 32, 32)
    for _ in range(depth):
        x = b.activation(b.conv(x, width, 3, padding=1), "relu")
    return b.build(b.linear(b.global_pool(x), 10))


GRAPHS = {
    "timm:small@32": network(16, 1),
    "timm:middle@32": network(32, 3),
    "timm:wide@32": network(160, 6),
    "timm:wide@32/merged": network(160, 5),
}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.of(GRAPHS)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "results-imagenet.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture(scope="module")
def model(layer_model: Kernels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "imaginary.latcast"
    layer_model.save(path)
    return path


def test_the_front_by_closed_forms(
    model: Path, table: Path, corpus: Corpus, layer_model: Kernels
) -> None:
    found = library.choose(model, 1e6, accuracies=table, corpus=corpus, max_memory_bytes=1e9)
    # The better weights of the small network beat the middle one, which is slower.
    assert [m.model for m in found.models] == ["wide.first", "small.second"]
    assert (found.compared, found.fitting, found.unknown) == (4, 4, 1)
    wide = found.models[0]
    graph = GRAPHS["timm:wide@32/merged"]
    assert wide.network == "timm:wide@32/merged"
    assert wide.latency_ms == pytest.approx(layer_model.predict(graph)[0])
    assert (wide.lower_ms, wide.upper_ms) == pytest.approx(
        tuple(x[0] for x in layer_model.predict_interval(graph)), rel=1e-3
    )
    assert wide.memory_bytes == graph.peak_activation_bytes + 4 * graph.params
    assert (wide.macs, wide.params) == (graph.macs, graph.params)
    assert found.to_dict()["accuracy_of"] == "fp32 weights"
    assert found.to_polars()["model"].to_list() == ["wide.first", "small.second"]
    assert "fp32 weights" in found.to_text()
    spans = wide.upper_ms / wide.lower_ms > 3
    assert any("too wide to decide" in note for note in found.notes) == spans


def test_an_interval_that_decides_little_is_told(table: Path, corpus: Corpus) -> None:
    found = library.choose("rtx-4090", 1e6, runtime="pytorch", accuracies=table, corpus=corpus)
    best = found.models[0]
    is_told = any("too wide to decide" in note for note in found.notes)
    assert is_told == (best.upper_ms / best.lower_ms > 3)


def test_limits_leave_models_out(
    model: Path, table: Path, corpus: Corpus, layer_model: Kernels
) -> None:
    ms = float(layer_model.predict(GRAPHS["timm:wide@32/merged"])[0])
    options: dict[str, Any] = {"accuracies": table, "corpus": corpus}
    fast = library.choose(model, 0.99 * ms, **options)
    assert [m.model for m in fast.models] == ["small.second"]
    ms *= 1 + 1e-5  # a file keeps tables as singles
    at_ms = library.choose(model, ms, **options)
    (wide, _) = at_ms.models
    graph = GRAPHS["timm:wide@32/merged"]
    expected = float(layer_model.probability_below(graph, ms)[0])
    assert wide.probability == pytest.approx(expected, abs=0.02)
    sure = library.choose(model, ms, confidence=0.9, **options)
    assert [m.model for m in sure.models] == ["small.second"]
    small = library.choose(model, 1e6, max_memory_bytes=wide.memory_bytes - 1, **options)
    assert [m.model for m in small.models] == ["small.second"]


def test_what_the_device_cannot_hold_does_not_fit(table: Path, corpus: Corpus) -> None:
    options: dict[str, Any] = {"accuracies": table, "corpus": corpus}
    assert library.choose("raspberry-pi-4", 1e12, batch=1, **options).fitting == 4
    with pytest.raises(InfeasibleError, match=r"ms and 4 GB: the smallest, .* raise the memory"):
        library.choose("raspberry-pi-4", 1e12, batch=1_000_000, **options)


@pytest.mark.parametrize(
    ("budget", "options", "says"),
    [
        (1e-6, {}, "the fastest, small"),
        (1e6, {"max_memory_bytes": 10.0}, "the smallest, small"),
        (1e-6, {"confidence": 0.9}, "confidence of 0.9"),
    ],
)
def test_what_nothing_keeps_is_refused_by_the_nearest(
    model: Path, table: Path, corpus: Corpus, budget: float, options: Any, says: str
) -> None:
    with pytest.raises(InfeasibleError, match=says):
        library.choose(model, budget, accuracies=table, corpus=corpus, **options)


@pytest.mark.parametrize(
    ("precision", "share"), [("fp32", 1.0), ("fp16", 0.5), ("bf16", 0.5), ("int8", 0.25)]
)
def test_memory_counts_at_the_width_of_the_precision(precision: str, share: float) -> None:
    np.testing.assert_allclose(memory_bytes(np.array([8.0]), 3.0, precision), [share * 20.0])
    # A runtime that was measured holds more than the network's own, and of activations what its
    # largest kernel reads and writes, between half of what liveness counts and all of it.
    weights, activations = 4 * 5e6, 3e6
    kernels = KernelTotals(np.array([50.0] * 3), np.array([1e6, 2e6, 4e6]), np.full(3, 9e6))
    more = memory_bytes(activations, 5e6, precision, "onnxruntime", kernels)
    np.testing.assert_allclose(
        more,
        share * (1.054 * weights + 2.64 * np.array([1.5e6, 2e6, 3e6]) + 0.077 * 9e6)
        + 0.39e6
        + 50 * 10.5e3,
    )
    plain = float(memory_bytes(activations, 5e6, precision))
    assert memory_bytes(activations, 5e6, precision, "ncnn", kernels).tolist() == [plain] * 3


def test_totals_of_kernels_are_those_of_each_network() -> None:
    b = GraphBuilder(name="large")
    b.conv(b.input(3, 64, 64), 8, 3)
    large = b.build()
    b = GraphBuilder(name="small")
    b.linear(b.global_pool(b.conv(b.input(3, 8, 8), 8, 3)), 10)
    found = KernelTotals.of(Networks.of((large, b.build()), Target("here", "onnxruntime")))
    assert found.counts.tolist() == [1, 3]
    assert found.largest_bytes.tolist() == [4 * (3 + 8) * 64 * 64, 4 * (3 + 8) * 8 * 8]
    # The mean of every channel, and a product of matrices with each of the eight.
    assert found.unblocked_bytes.tolist() == [0, 4 * (8 * 64 + 8) + 4 * (8 + 80)]


@pytest.mark.parametrize(
    ("probability", "name"),
    [(1, "certain"), (0.95, "certain"), (0.94, "likely"), (0.5, "likely"), (0.49, "unlikely"),
     (0.05, "unlikely"), (0.04, "no"), (0, "no")],
)  # fmt: skip
def test_chances(probability: float, name: str) -> None:
    assert chance(probability) == name
    assert name in CHANCES


def test_predictions_in_one_pass_are_those_of_three(layer_model: Kernels) -> None:
    graph = GRAPHS["timm:middle@32"]
    found = layer_model.within(graph, 1.0, 0.8)
    apart = (
        layer_model.predict(graph), *layer_model.predict_interval(graph, 0.8),
        layer_model.probability_below(graph, 1.0),
    )  # fmt: skip
    np.testing.assert_allclose(found, apart)


# --- the table of accuracies ------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    ["shared/data/public/timm/results-imagenet.csv", "kept/public/timm/results-imagenet.csv",
     "kept/results-imagenet.csv"],
)  # fmt: skip
def test_accuracies_are_found(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LATCAST_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"data fetch timm-imagenet .* --accuracies"):
        find_imagenet()
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    table.rename(path)
    if place.startswith("kept"):
        monkeypatch.setenv("LATCAST_DATA", str(tmp_path / "kept"))
    assert find_imagenet().resolve() == path
    assert find_imagenet(path) == path
    assert len(read_imagenet(path)) == 5


# --- on the command line ----------------------------------------------------------------------


@pytest.fixture
def known(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latcast.search.choose.read_corpus", lambda: corpus)


@pytest.mark.usefixtures("known")
def test_the_command(latcast: Any, model: Path, table: Path) -> None:
    arguments = ("choose", "--device", model, "--max-latency", 1e6, "--accuracies", table)
    found = latcast.json(*arguments, "--max-memory", "2GB")
    assert [m["model"] for m in found["models"]] == ["wide.first", "small.second"]
    assert found["max_memory_bytes"] == 2e9
    text = latcast(*arguments, "--limit", 1).stdout
    assert "wide.first" in text
    assert "small.second" not in text
    assert "1 faster one " in text
    assert "small.second" in latcast(*arguments, "--limit", 1, "--all").stdout
    assert "Raspberry" not in text


@pytest.mark.usefixtures("known")
def test_a_page_tells_the_hash_of_accuracies_in_a_folder(
    latcast: Any, model: Path, table: Path, tmp_path: Path
) -> None:
    arguments = ("choose", "--device", model, "--max-latency", 1e6, "--accuracies", table.parent)
    page = tmp_path / "page.html"
    table.rename(table.parent / "results-imagenet.csv")
    latcast(*arguments, "--html", page)
    digest = sha256((table.parent / "results-imagenet.csv").read_bytes()).hexdigest()
    assert digest in page.read_text()


@pytest.mark.parametrize("confidence", [None, 0.6, 0.9])
@pytest.mark.parametrize("memory", [None, 1.0])
def test_the_least_limits_that_are_named_can_be_kept(
    model: Path, table: Path, corpus: Corpus, memory: float | None, confidence: float | None
) -> None:
    budget_ms: float = 1e-6
    for pattern in (r"takes (\S+) MB; raise the memory", r"(?:takes|needs) (\S+) ms"):
        if memory is None and "MB" in pattern:
            continue
        with pytest.raises(InfeasibleError) as refused:
            library.choose(
                model, budget_ms, accuracies=table, corpus=corpus, max_memory_bytes=memory,
                confidence=confidence,
            )  # fmt: skip
        (least,) = re.findall(pattern, str(refused.value))
        if "MB" in pattern:
            memory = parse_count(f"{least}MB", "--max-memory", "B")
        else:
            budget_ms = float(least)
    found = library.choose(
        model, budget_ms, accuracies=table, corpus=corpus, max_memory_bytes=memory,
        confidence=confidence,
    )  # fmt: skip
    assert found.models


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--task", "coco"), 2, "no task is called 'coco'"),
        (("--max-latency", -1), 2, "--max-latency must be"),
        (("--max-latency", 1e-6), 1, "raise the budget"),
        (("--confidence", 2), 2, "--confidence must be"),
        (("--max-memory", "much"), 2, "--max-memory must be like"),
        (("--runs", 3), 2, "only with --verify"),
        (("--accuracies", "absent.csv"), 2, "absent.csv holds none"),
        (("--device", "raspberry"), 2, "raspberry-pi-4"),
        (("--verify", 1), 2, "no runtime is called"),
    ],
)
def test_errors(
    latcast: Any, model: Path, table: Path, options: tuple[object, ...], code: int, says: str
) -> None:
    arguments = ("--device", model, "--max-latency", 1e6, "--accuracies", table)
    run = latcast("choose", *arguments, *options, code=code)
    assert says in run.stderr


@pytest.mark.data
@pytest.mark.parametrize(
    ("device", "budget"),
    [("raspberry-pi-4", 200), ("rtx-4090", 5), ("rk3588", 50), ("snapdragon-8-gen-2", 20)],
)
def test_real_models_on_real_devices(shared: Path, device: str, budget: float) -> None:
    runtime = None if device == "rtx-4090" else "ncnn"
    found = library.choose(device, budget, runtime=runtime, accuracies=shared)
    assert found.compared > 1_200
    assert all(m.lower_ms <= m.latency_ms <= min(m.upper_ms, budget) for m in found.models)
    top1 = [m.top1 for m in found.models]
    assert top1 == sorted(top1, reverse=True)
