"""What others may vary: every gene's choice, by its index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
