"""The contract of a search method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from ._problem import Floats, Problem

State = dict[str, npt.NDArray[Any]]


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
    the problem stops the search by raising :class:`~latcast.search._problem.StopSearch` from
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


def check_settings(method: Method, **least: float) -> None:
    """Make sure that settings are not below the least that makes sense.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in least.items():
        given = getattr(method, name)
        if not given >= value:
            raise ValueError(f"{name} of {method.name} must be at least {value:g}; got {given}")


def evaluated_state(prefix: str, found: Any) -> State:
    """Arrays of evaluated networks (:class:`~latcast.search._problem.Evaluated`)."""
    return {
        f"{prefix}.genes": found.archs.genes,
        f"{prefix}.accuracy": found.accuracy,
        f"{prefix}.ms": found.ms,
        f"{prefix}.excess": found.excess,
    }
