"""Rounds of search, measurement and adaptation, until the device agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from latcast.models import Predictor
from latcast.search._search import search
from latcast.search.problem import InfeasibleError
from latcast.search.result import SearchResult
from latcast.spaces import Archs

from ._answer import answer
from ._choice import FRONT, PICK, SUGGESTED, Candidates, spread
from ._known import Floats, Known, Rows, find
from ._measuring import Measuring, MeasuringError
from ._source import Source
from ._verification import Verification, VerifiedResult, interval

Told = Callable[[Verification], None]


class Rounds:
    """One verified search.

    Args:
        source: what is known of the target before.
        measuring: how networks are measured.
        known: where measurements are kept.
        budgets_ms: shape (b,); none: the front is verified.
        options: of every search.
        on_round: called after every round.
    """

    def __init__(
        self,
        source: Source,
        measuring: Measuring,
        known: Known,
        budgets_ms: Floats,
        options: dict[str, Any],
        on_round: Told,
    ) -> None:
        self._source, self._measuring, self._known = source, measuring, known
        self._budgets_ms, self._has_budgets = budgets_ms, len(budgets_ms) > 0
        self._options, self._coverage = options, float(options["coverage"])
        self._on_round = on_round
        self._rounds: list[Verification] = []
        self._is_interrupted = self._agrees = False
        self._infeasible: InfeasibleError | None = None
        self._predictor = source.before()
        self._result: SearchResult
        self._picks: Rows

    def run(self, verify: int, rounds: int, suggested: int, tolerance: float) -> VerifiedResult:
        """Go on until the device agrees, or the rounds are over."""
        if not self._source.is_of_target:
            self._measure_suggested(suggested)
        for round_ in range(1, rounds + 1):
            self._search(verify)
            if self._is_over(tolerance) or not self._measure(round_, verify):
                break
            if self._is_over(tolerance):
                break
            self._adapt()
        else:
            self._search(verify)
            self._is_over(tolerance)
        if not self._has_budgets:
            front_ms = self._known.front_ms()
            self._budgets_ms = front_ms if len(front_ms) else spread(self._candidates().ms, verify)
        return self._answer()

    # -- searching ----------------------------------------------------------------------------

    def _search(self, count: int) -> None:
        """Search; without budgets, ``count`` latencies of its front take their place."""
        self._result = self._search_within(np.sort(self._budgets_ms))
        if not self._has_budgets:
            self._budgets_ms = spread(self._candidates().ms, count)
        self._picks = self._candidates().picks()
        self._is_interrupted |= self._result.stopped == "interrupted"

    def _search_within(self, budgets_ms: Floats) -> SearchResult:
        """Leaves out the smallest budgets if the predictor says that no network keeps them.

        A network that was measured may keep them all the same.
        """
        has_any = self._has_budgets and len(budgets_ms) > 0
        try:
            return search(
                self._known.scope.space,
                latency=self._adapted_predictor(),
                max_latency_ms=budgets_ms.tolist() if has_any else None,
                accuracy=self._known.scope.accuracy_model,
                **self._options,
            )
        except InfeasibleError as error:
            if not has_any or self._known.dataset is None:
                raise
            self._infeasible = self._infeasible or error
            return self._search_within(budgets_ms[1:])

    def _candidates(self) -> Candidates:
        """The front as it is seen after all measurements so far."""
        return Candidates.of(self._result.front, self._budgets_ms, self._known)

    def _is_over(self, tolerance: float) -> bool:
        """Whether the device agrees, or there was an interruption."""
        self._agrees = self._device_agrees(tolerance)
        return self._agrees or self._is_interrupted

    def _device_agrees(self, tolerance: float) -> bool:
        candidates = self._candidates()
        # Nothing but what was predicted of them makes latencies of the front budgets: there,
        # what was picked need not be the best within them any more.
        picks = candidates.picks() if self._has_budgets else self._picks
        if not len(picks) or (picks < 0).any() or candidates.is_open[picks].any():
            return False
        archs = self._result.front.archs[picks]
        predictor, measured_ms = self._adapted_predictor(), self._known.measured_ms(archs)
        error = np.abs(predictor.predict(archs) / measured_ms - 1)
        lower, upper = interval(predictor, archs, self._coverage)
        is_outside = (measured_ms < lower) | (measured_ms > upper)
        return bool((error <= tolerance).all() and not is_outside.any())

    def _adapted_predictor(self) -> Predictor:
        assert self._predictor is not None
        return self._predictor

    # -- measuring ----------------------------------------------------------------------------

    def _measure_suggested(self, count: int) -> None:
        """Measure what tells most about all others, and adapt to it."""
        archs = self._measuring.chosen(0)
        if archs is None:
            archs = self._source.suggest(self._known.scope, count, self._options["seed"])
        self._take(0, archs, (SUGGESTED,) * len(archs), np.full(len(archs), np.inf))
        if self._known.dataset is None:
            if self._is_interrupted:
                raise KeyboardInterrupt
            reasons = "; ".join(reason for _, reason in self._rounds[0].failures[:1])
            raise MeasuringError(
                f"none of {len(archs)} networks could be measured on {self._measuring.target}: "
                f"{reasons or 'there are no visits in two processes'}"
            )
        self._adapt()

    def _measure(self, round_: int, count: int) -> bool:
        """Measure the best of the front; False: there is nothing left to measure."""
        candidates, front = self._candidates(), self._result.front
        predictor, archs = self._adapted_predictor(), self._measuring.chosen(round_)
        reached = self._known.best_accuracy(self._budgets_ms, front.accuracy.min())
        if archs is None:
            archs = front.archs[candidates.choose(count, predictor, reached)]
        if not len(archs):
            return False
        rows = find(archs, front.archs)  # -1 where an earlier run had another front
        picks = set(self._picks.tolist()) - {-1}
        roles = tuple(PICK if row in picks else FRONT for row in rows.tolist())
        chosen_for = np.full(len(archs), np.inf)
        if self._has_budgets:
            chosen_for = candidates.budgets_of(rows, predictor, reached)
        self._take(round_, archs, roles, chosen_for)
        return True

    def _take(self, round_: int, archs: Archs, roles: tuple[str, ...], budgets_ms: Floats) -> None:
        """Measure networks, and put what was predicted beside it."""
        measured = self._measuring.measure(archs, round_)
        self._known.add(measured)
        self._is_interrupted |= measured.is_interrupted
        accuracy = self._known.scope.accuracy(archs)
        found = Verification.of(
            round_, archs, roles, budgets_ms, accuracy, self._predictor, self._coverage, measured
        )
        self._rounds.append(found)
        self._on_round(found)

    def _adapt(self) -> None:
        if self._known.dataset is not None:
            self._predictor = self._source.adapted(self._known.dataset)

    def _answer(self) -> VerifiedResult:
        return answer(
            self._candidates(),
            self._known,
            self._result,
            rounds=tuple(self._rounds),
            agrees=self._agrees,
            stopped="interrupted" if self._is_interrupted else None,
            infeasible=self._infeasible,
            needs_all=self._has_budgets,
        )
