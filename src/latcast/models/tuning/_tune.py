"""From a dataset to the options that fit it best, and a predictor that has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latcast._optional import require
from latcast.data import LatencyDataset, split
from latcast.models import Predictor
from latcast.models.training import Parts, fit_and_score_parts, parts

from ._plan import DEFAULT_TRIALS, Options, Plan
from ._storage import open_storage
from ._study import Study, TrialRecord, count
from ._trial import Trials

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TuningResult:
    """What a study has found.

    Attributes:
        study: its name.
        predictor: with the best options, fitted to the whole training part; its card records the
            study.
        best: the trial that won.
        default: the trial of the default options, or None where there is none that ended.
        default_options: the options when nothing is tuned, of those that trials differ in.
        metrics: scores of the winner on the test part.
        default_metrics: scores of the default options on it, fitted to the same rows; empty where
            they cannot be fitted.
        trials: all trials so far, those of earlier runs included.
    """

    study: str
    predictor: Predictor
    best: TrialRecord
    default: TrialRecord | None
    default_options: Options
    metrics: dict[str, float]
    default_metrics: dict[str, float]
    trials: tuple[TrialRecord, ...]

    def counts(self) -> dict[str, int]:
        """State -> number of trials: done, pruned, failed, interrupted."""
        return count(list(self.trials))


def tune(
    data: LatencyDataset,
    plan: Plan,
    *,
    trials: int | None = None,
    timeout_s: float | None = None,
    storage: str | Path | None = None,
    study: str | None = None,
    ray: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> TuningResult:
    """Search the options of a predictor.

    The test part is set aside first. As many architectures again of what is left are for
    validation: every trial fits on the rest and has its mean absolute error on them. When all
    trials have ended, the winner and the default options are fitted to the whole training part
    and scored on the test part, once.

    Options are drawn by a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011),
    beginning with the defaults, or are the points of a preset in random order. Predictors that
    learn in epochs are pruned by asynchronous successive halving (Li et al., MLSys 2020).

    Args:
        data: measurements on one target.
        plan: predictor and options; :meth:`Plan.make`.
        trials: how many there shall be in all, those of earlier runs included; interrupted ones
            do not count. 50 by default, or all points of a preset.
        timeout_s: no trial begins after so many seconds.
        storage: SQLite file to keep the study in and to go on from; in memory by default.
        study: name within the storage; that of the preset or predictor by default.
        ray: address of a Ray cluster to run trials on (``local``, ``auto``, ``HOST:PORT``); in
            this process by default. The same seed gives the same trials only there.
        progress: called with (trials ended, trials in all).

    Raises:
        ValueError: ``trials`` or ``timeout_s`` out of range, data that cannot be fitted, no trial
            that ended well, a storage that is damaged, in use, or has another study of the name.
        OSError: the storage cannot be written, or there is no Ray cluster.
        ModuleNotFoundError: Optuna, Ray or what the predictor needs is not installed.
    """
    require("optuna", "tune", "tuning")
    if trials is not None and trials < 1:
        raise ValueError(f"there must be at least 1 trial; got {trials}")
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError(f"the timeout must be a positive number of seconds; got {timeout_s}")
    if trials is None and plan.preset is None:
        trials = DEFAULT_TRIALS
    whole = parts(data, test=plan.test, seed=plan.seed)
    share = plan.test / (1 - plan.test)
    fitted, validation = split(whole.train, 1 - share, plan.seed + 1)
    name = study or plan.preset or plan.predictor
    path = None if storage is None else Path(storage)
    end = None if timeout_s is None else time.monotonic() + timeout_s
    with _quiet_optuna(), open_storage(path) as kept:
        the_study = Study(kept, name, plan, plan.fingerprint(data))
        _run(
            the_study,
            Trials(plan, fitted, validation),
            the_study.left(trials),
            ray,
            late=lambda: end is not None and time.monotonic() > end,
            progress=progress,
        )
        records = the_study.records()
    return _conclude(name, plan, whole, records)


def _run(
    study: Study,
    trials: Trials,
    left: int,
    ray: str | None,
    *,
    late: Callable[[], bool],
    progress: Progress,
) -> None:
    total, done = left, 0
    progress(done, total)

    def ended() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    if ray is not None and left:
        from ._ray import run_trials

        run_trials(study, trials, left, ray, late=late, ended=ended)
        return
    for _ in range(left):
        if late():
            break
        _run_here(study, trials)
        ended()


def _run_here(study: Study, trials: Trials) -> None:
    trial, options = study.ask()

    def report(epoch: int, mae_ms: float) -> bool:
        trial.report(mae_ms, epoch)
        return bool(trial.should_prune())

    try:
        outcome = study.known(trial) or trials.run(options, report)
    except BaseException:
        study.interrupt(trial)
        raise
    study.tell(trial, outcome)


def _conclude(name: str, plan: Plan, whole: Parts, records: list[TrialRecord]) -> TuningResult:
    best = _winner(records)
    default_options = plan.defaults()
    default = next((r for r in records if r.state == "done" and _same(r, default_options)), None)
    predictor, plain = plan.create(best.options), plan.create({})
    metrics = fit_and_score_parts(predictor, whole, seed=plan.seed)
    same = _same(best, default_options)
    default_metrics = metrics if same else _scores(plain, whole, plan.seed)
    predictor.fitted.card["tuning"] = {
        "study": name,
        "preset": plan.preset,
        "trials": count(records),
        "options": best.options,
        "validation_mae_ms": best.mae_ms,
        "default_options": default_options,
        "default_metrics": default_metrics,
    }
    return TuningResult(
        name, predictor, best, default, default_options, metrics, default_metrics, tuple(records)
    )


def _scores(predictor: Predictor, whole: Parts, seed: int) -> dict[str, float]:
    try:
        return fit_and_score_parts(predictor, whole, seed=seed)
    except ValueError:  # an MLP that diverges with the defaults is why its options are searched
        return {}


def _winner(records: list[TrialRecord]) -> TrialRecord:
    done = [r for r in records if r.state == "done" and r.mae_ms is not None]
    if not done:
        reasons = [r.reason for r in records if r.reason is not None]
        why = f"the last one failed: {reasons[-1]}" if reasons else "give them more time"
        raise ValueError(f"at least one trial must end well; got {count(records)}: {why}")
    return min(done, key=lambda r: (r.mae_ms, r.number))


def _same(record: TrialRecord, options: Options) -> bool:
    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    return {k: plain(v) for k, v in record.options.items()} == {
        k: plain(v) for k, v in options.items()
    }


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Optuna tells of every trial; so does the progress bar."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
