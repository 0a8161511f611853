"""Predictors of a search space's architectures, over the rows of its block table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, cast, final

import numpy as np
import numpy.typing as npt

from latcast._names import unknown_name
from latcast.data import Dataset, split
from latcast.math.conformal import Calibration
from latcast.spaces import Archs, SearchSpace

from ._base import Predictor
from ._fitted import Fitted, Floats
from .inputs import as_archs

# Intervals need held-out errors, of which more than so many tell nothing new.
CALIBRATION_FRACTION = 0.15
MAX_CALIBRATION_ROWS = 1_500
# Held-out rows of a stretch of a campaign that tell how far off it is at a level of 0.95.
MIN_STRETCH_ROWS = 19
# And of which the median tells how far off it is at all.
MIN_SHIFT_ROWS = 5

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
    """The contributions of blocks to the milliseconds of n architectures.

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
        if calibration is None:
            self._widen(whole, held_out)

    def _widen(self, whole: Dataset, held_out: Dataset) -> None:
        """Make intervals hold in every stretch of a campaign in which the machine drifted.

        Rows to come are of one machine, and not as rows drawn from all of the campaign: they may
        all be of a stretch like the one that is farthest off.
        """
        from latcast.data.audit import drifted

        found = drifted(whole, self.predict(whole.archs))
        if not found:
            return
        told = self.predict(held_out.archs)
        ratio = held_out.values / told
        among = [(first <= held_out.order) & (held_out.order <= last) for first, last, _ in found]
        usual = ~np.any(among, axis=0)
        if not usual.any():
            return
        parts = [(told[usual], held_out.values[usual])]
        listed: list[dict[str, float]] = []
        for (first, last, fitted), own in zip(found, among, strict=True):
            # Rows that were fitted to hide a part of what they are off.
            enough = own.sum() >= MIN_SHIFT_ROWS
            held = float(np.median(ratio[own]) / np.median(ratio[usual])) - 1 if enough else fitted
            shift = max(fitted, held, key=abs)
            if own.any():
                parts.append((told[own], held_out.values[own]))
            # Few rows tell no quantile: others of the stretch err as all do, and are off besides.
            if own.sum() < MIN_STRETCH_ROWS:
                parts.append((told[usual], (1 + shift) * held_out.values[usual]))
            listed.append({"from": first, "to": last, "percent": 100 * shift})
        self.fitted.card["drift"] = listed
        self.fitted.calibration = Calibration.in_each(parts)

    def _doubts(self, own: Archs) -> list[str]:
        drift = self.fitted.card.get("drift")
        if not drift:
            return []
        worst = max(drift, key=lambda d: abs(d["percent"]))
        sentence = (
            f"the machine drifted while it was measured (rows {worst['from']} to {worst['to']} by "
            f"{worst['percent']:+.1f} %): rows to come are not as those drawn from all, and "
            "intervals are widened to hold in each stretch"
        )
        return [sentence]

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

    def _deviation(self, archs: Archs, predicted: Floats) -> Floats | None:
        """Standard deviations of the logarithms of values (n,) that are predicted (n,), if any."""
        return None

    @final
    def _values(self, own: Archs) -> Floats:
        return self._predict(own)

    @final
    def _forecast(self, own: Archs) -> tuple[Floats, Floats | None]:
        predicted = self._predict(own)
        return predicted, self._deviation(own, predicted)

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

    Args:
        networks: architectures, or their dicts or strings, or one of those.
        space: that the predictor is of.

    Raises:
        ValueError: they are no architectures, or of another space.
    """
    items = networks if isinstance(networks, list | tuple) else [networks]
    if items and all(isinstance(item, Mapping | str) for item in items):
        networks = as_archs(items, space)
    if not isinstance(networks, Archs):
        raise ValueError(
            f"a model of {space.name} takes its architectures (Archs, dicts): other networks need "
            "a layer model (latcast train --predictor layers) or a device "
            "(latcast.load(DEVICE, networks=graph))"
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
