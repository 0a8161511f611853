"""Repetitions in a network: kernels in running order become few boxes that unfold.

Blocks of equal kernels that follow each other are one box. Where too many boxes are left, so are
blocks of the same operators on maps of the same sides, then the stages between two changes of the
largest map, and at last stretches between places where few tensors cross.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

# Boxes of one picture: more are folded further, as they would not be seen at once.
MAX_BOXES = 40
# Kernels of a block, or folded boxes of one, that repetitions are looked for.
_MAX_PERIOD = 256
# What a fold must hide: two boxes are as quickly read as one with a number.
_MIN_HIDDEN = 2
# Stages that are worth a level of their own.
_MIN_STAGES = 3


@dataclass(frozen=True, slots=True)
class Node:
    """The facts of a kernel that folding compares.

    Attributes:
        reads: positions of the kernels that it reads, all before its own.
        operators: that it fuses.
        sides: of the map that it writes, or how many tokens.
        size: its shape and costs: what equal kernels have in common beside those.
    """

    reads: tuple[int, ...]
    operators: str
    sides: tuple[int, ...]
    size: Hashable


@dataclass(frozen=True, slots=True)
class Box:
    """A kernel, or a group of kernels that follow each other in running order.

    Attributes:
        first: position of its first kernel.
        last: position behind its last kernel.
        times: how often what is inside repeats.
        inside: boxes of the first repetition; empty for a kernel.
        is_equal: whether the repetitions are equal, not only of the same operators.
    """

    first: int
    last: int
    times: int = 1
    inside: tuple[Box, ...] = ()
    is_equal: bool = True

    @property
    def unit(self) -> int:
        """The number of kernels of one repetition."""
        return (self.last - self.first) // self.times

    def kernels(self, shifts: Sequence[int]) -> list[int]:
        """Return the positions of its kernels in all repetitions of the groups that hold it.

        Args:
            shifts: how far each repetition is behind the first one.
        """
        return [n + shift for shift in shifts for n in range(self.first, self.last)]

    def shifts(self, own: Sequence[int]) -> list[int]:
        """Return how far repetitions of its insides are behind the first, by its own shifts."""
        return [shift + n * self.unit for shift in own for n in range(self.times)]


def fold(nodes: Sequence[Node], most: int = MAX_BOXES) -> tuple[Box, ...]:
    """Fold all kernels into few boxes, in running order.

    Args:
        nodes: kernels in running order.
        most: boxes of one level, where folding can reach it.
    """
    return _Folding(nodes, most).folded()


class _Folding:
    """The kernels of a network while they are folded.

    Attributes:
        nodes: kernels in running order.
        most: boxes of one level.
        cuts: tensors that are written before each position and read at it or later, and how long
            the last of them is kept, minus: the fewer cross, the better is a position to part at.
    """

    def __init__(self, nodes: Sequence[Node], most: int) -> None:
        self.nodes, self.most = nodes, most
        crossing = np.zeros(len(nodes) + 2, dtype=np.int64)
        kept = np.zeros(len(nodes) + 1, dtype=np.int64)
        for n, node in enumerate(nodes):
            for source in node.reads:
                kept[source + 1] = n
        for source in np.flatnonzero(kept).tolist():
            crossing[source] += 1
            crossing[kept[source] + 1] -= 1
        lives = np.maximum.accumulate(kept) - np.arange(len(kept))
        self.cuts = list(zip(np.cumsum(crossing).tolist(), (-lives).tolist(), strict=False))
        areas = np.array([prod(x.sides) for x in nodes])
        # The largest map at a position or behind it; those that a U-net grows again count, too.
        self.largest = np.maximum.accumulate(areas[::-1])[::-1].tolist()

    def folded(self) -> tuple[Box, ...]:
        boxes = tuple(Box(n, n + 1) for n in range(len(self.nodes)))
        return self._shortened(self._repeated(boxes, is_equal=True))

    def _shortened(self, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
        """Return boxes of one level, folded further where they or their insides are too many."""
        if len(boxes) > self.most:
            boxes = self._repeated(boxes, is_equal=False)
        if len(boxes) > self.most:
            boxes = self._stages(boxes)
        if len(boxes) > self.most:
            boxes = tuple(self._stretches(boxes))
        return tuple(
            replace(b, inside=self._shortened(b.inside)) if len(b.inside) > self.most else b
            for b in boxes
        )

    def _repeated(self, boxes: tuple[Box, ...], *, is_equal: bool) -> tuple[Box, ...]:
        """Fold boxes that repeat, and then the groups that repeat, until nothing repeats."""
        while True:
            taken = np.zeros(len(boxes), dtype=bool)
            folded: dict[int, tuple[int, Box]] = {}
            for _, period, start, most_times in self._candidates(boxes, is_equal=is_equal):
                if taken[start : start + period * most_times].any():
                    continue
                times = self._same_inside(boxes, start, period, most_times)
                if (times - 1) * period < _MIN_HIDDEN:
                    continue
                end = start + period * times
                taken[start:end] = True
                folded[start] = end, _group(boxes[start:end], times, is_equal=is_equal)
            if not folded:
                return boxes
            boxes = tuple(_with_folded(boxes, folded))

    def _candidates(
        self, boxes: tuple[Box, ...], *, is_equal: bool
    ) -> list[tuple[int, int, int, int]]:
        """Return repetitions as (minus hidden boxes, period, start, times), most hidden first."""
        codes: dict[Hashable, int] = {}
        tokens = (self._token(b, is_equal=is_equal) for b in boxes)
        words = np.array([codes.setdefault(t, len(codes)) for t in tokens])
        found = []
        for period in range(1, min(len(boxes) // 2, _MAX_PERIOD) + 1):
            same = np.concatenate(([0], words[period:] == words[:-period], [0])).astype(np.int8)
            edges = np.flatnonzero(np.diff(same)).tolist()
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                if end - start < period:
                    continue
                # A block begins where few tensors cross, such as behind the sum of a residual, if
                # that costs no more than a repetition.
                begins = range(start, min(start + period, end - period + 1))
                all_times = [(end - n) // period + 1 for n in begins]
                cuts = [self.cuts[boxes[n].first] for n in begins]
                _, _, _, begin, times = min(
                    ((cut[0] > 1) - times, -times, cut, n, times)
                    for n, cut, times in zip(begins, cuts, all_times, strict=True)
                )
                found.append(((1 - times) * period, period, begin, times))
        return sorted(x for x in found if x[0] <= -_MIN_HIDDEN)

    def _token(self, box: Box, *, is_equal: bool) -> Hashable:
        """Return the key that repetitions of a box have in common."""
        if box.inside:
            inside = tuple(self._token(b, is_equal=is_equal) for b in box.inside)
            return box.times, box.unit, inside
        node = self.nodes[box.first]
        return node.operators, node.sides, node.size if is_equal else None

    def _same_inside(self, boxes: tuple[Box, ...], start: int, period: int, times: int) -> int:
        """Return how many of the repetitions are wired inside as the first one is.

        Each must read the one before: branches beside each other do not repeat.
        """
        first = boxes[start].first
        size = boxes[start + period].first - first
        reads = [x.reads for x in self.nodes[first : first + size * times]]

        def inside(n: int) -> list[tuple[int, ...]]:
            base = first + n * size
            own = reads[n * size : (n + 1) * size]
            return [tuple(r - base for r in rs if r >= base) for rs in own]

        def follows(n: int) -> bool:
            base = first + n * size
            return any(base - size <= r < base for rs in reads[n * size :][:size] for r in rs)

        model = inside(0)
        return next((n for n in range(1, times) if not follows(n) or inside(n) != model), times)

    def _stages(self, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
        """Group the boxes that follow each other while the largest map stays the same."""
        found: list[list[Box]] = [[]]
        for box in boxes:
            if found[-1] and self.largest[box.first] != self.largest[found[-1][0].first]:
                found.append([])
            found[-1].append(box)
        # What is left of a network in windows of tokens is no stage.
        if len(found) < _MIN_STAGES or 3 * max(map(len, found)) > 2 * len(boxes):
            return boxes
        return tuple(b for own in found for b in _grouped(tuple(own)))

    def _stretches(self, boxes: tuple[Box, ...]) -> Iterator[Box]:
        """Yield the boxes that follow each other in groups of about equal numbers."""
        size = -(-len(boxes) // max(2, self.most // 2))
        start = 0
        while start < len(boxes):
            end = len(boxes)
            if end - start > size + size // 2:
                end = min(
                    range(start + (size + 1) // 2, start + size + size // 2 + 1),
                    key=lambda n: (self.cuts[boxes[n].first], abs(n - start - size)),
                )
            yield from _grouped(boxes[start:end])
            start = end


def _group(boxes: tuple[Box, ...], times: int, *, is_equal: bool) -> Box:
    """Return boxes that repeat ``times`` as one; a group of one group multiplies them."""
    inside = boxes[: len(boxes) // times]
    is_equal = is_equal and all(b.is_equal for b in inside)
    if len(inside) == 1 and inside[0].inside:
        times, inside = times * inside[0].times, inside[0].inside
    return Box(boxes[0].first, boxes[-1].last, times, inside, is_equal)


def _grouped(boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    """Return boxes as one, if that hides enough of them."""
    return boxes if len(boxes) <= _MIN_HIDDEN else (_group(boxes, 1, is_equal=True),)


def _with_folded(boxes: tuple[Box, ...], folded: dict[int, tuple[int, Box]]) -> Iterator[Box]:
    n = 0
    while n < len(boxes):
        n, box = folded.get(n, (n + 1, boxes[n]))
        yield box
