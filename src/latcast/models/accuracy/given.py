"""Accuracies that are given: by a table, or by a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import short_repr
from latcast.data import Dataset, read_accuracies
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import AccuracyModel, Floats, checked_accuracies, resolutions_of


class TableAccuracy(AccuracyModel):
    """Looks accuracies up; knows the architectures of its table and no others.

    Args:
        archs: n different architectures.
        accuracy: their top-1 accuracies, from 0 to 1, shape (n,).
        name: for messages and reports.

    Raises:
        ValueError: no architecture, the same network twice, or an accuracy that is not from 0
            to 1.
    """

    def __init__(self, archs: Archs, accuracy: npt.ArrayLike, *, name: str = "table") -> None:
        self._accuracy = checked_accuracies(accuracy, len(archs), f"the accuracies of {name!r}")
        if not len(archs):
            raise ValueError(f"the table {name!r} must hold an architecture; got none")
        self.name = name
        self._archs = archs
        self.resolutions = resolutions_of(archs)
        keys = _keys(archs)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        twice = np.flatnonzero(self._keys[1:] == self._keys[:-1])
        if len(twice):
            first, second = sorted(self._order[twice[0] : twice[0] + 2].tolist())
            raise ValueError(
                f"the table {name!r} must hold a network once; rows {first} and {second} are the "
                "same (a model of repeated trainings: latcast accuracy train)"
            )

    @classmethod
    def read(
        cls, path: str | Path, space: SearchSpace | str | None = None, *, unit: str | None = None
    ) -> TableAccuracy:
        """A table from a file; see :func:`read_accuracies`."""
        return cls.of(read_accuracies(path, space, unit=unit), name=Path(path).name)

    @classmethod
    def of(cls, data: Dataset, *, name: str = "table") -> TableAccuracy:
        """A table of what was read."""
        return cls(data.archs, data.accuracy, name=name)

    def supports(self, space: SearchSpace) -> bool:
        """The space of the table."""
        return space.name == self._archs.space.name

    def known(self, space: SearchSpace) -> Archs | None:
        """All of the table's architectures."""
        return self._archs if self.supports(space) else space.sample(0)

    def predict(self, archs: Archs) -> Floats:
        """Accuracies from the table, shape (n,).

        Raises:
            ValueError: an architecture is not in the table, or ``archs`` are of another space.
        """
        self._check_space(archs, self._archs.space.name)
        keys = _keys(archs)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        missing = self._keys[at] != keys
        if missing.any():
            raise ValueError(
                f"the table {self.name!r} lacks architecture {int(missing.argmax())} of "
                f"{len(archs)}; it has {len(self._archs):,} (for a model of all others: "
                "latcast accuracy train)"
            )
        return np.asarray(self._accuracy[self._order[at]])


def _keys(archs: Archs) -> npt.NDArray[np.bytes_]:
    """One comparable key per network, shape (n,)."""
    genes = np.ascontiguousarray(archs.canonical().genes)
    # Bytes rather than void, which numpy does not compare in order; no gene's trailing 0 is lost,
    # as all keys are of one length.
    return np.asarray(genes.view(f"S{genes.shape[1]}").ravel())


class CallableAccuracy(AccuracyModel):
    """Any function from architectures to accuracies; what it returns is checked every time.

    Args:
        function: takes ``Archs`` of n architectures, gives n top-1 accuracies from 0 to 1.
        name: for messages and reports; the function's own by default.
        space: the search space, or its name, that it is for; all of them by default.
        resolutions: see :class:`AccuracyModel`.

    Raises:
        ValueError: ``function`` cannot be called, or there is no such space.
    """

    def __init__(
        self,
        function: Callable[[Archs], Any],
        *,
        name: str | None = None,
        space: SearchSpace | str | None = None,
        resolutions: Iterable[int] | None = None,
    ) -> None:
        if not callable(function):
            raise ValueError(
                f"an accuracy function must take architectures; got {short_repr(function)}"
            )
        self._function = function
        self._space = find_space(space) if isinstance(space, str) else space
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.resolutions = None if resolutions is None else tuple(sorted(set(resolutions)))

    def supports(self, space: SearchSpace) -> bool:
        """The space that was given; all where none was."""
        return self._space is None or self._space.name == space.name

    def predict(self, archs: Archs) -> Floats:
        """What the function returns, as float64, shape (n,).

        Raises:
            ValueError: that is not n finite numbers from 0 to 1, or ``archs`` are of another
                space.
        """
        self._check_space(archs, "any space" if self._space is None else self._space.name)
        values = self._function(archs)
        return checked_accuracies(values, len(archs), f"what {self.name!r} returns")
