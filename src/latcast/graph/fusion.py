"""Layers of a graph joined into kernels by rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ._graph import GRAPH_INPUT, UNKNOWN, Graph
from .partition import Kernel, Part, Parts
from .rules import RULES, Rule

_ANY = "*"

_MAX_LAYERS = 64
"""A kernel of more layers takes in no others, which keeps the time linear."""


def fuse(
    graph: Graph, rules: Sequence[Rule] = RULES, *, is_cut_out: bool = False
) -> tuple[Kernel, ...]:
    """A partition of all layers into kernels, as a runtime makes it.

    Kernels come in an order in which they can run. What is read from outside of a kernel, or is an
    output of the graph, is one of its layers, or several that read the same.

    Args:
        graph: any; a layer whose cost is not known stays alone.
        rules: are applied one after the other, each wherever it fits.
        is_cut_out: whether the graph is a block of a network, whose inputs others have written.
    """
    parts = Parts(graph, is_cut_out=is_cut_out)
    joining = _Joining(parts)
    for rule in rules:
        joining.apply(rule)
    blocked = parts.blocked_now()
    return tuple(Kernel(x.main, x.layers, x.idle, x.key in blocked) for x in parts.in_order())


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


class _Joining:
    """A graph whose kernels are being joined."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def apply(self, rule: Rule) -> None:
        """Join every path of kernels that fits the rule, from the first to the last."""
        steps = _steps(rule.path)
        for key in self._starts(steps):
            start = self.parts.get(key)
            # A kernel that was joined may start another path.
            while start and steps[0].fits(start.word) and (path := self._path(rule, steps, start)):
                exits, idle = _exits(steps, path), _idle(rule, path)
                start = self.parts.join(path, rule.becomes, exits, idle)

    def _starts(self, steps: Sequence[_Step]) -> list[int]:
        """Keys of the kernels that a path may start with; if any may, those that the next reads."""
        if _ANY not in steps[0].words:
            return self.parts.known_by(steps[0].words)
        nexts = filter(None, map(self.parts.get, self.parts.known_by(steps[1].words)))
        return sorted({k for x in nexts for k in self.parts.sources(x) if k != GRAPH_INPUT})

    def _path(self, rule: Rule, steps: Sequence[_Step], start: Part) -> list[Part] | None:
        if len(start.layers) > _MAX_LAYERS:
            return None
        for path in self._paths(steps, [start]):
            is_closed = self._is_closed(path, _exits(steps, path))
            if is_closed and (rule.when is None or rule.when(self.parts, path)):
                return path
        return None

    def _paths(self, steps: Sequence[_Step], path: list[Part]) -> Iterator[list[Part]]:
        if len(path) == len(steps):
            yield path
            return
        step = steps[len(path)]
        for key in self._candidates(step, path):
            part = self.parts.get(key)
            if part and part not in path and step.fits(part.word) and self._reads(step, part, path):
                yield from self._paths(steps, [*path, part])

    def _candidates(self, step: _Step, path: list[Part]) -> tuple[int, ...]:
        source: Part | None = path[-1]
        if step.is_branch:
            source = self.parts.get(min(self.parts.sources(path[0]), default=GRAPH_INPUT))
        if source is None or self.parts.is_read_often(source):
            return ()
        return self.parts.readers(source)

    def _only_source(self, part: Part) -> Part | None:
        """The one kernel of one output that a kernel reads."""
        sources = self.parts.sources(part)
        if len(sources) != 1 or sources[0] == GRAPH_INPUT or len(part.reads) != 1:
            return None
        is_one = len(self.parts.layer(part.reads[0]).out_shapes) == 1
        return self.parts.get(sources[0]) if is_one else None

    def _reads(self, step: _Step, part: Part, path: list[Part]) -> bool:
        """Whether what it reads beside the kernel before it is what the step asks for."""
        if step.is_branch:
            return self.parts.sources(part) == self.parts.sources(path[0])
        others = [s for s in self.parts.sources(part) if s != path[-1].key]
        inside = [p.key for p in path]
        match step.beside:
            case "^":
                source = self._only_source(path[0])
                return source is not None and others == [source.key]
            case "@":
                return len(others) == 1 and others[0] in inside
            case "+":
                return len(others) == 1 and others[0] not in inside
        return not others

    def _is_closed(self, path: Sequence[Part], exits: Sequence[int]) -> bool:
        """Whether only the exits are read from outside."""
        inside = {p.key for p in path}
        return all(
            not self.parts.gives_output(p) and inside.issuperset(self.parts.readers(p))
            for p in path
            if not set(p.exits).issubset(exits)
        )


def _exits(steps: Sequence[_Step], path: Sequence[Part]) -> list[int]:
    """Layers that may be read from outside: the last kernel's, or all if they read the same."""
    siblings = path if all(s.is_branch for s in steps[1:]) else path[-1:]
    return [n for x in siblings for n in x.exits]


def _idle(rule: Rule, path: Sequence[Part]) -> list[int]:
    return [n for i in rule.idle for n in path[i].layers]
