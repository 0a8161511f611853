"""Ways from a base and a few measurements to a predictor, of which fine-tuning is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from latcast.data import LatencyDataset
from latcast.models import Bayes, Predictor, Roofline
from latcast.spaces import Archs

from . import paper

MOST_SUGGESTED = 100
"""A design pays off where there are few samples, and takes the longer the more there are."""


class Bases:
    """Predictors of one source, each trained when it is first asked for."""

    def __init__(self, source: str, train: LatencyDataset) -> None:
        self._source, self._train = source, train

    @cached_property
    def roofline(self) -> Predictor:
        """The default predictor."""
        return Roofline().fit(self._train)

    @cached_property
    def mlp(self) -> Predictor:
        """The paper's network by the paper's recipe; needs PyTorch."""
        dataset = next(d for d in paper.DATASETS if d.name == self._source)
        return paper.PREDICTORS["mlp-paper"](dataset).fit(self._train)


@dataclass(frozen=True)
class Scaled:
    """A base's predictions times one factor.

    Attributes:
        base: of another target.
        factor: the median ratio of what was measured to what the base says.
    """

    base: Predictor
    factor: float

    @classmethod
    def to(cls, base: Predictor, few: LatencyDataset) -> Scaled:
        """The base as it is, if there is no measurement."""
        ratios = few.latency_ms / base.predict(few.archs)
        return cls(base, float(np.median(ratios)) if len(few) else 1.0)

    def predict(self, archs: Archs) -> npt.NDArray[np.float64]:
        """Milliseconds, shape (n,)."""
        return self.factor * self.base.predict(archs)


@dataclass(frozen=True)
class Method:
    """How to get from a base and a few measurements to a predictor.

    Attributes:
        learn: from bases, measurements and a seed.
        base: the one it uses, to be trained before the clock starts.
        least: the fewest measurements that it works with.
        suggested: whether it chooses what is measured, which is at random otherwise.
    """

    learn: Callable[[Bases, LatencyDataset, int], Predictor | Scaled]
    base: Callable[[Bases], Predictor] | None = None
    least: int = 10
    suggested: bool = False

    def why_not(self, samples: int) -> str | None:
        """Why it is not run on so many measurements; None where it is."""
        if samples < self.least:
            return f"needs at least {self.least} samples"
        if self.suggested and samples > MOST_SUGGESTED:
            return f"picks at most {MOST_SUGGESTED} samples"
        return None


def _adapt(bases: Bases, few: LatencyDataset, seed: int) -> Predictor:
    return bases.roofline.adapt(few, seed=seed)


def _last_layer(bases: Bases, few: LatencyDataset, seed: int) -> Predictor:
    return bases.mlp.adapt(few, method="last-layer", seed=seed)


METHODS: Mapping[str, Method] = {
    "adapt": Method(_adapt, lambda bases: bases.roofline, least=1),
    "adapt-suggested": Method(_adapt, lambda bases: bases.roofline, least=1, suggested=True),
    "scaled": Method(
        lambda bases, few, _: Scaled.to(bases.roofline, few), lambda bases: bases.roofline, least=0
    ),
    "last-layer": Method(_last_layer, lambda bases: bases.mlp),
    "roofline": Method(lambda _, few, seed: Roofline().fit(few, seed=seed)),
    "bayes": Method(lambda _, few, seed: Bayes().fit(few, seed=seed)),
}
"""Ours, on rows at random and on those that ``suggest`` picks; the base times one factor; the
paper's; and without a base, from scratch."""
