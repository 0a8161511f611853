"""What networks are to a Gaussian process: choices, and sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.models.features import has_dead_code
from latcast.spaces import Archs

from ._base import Floats

_FACTS = ("macs", "params", "launches")


def sizes(archs: Archs) -> Floats:
    """Logarithms of how large networks are, shape (n, 5), or (n, 8) in a space with dead code.

    MACs, parameters and layers; peak activation bytes; blocks. Where blocks can be dead code,
    then MACs, parameters and layers of those that are not.
    """
    space = archs.space
    table, ids = space.block_table, space.block_ids(archs)
    there = ids < len(table)
    columns = [_gather(table.facts[name], ids).sum(axis=1) for name in _FACTS]
    columns.append(_gather(table.facts["peak_activation_bytes"], ids).max(axis=1, initial=0.0))
    columns.append(there.sum(axis=1).astype(np.float64))
    if has_dead_code(space):
        live = space.live_blocks(archs)
        columns += [(_gather(table.facts[name], ids) * live).sum(axis=1) for name in _FACTS]
    return np.asarray(np.log1p(np.stack(columns, axis=1)))


def _gather(values: Floats, ids: npt.NDArray[np.int32]) -> Floats:
    return np.asarray(np.append(values, 0.0)[ids])


@dataclass(frozen=True)
class Encoding:
    """Choices (one-hot) and :func:`sizes`, centred, each with a mean squared norm of 1.

    Attributes:
        centre: of the choices and then the sizes, shape (choices + sizes,).
        factor: what the centred inputs are multiplied by, same shape; 0 for sizes that never vary.
        choices: how many of the inputs are choices.
    """

    centre: Floats
    factor: Floats
    choices: int

    @classmethod
    def over(cls, archs: Archs) -> Encoding:
        """Centred and scaled over n networks."""
        inputs, choices = _inputs(archs)
        centre = inputs.mean(axis=0)
        spread = inputs.std(axis=0)
        varies = spread > 1e-9 * (np.abs(centre) + 1e-300)
        factor = np.zeros(len(centre))
        total = np.sqrt((spread[:choices] ** 2).sum())
        # A choice counts by how often it is made; sizes count alike, whatever their units.
        factor[:choices] = 1.0 / total if total else 0.0
        alike = varies[choices:]
        factor[choices:][alike] = 1.0 / (spread[choices:][alike] * np.sqrt(alike.sum()))
        return cls(centre, factor, choices)

    def __call__(self, archs: Archs) -> tuple[Floats, Floats]:
        """Choices (n, choices) and sizes (n, sizes)."""
        inputs, choices = _inputs(archs)
        if choices != self.choices or inputs.shape[1] != len(self.centre):
            raise ValueError(
                f"the encoding must have {choices} choices and {inputs.shape[1] - choices} sizes "
                f"for {archs.space.name}; got {self.choices} and "
                f"{len(self.centre) - self.choices}"
            )
        inputs -= self.centre
        inputs *= self.factor
        return inputs[:, :choices], inputs[:, choices:]


def _inputs(archs: Archs) -> tuple[Floats, int]:
    one_hot = archs.space.one_hot(archs)
    return np.hstack([one_hot, sizes(archs)]).astype(np.float64), one_hot.shape[1]
