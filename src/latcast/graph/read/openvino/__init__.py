"""OpenVINO's intermediate representation (``.xml`` with its ``.bin``) as graphs of layers.

Its operators are described at https://docs.openvino.ai (*Available Operation Sets*); layers and
ports are XML, constants are parts of the ``.bin`` file, of which the large ones are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._files import check_size
from latcast._limits import MAX_GRAPH_BYTES
from latcast.graph._graph import Graph
from latcast.graph.read._inputs import DEFAULTS, ReadOptions
from latcast.graph.read._translation import Translation

from ._file import Element, Layer, Weights, parsed
from ._ports import Ports
from ._rules import RULES, SAME

__all__ = ["read_openvino", "translate_openvino"]

if TYPE_CHECKING:
    from onnx import GraphProto


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
    if path is not None:
        check_size(path, MAX_GRAPH_BYTES)
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
            return control(self._ports, layer, inputs)
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


# --- layers with bodies ------------------------------------------------------------------------

# ``If``, ``TensorIterator`` and ``Loop`` become ONNX's ``If``, ``Scan`` and ``Loop``. A port map
# tells which port of the layer is which parameter or result of the body; a back edge makes a result
# the parameter of the next trip. An axis stands for a sequence, of which a trip reads or gives one
# slice.

# An entry of a port map.
_Entry = Mapping[str, str]
# Its keys of the body's layer, and of the port of the layer that has the body.
_INSIDE, _OUTSIDE = "internal_layer_id", "external_port_id"


def control(ports: Ports, x: Layer, inputs: list[str]) -> list[str]:
    """Adds the node of a layer with bodies; gives the names of its outputs.

    Raises:
        LookupError: it reads or gives something else than values and single slices.
    """
    assert x.whole is not None
    given = (p.attributes["id"] for p in x.whole.all("input", "port"))
    outside = dict(zip(given, inputs, strict=True))
    if x.type == "If":
        return _either(ports, x, x.whole, outside, inputs[0])
    return _Loop(ports, x, x.whole, outside).written(inputs)


def _either(
    r: Ports, x: Layer, whole: Element, outside: Mapping[str, str], condition: str
) -> list[str]:
    branches: dict[str, GraphProto] = {}
    for word in ("then", "else"):
        entries, exits = _port_map(whole, f"{word}_port_map")
        places = {e[_OUTSIDE]: e[_INSIDE] for e in exits}
        inner = r.inside(f"{x.name}/{word}")
        with r.t.body() as branches[f"{word}_branch"]:
            given = {e[_INSIDE]: _captured(r, outside[e[_OUTSIDE]]) for e in entries}
            results = translated(inner, _only(whole, f"{word}_body"), given)
            for port, *_ in x.writes:
                inner.output(results[places[port]])
    first = r.t.node("If", condition, name=x.name, outputs=len(x.writes), **branches)
    return [first, *(f"{first}:{n}" for n in range(1, len(x.writes)))]


class _Loop:
    """A layer whose body runs for every slice of a sequence, or as often as it says."""

    def __init__(self, r: Ports, x: Layer, whole: Element, outside: Mapping[str, str]) -> None:
        self.r, self.t, self.x, self._outside = r, r.t, x, outside
        self.is_scan = x.type == "TensorIterator"
        self.entries, self.exits = _port_map(whole, "port_map")
        edges = [e.attributes for e in whole.all("back_edges", "edge")]
        self.back = {e["to-layer"]: e["from-layer"] for e in edges}
        self.net = _only(whole, "body")
        self.states = [e for e in self.entries if e[_INSIDE] in self.back]
        self.sliced, self.stacked = (
            [e for e in some if "axis" in e] for some in (self.entries, self.exits)
        )

    def written(self, inputs: list[str]) -> list[str]:
        """Names of the layer's outputs."""
        t, inner = self.t, self.r.inside(self.x.name)
        with t.body() as graph:
            turn, goes_on = ("", "") if self.is_scan else (t.parameter(7, ()), t.parameter(9, ()))
            results = translated(inner, self.net, self._given(turn))
            if not self.is_scan:
                ends = [e for e in self.exits if e.get("purpose") == "execution_condition"]
                inner.output(results[ends[0][_INSIDE]] if ends else goes_on)
            kept = [results[self.back[e[_INSIDE]]] for e in self.states]
            for name in kept:
                inner.output(name)
            for e in self.stacked:
                name = results[e[_INSIDE]]
                inner.output(t.layout("Squeeze", name, t.integers(int(e["axis"]))), like=name)
        found = self._node(inputs, graph)
        ranks = {port: len(shape or ()) for port, shape, *_ in self.x.writes}
        left: dict[str, str] = {}
        for e in self.exits:
            port = e[_OUTSIDE]
            if "axis" in e:
                name, axis = found[len(kept) + self.stacked.index(e)], int(e["axis"])
                if axis and not self.is_scan:  # a Loop puts slices along a first axis
                    order = (*range(1, axis + 1), 0, *range(axis + 1, ranks[port]))
                    name = t.transposed(name, *order)
                left[port] = name
            elif port in ranks:
                left[port] = found[kept.index(results[e[_INSIDE]])]
        return [left[port] for port in ranks]

    def _given(self, turn: str) -> dict[str, str]:
        """Values of the body's parameters: states first, then slices, as a ``Scan`` has them."""
        given = {e[_INSIDE]: self.t.parameter(self._type(e)) for e in self.states}
        given |= {e[_INSIDE]: self._slice(e, turn) for e in self.sliced}
        for e in self.entries:
            place = e[_INSIDE]
            if e.get("purpose") == "current_iteration":
                given[place] = self._counter(turn, place)
            elif place not in given:
                given[place] = _captured(self.r, self._outside[e[_OUTSIDE]])
        return given

    def _type(self, entry: _Entry) -> int:
        return self.r.types[self._outside[entry[_OUTSIDE]]]

    def _slice(self, entry: _Entry, turn: str) -> str:
        """One slice of a sequence, whose axis stays; a ``Scan`` takes it without work."""
        t, axis, is_reversed = self.t, int(entry["axis"]), _is_reversed(entry)
        if self.is_scan:
            return t.layout("Unsqueeze", t.parameter(self._type(entry)), t.integers(axis))
        at = t.reshaped(turn, 1)
        at = t.layout("Sub", t.integers(-1), at) if is_reversed else at
        source = self._outside[entry[_OUTSIDE]]
        return t.node("Gather", source, at, name=f"{self.x.name}/slice", axis=axis)

    def _counter(self, turn: str, place: str) -> str:
        """Number of the trip, of the type and shape that the body's parameter has."""
        elements = self.net.all("layers", "layer")
        layer = Layer.of(next(x for x in elements if x.attributes["id"] == place))
        _, shape, code, _ = layer.writes[0]
        return self.t.reshaped(self.t.layout("Cast", turn, to=code), *(1 for _ in shape or ()))

    def _node(self, inputs: list[str], body: GraphProto) -> list[str]:
        reads = [self._outside[e[_OUTSIDE]] for e in self.states]
        more: dict[str, Any] = {}
        if self.is_scan:
            reads += [self._outside[e[_OUTSIDE]] for e in self.sliced]
            more["num_scan_inputs"] = len(self.sliced)
            for word, some in (("input", self.sliced), ("output", self.stacked)):
                more[f"scan_{word}_axes"] = [int(e["axis"]) for e in some] or None
                more[f"scan_{word}_directions"] = [_is_reversed(e) for e in some] or None
        else:
            trips = self.t.value(inputs[0])
            is_endless = trips is not None and trips.item() < 0
            most = "" if is_endless else self.t.layout("Cast", inputs[0], to=7)
            reads = [most, inputs[1], *reads]
        count = len(self.states) + len(self.stacked)
        op = "Scan" if self.is_scan else "Loop"
        first = self.t.node(op, *reads, name=self.x.name, outputs=count, body=body, **more)
        return [first, *(f"{first}:{n}" for n in range(1, count))]


def _port_map(whole: Element, tag: str) -> tuple[list[_Entry], list[_Entry]]:
    """Entries of inputs and of outputs."""
    entries, exits = ([e.attributes for e in whole.all(tag, k)] for k in ("input", "output"))
    return [*entries], [*exits]


def _only(whole: Element, tag: str) -> Element:
    for element in whole.all(tag):
        return element
    raise LookupError(f"it must have a {tag}")


def _captured(r: Ports, name: str) -> str:
    """A value from around a body; one that is computed there is no part of the body's layers."""
    return name if r.t.constant_shape(name) is not None else r.t.layout("Identity", name)


def _is_reversed(entry: _Entry) -> int:
    """1 where the last slice comes first, else 0."""
    part, start, end, step = (
        int(entry.get(k, d))
        for k, d in (("part_size", 1), ("start", 0), ("end", -1), ("stride", 1))
    )
    if part != 1 or (start, end, step) not in ((0, -1, 1), (-1, 0, -1)):
        raise LookupError("it must take every slice of one element, in either order")
    return int(step < 0)
