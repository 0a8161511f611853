"""A study: trials that can be compared, in a storage of Optuna's that several workers share."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latcast.data import LatencyDataset
from latcast.models._tunable import Choice, Real, Tunable

from ._plan import Options, TuningPlan

# Successive halving looks for the first time after an eighth of the epochs, and goes on with the
# best third: of 100 epochs after 12 and 36. It favours what learns fast: docs/tune.md has a case.
FIRST_RUNG = 8
REDUCTION_FACTOR = 3

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


def count(records: list[TrialRecord]) -> dict[str, int]:
    """State -> number of trials."""
    counted = Counter(r.state for r in records)
    return {state: counted[state] for state in _STATES}


@dataclass(frozen=True)
class Objective:
    """The objective that Optuna minimizes: mean absolute error in ms on the validation rows.

    Can be sent to another process; called with an Optuna trial.

    Attributes:
        plan: predictor and fixed options.
        train: the rows to fit on.
        validation: the rows to score (and calibrate) on. Neither holds a test row.
    """

    plan: TuningPlan
    train: LatencyDataset
    validation: LatencyDataset

    def __call__(self, trial: Any) -> float:
        """Fit and score once; what an earlier trial has found of the same options is taken.

        Raises:
            ValueError, ArithmeticError: the options cannot be fitted; the trial keeps why.
            optuna.TrialPruned: it has fallen behind.
        """
        options = {name: suggest(trial, name, spec) for name, spec in self.plan.tunable.items()}
        # Samplers draw points of small grids again and again; a fit of an MLP takes minutes.
        for earlier in _in_states(trial.study, "COMPLETE"):
            if earlier.params == trial.params:
                trial.set_user_attr("seconds", 0.0)
                return float(earlier.value)
        start = time.perf_counter()
        try:
            return self.mae_ms(options, _reporter(trial))
        except (ValueError, ArithmeticError) as error:
            trial.set_user_attr("reason", str(error))
            raise
        finally:
            trial.set_user_attr("seconds", time.perf_counter() - start)

    def mae_ms(self, options: Options, report: Callable[[int, float], bool]) -> float:
        """Validation error in ms of a predictor with these options.

        Args:
            options: those that trials differ in.
            report: called with an epoch and its validation error in ms; whether to give up.

        Raises:
            ValueError, ArithmeticError: it cannot be fitted.
            optuna.TrialPruned: it was given up before its last epoch.
        """
        predictor = self.plan.create(options)

        def error_ms() -> float:
            predicted_ms = predictor.predict(self.validation.archs)
            return float(np.abs(predicted_ms - self.validation.latency_ms).mean())

        def after_epoch(epoch: int) -> None:
            from optuna import TrialPruned

            error = error_ms()
            if not np.isfinite(error):
                raise ValueError(f"the fit diverged: no finite validation error in epoch {epoch}")
            if report(epoch, error) and epoch < last:
                raise TrialPruned

        if predictor.learns_in_epochs:
            last = int(predictor.options()["epochs"])
            predictor.after_epoch = after_epoch
        predictor.fit(self.train, calibration=self.validation, seed=self.plan.seed)
        return error_ms()


class Study:
    """Trials of one plan in an Optuna study.

    Several may be open at the same time, in any processes that reach the storage.

    Args:
        storage: an Optuna storage.
        name: of the study within the storage.
        plan: what is looked for.
        fingerprint: what must be as it was when the study began.
        stream: of random numbers, where several workers draw options: each has its own.

    Raises:
        ValueError: the storage has a study of this name with another fingerprint.
    """

    def __init__(
        self,
        storage: Any,
        name: str,
        plan: TuningPlan,
        fingerprint: Mapping[str, str],
        stream: tuple[int, ...] = (),
    ) -> None:
        import optuna

        self._plan = plan
        self._study = optuna.create_study(
            storage=storage, study_name=name, direction="minimize", load_if_exists=True
        )
        _check_fingerprint(self._study, name, fingerprint)
        self._study.pruner = _pruner(plan.epochs() if plan.prune else None)
        # Of the study's own until it goes on: then what has been drawn is not drawn again.
        entropy = [plan.seed, *(stream or (len(self._study.get_trials(deepcopy=False)),))]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)

    def enqueue(self) -> None:
        """Queue what must be tried: the defaults first, points of a preset, interrupted trials."""
        tried = _in_states(self._study, "COMPLETE", "PRUNED", "WAITING", "FAIL")
        settled = [_params(t) for t in tried if _state(t) != "interrupted"]
        for options in self._wanted(tried):
            params = params_of(self._plan, options)
            if params not in settled:
                settled.append(params)
                self._study.enqueue_trial(params)

    def left(self, trials: int | None) -> int:
        """How many trials are left of so many in all; None is all points of a preset."""
        finished = sum(r.state != "interrupted" for r in self.records())
        points = self._plan.points()
        if points is not None:
            trials = len(points) if trials is None else min(trials, len(points))
        return max(0, (trials or 0) - finished)

    def run(self, objective: Objective) -> None:
        """Run one trial; options that cannot be fitted are a failed trial, not an error.

        Raises:
            ModuleNotFoundError: the predictor needs a package that is not installed.
        """
        self._study.optimize(objective, n_trials=1, catch=(ValueError, ArithmeticError))

    def records(self) -> list[TrialRecord]:
        """All trials that have ended, in the order in which they began."""
        return [
            TrialRecord(
                trial.number,
                _state(trial),
                options_of(self._plan, trial.params),
                trial.value,
                max(trial.intermediate_values, default=None),
                trial.user_attrs.get("seconds"),
                trial.user_attrs.get("reason"),
            )
            for trial in _in_states(self._study, "COMPLETE", "PRUNED", "FAIL")
        ]

    def _wanted(self, tried: list[Any]) -> list[Options]:
        points = self._plan.points()
        if points is not None:
            order = np.random.default_rng(self._plan.seed).permutation(len(points))
            return [points[n] for n in order]
        defaults = self._plan.defaults()
        inside = all(defaults[name] in spec for name, spec in self._plan.tunable.items())
        interrupted = [
            options_of(self._plan, t.params)
            for t in tried
            if _state(t) == "interrupted" and len(t.params) == len(self._plan.tunable)
        ]
        return [defaults] * inside + interrupted


def suggest(trial: Any, name: str, spec: Tunable) -> Any:
    """An option's value in a trial of Optuna's."""
    if isinstance(spec, Choice):
        labels = [json.dumps(v) for v in spec.values]
        return json.loads(trial.suggest_categorical(name, labels))
    if isinstance(spec, Real):
        return trial.suggest_float(name, spec.low, spec.high, log=spec.log)
    return trial.suggest_int(name, spec.low, spec.high, step=spec.step)


def params_of(plan: TuningPlan, options: Options) -> dict[str, Any]:
    """Options as Optuna keeps them: numbers as they are, a choice as its JSON."""
    choices = {name for name, spec in plan.tunable.items() if isinstance(spec, Choice)}
    return {name: json.dumps(v) if name in choices else v for name, v in options.items()}


def options_of(plan: TuningPlan, params: Mapping[str, Any]) -> Options:
    """The inverse of :func:`params_of`."""
    choices = {name for name, spec in plan.tunable.items() if isinstance(spec, Choice)}
    return {name: json.loads(v) if name in choices else v for name, v in params.items()}


def _reporter(trial: Any) -> Callable[[int, float], bool]:
    def report(epoch: int, mae_ms: float) -> bool:
        trial.report(mae_ms, epoch)
        return bool(trial.should_prune())

    return report


def _pruner(epochs: int | None) -> Any:
    from optuna.pruners import NopPruner, SuccessiveHalvingPruner

    if epochs is None:
        return NopPruner()
    return SuccessiveHalvingPruner(
        min_resource=max(1, epochs // FIRST_RUNG), reduction_factor=REDUCTION_FACTOR
    )


def _in_states(study: Any, *states: str) -> list[Any]:
    from optuna.trial import TrialState

    wanted = [TrialState[s] for s in states]
    trials: list[Any] = study.get_trials(deepcopy=False, states=wanted)
    return trials


def _state(trial: Any) -> str:
    """A trial that has failed without a reason was interrupted."""
    state: str = trial.state.name
    if state == "FAIL":
        return "failed" if "reason" in trial.user_attrs else "interrupted"
    return {"COMPLETE": "done"}.get(state, state.lower())


def _params(trial: Any) -> dict[str, Any]:
    """Return the options that a trial has tried, or will try when asked for."""
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
