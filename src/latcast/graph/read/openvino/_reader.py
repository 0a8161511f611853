"""OpenVINO's intermediate representation (``.xml`` with its ``.bin``) as graphs of layers.

Its operators are described at https://docs.openvino.ai (*Available Operation Sets*); layers and
ports are XML, constants are parts of the ``.bin`` file, of which the large ones are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from latcast.graph._graph import Graph
from latcast.graph.read._inputs import DEFAULTS, ReadOptions
from latcast.graph.read._translation import Translation

from ._control import control
from ._file import Element, Layer, Weights, parsed
from ._ports import Ports
from ._rules import RULES, SAME

MAX_XML_BYTES = 256 * 2**20


def read_openvino(model: str | Path | bytes, options: ReadOptions = DEFAULTS) -> Graph:
    """The layers of an OpenVINO model.

    Args:
        model: the ``.xml`` file, or its content; its ``.bin`` file need not be there unless small
            constants in it decide shapes.
        options: shapes of its inputs, and what else is asked.

    Raises:
        ValueError: it holds no such model, or one that could not run.
    """
    return translate_openvino(model).graph(options)


def translate_openvino(model: str | Path | bytes, *, with_weights: bool = False) -> Translation:
    """The model as ONNX nodes; ``with_weights``, so that they can be run."""
    path = None if isinstance(model, bytes) else Path(model)
    if path is not None and path.stat().st_size > MAX_XML_BYTES:
        raise ValueError(f"{path.name} must have at most {MAX_XML_BYTES} bytes")
    net = parsed(model if isinstance(model, bytes) else Path(model).read_bytes())
    if net.tag != "net":
        raise ValueError(f"an OpenVINO model must be a <net>; got <{net.tag[:40]}>")
    weights = None if path is None else path.with_suffix(".bin")
    name = "network" if path is None else path.stem
    written = Translation(name, "openvino", with_weights=with_weights)
    ports = Ports(written, Weights(weights if weights and weights.is_file() else None))
    try:
        for result in translated(ports, net).values():
            ports.output(result)
    except (LookupError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError(f"the OpenVINO model is malformed: {error}") from error
    return written


def translated(
    ports: Ports, net: Element, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Translate the layers of a model, or of a body; gives the values of its results.

    Args:
        ports: what is known of them.
        net: has layers and edges.
        given: layer -> its value, of the parameters of a body.
    """
    reader = _Reader(ports, given or {})
    reader.net(net)
    return reader.results


class _Reader:
    """Translates layers one after the other."""

    def __init__(self, ports: Ports, given: Mapping[str, str]) -> None:
        self._ports = ports
        self.t = ports.t
        self._given = given
        self.results: dict[str, str] = {}

    def net(self, net: Element) -> None:
        """Translate all layers."""
        layers = {x.id: x for x in map(Layer.of, net.all("layers", "layer"))}
        sources: dict[str, list[tuple[int, tuple[str, str]]]] = {}
        for edge in net.all("edges", "edge"):
            at = edge.attributes
            source = (at["from-layer"], at["from-port"])
            sources.setdefault(at["to-layer"], []).append((int(at["to-port"]), source))
            self._ports.readers["/".join(source)] = self._ports.readers.get("/".join(source), 0) + 1
        for layer in _in_order(layers, sources):
            given = [s for _, s in sorted(sources.get(layer.id, []))]
            self._layer(layer, [self._ports.values[s] for s in given])

    def _layer(self, layer: Layer, inputs: list[str]) -> None:
        if layer.type == "Result":
            self.results[layer.id] = inputs[0]
            return
        try:
            names = self._translated(layer, inputs)
        except (LookupError, ValueError) as error:
            if layer.type in ("Parameter", "Const") or isinstance(error, UnicodeError):
                raise ValueError(f"layer {layer.name!r} ({layer.type}): {error}") from error
            told = [(shape, code) for _, shape, code, _ in layer.writes]
            names = self.t.unknown(layer.type, inputs, layer.name, told)
        for name, (port, _, code, _) in zip(names, layer.writes, strict=True):
            self._ports.values[layer.id, port] = name
            self._ports.types[name] = code
            self._ports.readers[name] = self._ports.readers.get(f"{layer.id}/{port}", 0)

    def _translated(self, layer: Layer, inputs: list[str]) -> list[str]:
        """Names of the layer's outputs."""
        if layer.id in self._given:
            return [self._given[layer.id]]
        if layer.whole is not None:
            return control(self._ports, layer, inputs, translated)
        if layer.type in SAME:
            op, _, rest = SAME[layer.type].partition(" ")
            attributes = {k: float(v) for k, v in (p.split("=") for p in rest.split())}
            given: Any = {k: layer.float(k, str(v)) for k, v in attributes.items()}
            first = self.t.node(op, *inputs, name=layer.name, **given)
        else:
            first = RULES[layer.type](self._ports, layer, inputs)
        return [first, *(f"{first}:{n}" for n in range(1, len(layer.writes)))]


def _in_order(
    layers: Mapping[str, Layer], sources: Mapping[str, list[tuple[int, tuple[str, str]]]]
) -> list[Layer]:
    """Layers after those that they read, as the file has them where that is so.

    Raises:
        ValueError: layers wait for each other, or one reads what is not there.
    """
    reads = {x: [s for _, (s, _) in sources.get(x, [])] for x in layers}
    for reader, read in reads.items():
        if any(s not in layers for s in read):
            raise ValueError(f"layer {layers[reader].name!r} must read layers of the model")
    place = {x: n for n, x in enumerate(layers)}
    if all(place[s] < place[x] for x, read in reads.items() for s in read):
        return list(layers.values())
    try:
        return [layers[x] for x in TopologicalSorter(reads).static_order()]
    except CycleError as error:
        raise ValueError(f"layers must not wait for each other: {error.args[1][:4]}") from None
