"""An accuracy model from whatever stands for one: a name, a file, a table, a function, several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import read_header
from latcast._names import short_repr
from latcast.data import Dataset, read_accuracies
from latcast.models import zoo
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import KIND, AccuracyModel, Floats, checked_accuracies, resolutions_of
from .distilled import SPACE, DistilledOFA
from .gaussian_process import GaussianProcess


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


class EnsembleAccuracy(AccuracyModel):
    """The mean of its members, as unsure as they disagree.

    The variance of the expected accuracy is that of a mixture of the m members: the mean of their
    own variances, over those that tell them, plus the variance of their predictions around their
    mean (divided by m).

    Args:
        members: at least two, for the same space.
        name: for messages and reports.

    Attributes:
        members: in the order in which they were given.
        noise: root mean square of the members' ``noise``, the deviation of one network's accuracy
            around the expected one; None where a member does not tell. It does not shrink with
            more members and is no part of :meth:`uncertainty`.

    Raises:
        ValueError: fewer than two members, or they share no resolution.
    """

    def __init__(self, members: Sequence[AccuracyModel], *, name: str = "ensemble") -> None:
        self.members = tuple(members)
        if len(self.members) < 2:
            raise ValueError(f"an ensemble needs two members at least; got {len(self.members)}")
        self.name = name
        self.resolutions = _shared([m.resolutions for m in self.members])
        noises = [getattr(m, "noise", None) for m in self.members]
        known = [float(n) for n in noises if n is not None]
        self.noise = (
            float(np.sqrt(np.mean(np.square(known)))) if len(known) == len(noises) else None
        )

    def supports(self, space: SearchSpace) -> bool:
        """What all members support."""
        return all(m.supports(space) for m in self.members)

    def known(self, space: SearchSpace) -> Archs | None:
        """What all members know."""
        parts = [p for m in self.members if (p := m.known(space)) is not None]
        return reduce(_common, parts) if parts else None

    def predict(self, archs: Archs) -> Floats:
        """Mean of the members' predictions, shape (n,)."""
        return np.asarray(self._predictions(archs).mean(axis=0))

    def uncertainty(self, archs: Archs) -> Floats:
        """Standard deviation of the expected accuracy, shape (n,)."""
        between = self._predictions(archs).var(axis=0)
        own = [u for m in self.members if (u := m.uncertainty(archs)) is not None]
        # Who does not tell is not certain.
        within = np.square(own).mean(axis=0) if own else 0.0
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
    header = read_header(path)
    if header.get("kind") != KIND:
        raise ValueError(
            f"{path} must be an accuracy model; its kind is {short_repr(header.get('kind'))} "
            "(latcast accuracy train makes one)"
        )
    kind = header.get("model")
    if kind == GaussianProcess.kind:
        return GaussianProcess.load(path)
    if kind is not None:
        raise ValueError(
            f"{path} must hold a {GaussianProcess.kind} or a distilled model; the kind "
            f"{short_repr(kind)} is not known: upgrade latcast, or train a model anew"
        )
    return DistilledOFA.load(path)


def as_accuracy_model(
    source: AccuracySource | Sequence[AccuracySource], space: SearchSpace | str | None = None
) -> AccuracyModel:
    """The accuracy model that something stands for.

    Args:
        source: a model; the name of a shipped one; the path of a model file (``.latcast``) or of a
            table (``.csv``, or HELP's ``.txt``); a function from architectures to accuracies; or
            a list of these, for an ensemble where there are several.
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
    if suffix in TABLE_SUFFIXES:
        return TableAccuracy.read(source, space)
    return accuracy_model(str(source))
