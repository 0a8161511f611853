"""A network in integers of 8 bits: which targets answer for it, and what they run of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from latcast.devices import Target, devices, public_runtime, target_facts
from latcast.graph import Graph, dequantized

from .query import Resolved, TargetQuery

INT8 = "int8"
# Runtimes that join pairs of quantizations around operators.
_OF_QDQ = ("onnxruntime", "openvino")
# Precisions of targets that run it dequantized.
_FLOATS = ("fp32", "fp16", "bf16")


def in_own_precision(
    name: str,
    query: TargetQuery,
    ask: Callable[[TargetQuery], list[Resolved]],
    precision_of: Callable[[int], str | None],
) -> list[Resolved]:
    """Answers for a name; those for int8, where the network is in it and no precision is asked for.

    Where nothing was measured in int8 by the runtime, they are in floats, and a note says so.

    Args:
        name: of a model, a device or a target.
        query: what is asked of the target.
        ask: answers of the name for what is asked.
        precision_of: the network's precision, by the batch that it is read for.

    Raises:
        ValueError, FileNotFoundError: as ``ask`` and ``precision_of`` do.
    """
    found = ask(query)
    others = [r for r in found if not r.is_named and r.predictor.target.precision != INT8]
    if not others or TargetQuery.named(name, query)[1].precision is not None:
        return found
    target = others[0].predictor.target
    if precision_of(target.batch) != INT8:
        return found
    known = [r for r in ask(replace(query, precision=INT8)) if _is_known(r)]
    if known:
        note = f"no precision is asked for: the forecast is for {INT8}, as the network is"
        return [replace(r, notes=[note, *r.notes]) for r in known]
    note = (
        f"nothing was measured in {INT8} by {target.runtime} on such devices (latcast which asks "
        "all runtimes)"
    )
    return [replace(r, notes=[*r.notes, note]) for r in found]


def _is_known(found: Resolved) -> bool:
    """Whether anything was measured in the target's precision: the joint model answers in any."""
    target = found.predictor.target
    return target.precision in getattr(found.predictor, "precisions", (target.precision,))


def runs_dequantized(found: Resolved) -> bool:
    """Whether an answer is for a target in floats, whose model was not named itself."""
    return found.predictor.target.precision in _FLOATS and not found.is_named


def as_asked(graph: Graph, found: Resolved) -> tuple[Graph, str]:
    """A network as an answer is for, and what is to be said of that; empty where it is as it is.

    A network in int8 is dequantized for a target in floats. A model that was named is given it as
    it is: it may have learnt from such networks, whatever its target says.
    """
    if not (runs_dequantized(found) and graph.precision == INT8):
        return graph, ""
    precision = found.predictor.target.precision
    note = (
        f"the network is in {INT8}: the forecast is of the same one dequantized, in {precision} "
        f"(as it is: --precision {INT8})"
    )
    return dequantized(graph), note


def note_on_signed(graph: Graph, target: Target) -> str:
    """What is to be said of activations in signed integers on a target; empty where nothing is.

    On x86 CPUs runtimes leave many of their quantizations beside the kernels.
    """
    device = devices().get(target.device)
    runtime = public_runtime(target.runtime)
    if graph.precision != INT8 or runtime not in _OF_QDQ or device is None:
        return ""
    least = [x.grid[-1] for x in graph.layers if x.op == "quantize" and x.grid]
    signed = sum(x < 0 for x in least)
    if 2 * signed <= len(least) or not target_facts(device).get("isa_x86"):
        return ""
    return (
        f"{signed} of {len(least)} activations are quantized to signed integers, whose kernels "
        f"{runtime} joins less of on x86: quantized to unsigned ones (activation_type="
        "QuantType.QUInt8 of onnxruntime.quantization) the network may take a fraction of this"
    )
