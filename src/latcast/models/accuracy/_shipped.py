"""The accuracy models that latcast ships."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files

from latcast._names import unknown_name

from ._base import AccuracyModel
from .distilled import SPACE, DistilledOFA

NAMES = (SPACE,)


def accuracy_model(name: str = SPACE) -> AccuracyModel:
    """The shipped accuracy model called ``name``.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    if name not in NAMES:
        raise ValueError(unknown_name("accuracy model", name, NAMES))
    return _loaded(name)


@lru_cache(maxsize=len(NAMES))
def _loaded(name: str) -> AccuracyModel:
    with as_file(files("latcast") / "zoo" / f"{name}.accuracy.latcast") as path:
        return DistilledOFA.load(path)
