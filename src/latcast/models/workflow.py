"""Training and adapting of models: each in one call that returns a record of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from latcast.data import LATENCY_MS, UNSTABLE, Dataset, quantity
from latcast.data.audit import measured_rows
from latcast.devices import devices, target_facts
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.markup import counted
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table
from latcast.report.text import families_table, scores_table

from . import KINDS, BaseModel, Kernels, Predictor, training
from . import predictor as create
from .evaluation import (
    GroupErrors,
    ScoredRow,
    Scores,
    errors_text,
    score,
    scored_figures,
    scored_rows,
    scored_sections,
    scores_of,
    unit_of,
)

M = TypeVar("M", bound="Made")
Known = Predictor | BaseModel
Progress = Callable[[int, int], None]

# Kinds of networks of any kind, and of many targets.
LAYERS, BASE = Kernels.kind, "base"


class AdaptingError(ValueError):
    """The options of :func:`adapt_and_score` make no sense for this model or this dataset."""


class Made(Record):
    """A record of how a model was made, which has the model at hand where it was made here."""

    _model: ClassVar[Any] = None

    def of_model(self: M, model: Any) -> M:
        """The record, which holds its model from now on."""
        object.__setattr__(self, "_model", model)
        return self

    @property
    def fitted_model(self) -> Any:
        """The predictor, or base model, that was made.

        Raises:
            ValueError: the record was read from a file, and holds no model.
        """
        if self._model is None:
            raise ValueError("a record that was read has no model: load its file (latcast.load)")
        return self._model


# --- training ---------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Training(Made):
    """A predictor of one target, fitted and scored.

    Attributes:
        model: file that it is written to, or null.
        predictor: its kind.
        target: that it is for.
        quantity: that it predicts, such as ``latency_ms``.
        space: of the architectures that it knows; null for networks of any kind.
        families: of the networks that it was fitted to; null for a space.
        split: how rows were divided into those to fit, to calibrate and to test.
        metrics: scores on the test part, as of ``evaluation``.
        metrics_by_family: name of a family -> scores by a model that had not seen it, and of all
            together; null where this is not asked for, empty with fewer than three families.
        data_issues: what the audit found in the data.
        is_calibrated: whether it states 90 % intervals.
        unstable: how rows that are not known to 3 % were used, a sentence; null without any.
    """

    schema = "training"
    no_figure = "it has neither intervals nor families of networks"

    model: str | None
    predictor: str
    target: str
    quantity: str
    space: str | None
    families: list[str] | None
    split: str
    metrics: Scores
    metrics_by_family: Mapping[str, Scores] | None
    data_issues: list[str]
    is_calibrated: bool
    unstable: str | None

    def headline(self) -> str:
        return f"{self.predictor} for {self.target}"

    def answer(self) -> str:
        return f"On rows that it has not seen the model is {errors_text(self.metrics)}."

    def figures(self) -> Iterator[Figure]:
        yield from charts.coverages(self.metrics)
        yield from charts.family_errors(self.metrics_by_family)

    def parts(self) -> Iterator[Table | str]:
        title = f"{self.predictor} for {self.target}, split {self.split}; on the test part:"
        yield scores_table(self.metrics, title, quantity(self.quantity).unit)
        if self.metrics_by_family:
            yield families_table(self.metrics_by_family)

    def sections(self) -> Iterator[Section]:
        yield from scored_sections(self, ())

    def doubts(self) -> Iterator[str]:
        for issue in self.data_issues:
            yield f"note: the audit found {issue}"
        if self.unstable is not None:
            yield f"note: {self.unstable}"
        if not self.is_calibrated:
            yield (
                "note: too few rows to calibrate 90 % intervals, which --confidence needs too; "
                "latcast adapt of another target's model makes do with ten"
            )
        if self.metrics_by_family == {}:
            yield "note: there are fewer than three families; none is left out"


@dataclass(frozen=True)
class TrainedTarget:
    """A target of a base model, scored.

    Attributes:
        target: of the dataset.
        left_out: rows that are impossible or copied, and were not used.
        mae: mean absolute error on the test part, in the unit of the quantity.
        rmse: root mean square error on the test part, in the unit of the quantity.
        mae_ms: ``mae``, ms; null of another quantity than latency.
        rmse_ms: ``rmse``, ms; null of another quantity than latency.
        mape: mean absolute error, %.
        within_5: predictions at most 5 % off, %.
        within_10: predictions at most 10 % off, %.
        spearman: Spearman rank correlation.
        kendall: Kendall rank correlation (tau-b).
        unit: what unit the latencies seem to be in, a sentence; null if they can be milliseconds.
    """

    target: str
    left_out: int
    mae: float
    rmse: float
    mae_ms: float | None
    rmse_ms: float | None
    mape: float
    within_5: float
    within_10: float
    spearman: float
    kendall: float
    unit: str | None = None


@dataclass(frozen=True, repr=False)
class BaseTraining(Made):
    """A base model of many targets, fitted and scored.

    Attributes:
        model: file that it is written to, or null.
        quantity: that it predicts, such as ``latency_ms``.
        space: of the architectures.
        targets: with the scores on the test part of each.
    """

    schema = "base-training"
    frame: ClassVar[str | None] = "targets"

    model: str | None
    quantity: str
    space: str
    targets: tuple[TrainedTarget, ...]

    def answer(self) -> str:
        worst = max(self.targets, key=lambda t: t.mape)
        mapes = sorted(t.mape for t in self.targets)
        return (
            f"On {len(self.targets)} targets predictions are {mapes[len(mapes) // 2]:.2f} % off "
            f"in the median, and {worst.mape:.2f} % on the worst, {worst.target}."
        )

    def figures(self) -> Iterator[Figure]:
        rows = sorted(((t.target, t.mape) for t in self.targets), key=lambda row: -row[1])
        yield charts.bars("Errors by target", rows, "mean absolute error, %", of="target")

    def parts(self) -> Iterator[Table | str]:
        columns = (
            Column("target", "target"),
            Column("MAPE %", "mape", ".2f"),
            Column("within 10 %", "within_10", ".1f"),
            Column("Spearman", "spearman", ".4f"),
        )
        title = f"base model of {len(self.targets)} targets for {self.space}; on the test parts:"
        yield Table(columns, self.targets, title)

    def doubts(self) -> Iterator[str]:
        for t in self.targets:
            if t.unit is not None:
                yield f"note: {t.target}: {t.unit}"
            if t.left_out:
                what = f"{counted(t.left_out, 'row')} {'is' if t.left_out == 1 else 'are'}"
                yield f"note: {t.target}: {what} impossible or copied, and left out"


def check_kind(kind: str) -> None:
    """Make sure that there is such a kind of model.

    Raises:
        ValueError: there is none; the message suggests the nearest.
    """
    if kind != BASE:
        KINDS.get(kind)


def train(
    datasets: Sequence[Dataset],
    kind: str,
    *,
    test: float = 0.15,
    seed: int = 0,
    families: bool = True,
    out: Path | None = None,
    progress: Progress = lambda _done, _total: None,
) -> tuple[Known, Training | BaseTraining]:
    """Fit a model and score it on rows that it has not seen.

    Args:
        datasets: one of a space's architectures; for :data:`LAYERS` several of one target, for
            :data:`BASE` one a target.
        kind: of :data:`latcast.models.KINDS`, or :data:`BASE`.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the split and of the fit.
        families: of :data:`LAYERS`, whether to score on one family after the other, left out.
        out: what the record calls the model's file; it is not written.
        progress: called with the number of fits done and of all.

    Raises:
        ValueError: a latency is not finite and positive, there are too few architectures, or the
            datasets do not fit together.
    """
    name = None if out is None else str(out)
    if kind == BASE:
        return _train_base(datasets, name, test, seed, progress)
    model = create(kind)
    families = families and kind == LAYERS
    training.fit_and_score(
        model, *datasets, test=test, seed=seed, families=families, progress=progress
    )
    card, space = model.card, model.fitted.space
    return model, Training(
        name,
        kind,
        str(model.target),
        model.fitted.quantity.name,
        None if space is None else datasets[0].archs.space.name,
        card.get("families"),
        card["split"],
        card["metrics"],
        card.get("metrics_by_family", {} if families else None),
        card["data_issues"],
        model.covers(0.9),
        _unstable(model, *datasets),
    )


def _unstable(model: Predictor, *datasets: Dataset) -> str | None:
    """How a model used the rows that are not known to 3 %; None without any."""
    count = sum(int(data.unstable.sum()) for data in datasets)
    if not count:
        return None
    named = "; ".join(data.row_names(data.unstable) for data in datasets if data.unstable.any())
    used = (
        "weighed by their scatter"
        if model.weighs_rows
        else (f"used as they are, since a model of the kind {model.kind} weighs all rows alike")
    )
    return (
        f"{count} of {sum(map(len, datasets))} rows are not known to {100 * UNSTABLE:.0f} % "
        f"({named}); "
        f"they are {used}"
    )


def _train_base(
    datasets: Sequence[Dataset],
    name: str | None,
    test: float,
    seed: int,
    progress: Progress,
) -> tuple[BaseModel, BaseTraining]:
    model, scores = training.fit_base(datasets, test=test, seed=seed, progress=progress)
    left_out = model.card["left_out"]
    of = model.quantity
    rows = []
    for target in model.targets:
        own: dict[str, Any] = dict(scores[target])
        mae, rmse = own.pop(of.column("mae")), own.pop(of.column("rmse"))
        in_ms = (mae, rmse) if of == LATENCY_MS else (None, None)
        own["unit"] = next(unit_of(data.valid()) for data in datasets if data.target == target)
        left = left_out[str(target)]
        rows.append(TrainedTarget(str(target), left, mae, rmse, *in_ms, **own))
    return model, BaseTraining(name, of.name, model.space.name, tuple(rows))


# --- adapting ---------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Adaptation(Made):
    """A model that was made for a new target from a known one and a few measurements.

    Attributes:
        model: file that it is written to, or null.
        base: name or file of the known model.
        method: ``bayes`` or ``last-layer``.
        target: of the measurements.
        quantity: that was measured, such as ``latency_ms``.
        space: of the architectures that it knows; null for networks of any kind.
        samples: rows that it was adapted to.
        scored: rows of other networks that it was scored on.
        metrics: scores on those, as of ``evaluation``; null where there are none.
        left_out: scores of each measurement, predicted from the others; null where not known.
        skipped: rows that were left out, since their value is copied from another row.
        unstable: how rows that are not known to 3 % were used, a sentence; null without any.
        unit: what unit the latencies seem to be in, a sentence; null if they can be milliseconds.
        sample: as of ``evaluation``, of the rows that it was scored on.
        groups: likewise.
        machine: where the rows are of another machine than the known model, a sentence; or null.
    """

    schema = "adaptation"
    no_figure = "it was scored on no other networks"

    model: str | None
    base: str
    method: str
    target: str
    quantity: str
    space: str | None
    samples: int
    scored: int
    metrics: Scores | None
    left_out: Scores | None
    skipped: int
    unstable: str | None
    unit: str | None
    sample: tuple[ScoredRow, ...] = ()
    groups: tuple[GroupErrors, ...] = ()
    machine: str | None = None

    def headline(self) -> str:
        return f"{self.base} adapted to {self.target}"

    def answer(self) -> str:
        if self.metrics is not None:
            told = f"{errors_text(self.metrics)} on {counted(self.scored, 'other')}"
        elif self.left_out is not None:
            told = f"{errors_text(self.left_out)} on each of them, predicted from the others"
        else:
            return ""
        return f"With {self._measurements} the model is {told}."

    @property
    def _measurements(self) -> str:
        return counted(self.samples, "measurement")

    def figures(self) -> Iterator[Figure]:
        yield from scored_figures(self.sample, self.groups, self.metrics, self.quantity)

    def parts(self) -> Iterator[Table | str]:
        title = f"{self.base} adapted to {self.target} with {self._measurements}"
        if self.metrics is not None:
            unit = quantity(self.quantity).unit
            yield scores_table(
                self.metrics, f"{title}; on the {counted(self.scored, 'other')}:", unit
            )
        elif self.left_out is None:
            yield title
        else:
            yield (
                f"{title}; each of them predicted from the others: {self.left_out['mape']:.2f} % "
                "off on average"
            )

    def sections(self) -> Iterator[Section]:
        yield from scored_sections(self, self.groups)

    def doubts(self) -> Iterator[str]:
        if self.machine is not None:
            yield f"note: {self.machine}"
        if self.skipped:
            label = quantity(self.quantity).label
            yield f"note: {counted(self.skipped, 'row')} with a copied {label} left out"
        if self.unit is not None:
            yield f"note: {self.unit}"
        if self.unstable is not None:
            yield f"note: {self.unstable}"


def adapt_and_score(
    known: Known,
    data: Dataset,
    *,
    samples: int | None = None,
    method: str = "bayes",
    seed: int = 0,
    base: str = "",
    out: Path | None = None,
) -> tuple[Predictor, Adaptation]:
    """Adapt a model to measurements, and score it on those of other networks.

    Args:
        known: a model of another target, or of many.
        data: measurements of the new target.
        samples: adapt to so many networks, chosen at random, a row each, and score on all others;
            by default adapt to all rows.
        method: ``bayes``, or ``last-layer`` (the OFANAS paper's fine-tuning).
        seed: of the choice, and of the fit.
        base: what the record calls ``known``.
        out: what the record calls the model's file; it is not written.

    Raises:
        AdaptingError: more samples than networks, or a method or dataset that is not for the model.
        ValueError: a latency is not finite and positive.
    """
    few, rest, skipped = _choose(data, samples, seed)
    adapted = _adapt(known, few, method, seed)
    card = adapted.fitted.card
    rows: tuple[Any, ...] = ((), ())
    if len(rest):
        scored = score(adapted, rest)
        card["metrics"] = scores_of(adapted, rest, scored)
        rows = scored_rows(adapted, rest, scored)
        card["split"] = (
            f"by {few.subject} at random, seed {seed}: {counted(len(few), 'row')} to adapt to, "
            f"{len(rest)} to test"
        )
    return adapted, Adaptation(
        model=None if out is None else str(out),
        base=base,
        method=method,
        target=str(adapted.target),
        quantity=adapted.fitted.quantity.name,
        space=None if adapted.fitted.space is None else adapted.space.name,
        samples=len(few),
        scored=len(rest),
        metrics=card["metrics"] if len(rest) else None,
        left_out=card.get("left_out"),
        skipped=skipped,
        unstable=_unstable(adapted, few),
        unit=unit_of(few),
        sample=rows[0],
        groups=rows[1],
        machine=_of_another_machine(known, few),
    )


def _of_another_machine(known: Known, data: Dataset) -> str | None:
    """Return a sentence where measurements are not of the known model's machine; else None.

    The kernel that a campaign states tells an x86 host that was called after an Arm board.
    """
    if not isinstance(known, Predictor) or known.fitted.target is None:
        return None
    of, own = data.target.device, known.target.device
    if of != own:
        return f"the rows are of {of}; the model is of {own}: what comes out is of {of}"
    device = devices().get(own)
    stated = str(data.provenance.get("machine kernel", "")).split()
    if device is None or device.kind not in ("cpu", "phone") or not stated:
        return None
    is_x86 = target_facts(device).get("isa_x86")
    if is_x86 is None or bool(is_x86) == (stated[-1] in ("x86_64", "AMD64", "i686")):
        return None
    return (
        f"the rows were measured on a machine of {stated[-1]}, which {own} is not: what comes out "
        "is of that machine"
    )


def _choose(data: Dataset, samples: int | None, seed: int) -> tuple[Dataset, Dataset, int]:
    """One row each of some networks, all rows of the others, and how many rows were left out."""
    if samples is None:
        return data, data[:0], 0
    data.check_values()
    measured = measured_rows(data)
    groups = measured.unique_index()
    _, first = np.unique(groups, return_index=True)
    if samples > len(first):
        raise AdaptingError(
            f"--samples must be at most {len(first)}, as many as there are networks; got {samples}"
        )
    chosen = np.sort(np.random.default_rng(seed).choice(first, samples, replace=False))
    others = ~np.isin(groups, groups[chosen])
    return measured[chosen], measured[others], len(data) - len(measured)


def _adapt(known: Known, few: Dataset, method: str, seed: int) -> Predictor:
    of_any = isinstance(known, Predictor) and known.is_of_any_network
    if (of_any or isinstance(known, BaseModel)) and method != "bayes":
        what = "layer model" if of_any else "base model of many targets"
        raise AdaptingError(f"a {what} adapts by the method bayes; got {method}")
    if few.space is None and not of_any:
        raise AdaptingError(
            f"a model of {known.space.name} cannot adapt to networks of other kinds; give a layer "
            "model"
        )
    return known.adapt(few, method=method, seed=seed)
