"""Tuning: the options that fit a dataset best, a predictor that has them, and the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latcast._imports import require
from latcast.data import LatencyDataset, split
from latcast.models import Predictor
from latcast.models.training import Parts, fit_and_score_parts, parts
from latcast.models.workflow import Made
from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.markup import counted
from latcast.report.table import MISSING, Column, Table
from latcast.report.text import score_labels

from ._plan import DEFAULT_TRIALS, Options, TuningPlan
from ._study import Objective, Study, TrialRecord, count
from ._workers import Job, Progress, open_storage, quiet_optuna, run_trials, start, temporary_file


@dataclass(frozen=True)
class TuningResult:
    """The results of a study.

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
    plan: TuningPlan,
    *,
    trials: int | None = None,
    timeout_s: float | None = None,
    storage: str | Path | None = None,
    study: str | None = None,
    workers: int | None = None,
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
        plan: predictor and options; :meth:`TuningPlan.make`.
        trials: how many there shall be in all, those of earlier runs included; interrupted ones
            do not count. 50 by default, or all points of a preset.
        timeout_s: no trial begins after so many seconds.
        storage: SQLite file, or URL of a data base, to keep the study in and to go on from; in
            memory by default. Several runs may work on it at the same time.
        study: name within the storage; that of the preset or predictor by default.
        workers: processes of this machine, or tasks of the cluster, that run trials at once; by
            default this process alone, or all CPUs of the cluster. The same seed gives the same
            trials in this process only.
        ray: address of a Ray cluster to run trials on (``local``, ``auto``, ``HOST:PORT``), whose
            machines must all reach the storage.
        progress: called with (trials ended, trials in all).

    Raises:
        ValueError: ``trials``, ``workers`` or ``timeout_s`` out of range, data that cannot be
            fitted, no trial that ended well, a storage that is damaged or has another study of
            the name.
        OSError: the storage cannot be reached or written, or there is no Ray cluster.
        ModuleNotFoundError: Optuna, Ray or what the predictor needs is not installed.
    """
    require("optuna", "tune", "tuning")
    for what, number in (("trial", trials), ("worker", workers)):
        if number is not None and number < 1:
            raise ValueError(f"there must be at least 1 {what}; got {number}")
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError(f"the timeout must be a positive number of seconds; got {timeout_s}")
    if trials is None and plan.preset is None:
        trials = DEFAULT_TRIALS
    end = None if timeout_s is None else time.monotonic() + timeout_s
    whole = parts(data, test=plan.test, seed=plan.seed)
    # As many for validation as for the test: a share of what is left, which is less.
    share = plan.test / (1 - plan.test)
    # Another seed than the test's split: which rows validate has nothing to do with which test.
    objective = Objective(plan, *split(whole.train[0], 1 - share, plan.seed + 1))
    name = study or plan.preset or plan.predictor
    is_shared = ray is not None or (workers or 1) > 1
    # Workers in other processes share nothing but a file.
    place = temporary_file() if storage is None and is_shared else nullcontext(storage)
    with quiet_optuna(), place as given:
        where = None if given is None else str(given)
        job = Job(where, name, plan.fingerprint(data), objective)
        with open_storage(where) as kept:
            the_study = Study(kept, name, plan, job.fingerprint)
            the_study.enqueue()
            if the_study.left(trials):
                with start(job, the_study, workers, ray) as pool:
                    late = _clock(end)
                    run_trials(the_study, trials, pool, late=late, progress=progress)
            records = the_study.records()
    return _conclude(name, plan, whole, records)


def _clock(end: float | None) -> Callable[[], bool]:
    return lambda: end is not None and time.monotonic() > end


def _conclude(
    name: str, plan: TuningPlan, whole: Parts, records: list[TrialRecord]
) -> TuningResult:
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
    # Of equal ones the earlier: the defaults come first, and win a draw.
    return min(done, key=lambda r: (r.mae_ms, r.number))


def _same(record: TrialRecord, options: Options) -> bool:
    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    return {k: plain(v) for k, v in record.options.items()} == {
        k: plain(v) for k, v in options.items()
    }


# --- the record ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class TunedOptions:
    """Options of a predictor, and how it does with them.

    Attributes:
        trial: number of the trial that has them; null where none that ended well does.
        options: those that trials differ in.
        all_options: of the predictor; null for the default.
        validation_mae_ms: mean absolute error on the validation part, ms.
        metrics: scores on the test part, as of ``evaluation``; empty where it cannot be fitted.
    """

    trial: int | None
    options: Mapping[str, Any]
    all_options: Mapping[str, Any] | None
    validation_mae_ms: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, repr=False)
class TuningRecord(Made):
    """A search for the options of a predictor.

    Attributes:
        study: its name in the storage.
        storage: file or data base that the study is kept in, or null.
        predictor: whose options were searched.
        preset: published grid that they were taken from, or null.
        target: of the dataset.
        space: of the architectures.
        split: how rows were divided.
        seed: of everything chance decides.
        model: file that the winner is written to, or null.
        counts: state of a trial (done, pruned, failed, interrupted) -> how many there are.
        best: the trial with the best score.
        default: the options when nothing is tuned.
        trials: all of them, those of earlier runs included.
        data_issues: what the audit found in the data.
    """

    schema = "tuning"
    frame = "trials"
    no_figure = "no trial has a score"

    study: str
    storage: str | None
    predictor: str
    preset: str | None
    target: str
    space: str
    split: str
    seed: int
    model: str | None
    counts: Mapping[str, int]
    best: TunedOptions
    default: TunedOptions
    trials: tuple[TrialRecord, ...]
    data_issues: list[str]

    @classmethod
    def of(
        cls,
        result: TuningResult,
        plan: TuningPlan,
        *,
        storage: str | None = None,
        model: str | None,
    ) -> TuningRecord:
        """The record of a study; ``storage`` and ``model`` are the files that it names."""
        predictor, default = result.predictor, result.default
        best = TunedOptions(
            result.best.number, result.best.options, predictor.options(), result.best.mae_ms,
            result.metrics,
        )  # fmt: skip
        plain = TunedOptions(
            None if default is None else default.number, result.default_options, None,
            None if default is None else default.mae_ms, result.default_metrics,
        )  # fmt: skip
        card = predictor.fitted.card
        return cls(
            result.study, storage, plan.predictor, plan.preset, str(predictor.target),
            predictor.space.name, card["split"], plan.seed, model, result.counts(), best, plain,
            result.trials, card["data_issues"],
        )  # fmt: skip

    def headline(self) -> str:
        return f"{self.predictor} tuned for {self.target}"

    def answer(self) -> str:
        before, after = self.default.metrics.get("mae_ms"), self.best.metrics.get("mae_ms")
        if before is None or after is None:
            return ""
        return (
            f"Tuned options are {after:.3g} ms off on average on the test part, the defaults "
            f"{before:.3g} ms, after {counted(len(self.trials), 'trial')}."
        )

    def figures(self) -> Iterator[Figure]:
        done = [t for t in self.trials if t.mae_ms is not None]
        if done:
            labels = [", ".join(f"{k} {_text(v)}" for k, v in t.options.items()) for t in done]
            mae = [t.mae_ms or 0.0 for t in done]
            series = Series("", [t.number for t in done], mae, labels=labels)
            best = self.best.validation_mae_ms
            guides = () if best is None else (Guide("the winner", y=best),)
            yield Figure("Trials", Axis("trial"), Axis("validation MAE, ms",
                         log=charts.is_wide(mae)), (series,), guides)  # fmt: skip

    def parts(self) -> Iterator[Table | str]:
        default, best = self.default, self.best
        rows = [(name, default.options[name], value) for name, value in best.options.items()]
        rows.append(("validation MAE, ms", default.validation_mae_ms, best.validation_mae_ms))
        for name, label in score_labels("ms").items():
            rows.append((f"test: {label}", default.metrics.get(name), best.metrics.get(name)))
        columns = (
            Column("", lambda row: row[0]),
            Column("default", lambda row: _text(row[1])),
            Column("tuned", lambda row: _text(row[2])),
        )
        yield Table(columns, rows, f"{self.predictor} for {self.target}, split {self.split}")
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items())
        yield f"trials: {counts}; the winner is number {best.trial} of study {self.study}"

    def doubts(self) -> Iterator[str]:
        for issue in self.data_issues:
            yield f"note: the audit found {issue}"
        failed = [t for t in self.trials if t.state == "failed"]
        if failed:
            options = ", ".join(f"{k} {_text(v)}" for k, v in failed[-1].options.items())
            yield (
                f"note: {counted(len(failed), 'trial')} failed, the last with {options}: "
                f"{failed[-1].reason}"
            )


def _text(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
