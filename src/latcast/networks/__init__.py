"""Batches of networks of any kind, as counts over distinct rows with physical facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import scipy

from latcast._names import short_repr
from latcast.devices import Target
from latcast.graph import (
    EAGER,
    KERNEL_FACTS,
    KINDS,
    OPERATORS,
    RULES,
    UNKNOWN,
    Graph,
    Kernel,
    Rule,
    as_run,
    fuse,
    kernel_facts,
    kernel_label,
    rules_of,
)
from latcast.spaces import Archs

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

ALL_KINDS = (*KINDS, UNKNOWN)
OPS = (*OPERATORS, UNKNOWN)
_KIND_OF_OP = np.array(
    [*(ALL_KINDS.index(x.kind) for x in OPERATORS.values()), ALL_KINDS.index(UNKNOWN)]
)


@dataclass(frozen=True, eq=False)
class Networks:
    """n networks as counts of d distinct kernels.

    Attributes:
        ops: index in :data:`OPS` of the main operator of every kernel, shape (d,).
        labels: its operators, such as ``conv+add+relu`` or, on channels in blocks,
            ``conv+add+relu/blocked``; d texts. One whose file holds it in another precision than
            that of the target (and than fp32, which runtimes bring to any) ends in ``/int8``, ….
        facts: columns as in :data:`latcast.graph.KERNEL_FACTS`, shape (d, facts).
        incidence: how often each network has each kernel, shape (n, d); one in a loop once a trip,
            a recurrent one once a step. Dense for one graph, which has all of them.
        rows: of every network its kernels in running order, as rows of ``facts``; empty if the
            networks are architectures, of the graphs alone where both are joined.
    """

    ops: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    facts: Floats
    incidence: scipy.sparse.csr_matrix | Floats
    rows: tuple[npt.NDArray[np.int64], ...] = ()

    @classmethod
    def of(cls, networks: AnyNetworks, target: Target, runs_all: bool | None = None) -> Networks:
        """Networks as the runtime of a target runs them; kernels are taken as they are.

        Graphs in floats are quantized where that runtime has them so (:func:`as_run`).

        Args:
            networks: what is run.
            target: whose runtime and batch are meant.
            runs_all: as of :meth:`of_archs`.

        Raises:
            TypeError: they are neither graphs nor architectures.
            ValueError: a graph's batch is another than the target's.
        """
        if isinstance(networks, Networks):
            return networks
        rules = rules_of(target.runtime)
        if isinstance(networks, Archs):
            return cls.of_archs(networks, target.batch, rules, runs_all)
        graphs = [networks] if isinstance(networks, Graph | str) else networks
        for graph in graphs:
            if not isinstance(graph, Graph):
                raise TypeError(
                    "networks must be graphs or architectures, as latcast.read_graph and "
                    f"space.parse make them (latcast.forecast takes files); got {short_repr(graph)}"
                )
            if graph.batch not in (None, target.batch):
                raise ValueError(
                    f"{graph.name} must have the batch of the target {target}, "
                    f"{target.batch}; it has {graph.batch}: read it with that batch"
                )
        run = [as_run(graph, target.runtime, target.precision) for graph in graphs]
        return cls.of_graphs(run, rules, target.precision)

    @classmethod
    def of_graphs(
        cls, graphs: Sequence[Graph], rules: Sequence[Rule] = RULES, precision: str = "fp32"
    ) -> Networks:
        """Kernels of graphs, fused by ``rules``, on a target's precision; views are left out."""
        seen = _Distinct()
        rows, times = [], []
        for graph in graphs:
            kernels = working_kernels(graph, rules)
            rows.append(seen.add(graph, kernels, precision))
            times.append(kernel_runs(graph, kernels))
        return cls(*seen.arrays(), _counts(rows, len(seen), times), tuple(rows))

    @classmethod
    def of_archs(
        cls,
        archs: Archs,
        batch: int,
        rules: Sequence[Rule] = RULES,
        runs_all: bool | None = None,
    ) -> Networks:
        """Kernels of architectures, block by block.

        Args:
            archs: architectures of a space.
            batch: that they are run at.
            rules: that fuse layers.
            runs_all: whether blocks that nothing reads are run as well; by default by PyTorch's
                eager mode alone, which runs whatever is called. A compiler leaves them out.
        """
        is_eager = rules == rules_of(EAGER)
        incidence = block_counts(archs, is_eager if runs_all is None else runs_all)
        used = np.unique(incidence.indices)
        table = archs.space.expand(archs).space.block_table
        blocks = cls.of_blocks([table.blocks[row] for row in used.tolist()], batch, rules)
        counts = scipy.sparse.csr_matrix(incidence[:, used] @ blocks.counts)
        return replace(blocks, incidence=counts)

    @classmethod
    def of_blocks(
        cls, blocks: Sequence[Graph], batch: int, rules: Sequence[Rule] = RULES
    ) -> Networks:
        """Kernels of blocks that are cut out of networks, each block as one of the networks."""
        seen = _Distinct()
        # Blocks of the same layers, as at other resolutions, have the same kernels.
        known: dict[int, Numbers] = {}
        for block in blocks:
            if id(block.layers) not in known:
                known[id(block.layers)] = seen.add_all(*_of_block(block, batch, tuple(rules)))
        rows = [known[id(block.layers)] for block in blocks]
        return cls(*seen.arrays(), _counts(rows, len(seen)))

    @classmethod
    def joined(cls, parts: Sequence[Networks]) -> Networks:
        """The networks of all parts, over the distinct kernels of all."""
        seen = _Distinct()
        columns = [seen.add_all(p.ops, p.labels, p.facts) for p in parts]
        counts = [
            _spread_columns(p.counts, c, len(seen)) for p, c in zip(parts, columns, strict=True)
        ]
        rows = [c[r] for p, c in zip(parts, columns, strict=True) for r in p.rows]
        return cls(*seen.arrays(), scipy.sparse.vstack(counts, format="csr"), tuple(rows))

    def __len__(self) -> int:
        return int(self.incidence.shape[0])

    @cached_property
    def counts(self) -> scipy.sparse.csr_matrix:
        """The incidence as a sparse matrix, shape (n, d)."""
        return scipy.sparse.csr_matrix(self.incidence)

    def select(self, numbers: npt.ArrayLike) -> Networks:
        """Some of the networks, in this order, over the kernels that they have."""
        counts = self.counts[np.asarray(numbers, dtype=np.intp)]
        used = np.unique(counts.indices)
        position = np.full(len(self.ops), -1)
        position[used] = np.arange(len(used))
        # Of graphs and architectures joined, only the graphs have rows: whose they are is unknown.
        ordered = len(self.rows) == len(self)
        rows = [position[self.rows[n]] for n in np.asarray(numbers).tolist()] if ordered else []
        labels = tuple(self.labels[k] for k in used.tolist())
        return Networks(self.ops[used], labels, self.facts[used], counts[:, used], tuple(rows))

    @property
    def kinds(self) -> npt.NDArray[np.int64]:
        """Index in :data:`ALL_KINDS` of every kernel, shape (d,)."""
        return np.asarray(_KIND_OF_OP[self.ops])

    def fact(self, name: str) -> Floats:
        """One column of the facts, shape (d,)."""
        return self.facts[:, KERNEL_FACTS.index(name)]


def block_counts(archs: Archs, runs_all: bool = False) -> scipy.sparse.csr_matrix:
    """How often architectures have each row of their space's block table, shape (n, rows).

    Args:
        archs: architectures of a space.
        runs_all: whether blocks that nothing reads count; by default they are left out.
    """
    own = archs.space.expand(archs)
    ids = own.space.block_ids(own)
    there = ids < len(own.space.block_table)
    n, places = np.nonzero(there if runs_all else there & own.space.live_blocks(own))
    shape = (len(own), len(own.space.block_table))
    return scipy.sparse.csr_matrix((np.ones(len(n)), (n, ids[n, places])), shape=shape)


AnyNetworks = Archs | Graph | Sequence[Graph] | Networks
"""What is predicted: architectures, graphs, or the kernels that a target's runtime makes of them
at its batch."""


class _Distinct:
    """Kernels that differ in operators or facts, numbered as they come."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, str, bytes], int] = {}
        self._facts: list[Floats] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, graph: Graph, kernels: Sequence[Kernel], precision: str = "fp32") -> Numbers:
        """Numbers of the kernels of a graph, on a target's precision."""
        return self.add_all(*_described(graph, kernels, precision))

    def add_all(self, ops: Iterable[int], labels: Iterable[str], facts: Floats) -> Numbers:
        """Numbers of kernels."""
        numbers = []
        for op, label, values in zip(ops, labels, facts, strict=True):
            key = (int(op), label, values.tobytes())
            if key not in self._numbers:
                self._numbers[key] = len(self._facts)
                self._facts.append(values)
            numbers.append(self._numbers[key])
        return np.array(numbers, dtype=np.int64)

    def arrays(self) -> tuple[Numbers, tuple[str, ...], Floats]:
        """Operators, labels and facts of all, by number."""
        ops = np.array([op for op, _, _ in self._numbers], dtype=np.int64)
        labels = tuple(label for _, label, _ in self._numbers)
        return ops, labels, np.array(self._facts).reshape(-1, len(KERNEL_FACTS))


def distinct(
    ops: Sequence[int], labels: Sequence[str], facts: Floats
) -> tuple[Numbers, tuple[Numbers, tuple[str, ...], Floats]]:
    """Numbers of kernels, equal ones having one; and operators, labels and facts by number."""
    seen = _Distinct()
    return seen.add_all(ops, labels, facts), seen.arrays()


def _described(
    graph: Graph, kernels: Sequence[Kernel], precision: str = "fp32"
) -> tuple[list[int], list[str], Floats]:
    """Operators, labels and facts of the kernels of a graph, on a target's precision."""
    mains = [graph.layers[k.main] for k in kernels]
    ops = [OPS.index(x.op if x.is_supported else UNKNOWN) for x in mains]
    labels = [
        kernel_label(graph, k)
        + ("/blocked" if k.blocked else "")
        + ("" if x.precision in ("fp32", precision) else f"/{x.precision}")
        for x, k in zip(mains, kernels, strict=True)
    ]
    return ops, labels, kernel_facts(graph, kernels)


# Blocks of the largest spaces, at two batches and more: it takes .88 s to fuse the layers of 1,600,
# and adapting makes a dozen forecasts of the same ones.
@lru_cache(maxsize=8192)
def _of_block(
    block: Graph, batch: int, rules: tuple[Rule, ...]
) -> tuple[list[int], list[str], Floats]:
    graph = block.with_batch(batch)
    return _described(graph, working_kernels(graph, rules, is_cut_out=True))


def working_kernels(
    graph: Graph, rules: Sequence[Rule] = RULES, *, is_cut_out: bool = False
) -> list[Kernel]:
    """Kernels of the graph, or of a block of one, that do something at run time."""
    return [k for k in fuse(graph, rules, is_cut_out=is_cut_out) if k.works_in(graph)]


def kernel_runs(graph: Graph, kernels: Sequence[Kernel]) -> Floats:
    """How often each kernel runs in a pass: trips of loops, steps of recurrent operators."""
    mains = ((graph.layers[k.main], k.times) for k in kernels)
    return np.array([x.runs * x.steps * times for x, times in mains], dtype=np.float64)


def _counts(
    rows: Sequence[npt.NDArray[np.int64]], d: int, times: Sequence[Floats] = ()
) -> scipy.sparse.csr_matrix | Floats:
    if len(rows) == 1 and len(times) == 1:
        # A forecast of one graph needs no scipy.sparse, whose import takes 70 ms, a tenth of it.
        return np.bincount(rows[0], times[0], minlength=d)[None]
    lengths = [len(r) for r in rows]
    column = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    row = np.repeat(np.arange(len(rows)), lengths)
    values = np.concatenate(times) if len(times) else np.ones(len(column))
    matrix = scipy.sparse.coo_matrix((values, (row, column)), shape=(len(rows), d))
    return scipy.sparse.csr_matrix(matrix)  # which adds up what comes twice


def _spread_columns(
    counts: scipy.sparse.csr_matrix, columns: Numbers, d: int
) -> scipy.sparse.csr_matrix:
    """Counts (n, own kernels) over all d kernels."""
    entries = counts.tocoo()
    shape = (counts.shape[0], d)
    return scipy.sparse.csr_matrix((entries.data, (entries.row, columns[entries.col])), shape=shape)
