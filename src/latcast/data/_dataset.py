"""Datasets: networks with the values of a quantity on one target, and how they are split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from latcast.devices import Target
from latcast.report.frame import Tabular
from latcast.report.markup import counted

from ._quantity import ACCURACY, LATENCY_MS, QUANTITIES, Quantity

if TYPE_CHECKING:
    import polars as pl

    from latcast.graph import Graph
    from latcast.spaces import Archs, SearchSpace

# Parts of the rows that the OFANAS paper trains and validates on; it tests on the rest.
PAPER_FRACTIONS = (0.70, 0.15)

_VALUES = ("reference", "uncorrected", "standard_error")
_LISTS = ("samples", "layers")
_OPTIONAL = (*_VALUES, *_LISTS)
# Attributes with an entry for each row.
_ROWS = ("networks", "names", "families", "values", "order", *_OPTIONAL)

UNSTABLE = 0.03
"""A row is unstable when the standard error of its value is above this share, or not known."""
# Degrees of freedom that the scatter of all repeats counts for beside a network's own.
_POOLED = 3.0
# Relative error that an unstable row without a standard error is taken to have: rows measured on a
# loaded machine were 1.3 to 3.5 times too long, whose logarithms are 0.26 and more.
_UNKNOWN_ERROR = 0.3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Tabular):
    """Values of a quantity, of networks on one target, row by row.

    The networks are architectures of one search space, or graphs of any kind. Datasets are
    immutable; slicing (slices, index arrays, masks) keeps all columns together. All values are
    in the quantity's unit.

    Attributes:
        networks: n architectures, or a tuple of n graphs whose shapes include the target's batch.
        values: of every row, shape (n,), read-only; the median where samples are known.
        target: what the values belong to; None of a quantity that depends on no target.
        quantity: what the values are of; its name will do.
        names: of every graph: a variant of a family (``resnet(depth1=2,…)``) or a file; by
            default what the graphs are called. Empty of architectures.
        families: of every graph, an empty text for a file. Empty of architectures.
        order: position of every row in the measuring campaign, shape (n,); row numbers by
            default.
        reference: value of the interleaved reference network, shape (n,), or None.
        samples: raw samples of every row, or None.
        uncorrected: values before the machine's drift was taken out, shape (n,), or None.
        standard_error: relative standard error of every value, shape (n,), or None; NaN where the
            machine was loaded, which repetition does not show.
        layers: of every row values by position of the graph's layers, from the runtime's
            profiler, whose clock takes time too; NaN where nothing is attributed, as on layers
            that are fused into others; or None.
        provenance: where the data comes from (source, licence, notes).

    Raises:
        ValueError: a column has another length or type, or the target is missing.
    """

    networks: Archs | tuple[Graph, ...]
    values: Floats
    target: Target = None  # type: ignore[assignment]  # only accuracies have none
    quantity: Quantity = LATENCY_MS
    names: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    order: npt.NDArray[np.int64] = None  # type: ignore[assignment]  # set on creation
    reference: Floats | None = None
    samples: tuple[Floats, ...] | None = None
    uncorrected: Floats | None = None
    standard_error: Floats | None = None
    layers: tuple[Floats, ...] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.quantity, str):
            self._set("quantity", QUANTITIES.get(self.quantity))
        if isinstance(self.target, str):
            self._set("target", Target.parse(self.target))
        if self.target is None and self.quantity.of_target:
            raise ValueError(f"{self.quantity.name} must have a target; got None")
        if isinstance(self.networks, Sequence):
            self._set_graphs(tuple(self.networks))
        self._set_columns()

    def _set_graphs(self, graphs: tuple[Graph, ...]) -> None:
        self._set("networks", graphs)
        if not self.names:
            self._set("names", tuple(graph.name for graph in graphs))
        if not self.families:
            self._set("families", ("",) * len(graphs))
        for name in ("names", "families"):
            self._set(name, tuple(getattr(self, name)))
            if (n := len(getattr(self, name))) != len(graphs):
                raise ValueError(f"{name} must have one entry per network ({len(graphs)}); got {n}")
        if self.layers is None:
            return
        self._set("layers", tuple(map(_read_only, self.layers)))
        shapes = [values.shape for values in self.layers or ()]
        if shapes != [(len(graph),) for graph in graphs]:
            raise ValueError(
                "layers must have one array per network, with a value for each layer; "
                f"got arrays of {[s[0] if s else 0 for s in shapes[:9]]} for graphs of "
                f"{[len(graph) for graph in graphs[:9]]} layers"
            )

    def _set_columns(self) -> None:
        """Make the columns read-only arrays of a value per row."""
        n = len(self)
        columns: dict[str, npt.NDArray[Any]] = {
            "values": np.array(self.values, dtype=np.float64),
            "order": np.arange(n) if self.order is None else _integers(self.order),
        }
        for name in _VALUES:
            if (values := getattr(self, name)) is not None:
                columns[name] = np.array(values, dtype=np.float64)
        for name, column in columns.items():
            if column.shape != (n,):
                raise ValueError(
                    f"{name} must have one value per {self.subject}, shape ({n},); "
                    f"got {column.shape}"
                )
            column.flags.writeable = False
            self._set(name, column)
        if self.samples is not None:
            if len(self.samples) != n:
                raise ValueError(
                    f"samples must have one list per {self.subject} ({n}); got {len(self.samples)}"
                )
            self._set("samples", tuple(map(_read_only, self.samples)))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen

    # -- the networks --------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.networks)

    def __repr__(self) -> str:
        where = "" if self.target is None else f" on {self.target}"
        return f"<Dataset of {len(self)} {self.subject}s: {self.quantity.name}{where}>"

    @property
    def space(self) -> SearchSpace | None:
        """The search space of the architectures; None of graphs."""
        return None if isinstance(self.networks, tuple) else self.networks.space

    @property
    def archs(self) -> Archs:
        """The n architectures.

        Raises:
            ValueError: the networks are graphs.
        """
        if isinstance(self.networks, tuple):
            raise ValueError(
                "this needs a dataset of a search space's architectures; got one of graphs "
                "(data.graphs)"
            )
        return self.networks

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """The n graphs.

        Raises:
            ValueError: the networks are architectures.
        """
        if not isinstance(self.networks, tuple):
            raise ValueError(
                f"this needs a dataset of graphs; got one of architectures of "
                f"{self.networks.space.name} (data.archs)"
            )
        return self.networks

    @property
    def subject(self) -> str:
        """The noun of a row's network, for messages."""
        return "network" if isinstance(self.networks, tuple) else "architecture"

    def unique_index(self) -> npt.NDArray[np.intp]:
        """Number of the network of every row, shape (n,): rows of equal ones have the same.

        Graphs are told apart by their names, their layers and their arithmetic: files of many
        exporters all have one name.
        """
        if isinstance(self.networks, tuple):
            keys = [
                f"{name} {len(graph)} {graph.macs}"
                for name, graph in zip(self.names, self.networks, strict=True)
            ]
            return np.unique(np.array(keys, dtype=object), return_inverse=True)[1].ravel()
        return self.networks.unique_index()

    # -- the values ----------------------------------------------------------------------------

    @property
    def latency_ms(self) -> Floats:
        """The values of a dataset of latencies, shape (n,).

        Raises:
            ValueError: the values are of another quantity.
        """
        self.check_quantity(LATENCY_MS)
        return self.values

    @property
    def inputs_per_s(self) -> Floats:
        """Throughput: what passes one after the other take in, inputs a second, shape (n,).

        That is the batch over the latency.

        Raises:
            ValueError: the values are of another quantity.
        """
        return np.asarray(self.target.batch * 1000 / self.latency_ms)

    def percentiles(self, *percents: float) -> Floats:
        """Percentiles of every row's samples, as they were measured, shape (n, percents).

        Samples are those of all runs, without correction of the machine's drift. NaN where a row
        has too few: a percentile is told where one sample at least is to be expected beyond it, so
        that the 99th takes a hundred.

        Raises:
            ValueError: a percentage is not between 0 and 100.
        """
        if not all(0 < percent < 100 for percent in percents):
            raise ValueError(f"percentiles must be between 0 and 100; got {percents}")
        found = np.full((len(self), len(percents)), np.nan)
        for row, samples in enumerate(self.samples or ()):
            beyond = [len(samples) * min(percent, 100 - percent) / 100 for percent in percents]
            known = np.array(beyond) >= 1 - 1e-9
            if known.any():
                found[row, known] = np.percentile(samples, np.array(percents)[known])
        return found

    @property
    def accuracy(self) -> Floats:
        """The values of a dataset of top-1 accuracies, from 0 to 1, shape (n,).

        Raises:
            ValueError: the values are of another quantity.
        """
        self.check_quantity(ACCURACY)
        return self.values

    def check_quantity(self, wanted: Quantity) -> None:
        """Make sure that the values are of a quantity.

        Raises:
            ValueError: they are of another.
        """
        if self.quantity != wanted:
            raise ValueError(f"this needs values of {wanted.name}; got {self.quantity.name}")

    @property
    def possible(self) -> npt.NDArray[np.bool_]:
        """Whether every value is finite and within the quantity's bounds, shape (n,)."""
        return self.quantity.is_possible(self.values)

    @property
    def unstable(self) -> npt.NDArray[np.bool_]:
        """Whether every value is not known to 3 %, shape (n,); none is where no row states it."""
        if self.standard_error is None:
            return np.zeros(len(self), dtype=np.bool_)
        return ~(self.standard_error <= UNSTABLE)

    @property
    def excess_variance(self) -> Floats:
        """Variance of every value's logarithm beyond that of a stable row, shape (n,).

        It is 0 where a row is stable or none states its standard error, so that these weigh the
        same, and grows from there: what a likelihood adds to the variance of its noise.
        """
        if self.standard_error is None:
            return np.zeros(len(self))
        known = np.nan_to_num(self.standard_error, nan=_UNKNOWN_ERROR, posinf=_UNKNOWN_ERROR)
        return np.asarray(np.maximum(known**2 - UNSTABLE**2, 0.0))

    @property
    def weights(self) -> Floats:
        """Weight of every row beside a stable one's 1, shape (n,): by its squared error."""
        return np.asarray(1 / (1 + self.excess_variance / UNSTABLE**2))

    def distinct(self) -> Self:
        """A row for every network, in the order of the first of each.

        Repeated measurements of a network are one, of their median, and tell how far a value
        scatters: its standard error is at least the scatter of all repeats and of its own over the
        root of their number. Copies, which do not differ, tell nothing.
        """
        groups = self.unique_index()
        counts = np.bincount(groups) if len(groups) else groups
        if len(counts) == len(groups):
            return self
        order = np.argsort(groups, kind="stable")
        parts = np.split(order, np.cumsum(counts)[:-1])
        parts.sort(key=lambda rows: int(rows[0]))
        values = np.array([np.median(self.values[rows]) for rows in parts])
        away = [self.values[rows] / v - 1 for rows, v in zip(parts, values, strict=True)]
        repeats = np.array([len(rows) for rows in parts])
        squares = np.array([float(a @ a) for a in away])
        several = repeats > 1
        # The median over networks: one spike says little of the others; of a chi-squared variable
        # it is below the mean (Wilson and Hilferty, 1931).
        below = (1 - 2 / (9 * (repeats[several] - 1))) ** 3
        usual = float(np.median(squares[several] / (repeats[several] - 1) / below))
        variance = (_POOLED * usual + squares) / (_POOLED + repeats - 1) / repeats
        stated = self._stated_errors(parts)
        if stated is not None or variance.any():
            known = np.zeros(len(parts)) if stated is None else stated
            stated = np.maximum(known, np.sqrt(variance))
        firsts = self[np.array([rows[0] for rows in parts])]
        samples = self.samples and tuple(
            np.concatenate([self.samples[n] for n in rows.tolist()]) for rows in parts
        )
        return replace(firsts, values=values, standard_error=stated, samples=samples)

    def _stated_errors(self, parts: Sequence[npt.NDArray[np.intp]]) -> Floats | None:
        """Relative standard error of a mean of rows, part by part; NaN where none states it."""
        if self.standard_error is None:
            return None
        known = [self.standard_error[rows] for rows in parts]
        known = [errors[np.isfinite(errors)] for errors in known]
        return np.array([np.sqrt(e @ e) / len(e) if len(e) else np.nan for e in known])

    def row_names(self, rows: npt.NDArray[np.bool_]) -> str:
        """Some of the chosen rows by name (graphs) or number, with their standard errors."""
        chosen = np.flatnonzero(rows)
        texts = [self._row_name(int(row)) for row in chosen[:5]]
        more = len(chosen) - len(texts)
        return ", ".join([*texts, *([f"and {more} more"] if more > 0 else [])])

    def _row_name(self, row: int) -> str:
        name = self.names[row] if self.names else f"row {row}"
        error = np.nan if self.standard_error is None else float(self.standard_error[row])
        return f"{name} (± {100 * error:.0f} %)" if np.isfinite(error) else f"{name} (± unknown)"

    def check_values(self) -> None:
        """Make sure that every value is :attr:`possible`.

        Raises:
            ValueError: naming the first row that is not, its value and what to do.
        """
        bad = ~self.possible
        if bad.any():
            row, kind = int(np.argmax(bad)), self.quantity
            raise ValueError(
                f"every {kind.label} must be {kind.condition}; got {self.values[row]} {kind.unit} "
                f"in row {row} ({counted(int(bad.sum()), 'such row')}): see `latcast audit`, "
                "and leave them "
                "out with data.valid()"
            )

    def valid(self) -> Self:
        """The rows that :meth:`check_values` lets pass."""
        return self[self.possible]

    # -- parts and wholes ----------------------------------------------------------------------

    def __getitem__(self, index: int | slice | npt.NDArray[Any]) -> Self:
        """The chosen rows, with everything that belongs to them."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        return replace(self, **{name: _chosen(getattr(self, name), rows) for name in _ROWS})

    def concatenate(self, *others: Self) -> Self:
        """Return a dataset of these rows followed by others of the same quantity and target.

        Columns and provenance are kept where all state them, the provenance where it is the same
        in all; the order goes on from one to the next.

        Raises:
            ValueError: a quantity, a target or a space is another.
        """
        parts = (self, *others)
        for part in others:
            for what in ("target", "quantity", "subject"):
                own, other = getattr(self, what), getattr(part, what)
                if own != other:
                    own, other = (getattr(x, "name", x) for x in (own, other))
                    raise ValueError(
                        f"only measurements of one {what} can be joined; got {own} and {other}"
                    )
        columns = {name: _joined([getattr(part, name) for part in parts]) for name in _ROWS}
        columns["order"] = _consecutive([part.order for part in parts])
        provenance = {
            key: value
            for key, value in self.provenance.items()
            if all(part.provenance.get(key) == value for part in others)
        }
        return replace(self, **columns, provenance=provenance)

    # -- files and frames ----------------------------------------------------------------------

    def to_polars(self) -> pl.DataFrame:
        """A row for every measurement, under the columns that its file has (``docs/files.md``)."""
        from . import _parquet

        return _parquet.frame({f.name: getattr(self, f.name) for f in fields(self)})

    def save(self, path: str | Path) -> None:
        """Write Parquet, atomically: a full disk or an interruption leaves no half file."""
        from . import _parquet

        _parquet.write(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote, or an earlier version of latcast.

        Raises:
            ValueError: the file is damaged, not a dataset, of a newer schema version, or mixes
                spaces or targets.
            FileNotFoundError: there is no such file.
        """
        from . import _parquet

        attributes = _parquet.read(path)
        try:
            return cls(**attributes)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


LatencyDataset = Dataset
"""Dataset under the name that it had while latencies were all it held."""
NetworkDataset = Dataset
"""Dataset under the name that it had for graphs."""


def split(
    data: Dataset, fraction: float, seed: int | np.random.Generator | None = 0
) -> tuple[Dataset, Dataset]:
    """Two parts at random; the first has about ``fraction`` of the distinct networks.

    Equal networks always end up on the same side.

    Raises:
        ValueError: ``fraction`` is not between 0 and 1, or a part would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction must be between 0 and 1; got {fraction}")
    group = data.unique_index()
    groups = int(group.max(initial=-1)) + 1
    first = round(fraction * groups)
    if not 0 < first < groups:
        raise ValueError(
            f"both parts need one {data.subject} at least; {groups} distinct ones cannot be split "
            f"at {fraction}"
        )
    chosen = np.zeros(groups, dtype=np.bool_)
    chosen[np.random.default_rng(seed).permutation(groups)[:first]] = True
    return data[chosen[group]], data[~chosen[group]]


def paper_split(data: Dataset) -> tuple[Dataset, Dataset, Dataset]:
    """Train, validation and test as the OFANAS paper splits: 70, 15, 15 % of the rows, in order.

    A split by row: where a network occurs twice it may be trained and tested on.
    """
    first = int(PAPER_FRACTIONS[0] * len(data))
    second = first + int(PAPER_FRACTIONS[1] * len(data))
    return data[:first], data[first:second], data[second:]


def _chosen(column: Any, rows: npt.NDArray[np.int64]) -> Any:
    if column is None or not len(column):
        return column
    return tuple(column[i] for i in rows.tolist()) if isinstance(column, tuple) else column[rows]


def _joined(columns: Sequence[Any]) -> Any:
    """One column of several parts; None where a part has none."""
    if any(column is None for column in columns):
        return None
    if isinstance(columns[0], tuple):
        return sum(columns, ())
    if isinstance(columns[0], np.ndarray):
        return np.concatenate(columns)
    return columns[0].concatenate(*columns[1:])


def _consecutive(orders: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Positions in several campaigns as those in one."""
    ends = np.cumsum([0, *(int(order.max(initial=-1)) + 1 for order in orders)])
    return np.concatenate([order + end for order, end in zip(orders, ends, strict=False)])


def _integers(order: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(order)
    if array.size and (array.dtype.kind not in "iu" or array.max() > np.iinfo(np.int64).max):
        raise ValueError(f"order must hold integers; got {array.dtype}")
    return array.astype(np.int64)


def _read_only(values: npt.ArrayLike) -> Floats:
    """The values as a read-only array; one that is so already is not copied."""
    if isinstance(values, np.ndarray) and not values.flags.writeable and values.dtype == np.float64:
        return values
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
