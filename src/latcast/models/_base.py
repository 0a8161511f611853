"""The contract of a predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import numpy.typing as npt

from latcast._model_file import ModelFile, read_model, write_model
from latcast.data import LatencyDataset, split
from latcast.devices import Target
from latcast.math.conformal import Calibration
from latcast.spaces import Archs, SearchSpace, space

from ._form import Form
from ._tunable import Tunable

Floats = npt.NDArray[np.float64]
State = dict[str, npt.NDArray[Any]]

MIN_ROWS = 10
CALIBRATION_FRACTION = 0.15
MAX_CALIBRATION_ROWS = 1_500

LOWEST_SHARE = 0.1
"""Of the smallest training latency: no prediction is below, however far it extrapolates."""


@dataclass(frozen=True)
class Explanation:
    """Where the milliseconds of n architectures go.

    Attributes:
        block_ids: rows of the space's block table, shape (n, max_blocks); ``len(table)`` where
            there is no block.
        blocks_ms: milliseconds of every block, shape (n, max_blocks), 0 where there is none.
        network_ms: what belongs to no single block (start-up, overlap, cache), shape (n,).

    ``blocks_ms.sum(axis=1) + network_ms`` is the prediction.
    """

    block_ids: npt.NDArray[np.int32]
    blocks_ms: Floats
    network_ms: Floats


@dataclass
class Fitted:
    """What a fitted predictor knows besides its own state.

    Attributes:
        space: the space whose block table is used (the parent of a subspace).
        target: what the predictions belong to.
        seen: gene -> the values that occurred in training.
        calibration: errors on rows that were not trained on, or None.
        card: data provenance, licence, metrics: anything JSON can hold.
    """

    space: SearchSpace
    target: Target
    seen: dict[str, list[int]]
    calibration: Calibration | None = None
    card: dict[str, Any] = field(default_factory=dict)


class Predictor(ABC):
    """Milliseconds of architectures on one target, with intervals.

    Lifecycle: create with options; :meth:`fit` once (it sets aside rows for calibration and
    calls :meth:`_fit` with the others); then :meth:`predict`, :meth:`predict_interval`,
    :meth:`explain` and :meth:`save` as often as wanted, which change nothing.
    A concrete predictor writes the hooks below and overrides nothing else. Hooks get
    architectures in the block space (subspaces are expanded before).
    """

    kind: ClassVar[str]
    description: ClassVar[str]

    tunable: ClassVar[Mapping[str, Tunable]] = {}
    """Options that :mod:`latcast.models.tuning` may set, and where their values may lie."""

    learns_in_epochs: ClassVar[bool] = False
    """Whether there is an option ``epochs``, and :attr:`after_epoch` is called."""

    after_epoch: Callable[[int], None] | None = None
    """Called during :meth:`fit` after every epoch with its number, from 1; :meth:`predict` then
    gives what has been learnt so far. What it raises ends the fit."""

    def __init__(self) -> None:
        self._fitted: Fitted | None = None

    # -- hooks ------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> None:
        """Learn from n architectures; latencies are finite and positive."""

    @abstractmethod
    def _predict(self, archs: Archs) -> Floats:
        """Milliseconds, shape (n,)."""

    @abstractmethod
    def _explain(self, archs: Archs) -> Floats:
        """Milliseconds per block, shape (n, max_blocks), 0 where there is no block."""

    @abstractmethod
    def _state(self) -> State:
        """Arrays from which :meth:`_restore` rebuilds the fitted predictor."""

    @abstractmethod
    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        """The inverse of :meth:`_state` and :meth:`_parts`; the space is known.

        Raises:
            KeyError, ValueError: an array is missing or has the wrong shape.
        """

    def _parts(self) -> Mapping[str, Predictor]:
        """Fitted predictors that this one is made of, by name; they are saved with it."""
        return {}

    def _form(self) -> Form | None:
        """The prediction as a function of sums over blocks, where it is one."""
        return None

    def options(self) -> dict[str, Any]:
        """The arguments with which the predictor was created (JSON-able)."""
        return {}

    # -- what every predictor has -------------------------------------------------------------

    @property
    def fitted(self) -> Fitted:
        """Space, target, calibration and card.

        Raises:
            RuntimeError: the predictor is not fitted.
        """
        if self._fitted is None:
            raise RuntimeError(f"{type(self).__name__} must be fitted first: call fit(data)")
        return self._fitted

    @property
    def space(self) -> SearchSpace:
        """The search space whose block table is used."""
        return self.fitted.space

    @property
    def target(self) -> Target:
        """What the predictions belong to."""
        return self.fitted.target

    @final
    def adapt(self, few: LatencyDataset, *, method: str = "bayes", seed: int = 0) -> Predictor:
        """A predictor for the target of a few measurements, made from this one.

        Works across devices, runtimes, batch sizes and precisions, and between search spaces,
        whose blocks are then compared by their physics.

        Args:
            few: at least one measurement; every one of them is used for the prediction, and
                intervals come from the errors that each would have had without itself.
            method: a key of :data:`latcast.models.adaptation.METHODS`: ``"bayes"``, in closed
                form, or ``"last-layer"``, the OFANAS paper's fine-tuning: all is frozen but a
                fresh last layer (needs 10 measurements).
            seed: of everything that chance decides.

        Raises:
            ValueError: no measurement, one that is not finite and positive, or an unknown method.
        """
        from .adaptation import adapt  # it knows all predictors, which know this class

        return adapt(self, few, method=method, seed=seed)

    @final
    def fit(
        self,
        data: LatencyDataset,
        *,
        calibration: LatencyDataset | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn from ``data`` and calibrate intervals; returns the predictor itself.

        Args:
            data: at least 10 measurements.
            calibration: measurements for the intervals; by default 15 % of the architectures of
                ``data`` (at most 1,500) are set aside for it and not trained on.
            seed: of everything that chance decides.

        Raises:
            ValueError: too few rows, a latency that is not finite and positive, or
                ``calibration`` of another target or space.
        """
        data.check_values()
        if len(data) < MIN_ROWS:
            raise ValueError(
                f"fitting needs at least {MIN_ROWS} measurements; got {len(data)}: "
                "measure more architectures"
            )
        if calibration is None:
            train, held_out = set_aside(data, seed)
        elif calibration.target == data.target:
            train, held_out = data, calibration
        else:
            raise ValueError(
                f"calibration must be of the target {data.target}; got {calibration.target}"
            )
        archs = train.archs.space.expand(train.archs)
        self._fitted = Fitted(
            archs.space,
            data.target,
            {
                g.name: np.unique(archs.genes[:, i]).tolist()
                for i, g in enumerate(archs.space.genes)
            },
            card={"data": dict(data.provenance), "rows": len(data)},
        )
        try:
            self._fit(archs, train.latency_ms, np.random.default_rng(seed))
            self._calibrate_after_fit(held_out)
        except BaseException:
            self._fitted = None  # half a fit is none
            raise
        return self

    @final
    def become(self, fitted: Fitted) -> None:
        """State what the predictor is for, where it was not made by :meth:`fit`."""
        self._fitted = fitted

    def _calibrate_after_fit(self, held_out: LatencyDataset) -> None:
        held_out.check_values()
        try:
            self.calibrate(held_out)
        except ValueError as error:
            raise ValueError(
                f"what was fitted cannot predict the rows kept for calibration: {error}"
            ) from error

    @final
    def calibrate(self, data: LatencyDataset) -> None:
        """Set the intervals from measurements that were not trained on.

        Raises:
            ValueError: another target or space, or a bad latency.
        """
        data.check_values()
        if data.target != self.target:
            raise ValueError(f"calibration must be of the target {self.target}; got {data.target}")
        self.fitted.calibration = Calibration.fit(self.predict(data.archs), data.latency_ms)

    @final
    def predict(self, archs: Archs) -> Floats:
        """Milliseconds for one forward pass of the whole batch, shape (n,).

        Raises:
            ValueError: the architectures are of another space, or the predictor knows nothing
                of one of their blocks.
        """
        return self._predict(self._own(archs))

    @final
    def predict_interval(self, archs: Archs, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Lower and upper bound in ms, each of shape (n,).

        Split conformal prediction: on measurements like those it was calibrated on, the share
        of true latencies inside is at least ``coverage`` on average.

        Raises:
            ValueError: no calibration, too little of it for ``coverage``, or a coverage outside
                of 0 to 1.
        """
        predicted = self.predict(archs)
        return self.calibration.interval(predicted, coverage)

    @final
    def covers(self, coverage: float) -> bool:
        """Whether there is enough calibration for intervals of ``coverage``."""
        calibration = self.fitted.calibration
        return calibration is not None and calibration.covers(coverage)

    @final
    def upper_bound(self, archs: Archs, confidence: float) -> Floats:
        """Milliseconds that the true latency stays below with ``confidence``, shape (n,).

        Raises:
            ValueError: as :meth:`predict_interval`.
        """
        return self.calibration.upper_bound(self.predict(archs), confidence)

    @final
    def probability_below(self, archs: Archs, limit_ms: Floats | float) -> Floats:
        """Probability that the true latency is at most ``limit_ms``, shape (n,).

        Raises:
            ValueError: no calibration.
        """
        return self.calibration.probability_below(self.predict(archs), limit_ms)

    @final
    def explain(self, archs: Archs) -> Explanation:
        """Where the milliseconds go, block by block."""
        own = self._own(archs)
        blocks = self._explain(own)
        network = self._predict(own) - blocks.sum(axis=1)
        return Explanation(self.space.block_ids(own), blocks, network)

    @final
    def form(self) -> Form:
        """The prediction written out as a function of sums over blocks.

        Raises:
            TypeError: predictors of this kind have no such form.
            RuntimeError: the predictor is not fitted.
        """
        _ = self.fitted
        form = self._form()
        if form is None:
            raise TypeError(
                f"the predictor must be a function of sums over blocks; {self.kind!r} does not "
                "say that it is: it lacks the hook _form"
            )
        return form

    @final
    def save(self, path: str | Path) -> None:
        """Write a model file (safetensors with a JSON header), atomically."""
        header, tensors = _contents(self)
        write_model(path, ModelFile(header, tensors))

    @property
    def calibration(self) -> Calibration:
        """Errors on measurements that were not trained on.

        Raises:
            ValueError: there are none.
        """
        if self.fitted.calibration is None:
            raise ValueError(
                "intervals need calibration, and this predictor has none: call calibrate(data) "
                "with measurements that it was not fitted on"
            )
        return self.fitted.calibration

    def _own(self, archs: Archs) -> Archs:
        if archs.space.block_space != self.space.name:
            raise ValueError(
                f"this predictor is for the space {self.space.name}; got architectures of "
                f"{archs.space.name}"
            )
        return archs.space.expand(archs)


def set_aside(data: LatencyDataset, seed: int) -> tuple[LatencyDataset, LatencyDataset]:
    """Split off the rows for calibration; both sides have an architecture at least."""
    groups = len(data.archs.unique())
    if groups < 2:
        raise ValueError("fitting needs different architectures; all rows hold the same one")
    share = min(CALIBRATION_FRACTION, MAX_CALIBRATION_ROWS / len(data))
    fitted = min(groups - 1, max(1, round((1 - share) * groups)))
    return split(data, fitted / groups, seed)


def load_predictor(path: str | Path, kinds: Mapping[str, type[Predictor]]) -> Predictor:
    """Rebuild a predictor from a model file.

    Raises:
        ValueError: the file is damaged, of a newer schema version or an unknown kind.
        FileNotFoundError: there is no such file.
    """
    model = read_model(path)
    try:
        return _rebuilt(model.header, model.tensors, kinds)
    except (
        KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError, RecursionError
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} must be a latcast model of a kind known here ({', '.join(kinds)}); "
            f"got: {error}"
        ) from error


def _contents(predictor: Predictor) -> tuple[dict[str, Any], State]:
    """Header and arrays of a fitted predictor and, with prefixed names, of its parts."""
    f = predictor.fitted
    tensors = {f"state.{k}": v for k, v in predictor._state().items()}
    if f.calibration is not None:
        tensors["calibration.scores"] = f.calibration.scores
    header = {
        "kind": predictor.kind,
        "space": f.space.name,
        "target": str(f.target),
        "options": predictor.options(),
        "seen": f.seen,
        "calibration_exponent": f.calibration.exponent if f.calibration else None,
        "equal_tailed": f.calibration is not None and f.calibration.equal_tailed,
        "card": f.card,
    }
    parts = {}
    for name, part in predictor._parts().items():
        parts[name], arrays = _contents(part)
        tensors |= {f"part.{name}.{k}": v for k, v in arrays.items()}
    return header | ({"parts": parts} if parts else {}), tensors


def _rebuilt(
    header: dict[str, Any], tensors: State, kinds: Mapping[str, type[Predictor]]
) -> Predictor:
    """The inverse of :func:`_contents`."""
    predictor = kinds[header["kind"]](**header["options"])
    exponent = header["calibration_exponent"]
    predictor._fitted = Fitted(
        space(header["space"]),
        Target.parse(header["target"]),
        {str(k): [int(v) for v in values] for k, values in header["seen"].items()},
        card=dict(header["card"]),
    )
    if exponent is not None:
        scores = np.array(tensors["calibration.scores"], dtype=np.float64)
        equal_tailed = header.get("equal_tailed", False) is True
        predictor._fitted.calibration = Calibration(scores, float(exponent), equal_tailed)
    parts = {
        name: _rebuilt(part, _under(f"part.{name}.", tensors), kinds)
        for name, part in dict(header.get("parts", {})).items()
    }
    predictor._restore(_under("state.", tensors), parts)
    return predictor


def _under(prefix: str, tensors: State) -> State:
    """The arrays whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
