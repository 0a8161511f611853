"""The contract of a predictor: what every kind of it has, and what a kind writes itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, final

import numpy as np

from latcast.data import Dataset
from latcast.devices import Target
from latcast.math.conformal import Calibration, DeviationScores
from latcast.math.one_thread import in_one_blas_thread

from ._fitted import Floats, Form, Intervals
from ._model import KINDS, MIN_ROWS, Model, check_few
from ._tunable import Tunable

if TYPE_CHECKING:
    from latcast.networks import AnyNetworks
    from latcast.spaces import Archs, SearchSpace


P = TypeVar("P", bound="Predictor")


class Predictor(Model):
    """A quantity of networks, with intervals: a latency on one target, or an accuracy.

    Lifecycle: create with options; :meth:`fit` once, or :meth:`adapt` another; then
    :meth:`predict`, :meth:`predict_interval`, :meth:`explain` and :meth:`save` as often as wanted,
    which change nothing. What a predictor says of a network depends on nothing else in the batch,
    up to rounding. A kind writes the hooks below and those of its file, and overrides nothing
    else. Values are in the unit of their quantity: milliseconds for one forward pass of the whole
    batch, accuracies from 0 to 1.

    Kinds of a search space's architectures extend :class:`latcast.models.BlockPredictor`, those
    of accuracies :class:`latcast.models.accuracy.AccuracyModel`.
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {}
    """Options that :mod:`latcast.models.tuning` may set, and where their values may lie."""

    weighs_rows: ClassVar[bool] = False
    """Whether rows that are not :attr:`latcast.data.Dataset.unstable` weigh more than others."""

    learns_in_epochs: ClassVar[bool] = False
    """Whether there is an option ``epochs``, and :attr:`after_epoch` is called."""

    after_epoch: Callable[[int], None] | None = None
    """Called during :meth:`fit` after every epoch with its number, from 1; :meth:`predict` then
    gives what has been learnt so far. What it raises ends the fit."""

    too_wide: ClassVar[float] = 3.0
    """Upper end of an interval over its lower end beyond which it decides little."""

    # -- hooks ------------------------------------------------------------------------------

    @abstractmethod
    def _learn(self, data: Sequence[Dataset], calibration: Dataset | None, seed: int) -> None:
        """Learn from datasets of one target, whose values are possible, and calibrate.

        Has to call :meth:`become` before it predicts.
        """

    @abstractmethod
    def _own(self, networks: Any) -> Any:
        """Networks as the other hooks take them.

        Raises:
            ValueError: they are of another kind, space or batch.
        """

    @abstractmethod
    def _forecast(self, own: Any) -> tuple[Floats, Floats | None]:
        """Values (n,), and the standard deviations that are stated for them, if any."""

    def _values(self, own: Any) -> Floats:
        """Values (n,) alone, where their deviations take time."""
        return self._forecast(own)[0]

    @abstractmethod
    def _explained(self, own: Any, coverage: float) -> Any:
        """Return the contributions to the values of networks."""

    @abstractmethod
    def _adapted(self, few: Dataset, method: str, seed: int) -> Predictor:
        """A predictor for the target of at least one measurement.

        Raises:
            ValueError: there is no such method for the kind.
        """

    def _calibration(self, data: Dataset) -> Intervals:
        """Intervals from measurements that were not trained on."""
        return Calibration.fit(self.predict(data.networks), data.values)

    def _form(self) -> Form | None:
        """The prediction as a function of sums over blocks, where it is one."""
        return None

    def _limits(self, own: Any) -> Floats | float:
        """Return lower bounds of the values, shape (n,), beside the quantity's own."""
        return 0.0

    def _doubts(self, own: Any) -> list[str]:
        """Return the doubts about these predictions, a sentence each, but for wide intervals."""
        return []

    @property
    def _remedy(self) -> str:
        """Where an interval is too wide to decide, what narrows it."""
        return (
            "measure this network, or a few like it, on the device (latcast measure --models) and "
            "adapt (latcast adapt)"
        )

    # -- what every predictor has -------------------------------------------------------------

    @property
    def target(self) -> Target:
        """The target that the predictions belong to."""
        return self.fitted.target

    @property
    def is_of_any_network(self) -> bool:
        """Whether it predicts networks of any kind, rather than those of one search space."""
        return self.fitted.space is None

    @property
    def calibration(self) -> Intervals:
        """Errors on measurements that were not trained on.

        Raises:
            ValueError: there are none.
        """
        if self.fitted.calibration is None:
            raise ValueError(
                "intervals need calibration, and this predictor has none: call calibrate(data) "
                "with measurements that it was not fitted on"
            )
        found: Intervals = self.fitted.calibration
        return found

    @final
    @in_one_blas_thread
    def fit(self, *data: Dataset, calibration: Dataset | None = None, seed: int = 0) -> Self:
        """Learn from measurements of one target and calibrate intervals; returns itself.

        Args:
            data: measurements of at least 10 networks, in one dataset or several; those of a
                network that is measured repeatedly count once (:meth:`Dataset.distinct`).
            calibration: measurements for the intervals; by default the kind sets some aside, and
                does not train on them.
            seed: of everything that chance decides.

        Raises:
            ValueError: too few rows, a value that is not possible, or datasets of different
                targets, quantities or spaces.
        """
        data = _distinct(data, calibration)
        try:
            self._learn(data, calibration and calibration.distinct(), seed)
        except BaseException:
            self._fitted = None  # half a fit is none
            raise
        return self

    @final
    @in_one_blas_thread
    def adapt(self, few: Dataset, *, method: str = "bayes", seed: int = 0) -> Predictor:
        """A predictor for the target of a few measurements, made from this one, which stays.

        Works across devices, runtimes, batch sizes and precisions, and between search spaces,
        whose blocks are then compared by their physics.

        Args:
            few: at least one measurement; every one of them is used for the prediction, and
                intervals come from the errors that each would have had without itself. Those of a
                network that is measured repeatedly count once (:meth:`Dataset.distinct`).
            method: ``"bayes"``, in closed form, or
                ``"last-layer"``, the OFANAS paper's fine-tuning: all is frozen but a fresh last
                layer (needs 10 measurements).
            seed: of everything that chance decides.

        Raises:
            ValueError: no measurement, one that is not possible, or an unknown method.
        """
        check_few(few, self.fitted.quantity)
        distinct = few.distinct()
        adapted = self._adapted(distinct, method, seed)
        return hedged(adapted, distinct, lambda rows: self._adapted(rows, method, seed))

    @final
    def calibrate(self, data: Dataset) -> None:
        """Set the intervals from measurements that were not trained on.

        Raises:
            ValueError: another target, quantity or space, or a value that is not possible.
        """
        data.check_values()
        data.check_quantity(self.fitted.quantity)
        if data.target != self.target:
            raise ValueError(f"calibration must be of the target {self.target}; got {data.target}")
        self.fitted.calibration = self._calibration(data.distinct())

    @final
    def predict(self, networks: AnyNetworks) -> Floats:
        """Values of n networks in the unit of their quantity, shape (n,).

        Raises:
            ValueError: they are of another space or batch, or the predictor knows nothing of one
                of their blocks.
        """
        return self._values(self._own(networks))

    @final
    def predict_interval(
        self, networks: AnyNetworks, coverage: float = 0.9
    ) -> tuple[Floats, Floats]:
        """Lower and upper bound, each of shape (n,).

        Split conformal prediction: on measurements like those it was calibrated on, the share
        of true values inside is at least ``coverage`` on average.

        Raises:
            ValueError: as :meth:`predict`; no calibration, too little of it for ``coverage``, or a
                coverage outside of 0 to 1.
        """
        own = self._own(networks)
        return self._interval(own, *self._forecast(own), coverage)

    @final
    def covers(self, coverage: float) -> bool:
        """Whether there is enough calibration for intervals of ``coverage``."""
        calibration = self.fitted.calibration
        return calibration is not None and bool(calibration.covers(coverage))

    @final
    def upper_bound(self, networks: AnyNetworks, confidence: float) -> Floats:
        """Return upper bounds of the true values with ``confidence``, shape (n,).

        Raises:
            ValueError: as :meth:`predict_interval`.
        """
        own = self._own(networks)
        predicted, deviation = self._forecast(own)
        found = self.calibration.upper_bound(predicted, confidence, deviation)
        return np.maximum(found, self._limits(own))

    @final
    def probability_below(self, networks: AnyNetworks, limit: Floats | float) -> Floats:
        """Probability that the true value is at most ``limit``, shape (n,).

        Raises:
            ValueError: no calibration.
        """
        own = self._own(networks)
        return self._probability(own, *self._forecast(own), limit)

    @final
    def within(
        self, networks: AnyNetworks, limit: Floats | float, coverage: float = 0.9
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Values, both bounds of the interval, and the probability of at most ``limit``.

        That is :meth:`predict`, :meth:`predict_interval` and :meth:`probability_below` of n
        networks in one pass, each of shape (n,).

        Raises:
            ValueError: as they do.
        """
        own = self._own(networks)
        predicted, deviation = self._forecast(own)
        lower, upper = self._interval(own, predicted, deviation, coverage)
        return predicted, lower, upper, self._probability(own, predicted, deviation, limit)

    def _interval(
        self, own: Any, predicted: Floats, deviation: Floats | None, coverage: float
    ) -> tuple[Floats, Floats]:
        lower, upper = self.calibration.interval(predicted, coverage, deviation)
        lower = np.maximum(lower, self._limits(own))
        # A percentage is at most 100, however wide the interval.
        return lower, np.minimum(upper, self.fitted.quantity.max_value)

    def _probability(
        self, own: Any, predicted: Floats, deviation: Floats | None, limit: Floats | float
    ) -> Floats:
        found = self.calibration.probability_below(predicted, limit, deviation)
        return np.where(np.asarray(limit) < self._limits(own), 0.0, found)

    @final
    def stated(self, networks: AnyNetworks) -> tuple[Floats, Floats | None]:
        """Values of n networks, and the standard deviations of their logarithms, (n,) each.

        A kind that states no deviations has None for them: its calibration tells its errors.

        Raises:
            ValueError: as :meth:`predict`.
        """
        predicted, deviation = self._forecast(self._own(networks))
        return predicted, deviation

    @final
    def doubts(self, networks: AnyNetworks, *, of_width: bool = True) -> list[str]:
        """Return the doubts about the predictions for these networks, a sentence each.

        Args:
            networks: that were predicted.
            of_width: whether intervals that are too wide to decide are among them; where a budget
                decides, as the whole interval is on one side of it, they are none.
        """
        own = self._own(networks)
        return [*self._doubts(own), *(self._doubts_of_width(own) if of_width else ())]

    def _doubts_of_width(self, own: Any) -> list[str]:
        if not (self.fitted.quantity.of_target and self.covers(0.9)):
            return []
        lower, upper = self._interval(own, *self._forecast(own), 0.9)
        # What consists of views alone takes no time, and its interval spans nothing.
        spans = np.divide(upper, lower, out=np.ones(len(upper)), where=lower > 0)
        widest = float(spans.max(initial=1.0))
        if widest <= self.too_wide:
            return []
        from latcast.report.text import factor_text

        factor = factor_text(widest)
        return [f"the 90 % interval spans a factor of {factor}, too wide to decide: {self._remedy}"]

    @final
    def explain(self, networks: AnyNetworks, coverage: float = 0.9) -> Any:
        """Return the contributions to the values: block by block, or kernel by kernel.

        Args:
            networks: architectures, or for a kind that predicts networks of any kind one graph.
            coverage: of intervals in the explanation, where it has any.

        Returns:
            :class:`latcast.models.Explanation`, or of a graph
            :class:`latcast.models.kernels.LayerExplanation`.
        """
        return self._explained(self._own(networks), coverage)

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


def _distinct(data: Sequence[Dataset], calibration: Dataset | None) -> tuple[Dataset, ...]:
    """Datasets that can be learnt from together, with a row for every network.

    Raises:
        ValueError: they cannot.
    """
    if not data:
        raise ValueError("fitting needs at least one dataset; got none")
    first = data[0]
    for other in data:
        other.check_values()
        other.check_quantity(first.quantity)
        if other.target != first.target:
            raise ValueError(
                f"datasets must be of one target; got {first.target} and {other.target}"
            )
    measured = sum(map(len, data))
    if len(data) > 1 and all(d.space == first.space for d in data):
        whole = first.concatenate(*data[1:])
        joined = whole.distinct()
        data = tuple(data) if joined is whole else (joined,)
    data = tuple(d.distinct() for d in data)
    if (rows := sum(map(len, data))) < MIN_ROWS:
        of = "measurements" if rows == measured else f"different {first.subject}s"
        raise ValueError(
            f"fitting needs at least {MIN_ROWS} {of}; got {rows}: measure more {first.subject}s"
        )
    if calibration is not None and calibration.target != first.target:
        raise ValueError(
            f"calibration must be of the target {first.target}; got {calibration.target}"
        )
    if calibration is not None:
        calibration.check_values()
    return data


HEDGED_ROWS = 7
"""Among so few measurements a spike cannot be told from the others' scatter by its size."""
# The level of intervals by default.
_HEDGED = 0.9
_OTHERS = 64
# How much farther forecasts of networks that were not measured move, where there is no space to
# draw some from: without it a third of networks up to four times as wide as three measured ones,
# of which one took a fifth of its time, were moved out of their intervals.
_BEYOND = 1.2


def hedged(adapted: P, few: Dataset, again: Callable[[Dataset], Predictor]) -> P:
    """A predictor whose intervals hold what it would say without any one of few measurements.

    One of them may be a spike: then what the others say is right. Intervals are widened as far as
    the 90 % ones ask for, on the networks that were measured and some others of their space.

    Args:
        adapted: to the measurements; it is changed.
        few: the measurements, of different networks.
        again: how it was adapted.
    """
    calibration = adapted.fitted.calibration
    widens = isinstance(calibration, Calibration | DeviationScores)
    if not 2 <= len(few) <= HEDGED_ROWS or not widens or not calibration.covers(_HEDGED):
        return adapted
    networks: AnyNetworks = few.networks
    beyond = _BEYOND
    if few.space is not None:
        networks = few.archs.concatenate(_others(adapted, few.archs.space))
        beyond = 1.0
    # By logarithms where errors are factors: what is far below is as far as what is above.
    by_factor = isinstance(calibration, DeviationScores)

    def reach_of(model: Predictor, predicted: Floats) -> Floats:
        lower, upper = model.predict_interval(networks, _HEDGED)
        if by_factor:
            return np.log(upper / predicted)
        return np.maximum(upper - predicted, predicted - lower)

    predicted = adapted.predict(networks)
    reach = reach_of(adapted, predicted)
    rows, factor = np.arange(len(few)), 1.0
    for row in rows:
        without = again(few[rows[rows != row]])
        others = without.predict(networks)
        moved = np.abs(np.log(others / predicted) if by_factor else others - predicted)
        # The interval of a network that was measured may be far narrower than any other's: then
        # its own one without the measurement says how far it may move. Else rows that agree with
        # each other, but not with what was known of the target, widen all intervals tenfold.
        wide = reach.copy()
        wide[row] = max(reach[row], reach_of(without, others)[row])
        factor = max(factor, beyond * float((moved / wide).max()))
    if factor > 1:
        adapted.fitted.calibration = calibration.widened(factor)
    return adapted


def _others(adapted: Predictor, space: SearchSpace) -> Archs:
    """Networks of a space, of gene values that a predictor has seen."""
    known = adapted.fitted
    seen = known.seen if known.space is not None and known.space.name == space.name else {}
    choices = {g.name: sorted(set(g.choices) & set(seen.get(g.name, ()))) for g in space.genes}
    return space.sample(_OTHERS, 0, restrict={name: c for name, c in choices.items() if c})


def predictor(kind: str) -> Predictor:
    """A new predictor of a kind, with its default options.

    Raises:
        ValueError: there is no such kind, or its models are of many targets.
    """
    made = KINDS.get(kind)()
    if not isinstance(made, Predictor):
        raise ValueError(f"a predictor must be of one target; {kind!r} is of many")
    return made
