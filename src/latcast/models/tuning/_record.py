"""A study as a record: the winner beside the default options, and all trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from latcast.report.record import MISSING, Column, Record, Table
from latcast.report.text import score_labels

from ._plan import TuningPlan
from ._study import TrialRecord
from ._tune import TuningResult


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
class TuningRecord(Record):
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
        best: the winner.
        default: the options when nothing is tuned.
        trials: all of them, those of earlier runs included.
        data_issues: what the audit found in the data.
    """

    schema = "tuning"
    frame = "trials"

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
                f"note: {len(failed)} trials failed, the last with {options}: {failed[-1].reason}"
            )


def _text(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
