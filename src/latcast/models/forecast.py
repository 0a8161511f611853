"""What is forecast of a network on devices, as one record that tables and pages are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from latcast.devices import Target, devices
from latcast.graph import OPERATORS, Graph
from latcast.models.layers import Doubt, KernelForecast, LayerExplanation, LayerPredictor

_CARD = (
    "data", "rows", "families", "split", "metrics", "metrics_by_family", "licence", "note", "base",
)  # fmt: skip
"""Entries of a model's card that the record repeats."""


def network_record(
    name: str,
    graphs: Mapping[int, Graph],
    models: Mapping[str, LayerPredictor],
    coverage: float = 0.9,
) -> dict[str, Any]:
    """Forecasts of one network on several devices: milliseconds, kernels, doubts.

    Args:
        name: of the network.
        graphs: the network by batch size, one for each batch of a model's target.
        models: a fitted layer model for each device, by the name that the user gave.
        coverage: of the intervals.

    Returns:
        What JSON can hold: ``network`` (layers and costs, of the first device's batch),
        ``coverage``, ``uncosted`` (operators whose cost nobody knows, with their layers), and
        ``devices``, each with its target, latency, interval, costs, kernels, doubts, the share
        that uncosted operators are estimated to take, specification and model card.

    Raises:
        ValueError: ``coverage`` asks for more than a model can tell.
    """
    first = graphs[next(iter(models.values())).target.batch]
    forecasts = [
        _device(device, model, graphs[model.target.batch], coverage)
        for device, model in models.items()
    ]
    return {
        "network": {
            "name": name,
            "layers": sum(x.kind != "view" for x in first.layers),
            "kernels": len(forecasts[0]["kernels"]),
            **forecasts[0]["costs"],
        },
        "coverage": coverage,
        "uncosted": _uncosted(first),
        "devices": forecasts,
    }


def _device(name: str, model: LayerPredictor, graph: Graph, coverage: float) -> dict[str, Any]:
    found = model.explain(graph, coverage)
    kernels = [_kernel(k, found.ms) for k in found.kernels]
    target = model.target
    return {
        "device": name,
        "target": str(target),
        "batch": target.batch,
        "latency_ms": found.ms,
        "lower_ms": found.lower_ms,
        "upper_ms": found.upper_ms,
        "per_sample_ms": found.ms / target.batch,
        "share_by_bound": found.share_by_bound(),
        "share_by_kind": _share_by_kind(found),
        "doubtful_share": found.doubtful_share,
        "uncosted_share": _uncosted_shares(graph, found),
        "doubts": _doubts(found),
        "costs": _costs(graph, found),
        "kernels": kernels,
        "specification": _specification(target),
        "model": {key: model.card[key] for key in _CARD if key in model.card},
    }


def _kernel(kernel: KernelForecast, total_ms: float) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "operators": kernel.operators,
        "kind": kernel.kind,
        "layers": list(kernel.layers),
        "ms": kernel.ms,
        "lower_ms": kernel.lower_ms,
        "upper_ms": kernel.upper_ms,
        "share": kernel.ms / total_ms,
        "macs": kernel.macs,
        "moved_bytes": kernel.moved_bytes,
        # A multiply-accumulate is two operations; 10^6 in a millisecond are 10^9 in a second.
        "gflop_s": 2 * kernel.macs / kernel.ms / 1e6,
        "bound": kernel.bound,
        "doubt": str(kernel.doubt) if kernel.doubt else None,
    }


def _costs(graph: Graph, found: LayerExplanation) -> dict[str, int]:
    return {
        "macs": graph.macs,
        "params": graph.params,
        "param_bytes": sum(k.param_bytes for k in found.kernels),
        "activation_bytes": sum(k.moved_bytes - k.param_bytes for k in found.kernels),
    }


def _share_by_kind(found: LayerExplanation) -> dict[str, float]:
    """Share of the milliseconds by kind of kernel, the largest first."""
    shares: dict[str, float] = {}
    for kernel in found.kernels:
        shares[kernel.kind] = shares.get(kernel.kind, 0.0) + kernel.ms / found.ms
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _uncosted(graph: Graph) -> dict[str, Any]:
    """Operators whose cost nobody knows, the most frequent first."""
    working = sum(x.kind != "view" for x in graph.layers)
    layers = [x for x in graph.layers if not x.is_costed]
    count = Counter((x.operator, x.op in OPERATORS) for x in layers)
    return {
        "layers": len(layers),
        "share": len(layers) / working if working else 0.0,
        "operators": [
            {"operator": name, "layers": n, "unknown": "shapes" if known else "operator"}
            for (name, known), n in count.most_common()
        ],
    }


def _uncosted_shares(graph: Graph, found: LayerExplanation) -> dict[str, float]:
    """Share of the milliseconds that operators of unknown cost are estimated to take."""
    operators = {x.name: x.operator for x in graph.layers if not x.is_costed}
    shares: dict[str, float] = {}
    for kernel in found.kernels:
        if kernel.name in operators:
            name = operators[kernel.name]
            shares[name] = shares.get(name, 0.0) + kernel.ms / found.ms
    return shares


def _doubts(found: LayerExplanation) -> list[dict[str, Any]]:
    """Kernels unlike what the model has seen, those with one reason together."""
    groups: dict[tuple[str, str], list[tuple[KernelForecast, Doubt]]] = {}
    for kernel in found.kernels:
        if kernel.doubt:
            group = groups.setdefault((kernel.kind, kernel.doubt.subject), [])
            group.append((kernel, kernel.doubt))
    doubts = [
        {
            "kind": kind,
            "subject": subject,
            "values": sorted({d.value for _, d in members if d.value is not None}),
            "seen": None if (d := members[0][1]).value is None else [d.low, d.high],
            "kernels": len(members),
            "share": sum(k.ms for k, _ in members) / found.ms,
        }
        for (kind, subject), members in groups.items()
    ]
    return sorted(doubts, key=lambda d: -float(d["share"]))


def _specification(target: Target) -> dict[str, Any] | None:
    """Peaks of the target's device, where the catalogue has it."""
    found = devices().get(target.device)
    if found is None:
        return None
    return {
        "title": found.title,
        "cores": found.cores,
        "peak_flops": found.peak_flops(target.precision),
        "bandwidth_gb_s": found.bandwidth_gb_s,
    }
