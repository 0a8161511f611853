"""The contract of an accuracy model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs, SearchSpace

Floats = npt.NDArray[np.float64]

KIND = "accuracy"
"""Kind in the header of every accuracy model's file."""


class AccuracyModel(ABC):
    """Predicts the top-1 accuracy of architectures.

    A model is immutable, and its answer for an architecture depends on nothing else in the batch,
    up to rounding. A search asks once whether it :meth:`supports` the space and what is
    :meth:`known` of it, then calls :meth:`predict` with many batches, and :meth:`uncertainty` with
    what it has found.

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
