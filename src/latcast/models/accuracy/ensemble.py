"""Several accuracy models as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from latcast.spaces import Archs, SearchSpace

from ._base import AccuracyModel, Floats


class EnsembleAccuracy(AccuracyModel):
    """The mean of its members, as unsure as they disagree.

    The variance of the expected accuracy is that of a mixture of the m members: the mean of their
    own variances, over those that tell them, plus the variance of their predictions around their
    mean (divided by m).

    Args:
        members: at least two, for the same space.
        name: for messages and reports.

    Attributes:
        members: in the order in which they were given.
        noise: root mean square of the members' ``noise``, the deviation of one network's accuracy
            around the expected one; None where a member does not tell. It does not shrink with
            more members and is no part of :meth:`uncertainty`.

    Raises:
        ValueError: fewer than two members, or they share no resolution.
    """

    def __init__(self, members: Sequence[AccuracyModel], *, name: str = "ensemble") -> None:
        self.members = tuple(members)
        if len(self.members) < 2:
            raise ValueError(f"an ensemble needs two members at least; got {len(self.members)}")
        self.name = name
        self.resolutions = _shared([m.resolutions for m in self.members])
        noises = [getattr(m, "noise", None) for m in self.members]
        known = [float(n) for n in noises if n is not None]
        self.noise = (
            float(np.sqrt(np.mean(np.square(known)))) if len(known) == len(noises) else None
        )

    def supports(self, space: SearchSpace) -> bool:
        """What all members support."""
        return all(m.supports(space) for m in self.members)

    def known(self, space: SearchSpace) -> Archs | None:
        """What all members know."""
        parts = [p for m in self.members if (p := m.known(space)) is not None]
        return reduce(_common, parts) if parts else None

    def predict(self, archs: Archs) -> Floats:
        """Mean of the members' predictions, shape (n,)."""
        return np.asarray(self._predictions(archs).mean(axis=0))

    def uncertainty(self, archs: Archs) -> Floats:
        """Standard deviation of the expected accuracy, shape (n,)."""
        between = self._predictions(archs).var(axis=0)
        own = [u for m in self.members if (u := m.uncertainty(archs)) is not None]
        # Who does not tell is not certain.
        within = np.square(own).mean(axis=0) if own else 0.0
        return np.asarray(np.sqrt(between + within))

    def _predictions(self, archs: Archs) -> Floats:
        return np.stack([m.predict(archs) for m in self.members])


def _shared(resolutions: list[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    stated = [set(r) for r in resolutions if r is not None]
    if not stated:
        return None
    shared = set.intersection(*stated)
    if not shared:
        raise ValueError(
            "the members of an ensemble must share a resolution; got "
            + " and ".join(str(sorted(s)) for s in stated)
        )
    return tuple(sorted(shared))


def _common(first: Archs, second: Archs) -> Archs:
    """Architectures of the first batch that are in the second, too."""
    groups = first.concatenate(second).unique_index()
    return first[np.isin(groups[: len(first)], groups[len(first) :])]
