"""Predictors of a search space's architectures, over the rows of its block table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, cast, final

import numpy as np
import numpy.typing as npt

from latcast._names import unknown_name
from latcast.data import Dataset, split
from latcast.spaces import Archs, SearchSpace

from ._base import Predictor
from ._fitted import Fitted, Floats

CALIBRATION_FRACTION = 0.15
MAX_CALIBRATION_ROWS = 1_500

Adaptation = Callable[["BlockPredictor", Dataset, int], Predictor]
ADAPTATIONS: dict[str, str | Adaptation] = {
    "bayes": "latcast.models.adaptation:bayes",
    "last-layer": "latcast.models.adaptation:last_layer",
}
"""Name -> how a predictor of another target is made: a function of an old one, a few measurements
and a seed, or where it stands, as ``module:function``. Ours know all kinds of predictors, which the
contract does not, and are loaded when they are used."""

# Of the smallest training value: no prediction is below, however far it extrapolates.
LOWEST_SHARE = 0.1


@dataclass(frozen=True)
class Explanation:
    """Where the milliseconds of n architectures go.

    Attributes:
        block_ids: rows of the space's block table, shape (n, max_blocks); ``len(table)`` where
            there is no block.
        blocks_ms: milliseconds of every block, shape (n, max_blocks), 0 where there is none.
        network_ms: what belongs to no single block (start-up, overlap, cache), shape (n,).
    """

    block_ids: npt.NDArray[np.int32]
    blocks_ms: Floats
    network_ms: Floats

    @property
    def total_ms(self) -> Floats:
        """All parts together: the prediction, shape (n,)."""
        return np.asarray(self.blocks_ms.sum(axis=1) + self.network_ms)


class BlockPredictor(Predictor):
    """A predictor of a search space's architectures, over its block table.

    Hooks get architectures in the block space (subspaces are expanded before).
    """

    _excess_variance: Floats

    @abstractmethod
    def _fit(self, archs: Archs, values: Floats, rng: np.random.Generator) -> None:
        """Learn from n architectures; values are possible, in the unit of their quantity.

        Variances of their logarithms beyond those of stable rows are in ``_excess_variance``.
        """

    @abstractmethod
    def _predict(self, archs: Archs) -> Floats:
        """Values, shape (n,)."""

    @abstractmethod
    def _explain(self, archs: Archs) -> Floats:
        """Parts of the value by block, shape (n, max_blocks), 0 where there is no block."""

    @final
    def _learn(self, data: Sequence[Dataset], calibration: Dataset | None, seed: int) -> None:
        """Set 15 % of the architectures aside (at most 1,500) unless there is ``calibration``."""
        whole = data[0].concatenate(*data[1:]) if len(data) > 1 else data[0]
        train, held_out = set_aside(whole, seed) if calibration is None else (whole, calibration)
        archs = train.archs.space.expand(train.archs)
        seen = {
            g.name: np.unique(archs.genes[:, i]).tolist() for i, g in enumerate(archs.space.genes)
        }
        card = {"data": dict(whole.provenance), "rows": len(whole)}
        self.become(Fitted(archs.space, whole.target, seen, card=card, quantity=whole.quantity))
        self._excess_variance = train.excess_variance
        self._fit(archs, train.values, np.random.default_rng(seed))
        held_out.check_values()
        try:
            self.calibrate(held_out)
        # A table lacks blocks that only held-out rows have: the message must not blame the rows.
        except ValueError as error:
            raise ValueError(
                f"what was fitted cannot predict the rows kept for calibration: {error}"
            ) from error

    @final
    def _adapted(self, few: Dataset, method: str, seed: int) -> Predictor:
        if method not in ADAPTATIONS:
            raise ValueError(unknown_name("method", method, list(ADAPTATIONS)))
        _ = few.archs  # of architectures, as this predictor is
        adaptation = ADAPTATIONS[method]
        if isinstance(adaptation, str):
            adaptation = cast("Adaptation", resolve_name(adaptation))
        return adaptation(self, few, seed)

    @final
    def _own(self, networks: Any) -> Archs:
        return own_archs(networks, self.space)

    @final
    def _forecast(self, own: Archs) -> tuple[Floats, None]:
        return self._predict(own), None

    @final
    def _explained(self, own: Archs, coverage: float) -> Explanation:
        blocks = self._explain(own)
        # Whatever a kind says of blocks, the parts add up to the prediction.
        network = self._predict(own) - blocks.sum(axis=1)
        return Explanation(self.space.block_ids(own), blocks, network)

    def _sizes(self) -> dict[str, int]:
        return {"blocks": len(self.space.block_table)}


def own_archs(networks: Any, space: SearchSpace) -> Archs:
    """Networks that a predictor of one space takes, as architectures of that space.

    Raises:
        ValueError: they are no architectures, or of another space.
    """
    if not isinstance(networks, Archs):
        raise ValueError(
            f"a model of {space.name} knows nothing of networks of other kinds: it must be a "
            "layer model (latcast train --predictor layers)"
        )
    if networks.space.block_space != space.name:
        raise ValueError(
            f"this predictor is for the space {space.name}; got architectures of "
            f"{networks.space.name}"
        )
    return networks.space.expand(networks)


def set_aside(data: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Split off the rows for calibration; both sides have an architecture at least."""
    groups = len(data.archs.unique())
    if groups < 2:
        raise ValueError("fitting needs different architectures; all rows hold the same one")
    # More scores than that make the quantiles no better, and the fit misses the rows.
    share = min(CALIBRATION_FRACTION, MAX_CALIBRATION_ROWS / len(data))
    fitted = min(groups - 1, max(1, round((1 - share) * groups)))
    return split(data, fitted / groups, seed)
