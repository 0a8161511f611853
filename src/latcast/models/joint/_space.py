"""The joint model's forecasts of a search space's architectures, fast enough for a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.data import Dataset
from latcast.graph import rules_of
from latcast.math.conformal import DeviationScores
from latcast.models._base import Predictor
from latcast.models._block_predictor import Explanation, own_archs
from latcast.models._fitted import Fitted
from latcast.models._model import State
from latcast.networks import Networks, block_counts
from latcast.networks.bound import bound_ms
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._fit import SCATTER
from ._own import log_sums
from ._predictor import JointPredictor

Floats = npt.NDArray[np.float64]

# Architectures of a batch whose sums are remembered until the next is asked for.
_MAX_REMEMBERED = 1_000


@dataclass(frozen=True, eq=False)
class _Rows:
    """The sums over blocks of a network, for every row of the block table.

    Attributes:
        added: ms by the weights; ms with other numbers of cores; ms at other batches; and the ms
            that no device is below; shape (rows, columns).
        nested: how many numbers of cores there are.
        once: what a network takes beside its blocks, in these columns, shape (columns,).
        once_spread: the same in those of ``spread``, shape (variables,).
        sums: what :func:`log_sums` is the logarithm of, shape (rows, 4).
        spread: ms times their logarithm's slopes in independent standard normal variables, which
            the uncertain weights are made of, shape (rows, variables); where the target was
            measured, then those that they were made of before.
        covariances: how many covariances of the weights these variables are of.
    """

    added: Floats
    nested: int
    once: Floats
    once_spread: Floats
    sums: Floats
    spread: Floats
    covariances: int


class _Asked:
    """Architectures of which something is asked, and the sums over their blocks.

    Args:
        archs: of the space of a block table.
        runs_all: whether blocks that nothing reads count.
    """

    summed: tuple[Floats, Floats, Floats] | None = None
    """Ms, ms before comparisons with fewer cores or samples and bounds, and bounds, (n,) each."""

    deviation: Floats | None = None
    """Standard deviations of the logarithms of forecasts, shape (n,)."""

    def __init__(self, archs: Archs, runs_all: bool) -> None:
        self.archs, self._runs_all = archs, runs_all

    @cached_property
    def counts(self) -> sp.csr_matrix:
        """How often they have each row of the block table, shape (n, rows)."""
        return block_counts(self.archs, self._runs_all)


class JointSpacePredictor(Predictor):
    """One target of the joint model, of one search space.

    What :class:`JointPredictor` says of the kernels of an architecture, by sums over the rows of
    the space's block table: kernels are fused and priced once, and a forecast is a sparse product.
    Measurements of architectures tell of others by the weights of the target's prices; of the
    measured ones themselves no more than that.
    """

    kind = "joint-space"
    description = "one target of the joint model, for the architectures of one search space"

    _of_any: JointPredictor
    _last: tuple[Archs, _Asked] | None = None

    @classmethod
    def of(cls, predictor: JointPredictor, space: SearchSpace) -> JointSpacePredictor:
        """A target's predictor, for the architectures of a space."""
        new, of = cls(), predictor.fitted
        new._of_any = predictor
        block_space = find_space(space.block_space)
        new.become(Fitted(block_space, of.target, {}, of.calibration, of.card, of.quantity))
        return new

    def _learn(self, data: Sequence[Dataset], calibration: Dataset | None, seed: int) -> None:
        raise ValueError(
            f"a predictor of the kind {self.kind} must be made from the joint model; got datasets "
            "to fit: latcast.load(DEVICE, space=SPACE).adapt(DATA)"
        )

    def _own(self, networks: Any) -> _Asked:
        """Architectures with their sums, which all questions about the same batch share."""
        last = self._last
        if last is not None and last[0] is networks:
            return last[1]
        found = _Asked(own_archs(networks, self.space), self._of_any.runs_all)
        # A forecast asks four times about its batch. Larger ones are not held.
        if len(networks) <= _MAX_REMEMBERED:
            self._last = networks, found
        return found

    # -- sums over blocks -----------------------------------------------------------------------

    @cached_property
    def _rows(self) -> _Rows:
        """The rows of all blocks; each is taken for a network of its own."""
        p, table = _without_inference(self._of_any), self.space.block_table.blocks
        blocks = Networks.of_blocks(table, self.target.batch, rules_of(p._as_fused.runtime))
        # Some run nothing, such as an operation that is left out.
        used = np.flatnonzero(np.diff(blocks.counts.indptr))
        blocks = blocks.select(used)
        log_ms, slopes = p._prior.log_ms(p._work(blocks), blocks.counts, p._after.weights)
        nested = p._log_ms_nested(blocks)
        others = [p._at_batch(blocks, batch) for batch in p._batches]
        ms = [np.exp(x) for x in (log_ms, *nested, *others)]
        before = [] if p._prior.before is None else [p._prior.before]
        variables = np.hstack([_root(c) for c in (p._after.covariance, *before)])
        spread = ms[0][:, None] * (slopes @ variables)
        found = np.column_stack([*ms, bound_ms(blocks, p._facts), spread])
        rows, sums = np.zeros((len(table), found.shape[1])), np.zeros((len(table), 4))
        rows[used], sums[used] = found, np.exp(log_sums(blocks))
        every = [self._of_any._prior, *(q for _, q in self._of_any._nested)][: 1 + len(nested)]
        weights = [p._after.weights[-1], *(q.mean[-1] for q in every[1:])]
        inference = [1e3 * np.exp(q.log_inference + w) for q, w in zip(every, weights, strict=True)]
        once = np.array([*inference, *inference[:1] * len(others), 0.0])
        once_spread, end = once[0] * variables[-1], len(ms) + 1
        return _Rows(
            rows[:, :end], len(nested), once, once_spread, sums, rows[:, end:], 1 + len(before)
        )

    def _log_sums(self, own: _Asked) -> Floats:
        return np.asarray(np.log(np.maximum(own.counts @ self._rows.sums, 1.0)))

    def _summed(self, own: _Asked) -> tuple[Floats, Floats, Floats]:
        """What :attr:`_Asked.summed` holds."""
        if own.summed is not None:
            return own.summed
        rows = self._rows
        sums = np.asarray(own.counts @ rows.added) + rows.once
        alone, bound = sums[:, 0], sums[:, -1]
        now, *compared = np.log(sums[:, :-1].T)
        log_ms = now + self._of_any._fewer_cores(now, compared[: rows.nested])
        log_ms = log_ms + self._of_any._smaller_batch(now, compared[rows.nested :])
        if (campaign := self._of_any._campaign) is not None:
            log_ms = log_ms + campaign.own.log_factor(self._log_sums(own))
        log_ms = log_ms + self._of_any._after.level.log_factor
        own.summed = np.maximum(np.exp(log_ms), bound), alone, bound
        return own.summed

    # -- hooks ----------------------------------------------------------------------------------

    def _forecast(self, own: _Asked) -> tuple[Floats, Floats]:
        if own.deviation is None:
            own.deviation = self._deviation(own)
        return self._values(own), own.deviation.copy()

    def _deviation(self, own: _Asked) -> Floats:
        """What :attr:`_Asked.deviation` holds."""
        rows = self._rows
        alone = np.asarray(own.counts @ rows.added[:, :1]) + rows.once[0]
        slopes = (np.asarray(own.counts @ rows.spread) + rows.once_spread) / alone
        of_any = self._of_any
        # By what is known of the weights; then by what was before measurements.
        variance, *before = (
            np.einsum("ij,ij->i", part, part) for part in np.split(slopes, rows.covariances, axis=1)
        )
        variance = variance + of_any._effects.unknown_variance
        variance = np.maximum(variance, SCATTER**2) + of_any._after.level.variance
        deviation = np.sqrt(variance)
        if (campaign := of_any._campaign) is not None:
            unlike = campaign.own.whole(self._log_sums(own))[1]
            deviation = of_any._beyond(variance + unlike)
        return of_any._as_unmeasured_at_most(deviation, before[0]) if before else deviation

    def _values(self, own: _Asked) -> Floats:
        return self._summed(own)[0].copy()  # the caller's, to write into

    def _limits(self, own: _Asked) -> Floats:
        return self._summed(own)[2]

    def _doubts(self, own: _Asked) -> list[str]:
        return self._of_any._doubts_of(self._values(own), self._limits(own))

    @property
    def _remedy(self) -> str:
        return self._of_any._remedy

    def _explained(self, own: _Asked, coverage: float) -> Explanation:
        predicted, alone, _ = self._summed(own)
        archs = own.archs
        blocks = self.space.gather(archs, self._rows.added[:, 0])
        if not self._of_any.runs_all:
            blocks = np.where(self.space.live_blocks(archs), blocks, 0.0)
        blocks *= (predicted / alone)[:, None]
        return Explanation(self.space.block_ids(archs), blocks, predicted - blocks.sum(axis=1))

    def _calibration(self, data: Dataset) -> DeviationScores:
        predicted, deviation = self._forecast(self._own(data.networks))
        return DeviationScores.of(np.log(data.values / predicted) / deviation)

    def _adapted(self, few: Dataset, method: str, seed: int) -> JointSpacePredictor:
        space = few.archs.space
        return JointSpacePredictor.of(self._of_any._adapted(few, method, seed), space)

    # -- the file -------------------------------------------------------------------------------

    def _parts(self) -> Mapping[str, JointPredictor]:
        return {"target": self._of_any}

    def _state(self) -> State:
        return {"scores": self.fitted.calibration.sizes}

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        if not isinstance(parts["target"], JointPredictor):
            raise ValueError("its part 'target' must be one of the joint model")
        self._of_any = parts["target"]
        self.fitted.calibration = DeviationScores(np.asarray(state["scores"], dtype=np.float64))


def _root(covariance: Floats) -> Floats:
    """A factor of a covariance (p, p), shape (p, variables)."""
    size, where = np.linalg.eigh(covariance)
    return np.asarray(where * np.sqrt(np.maximum(size, 0.0)))


def _without_inference(predictor: JointPredictor) -> JointPredictor:
    """The same of kernels alone: what a network takes once must not come with each block."""
    new = copy(predictor)
    new.__dict__["_after"] = predictor._after
    new._prior = replace(predictor._prior, log_inference=-np.inf)
    new._nested = [(f, replace(q, log_inference=-np.inf)) for f, q in predictor._nested]
    return new
