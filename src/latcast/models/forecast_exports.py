"""A network's forecast for the tools of others: Model Explorer, Perfetto and Chrome, Netron."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._files import read_file
from latcast.report.node_data import node_data, whole_operators
from latcast.report.text import bound_text, ms_text
from latcast.report.trace import Slice, trace

if TYPE_CHECKING:
    from latcast.data import Dataset

# A forecast of a network in JSON, or a part of it.
Json = Mapping[str, Any]
# What ONNX Runtime's profile calls a node's time, and a forward pass.
_NODE, _RUN = "_kernel_time", "model_run"


def _answered(found: Json) -> list[tuple[str, Json]]:
    """The answered devices, each with its target; where several models are of one, both."""
    rows = [row for row in found["devices"] if row["error"] is None]
    targets = [row["target"] for row in rows]
    return [
        (target if targets.count(target) == 1 else f"{target} ({Path(row['device']).name})", row)
        for target, row in zip(targets, rows, strict=True)
    ]


# --- Model Explorer ---------------------------------------------------------------------------


def node_data_of(found: Json) -> dict[str, dict[str, Any]]:
    """:meth:`.NetworkForecast.to_node_data`."""
    node_of = _node_of(found)
    return {
        f"{n}.{column}" if n > 1 else column: values
        for n, (label, row) in enumerate(_answered(found), 1)
        for column, values in node_data(label, row["kernels"], node_of).items()
    }


def _node_of(found: Json) -> Callable[[str], str]:
    """Name of a layer -> what adapters of Model Explorer call its node."""
    file = Path(found["file"] or "")
    if file.suffix.lower() == ".onnx" and file.is_file():
        from latcast.graph.write.annotation import unnamed_nodes

        names = unnamed_nodes(file)
        return lambda name: names.get(name, name)
    if file.suffix.lower() in ("", ".onnx"):
        return str
    return operators_of(found)


def operators_of(found: Json) -> Callable[[str], str]:
    """Name of a layer -> that of the operator of the file that it is a part of."""
    rows = (row for _, row in _answered(found))
    return whole_operators(x for row in rows for k in row["kernels"] for x in k["layers"])


# --- Netron -----------------------------------------------------------------------------------


def annotate_file(found: Json, out: str | Path) -> int:
    """:meth:`.NetworkForecast.annotate`."""
    from latcast.graph.write.annotation import annotate

    if Path(found["file"] or "").suffix.lower() != ".onnx":
        raise ValueError(
            f"only an ONNX file can be annotated; got {found['file'] or 'a graph'}: write it as "
            "one (latcast export) and forecast that"
        )
    model: dict[str, str] = {}
    nodes: dict[str, dict[str, str]] = {}
    for label, row in _answered(found):
        told = _network_texts(row, found["coverage"])
        model |= {f"latcast {label}: {key}": text for key, text in told}
        for kernel in row["kernels"]:
            for layer in kernel["layers"]:
                texts = {f"latcast {label}: {k}": t for k, t in _kernel_texts(kernel, layer)}
                nodes.setdefault(layer, {}).update(texts)
    return annotate(found["file"], out, model, nodes)


def _network_texts(row: Json, coverage: float) -> Iterator[tuple[str, str]]:
    """Yield the entries of the model's metadata about a device."""
    yield "latency", f"{ms_text(row['latency_ms'])} ms"
    ends = f"{ms_text(row['lower_ms'])} to {ms_text(row['upper_ms'])} ms"
    yield f"{100 * coverage:g} % interval", ends
    shares = row["share_by_bound"].items()
    yield "bound by", ", ".join(f"{bound_text(b)} {100 * share:.0f} %" for b, share in shares)


def _kernel_texts(kernel: Json, layer: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a layer node's metadata about its kernel."""
    # Netron cuts long keys, so that each text has to tell by itself what it is.
    if layer != kernel["name"]:
        yield "fused into", f"fused into {kernel['name']}"
        return
    yield "latency", f"{kernel['ms']:.3g} ms, {100 * kernel['share']:.1f} % of the network's"
    yield "interval", f"{kernel['lower_ms']:.3g} to {kernel['upper_ms']:.3g} ms"
    yield "bound by", f"bound by {bound_text(kernel['bound'])}"


# --- Perfetto, beside measured profiles -------------------------------------------------------


def trace_of(found: Json, profile: str | Path | None) -> dict[str, Any]:
    """:meth:`.NetworkForecast.to_trace`."""
    name = found["network"]["name"]
    measured = [] if profile is None else [read_profile(profile, name)]
    tracks = [(label, row["kernels"]) for label, row in _answered(found)]
    return trace(tracks, measured, made_by="latcast", network=name, coverage=found["coverage"])


def read_profile(path: str | Path, network: str) -> tuple[str, list[Slice]]:
    """Read the kernels of one forward pass, and the name of their track.

    Args:
        path: ONNX Runtime's own profile (``SessionOptions.enable_profiling``, JSON), of whose runs
            the one of the median duration is taken; or a dataset of ``latcast measure --models``
            with the times of layers, which follow one another.
        network: name of the network, whose row of a dataset is meant.

    Raises:
        ValueError: it is no such file, or does not hold the network.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        from latcast.data import Dataset

        data = Dataset.load(path)
        return f"{data.target}, {path.name}", _of_dataset(path, data, network)
    try:
        events = json.loads(read_file(path))
        if isinstance(events, Mapping):
            events = events["traceEvents"]
        return path.name, _of_onnxruntime(events)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"a profile must be ONNX Runtime's (enable_profiling, .json) or a dataset of `latcast "
            f"measure --models` with the times of layers (.parquet); reading {path}: {error}"
        ) from error


def _of_onnxruntime(events: Sequence[Mapping[str, Any]]) -> list[Slice]:
    nodes = [e for e in events if e.get("cat") == "Node" and str(e["name"]).endswith(_NODE)]
    if not nodes:
        raise ValueError("it holds no time of a node")
    runs = sorted((e for e in events if e.get("name") == _RUN), key=lambda e: float(e["dur"]))
    if runs:
        run = runs[(len(runs) - 1) // 2]
        start, end = float(run["ts"]), float(run["ts"]) + float(run["dur"])
        nodes = [e for e in nodes if start <= float(e["ts"]) <= end]
    start = min(float(e["ts"]) for e in nodes)
    return [
        Slice(
            str(e["name"]).removesuffix(_NODE),
            float(e["ts"]) - start,
            float(e["dur"]),
            str(e["args"].get("op_name", "")),
            {k: v for k, v in e["args"].items() if k in ("op_name", "provider", "output_size")},
        )
        for e in nodes
    ]


def _of_dataset(path: Path, data: Dataset, network: str) -> list[Slice]:
    if data.layers is None:
        raise ValueError(
            f"{path} must hold the times of layers; it was measured without profiles (latcast "
            "measure --models writes them with runtimes that have a profiler)"
        )
    wanted = {network, Path(network).stem}
    rows = [n for n, name in enumerate(data.names) if {name, Path(name).stem} & wanted]
    if len(rows) != 1 and len(data) > 1:
        raise ValueError(
            f"{path} must have one row of {network}; it has {len(rows)} among "
            f"{', '.join(data.names[:5])}{', …' if len(data) > 5 else ''}"
        )
    row = rows[0] if rows else 0
    slices, start = [], 0.0
    for layer, ms in zip(data.graphs[row].layers, data.layers[row].tolist(), strict=True):
        if ms > 0:  # NaN where a layer is fused into another
            slices.append(Slice(layer.name, start, ms * 1e3, layer.kind, {"operator": layer.op}))
            start += ms * 1e3
    return slices
