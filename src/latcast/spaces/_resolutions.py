"""The resolutions of the Once-For-All spaces, and lookups by gene value."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RESOLUTIONS = tuple(range(128, 241, 4))
_ONE_HOT = np.arange(128, 241, 16)


def index_of(choices: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Table value -> its index among ``choices`` (other values: 0)."""
    table = np.zeros(256, dtype=np.int32)
    table[list(choices)] = np.arange(len(choices))
    return table


def resolution_shares(resolutions: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Resolutions (n,) as shares of the multiples of 16 from 128 to 240, shape (n, 8).

    One between two of them is shared in proportion, so that multiples of 16 are one-hot.
    """
    distance = np.abs(resolutions[:, None].astype(np.float32) - _ONE_HOT) / 16
    return np.asarray(np.maximum(0, 1 - distance), dtype=np.float32)
