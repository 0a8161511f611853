"""The layers of a graph and what they cost, as a record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from latcast.report.markup import counted, end_of
from latcast.report.record import Record, Section
from latcast.report.table import MISSING, Column, Table
from latcast.report.text import bytes_text, count_text, shape_text

from ._graph import Graph, GraphInput
from ._operators import Layer
from .facts import crossing_bytes, kernel_label, kernel_reads, written_shape
from .fusion import Kernel
from .memory import ActivationMemory
from .precision import precision_text
from .read import Network, read_graph
from .rules import fuse

if TYPE_CHECKING:
    from latcast.report.figure import Figure

NAME_WIDTH, OPERATOR_WIDTH = 48, 24
# They stand in one line of text.
MAX_SAVINGS = 4

# What layers and kernels can be sorted by -> the field of their rows.
SORTS = {
    "macs": "macs",
    "params": "params",
    "weights": "param_bytes",
    "traffic": "traffic_bytes",
    "intensity": "intensity",
    "memory": "held_bytes",
}


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
        param_bytes: bytes of parameters and constants; what several layers read counts in the
            first of them, as its parameters do.
        read_bytes: bytes of activations that are read.
        write_bytes: bytes of activations that are written.
        traffic_bytes: memory traffic, bytes, of all constants that it reads too; that of a view
            is 0.
        intensity: FLOP per byte of memory traffic, two a MAC; null where either is not known.
        held_bytes: activations that are held while it runs, bytes.
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
    intensity: float | None
    held_bytes: int

    @classmethod
    def of(cls, layer: Layer, held_bytes: int) -> InspectedLayer:
        """The entry of a layer."""
        runs, reads = layer.runs, layer.runs * layer.steps
        read, written = runs * layer.read_bytes, runs * layer.write_bytes
        moved = read + written + reads * layer.read_param_bytes
        traffic = 0 if layer.kind == "view" else moved
        macs = runs * layer.macs if layer.is_supported else None
        return cls(
            layer.name, layer.op, layer.operator, layer.kind, layer.in_shapes, layer.out_shapes,
            macs, layer.params, layer.param_bytes - layer.shared_bytes, read, written, traffic,
            _intensity(macs, traffic), held_bytes,
        )  # fmt: skip


@dataclass(frozen=True)
class InspectedKernel:
    """Layers that ONNX Runtime fuses, and what they cost together.

    Attributes:
        name: of the layer with most work.
        operators: of its layers that do something, such as ``conv+relu``.
        layers: how many layers it has.
        inputs: names of the kernels that it reads; what it reads of the network's inputs is left
            out.
        out_shape: of what it writes; null where it is not known.
        macs: multiply-accumulates of those whose cost is known.
        params: parameters.
        param_bytes: bytes of parameters and constants that it reads.
        read_bytes: bytes of activations that it reads from other kernels.
        write_bytes: bytes of activations that other kernels, or the network's outputs, read of it.
        traffic_bytes: memory traffic, bytes; that of views is 0.
        saved_bytes: memory traffic of its layers, run one by one, beyond that.
        intensity: FLOP per byte of memory traffic, two a MAC; null where there is none.
        held_bytes: the most that is held while one of its layers runs by itself, bytes.
    """

    name: str
    operators: str
    layers: int
    inputs: tuple[str, ...]
    out_shape: Sequence[int] | None
    macs: int
    params: int
    param_bytes: int
    read_bytes: int
    write_bytes: int
    traffic_bytes: int
    saved_bytes: int
    intensity: float | None
    held_bytes: int


@dataclass(frozen=True)
class Saving:
    """Memory traffic that kernels of the same operators save.

    Attributes:
        operators: of a kernel's layers.
        kernels: how many kernels are of them.
        saved_bytes: memory traffic of their layers, run one by one, beyond that of the kernels.
    """

    operators: str
    kernels: int
    saved_bytes: int


@dataclass(frozen=True)
class FusedSums:
    """Costs of all kernels, and why they differ from those of the layers.

    Attributes:
        kernels: number of fused kernels that do something at run time.
        traffic_bytes: memory traffic, bytes.
        intensity: FLOP per byte of memory traffic, two a MAC; null where there is none.
        saved_bytes: memory traffic of the layers beyond that of the kernels.
        savings: of which kernels, the largest first.
    """

    kernels: int
    traffic_bytes: int
    intensity: float | None
    saved_bytes: int
    savings: tuple[Saving, ...]

    @classmethod
    def of(cls, kernels: Sequence[InspectedKernel], working: int) -> FusedSums:
        """The sums over kernels, so many of which do something."""
        saved: dict[str, list[int]] = defaultdict(list)
        for kernel in kernels:
            if kernel.saved_bytes:
                saved[kernel.operators].append(kernel.saved_bytes)
        savings = [Saving(name, len(found), sum(found)) for name, found in saved.items()]
        savings.sort(key=lambda x: -x.saved_bytes)
        traffic = sum(x.traffic_bytes for x in kernels)
        total = sum(x.saved_bytes for x in kernels)
        intensity = _intensity(sum(x.macs for x in kernels), traffic)
        return cls(working, traffic, intensity, total, tuple(savings))


@dataclass(frozen=True)
class HeldTensor:
    """A tensor that is held at the peak.

    Attributes:
        layer: name of the layer that writes it; of an input of the network, ``input``.
        bytes: its size.
    """

    layer: str
    bytes: int


@dataclass(frozen=True)
class PeakMemory:
    """Peak memory of activations, layer by layer without fusion, inputs included.

    Attributes:
        bytes: the peak by liveness, with every tensor but a view in memory of its own.
        in_place_bytes: the peak where activations write over what nobody reads later.
        onnxruntime_bytes: where activations write over what nobody reads later, and a buffer is
            kept for a tensor of the same shape, as ONNX Runtime plans them.
        layer: that runs at the peak of ``bytes``.
        tensors: what is held then, the largest first.
    """

    bytes: int
    in_place_bytes: int
    onnxruntime_bytes: int
    layer: str
    tensors: tuple[HeldTensor, ...]

    @classmethod
    def of(cls, graph: Graph, memory: ActivationMemory) -> PeakMemory:
        """The peak of a graph, whose memory without reuse is known."""
        held = memory.held(memory.peak_layer)
        tensors = (
            HeldTensor("input" if b.layer < 0 else graph.layers[b.layer].name, b.bytes)
            for b in held
        )
        return cls(
            memory.peak_bytes,
            graph.activation_memory("in-place").peak_bytes,
            graph.activation_memory("onnxruntime").peak_bytes,
            graph.layers[memory.peak_layer].name,
            tuple(tensors),
        )


@dataclass(frozen=True)
class LayerSums:
    """Costs of several layers.

    Attributes:
        kind: of the layers; ``all`` for the whole network.
        layers: number of layers that compute something; of views, which do not, their number.
        macs: multiply-accumulates of those whose cost is known.
        params: parameters.
        param_bytes: bytes of parameters and constants.
        read_bytes: bytes of activations that are read.
        write_bytes: bytes of activations that are written.
        traffic_bytes: memory traffic, bytes.
        intensity: FLOP per byte of memory traffic, two a MAC; null where there is none.
    """

    kind: str
    layers: int
    macs: int
    params: int
    param_bytes: int
    read_bytes: int
    write_bytes: int
    traffic_bytes: int
    intensity: float | None

    @classmethod
    def of(cls, kind: str, layers: Sequence[InspectedLayer]) -> LayerSums:
        """The sums over layers."""
        names = ("macs", "params", "param_bytes", "read_bytes", "write_bytes", "traffic_bytes")
        sums = {n: sum(getattr(x, n) or 0 for x in layers) for n in names}
        intensity = _intensity(sums["macs"], sums["traffic_bytes"])
        working = sum(x.kind != "view" for x in layers) or len(layers)
        return cls(kind, working, **sums, intensity=intensity)


@dataclass(frozen=True)
class UnsupportedLayers:
    """Layers of an operator whose cost is not known.

    Attributes:
        operator: the file's name of it, with its domain.
        layers: how many layers are of it.
        share: of all layers that compute something, 0 to 1.
    """

    operator: str
    layers: int
    share: float


_Row = TypeVar("_Row", InspectedLayer, InspectedKernel)


@dataclass(frozen=True, repr=False)
class Inspection(Record):
    """A network, layer by layer.

    Attributes:
        network: its name.
        inputs: of its file, with the sides that it was read for.
        notes: what was assumed or changed about them, a sentence each.
        total: costs of all layers, with the dearest branches and most trips of loops.
        min_macs: multiply-accumulates with the cheapest branches and fewest trips.
        precision: of nine tenths of the multiply-accumulates, as the file holds what they read, or
            ``mixed``; null without any.
        precisions: share of the multiply-accumulates by precision, the largest first.
        fused: costs of all kernels, as ONNX Runtime fuses the layers.
        peak: peak memory of activations.
        kinds: costs by kind of layer.
        unsupported: unsupported operators.
        layers: in running order, or as they were sorted; as many as were asked for.
        kernels: fused ones, in running order, or as they were sorted; as many as were asked for.
    """

    schema = "inspection"
    frame = "layers"
    no_figure = "its layers compute nothing"

    network: str
    inputs: tuple[GraphInput, ...]
    notes: tuple[str, ...]
    total: LayerSums
    min_macs: int
    precision: str | None
    precisions: Mapping[str, float]
    fused: FusedSums
    peak: PeakMemory
    kinds: tuple[LayerSums, ...]
    unsupported: tuple[UnsupportedLayers, ...]
    layers: tuple[InspectedLayer, ...]
    kernels: tuple[InspectedKernel, ...]

    @classmethod
    def of(cls, graph: Graph, reuse: str = "none") -> Inspection:
        """Inspect a graph; ``reuse`` of memory is of what layers hold."""
        memory = graph.activation_memory()
        held = (memory if reuse == "none" else graph.activation_memory(reuse)).held_bytes
        layers = tuple(map(InspectedLayer.of, graph.layers, held))
        found = fuse(graph)
        kernels = tuple(_kernels(graph, found, layers))
        kinds: dict[str, list[InspectedLayer]] = {}
        for layer in layers:
            kinds.setdefault(layer.kind, []).append(layer)
        return cls(
            graph.name,
            graph.sources,
            graph.notes,
            LayerSums.of("all", layers),
            graph.cheapest.macs,
            graph.precision,
            graph.precisions,
            FusedSums.of(kernels, sum(x.works_in(graph) for x in found)),
            PeakMemory.of(graph, memory),
            tuple(LayerSums.of(kind, own) for kind, own in kinds.items()),
            tuple(
                UnsupportedLayers(n, c, c / max(1, graph.working))
                for n, c in graph.unsupported.items()
            ),
            layers,
            kernels,
        )

    def busiest(self, most: int) -> Inspection:
        """Return the ``most`` layers and kernels with most MACs, in running order."""
        return replace(
            self, layers=_busiest(self.layers, most), kernels=_busiest(self.kernels, most)
        )

    def sorted_by(self, key: str, most: int | None = None) -> Inspection:
        """Return the ``most`` layers and kernels with most ``key`` (see :data:`SORTS`).

        Raises:
            ValueError: there is no such key.
        """
        if key not in SORTS:
            raise ValueError(f"--sort must be one of {', '.join(SORTS)}; got {key!r}")
        field = SORTS[key]

        def value(row: InspectedLayer | InspectedKernel) -> float:
            return -(getattr(row, field) or 0)

        layers = tuple(sorted(self.layers, key=value)[:most])
        return replace(self, layers=layers, kernels=tuple(sorted(self.kernels, key=value)[:most]))

    def headline(self) -> str:
        return f"{self.network}: costs"

    def answer(self) -> str:
        t = self.total
        return (
            f"{counted(t.layers, 'layer')} in {counted(self.fused.kernels, 'kernel')}: "
            f"{count_text(t.macs)} multiply-accumulates, {count_text(t.params)} parameters, and "
            f"at most {bytes_text(self.peak.bytes)} of activations at once."
        )

    def sections(self) -> Iterator[Section]:
        from latcast.report.inspection_page import inspection_sections

        yield from inspection_sections(self.to_dict())

    def unsupported_text(self) -> str:
        """Unsupported operators in words; empty where there are none."""
        return ", ".join(
            f"{end_of(x.operator, NAME_WIDTH)} x {x.layers} ({100 * x.share:.1f} % of layers)"
            for x in self.unsupported
        )

    def parts(self) -> Iterator[Table | str]:
        yield from self.tables(by_kernel=False)

    def figures(self) -> Iterator[Figure]:
        from latcast.report import charts

        measures = (
            ("MACs", "macs", count_text),
            ("weights", "param_bytes", bytes_text),
            ("memory traffic", "traffic_bytes", bytes_text),
        )
        rows = []
        for name, field, text in measures:
            total = getattr(self.total, field)
            kinds = {x.kind: getattr(x, field) / (total or 1) for x in self.kinds}
            rows.append((name, kinds, text(total)))
        yield charts.shares("Where it goes", rows, of="cost")

    def tables(self, *, by_kernel: bool) -> Iterator[Table | str]:
        """Yield the parts that :meth:`parts` shows, with kernels in place of layers if asked."""
        if by_kernel and self.kernels:
            yield Table(_KERNEL_COLUMNS, self.kernels)
        elif self.layers:
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
            Column("weights (MB)", "param_bytes", ",.2f", 1e-6),
            Column("memory traffic (MB)", "traffic_bytes", ",.2f", 1e-6),
            Column("FLOP/byte", "intensity", ",.1f"),
        )
        title = f"{end_of(self.network, NAME_WIDTH)}: {counted(self.total.layers, 'layer')}"
        if views := sum(x.layers for x in self.kinds if x.kind == "view"):
            title += f", and {counted(views, 'view')}, which compute{'s' * (views == 1)} nothing"
        yield Table(columns, [*self.kinds, self.total], title)
        if self.precisions:
            yield f"precision: {precision_text(self.precisions)}"
        yield self.fusion_text()
        yield self.peak_text()

    def fusion_text(self) -> str:
        """Memory traffic with and without fusion, and where the difference comes from."""
        fused, text = self.fused, ""
        if fused.saved_bytes:
            shown = ", ".join(
                f"{end_of(x.operators, NAME_WIDTH)} x {x.kernels:,} {bytes_text(x.saved_bytes)}"
                for x in fused.savings[:MAX_SAVINGS]
            )
            text = (
                f", {bytes_text(fused.saved_bytes)} less: what a kernel hands on inside of itself "
                f"is neither written nor read ({shown}"
                + (", …)" if len(fused.savings) > MAX_SAVINGS else ")")
            )
        return (
            f"memory traffic: {bytes_text(self.total.traffic_bytes)} layer by layer, "
            f"{bytes_text(fused.traffic_bytes)} in {counted(fused.kernels, 'fused kernel')}{text}"
        )

    def peak_text(self) -> str:
        """Peak memory of activations in words."""
        peak = self.peak
        return (
            f"peak memory of activations: {bytes_text(peak.bytes)} while "
            f"{end_of(peak.layer, NAME_WIDTH)} runs; {bytes_text(peak.in_place_bytes)} with "
            f"activations in place, {bytes_text(peak.onnxruntime_bytes)} as ONNX Runtime plans it"
        )

    def doubts(self) -> Iterator[str]:
        if self.min_macs != self.total.macs:
            yield (
                f"note: branches and loops that are decided at run time: {self.min_macs:,} to "
                f"{self.total.macs:,} MACs; the costs are those of the dearest"
            )
        yield from (f"note: {text}" for text in self.notes)
        if self.unsupported:
            yield f"note: unsupported operators, whose cost is not known: {self.unsupported_text()}"


def inspect(
    network: Network,
    *,
    batch: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch_axis: int | Mapping[str, int] | None = None,
    trip_count: int | None = None,
    in_place: bool = False,
) -> Inspection:
    """The layers of a network with their costs.

    Args:
        network: what :func:`latcast.read_graph` takes.
        batch: samples of a forward pass, where the file leaves them open or can change.
        shapes: of inputs that the file leaves open, by their names, or of symbols; of a module's.
        batch_axis: which side of the inputs is the batch.
        trip_count: trips of every loop whose count is no constant in the file.
        in_place: whether layers hold memory as if activations ran in place.

    Raises:
        ValueError: the network cannot be read, or a shape stays open.
        FileNotFoundError: there is no such file.
    """
    graph = read_graph(
        network, batch=batch, shapes=shapes, batch_axis=batch_axis, trip_count=trip_count
    )
    return Inspection.of(graph, "in-place" if in_place else "none")


def inputs_table(inputs: Sequence[GraphInput]) -> Table:
    """Return a table of a file's inputs, with the shapes that they were read with."""
    columns = (
        Column("input", lambda x: end_of(x.name, NAME_WIDTH)),
        Column("in the file", lambda x: end_of(x.told, NAME_WIDTH)),
        Column("read for", lambda x: shape_text(x.shape)),
        Column("type", "dtype"),
        Column("batch axis", lambda x: MISSING if x.batch_axis is None else x.batch_axis),
    )
    changed = (Column("changed", lambda x: x.change or MISSING),)
    return Table(columns + changed if any(x.change for x in inputs) else columns, inputs)


def _kernels(
    graph: Graph, kernels: Sequence[Kernel], layers: Sequence[InspectedLayer]
) -> Iterator[InspectedKernel]:
    for kernel, sources in zip(kernels, kernel_reads(graph, kernels), strict=True):
        own = [layers[n] for n in kernel.layers]
        running = [graph.layers[n] for n in kernel.layers if n not in kernel.idle]
        runs = graph.layers[kernel.main].runs * kernel.times
        read, written = (runs * x for x in crossing_bytes(graph, kernel))
        weights = sum(x.runs * x.steps * x.read_param_bytes for x in running)
        is_view = kernel.main in kernel.idle or all(x.kind == "view" for x in own)
        traffic = 0 if is_view else weights + read + written
        macs = sum(x.macs or 0 for x in own)
        yield InspectedKernel(
            layers[kernel.main].name, kernel_label(graph, kernel), len(own),
            tuple(layers[kernels[n].main].name for n in sources), written_shape(graph, kernel),
            macs, sum(x.params for x in own), sum(x.param_bytes for x in running), read, written,
            traffic, sum(x.traffic_bytes for x in own) - traffic, _intensity(macs, traffic),
            max(x.held_bytes for x in own),
        )  # fmt: skip


def _busiest(rows: tuple[_Row, ...], most: int) -> tuple[_Row, ...]:
    work = [(x.macs or 0, x.traffic_bytes) for x in rows]
    chosen = sorted(range(len(work)), key=lambda n: work[n], reverse=True)[:most]
    return tuple(rows[n] for n in sorted(chosen))


def _intensity(macs: int | None, traffic_bytes: int) -> float | None:
    return 2 * macs / traffic_bytes if macs is not None and traffic_bytes else None


def _known(layer: InspectedLayer, text: str) -> str:
    return MISSING if layer.macs is None else text


_LAYER_COLUMNS = (
    Column("layer", lambda x: end_of(x.name, NAME_WIDTH)),
    Column("operator", lambda x: end_of(x.operator if x.op == "unknown" else x.op, OPERATOR_WIDTH)),
    Column("output", lambda x: shape_text(x.out_shapes[0] if x.out_shapes else ())),
    Column("MACs (M)", "macs", ",.2f", 1e-6),
    Column("parameters", "params", ","),
    Column("weights (kB)", "param_bytes", ",.1f", 1e-3),
    Column("memory traffic (kB)", lambda x: _known(x, f"{x.traffic_bytes / 1e3:,.1f}")),
    Column("FLOP/byte", "intensity", ",.1f"),
    Column("held (kB)", "held_bytes", ",.1f", 1e-3),
)
_KERNEL_COLUMNS = (
    Column("kernel", lambda x: end_of(x.name, NAME_WIDTH)),
    Column("operators", lambda x: end_of(x.operators, OPERATOR_WIDTH)),
    Column("layers", "layers"),
    Column("MACs (M)", "macs", ",.2f", 1e-6),
    Column("parameters", "params", ","),
    Column("weights (kB)", "param_bytes", ",.1f", 1e-3),
    Column("memory traffic (kB)", "traffic_bytes", ",.1f", 1e-3),
    Column("saved (kB)", "saved_bytes", ",.1f", 1e-3),
    Column("FLOP/byte", "intensity", ",.1f"),
    Column("held (kB)", "held_bytes", ",.1f", 1e-3),
)
