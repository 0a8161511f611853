"""An accuracy model from whatever stands for one: its name, its file, a table, a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from latcast._model_file import read_header
from latcast._names import short_repr
from latcast.models import zoo
from latcast.spaces import Archs, SearchSpace

from ._base import KIND, AccuracyModel
from .distilled import SPACE, DistilledOFA
from .ensemble import EnsembleAccuracy
from .gaussian_process import GaussianProcess
from .given import CallableAccuracy, TableAccuracy

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
