"""A Model Explorer extension: an adapter of files, and a provider of node data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from latcast._imports import require
from latcast.graph import OPERATORS, Graph, Layer
from latcast.graph.read import SUFFIXES, read_graph
from latcast.models.forecast import forecast
from latcast.models.forecast_exports import Json, operators_of
from latcast.models.forecast_records import NetworkForecast
from latcast.report.node_data import node_data
from latcast.report.text import bytes_text, count_text

me = require("model_explorer", "explorer", "the extension of Model Explorer")

_FILES = [suffix.removeprefix(".") for suffix in SUFFIXES]
# Attributes of a node's outputs that name a tensor: in TensorFlow Lite's graphs, and in ONNX's.
_TENSORS = ("tensor_name", "__tensor_tag")


class LatcastAdapter(me.Adapter):  # type: ignore[misc, name-defined]  # optional
    """Shows a file as the layers that forecasts are made of, with their costs."""

    metadata = me.AdapterMetadata(
        id="latcast",
        name="latcast",
        description="Layers as latcast reads them, with their costs",
        fileExts=_FILES,
    )

    def convert(self, model_path: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The one graph of a file."""
        graph = read_graph(model_path)
        nodes = [_node(graph, layer) for layer in graph.layers]
        return {"graphs": [me.graph_builder.Graph(id=graph.name, nodes=nodes)]}


def _node(graph: Graph, layer: Layer) -> Any:
    build = me.graph_builder
    macs = count_text(OPERATORS[layer.op].macs(layer)) if layer.is_supported else "not known"
    facts = {
        "kind": layer.kind,
        "MACs": macs,
        "parameters": count_text(layer.params),
        "weights": bytes_text(layer.param_bytes),
        "precision": layer.precision,
    }
    ports = layer.ports or (0,) * len(layer.inputs)
    return build.GraphNode(
        id=layer.name,
        label=layer.operator,
        namespace=layer.name.strip("/").rpartition("/")[0],
        attrs=[build.KeyValue(key, value) for key, value in facts.items()],
        incomingEdges=[
            build.IncomingEdge(graph.layers[source].name, str(port), str(place))
            for place, (source, port) in enumerate(zip(layer.inputs, ports, strict=True))
            if source >= 0
        ],
        outputsMetadata=[
            build.MetadataItem(str(place), [build.KeyValue("tensor_shape", str(list(shape or ())))])
            for place, shape in enumerate(layer.out_shapes)
        ],
    )


class LatcastForecast(me.NodeDataProvider):  # type: ignore[misc, name-defined]  # optional
    """Forecasts the milliseconds of every node of the graph that is shown."""

    metadata = me.NodeDataProviderMetadata(
        id="latcast_forecast",
        name="latcast forecast",
        description="Milliseconds of every kernel on a device, and what it is bound by",
        icon="timer",
        filter=me.NodeDataProviderFilter(modelFileExts=_FILES),
    )

    def get_config_editors(self, provider_id: str) -> Any:
        """Return the fields of the dialog."""
        text = me.config_editor.TextInputConfigEditor
        return me.GetConfigEditorsResult(
            configEditors=[
                text(
                    id="device", label="Devices", required=True, defaultValue="raspberry-pi-4",
                    description="As latcast devices and latcast models list them; commas between",
                ),
                text(id="runtime", label="Runtime", description="The device's usual one if empty"),
                text(id="precision", label="Precision", description="Such as int8"),
                text(id="batch", label="Batch", description="Samples of a forward pass"),
            ]
        )  # fmt: skip

    def run(
        self,
        provider_id: str,
        model_path: str,
        graph_id: str,
        config_values: Mapping[str, Any],
        graph: Any,
    ) -> Any:
        """Columns of node data for every device; why there are none is an error that is shown."""
        given = {key: str(value or "").strip() for key, value in config_values.items()}
        devices = [name.strip() for name in given.get("device", "").split(",") if name.strip()]
        if not devices:
            return me.NodeDataProviderResult(error="name a device, such as raspberry-pi-4")
        try:
            batch = int(given["batch"]) if given.get("batch") else None
            found = forecast(
                model_path, devices, runtime=given.get("runtime") or None, batch=batch,
                precision=given.get("precision") or None,
            )  # fmt: skip
            assert isinstance(found, NetworkForecast)  # of a file of SUFFIXES
            columns = _columns(found.to_dict(), graph)
        except (ValueError, OSError) as error:
            return me.NodeDataProviderResult(error=" ".join(str(error).split()))
        return me.NodeDataProviderResult(result=columns, error="; ".join(found.errors))


def _columns(found: Json, graph: Any) -> list[Any]:
    """Columns of all devices, by the ids of the nodes of a graph.

    Raises:
        ValueError: no kernel is a node of the graph.
    """
    node_of = _node_of(found, graph)
    ids = {node.id for node in graph.nodes} if graph is not None else None
    build, columns = me.node_data_builder, []
    for row in found["devices"]:
        if row["error"] is not None:
            continue
        for data in node_data(row["target"], row["kernels"], node_of).values():
            results = {
                node: build.NodeDataResult(**value)
                for node, value in data["results"].items()
                if ids is None or node in ids
            }
            gradient = [build.GradientItem(**item) for item in data.get("gradient", ())]
            columns.append(build.GraphNodeData(results, data["name"], gradient=gradient))
    if not any(column.results for column in columns):
        raise ValueError(
            f"none of the {found['network']['kernels']} kernels is a node of this graph: open the "
            "file by the adapter latcast, or show its main graph"
        )
    return columns


def _node_of(found: Json, graph: Any) -> Callable[[str], str]:
    """Name of a layer -> id of its node: by that, or by a tensor that the node gives."""
    known: dict[str, str] = {}
    for node in graph.nodes if graph is not None else ():
        for attributes in (x["attrs"] for x in map(asdict, node.outputsMetadata)):
            told = {a["key"]: a["value"] for a in attributes}
            known |= {told[key]: node.id for key in _TENSORS if key in told}
    known |= {node.id: node.id for node in graph.nodes} if graph is not None else {}
    operator = operators_of(found)
    return lambda name: known.get(name) or known.get(operator(name), name)
