"""Every network of the space, which is exact, and random networks to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from .problem import CHUNK, MAX_NETWORKS, Goals, Method, Problem, State, check_settings


@dataclass
class Exhaustive(Method):
    """Evaluates every network: the front is exact.

    Args:
        evaluations: at most so many networks; 0: all of them.
    """

    evaluations: int = 0

    name: ClassVar[str] = "exhaustive"
    description: ClassVar[str] = "every network: exact, for small spaces"
    is_exact: ClassVar[bool] = True

    def begin(self, problem: Problem, goals: Goals, known: Archs, rng: np.random.Generator) -> None:
        """List the networks.

        Raises:
            ValueError: there are too many.
        """
        if problem.count > MAX_NETWORKS:
            what = f"{problem.space.name} has"
            instead = "use another method, or restrict the genes"
            if problem.candidates is not None:
                what, instead = "the candidates are", "give fewer"
            raise ValueError(
                f"exhaustive search takes at most {MAX_NETWORKS:,} networks; {what} "
                f"{problem.count:.3g}: {instead}"
            )
        self._problem = problem
        self._done = 0
        self._archs = problem.candidates
        if self._archs is None:
            self._archs = problem.space.enumerate(problem.restrict)

    def step(self) -> bool:
        """Evaluate the next networks."""
        assert self._archs is not None
        part = self._archs[self._done : self._done + CHUNK]
        if len(part):
            self._problem.evaluate(part)
        self._done += len(part)
        return self._done < len(self._archs)

    def state(self) -> State:
        """How many are done."""
        return {"done": np.array([self._done])}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Bring back what :meth:`state` gave."""
        self._done = int(state["done"][0])


@dataclass
class Random(Method):
    """Random networks, every gene uniform: what any other method has to beat.

    Args:
        evaluations: networks to draw.
    """

    evaluations: int = 120_000

    def __post_init__(self) -> None:
        check_settings(self, evaluations=1)

    name: ClassVar[str] = "random"
    description: ClassVar[str] = "random networks, to compare with"

    def begin(self, problem: Problem, goals: Goals, known: Archs, rng: np.random.Generator) -> None:
        """Nothing is drawn yet."""
        self._problem, self._rng, self._known = problem, rng, known

    def step(self) -> bool:
        """Draw and evaluate some networks."""
        problem = self._problem
        archs = problem.space.sample(CHUNK, self._rng, restrict=problem.restrict)
        if not problem.evaluations:
            archs = self._known.concatenate(archs)
        problem.evaluate(archs)
        return True

    def state(self) -> State:
        """Nothing: every draw stands for itself."""
        return {}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Nothing to bring back."""
