"""NAS-Bench-201 networks with their accuracies, as HELP's folder holds them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latcast.search import AccuracyModel
from latcast.spaces import Archs, SearchSpace, space

SPACE = "nasbench201"
FILE = "arch_generated_by_metad2a.txt"
_COLUMNS = 3


class KnownAccuracy(AccuracyModel):
    """The accuracies of some networks; nothing is said of others.

    Args:
        archs: n different networks.
        accuracy: from 0 to 1, shape (n,).
    """

    name = FILE

    def __init__(self, archs: Archs, accuracy: npt.NDArray[np.float64]) -> None:
        self.archs, self.accuracy = archs, accuracy
        self._of = {row.tobytes(): value for row, value in zip(archs.genes, accuracy, strict=True)}

    def supports(self, space: SearchSpace) -> bool:
        """True for the space of the networks."""
        return space.name == self.archs.space.name

    def known(self, space: SearchSpace) -> Archs | None:
        """The networks."""
        return self.archs

    def predict(self, archs: Archs) -> npt.NDArray[np.float64]:
        """Accuracy from 0 to 1, shape (n,).

        Raises:
            ValueError: it is not known of one of them.
        """
        try:
            return np.array([self._of[row.tobytes()] for row in archs.genes], dtype=np.float64)
        except KeyError:
            raise ValueError(
                f"the accuracies of {len(self._of)} networks are known; got one that is not among "
                "them"
            ) from None


def read_metad2a(path: Path) -> KnownAccuracy:
    """Read ``arch_generated_by_metad2a.txt``: after a first line, ``ARCH, ACCURACY, SCORE``.

    ARCH is NAS-Bench-201's string, ACCURACY the top-1 on CIFAR-100 in percent. Of a network that
    occurs twice the first row counts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is malformed, or there is none.
    """
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    rows = [_row(path, n, line) for n, line in enumerate(lines, start=2) if line.strip()]
    if not rows:
        raise ValueError(f"{path} must hold networks with their accuracies; got none")
    archs = space(SPACE).parse(text for text, _ in rows)
    first = np.sort(np.unique(archs.unique_index(), return_index=True)[1])
    return KnownAccuracy(archs[first], np.array([value for _, value in rows])[first])


def _row(path: Path, number: int, line: str) -> tuple[str, float]:
    cells = [cell.strip() for cell in line.split(",")]
    try:
        percent = float(cells[1]) if len(cells) == _COLUMNS else math.nan
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:  # noqa: PLR2004
        raise ValueError(
            f"{path}, line {number}: it must be an architecture, its accuracy from 0 to 100 and a "
            f"score, between commas; got {line[:80]!r}"
        )
    return cells[0], percent / 100
