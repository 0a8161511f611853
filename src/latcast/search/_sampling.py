"""Random networks of every size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs, SearchSpace

MOST_TILT = 3.0


def small_to_large(
    space: SearchSpace,
    n: int,
    rng: np.random.Generator,
    restrict: Mapping[str, Sequence[int]] | None = None,
) -> Archs:
    """Random networks from small to large: drawn uniformly they would all be middle-sized.

    Every network has a tilt of its own, by which the later choices of all its genes are favoured.
    """
    tilts = rng.uniform(-MOST_TILT, MOST_TILT, n)
    columns = [choices[_tilted(len(choices), tilts, rng)] for choices in space.choices(restrict)]
    return Archs(space, np.stack(columns, axis=1))


def _tilted(
    choices: int, tilts: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Positions drawn with odds of exp(tilt) between last and first choice, shape (n,)."""
    place = np.linspace(0.0, 1.0, choices)
    # The largest of log odds plus Gumbel noise is a draw with these odds.
    drawn = tilts[:, None] * place + rng.gumbel(size=(len(tilts), choices))
    return np.asarray(drawn.argmax(axis=1), dtype=np.intp)
