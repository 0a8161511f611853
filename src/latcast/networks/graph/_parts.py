"""Kernels of a graph while they are being joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ._blocked import is_blocked
from ._graph import GRAPH_INPUT, UNKNOWN, GraphLayer, LayerGraph

_ANY = "*"


@dataclass(frozen=True, slots=True)
class Part:
    """A kernel that may still be joined with others.

    Attributes:
        word: what rules know it by: an operator, or what a rule has made of several.
        main: position of the layer with most work.
        layers: positions of its layers, ascending.
        sources: last layers of the kernels that it reads, each once, in order.
    """

    word: str
    main: int
    layers: tuple[int, ...]
    sources: tuple[int, ...]

    @property
    def first(self) -> int:
        """Position of its first layer."""
        return self.layers[0]

    @property
    def last(self) -> int:
        """Position of its last layer, the only one that is read from outside."""
        return self.layers[-1]


class Parts:
    """A partition of the layers of a graph, of which each kernel is known by its last layer."""

    def __init__(self, graph: LayerGraph) -> None:
        self.graph = graph
        self._outputs = frozenset(graph.outputs)
        self._owners = list(range(len(graph)))
        self._parts: dict[int, Part] = {}
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for n, layer in enumerate(graph.layers):
            word = layer.op if layer.is_costed else UNKNOWN
            self._add(Part(word, n, (n,), tuple(dict.fromkeys(layer.inputs))))

    def layer(self, position: int) -> GraphLayer:
        """The layer at a position of the graph."""
        return self.graph.layers[position]

    def get(self, last: int) -> Part | None:
        """The kernel whose last layer is at ``last``; None where that is in another kernel."""
        return self._parts.get(last)

    def in_order(self) -> Iterator[Part]:
        """All kernels, by their last layers."""
        return (self._parts[n] for n in sorted(self._parts))

    def known_by(self, words: frozenset[str]) -> list[int]:
        """Last layers of the kernels that go by one of ``words`` now, ascending."""
        if _ANY in words:
            return sorted(n for n, x in self._parts.items() if x.word != UNKNOWN)
        found = {n for word in words for n in self._by_word.get(word, ())}
        return sorted(n for n in found if n in self._parts and self._parts[n].word in words)

    def readers(self, last: int) -> tuple[int, ...]:
        """Last layers of the kernels that read the one that ends at ``last``."""
        return tuple(dict.fromkeys(self._owners[r] for r in self.graph.readers[last]))

    def is_output(self, last: int) -> bool:
        """Whether the layer at ``last`` gives an output of the graph."""
        return last in self._outputs

    def join(self, path: Sequence[Part], word: str) -> Part:
        """Make one kernel of several, of which only the last one is read from outside."""
        layers = tuple(sorted(n for x in path for n in x.layers))
        inside = {x.last for x in path}
        sources = dict.fromkeys(s for x in path for s in x.sources if s not in inside)
        main = max((x.main for x in path), key=self._work)
        for x in path:
            del self._parts[x.last]
        for n in layers:
            self._owners[n] = layers[-1]
        return self._add(Part(word, main, layers, tuple(sources)))

    @cached_property
    def blocked(self) -> frozenset[int]:
        """Last layers of the kernels that write blocks of channels, as they were when first asked.

        See :func:`is_blocked`.
        """
        found: set[int] = set()
        for x in self.in_order():
            if is_blocked(self.layer(x.main), x.word, [s in found for s in x.sources]):
                found.add(x.last)
        return frozenset(found)

    def _add(self, part: Part) -> Part:
        self._parts[part.last] = part
        self._by_word[part.word].append(part.last)
        return part

    def _work(self, position: int) -> tuple[int, int, int]:
        layer = self.layer(position)
        return (layer.macs, layer.read_bytes + layer.write_bytes, -position)


__all__ = ["GRAPH_INPUT", "Part", "Parts"]
