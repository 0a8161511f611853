"""What others may vary: the choices of every gene that all models know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from latcast.predict import Predictor
from latcast.spaces import Archs, SearchSpace


@dataclass(frozen=True)
class Variables:
    """One discrete variable a gene: the index of its choice.

    Attributes:
        space: whose genes they are.
        choices: of every gene, the values that it may take, in order.
    """

    space: SearchSpace
    choices: tuple[npt.NDArray[np.uint8], ...]

    @classmethod
    def known(
        cls,
        space: SearchSpace,
        predictors: Sequence[Predictor],
        resolutions: Iterable[int] | None,
        restrict: Mapping[str, Iterable[int]] | None,
    ) -> Self:
        """The gene values that were seen in training and that the user wants.

        Args:
            space: whose genes are varied.
            predictors: they are relied on for the values that they were trained on.
            resolutions: that an accuracy model is relied on for; None for all.
            restrict: gene -> values.

        Raises:
            ValueError: a predictor is of another space, a gene or value is unknown, or nothing
                is left of a gene.
        """
        allowed = {g.name: set(g.choices) for g in space.genes}
        for predictor in predictors:
            if predictor.space.name != space.block_space:
                raise ValueError(
                    f"the predictors must be for {space.block_space}; got one for "
                    f"{predictor.space.name}"
                )
            for name, seen in predictor.fitted.seen.items():
                if name in allowed:
                    allowed[name] &= set(seen)
        if resolutions is not None and "r" in allowed:
            allowed["r"] &= set(resolutions)
        for name, values in (restrict or {}).items():
            if name not in allowed:
                raise ValueError(f"{space.name} has no gene {name!r}; it has {', '.join(allowed)}")
            wanted = set(values)
            if not wanted & allowed[name]:
                raise ValueError(
                    f"{name} must keep one of {sorted(allowed[name])}, which all models know; "
                    f"got {sorted(wanted)}"
                )
            allowed[name] &= wanted
        empty = [name for name, values in allowed.items() if not values]
        if empty:
            raise ValueError(
                f"the models share no value of {empty[0]!r}: take models that were trained on "
                "the same ones"
            )
        return cls(space, tuple(space.choices(allowed)))

    def archs(self, indices: npt.ArrayLike) -> Archs:
        """The networks of indices into the choices, shape (n, genes).

        Raises:
            ValueError: the shape is wrong, or an index is no integer of its gene's range.
        """
        given = np.atleast_2d(np.asarray(indices))
        counts = np.array([len(c) for c in self.choices])
        if given.ndim != 2 or given.shape[1] != len(counts):
            raise ValueError(
                f"networks of {self.space.name} need {len(counts)} indices each; "
                f"got an array of shape {given.shape}"
            )
        ok = (given >= 0) & (given < counts) & (given == np.floor(given))
        if not ok.all():
            row, column = np.argwhere(~ok)[0]
            raise ValueError(
                f"the index of {self.space.genes[column].name} must be a whole number from 0 to "
                f"{counts[column] - 1}; got {given[row, column]}"
            )
        columns = [
            c[column] for c, column in zip(self.choices, given.T.astype(np.intp), strict=True)
        ]
        return Archs(self.space, np.stack(columns, axis=1))
