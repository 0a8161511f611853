"""NAS-Bench-201: one cell of six operations on edges, repeated over three stages.

*NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search*
(arXiv:2001.00326), the topology space of NATS-Bench; the network is the one for CIFAR-10.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import short_repr
from latcast.graph import GRAPH_INPUT, Graph, GraphBuilder, Tensor

from ._base import Archs, Gene, Genes, SearchSpace, one_hot
from ._block_table import BlockTable
from ._mobile import Shape, conv_block, conv_bn, linear_block, pool_block

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# In the order in which the benchmark's own strings name them.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CODES = {name: code for code, name in enumerate(OPERATIONS, start=1)}
# `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`: the operations that lead to nodes 1, 2 and 3, each with the
# node that it comes from.
_PATTERN = re.compile(
    r"\+".join(
        r"\|" + "".join(rf"([a-z0-9_]+)~{source}\|" for source in range(node))
        for node in range(1, 4)
    )
)

_NONE = CODES["none"]
# The skeleton of arXiv:2001.00326: three stages of five cells on CIFAR-10.
WIDTHS = (16, 32, 64)
SIDES = (32, 16, 8)
CELLS = 5
CLASSES = 10

# What a cell runs, in order: the edges, and additions as soon as both sides are there. Of an
# addition the two steps that it reads; of an edge its number.
_EDGE_STEPS = (0, 1, 2, 4, 5, 7)
_ADDITIONS = {3: (1, 2), 6: (4, 5), 8: (6, 7)}
_STEPS = len(_EDGE_STEPS) + len(_ADDITIONS)
# The steps whose outputs are nodes 1 and 2.
_NODE_STEPS = (0, 3)

# Rows of the block table: per stage the operations and an addition, then the fixed blocks.
_STAGE_ROWS = len(OPERATIONS) + 1
_STEM = len(WIDTHS) * _STAGE_ROWS
_REDUCTION = _STEM + 1
_HEAD = _REDUCTION + len(WIDTHS) - 1
_ROWS = _HEAD + 3


class NASBench201(SearchSpace):
    """The 15,625 cells; all 15 cells of a network are alike.

    Genes ``0->1``, ``0->2``, ``1->2``, ``0->3``, ``1->3``, ``2->3`` are the operations on the
    edges between the cell's four nodes: 1 none, 2 skip_connect, 3 nor_conv_1x1 and 4
    nor_conv_3x3 (ReLU, convolution, batch norm), 5 avg_pool_3x3. A node is the sum of its edges.

    ``none`` multiplies by 0, as the reference implementation does; :meth:`live_blocks` tells what
    is left where a compiler sees through that. Peak activation memory is a block's own: up to
    three maps of a cell wait beside it.
    """

    def __init__(self) -> None:
        self.name = "nasbench201"
        self.description = "NAS-Bench-201: a cell with one of 5 operations on each of its 6 edges"
        choices = tuple(CODES.values())
        self.genes = tuple(Gene(f"{source}->{node}", choices) for source, node in EDGES)
        self._rows, self._edge_of, self.reads = _layout()

    def parse(self, items: Iterable[Any]) -> Archs:
        """Architectures from strings ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``.

        Dicts that hold one as ``arch`` will do as well.
        """
        rows = [_parse_one(n, item) for n, item in enumerate(items)]
        return Archs(self, np.array(rows, dtype=np.int64).reshape(len(rows), len(EDGES)))

    def format(self, archs: Archs) -> list[dict[str, Any]]:
        """Dicts with the benchmark's string of every architecture, ``{"arch": "|…|"}``."""
        return [{"arch": _arch_string(row)} for row in archs.genes.tolist()]

    def canonical_genes(self, genes: Genes) -> Genes:
        """A copy of the genes: cells that compute the same by other operations stay distinct."""
        return genes.copy()

    def block_ids(self, archs: Archs) -> npt.NDArray[np.int32]:
        """Stem; three stages of five cells, a reduction between them; batch norm, pool, linear.

        A cell's nine blocks are ``0->1``, ``0->2``, ``1->2``, an addition, ``0->3``, ``1->3``,
        an addition, ``2->3``, an addition.
        """
        operations = np.zeros((len(archs), len(EDGES) + 1), dtype=np.int32)
        operations[:, :-1] = archs.genes
        operations[:, :-1] -= 1
        ids: npt.NDArray[np.int32] = operations[:, self._edge_of] + self._rows
        return ids

    def live_blocks(self, archs: Archs) -> npt.NDArray[np.bool_]:
        """Blocks from which a path without ``none`` leads to the output.

        An addition lives where both of its sides do. Where no such path leads through a cell,
        only the last cell and what follows live. What computes on zeros lives all the same.

        That is what HELP's Pixel 3 and Raspberry Pi 4 bear out, the only targets there that leave
        anything out: operations that live, by kind, explain 94 and 95 % of the variance of their
        latencies, all operations but ``none`` 85 and 86 %, and those that live and do not
        compute on zeros 86 and 87 %. The rest is in part a flaw of what ran there: where node 2
        has zeros among its inputs, it leaves nothing out.
        """
        live = np.zeros((len(archs), _STEPS), dtype=np.bool_)
        edges, connected = _live_edges(archs.genes)
        live[:, _EDGE_STEPS] = edges
        either = live.copy()
        for step, (left, right) in _ADDITIONS.items():
            live[:, step] = either[:, left] & either[:, right]
            either[:, step] = either[:, left] | either[:, right]
        cells = np.flatnonzero(self._rows < _STEM)
        result = np.ones((len(archs), len(self._rows)), dtype=np.bool_)
        result[:, cells] = np.tile(live, len(cells) // _STEPS)
        result[:, : cells[-_STEPS]] &= connected[:, None]
        return result

    def one_hot(self, archs: Archs) -> npt.NDArray[np.float32]:
        """30 inputs: edge by edge, which of the 5 operations it has."""
        return one_hot(archs.genes, list(CODES.values()))

    def one_hot_to_blocks(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """An edge's inputs go to its 15 blocks in equal parts."""
        edges = shares.reshape(len(shares), len(EDGES), len(OPERATIONS)).sum(axis=2)
        padded = np.append(edges / (CELLS * len(WIDTHS)), np.zeros((len(shares), 1)), axis=1)
        return np.asarray(padded[:, self._edge_of])

    def _build_block_table(self) -> BlockTable:
        blocks: list[Graph] = []
        for stage, (width, side) in enumerate(zip(WIDTHS, SIDES, strict=True), start=1):
            shape = (width, side, side)
            blocks += [cell_operation(x, shape, f"stage {stage}: {x}") for x in OPERATIONS]
            blocks.append(addition_block(shape, f"stage {stage}: addition"))
        image, last = (3, SIDES[0], SIDES[0]), (WIDTHS[-1], SIDES[-1], SIDES[-1])
        blocks.append(conv_block(image, WIDTHS[0], "stem", kernel_size=3))
        for stage in range(1, len(WIDTHS)):
            shape = (WIDTHS[stage - 1], SIDES[stage - 1], SIDES[stage - 1])
            blocks.append(reduction_block(shape, WIDTHS[stage], f"reduction {stage}"))
        blocks += [
            batch_norm_relu_block(last, "batch norm"),
            pool_block(last, "pool"),
            linear_block(WIDTHS[-1], CLASSES, "classifier"),
        ]
        in_cells = np.tile(np.arange(_STAGE_ROWS), len(WIDTHS))
        fixed = np.arange(_STAGE_ROWS, _STAGE_ROWS + _ROWS - _STEM)
        groups = np.concatenate([in_cells, fixed]).astype(np.int32)
        return BlockTable.build(blocks, [x.name.replace(": ", "/") for x in blocks], groups)


def _layout() -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp], tuple[tuple[int, ...], ...]]:
    """The row of every block (of an edge: its first), its edge (6: none), and what it reads."""
    rows, edge_of = [_STEM], [len(EDGES)]
    reads: list[tuple[int, ...]] = [(GRAPH_INPUT,)]

    def add(row: int, *sources: int, edge: int = len(EDGES)) -> None:
        rows.append(row)
        edge_of.append(edge)
        reads.append(sources)

    for stage in range(len(WIDTHS)):
        if stage:
            add(_REDUCTION + stage - 1, len(rows) - 1)
        row = stage * _STAGE_ROWS
        for _ in range(CELLS):
            start = len(rows)
            nodes = (start - 1, *(start + step for step in _NODE_STEPS))
            for step in range(_STEPS):
                if step in _ADDITIONS:
                    add(row + len(OPERATIONS), *(start + side for side in _ADDITIONS[step]))
                else:
                    edge = _EDGE_STEPS.index(step)
                    add(row, nodes[EDGES[edge][0]], edge=edge)
    for row in range(_HEAD, _ROWS):
        add(row, len(rows) - 1)
    return np.array(rows, dtype=np.int32), np.array(edge_of, dtype=np.intp), tuple(reads)


def _live_edges(genes: Genes) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Edges on a path to a cell's output (n, 6), and whether one starts at its input (n,)."""
    there = genes != _NONE
    needed = np.zeros((len(genes), 4), dtype=np.bool_)
    needed[:, 3] = True
    # EDGES come in an order in which the edges that leave a node stand after those that enter it.
    for edge, (source, node) in reversed(list(enumerate(EDGES))):
        needed[:, source] |= there[:, edge] & needed[:, node]
    nodes = [node for _, node in EDGES]
    return there & needed[:, nodes], needed[:, 0]


def _parse_one(n: int, item: Any) -> list[int]:
    text = item.get("arch") if isinstance(item, Mapping) and set(item) == {"arch"} else item
    found = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(
            f"architecture {n} must be a string like |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, or a "
            f"dict that holds one as 'arch'; got {short_repr(item)}"
        )
    for operation in found.groups():
        if operation not in CODES:
            raise ValueError(
                f"architecture {n}: an operation must be one of {', '.join(OPERATIONS)}; "
                f"got {short_repr(operation)}"
            )
    return [CODES[operation] for operation in found.groups()]


def _arch_string(genes: list[int]) -> str:
    parts = [
        f"{OPERATIONS[code - 1]}~{source}" for code, (source, _) in zip(genes, EDGES, strict=True)
    ]
    return f"|{parts[0]}|+|{'|'.join(parts[1:3])}|+|{'|'.join(parts[3:])}|"


# -- blocks: convolutions come after their activation -----------------------------------------


def cell_operation(operation: str, shape: Shape, name: str) -> Graph:
    """An operation of NAS-Bench-201, by its name there; it keeps the shape."""
    b = GraphBuilder(name=name)
    x = b.input(*shape)
    match operation:
        case "none":
            b.mul(x, 0.0)
        case "skip_connect":
            b.unary("Identity", x)
        case "avg_pool_3x3":
            b.avg_pool(x, 3, padding=1)
        case _:
            _relu_conv_bn(b, x, shape[0], kernel_size=int(operation[-1]))
    return b.build()


def _relu_conv_bn(
    b: GraphBuilder, x: Tensor, channels: int, *, kernel_size: int = 3, stride: int = 1
) -> Tensor:
    return conv_bn(b, b.activation(x, "relu"), channels, kernel_size, stride=stride)


def addition_block(shape: Shape, name: str) -> Graph:
    """The sum of two maps."""
    b = GraphBuilder(name=name)
    b.add(b.input(*shape), b.input(*shape))
    return b.build()


def reduction_block(shape: Shape, channels: int, name: str) -> Graph:
    """A residual block that halves the side; its shortcut has no batch norm."""
    b = GraphBuilder(name=name)
    x = b.input(*shape)
    y = _relu_conv_bn(b, _relu_conv_bn(b, x, channels, stride=2), channels)
    shortcut = conv_bn(b, b.avg_pool(x, 2, stride=2), channels, batch_norm=False)
    return b.build(b.add(shortcut, y))


def batch_norm_relu_block(shape: Shape, name: str) -> Graph:
    """A batch norm with ReLU, after a sum."""
    b = GraphBuilder(name=name)
    return b.build(b.activation(b.batch_norm(b.input(*shape)), "relu"))


NASBENCH201 = NASBench201()
