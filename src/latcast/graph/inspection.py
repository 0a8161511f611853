"""The layers of a graph and what they cost, as a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from latcast.report.record import MISSING, Column, Record, Table
from latcast.report.text import end_of, shape_text

from ._graph import Graph, GraphInput
from ._operators import Layer

NAME_WIDTH, OPERATOR_WIDTH = 48, 24


@dataclass(frozen=True)
class InspectedLayer:
    """A layer, and what it costs.

    Attributes:
        name: in the file.
        op: operator of latcast's table; ``unknown`` where it has none.
        operator: the file's name of it, with its domain.
        kind: of operator, such as ``conv``.
        in_shapes: of the inputs.
        out_shapes: of the outputs.
        macs: multiply-accumulates of all of its runs; null where the cost is not known.
        params: parameters.
        param_bytes: bytes of parameters and constants.
        read_bytes: bytes of activations that are read.
        write_bytes: bytes of activations that are written.
        traffic_bytes: memory traffic, bytes; that of a view is 0.
    """

    name: str
    op: str
    operator: str
    kind: str
    in_shapes: Sequence[Sequence[int] | None]
    out_shapes: Sequence[Sequence[int] | None]
    macs: int | None
    params: int
    param_bytes: int
    read_bytes: int
    write_bytes: int
    traffic_bytes: int

    @classmethod
    def of(cls, layer: Layer) -> InspectedLayer:
        """The entry of a layer."""
        runs, reads = layer.runs, layer.runs * layer.steps
        read, written = runs * layer.read_bytes, runs * layer.write_bytes
        moved = read + written + reads * layer.param_bytes
        return cls(
            layer.name, layer.op, layer.operator, layer.kind, layer.in_shapes, layer.out_shapes,
            runs * layer.macs if layer.is_supported else None, layer.params, layer.param_bytes,
            read, written, 0 if layer.kind == "view" else moved,
        )  # fmt: skip


@dataclass(frozen=True)
class LayerSums:
    """Costs of several layers.

    Attributes:
        kind: of the layers; ``all`` for the whole network.
        layers: how many.
        macs: multiply-accumulates of those whose cost is known.
        params: parameters.
        param_bytes: bytes of parameters and constants.
        read_bytes: bytes of activations that are read.
        write_bytes: bytes of activations that are written.
        traffic_bytes: memory traffic, bytes.
    """

    kind: str
    layers: int
    macs: int
    params: int
    param_bytes: int
    read_bytes: int
    write_bytes: int
    traffic_bytes: int

    @classmethod
    def of(cls, kind: str, layers: Sequence[InspectedLayer]) -> LayerSums:
        """The sums over layers."""
        names = ("macs", "params", "param_bytes", "read_bytes", "write_bytes", "traffic_bytes")
        return cls(kind, len(layers), *(sum(getattr(x, n) or 0 for x in layers) for n in names))


@dataclass(frozen=True)
class UnsupportedLayers:
    """Layers of an operator whose cost is not known.

    Attributes:
        operator: the file's name of it, with its domain.
        layers: how many layers are of it.
        share: of all layers, 0 to 1.
    """

    operator: str
    layers: int
    share: float


@dataclass(frozen=True, repr=False)
class Inspection(Record):
    """A network, layer by layer.

    Attributes:
        network: its name.
        inputs: of its file, with the sides that it was read for.
        notes: what was assumed or changed about them, a sentence each.
        total: costs of all layers, with the dearest branches and most trips of loops.
        min_macs: multiply-accumulates with the cheapest branches and fewest trips.
        kinds: costs by kind of layer.
        unsupported: unsupported operators.
        layers: in running order; as many as were asked for.
    """

    schema = "inspection"
    frame = "layers"

    network: str
    inputs: tuple[GraphInput, ...]
    notes: tuple[str, ...]
    total: LayerSums
    min_macs: int
    kinds: tuple[LayerSums, ...]
    unsupported: tuple[UnsupportedLayers, ...]
    layers: tuple[InspectedLayer, ...]

    @classmethod
    def of(cls, graph: Graph) -> Inspection:
        """Inspect a graph."""
        layers = tuple(map(InspectedLayer.of, graph.layers))
        kinds = {x.kind: [y for y in layers if y.kind == x.kind] for x in layers}
        return cls(
            graph.name,
            graph.sources,
            graph.notes,
            LayerSums.of("all", layers),
            graph.cheapest.macs,
            tuple(LayerSums.of(kind, own) for kind, own in kinds.items()),
            tuple(UnsupportedLayers(n, c, c / len(layers)) for n, c in graph.unsupported.items()),
            layers,
        )

    def busiest(self, most: int) -> Inspection:
        """With only so many layers, those with most MACs, then most bytes, in running order."""
        work = [(x.macs or 0, x.traffic_bytes) for x in self.layers]
        chosen = sorted(range(len(work)), key=lambda n: work[n], reverse=True)[:most]
        return replace(self, layers=tuple(self.layers[n] for n in sorted(chosen)))

    def unsupported_text(self) -> str:
        """Unsupported operators in words; empty where there are none."""
        return ", ".join(
            f"{end_of(x.operator, NAME_WIDTH)} x {x.layers} ({100 * x.share:.1f} % of layers)"
            for x in self.unsupported
        )

    def parts(self) -> Iterator[Table | str]:
        if self.layers:
            yield Table(_LAYER_COLUMNS, self.layers)
        if self.inputs:
            yield inputs_table(self.inputs)
        macs = max(1, self.total.macs)
        columns = (
            Column("kind", "kind"),
            Column("layers", "layers", ","),
            Column("MACs (M)", "macs", ",.2f", 1e-6),
            Column("%", lambda x: x.macs / macs, ".1f", 100),
            Column("parameters (M)", "params", ",.3f", 1e-6),
            Column("memory traffic (MB)", "traffic_bytes", ",.2f", 1e-6),
        )
        title = f"{end_of(self.network, NAME_WIDTH)}: {self.total.layers:,} layers"
        yield Table(columns, [*self.kinds, self.total], title)

    def doubts(self) -> Iterator[str]:
        if self.min_macs != self.total.macs:
            yield (
                f"note: branches and loops that are decided at run time: {self.min_macs:,} to "
                f"{self.total.macs:,} MACs; the costs are those of the dearest"
            )
        yield from (f"note: {text}" for text in self.notes)
        if self.unsupported:
            yield f"note: unsupported operators, whose cost is not known: {self.unsupported_text()}"


def inputs_table(inputs: Sequence[GraphInput]) -> Table:
    """What a file tells of its inputs, and what they were read for."""
    columns = (
        Column("input", lambda x: end_of(x.name, NAME_WIDTH)),
        Column("in the file", lambda x: end_of(x.told, NAME_WIDTH)),
        Column("read for", lambda x: shape_text(x.shape)),
        Column("type", "dtype"),
        Column("batch axis", lambda x: MISSING if x.batch_axis is None else x.batch_axis),
    )
    changed = (Column("changed", lambda x: x.change or MISSING),)
    return Table(columns + changed if any(x.change for x in inputs) else columns, inputs)


def _known(layer: InspectedLayer, text: str) -> str:
    return MISSING if layer.macs is None else text


_LAYER_COLUMNS = (
    Column("layer", lambda x: end_of(x.name, NAME_WIDTH)),
    Column("operator", lambda x: end_of(x.operator if x.op == "unknown" else x.op, OPERATOR_WIDTH)),
    Column("output", lambda x: shape_text(x.out_shapes[0] if x.out_shapes else ())),
    Column("MACs (M)", "macs", ",.2f", 1e-6),
    Column("parameters", "params", ","),
    Column("memory traffic (kB)", lambda x: _known(x, f"{x.traffic_bytes / 1e3:,.1f}")),
)
