"""A partition of a graph into kernels, while they are being joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ._graph import GRAPH_INPUT, UNKNOWN, Graph, Layer
from .layouts import cancelled_transposes, is_blocked

_MAX_READERS = 16
"""A kernel that more layers read is not joined with them, which keeps the time linear."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Layers of a graph that are fused.

    Attributes:
        main: position of the layer that the kernel is named after: the one with most work.
        layers: positions of all of its layers, ascending; ``main`` is one of them.
        idle: those of them that do not run, because they repeat another one of the kernel, cancel
            each other, keep what they read, or are part of the weights of another one.
        blocked: whether a CPU runtime keeps the channels that it writes in blocks of 16, as
            ONNX Runtime does with AVX-512.
    """

    main: int
    layers: tuple[int, ...]
    idle: tuple[int, ...] = ()
    blocked: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A kernel that may still be joined with others.

    Attributes:
        word: what rules know it by: an operator, or what a rule has made of several.
        main: position of the layer with most work.
        layers: positions of its layers, ascending.
        exits: those of them that are read from outside: one, or several that read the same.
        reads: positions of the layers that it reads, each once, in order.
        idle: those of its layers that do not run.
    """

    word: str
    main: int
    layers: tuple[int, ...]
    exits: tuple[int, ...]
    reads: tuple[int, ...]
    idle: tuple[int, ...] = ()

    @property
    def key(self) -> int:
        """Its name in the partition: the position of its last layer."""
        return self.layers[-1]


class Parts:
    """A partition of the layers of a graph; each kernel is known by its key."""

    def __init__(self, graph: Graph, *, is_cut_out: bool = False) -> None:
        self.graph = graph
        self._is_cut_out = is_cut_out
        self._outputs = frozenset(graph.outputs)
        self._owners = list(range(len(graph)))
        self._parts: dict[int, Part] = {}
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for n, layer in enumerate(graph.layers):
            word = layer.op if layer.is_costed else UNKNOWN
            self._add(Part(word, n, (n,), (n,), tuple(dict.fromkeys(layer.inputs))))

    def layer(self, position: int) -> Layer:
        """The layer at a position of the graph."""
        return self.graph.layers[position]

    def get(self, key: int) -> Part | None:
        """The kernel of a key; None where its layers are in another kernel."""
        return self._parts.get(key)

    def in_order(self) -> list[Part]:
        """All kernels in an order in which they can run: by the first layer that others read.

        Whatever a kernel reads was there before that layer.
        """
        return sorted(self._parts.values(), key=lambda x: x.exits[0])

    def known_by(self, words: Iterable[str]) -> list[int]:
        """Keys of the kernels that go by one of ``words`` now, ascending."""
        words = frozenset(words)
        found = {n for word in words for n in self._by_word.get(word, ())}
        return sorted(n for n in found if n in self._parts and self._parts[n].word in words)

    def readers(self, part: Part) -> tuple[int, ...]:
        """Keys of the kernels that read a kernel."""
        if len(part.exits) == 1:
            return self.keys(self.graph.readers[part.exits[0]])
        return self.keys(r for e in part.exits for r in self.graph.readers[e])

    def is_read_often(self, part: Part) -> bool:
        """Whether more layers read a kernel than a path can take in."""
        return sum(len(self.graph.readers[e]) for e in part.exits) > _MAX_READERS

    def sources(self, part: Part) -> tuple[int, ...]:
        """Keys of the kernels that a kernel reads, and :data:`GRAPH_INPUT`."""
        return self.keys(part.reads)

    def keys(self, layers: Iterable[int]) -> tuple[int, ...]:
        """Keys of the kernels that layers are in, each once, in order."""
        owners = self._owners
        return tuple(dict.fromkeys([n if n == GRAPH_INPUT else owners[n] for n in layers]))

    def gives_output(self, part: Part) -> bool:
        """Whether a kernel gives an output of the graph."""
        return not self._outputs.isdisjoint(part.exits)

    def join(
        self, path: Sequence[Part], word: str, exits: Sequence[int], idle: Sequence[int]
    ) -> Part:
        """Make one kernel of several, of which only ``exits`` are read from outside.

        It goes by ``word``, or else by what the one with most work did, of those that still run.
        """
        layers = tuple(sorted(n for x in path for n in x.layers))
        reads = dict.fromkeys(n for x in path for n in x.reads if n not in layers)
        running = [x for x in path if not set(idle).issuperset(x.layers)]
        most = max(running, key=lambda x: self._work(x.main))
        gone = sorted({*idle, *(n for x in path for n in x.idle)})
        for x in path:
            del self._parts[x.key]
        for n in layers:
            self._owners[n] = layers[-1]
        joined = Part(
            word or most.word, most.main, layers, tuple(sorted(exits)), tuple(reads), tuple(gone)
        )
        return self._add(joined)

    @cached_property
    def blocked(self) -> frozenset[int]:
        """Keys of the kernels that write blocks of channels, as they were when first asked."""
        return self.blocked_now()

    def blocked_now(self) -> frozenset[int]:
        """Keys of the kernels that write blocks of channels (see :func:`is_blocked`).

        Of what was cut out of a network the inputs may be in blocks: :data:`GRAPH_INPUT` is among
        them.
        """
        found = {GRAPH_INPUT} if self._is_cut_out else set()
        for x in self.in_order():
            if is_blocked(self.layer(x.main), x.word, [s in found for s in self.sources(x)]):
                found.add(x.key)
        return frozenset(found)

    @cached_property
    def cancelled(self) -> frozenset[int]:
        """Positions of the transposes that never run."""
        return cancelled_transposes(self.graph)

    def _add(self, part: Part) -> Part:
        self._parts[part.key] = part
        self._by_word[part.word].append(part.key)
        return part

    def _work(self, position: int) -> tuple[int, int, int]:
        layer = self.layer(position)
        return (layer.macs, layer.read_bytes + layer.write_bytes, -position)
