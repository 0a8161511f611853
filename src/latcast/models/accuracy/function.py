"""An accuracy model that is a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from latcast._names import short_repr
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import AccuracyModel, Floats
from ._checks import checked_accuracies


class CallableAccuracy(AccuracyModel):
    """Any function from architectures to accuracies; what it returns is checked every time.

    Args:
        function: takes ``Archs`` of n architectures, gives n top-1 accuracies from 0 to 1.
        name: for messages and reports; the function's own by default.
        space: the search space, or its name, that it is for; all of them by default.
        resolutions: see :class:`AccuracyModel`.

    Raises:
        ValueError: ``function`` cannot be called, or there is no such space.
    """

    def __init__(
        self,
        function: Callable[[Archs], Any],
        *,
        name: str | None = None,
        space: SearchSpace | str | None = None,
        resolutions: Iterable[int] | None = None,
    ) -> None:
        if not callable(function):
            raise ValueError(
                f"an accuracy function must take architectures; got {short_repr(function)}"
            )
        self._function = function
        self._space = find_space(space) if isinstance(space, str) else space
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.resolutions = None if resolutions is None else tuple(sorted(set(resolutions)))

    def supports(self, space: SearchSpace) -> bool:
        """The space that was given; all where none was."""
        return self._space is None or self._space.name == space.name

    def predict(self, archs: Archs) -> Floats:
        """What the function returns, as float64, shape (n,).

        Raises:
            ValueError: that is not n finite numbers from 0 to 1, or ``archs`` are of another
                space.
        """
        if not self.supports(archs.space):
            assert self._space is not None
            raise ValueError(
                f"the accuracy function {self.name!r} is for {self._space.name}; "
                f"got architectures of {archs.space.name}"
            )
        values = self._function(archs)
        return checked_accuracies(values, len(archs), f"what {self.name!r} returns")
