"""The contract of an accuracy model, and what must hold of accuracies wherever they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs, SearchSpace

Floats = npt.NDArray[np.float64]

# Kind in the header of every accuracy model's file.
KIND = "accuracy"


class AccuracyModel(ABC):
    """Predicts the top-1 accuracy of architectures.

    A model is immutable, and its answer for an architecture depends on nothing else in the batch,
    up to rounding. A search asks once whether it :meth:`supports` the space and what is
    :meth:`known` of it, then calls :meth:`predict` with many batches, and :meth:`uncertainty` with
    what it has found. A concrete model writes :meth:`supports` and :meth:`predict`, and what else
    it can tell: :meth:`uncertainty`, :meth:`known`, and :meth:`covers` with
    :meth:`predict_interval`.

    Attributes:
        name: for messages and reports.
        resolutions: the input resolutions that it was made for: it answers for others that its
            space has, but a search must not trust it there. None: all of them.
    """

    name: str
    resolutions: tuple[int, ...] | None = None

    @abstractmethod
    def supports(self, space: SearchSpace) -> bool:
        """Whether architectures of ``space`` can be predicted."""

    @abstractmethod
    def predict(self, archs: Archs) -> Floats:
        """Top-1 accuracy from 0 to 1, shape (n,).

        Raises:
            ValueError: the model does not support the space of ``archs``, or knows only some
                architectures and one of ``archs`` is not among them.
        """

    def uncertainty(self, archs: Archs) -> Floats | None:
        """Standard deviation of the expected accuracy, shape (n,); None where it is not known.

        How far :meth:`predict` may be from what the same training would give on average. The
        noise of one training is not in it.

        Raises:
            ValueError: as :meth:`predict`.
        """
        return None

    def known(self, space: SearchSpace) -> Archs | None:
        """The only architectures of ``space`` that can be predicted; None: all of them."""
        return None

    def covers(self, coverage: float) -> bool:
        """Whether there are intervals of ``coverage``."""
        return False

    def predict_interval(self, archs: Archs, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Bounds that hold the accuracy of a network, noise included, with a probability, (n,).

        Raises:
            ValueError: there are no such intervals; or as :meth:`predict`.
        """
        raise ValueError(
            f"intervals need a model that was trained; {self.name!r} has none of {coverage}"
        )

    def _check_space(self, archs: Archs, made_for: str) -> None:
        """Make sure that architectures are of a space that is supported."""
        if not self.supports(archs.space):
            raise ValueError(
                f"the accuracy model {self.name!r} is for {made_for}; "
                f"got architectures of {archs.space.name}"
            )


def checked_accuracies(values: npt.ArrayLike, n: int, whose: str) -> Floats:
    """Accuracies as float64, shape (n,).

    Args:
        values: what was given.
        n: how many there must be.
        whose: what they are, for the message.

    Raises:
        ValueError: they are no numbers, not n, not finite or not from 0 to 1.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{whose} must be numbers; got: {error}") from None
    if array.shape != (n,):
        raise ValueError(
            f"{whose} must be one number per architecture, shape ({n},); got shape {array.shape}"
        )
    wrong = ~((array >= 0.0) & (array <= 1.0))
    if wrong.any():
        row = int(wrong.argmax())
        hint = " (divide percent by 100)" if 1.0 < array[row] <= 100.0 else ""
        raise ValueError(
            f"{whose} must be from 0 to 1{hint}; got {array[row]:g} for architecture {row}"
        )
    return array


def resolutions_of(archs: Archs) -> tuple[int, ...] | None:
    """The resolutions that occur, ascending; None in a space without."""
    names = [g.name for g in archs.space.genes]
    if "r" not in names:
        return None
    return tuple(np.unique(archs.genes[:, names.index("r")]).tolist())


def checked_resolutions(resolutions: Any, space: SearchSpace) -> tuple[int, ...] | None:
    """Resolutions of a file's header; None in a space without.

    Raises:
        ValueError: they are no list of numbers, not ascending, none, or not the space's.
    """
    choices = next((gene.choices for gene in space.genes if gene.name == "r"), ())
    if not choices:
        if resolutions is not None:
            raise ValueError(f"{space.name} has no resolutions; got {resolutions!r}")
        return None
    if (
        not isinstance(resolutions, list)
        or not resolutions
        or not all(type(r) is int and r in choices for r in resolutions)
        or sorted(set(resolutions)) != resolutions
    ):
        raise ValueError(
            f"the resolutions must be ascending and of the space's, {choices[0]} to {choices[-1]}; "
            f"got {resolutions!r}"
        )
    return tuple(resolutions)
