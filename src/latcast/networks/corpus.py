"""A corpus: many networks as counts over distinct kernels.

It needs neither their graphs nor the packages that define them. Every network is kept for batch 1,
once by the fusion rules of each of several runtimes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy

from latcast._checksums import SEAL, UNSEALED, check_seal, sealed
from latcast._files import read_file, write_file
from latcast._names import unknown_name
from latcast._parquet_pages import check_pages
from latcast.graph import KERNEL_FACTS, Graph, rules_of
from latcast.graph.qdq import runs_quantized

from . import OPS, Networks
from .quantized import in_int8

if TYPE_CHECKING:
    import polars as pl

Numbers = npt.NDArray[np.int64]

RUNTIMES = ("onnxruntime", "openvino", "eager", "inductor")
"""Runtimes whose kernels a corpus has; what fuses like one of them has the same."""

TOTALS = ("macs", "params", "activations", "peak_bytes")
"""What is known of a network as a whole, at batch 1: its multiply-accumulates, trainable numbers,
elements that convolutions and products write, and the peak memory of its activations in bytes
(see :func:`latcast.graph.memory.activation_memory`), without reuse."""

# Facts of a kernel that grow with the batch.
_BATCHED = ("macs", "read_bytes", "write_bytes", "positions", "batch")
_PRODUCTS = ("conv", "depthwise_conv", "conv_transpose", "linear", "matmul", "attention")
_KERNELS, _NETWORKS = "kernels.parquet", "networks.parquet"


@dataclass(frozen=True, eq=False)
class Corpus:
    """n networks, each as r runtimes run it.

    Attributes:
        names: of the networks, n texts such as ``timm:resnet50@224``: where it is defined, its
            name there, and the side of its input (``/merged`` ends the name of one whose parallel
            branches and batch norms are merged into convolutions).
        aliases: other names of networks -> one of ``names``.
        totals: columns as in :data:`TOTALS`, shape (n, 4).
        runtimes: r of :data:`RUNTIMES`.
        kernels: at batch 1, n x r rows: row ``r * i + j`` is network i on runtime j.
    """

    names: tuple[str, ...]
    aliases: Mapping[str, str]
    totals: Numbers
    runtimes: tuple[str, ...]
    kernels: Networks

    @classmethod
    def of(
        cls,
        graphs: Mapping[str, Graph],
        runtimes: Sequence[str] = RUNTIMES,
        aliases: Mapping[str, str] | None = None,
    ) -> Corpus:
        """The corpus of graphs by their names, which must be of batch 1.

        Raises:
            ValueError: there is no graph, or one of another batch.
        """
        if not graphs:
            raise ValueError("a corpus must have networks; got none")
        for name, graph in graphs.items():
            if graph.batch not in (None, 1):
                raise ValueError(f"{name} must be of batch 1; it is of batch {graph.batch}")
        rows = [
            Networks.of_graphs([graph], rules_of(runtime))
            for graph in graphs.values()
            for runtime in runtimes
        ]
        totals = np.array([_totals(g) for g in graphs.values()], dtype=np.int64)
        return cls(
            tuple(graphs), dict(aliases or {}), totals, tuple(runtimes), Networks.joined(rows)
        )

    @classmethod
    def joined(cls, parts: Sequence[Corpus]) -> Corpus:
        """The networks of all parts, which must be for the same runtimes.

        Raises:
            ValueError: the runtimes of two parts differ, or there is no part.
        """
        if len({p.runtimes for p in parts}) != 1:
            raise ValueError("parts of a corpus must be one or more, all for the same runtimes")
        return cls(
            tuple(name for p in parts for name in p.names),
            {alias: name for p in parts for alias, name in p.aliases.items()},
            np.concatenate([p.totals for p in parts]),
            parts[0].runtimes,
            Networks.joined([p.kernels for p in parts]),
        )

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self.aliases

    def place(self, name: str) -> int:
        """Position of the network of that name, or of which it is another name.

        Raises:
            ValueError: there is none.
        """
        place = self._places.get(self.aliases.get(name, name))
        if place is None:
            raise ValueError(unknown_name("network of the corpus", name, list(self._places)))
        return place

    def total(self, name: str) -> Numbers:
        """One column of the totals, shape (n,)."""
        return self.totals[:, TOTALS.index(name)]

    def networks(
        self,
        names: Sequence[str],
        runtime: str = "onnxruntime",
        batch: int | Sequence[int] = 1,
        precision: str = "fp32",
    ) -> Networks:
        """Networks as a runtime runs them.

        A network's facts at another batch are those at batch 1 times the batch, but for its
        constants, channels and windows. That is what its graph has at that batch, except where a
        tensor's leading axis is no batch (as of queries, keys and values in one): there the
        number of positions grows in place of that of channels.

        Args:
            names: of networks; one may come several times.
            runtime: as a :class:`~latcast.devices.Target` names it, ``eager`` or ``inductor``.
            batch: of all, or of each.
            precision: of the target; in int8 those by a runtime whose networks campaigns quantize
                are as of :func:`~latcast.networks.quantized.in_int8`.

        Raises:
            ValueError: a network is not in the corpus, a batch is not positive or missing, or the
                corpus holds no kernels of a runtime that fuses like this one.
        """
        rows = np.array([self.place(n) for n in names], dtype=np.int64) * len(self.runtimes)
        rows += self._runtime(runtime)
        batches = np.full(len(names), batch) if isinstance(batch, int) else np.array(batch)
        if len(batches) != len(names) or (batches < 1).any():
            raise ValueError(
                f"batch must be 1 or more, one or one for each of {len(names)} names; got {batch}"
            )
        counts = self.kernels.counts[rows].tocoo()
        # A kernel at two batches is two.
        pairs = np.stack([counts.col, batches[counts.row]])
        (kernels, times), columns = np.unique(pairs, axis=1, return_inverse=True)
        facts = self.kernels.facts[kernels]
        facts[:, [KERNEL_FACTS.index(x) for x in _BATCHED]] *= times[:, None]
        incidence = scipy.sparse.csr_matrix(
            (counts.data, (counts.row, columns.ravel())), shape=(len(names), len(kernels))
        )
        labels = tuple(self.kernels.labels[k] for k in kernels)
        found = Networks(self.kernels.ops[kernels], labels, facts, incidence)
        return in_int8(found) if runs_quantized(runtime, precision) else found

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: n for n, name in enumerate(self.names)}

    def _runtime(self, runtime: str) -> int:
        for n, known in enumerate(self.runtimes):
            if rules_of(known) is rules_of(runtime):
                return n
        raise ValueError(
            f"the corpus must hold kernels of {runtime}; it has those of {', '.join(self.runtimes)}"
        )

    def save(self, folder: str | Path) -> None:
        """Write two Parquet files into a folder.

        ``kernels.parquet`` has the distinct kernels, ``networks.parquet`` the names, aliases and
        totals, and for every runtime the numbers of a network's kernels (ascending, as
        differences) and how often it has each.
        """
        import polars as pl

        order = np.lexsort((*self.kernels.facts.T[::-1], self.kernels.labels, self.kernels.ops))
        kernels = pl.DataFrame(
            {
                "op": [OPS[self.kernels.ops[n]] for n in order],
                "label": [self.kernels.labels[n] for n in order],
                **{
                    name: _whole(self.kernels.facts[order, n])
                    for n, name in enumerate(KERNEL_FACTS)
                },
            }
        ).with_columns(pl.col("op", "label").cast(pl.Categorical))
        others: dict[str, list[str]] = {name: [] for name in self.names}
        for alias, name in self.aliases.items():
            others[name].append(alias)
        networks = pl.DataFrame(
            {
                "name": self.names,
                "aliases": pl.Series(list(others.values()), dtype=pl.List(pl.String)),
                **{name: self.total(name) for name in TOTALS},
            }
        ).with_columns(**self._lists(np.argsort(order)))
        for frame, file in ((kernels, _KERNELS), (networks, _NETWORKS)):
            content = BytesIO()
            # Statistics of columns that nobody filters by would be a tenth of the file.
            frame.write_parquet(
                content, compression_level=22, statistics=False, metadata={SEAL: UNSEALED}
            )
            write_file(Path(folder) / file, sealed(content.getvalue()))

    def _lists(self, places: Numbers) -> dict[str, pl.Series]:
        """Return the kernels of all networks and their counts as lists, for every runtime."""
        import polars as pl

        series = {}
        for n, runtime in enumerate(self.runtimes):
            numbers, times = [], []
            for row in self.kernels.counts[n :: len(self.runtimes)]:
                found = places[row.indices]
                order = np.argsort(found)
                numbers.append(np.diff(found[order], prepend=0).tolist())
                times.append(row.data[order].astype(np.int64).tolist())
            series[runtime] = pl.Series(numbers, dtype=pl.List(pl.UInt32))
            series[f"{runtime}_counts"] = pl.Series(times, dtype=pl.List(pl.UInt16))
        return series


def read_corpus(folder: str | Path | None = None) -> Corpus:
    """The corpus that :meth:`Corpus.save` wrote; by default the one that latcast ships.

    Raises:
        FileNotFoundError: a file of it is missing.
        ValueError: a file is damaged.
    """
    with resources.as_file(resources.files("latcast") / "zoo" / "corpus") as shipped:
        where = shipped if folder is None else Path(folder)
        kernels, networks = (_frame(where / file) for file in (_KERNELS, _NETWORKS))
    try:
        return _corpus(kernels, networks)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ValueError(f"{where} must hold a corpus as latcast writes it: {error}") from error


def _frame(path: Path) -> dict[str, pl.Series]:
    import polars as pl

    content = read_file(path)
    try:
        check_seal(path, content, dict(pl.read_parquet_metadata(BytesIO(content))))
        check_pages(path, content)
        return pl.read_parquet(BytesIO(content)).to_dict()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(f"{path} must be a whole Parquet file; reading it: {error}") from error


def _corpus(kernels: Mapping[str, pl.Series], networks: Mapping[str, pl.Series]) -> Corpus:
    names = tuple(networks["name"].to_list())
    runtimes = tuple(x.removesuffix("_counts") for x in networks if x.endswith("_counts"))
    numbers = {op: n for n, op in enumerate(OPS)}
    ops = np.array([numbers[op] for op in kernels["op"].to_list()], dtype=np.int64)
    facts = np.stack([kernels[name].to_numpy() for name in KERNEL_FACTS], axis=1).astype(float)
    entries = []
    for n, runtime in enumerate(runtimes):
        lengths = networks[runtime].list.len().to_numpy().astype(np.int64)
        steps = networks[runtime].explode().drop_nulls().to_numpy()
        # Differences are of each network: what the ones before it add up to is taken off.
        numbers_so_far = np.concatenate([[0], np.cumsum(steps, dtype=np.int64)])
        starts = np.cumsum(lengths) - lengths
        column = numbers_so_far[1:] - np.repeat(numbers_so_far[starts], lengths)
        row = np.repeat(np.arange(len(names)) * len(runtimes) + n, lengths)
        times = networks[f"{runtime}_counts"].explode().drop_nulls().to_numpy()
        entries.append((times, row, column))
    times, row, column = (np.concatenate(x) for x in zip(*entries, strict=True))
    counts = scipy.sparse.csr_matrix(
        (times.astype(float), (row, column)), shape=(len(names) * len(runtimes), len(ops))
    )
    aliases = {a: n for n, known in zip(names, networks["aliases"], strict=True) for a in known}
    totals = np.stack([networks[x].to_numpy() for x in TOTALS], axis=1)
    rows = Networks(ops, tuple(kernels["label"].to_list()), facts, counts)
    return Corpus(names, aliases, totals, runtimes, rows)


def _whole(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | Numbers:
    """Return the values as integers if they are whole."""
    whole = values.astype(np.int64)
    return whole if (whole == values).all() else values


def _totals(graph: Graph) -> tuple[int, int, int, int]:
    products = (x for x in graph.layers if x.op in _PRODUCTS)
    written = sum(prod(s) * x.runs for x in products for s in x.out_shapes if s)
    return graph.macs, graph.params, written, graph.peak_activation_bytes


__all__ = ["RUNTIMES", "TOTALS", "Corpus", "read_corpus"]
