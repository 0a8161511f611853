"""Evaluation: scores of models on data that they have not seen, in all, by row and by group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np

from latcast.data import ACCURACY, UNSTABLE, Dataset, quantity
from latcast.math.metrics import Scored, covered, weighted_metrics
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.markup import counted
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table
from latcast.report.text import scores_table

from ._base import Predictor

Scores = Mapping[str, float]

# The name of the group of networks that are of no family.
OWN_FILES = "files"
# Rows that a record keeps: enough to see where errors are, and few beside the rest of its JSON.
MAX_ROWS = 200
_QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
_COVERAGE = 0.9


@dataclass(frozen=True)
class ScoredRow:
    """A measurement beside its prediction.

    Attributes:
        name: of the network, or ``row`` and its number in the dataset.
        group: as of the groups.
        measured: in the unit of the quantity.
        predicted: likewise.
        lower: lower end of the 90 % prediction interval; null where it is not calibrated.
        upper: upper end of the interval.
    """

    name: str
    group: str
    measured: float
    predicted: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class GroupErrors:
    """Errors on one group of rows.

    Attributes:
        group: a family of networks; of architectures a quarter of the rows by what was measured.
        rows: how many were scored.
        median_error: median absolute error, %.
        within_10: predictions at most 10 % off, %.
        coverage_90: measurements in their 90 % interval, %; null where it is not calibrated.
    """

    group: str
    rows: int
    median_error: float
    within_10: float
    coverage_90: float | None


def score(model: Predictor, data: Dataset) -> Scored:
    """Predict measurements that the predictor has not seen, and test which intervals hold them.

    Raises:
        ValueError: a value that is not possible, or another target, quantity or space.
    """
    data.check_values()
    data.check_quantity(model.fitted.quantity)
    if data.target != model.target:
        raise ValueError(f"the predictor is for {model.target}; got data of {data.target}")
    inside = covered(data.values, lambda c: model.predict_interval(data.networks, c), model.covers)
    return Scored(data.values, model.predict(data.networks), inside, data.quantity.unit)


def evaluate(model: Predictor, data: Dataset) -> dict[str, float]:
    """Metrics of a predictor on measurements that it has not seen.

    Where it is calibrated, ``coverage_N`` is the percentage of true values inside the interval
    that asks for N percent. Of networks of any kind, medians are told besides, since a few
    networks unlike all others make means say little. Of accuracies, whose errors are not relative
    to them, ``mae``, ``rmse`` and ``median_error`` are as accuracies are, from 0 to 1.

    Raises:
        ValueError: as :func:`score`.
    """
    return scores_of(model, data, score(model, data))


def scores_of(model: Predictor, data: Dataset, scored: Scored) -> dict[str, float]:
    """:func:`evaluate`, of what was scored."""
    if data.quantity == ACCURACY:
        return scored.absolute_metrics()
    return scored.metrics(of_any_network=model.fitted.space is None)


def scored_rows(
    model: Predictor, data: Dataset, scored: Scored
) -> tuple[tuple[ScoredRow, ...], tuple[GroupErrors, ...]]:
    """Rows at about equal distances of rank, and the errors of all rows by group.

    Args:
        model: that was scored.
        data: what it was scored on, n rows.
        scored: its predictions.
    """
    groups = _groups(data, scored)
    order = np.argsort(scored.true, kind="stable")
    shown = np.unique(order[np.linspace(0, len(order) - 1, min(len(order), MAX_ROWS)).astype(int)])
    lower = upper = np.full(len(shown), nan)
    if model.covers(_COVERAGE):
        lower, upper = model.predict_interval(data[shown].networks, _COVERAGE)
    names = [Path(name).name for name in data.names] or [f"row {n}" for n in range(len(data))]
    rows = tuple(
        ScoredRow(
            names[n], groups[n], float(scored.true[n]), float(scored.predicted[n]),
            _known(lower[k]), _known(upper[k]),
        )
        for k, n in enumerate(shown.tolist())
    )  # fmt: skip
    return rows, _errors(groups, scored)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _groups(data: Dataset, scored: Scored) -> list[str]:
    """The group of every row."""
    if data.families:
        return [family or OWN_FILES for family in data.families]
    edges = np.quantile(scored.true, (0.25, 0.5, 0.75))
    return [_QUARTERS[n] for n in np.searchsorted(edges, scored.true, side="left")]


def _errors(groups: Sequence[str], scored: Scored) -> tuple[GroupErrors, ...]:
    off = 100 * np.abs(scored.predicted / scored.true - 1)
    inside = scored.inside.get(_COVERAGE)
    named = np.array(groups)
    found = []
    for group in sorted(set(groups), key=_order):
        own = named == group
        held = None if inside is None else 100 * float(inside[own].mean())
        found.append(
            GroupErrors(group, int(own.sum()), float(np.median(off[own])),
                        100 * float((off[own] <= 10).mean()), held)
        )  # fmt: skip
    return tuple(found)


def _order(group: str) -> tuple[int, str]:
    """Quarters by their size, families by the alphabet."""
    return _QUARTERS.index(group) if group in _QUARTERS else len(_QUARTERS), group


def by_group(rows: Sequence[ScoredRow]) -> Mapping[str, Sequence[ScoredRow]]:
    """The rows of each group."""
    found: dict[str, list[ScoredRow]] = {}
    for row in sorted(rows, key=lambda row: _order(row.group)):
        found.setdefault(row.group, []).append(row)
    return found


# --- the record ---------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Evaluation(Record):
    """Scores of a model on measurements that it has not seen.

    Attributes:
        model: its name or file.
        data: file of the measurements.
        rows: of the measurements.
        quantity: what was measured, such as ``latency_ms``.
        metrics: name of a score -> value; ``mae_ms`` and ``rmse_ms`` in ms (of another quantity
            named for its unit: ``mae_mj``), ``spearman`` and ``kendall`` from -1 to 1, all others
            in percent.
        unstable: rows whose value is not known to 3 %.
        metrics_weighted: means of the same errors, unstable rows weighed by their scatter, without
            ranks; null where no row is unstable.
        unit: what unit the latencies seem to be in, a sentence; null if they can be milliseconds.
        sample: measurements beside their predictions, of many rows some at equal distances of rank.
        groups: errors by group, of all rows.
        trained_rows: rows that the model was trained on, where they are of the same file or
            campaign, which may be these; null where they are of another.
    """

    schema = "evaluation"
    no_figure = "there is neither a row nor a coverage to show"

    model: str
    data: str
    rows: int
    quantity: str
    metrics: Scores
    unstable: int
    metrics_weighted: Scores | None
    unit: str | None
    sample: tuple[ScoredRow, ...] = ()
    groups: tuple[GroupErrors, ...] = ()
    trained_rows: int | None = None

    @classmethod
    def of(cls, model: Predictor, dataset: Dataset, *, model_name: str, data: str) -> Evaluation:
        """Score a model.

        Raises:
            ValueError: as :func:`latcast.models.evaluation.evaluate`.
        """
        scored = score(model, dataset)
        unstable = int(dataset.unstable.sum())
        weighed = weighted_metrics(scored, dataset.weights) if unstable else None
        plain = scores_of(model, dataset, scored)
        return cls(
            model_name, data, len(dataset), dataset.quantity.name, plain, unstable, weighed,
            unit_of(dataset), *scored_rows(model, dataset, scored), _trained_rows(model, dataset),
        )  # fmt: skip

    def headline(self) -> str:
        return f"{self.model} on {Path(self.data).name}"

    def answer(self) -> str:
        rows = counted(self.rows, "measurement")
        return f"{self.model} is {errors_text(self.metrics)} on {rows}."

    def figures(self) -> Iterator[Figure]:
        yield from scored_figures(self.sample, self.groups, self.metrics, self.quantity)

    def parts(self) -> Iterator[Table | str]:
        title = f"{self.model} on {Path(self.data).name}, {counted(self.rows, 'row')}"
        unit = quantity(self.quantity).unit
        yield scores_table(self.metrics, title, unit)

    def sections(self) -> Iterator[Section]:
        yield from scored_sections(self, self.groups)

    def doubts(self) -> Iterator[str]:
        if self.trained_rows is not None:
            yield (
                f"note: the model was trained on {counted(self.trained_rows, 'row')} of the "
                "same source: "
                "scores on rows that it has seen say nothing of others (sources are compared by "
                "their names, not row by row); those on rows that were kept out are on its card "
                f"(latcast models {self.model})"
            )
        if self.unit is not None:
            yield f"note: {self.unit}"
        if self.metrics_weighted is not None:
            mape, within = (self.metrics_weighted[name] for name in ("mape", "within_10"))
            yield (
                f"note: {self.unstable:,} of {self.rows:,} rows are not known to "
                f"{100 * UNSTABLE:.0f} %, and a "
                f"part of the error is theirs: weighed by their scatter, MAPE is {mape:.3g} %, and "
                f"{within:.3g} % are within 10 %"
            )


def _trained_rows(model: Predictor, data: Dataset) -> int | None:
    """Rows that a model was trained on, where they and these have one provenance."""
    own = model.card.get("data")
    is_same = bool(own) and own == dict(data.provenance)
    return int(model.card.get("rows", 0)) or None if is_same else None


def unit_of(data: Dataset) -> str | None:
    """Return a sentence on the unit that latencies seem to have; None if it can be ms."""
    # Models of accuracies are scored without the audit of latencies.
    from latcast.data.audit import unit_doubt

    doubt = unit_doubt(data)
    return None if doubt is None else f"{doubt.sentence}. {doubt.advice} if so"


_GROUP_COLUMNS = (
    Column("group", "group"),
    Column("rows", "rows"),
    Column("median error, %", "median_error", ".2f"),
    Column("within 10 %, % of rows", "within_10", ".1f"),
    Column("90 % interval covers, %", "coverage_90", ".1f"),
)


def errors_text(metrics: Scores) -> str:
    """How far off predictions are, in words, and how many their intervals hold."""
    unit_errors = [f"{v:.3g} {k.removeprefix('mae_')}" for k, v in metrics.items()
                   if k.startswith("mae_")]  # fmt: skip
    texts = [f"{metrics['mape']:.2f} % off on average"] if "mape" in metrics else []
    texts = texts or [f"{metrics['mae']:.3g} off on average"]
    if unit_errors:
        texts[0] += f" ({unit_errors[0]})"
    if "median_error" in metrics:
        texts.append(f"{metrics['median_error']:.2f} % in the median")
    if "coverage_90" in metrics:
        texts.append(f"and its 90 % intervals hold {metrics['coverage_90']:.0f} %")
    return ", ".join(texts)


def scored_sections(record: Record, groups: Sequence[GroupErrors]) -> Iterator[Section]:
    """Yield the sections of a page, with a table of the groups."""
    from latcast.report.page import sections_of

    tables = [Table(_GROUP_COLUMNS, groups, "errors by group, in numbers")] if groups else []
    for heading, parts in sections_of(record.figures(), [*record.parts(), *tables]):
        # What the page is of stands above all of it.
        rest = heading.removeprefix(record.headline())
        yield (heading if rest == heading else f"Scores{rest}"), parts


def scored_figures(
    sample: Sequence[ScoredRow],
    groups: Sequence[GroupErrors],
    metrics: Scores | None,
    of: str,
) -> Iterator[Figure]:
    """Predicted against measured, what intervals hold, and errors by group."""
    if sample:
        yield charts.parity("Predicted and measured", by_group(sample), quantity(of).unit)
    yield from charts.coverages(metrics or {})
    if len(groups) > 1:
        rows = [(f"{g.group} ({g.rows})", g.median_error) for g in groups]
        yield charts.bars("Errors by group", rows, "median absolute error, %", of="group")
