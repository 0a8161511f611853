"""Common parts of the Once-For-All spaces: resolutions, a supernet, and the dict form.

A dict has a list of numbers by key, such as ``{"ks": [20 kernel sizes], "e": [20 expand ratios],
"d": [5 depths], "r": [resolution]}``; a ``"wid"`` of None is allowed, the resolution may be a
number, and be called ``"image_size"``. Blocks go stage by stage; values of positions beyond a
stage's depth are kept but change nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import short_repr

from ._base import Archs, SearchSpace
from ._mobile import MobileNet
from ._resnet import ResNet

RESOLUTIONS = tuple(range(128, 241, 4))
_ONE_HOT = np.arange(128, 241, 16)

STAGES = 5
POSITIONS = 4
BLOCKS = STAGES * POSITIONS
RESOLUTION = "r"
_OTHER_NAMES = {"image_size": RESOLUTION}


def _whole(_: int, value: Any) -> int | None:
    # True is an integer to Python, and 3.0 is none: neither is what a file means by a kernel size.
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return None
    return int(value)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The list of numbers of one key.

    Attributes:
        key: of the dict.
        length: of the list.
        what: the numbers, for messages.
        read: the gene value (0 to 255) of a position's number, None if it is none.
        write: the number of a position's gene value.
    """

    key: str
    length: int
    what: str = "integers from 0 to 255"
    read: Callable[[int, Any], int | None] = _whole
    write: Callable[[int, int], float] = lambda _, gene: gene


@dataclass(frozen=True, slots=True)
class DictForm:
    """Lists of numbers, one after the other the genes of an architecture."""

    lists: tuple[Numbers, ...]

    def parse(self, items: Iterable[Any]) -> npt.NDArray[np.int64]:
        """Gene values of dicts, shape (n, numbers of all lists).

        Raises:
            ValueError: an item is no such dict; the message names the item and the key.
        """
        rows = [self._parse_one(n, item) for n, item in enumerate(items)]
        width = sum(x.length for x in self.lists)
        return np.array(rows, dtype=np.int64).reshape(len(rows), width)

    def format(self, genes: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
        """The inverse of :meth:`parse`."""
        ends = np.cumsum([x.length for x in self.lists])[:-1]
        parts = [part.tolist() for part in np.split(genes, ends, axis=1)]
        return [
            {
                x.key: [x.write(n, gene) for n, gene in enumerate(values)]
                for x, values in zip(self.lists, row, strict=True)
            }
            for row in zip(*parts, strict=True)
        ]

    def _parse_one(self, n: int, item: Any) -> list[int]:
        names = [x.key for x in self.lists]
        if not isinstance(item, Mapping):
            raise ValueError(
                f"architecture {n} must be a dict with the keys {', '.join(names[:-1])} and "
                f"{names[-1]}; got {short_repr(item)}"
            )
        if item.get("wid") is not None:
            raise ValueError(
                f"architecture {n}: 'wid' must be None (the width belongs to the space); "
                f"got {short_repr(item['wid'])}"
            )
        values: dict[str, Any] = {}
        # An unknown key is an error: a misspelt one would leave its genes at what they are not.
        for key, value in item.items():
            name = _OTHER_NAMES.get(key, key) if isinstance(key, str) else key
            if name not in (*names, "wid") or name in values:
                raise ValueError(f"architecture {n} has the unknown key {str(key)!r}")
            values[name] = value
        row: list[int] = []
        for numbers in self.lists:
            if numbers.key not in values:
                raise ValueError(f"architecture {n} lacks the key {numbers.key!r}")
            row += _read(n, numbers, values[numbers.key])
        return row


def _read(n: int, numbers: Numbers, values: Any) -> list[int]:
    """Gene values of one list."""
    if numbers.key == RESOLUTION and not isinstance(values, list | tuple):
        values = [values]
    if isinstance(values, list | tuple) and len(values) == numbers.length:
        genes = [numbers.read(position, value) for position, value in enumerate(values)]
        known = [gene for gene in genes if gene is not None and 0 <= gene <= 255]
        if len(known) == len(genes):
            return known
    raise ValueError(
        f"architecture {n}: {numbers.key!r} must be {numbers.length} {numbers.what}; "
        f"got {short_repr(values)}"
    )


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


class SupernetSpace(SearchSpace):
    """A space whose networks share the weights of one of them, the supernet."""

    @abstractmethod
    def specification(self, arch: Archs) -> MobileNet | ResNet:
        """Widths and blocks of one architecture (a batch of one).

        Raises:
            ValueError: the batch does not hold exactly one architecture.
        """

    def supernet(self) -> MobileNet | ResNet:
        """Widths and blocks of the network that holds all others, all genes at their largest."""
        largest = [gene.choices[-1] for gene in self.genes]
        return self.specification(Archs(self, [largest]))
