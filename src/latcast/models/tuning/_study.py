"""A study: trials that can be compared, kept by Optuna, gone on with after an interruption."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latcast.models._tunable import Choice, Real, Tunable

from ._plan import Options, Plan
from ._trial import Outcome

REDUCTION_FACTOR = 3
FIRST_RUNG = 8
"""Successive halving looks for the first time after an eighth of the epochs."""

_FINGERPRINT = "latcast"
_STATES = ("done", "pruned", "failed", "interrupted")


@dataclass(frozen=True)
class TrialRecord:
    """A trial as it is told about; JSON-able.

    Attributes:
        number: from 0.
        state: ``done``, ``pruned``, ``failed`` or ``interrupted``.
        options: the options it tried; empty where it was interrupted before it began.
        mae_ms: validation error, where done; where pruned, that of the last epoch.
        epochs: how many it has learnt, where the predictor learns in epochs.
        seconds: what it took.
        reason: why it failed.
    """

    number: int
    state: str
    options: Options
    mae_ms: float | None
    epochs: int | None
    seconds: float | None
    reason: str | None


class Study:
    """Asks for options and is told outcomes. Only one process may have it open.

    Args:
        storage: an Optuna storage.
        name: of the study within the storage.
        plan: what is looked for.
        fingerprint: what must be as it was when the study began.

    Raises:
        ValueError: the storage has a study of this name with another fingerprint.
    """

    def __init__(self, storage: Any, name: str, plan: Plan, fingerprint: Mapping[str, str]) -> None:
        import optuna

        self._plan = plan
        self._encoding = {option: _encode(spec) for option, spec in plan.tunable.items()}
        self._study = optuna.create_study(
            storage=storage, study_name=name, direction="minimize", load_if_exists=True
        )
        _check_fingerprint(self._study, name, fingerprint)
        self._study.pruner = _pruner(plan.epochs() if plan.prune else None)
        self._study.sampler = optuna.samplers.TPESampler(seed=self._sampler_seed())
        self._end_interrupted()
        self._enqueue()

    def left(self, trials: int | None) -> int:
        """How many trials are left of so many in all; None is all points of a preset."""
        finished = sum(r.state != "interrupted" for r in self.records())
        points = self._plan.points()
        if points is not None:
            trials = len(points) if trials is None else min(trials, len(points))
        return max(0, (trials or 0) - finished)

    def ask(self) -> tuple[Any, Options]:
        """A new trial of Optuna's, and its options."""
        trial = self._study.ask({name: e.distribution for name, e in self._encoding.items()})
        return trial, self._decode(trial.params)

    def known(self, trial: Any) -> Outcome | None:
        """The outcome of an earlier trial of the same options: it would be the same again."""
        for earlier in self._trials("COMPLETE"):
            if earlier.params == trial.params:
                return Outcome("done", earlier.value, 0.0)
        return None

    def tell(self, trial: Any, outcome: Outcome) -> None:
        """Keep how a trial ended."""
        from optuna.trial import TrialState

        trial.set_user_attr("seconds", outcome.seconds)
        if outcome.reason is not None:
            trial.set_user_attr("reason", outcome.reason)
        state = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(
            outcome.state, TrialState.FAIL
        )
        self._study.tell(trial, outcome.mae_ms, state=state)

    def interrupt(self, trial: Any) -> None:
        """Keep that a trial has not ended; its options are tried again when the study goes on."""
        self.tell(trial, Outcome("interrupted", None, 0.0))

    def records(self) -> list[TrialRecord]:
        """All trials that have ended, in the order in which they began."""
        records = []
        for trial in self._trials("COMPLETE", "PRUNED", "FAIL"):
            steps = trial.intermediate_values
            records.append(
                TrialRecord(
                    trial.number,
                    _state(trial),
                    self._decode(trial.params),
                    trial.value,
                    max(steps) if steps else None,
                    trial.user_attrs.get("seconds"),
                    trial.user_attrs.get("reason"),
                )
            )
        return records

    def _trials(self, *states: str) -> list[Any]:
        from optuna.trial import TrialState

        wanted = [TrialState[s] for s in states]
        trials: list[Any] = self._study.get_trials(deepcopy=False, states=wanted)
        return trials

    def _end_interrupted(self) -> None:
        """A trial that still runs was left so by a process that was killed."""
        from optuna.trial import TrialState

        for trial in self._trials("RUNNING"):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _enqueue(self) -> None:
        """Queue what must be tried: the defaults first, points of a preset, interrupted trials."""
        tried = self._trials("COMPLETE", "PRUNED", "WAITING", "FAIL")
        settled = [_params(t) for t in tried if _state(t) != "interrupted"]
        for options in self._wanted(tried):
            params = self._to_params(options)
            if params not in settled:
                settled.append(params)
                self._study.enqueue_trial(params)

    def _wanted(self, tried: list[Any]) -> list[Options]:
        points = self._plan.points()
        if points is not None:
            order = np.random.default_rng(self._plan.seed).permutation(len(points))
            return [points[n] for n in order]
        defaults = self._plan.defaults()
        inside = all(defaults[name] in spec for name, spec in self._plan.tunable.items())
        interrupted = [
            self._decode(t.params) for t in tried
            if _state(t) == "interrupted" and len(t.params) == len(self._encoding)
        ]  # fmt: skip
        return [defaults] * inside + interrupted

    def _sampler_seed(self) -> int:
        """Of the study's own until it goes on: then what has been drawn is not drawn again."""
        entropy = [self._plan.seed, len(self._study.get_trials(deepcopy=False))]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def _decode(self, params: Mapping[str, Any]) -> Options:
        return {name: self._encoding[name].decode(value) for name, value in params.items()}

    def _to_params(self, options: Options) -> dict[str, Any]:
        return {name: self._encoding[name].encode(value) for name, value in options.items()}


@dataclass(frozen=True)
class Encoding:
    """An option as Optuna keeps it: numbers as they are, a choice as its JSON."""

    distribution: Any
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _encode(spec: Tunable) -> Encoding:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(spec, Choice):
        labels = [json.dumps(v) for v in spec.values]
        return Encoding(CategoricalDistribution(labels), json.dumps, json.loads)
    if isinstance(spec, Real):
        return Encoding(FloatDistribution(spec.low, spec.high, log=spec.log), float, float)
    return Encoding(IntDistribution(spec.low, spec.high, step=spec.step), int, int)


def _pruner(epochs: int | None) -> Any:
    from optuna.pruners import NopPruner, SuccessiveHalvingPruner

    if epochs is None:
        return NopPruner()
    return SuccessiveHalvingPruner(
        min_resource=max(1, epochs // FIRST_RUNG), reduction_factor=REDUCTION_FACTOR
    )


def _state(trial: Any) -> str:
    """A trial that has failed without a reason was interrupted."""
    state: str = trial.state.name
    if state == "FAIL":
        return "failed" if "reason" in trial.user_attrs else "interrupted"
    return {"COMPLETE": "done"}.get(state, state.lower())


def _params(trial: Any) -> dict[str, Any]:
    """What a trial has tried, or will when it is asked for."""
    return dict(trial.system_attrs.get("fixed_params", trial.params))


def _check_fingerprint(study: Any, name: str, fingerprint: Mapping[str, str]) -> None:
    kept = study.user_attrs.get(_FINGERPRINT)
    if kept is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_FINGERPRINT, dict(fingerprint))
        return
    if not isinstance(kept, dict):
        raise ValueError(
            f"the study {name!r} in this storage is not one of latcast's: name another study"
        )
    for key in sorted({*kept, *fingerprint}):
        if kept.get(key) != fingerprint.get(key):
            raise ValueError(
                f"to go on, the study {name!r} needs the {key} it began with, {kept.get(key)}; "
                f"got {fingerprint.get(key)}: name another study or storage to begin anew"
            )


def count(records: list[TrialRecord]) -> dict[str, int]:
    """State -> number of trials."""
    counted = Counter(r.state for r in records)
    return {state: counted[state] for state in _STATES}
