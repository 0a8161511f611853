"""Search problems (accuracy to maximize, limits to keep), and the contract of methods."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from latcast.models import Predictor
from latcast.models.accuracy import AccuracyModel, checked_accuracies
from latcast.spaces import Archs, SearchSpace

from .front import Archive, Evaluated, Floats

# Spaces of up to so many networks are enumerated: the exact front then costs no more than five
# searches by the default method do.
MAX_NETWORKS = 500_000
# Networks that are evaluated between two looks at the clock: always as many, for results depend on
# it by rounding.
CHUNK = 512
# Log odds of a gene's last choice against its first, at most (20 to 1): a few hundred networks then
# reach from nearly the smallest to nearly the largest, and the middle is not left out.
MAX_TILT = 3.0

# Limit of latcast.search.search -> fact of the block table that it bounds.
LIMITS: Mapping[str, str] = {
    "max_macs": "macs",
    "max_params": "params",
    "max_activation_bytes": "peak_activation_bytes",
}


class InfeasibleError(ValueError):
    """No network of the space keeps the limits; the message names the nearest one."""


class StopSearch(Exception):  # noqa: N818  # no error: the search ends with what it has
    """A search is out of time or evaluations; what was evaluated before is in the archive."""


class Counted(Protocol):
    """The milliseconds of networks that count against a budget on one target.

    Of a limit on another quantity they are in its unit.

    Attributes:
        name: of the target, for messages.
    """

    name: str

    def counted_ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """Milliseconds, shape (n,).

        Args:
            archs: n networks.
            accuracy: of them, where it is known already, shape (n,).
        """

    def least_ms(self, archs: Archs) -> Floats:
        """Return lower bounds of :meth:`counted_ms` that need no accuracy, shape (n,)."""


@dataclass(frozen=True)
class QuantityLimit:
    """The most of a quantity that a network may have, beside budgets of its latencies.

    Attributes:
        counted: what is held against the limit, in the unit of the quantity.
        predictor: of the quantity.
        limit: likewise.

    Raises:
        ValueError: of the quantity more is better: a most of it is no limit.
    """

    counted: Counted
    predictor: Predictor
    limit: float

    def __post_init__(self) -> None:
        of = self.predictor.fitted.quantity
        if not of.less_is_better:
            raise ValueError(
                f"a quantity must be better the less it is to have a most; got {of.name}"
            )

    @property
    def text(self) -> str:
        """The condition in words, such as ``energy of 50 mJ``."""
        of = self.predictor.fitted.quantity
        return f"{of.label} of {of.text(self.limit)}"


class Problem:
    """Evaluates networks, and keeps the front of all that it has evaluated.

    Args:
        space: where to search.
        latencies: what counts as latency, one a target.
        accuracy: accuracy model.
        limits: name in :data:`LIMITS` -> the most of it that a network may have.
        quantities: the most of other quantities that a network may have.
        restrict: gene -> values to which the search is confined.
        ceiling_ms: of every target, above which a network is of no interest, shape (targets,).
        candidates: the only networks there are; None for all of the space.

    Attributes:
        archive: the front of all networks that were evaluated.
        evaluations: how many were.
        max_evaluations: at most so many networks are evaluated; None: no such limit.
        deadline_s: on :func:`time.monotonic`'s clock; None: no such limit.
        after_chunk: called whenever some networks have been evaluated.
    """

    def __init__(
        self,
        space: SearchSpace,
        latencies: Sequence[Counted],
        accuracy: AccuracyModel,
        *,
        limits: Mapping[str, float] | None = None,
        quantities: Sequence[QuantityLimit] = (),
        restrict: Mapping[str, Sequence[int]] | None = None,
        ceiling_ms: Floats | None = None,
        candidates: Archs | None = None,
    ) -> None:
        self.space = space
        self.latencies = tuple(latencies)
        self.accuracy = accuracy
        self.limits = dict(limits or {})
        self.quantities = tuple(quantities)
        self.restrict = dict(restrict or {})
        self.choices = space.choices(self.restrict)
        self.candidates = candidates
        self.max_evaluations: int | None = None
        self.deadline_s: float | None = None
        self.evaluations = 0
        self.after_chunk: Callable[[], None] = lambda: None
        if ceiling_ms is None:
            ceiling_ms = np.full(len(self.latencies), np.inf)
        self.archive = Archive.empty(space, len(self.latencies), ceiling_ms)

    @property
    def count(self) -> int:
        """Number of networks that there are to look at."""
        if self.candidates is not None:
            return len(self.candidates)
        return prod(len(c) for c in self.choices)

    def evaluate(self, archs: Archs) -> Evaluated:
        """Accuracy, ms and excess of n networks; the best of them enter the archive.

        Raises:
            StopSearch: time or evaluations are used up; those that were left have been used.
        """
        parts = []
        start = 0
        while start < len(archs):
            part = archs[start : start + self._allowed()]
            start += len(part)
            parts.append(self._look_at(part))
            self.evaluations += len(part)
            self.archive = self.archive.with_best_of(parts[-1])
            self.after_chunk()
        return parts[0].join(*parts[1:]) if parts else self._look_at(archs)

    def front(self) -> Evaluated:
        """The archive's networks."""
        archive = self.archive
        return Evaluated(archive.archs, archive.accuracy, archive.ms, np.zeros(len(archive)))

    def admit(self, archs: Archs) -> None:
        """Let networks enter the archive that are not to be counted among the evaluations."""
        self.archive = self.archive.with_best_of(self._look_at(archs))

    def _allowed(self) -> int:
        """Networks of the next chunk."""
        if self.deadline_s is not None and self.evaluations and time.monotonic() > self.deadline_s:
            raise StopSearch("time")
        if self.max_evaluations is None:
            return CHUNK
        left = self.max_evaluations - self.evaluations
        if left <= 0:
            raise StopSearch("evaluations")
        return min(CHUNK, left)

    def _look_at(self, archs: Archs) -> Evaluated:
        whose = f"accuracies of the model {self.accuracy.name!r}"
        accuracy = checked_accuracies(self.accuracy.predict(archs), len(archs), whose)
        return Evaluated(archs, accuracy, self.ms(archs, accuracy), self.excess(archs, accuracy))

    def ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """Return the ms that count against the budgets, shape (n, targets).

        Args:
            archs: n networks.
            accuracy: of them, where it is known already, shape (n,).
        """
        return np.stack([x.counted_ms(archs, accuracy) for x in self.latencies], axis=1)

    def least_ms(self, archs: Archs) -> Floats:
        """Return lower bounds of :meth:`ms` that need no accuracy, shape (n, targets)."""
        return np.stack([x.least_ms(archs) for x in self.latencies], axis=1)

    def excess(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """How far limits are exceeded, in shares of them, summed; shape (n,).

        Args:
            archs: n networks.
            accuracy: of them, where it is known already, shape (n,).
        """
        total = np.zeros(len(archs))
        for name, limit in self.limits.items():
            total += np.maximum(self.cost(archs, name) / limit - 1.0, 0.0)
        for bound in self.quantities:
            counted = bound.counted.counted_ms(archs, accuracy)
            total += np.maximum(counted / bound.limit - 1.0, 0.0)
        return total

    def cost(self, archs: Archs, limit: str) -> Floats:
        """Return the costs that a limit (a key of :data:`LIMITS`) bounds, shape (n,)."""
        values = self.space.block_table.facts[LIMITS[limit]]
        if limit == "max_activation_bytes":
            peak: Floats = self.space.gather(archs, values).max(axis=1, initial=0.0)
            return peak
        return self.space.block_sums(archs, values)

    def between(self, small: Archs, n: int, rng: np.random.Generator) -> Archs:
        """Random networks, each with another share of its genes taken from a small one.

        Random networks alone hardly ever keep a tight budget.

        Args:
            small: networks of which the first is the small one.
            n: how many to draw.
            rng: of everything that chance decides.
        """
        random = self.space.sample(n, rng, restrict=self.restrict).genes
        taken = rng.random(random.shape) < rng.random((n, 1))
        return Archs._trusted(self.space, np.where(taken, small.genes[0], random))


def small_to_large(
    space: SearchSpace,
    n: int,
    rng: np.random.Generator,
    restrict: Mapping[str, Sequence[int]] | None = None,
) -> Archs:
    """Random networks from small to large: drawn uniformly they would all be middle-sized.

    Every network has a tilt of its own, by which the later choices of all its genes are favoured.
    """
    tilts = rng.uniform(-MAX_TILT, MAX_TILT, n)
    columns = [choices[_tilted(len(choices), tilts, rng)] for choices in space.choices(restrict)]
    return Archs(space, np.stack(columns, axis=1))


def _tilted(choices: int, tilts: Floats, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Positions drawn with odds of exp(tilt) between last and first choice, shape (n,)."""
    place = np.linspace(0.0, 1.0, choices)
    # The largest of log odds plus Gumbel noise is a draw with these odds.
    drawn = tilts[:, None] * place + rng.gumbel(size=(len(tilts), choices))
    return np.asarray(drawn.argmax(axis=1), dtype=np.intp)


# --- the contract of a method -------------------------------------------------------------------


State = dict[str, npt.NDArray[Any]]

# Goals besides the user's budgets find the rest of the front; each costs the memetic search a child
# every few generations.
GOALS_BETWEEN = 12
# Networks that show how slow large ones are; only their maximum counts.
GOALS_SAMPLE = 500


@dataclass(frozen=True)
class Goals:
    """Latencies within which a method looks for the most accurate network.

    Attributes:
        ms: shape (goals, targets), infinite without a limit; the user's budgets come first.
        budgets: how many of them are the user's.
    """

    ms: Floats
    budgets: int

    def __len__(self) -> int:
        return len(self.ms)


class Method(ABC):
    """One way to search; a dataclass whose fields are its settings.

    Lifecycle: a method is created with its settings; :meth:`begin` starts a search and may be
    called again for another one; then :meth:`step` is called until it returns False, or until
    the problem stops the search by raising :class:`~latcast.search.problem.StopSearch` from
    within it. Whatever a method finds, it finds by calling ``problem.evaluate``, whose archive is
    the search's result: a method returns nothing.

    Between two steps :meth:`state` may be asked for; :meth:`restore`, called after
    :meth:`begin`, brings a search back to where it was. All that chance decides is drawn from
    the generator given to :meth:`begin`, whose own state is kept by the caller.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    is_exact: ClassVar[bool] = False
    """Whether a search that was not stopped has found the true front."""

    evaluations: int
    """At most so many networks are evaluated (a setting; 0 of a method that needs no limit)."""

    def settings(self) -> dict[str, Any]:
        """The arguments with which the method was created (JSON-able)."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}  # type: ignore[arg-type]

    @abstractmethod
    def begin(self, problem: Problem, goals: Goals, known: Archs, rng: np.random.Generator) -> None:
        """Start a search.

        Args:
            problem: to evaluate with.
            goals: within which accuracy is wanted.
            known: networks that keep the limits: the fastest, and one for every budget.
            rng: of everything that chance decides.
        """

    @abstractmethod
    def step(self) -> bool:
        """Go on by one generation; whether there is more to do."""

    @abstractmethod
    def state(self) -> State:
        """Arrays from which :meth:`restore` goes on."""

    @abstractmethod
    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of :meth:`state`.

        Raises:
            KeyError, ValueError: an array is missing, or no such method's.
        """


def check_settings(method: Method, **minima: float) -> None:
    """Make sure that settings are not below the least that makes sense.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in minima.items():
        given = getattr(method, name)
        if not given >= value:
            raise ValueError(f"{name} of {method.name} must be at least {value:g}; got {given}")


def find_goals(problem: Problem, budgets_ms: Floats, known: Archs, seed: int) -> Goals:
    """The budgets, and goals between the fastest network and the ceiling, for the whole front.

    On one target goals are equally far apart. On several, half of them tighten the budgets of all
    targets alike, half of them each by another amount.

    Args:
        problem: with its ceiling, infinite where no budget bounds the latency.
        budgets_ms: shape (budgets, targets); may be empty.
        known: networks of which the first is the fastest.
        seed: of what chance decides.
    """
    rng = np.random.default_rng(seed)
    ceiling = problem.archive.ceiling_ms
    shares = np.repeat(np.linspace(0, 1, GOALS_BETWEEN + 1)[1:, None], len(ceiling), axis=1)
    if len(ceiling) > 1:
        shares[::2] = rng.random(shares[::2].shape)
    sample = problem.candidates
    if sample is None:
        sample = small_to_large(problem.space, GOALS_SAMPLE, rng, problem.restrict)
    # A budget far above all networks must not draw the goals away from where they are.
    top = np.minimum(ceiling, problem.least_ms(sample).max(axis=0))
    fastest = problem.ms(known[:1])[0]
    goals = [budgets_ms, fastest + shares * np.maximum(top - fastest, 0.0)]
    if not len(budgets_ms):
        goals.append(ceiling[None])
    return Goals(np.concatenate(goals), len(budgets_ms))
