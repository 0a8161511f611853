"""How far errors were beyond the deviation that was stated: what intervals are made of."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Errors of the logarithm over their stated deviation, of networks that were left out.

    Attributes:
        sizes: absolute values, ascending, shape (n,).
        on_families: whether whole families were left out. Networks like those of the training say
            nothing of others, of which an interval then reaches at least as far as the stated
            deviation has it.
    """

    sizes: Floats
    on_families: bool = True

    @classmethod
    def of(cls, errors: Floats, *, on_families: bool = True) -> Scores:
        """Of signed errors (n,)."""
        return cls(np.sort(np.abs(errors)), on_families)

    def __post_init__(self) -> None:
        if self.sizes.ndim != 1 or not len(self.sizes) or not np.isfinite(self.sizes).all():
            raise ValueError("scores must be finite numbers, at least one")
        if (np.diff(self.sizes) < 0).any() or self.sizes[0] < 0:
            raise ValueError("scores must be ascending and not negative")

    def covers(self, coverage: float) -> bool:
        """Whether there are enough of them for intervals of ``coverage``."""
        return 0 < coverage < 1 and self._rank(coverage) <= len(self.sizes)

    def quantile(self, coverage: float) -> float:
        """Deviations that an interval reaches to either side: split conformal prediction.

        Raises:
            ValueError: the coverage is not between 0 and 1, or asks for more scores.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must be between 0 and 1, such as 0.9; got {coverage}")
        rank = self._rank(coverage)
        if rank > len(self.sizes):
            needed = int(np.ceil(round(coverage / (1 - coverage), 9)))
            raise ValueError(
                f"intervals of {coverage:g} need at least {needed} measurements; "
                f"the model was made from {len(self.sizes)}"
            )
        size = float(self.sizes[rank - 1])
        return size if self.on_families else max(size, NormalDist().inv_cdf((1 + coverage) / 2))

    def _rank(self, coverage: float) -> int:
        # Rounded first: .9 times 10 is a little more than 9 in floating point.
        return int(np.ceil(round(coverage * (len(self.sizes) + 1), 9)))
