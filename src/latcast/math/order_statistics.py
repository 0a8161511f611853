"""Order statistics, which assume no distribution: latencies have a long tail to the right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# The normal deviate within which 95 % lie.
_Z95 = 1.96


def median_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """Lower and upper end of the median's 95 % confidence interval.

    Between order statistics n/2 ± 0.98 √n (the normal form of the distribution-free interval);
    infinite on both sides where there are too few values for one, fewer than six.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    reach = _Z95 * np.sqrt(n) / 2
    low, high = int(np.floor((n - 1) / 2 - reach)), int(np.ceil((n - 1) / 2 + reach))
    if low < 0:
        return -np.inf, np.inf
    return float(ordered[low]), float(ordered[high])
