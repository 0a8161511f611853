"""Layers of a graph joined into kernels by rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ._graph import GRAPH_INPUT, UNKNOWN, LayerGraph
from ._kernels import Kernel
from ._parts import Part, Parts
from ._rules import RULES, Rule

_ANY = "*"


def fuse(graph: LayerGraph, rules: Sequence[Rule] = RULES) -> tuple[Kernel, ...]:
    """A partition of all layers into kernels, as a runtime makes it.

    Kernels come in an order in which they can run, by their last layers. What is read from
    outside of a kernel, or is an output of the graph, is its last layer alone.

    Args:
        graph: any; a layer whose cost is not known stays alone.
        rules: are applied one after the other, each wherever it fits.
    """
    joined = Joining(graph)
    for rule in rules:
        joined.apply(rule)
    return tuple(Kernel(x.main, x.layers) for x in joined.parts.in_order())


@dataclass(frozen=True, slots=True)
class _Step:
    """One word of a rule's path."""

    words: frozenset[str]
    beside: str
    is_branch: bool

    def fits(self, word: str) -> bool:
        return word in self.words or (_ANY in self.words and word != UNKNOWN)


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[_Step, ...]:
    steps = []
    for text in path.split():
        word = text.removeprefix("~").rstrip("^@+")
        steps.append(_Step(frozenset(word.split("|")), text[-1], text.startswith("~")))
    return tuple(steps)


class Joining:
    """A graph whose kernels are being joined."""

    def __init__(self, graph: LayerGraph) -> None:
        self.parts = Parts(graph)

    def apply(self, rule: Rule) -> None:
        """Join every path of kernels that fits the rule, from the first to the last."""
        steps = _steps(rule.path)
        for last in self.parts.known_by(steps[0].words):
            # A kernel that was joined may start another path.
            while (path := self._path(rule, steps, last)) is not None:
                joined = self.parts.join(path, rule.becomes or path[0].word)
                if not steps[0].fits(joined.word):
                    break
                last = joined.last

    def _path(self, rule: Rule, steps: Sequence[_Step], last: int) -> list[Part] | None:
        part = self.parts.get(last)
        if part is None or not steps[0].fits(part.word):
            return None
        for path in self._paths(steps, [part]):
            if self._is_closed(path) and rule.when(self.parts, path):
                return path
        return None

    def _paths(self, steps: Sequence[_Step], path: list[Part]) -> Iterator[list[Part]]:
        if len(path) == len(steps):
            yield path
            return
        step = steps[len(path)]
        for reader in self._candidates(step, path, len(steps)):
            part = self.parts.get(reader)
            if part and part not in path and step.fits(part.word) and self._reads(step, part, path):
                yield from self._paths(steps, [*path, part])

    def _candidates(self, step: _Step, path: list[Part], most: int) -> tuple[int, ...]:
        if not step.is_branch:
            readers = self.parts.readers(path[-1].last)
        elif len(path[0].sources) == 1 and path[0].sources[0] != GRAPH_INPUT:
            readers = self.parts.readers(path[0].sources[0])
        else:
            return ()
        return readers if len(readers) <= 2 * most else ()

    def _reads(self, step: _Step, part: Part, path: list[Part]) -> bool:
        """Whether what it reads beside the kernel before it is what the step asks for."""
        first = path[0].sources
        if step.is_branch:
            return part.sources == first
        others = [s for s in part.sources if s != path[-1].last]
        match step.beside:
            case "^":
                return len(first) == 1 and others == [first[0]]
            case "@":
                return len(others) == 1 and others[0] in [p.last for p in path]
            case "+":
                return len(others) == 1 and others[0] not in [p.last for p in path]
        return not others

    def _is_closed(self, path: Sequence[Part]) -> bool:
        """Whether only the last kernel is read from outside."""
        inside = {p.last for p in path}
        return all(
            not self.parts.is_output(p.last) and inside.issuperset(self.parts.readers(p.last))
            for p in path[:-1]
        )
