"""Places of the boxes of a graph in layers, from top to bottom, and of the lines between them.

The method of Sugiyama, Tagawa and Toda, *Methods for visual understanding of hierarchical system
structures* (1981): a layer by the longest path, long lines as a chain of places in the layers
between, the order in each layer by barycentres, then places across that are near those of the
neighbours (least squares under the least distances: a monotone regression).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SWEEPS = 8
# Of a line's place in a layer; a box has a width of its own.
_LINE_WIDTH = 10.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where boxes and lines are drawn.

    Attributes:
        width: of the picture.
        layers: number of layers.
        boxes: middle and layer of each box.
        lines: of each box that is read, the pieces of its line: from a middle in a layer to a
            middle in the next one; a piece that ends in no box passes the layer.
    """

    width: float
    layers: int
    boxes: list[tuple[float, int]]
    lines: list[list[Piece]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a line, from one layer to the next.

    Attributes:
        start: where it begins across.
        end: where it ends across.
        layer: that it begins in.
        passes: whether it ends in no box.
    """

    start: float
    end: float
    layer: int
    passes: bool


def layout(reads: Sequence[Sequence[int]], widths: Sequence[float], gap: float) -> Layout:
    """Place boxes, each of which reads earlier ones only.

    Args:
        reads: of each box, the boxes that it reads.
        widths: of each box.
        gap: between two of a layer.
    """
    grid = _Grid(reads, widths)
    grid.order()
    places = grid.places(gap)
    left = min(x - grid.widths[n] / 2 for n, x in enumerate(places))
    places = [x - left for x in places]
    width = max(x + grid.widths[n] / 2 for n, x in enumerate(places))
    lines: list[list[Piece]] = [[] for _ in reads]
    for n, below in enumerate(grid.below):
        for m in below:
            passes = m >= len(reads)
            lines[grid.source[n]].append(Piece(places[n], places[m], grid.layer[n], passes))
    boxes = [(places[n], grid.layer[n]) for n in range(len(reads))]
    return Layout(width, max(grid.layer) + 1, boxes, lines)


class _Grid:
    """Boxes and, behind them, the places of long lines in the layers that they pass."""

    def __init__(self, reads: Sequence[Sequence[int]], widths: Sequence[float]) -> None:
        self.widths = list(widths)
        self.layer: list[int] = []
        for sources in reads:
            self.layer.append(1 + max((self.layer[s] for s in sources), default=-1))
        self.source = list(range(len(reads)))
        self.below: list[list[int]] = [[] for _ in reads]
        readers: list[list[int]] = [[] for _ in reads]
        for n, sources in enumerate(reads):
            for s in dict.fromkeys(sources):
                readers[s].append(n)
        for s, found in enumerate(readers):
            self._connect(s, sorted(found, key=lambda n: self.layer[n]))
        self.above: list[list[int]] = [[] for _ in self.below]
        for n, below in enumerate(self.below):
            for m in below:
                self.above[m].append(n)
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        for n in self._depth_first():
            self.rows[self.layer[n]].append(n)

    def _connect(self, source: int, readers: Sequence[int]) -> None:
        """Draw one line from a box to all that read it, which parts as late as it can."""
        end = source
        for reader in readers:
            while self.layer[end] < self.layer[reader] - 1:
                self.widths.append(_LINE_WIDTH)
                self.layer.append(self.layer[end] + 1)
                self.source.append(source)
                self.below.append([])
                self.below[end].append(len(self.layer) - 1)
                end = len(self.layer) - 1
            self.below[end].append(reader)

    def _depth_first(self) -> list[int]:
        """Return all places in the order in which a walk from the inputs meets them."""
        seen: dict[int, None] = {}
        for root in (n for n, above in enumerate(self.above) if not above):
            stack = [root]
            while stack:
                n = stack.pop()
                if n not in seen:
                    seen[n] = None
                    stack += reversed(self.below[n])
        return list(seen)

    def order(self) -> None:
        """Order each layer by the mean places of its neighbours, which leaves few crossings."""
        best, fewest = [list(r) for r in self.rows], self._crossings()
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            place = {n: float(i) for row in self.rows for i, n in enumerate(row)}
            near = self.above if down else self.below
            for row in self.rows if down else reversed(self.rows):
                mean = {
                    n: sum(place[m] for m in near[n]) / len(near[n]) if near[n] else place[n]
                    for n in row
                }
                row.sort(key=mean.__getitem__)
                place.update((n, float(i)) for i, n in enumerate(row))
            if (now := self._crossings()) < fewest:
                best, fewest = [list(r) for r in self.rows], now
        self.rows = best

    def _crossings(self) -> int:
        count = 0
        for upper, lower in zip(self.rows, self.rows[1:], strict=False):
            place = {n: i for i, n in enumerate(lower)}
            ends = [place[m] for n in upper for m in sorted(self.below[n], key=place.__getitem__)]
            count += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
        return count

    def places(self, gap: float) -> list[float]:
        """Return the middle of every box and line, near the means of those above and below."""
        place = [0.0] * len(self.layer)
        for row in self.rows:
            self._spread(row, [0.0] * len(row), [1.0] * len(row), place, gap)
        chains = self._chains()
        for sweep in range(2 * _SWEEPS):
            for row in self.rows if sweep % 2 == 0 else self.rows[::-1]:
                near = [[place[m] for m in (*self.above[n], *self.below[n])] for n in row]
                wanted = [
                    sum(x) / len(x) if x else place[n] for n, x in zip(row, near, strict=True)
                ]
                self._spread(row, wanted, [len(x) or 1.0 for x in near], place, gap)
            # What follows each other without a branch is one straight line.
            mean = {n: sum(place[m] for m in c) / len(c) for c in chains for n in c}
            for row in self.rows:
                wanted = [mean.get(n, place[n]) for n in row]
                firm = [4.0 if n in mean else 1.0 for n in row]
                self._spread(row, wanted, firm, place, gap)
        return place

    def _chains(self) -> list[list[int]]:
        """Return places that follow each other, each the only one above or below the other."""
        chains: dict[int, list[int]] = {}
        for n in self._depth_first():
            above = self.above[n]
            alone = len(above) == 1 and len(self.below[above[0]]) == 1
            chains[n] = [*chains[above[0]], n] if alone and above[0] in chains else [n]
        ends = {n for n, below in enumerate(self.below)
                if len(below) != 1 or len(self.above[below[0]]) != 1}  # fmt: skip
        return [chains[n] for n in ends if len(chains[n]) > 1]

    def _spread(
        self,
        row: Sequence[int],
        wanted: Sequence[float],
        weights: Sequence[float],
        place: list[float],
        gap: float,
    ) -> None:
        """Place a row as near to the wanted places as the widths allow, in least squares."""
        offset, offsets = 0.0, []
        for i, n in enumerate(row):
            if i:
                offset += (self.widths[row[i - 1]] + self.widths[n]) / 2 + gap
            offsets.append(offset)
        # Pools of adjacent violators: sum of weighted wishes, sum of weights, how many.
        pools: list[tuple[float, float, int]] = []
        for want, weight, away in zip(wanted, weights, offsets, strict=True):
            pools.append((weight * (want - away), weight, 1))
            while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
                last = pools.pop()
                before = pools.pop()
                pools.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
        moved = [_mean(p) for p in pools for _ in range(p[2])]
        for n, base, away in zip(row, moved, offsets, strict=True):
            place[n] = base + away


def _mean(pool: tuple[float, float, int]) -> float:
    return pool[0] / pool[1]
