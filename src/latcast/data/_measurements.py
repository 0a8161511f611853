"""What every dataset of latencies has: columns that stay together, checks and slices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from latcast.devices import Target

OPTIONAL_COLUMNS = ("reference_ms", "uncorrected_ms", "standard_error")

Floats = npt.NDArray[np.float64]

POSSIBLE_MS = (1e-9, 1e12)
"""From less than a cycle of any clock to thirty years; beyond, sums and squares overflow too."""


class Measurements(ABC):
    """Latencies on one target, row by row, and what is known of each.

    A concrete dataset is a frozen dataclass with the attributes below and its subjects: what
    was measured, a row each. It calls :meth:`_check_columns` when it is made.

    Attributes:
        latency_ms: median latency of every row in ms, shape (n,), read-only.
        target: what the latencies belong to.
        order: position of every row in the measuring campaign, shape (n,); row
            numbers by default.
        reference_ms: latency of the interleaved reference network, shape (n,), or None.
        samples_ms: raw timed samples of every row, or None.
        uncorrected_ms: latency of every row before the machine's drift was taken out, shape
            (n,), or None.
        standard_error: relative standard error of every latency, shape (n,), or None.
        provenance: where the data comes from (source, licence, notes).
    """

    subject = "row"
    """What a row is of, for messages."""
    latency_ms: Floats
    target: Target
    order: npt.NDArray[np.int64]
    reference_ms: Floats | None
    samples_ms: tuple[Floats, ...] | None
    uncorrected_ms: Floats | None
    standard_error: Floats | None
    provenance: Mapping[str, str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def unique_index(self) -> npt.NDArray[np.intp]:
        """Number of the subject of every row, shape (n,): rows of equal ones have the same."""

    @abstractmethod
    def _subjects_at(self, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
        """The attributes that only this kind of dataset has, at these rows."""

    @abstractmethod
    def _joined_subjects(self, others: Sequence[Self]) -> dict[str, Any]:
        """The same of these rows followed by others'."""

    def __getitem__(self, index: int | slice | npt.NDArray[Any]) -> Self:
        """The chosen rows, with everything that belongs to them."""
        positions = np.atleast_1d(np.arange(len(self))[index])
        columns: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[positions]
            for name in ("latency_ms", "order", *OPTIONAL_COLUMNS)
        }
        if self.samples_ms is not None:
            columns["samples_ms"] = tuple(self.samples_ms[i] for i in positions.tolist())
        made: Self = replace(self, **columns, **self._subjects_at(positions))  # type: ignore[type-var]  # concrete ones are dataclasses
        return made

    def concatenate(self, *others: Self) -> Self:
        """These measurements followed by others of the same target.

        Columns and provenance are kept where all state them, the provenance where it is the same
        in all; the order goes on from one to the next.

        Raises:
            ValueError: a target or a space is another.
        """
        parts = (self, *others)
        for part in others:
            if part.target != self.target:
                raise ValueError(
                    f"only measurements of one target can be joined; got {self.target} and "
                    f"{part.target}"
                )
        columns: dict[str, Any] = dict.fromkeys((*OPTIONAL_COLUMNS, "samples_ms"))
        for name in columns:
            values = [getattr(part, name) for part in parts]
            if all(v is not None for v in values):
                joined = sum(values, ()) if name == "samples_ms" else np.concatenate(values)
                columns[name] = joined
        made: Self = replace(  # type: ignore[type-var]  # concrete ones are dataclasses
            self,
            **self._joined_subjects(others),
            latency_ms=np.concatenate([part.latency_ms for part in parts]),
            order=_consecutive([part.order for part in parts]),
            provenance={
                key: value
                for key, value in self.provenance.items()
                if all(part.provenance.get(key) == value for part in others)
            },
            **columns,
        )
        return made

    def check_latencies(self) -> None:
        """Make sure that every latency is finite, positive and within :data:`POSSIBLE_MS`.

        Raises:
            ValueError: naming the first row that is not, its value and what to do.
        """
        bad = ~self.possible
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"latencies must be finite and positive; got {self.latency_ms[row]} ms in row "
                f"{row} ({int(bad.sum())} such rows): see `latcast audit`, and leave them out "
                "with data.valid()"
            )

    def valid(self) -> Self:
        """The rows that :meth:`check_latencies` lets pass."""
        return self[self.possible]

    @property
    def possible(self) -> npt.NDArray[np.bool_]:
        """Whether every latency is finite, positive and within :data:`POSSIBLE_MS`, shape (n,)."""
        least, most = POSSIBLE_MS
        return (self.latency_ms >= least) & (self.latency_ms <= most)

    def _check_columns(self) -> None:
        """Make the columns read-only arrays of a value per row.

        Raises:
            ValueError: one has another length or type.
        """
        n = len(self)
        if isinstance(self.target, str):
            self._set("target", Target.parse(self.target))
        columns: dict[str, npt.NDArray[Any]] = {
            "latency_ms": np.array(self.latency_ms, dtype=np.float64),
            "order": np.arange(n) if self.order is None else _integers(self.order),
        }
        for name in OPTIONAL_COLUMNS:
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
        if self.samples_ms is not None:
            if len(self.samples_ms) != n:
                raise ValueError(
                    f"samples_ms must have one list per {self.subject} ({n}); "
                    f"got {len(self.samples_ms)}"
                )
            self._set("samples_ms", tuple(map(read_only, self.samples_ms)))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # concrete ones are frozen


def read_only(values: npt.ArrayLike) -> Floats:
    """The values as a read-only array; one that is so already is not copied."""
    if isinstance(values, np.ndarray) and not values.flags.writeable and values.dtype == np.float64:
        return values
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _consecutive(orders: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Positions in several campaigns as those in one."""
    ends = np.cumsum([0, *(int(order.max(initial=-1)) + 1 for order in orders)])
    return np.concatenate([order + end for order, end in zip(orders, ends, strict=False)])


def _integers(order: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(order)
    if array.size and (array.dtype.kind not in "iu" or array.max() > np.iinfo(np.int64).max):
        raise ValueError(f"order must hold integers; got {array.dtype}")
    return array.astype(np.int64)
