"""Layers of a graph joined into kernels by rules: the rules' form, and what applies them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ._graph import Graph
from ._operators import GRAPH_INPUT, UNKNOWN, Layer
from .layouts import cancelled_transposes, costs_like_blocks, is_blocked

_ANY = "*"

# A kernel that more layers read is not joined with them, which keeps the time linear.
_MAX_READERS = 16
# A kernel of more layers takes in no others, which keeps the time linear.
_MAX_LAYERS = 64


@dataclass(frozen=True, slots=True)
class Kernel:
    """Layers of a graph that are fused.

    Attributes:
        main: position of the layer that the kernel is named after: the one with most work.
        layers: positions of all of its layers, ascending; ``main`` is one of them.
        idle: those of them that do not run, because they repeat another one of the kernel, cancel
            each other, keep what they read, or are part of the weights of another one.
        blocked: whether a CPU runtime keeps the channels that it writes in blocks of 16, as
            ONNX Runtime does with AVX-512; or is as fast without, as along one axis.
        word: what rules know it by (see :class:`Part`).
        quantized: whether it reads and writes the integers before a dequantization and after a
            quantization, and its weights as the file holds them.
        times: how often it runs where its layers run once: a dequantization is done anew for each
            of those that read its floats.
    """

    main: int
    layers: tuple[int, ...]
    idle: tuple[int, ...] = ()
    blocked: bool = False
    word: str = ""
    quantized: bool = False
    times: int = 1

    def works_in(self, graph: Graph) -> bool:
        """Whether it does something at run time: views, and branches that never run, do not."""
        main = graph.layers[self.main]
        return main.kind != "view" and bool(main.runs) and self.main not in self.idle


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
        quantized: whether it works on integers (see :class:`Kernel`).
    """

    word: str
    main: int
    layers: tuple[int, ...]
    exits: tuple[int, ...]
    reads: tuple[int, ...]
    idle: tuple[int, ...] = ()
    quantized: bool = False

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
            word, of_integers = layer.op if layer.is_supported else UNKNOWN, is_quantized(layer)
            reads = tuple(dict.fromkeys(layer.inputs))
            # What a file has quantized kernels of is fused already.
            word = QUANTIZED if of_integers else word
            self._add(Part(word, n, (n,), (n,), reads, quantized=of_integers))

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
        # A kernel is named for what runs: of a cancelled transpose and a copy, the copy.
        running = [x for x in path if not set(idle).issuperset(x.layers)] or path
        most = max(running, key=lambda x: self._work(x.main))
        gone = sorted({*idle, *(n for x in path for n in x.idle)})
        for x in path:
            del self._parts[x.key]
        # The last layer is the key: whatever reads the kernel reads a layer after all of its own.
        for n in layers:
            self._owners[n] = layers[-1]
        joined = Part(
            word or most.word, most.main, layers, tuple(sorted(exits)), tuple(reads), tuple(gone),
            word in (QUANTIZED, MOVED) or any(x.quantized for x in path),
        )  # fmt: skip
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
        # Equal work goes to the earlier layer, so that names do not depend on the order of joins.
        return (layer.macs, layer.read_bytes + layer.write_bytes, -position)


# What kernels on integers go by; whatever an older rule asks for, they are not.
QUANTIZED = "quantized"
# Those that move integers before they are dequantized.
MOVED = "moved"
# Kinds that move what is quantized like anything else.
_MOVING = ("copy", "view")


def is_parting(layer: Layer) -> bool:
    """Whether a layer gives parts of what it reads, which others quantize as it was."""
    return layer.op in ("split", "slice", "gather")


def is_quantized(layer: Layer) -> bool:
    """Whether a layer computes on quantized numbers of its file by itself."""
    return (
        bool(layer.inputs)
        and layer.is_supported
        and all(layer.in_bits(n) <= _INTEGER_BITS for n in range(len(layer.inputs)))
        and layer.precision.startswith("int")
        and layer.op not in ("quantize", "dequantize", "cast")
        and layer.kind not in _MOVING
    )


# Bits of the integers that kernels of quantized operators read.
_INTEGER_BITS = 8

# A condition on the kernels that a rule would join, in the order of its path.
Condition = Callable[[Parts, Sequence[Part]], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A path of kernels that become one.

    Attributes:
        name: of what happens.
        path: a word per kernel, each of which reads the one before it: operators of
            :data:`latcast.graph.OPERATORS`, or what earlier rules made, alternatives
            parted by ``|`` (``*`` is any). A sign after it tells what else the kernel reads,
            which by default is constants alone: ``^`` what the first one reads, ``@`` an earlier
            one of the path, ``+`` one kernel more, ``&`` any. A kernel with ``~`` before it does
            not read the one before it, but what the first one reads.
        becomes: what the kernel goes by from then on; by default what the one with most work did.
        when: what must hold beside, if anything.
        idle: places in the path of the kernels that do not run any more.

        is_open: whether all of the path may be read from outside: the kernel writes what each of
            them gives.

    Only the last kernel of a path may be read from outside, or give an output of the graph, if it
    is not open; or all of them, if all others read what the first one reads.
    """

    name: str
    path: str
    becomes: str = ""
    when: Condition | None = None
    idle: tuple[int, ...] = ()
    is_open: bool = False


def joined(graph: Graph, rules: Sequence[Rule], *, is_cut_out: bool) -> tuple[Kernel, ...]:
    """The kernels that rules make of a graph (see :func:`latcast.graph.fuse`)."""
    parts = Parts(graph, is_cut_out=is_cut_out)
    joining = _Joining(parts)
    for rule in rules:
        joining.apply(rule)
    # Joining changes what reads what: blocks are told anew for the kernels that came of it.
    blocked = parts.blocked_now()
    return tuple(
        Kernel(
            x.main, x.layers, x.layers if _is_joined(parts, x) else x.idle,
            x.key in blocked or costs_like_blocks(parts.layer(x.main), quantized=x.quantized),
            x.word, x.quantized, _times(parts, x),
        )
        for x in parts.in_order()
    )  # fmt: skip


def _is_joined(parts: Parts, part: Part) -> bool:
    """Whether a quantization or its inverse is done by the kernels that are before or behind it."""
    if part.word == "dequantize":
        return bool(parts.readers(part)) and not _float_readers(parts, part.main)
    if part.word == "quantize" and GRAPH_INPUT not in part.reads:
        sources = map(parts.get, parts.sources(part))
        return all(
            x is not None and x.quantized and is_parting(parts.layer(x.main)) for x in sources
        )
    return False


def _times(parts: Parts, part: Part) -> int:
    return max(1, _float_readers(parts, part.main)) if part.word == "dequantize" else 1


def _float_readers(parts: Parts, n: int) -> int:
    """How many inputs are the floats of a dequantization, behind what moves its integers.

    ONNX Runtime gives every one a dequantization of its own (``EnsureUniqueDQForNodeUnit``), which
    then runs unless the kernel reads integers.
    """
    found = int(n in parts.graph.outputs)
    for reader in parts.graph.readers[n]:
        part = parts.get(*parts.keys((reader,)))
        if part is None or not part.quantized:
            found += parts.layer(reader).inputs.count(n)
        elif part.layers == (reader,) and part.word == MOVED:
            found += _float_readers(parts, reader)
    return found


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
        word = text.removeprefix("~").rstrip("^@+&")
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
                exits, idle = _exits(rule, steps, path), _idle(rule, path)
                start = self.parts.join(path, rule.becomes, exits, idle)

    def _starts(self, steps: Sequence[_Step]) -> list[int]:
        """Keys of the kernels that a path may start with; if any may, those that the next reads."""
        if _ANY not in steps[0].words:
            return self.parts.known_by(steps[0].words)
        # A path that may begin with anything is looked for from its second word, of which there are
        # few.
        nexts = filter(None, map(self.parts.get, self.parts.known_by(steps[1].words)))
        return sorted({k for x in nexts for k in self.parts.sources(x) if k != GRAPH_INPUT})

    def _path(self, rule: Rule, steps: Sequence[_Step], start: Part) -> list[Part] | None:
        # Every join looks through all layers of a kernel: without a limit that is quadratic.
        if len(start.layers) > _MAX_LAYERS:
            return None
        for path in self._paths(steps, [start]):
            is_closed = self._is_closed(path, _exits(rule, steps, path))
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
            sources = self.parts.sources(part)
            # Integers that are read are the same, whatever would dequantize them.
            is_shared = part.quantized or all(map(_is_shared, map(self.parts.get, sources)))
            return is_shared and sources == self.parts.sources(path[0])
        others = [s for s in self.parts.sources(part) if s != path[-1].key]
        inside = [p.key for p in path]
        match step.beside:
            case "^":
                source = self._only_source(path[0])
                return source is not None and others == [source.key] and _is_shared(source)
            case "@":
                return len(others) == 1 and others[0] in inside
            case "+":
                return len(others) == 1 and others[0] not in inside
            case "&":
                return not set(inside).intersection(others)
        return not others

    def _is_closed(self, path: Sequence[Part], exits: Sequence[int]) -> bool:
        """Whether only the exits are read from outside."""
        # A fused kernel writes its last result alone: what others read besides must stay apart.
        inside = {p.key for p in path}
        # What runs in a loop or in a branch is not joined with what is around it.
        mains = [self.parts.layer(p.main) for p in path]
        if len({(x.runs, x.min_runs) for x in mains}) > 1:
            return False
        return all(
            not self.parts.gives_output(p) and inside.issuperset(self.parts.readers(p))
            for p in path
            if not set(p.exits).issubset(exits)
        )


def _is_shared(part: Part | None) -> bool:
    """Whether all that read a kernel read the same tensor: a dequantization each has its own."""
    return part is None or part.word != "dequantize"


def _exits(rule: Rule, steps: Sequence[_Step], path: Sequence[Part]) -> list[int]:
    """Layers that may be read from outside: the last kernel's, or all if they read the same."""
    siblings = path if rule.is_open or all(s.is_branch for s in steps[1:]) else path[-1:]
    return [n for x in siblings for n in x.exits]


def _idle(rule: Rule, path: Sequence[Part]) -> list[int]:
    return [n for i in rule.idle for n in path[i].layers]
