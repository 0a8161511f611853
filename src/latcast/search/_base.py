"""The contract of a search method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from .front import Floats
from .problem import Problem, small_to_large

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
