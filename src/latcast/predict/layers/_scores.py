"""How far errors were beyond the deviation that was stated: what intervals are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Errors of the logarithm over their stated deviation, of networks that were left out.

    Attributes:
        sizes: absolute values, ascending, shape (n,).
    """

    sizes: Floats

    @classmethod
    def of(cls, errors: Floats) -> Scores:
        """Of signed errors (n,)."""
        return cls(np.sort(np.abs(errors)))

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
        return float(self.sizes[rank - 1])

    def _rank(self, coverage: float) -> int:
        # Rounded first: .9 times 10 is a little more than 9 in floating point.
        return int(np.ceil(round(coverage * (len(self.sizes) + 1), 9)))
