"""Kernels by our rules against those that ONNX Runtime's optimizer makes.

    python benchmarks/fusion.py [--variants 8] [--seed 1] [--family resnet …]
    python benchmarks/fusion.py MODEL.onnx …

Of every network the model that ONNX Runtime saves after all of its optimizations is traced back,
tensor by tensor, to the nodes that it was made of. Printed is the share of the nodes that are in
a kernel with just the same nodes, and which are not. Nodes that only name their input anew (a
reshape, an identity) do not count. A node that is optimized away is right if it is no kernel of
its own.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter, abc, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from pathlib import Path

import onnx
import onnx.numpy_helper
import onnxruntime

from latcast.bench.tables import machine
from latcast.families import Variant, family_names, population
from latcast.graph import Layer, fuse
from latcast.graph.read.onnx import read_onnx

VIEWS = frozenset(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast", "Shape", "Size")
)
REORDERS = frozenset(("ReorderInput", "ReorderOutput"))
_NCHWC = re.compile(r"(.*?)(_bn)?_nchwc(_token_\d+)?")
_SMALL = 8
"""Constants of so many numbers are compared by value."""
_SUM_ADDED = "/MatMulAddFusion"
_MOST_SHOWN = 5
_DISTANCE = 6
"""So many nodes a transpose is moved at most, as it is looked for."""


@dataclass(frozen=True)
class Nodes:
    """The nodes of a model that depend on its inputs, without those that read shapes.

    Attributes:
        nodes: in running order.
        inputs: of every node the tensors that depend on the model's inputs.
        same: tensor -> an earlier one that has the same values.
    """

    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[tuple[str, ...], ...]
    same: abc.Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Nodes:
        constants = {x.name: _content(x) for x in model.graph.initializer}
        alive = {x.name for x in model.graph.input} - set(constants)
        nodes, inputs = [], []
        seen: dict[tuple[object, ...], onnx.NodeProto] = {}
        same: dict[str, str] = {}
        for node in model.graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = node.attribute[0].SerializeToString()
            read = tuple(dict.fromkeys(i for i in node.input if i in alive))
            if read and node.op_type not in ("Shape", "Size"):
                alive.update(o for o in node.output if o)
                nodes.append(node)
                inputs.append(read)
                values = tuple(constants.get(i) or same.get(i, i) for i in node.input)
                attributes = tuple(sorted(a.SerializeToString() for a in node.attribute))
                first = seen.setdefault((node.op_type, node.domain, values, attributes), node)
                same.update(zip(node.output, first.output, strict=True))
        return cls(tuple(nodes), tuple(inputs), same)

    @cached_property
    def makers(self) -> dict[str, int]:
        """Tensor -> position of the node that writes it."""
        return {o: n for n, x in enumerate(self.nodes) for o in x.output if o}

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """Tensor -> positions of the nodes that read it."""
        found = defaultdict(list)
        for n, inputs in enumerate(self.inputs):
            for i in inputs:
                found[i].append(n)
        return found

    @cached_property
    def names(self) -> dict[str, int]:
        """Name of a node -> its position."""
        return {x.name: n for n, x in enumerate(self.nodes) if x.name}

    def sources(self, n: int) -> Iterator[int]:
        """Positions of the nodes that node ``n`` reads; of those that repeat one, the first."""
        tensors = (self.same.get(i, i) for i in self.inputs[n])
        return (self.makers[i] for i in tensors if i in self.makers)


def _content(tensor: onnx.TensorProto) -> bytes | None:
    """What a small constant has; None of a large one, which is like no other."""
    if prod(tensor.dims) > _SMALL:
        return None
    return onnx.numpy_helper.to_array(tensor).tobytes() + bytes([tensor.data_type, *tensor.dims])


def optimized(model: bytes, level: str) -> onnx.ModelProto:
    """The model as ONNX Runtime would run it on this machine's CPU."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with a name of its own for every node."""
    for n, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}_{n}"
    return model


@dataclass
class Reference:
    """What ONNX Runtime makes of a model.

    Attributes:
        groups: names of the original nodes that are in one kernel.
        gone: original nodes that do not run any more: those that repeat another one, and
            transposes that cancel.
    """

    groups: list[frozenset[str]]
    gone: frozenset[str]


def reference(model: onnx.ModelProto) -> Reference:
    """The partition of a model, whose nodes have names of their own, by ONNX Runtime."""
    content = model.SerializeToString()
    extended = Nodes.of(optimized(content, "ORT_ENABLE_EXTENDED"))
    final = Nodes.of(optimized(content, "ORT_ENABLE_ALL"))
    return Mapping(Nodes.of(model), extended, final).reference()


class Mapping:
    """Which original node gives the values that a tensor of an optimized model has.

    Fused nodes keep the name of the last tensor; what works on blocks of channels is named after
    the tensor that it wrote before it took in a sum and an activation; other new nodes only move
    elements.

    Attributes:
        ends: tensor of the final model -> position of the original node with the same values, in
            some layout.
    """

    def __init__(self, original: Nodes, extended: Nodes, final: Nodes) -> None:
        self._original, self._extended, self._final = original, extended, final
        self._extended_ends = self._ends(extended, {})
        named = {
            x.name: self._extended_ends[x.output[0]]
            for x in extended.nodes
            if x.name and x.output[0] in self._extended_ends
        }
        self.ends = self._ends(final, named)

    def _ends(self, nodes: Nodes, named: dict[str, int]) -> dict[str, int]:
        ends: dict[str, int] = {}
        for n, node in enumerate(nodes.nodes):
            for output in node.output:
                end = self._end(node, self._original.same.get(output, output), named)
                if end is None and (node.op_type in (*VIEWS, *REORDERS, "Transpose")):
                    end = ends.get(nodes.inputs[n][0])
                if end is not None:
                    ends[output] = end
        return ends

    def _end(self, node: onnx.NodeProto, output: str, named: dict[str, int]) -> int | None:
        original = self._original
        # What a transpose was moved behind writes a tensor that is named after the node.
        for known in (original.makers, original.names):
            if output in known:
                return known[output]
        if match := _NCHWC.fullmatch(node.name):
            return self._advanced(node, match[1])
        if node.name in named and node.op_type not in REORDERS:
            return named[node.name]
        if node.name.endswith(_SUM_ADDED):
            # Its own output is only named if no reshape of it was made one with another.
            return max(self._readers(original.names[node.name.removesuffix(_SUM_ADDED)]))
        origin = original.names.get(node.name)
        is_same = origin is not None and original.nodes[origin].op_type == node.op_type
        return origin if is_same else None

    def _advanced(self, node: onnx.NodeProto, tensor: str) -> int | None:
        """Of a blocked convolution: after the sum and the activation that it took in later."""
        extended = self._extended
        if tensor not in extended.makers:
            return None
        n = extended.makers[tensor]
        had = {a.name for a in extended.nodes[n].attribute}
        has = {a.name for a in node.attribute}
        steps = (len(node.input) > 3 and bool(node.input[3])) + ("activation" in has - had)
        for _ in range(steps):
            # Of a product with its own activation, which reads it too, that is the last one.
            n = max(extended.readers[extended.nodes[n].output[0]])
        return self._extended_ends.get(extended.nodes[n].output[0])

    def reference(self) -> Reference:
        """The partition, from the end of each final node back to where others end."""
        final = self._final
        stops = {self.ends.get(o) for x in final.nodes for o in x.output} - {None}
        members: dict[int, dict[int, None]] = defaultdict(dict)
        taken: set[int] = set()
        for n, node in enumerate(final.nodes):
            for end in (self.ends.get(o) for o in node.output):
                if end is not None and end not in taken:
                    found = self._walk(end, stops) - taken
                    members[self._owner(n)] |= dict.fromkeys(found)
                    taken |= found
        gone = self._gone(members) | (set(range(len(self._original.nodes))) - taken)
        names = [x.name for x in self._original.nodes]
        groups = [frozenset(names[m] for m in g if m not in gone) for g in members.values()]
        return Reference([g for g in groups if g], frozenset(names[m] for m in gone))

    def _owner(self, n: int) -> int:
        """The node of the optimized model whose kernel does what node ``n`` stands for."""
        final = self._final
        while final.nodes[n].op_type in (*VIEWS, "ReorderOutput"):
            sources = list(final.sources(n))
            if not sources:
                break
            n = sources[0]
        return n

    def _walk(self, end: int, stops: set[int | None]) -> set[int]:
        found, waiting = {end}, [end]
        while waiting:
            for source in self._original.sources(waiting.pop()):
                if source not in stops and source not in found:
                    found.add(source)
                    waiting.append(source)
        return found

    def _gone(self, members: dict[int, dict[int, None]]) -> set[int]:
        """Transposes that are in the kernel of another operator, but for those that were moved."""
        final = self._final
        vanished: set[int] = set()
        for n, group in members.items():
            if final.nodes[n].op_type not in ("Transpose", "FusedMatMul"):
                vanished |= self._transposes(group)
        for n, node in enumerate(final.nodes):
            if node.op_type == "Transpose" and not self._transposes(members.get(n, ())):
                near = self._near(n, vanished)
                if near is not None:
                    vanished.remove(near)
                    for group in members.values():
                        group.pop(near, None)
                    members[n][near] = None
        return vanished

    def _transposes(self, nodes: Iterable[int]) -> set[int]:
        return {m for m in nodes if self._original.nodes[m].op_type == "Transpose"}

    def _near(self, n: int, wanted: Collection[int]) -> int | None:
        """The one of the original transposes that the final one at ``n`` was moved from."""
        ring = [m for o in self._final.nodes[n].output if (m := self.ends.get(o)) is not None]
        seen = set(ring)
        for _ in range(_DISTANCE):
            for m in ring:
                if m in wanted:
                    return m
            beside = [x for m in ring for x in (*self._original.sources(m), *self._readers(m))]
            ring = [x for x in dict.fromkeys(beside) if x not in seen]
            seen.update(ring)
        return None

    def _readers(self, m: int) -> Sequence[int]:
        readers = self._original.readers
        return [r for o in self._original.nodes[m].output for r in readers.get(o, ())]


@dataclass
class Comparison:
    """How many nodes run, and how those are grouped that are not as ONNX Runtime has them."""

    nodes: int = 0
    different: Counter[str] = field(default_factory=Counter)

    @property
    def same(self) -> float:
        """Share of the nodes that are in the same kernel."""
        return 1 - self.different.total() / self.nodes if self.nodes else 1.0

    def add(self, other: Comparison) -> None:
        """Count those of another model too."""
        self.nodes += other.nodes
        self.different += other.different


def compare(model: onnx.ModelProto) -> Comparison:
    """Our kernels of a model against ONNX Runtime's."""
    model = named(model)
    expected = reference(model)
    graph = read_onnx(model.SerializeToString())
    runs = {x.name: x for x in graph.layers if x.kind != "view"}
    kernels = [frozenset(graph.layers[n].name for n in k.layers) & set(runs) for k in fuse(graph)]
    ours = {name: kernel for kernel in kernels for name in kernel}
    theirs = {name: group & set(runs) for group in expected.groups for name in group}
    found = Comparison(len(runs))
    for name, layer in runs.items():
        mine, yours = ours[name] - expected.gone, theirs.get(name, frozenset())
        if name in expected.gone and len(ours[name]) == 1:
            found.different[f"{layer.op}, which does not run"] += 1
        elif name not in expected.gone and mine != yours:
            found.different[f"{_words(mine, runs)} instead of {_words(yours, runs)}"] += 1
    return found


def _words(names: Collection[str], layers: abc.Mapping[str, Layer]) -> str:
    return "+".join(x.op for n, x in layers.items() if n in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="models instead of variants of families")
    parser.add_argument("--variants", type=int, default=8, help="of every family")
    parser.add_argument("--seed", type=int, default=1, help="of the variants")
    parser.add_argument("--family", action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    print(f"{machine()}; onnxruntime {onnxruntime.__version__}\n")
    print(f"{'':24s} {'networks':>8s} {'nodes':>8s} {'same kernel':>12s}")
    rows: dict[str, list[Callable[[], onnx.ModelProto]]] = {
        Path(f).name: [partial(onnx.load, f)] for f in arguments.files
    }
    for name in () if arguments.files else arguments.family or family_names():
        variants = population(arguments.variants, arguments.seed, [name])
        rows[name] = [partial(_load, x) for x in variants]
    total = Comparison()
    for name, models in rows.items():
        found = Comparison()
        for load in models:
            found.add(compare(load()))
        _print_row(name, len(models), found)
        total.add(found)
    _print_row("all", sum(map(len, rows.values())), total)


def _load(variant: Variant) -> onnx.ModelProto:
    return onnx.load_from_string(variant.to_onnx())


def _print_row(name: str, networks: int, found: Comparison) -> None:
    print(f"{name:24s} {networks:8d} {found.nodes:8d} {found.same:12.2%}", flush=True)
    if name != "all":
        for words, count in found.different.most_common(_MOST_SHOWN):
            print(f"{'':10s} {count} x {words}")


if __name__ == "__main__":
    main()
