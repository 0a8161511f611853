"""Training, scoring and asking accuracy models, as records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latcast.data import Dataset, split
from latcast.math.one_thread import in_one_blas_thread
from latcast.models.evaluation import evaluate
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.markup import counted
from latcast.report.record import Record
from latcast.report.table import AT_ONCE, Column, Table, lazy, numbered
from latcast.spaces import Archs

from ._base import AccuracyModel
from .gaussian_process import GAUSSIAN_PROCESS, GaussianProcess

# Score -> label with the unit in which it is shown, and the factor to that unit.
SCORES = {
    "mae": ("MAE, % points", 100.0),
    "rmse": ("RMSE, % points", 100.0),
    "median_error": ("median absolute error, % points", 100.0),
    "spearman": ("Spearman rank correlation", 1.0),
    "kendall": ("Kendall rank correlation", 1.0),
    "coverage_50": ("50 % interval covers, %", 1.0),
    "coverage_80": ("80 % interval covers, %", 1.0),
    "coverage_90": ("90 % interval covers, %", 1.0),
    "coverage_95": ("95 % interval covers, %", 1.0),
}

Scores = Mapping[str, float]


def _table(scores: Scores, title: str) -> Table:
    rows = [
        (label, None if name not in scores else factor * scores[name])
        for name, (label, factor) in SCORES.items()
    ]
    columns = Column("score", lambda row: row[0]), Column("value", lambda row: row[1], ".4g")
    return Table(columns, rows, title)


@dataclass(frozen=True, repr=False)
class AccuracyTraining(Record):
    """An accuracy model, trained and scored.

    Attributes:
        model: file that it is written to.
        name: of the model.
        space: of the architectures.
        resolutions: that it knows; null where the space has but one.
        unit: of the accuracies in the table: ``fraction`` or ``percent``.
        split: how rows were divided.
        noise: standard deviation of a network around what is expected of it, 0 to 1.
        metrics: scores on the test part; ``mae``, ``rmse`` and ``median_error`` of accuracies from
            0 to 1, ``coverage_90`` … in percent.
    """

    schema = "accuracy-training"
    no_figure = "the model states no uncertainty"

    model: str
    name: str
    space: str
    resolutions: tuple[int, ...] | None
    unit: str
    split: str
    noise: float
    metrics: Scores

    def answer(self) -> str:
        return (
            f"{self.name} is {100 * self.metrics['mae']:.2f} % points off on average on networks "
            "that it has not seen."
        )

    def figures(self) -> Iterator[Figure]:
        yield from charts.coverages(self.metrics)

    def parts(self) -> Iterator[Table | str]:
        title = f"{self.name} for {self.space}, split {self.split}; on the test part:"
        yield _table(self.metrics, title)
        yield f"one network is ± {100 * self.noise:.2g} % points around what is expected of it"


@dataclass(frozen=True, repr=False)
class AccuracyEvaluation(Record):
    """Scores of an accuracy model on networks that it has not seen.

    Attributes:
        model: its name or file.
        data: file of the accuracies.
        rows: of the file.
        metrics: scores, as of ``accuracy-training``.
    """

    schema = "accuracy-evaluation"
    no_figure = "the model states no uncertainty"

    model: str
    data: str
    rows: int
    metrics: Scores

    @classmethod
    def of(
        cls, model: AccuracyModel, table: Dataset, *, model_name: str, data: str
    ) -> AccuracyEvaluation:
        """Score a model.

        Raises:
            ValueError: as :func:`latcast.models.evaluation.evaluate`.
        """
        return cls(model_name, data, len(table), evaluate(model, table))

    def answer(self) -> str:
        return (
            f"{self.model} is {100 * self.metrics['mae']:.2f} % points off on average on networks "
            "that it has not seen."
        )

    def figures(self) -> Iterator[Figure]:
        yield from charts.coverages(self.metrics)

    def parts(self) -> Iterator[Table | str]:
        title = f"{self.model} on {Path(self.data).name}, {counted(self.rows, 'row')}"
        yield _table(self.metrics, title)


@dataclass(frozen=True)
class PredictedAccuracy:
    """The prediction of an architecture's accuracy.

    Attributes:
        accuracy: top-1, 0 to 1.
        uncertainty: its standard deviation; null where the model does not state one.
        arch: the architecture in the field's own form.
    """

    accuracy: float
    uncertainty: float | None
    arch: Any


@dataclass(frozen=True, repr=False)
class AccuracyPrediction(Record):
    """Accuracies of architectures.

    Attributes:
        model: its name or file.
        space: of the architectures.
        predicted: in the order of the architectures.
    """

    schema = "accuracy-prediction"
    frame = "predicted"

    model: str
    space: str
    predicted: Sequence[PredictedAccuracy]

    @classmethod
    def of(cls, model: AccuracyModel, archs: Archs, name: str) -> AccuracyPrediction:
        """Ask a model, which the record calls ``name``."""

        def predicted(part: slice) -> list[PredictedAccuracy]:
            some = archs[part]
            deviation = model.uncertainty(some)
            deviations = [None] * len(some) if deviation is None else deviation.tolist()
            both = zip(model.predict(some).tolist(), deviations, strict=True)
            rows = zip(both, some.to_dicts(), strict=True)
            return [PredictedAccuracy(*values, arch) for values, arch in rows]

        return cls(name, archs.space.name, lazy(len(archs), predicted))

    def headline(self) -> str:
        return f"Accuracy of architectures of {self.space}"

    def answer(self) -> str:
        top1 = [100 * row.accuracy for row in self.predicted[:AT_ONCE]]
        if len(top1) == 1:
            return f"The architecture has a top-1 of {top1[0]:.2f} % by {self.model}."
        return (
            f"{len(self.predicted):,} architectures have a top-1 of {min(top1):.2f} to "
            f"{max(top1):.2f} % by {self.model}."
        )

    def figures(self) -> Iterator[Figure]:
        rows: list[charts.Interval] = []
        for n, row in enumerate(self.predicted[: charts.MAX_ROWS]):
            value, off = 100 * row.accuracy, 100 * (row.uncertainty or 0.0)
            ends = (None, None) if row.uncertainty is None else (value - off, value + off)
            rows.append((f"architecture {n}", value, *ends))
        told = [] if all(low is None for *_, low, _ in rows) else [
            "Bars reach a standard deviation of the model to each side."
        ]  # fmt: skip
        if len(self.predicted) > charts.MAX_ROWS:
            told.append(f"The first {charts.MAX_ROWS}.")
        yield charts.intervals(
            "Accuracy", rows, of="architecture", label="top-1, %", note=charts.note_in(".2f", "%"),
            caption=" ".join(told),
        )  # fmt: skip

    def parts(self) -> Iterator[Table | str]:
        columns = (
            Column("architecture", lambda row: row[0]),
            Column("top-1 %", lambda row: row[1].accuracy, ".2f", 100),
            Column("± % points", lambda row: row[1].uncertainty, ".2f", 100),
        )
        yield Table(columns, numbered(self.predicted), f"{self.model} on {self.space}")


@in_one_blas_thread
def train_accuracy(
    data: Dataset, *, test: float = 0.15, seed: int = 0, name: str = GAUSSIAN_PROCESS
) -> tuple[GaussianProcess, dict[str, float]]:
    """Fit a model to a part of the architectures and score it on the others.

    Args:
        data: accuracies of a space's architectures.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the split and of the fit.
        name: of the model.

    Returns:
        The model, whose card has the data, the split and the scores; and the scores:
        :func:`latcast.models.evaluation.evaluate`.

    Raises:
        ValueError: as :meth:`GaussianProcess.fit`, or there are too few architectures to split.
    """
    rest, train = split(data, test, seed)
    model = GaussianProcess(name=name).fit(train, seed=seed)
    scores = evaluate(model, rest)
    how = (
        f"by architecture at random, seed {seed}: {counted(len(train), 'row')} to "
        f"train, {len(rest)} to test"
    )
    model.card.update(split=how, metrics=scores)
    return model, scores


def train_and_score(
    table: Dataset, *, test: float, seed: int, name: str, out: Path
) -> tuple[GaussianProcess, AccuracyTraining]:
    """Train a model on a table; the record calls its file ``out``, which is not written.

    Raises:
        ValueError: as :func:`latcast.models.accuracy.train_accuracy`.
    """
    model, scores = train_accuracy(table, test=test, seed=seed, name=name)
    return model, AccuracyTraining(
        str(out), model.name, model.space.name, model.resolutions, table.provenance.get("unit", ""),
        model.card["split"], model.noise or 0.0, scores,
    )  # fmt: skip
