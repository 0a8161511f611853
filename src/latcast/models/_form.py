"""Predictions written out as functions of what adds up over a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """A prediction as a function of sums over blocks, for those who need more than its value.

    With x the network's inputs (see below), layer k having weights W_k and biases b_k, and all
    layers but the last followed by a ReLU::

        y = x @ linear + layers(x) + base_weight * base(network)
        prediction = max(y, lowest_ms)

    The inputs, in this order, are the sums of :attr:`rows` over the blocks (a), the sums of
    :attr:`live` over the blocks that are no dead code (b), and, if :attr:`has_genes`, the space's
    one-hot encoding.

    Attributes:
        rows: of every row of the block table, shape (rows, a); NaN where unknown.
        live: likewise, shape (rows, b).
        has_genes: whether the one-hot encoding is among the inputs.
        linear: ms per unit of every input, shape (inputs,).
        layers: weights (in, out) and biases (out,) of every layer; the last has one output, ms.
        lowest_ms: no prediction is below.
        base: another prediction of which a multiple is added, or None.
        base_weight: its factor.
    """

    rows: Floats
    live: Floats
    has_genes: bool
    linear: Floats
    layers: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    lowest_ms: float
    base: Form | None = None
    base_weight: float = 0.0

    @classmethod
    def additive(cls, values_ms: Floats, constant_ms: float, lowest_ms: float) -> Form:
        """``constant_ms`` and a number of ms for every row of the block table (rows,)."""
        rows = values_ms[:, None]
        constant = (np.zeros((1, 1)), np.array([constant_ms]))
        return cls(rows, no_values(len(rows)), False, np.ones(1), [constant], lowest_ms)


def no_values(rows: int) -> Floats:
    """For a form that sums nothing, shape (rows, 0)."""
    return np.zeros((rows, 0))
