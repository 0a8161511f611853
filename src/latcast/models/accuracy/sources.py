"""An accuracy model from whatever stands for one: a name, a file, a table, a function, several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._files import STDIN
from latcast._model_file import Array, Schema
from latcast._names import short_repr
from latcast.data import ACCURACY, Dataset, read_accuracies
from latcast.models import zoo
from latcast.models._model import State, open_model
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import (
    AccuracyModel,
    Floats,
    check_resolutions,
    checked_accuracies,
    resolutions_of,
)
from .distilled import SPACE

TABLE_SCHEMA = Schema(
    {}, {"genes": Array(("rows", "genes"), "uint8", "uint8"), "accuracies": Array(("rows",))}
)


class TableAccuracy(AccuracyModel):
    """Looks accuracies up; knows the architectures of its table and no others.

    Args:
        archs: n different architectures; None for a table that is to be fitted.
        accuracy: their top-1 accuracies, from 0 to 1, shape (n,).
        name: for messages and reports.

    Raises:
        ValueError: no architecture, the same network twice, or an accuracy that is not from 0
            to 1.
    """

    kind = "accuracy-table"
    description = "accuracies of the architectures that are known"

    def __init__(
        self,
        archs: Archs | None = None,
        accuracy: npt.ArrayLike = (),
        *,
        name: str = "table",
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name)
        if archs is not None:
            self.given(archs.space, resolutions_of(archs), card)
            self._hold(archs, accuracy)

    def _hold(self, archs: Archs, accuracy: npt.ArrayLike) -> None:
        name = self.name
        self._accuracy = checked_accuracies(accuracy, len(archs), f"the accuracies of {name!r}")
        if not len(archs):
            raise ValueError(f"the table {name!r} must hold an architecture; got none")
        self._archs = archs
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
        return cls(data.archs, data.accuracy, name=name, card={"data": dict(data.provenance)})

    def _learn(self, data: Sequence[Dataset], calibration: Dataset | None, seed: int) -> None:
        whole = data[0].concatenate(*data[1:]) if len(data) > 1 else data[0]
        whole.check_quantity(ACCURACY)
        card = {"data": dict(whole.provenance), "rows": len(whole)}
        self.given(whole.archs.space, resolutions_of(whole.archs), card)
        self._hold(whole.archs, whole.values)
        if calibration is not None:
            self.calibrate(calibration)

    def options(self) -> dict[str, Any]:
        return {"name": self.name}

    def _schema(self) -> Schema:
        return TABLE_SCHEMA

    def _state(self) -> State:
        return {"genes": self._archs.genes, "accuracies": self._accuracy}

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        check_resolutions(self)
        self._hold(Archs(self.space, state["genes"]), state["accuracies"])

    def supports(self, space: SearchSpace) -> bool:
        """The space of the table."""
        return space.name == self.space.name

    def known(self, space: SearchSpace) -> Archs | None:
        """All of the table's architectures."""
        return self._archs if self.supports(space) else space.sample(0)

    def _values(self, own: Archs) -> Floats:
        keys = _keys(own)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        missing = self._keys[at] != keys
        if missing.any():
            raise ValueError(
                f"the table {self.name!r} lacks architecture {int(missing.argmax())} of "
                f"{len(own)}; it has {len(self._archs):,} (for a model of all others: "
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
        resolutions: see :attr:`AccuracyModel.resolutions`.

    Raises:
        ValueError: ``function`` cannot be called, or there is no such space.
    """

    kind = "accuracy-function"
    description = "a function of the user's"

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
        super().__init__(name or str(getattr(function, "__name__", type(function).__name__)))
        self._function = function
        self.given(find_space(space) if isinstance(space, str) else space, resolutions)

    def supports(self, space: SearchSpace) -> bool:
        """The space that was given; all where none was."""
        own = self.fitted.space
        return own is None or own.name == space.name

    def _values(self, own: Archs) -> Floats:
        return checked_accuracies(self._function(own), len(own), f"what {self.name!r} returns")


class EnsembleAccuracy(AccuracyModel):
    """The mean of its members, as unsure as they disagree.

    The variance of the expected accuracy is that of a mixture of the m members: the mean of their
    own variances, over those that tell them, plus the variance of their predictions around their
    mean (divided by m).

    Args:
        members: at least two, for the same space; None for one that is to be read from a file.
        name: for messages and reports.

    Attributes:
        members: in the order in which they were given.
        noise: root mean square of the members' ``noise``, the deviation of one network's accuracy
            around the expected one; None where a member does not tell. It does not shrink with
            more members and is no part of :meth:`uncertainty`.

    Raises:
        ValueError: fewer than two members, or they share no resolution.
    """

    kind = "accuracy-ensemble"
    description = "the mean of several models of accuracies"

    def __init__(
        self, members: Sequence[AccuracyModel] | None = None, *, name: str = "ensemble"
    ) -> None:
        super().__init__(name)
        if members is not None:
            resolutions = _shared([m.resolutions for m in members])
            self._hold(members)
            self.given(self.members[0].fitted.space, resolutions)

    def _hold(self, members: Sequence[AccuracyModel]) -> None:
        self.members = tuple(members)
        if len(self.members) < 2:
            raise ValueError(f"an ensemble needs two members at least; got {len(self.members)}")
        noises = [m.noise for m in self.members]
        known = [n for n in noises if n is not None]
        if len(known) == len(noises):
            self.noise = float(np.sqrt(np.mean(np.square(known))))

    def options(self) -> dict[str, Any]:
        return {"name": self.name}

    def _parts(self) -> Mapping[str, AccuracyModel]:
        return {str(n): member for n, member in enumerate(self.members)}

    def _state(self) -> State:
        return {}

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        self._hold([parts[str(n)] for n in range(len(parts))])

    def supports(self, space: SearchSpace) -> bool:
        """Return whether all members support a space."""
        return all(m.supports(space) for m in self.members)

    def known(self, space: SearchSpace) -> Archs | None:
        """Return the networks that all members know."""
        parts = [p for m in self.members if (p := m.known(space)) is not None]
        return reduce(_common, parts) if parts else None

    def _values(self, own: Archs) -> Floats:
        return np.asarray(self._predictions(own).mean(axis=0))

    def _uncertainty(self, own: Archs) -> Floats:
        between = self._predictions(own).var(axis=0)
        told = [u for m in self.members if (u := m.uncertainty(own)) is not None]
        # Who does not tell is not certain.
        within = np.square(told).mean(axis=0) if told else 0.0
        return np.asarray(np.sqrt(between + within))

    def _predictions(self, archs: Archs) -> Floats:
        return np.stack([m.predict(archs) for m in self.members])


def _shared(resolutions: list[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    stated = [set(r) for r in resolutions if r is not None]
    if not stated:
        return None
    shared = set.intersection(*stated)
    if not shared:
        raise ValueError(
            "the members of an ensemble must share a resolution; got "
            + " and ".join(str(sorted(s)) for s in stated)
        )
    return tuple(sorted(shared))


def _common(first: Archs, second: Archs) -> Archs:
    """Architectures of the first batch that are in the second, too."""
    groups = first.concatenate(second).unique_index()
    return first[np.isin(groups[: len(first)], groups[len(first) :])]


SHIPPED = (SPACE,)
"""Names of the accuracy models that latcast ships."""
MODEL_SUFFIX = ".latcast"
TABLE_SUFFIXES = (".csv", ".txt")

AccuracySource = AccuracyModel | str | Path | Callable[[Archs], Any]
"""What stands for an accuracy model; see :func:`as_accuracy_model`."""


def accuracy_model(name: str = SPACE) -> AccuracyModel:
    """The shipped accuracy model called ``name``.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    return _loaded(name)


@lru_cache(maxsize=len(SHIPPED))
def _loaded(name: str) -> AccuracyModel:
    with zoo.path(name, "accuracy") as path:
        return load_accuracy(path)


def load_accuracy(path: str | Path) -> AccuracyModel:
    """An accuracy model from its file, of whichever kind.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds no accuracy model, or one of a kind that is not known.
    """
    model = open_model(path)
    if not isinstance(model, AccuracyModel):
        raise ValueError(
            f"{path} must be an accuracy model; its kind is {model.kind!r} "
            "(latcast accuracy train makes one)"
        )
    return model


def as_accuracy_model(
    source: AccuracySource | Sequence[AccuracySource], space: SearchSpace | str | None = None
) -> AccuracyModel:
    """The accuracy model that something stands for.

    Args:
        source: a model; the name of a shipped one; the path of a model file (``.latcast``) or of a
            table (``.csv``, or HELP's ``.txt``; ``-`` is one from standard input); a function from
            architectures to accuracies; or a list of these, for an ensemble where there are
            several.
        space: of a table's architectures, where its file does not tell.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no such name, a file is not as it must be, or ``source`` is none of
            all these.
    """
    if isinstance(source, AccuracyModel):
        return source
    if isinstance(source, str | Path):
        return _named(source, space)
    if callable(source):
        return CallableAccuracy(source)
    if isinstance(source, Sequence):
        members = [as_accuracy_model(s, space) for s in source]
        return members[0] if len(members) == 1 else EnsembleAccuracy(members)
    raise ValueError(
        "an accuracy model must be a name, a file, a function or an AccuracyModel, or several; "
        f"got {short_repr(source)}"
    )


def _named(source: str | Path, space: SearchSpace | str | None) -> AccuracyModel:
    suffix = Path(source).suffix.lower()
    if suffix == MODEL_SUFFIX:
        return load_accuracy(source)
    if suffix in TABLE_SUFFIXES or str(source) == STDIN:
        return TableAccuracy.read(source, space)
    return accuracy_model(str(source))
