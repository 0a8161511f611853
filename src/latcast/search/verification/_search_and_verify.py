"""The verified search."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from latcast._names import unknown_name
from latcast.devices import Device
from latcast.search._search import search
from latcast.search.request import AnyAccuracy, find_accuracy, parse_budgets
from latcast.spaces import SearchSpace
from latcast.spaces import space as find_space

from ._known import Known
from ._measuring import Measuring
from ._rounds import Rounds, Told
from ._scope import Scope
from ._source import Latency, Source
from ._verification import VerifiedResult

_NOT_HERE = ("checkpoint", "resume")


def search_and_verify(
    space: str | SearchSpace,
    *,
    latency: Latency,
    measuring: Measuring,
    max_latency_ms: float | Sequence[float] | Sequence[Sequence[float]] | None = None,
    verify: int = 5,
    rounds: int = 2,
    suggested: int = 10,
    tolerance: float = 0.03,
    accuracy: AnyAccuracy | None = None,
    confidence: float | None = None,
    coverage: float = 0.9,
    specification: Device | None = None,
    seed: int = 0,
    on_round: Told | None = None,
    **options: Any,
) -> VerifiedResult:
    """Search, measure the best on the device, adapt the predictor to it, and search again.

    Without a predictor of the target that is measured, networks are measured first that tell
    most about all others (:func:`latcast.suggest`). Then in every round the best of the front are
    measured: the most accurate within every budget, and what is best if the predictions are
    wrong. A round is the last one if the device agrees: if the best network within every budget
    has been measured, keeps the budget, and takes what was predicted. Otherwise the model that
    was given is adapted to all measurements so far. Networks outside the restrictions, candidates
    and limits are no answer, even if an earlier run, which is resumed, measured them.

    An interruption (ctrl-C) ends it early: the result holds what had been measured by then.

    Args:
        space: search space or its name.
        latency: a predictor, of this or another target; a base model; or the name or file of
            one.
        measuring: how networks are measured; :class:`Campaigns` does it on this host.
        max_latency_ms: one budget or several, in ms. Without, every round verifies networks that
            are spread over the front, and the result is the front of what was measured.
        verify: networks to measure in every round.
        rounds: how many at most.
        suggested: networks to measure before the first search, if the model is not one of the
            target's.
        tolerance: share of its latency by which a prediction may be wrong.
        accuracy: accuracy model or its name; by default the shipped one for the space.
        confidence: keep budgets with this probability, instead of by the prediction alone, and
            measured networks in spite of the measurement's error.
        coverage: of the intervals in the result.
        specification: of the measured device, for a base model; the catalogue's by default.
        seed: of everything chance decides.
        on_round: called after every round.
        options: others of :func:`latcast.search.search`; a time limit is that of every search.

    Raises:
        InfeasibleError: no network keeps the limits on costs, which is told before anything is
            measured; or a budget, as far as can be predicted.
        ValueError: numbers that make no sense, and as :func:`latcast.search.search`; before
            anything is measured.
        TypeError: unknown options; likewise.
        MeasuringError: no latency could be measured before the first search, or of no network
            that it found.
        KeyboardInterrupt: before a latency was known.
    """
    if min(verify, rounds, suggested) < 1 or not tolerance > 0:
        raise ValueError(
            "verify, rounds and suggested must be at least 1, and the tolerance positive; "
            f"got {verify}, {rounds}, {suggested} and {tolerance}"
        )
    _check_names(options)
    the_space = find_space(space) if isinstance(space, str) else space
    source = Source.of(latency, measuring.target, specification)
    budgets_ms = parse_budgets(max_latency_ms, 1)[:, 0]
    options |= {"confidence": confidence, "coverage": coverage, "seed": seed}
    scope = Scope.of(the_space, find_accuracy(the_space, accuracy), measuring.target, options)
    run = Rounds(
        source,
        measuring,
        Known(scope, confidence),
        budgets_ms,
        options,
        on_round or (lambda _: None),
    )
    return run.run(verify, rounds, suggested, tolerance)


def _check_names(options: Mapping[str, Any]) -> None:
    if bad := [name for name in _NOT_HERE if name in options]:
        raise ValueError(
            f"{bad[0]} is for a single search: measurements are kept and resumed by `measuring`"
        )
    functions = (search_and_verify, search)
    names = dict.fromkeys(name for f in functions for name in inspect.signature(f).parameters)
    known = [name for name in names if name not in (*_NOT_HERE, "options")]
    if unknown := [name for name in options if name not in known]:
        raise TypeError(unknown_name("option of search_and_verify", unknown[0], known))
