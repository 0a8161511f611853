"""Kernels by our rules against those that ONNX Runtime's optimizer makes."""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path

import onnx
import onnx.numpy_helper
import onnxruntime

from latcast.networks.graph import GraphLayer, fuse, read_onnx

VIEWS = frozenset(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast", "Shape", "Size")
)
REORDERS = frozenset(("ReorderInput", "ReorderOutput"))
_NCHWC = re.compile(r"(.*?)(_bn)?_nchwc(_token_\d+)?")
_SMALL = 8
_DISTANCE = 6
"""So many nodes a transpose is moved at most, as it is looked for."""


@dataclass(frozen=True)
class Nodes:
    """The nodes of a model that depend on its inputs.

    Attributes:
        nodes: in running order.
        inputs: of every node the tensors that depend on the model's inputs.
        same: tensor -> an earlier one that has the same values.
    """

    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[tuple[str, ...], ...]
    same: Mapping[str, str] = field(default_factory=dict)

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
        gone: original nodes that do not run any more, such as transposes that cancel.
        unexplained: nodes of the optimized model of which nobody knows where they come from.
    """

    groups: list[frozenset[str]]
    gone: frozenset[str]
    unexplained: list[str] = field(default_factory=list)


def reference(model: onnx.ModelProto) -> Reference:
    """The partition of a model, whose nodes have names of their own, by ONNX Runtime."""
    content = model.SerializeToString()
    extended = Nodes.of(optimized(content, "ORT_ENABLE_EXTENDED"))
    final = Nodes.of(optimized(content, "ORT_ENABLE_ALL"))
    return _Mapping(Nodes.of(model), extended, final).reference()


class _Mapping:
    """Which original node gives the value that a tensor of the optimized model has."""

    def __init__(self, original: Nodes, extended: Nodes, final: Nodes) -> None:
        self._original, self._extended, self._final = original, extended, final
        self._extended_ends = self._ends(extended, {})
        named = {
            x.name: self._extended_ends[x.output[0]]
            for x in extended.nodes
            if x.name and x.output[0] in self._extended_ends
        }
        self._ends_of = self._ends(final, named)

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
        if output in self._original.makers:
            return self._original.makers[output]
        # What a transpose was moved behind writes a tensor that is named after the node.
        if output in self._original.names:
            return self._original.names[output]
        if match := _NCHWC.fullmatch(node.name):
            return self._advanced(node, match[1])
        if node.name in named and node.op_type not in REORDERS:
            return named[node.name]
        origin = self._original.names.get(node.name)
        if origin is not None and self._original.nodes[origin].op_type == node.op_type:
            return origin
        return None

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
        final = self._final
        owners = [self._owner(n) for n in range(len(final.nodes))]
        stops = {self._ends_of.get(o) for x in final.nodes for o in x.output} - {None}
        members: dict[int, dict[int, None]] = defaultdict(dict)
        taken: set[int] = set()
        for n, node in enumerate(final.nodes):
            for output in node.output:
                if (end := self._ends_of.get(output)) is not None and end not in taken:
                    found = self._walk(end, stops)
                    members[owners[n]].update(dict.fromkeys(found - taken))
                    taken |= found
        gone = self._gone(members) | (set(range(len(self._original.nodes))) - taken)
        unexplained = [
            x.op_type
            for n, x in enumerate(final.nodes)
            if not members.get(n) and x.op_type not in (*VIEWS, *REORDERS, "Transpose")
        ]
        names = [x.name for x in self._original.nodes]
        groups = [frozenset(names[m] for m in g if m not in gone) for g in members.values()]
        return Reference([g for g in groups if g], frozenset(names[m] for m in gone), unexplained)

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
        original, final = self._original, self._final
        vanished: dict[int, None] = {}
        moved = []
        for n, group in members.items():
            op = final.nodes[n].op_type
            if op not in ("Transpose", "FusedMatMul"):
                vanished |= {m: None for m in group if original.nodes[m].op_type == "Transpose"}
        for n, node in enumerate(final.nodes):
            if node.op_type == "Transpose" and not any(
                original.nodes[m].op_type == "Transpose" for m in members.get(n, ())
            ):
                moved.append(n)
        for n in moved:
            near = self._near(n, vanished)
            if near is not None:
                del vanished[near]
                for group in members.values():
                    group.pop(near, None)
                members[n][near] = None
        return set(vanished)

    def _near(self, n: int, vanished: Iterable[int]) -> int | None:
        original = self._original
        start = self._ends_of.get(self._final.nodes[n].output[0])
        if start is None:
            return None
        seen, ring = {start}, [start]
        wanted = set(vanished)
        for _ in range(_DISTANCE):
            for m in ring:
                if m in wanted:
                    return m
            beside = [x for m in ring for x in (*original.sources(m), *self._readers(m))]
            ring = [x for x in dict.fromkeys(beside) if x not in seen]
            seen.update(ring)
        return None

    def _readers(self, m: int) -> Sequence[int]:
        readers = self._original.readers
        return [r for o in self._original.nodes[m].output for r in readers.get(o, ())]


@dataclass(frozen=True)
class Comparison:
    """Nodes that run, and those that are grouped otherwise than ONNX Runtime does."""

    nodes: int
    different: Counter[str]

    @property
    def same(self) -> float:
        """Share of the nodes that are in the same kernel."""
        return 1 - self.different.total() / self.nodes if self.nodes else 1.0


def compare(model: onnx.ModelProto) -> Comparison:
    """Our kernels of a model against ONNX Runtime's."""
    model = named(model)
    expected = reference(model)
    graph = read_onnx(model.SerializeToString())
    runs = {x.name: x for x in graph.layers if x.kind != "view"}
    ours = {}
    for kernel in fuse(graph):
        names = frozenset(graph.layers[n].name for n in kernel.layers) & set(runs)
        ours.update(dict.fromkeys(names, names))
    theirs = {n: g & set(runs) for g in expected.groups for n in g}
    different: Counter[str] = Counter()
    for name in runs:
        if name in expected.gone:
            if len(ours[name]) < 2:
                different[f"{_words([name], runs)} runs, not there"] += 1
        elif name in theirs and ours[name] - expected.gone != theirs[name]:
            mine = ours[name] - expected.gone
            different[f"{_words(mine, runs)} | {_words(theirs[name], runs)}"] += 1
    return Comparison(len(runs), different)


def _words(names: Iterable[str], layers: Mapping[str, GraphLayer]) -> str:
    return " ".join(x.op for n, x in layers.items() if n in set(names))
