"""The few ways into latcast that golden records need beside its command line and public names.

Whoever moves or merges a module edits this file, and nothing else in this folder.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import latcast
from latcast.bench.evolution import Evolution
from latcast.cli import app
from latcast.devices import Target
from latcast.families import Variant, family_names
from latcast.graph import KERNEL_FACTS, fuse, kernel_facts, kernel_label, rules_of
from latcast.graph.write.onnx import to_onnx
from latcast.measure import CampaignFile, Plan, Protocol, Run, open_or_resume, results, run
from latcast.models.accuracy import as_accuracy_model
from latcast.search import METHODS
from latcast.spaces import space_names

__all__ = ["app", "family_names", "space_names"]

# Once-For-All's search is no method of latcast's own any more; its record stands.
METHODS.register("evolution", Evolution)

SUFFIXES = {".accuracy.latcast": "accuracy", ".base.latcast": "base", ".layers.latcast": "layers"}
"""Ends of the names of shipped model files; all others are latency models of a space."""


def shipped() -> dict[str, str]:
    """Names of the shipped model files of one target or space, and what kind each is of."""
    files = (resources.files("latcast") / "zoo").iterdir()
    names = [f.name for f in files if f.name.endswith(".latcast") and ".joint." not in f.name]
    return {
        name: next((kind for end, kind in SUFFIXES.items() if name.endswith(end)), "latency")
        for name in sorted(names)
    }


def shipped_path(name: str) -> Path:
    """Where a shipped model file is."""
    return Path(str(resources.files("latcast") / "zoo" / name))


# --- predictions of model files ---------------------------------------------------------------


def latency_predictions(path: Path, archs: Mapping[str, Any]) -> dict[str, Any]:
    """Of a latency model of a space: milliseconds and 90 % intervals of its space's archs."""
    model = latcast.load(path)
    batch = model.space.parse(archs[model.space.name])
    return {"target": str(model.target), "archs": _forecast(model, batch)}


def base_predictions(path: Path, archs: Mapping[str, Any]) -> dict[str, Any]:
    """Of a base model: of every target it was trained on, and of two from specifications."""
    model = latcast.load_base(path)
    batch = model.space.parse(archs[model.space.name])
    trained = {str(t): model.trained(t).predict(batch) for t in model.targets}
    asked = [Target(name, model.targets[0].runtime) for name in ("tesla-v100", "raspberry-pi-4")]
    return {
        "trained": {name: ms.tolist() for name, ms in trained.items()},
        "specified": {t.device: _forecast(model.predictor(t), batch) for t in asked},
    }


def layer_predictions(
    path: Path, archs: Mapping[str, Any], graphs: Mapping[str, bytes]
) -> dict[str, Any]:
    """Of a layer model: graphs, and architectures of two spaces."""
    model = latcast.load_layers(path)
    batch = model.target.batch
    read = [_graph(content, batch) for content in graphs.values()]
    of_graphs = _forecast(model, read)
    explained = model.explain(read[0])
    found = {
        "target": str(model.target),
        "graphs": dict(zip(graphs, np.transpose(list(of_graphs.values())).tolist(), strict=True)),
        "kernels_ms": [k.ms for k in explained.kernels][:20],
    }
    for name in ("ofa-mobilenet-v3", "nasbench201"):
        found[name] = _forecast(model, latcast.space(name).parse(archs[name][:3]))
    return found


@cache
def _graph(content: bytes, batch: int) -> Any:
    return latcast.read_graph(content, batch=batch)


def accuracy_predictions(path: Path, archs: Mapping[str, Any]) -> dict[str, Any]:
    """Of an accuracy model."""
    batch = latcast.space("ofa-mobilenet-v3").parse(archs["ofa-mobilenet-v3"])
    model = as_accuracy_model(path)
    deviation = model.uncertainty(batch)
    return {
        "accuracy": model.predict(batch).tolist(),
        "uncertainty": None if deviation is None else deviation.tolist(),
    }


def _forecast(model: Any, networks: Any) -> dict[str, list[float]]:
    low, high = model.predict_interval(networks, 0.9)
    values = {"ms": model.predict(networks), "lower_ms": low, "upper_ms": high}
    return {name: np.asarray(v).tolist() for name, v in values.items()}


# --- networks ---------------------------------------------------------------------------------


def member_onnx(text: str, batch: int = 1) -> bytes:
    """ONNX of a member of a family."""
    return Variant.parse(text).to_onnx(batch)


def arch_onnx(space: str, arch: Any) -> bytes:
    """ONNX of an architecture of a space."""
    the_space = latcast.space(space)
    return to_onnx(the_space.network(the_space.parse([arch])))


def costs_of_archs(space: str, archs: Sequence[Any]) -> list[dict[str, Any]]:
    """MACs, parameters, bytes and peak of activations of architectures of a space."""
    the_space = latcast.space(space)
    return the_space.costs(the_space.parse(list(archs))).to_dicts()


def graph_record(content: bytes, batch: int, runtime: str) -> dict[str, Any]:
    """What is read from an ONNX file, and what kernels a runtime makes of it."""
    graph = latcast.read_graph(content, batch=batch)
    kernels = fuse(graph, rules_of(runtime))
    facts = kernel_facts(graph, kernels)
    labels = [kernel_label(graph, kernel) for kernel in kernels]
    return {
        "layers": len(graph.layers),
        "operators": [x.op for x in graph.layers],
        "macs": graph.macs,
        "params": graph.params,
        "param_bytes": sum(x.param_bytes for x in graph.layers),
        "activation_bytes": sum(x.read_bytes + x.write_bytes for x in graph.layers),
        "uncosted": graph.unsupported,
        "outputs": list(graph.outputs),
        "labels": labels,
        "kernels": [list(kernel.layers) for kernel in kernels],
        "facts": dict(zip(KERNEL_FACTS, facts.T.tolist(), strict=True)),
    }


# --- campaigns --------------------------------------------------------------------------------

PROTOCOL = Protocol(runs=3)
START_S = 1_700_000_000.0


def architecture_campaign(path: Path, space: str, archs: Sequence[Any]) -> dict[str, Any]:
    """Plan and results of a campaign of architectures whose samples are a formula."""
    batch = latcast.space(space).parse(list(archs))
    truth = batch.space.costs(batch)["macs"].to_numpy() / 1e8
    plan = Plan(Target("here", "onnxruntime", threads=1), batch, PROTOCOL, seed=3)
    with open_or_resume(path, plan) as campaign:
        order = _run_all(campaign, truth, {})
        found = results(campaign, {"licence": "CC0"})
        again = results(campaign, like_ms=2.0)
    return {
        "plan": plan.record(),
        "order": order,
        "archs": found.dataset.archs.to_dicts(),
        "latency_like_2_ms": again.dataset.latency_ms.tolist(),
        **_found(found),
    }


def graph_campaign(path: Path, members: Sequence[str]) -> dict[str, Any]:
    """Plan and results of a campaign of members of families; layers were profiled."""
    networks = tuple(map(Variant.parse, members))
    graphs = [latcast.read_graph(n.to_onnx()) for n in networks]
    plan = Plan(Target("here", "openvino", threads=1), networks, PROTOCOL, seed=3)
    profiles = {
        n: {str(i): x.macs / 1e8 + 1e-3 for i, x in enumerate(graph.layers)}
        for n, graph in enumerate(graphs)
    }
    truth = np.array([sum(p.values()) for p in profiles.values()])
    with open_or_resume(path, plan) as campaign:
        order = _run_all(campaign, truth, profiles)
        found = results(campaign, {"licence": "CC0"})
    data = found.dataset
    return {
        "plan": plan.record(),
        "order": order,
        "names": list(data.names),
        "families": list(data.families),
        "macs": [graph.macs for graph in data.graphs],
        "layers_ms": [np.asarray(ms).tolist() for ms in data.layers or ()],
        **_found(found),
    }


def _run_all(
    campaign: CampaignFile, truth: np.ndarray[Any, Any], profiles: Mapping[int, Any]
) -> list[list[int]]:
    """Run all networks in the campaign's own order, on a machine whose speed wanders."""
    n, order = len(truth), []
    campaign.extend(n)
    for round_ in range(PROTOCOL.runs):
        process = campaign.add_process({"runtime": {}, "machine": {}})
        for item in campaign.pending(round_, 0, n):
            step = len(order)
            slow = 1 + 0.05 * np.sin(step / 4) + 0.02 * round_
            wiggle = 1 + 0.004 * np.cos(np.arange(9) * (step + 1.3))
            reference = tuple(2 * slow * (1 + 0.003 * np.sin(np.arange(3) + k)) for k in (0, 1))
            details: dict[str, Any] = {
                "repeats": 1, "inference_s": 0.1, "load_s": 0.01, "doubts": [], "machine": {},
            }  # fmt: skip
            if profiles and round_ == 0:
                details["profile_ms"] = profiles[item]
            campaign.add_run(
                Run(
                    item, round_, 0, process, START_S + 0.3 * step, True,
                    truth[item] * slow * wiggle, reference, details,
                )
            )  # fmt: skip
            order.append([round_, int(item)])
    return order


def _found(found: Any) -> dict[str, Any]:
    data = found.dataset
    return {
        "target": str(data.target),
        "latency_ms": data.latency_ms.tolist(),
        "uncorrected_ms": np.asarray(data.uncorrected).tolist(),
        "standard_error": np.asarray(data.standard_error).tolist(),
        "rows_of_the_campaign": np.asarray(data.order).tolist(),
        "samples_ms": [float(np.sum(samples)) for samples in data.samples],
        "reference_ms": found.reference_ms,
        "failures": dict(found.failures),
        "unfinished": found.unfinished,
        "unstable": found.unstable.tolist(),
        "warnings": list(found.warnings),
        "provenance": dict(data.provenance),
    }


def order_of_runs(path: Path, space: str, archs: Sequence[Any]) -> list[list[int]]:
    """In which order worker processes of a runtime without a computer run architectures."""
    folder = str(Path(__file__).parents[1] / "measure")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, before])
    sys.path.insert(0, folder)
    try:
        runtime = importlib.import_module("fake_runtime").FakeRuntime
        quick = Protocol(
            runs=3, warm_up_s=0.0, run_s=0.02, min_samples=5, reference_s=0.0, other_cpus=1e9,
            halves_disagree=1.0, reference_disagrees=1.0,
        )  # fmt: skip
        batch = latcast.space(space).parse(list(archs))
        target = Target("here", "onnxruntime", threads=1)
        with open_or_resume(path, Plan(target, batch, quick, 5, runtime)) as campaign:
            run(campaign)
            return [[r.round, r.network] for r in campaign.runs()]
    finally:
        os.environ["PYTHONPATH"] = before
        sys.path.remove(folder)


def dataset_record(path: Path) -> dict[str, Any]:
    """What is in a dataset's file."""
    data = latcast.read(path)
    order = data.order
    record = {
        "rows": len(data),
        "target": str(data.target),
        "latency_ms": data.latency_ms.tolist(),
        "rows_of_the_campaign": None if order is None else np.asarray(order).tolist(),
        "provenance": dict(data.provenance),
    }
    if data.space is not None:
        return {**record, "space": data.archs.space.name, "genes": data.archs.genes.tolist()}
    graphs = [
        [len(g.layers), g.macs, g.params, sum(x.param_bytes for x in g.layers)] for g in data.graphs
    ]
    return {
        **record,
        "names": list(data.names),
        "families": list(data.families),
        "graphs": graphs,
    }
