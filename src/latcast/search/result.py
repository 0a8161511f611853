"""Results of searches: arrays for Python, and a record with one row per network."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast._files import write_file
from latcast.data import ENERGY_MJ, PEAK_MEMORY_MB, quantity
from latcast.models import Predictor
from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.frame import Tabular
from latcast.report.markup import counted
from latcast.report.record import Record, Section, plain
from latcast.report.table import Column, Table
from latcast.report.text import interval_column
from latcast.spaces import Archs

from .front import Floats
from .genes import gene_shares

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure as Picture

# Of the table of a front; JSON and files hold all of it.
MAX_ROWS = 20
# Networks of a front that a figure draws.
MAX_DRAWN = 200

# A number; a list with one for each target where there are several; or nothing is known.
Numbers = float | list[float] | None


@dataclass(frozen=True, repr=False)
class Front:
    """Networks of which none is beaten in accuracy and in latency on every target by another.

    Attributes:
        archs: n networks; on one target from the fastest to the most accurate, on several from
            the most accurate to the least.
        accuracy: top-1 by the accuracy model, 0 … 1, shape (n,).
        accuracy_std: its standard deviation where the accuracy model states one, shape (n,).
        latency_ms: predicted; shape (n,) on one target, (n, targets) on several.
        counted_ms: what was held against the budgets, of the same shape: the prediction, or with
            a confidence the bound that the latency stays below.
        others: quantity -> its predictions, shape (n,), of models that were given for others.
    """

    archs: Archs
    accuracy: Floats
    accuracy_std: Floats | None
    latency_ms: Floats
    counted_ms: Floats
    others: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.archs)

    def __repr__(self) -> str:
        """How many networks there are, and the least and the most of what they have."""
        if not len(self):
            return f"<Front of no networks of {self.archs.space.name}>"
        ranges = [(100 * self.accuracy, "% top-1"), *((ms, "ms") for ms in _columns(self))]
        told = ", ".join(f"{x.min():.4g} to {x.max():.4g} {unit}" for x, unit in ranges)
        return f"<Front of {counted(len(self), 'network')} of {self.archs.space.name}: {told}>"

    def _repr_html_(self) -> str:
        """Return the notebook's view: the accuracies by the latencies, and some of the networks."""
        ms, top1 = _columns(self), 100 * self.accuracy
        macs = self.archs.space.cost_columns(self.archs)["macs"]
        names = ["ms"] if len(ms) == 1 else [f"ms on target {n}" for n in range(1, len(ms) + 1)]
        columns = [
            Column("top-1 %", top1.__getitem__, ".2f"),
            *(Column(name, each.__getitem__, ".2f") for name, each in zip(names, ms, strict=True)),
            Column("MMACs", macs.__getitem__, ".0f", 1e-6),
        ]
        rows = _apart(ms[0], MAX_ROWS) if len(self) else []
        table = Table(columns, rows, f"{len(rows)} of {counted(len(self), 'network')}")
        series = tuple(
            Series(name, each.tolist(), top1.tolist()) for name, each in zip(names, ms, strict=True)
        )
        figure = Figure("The front", Axis("latency, ms"), Axis("top-1, %"), series)
        drawn = figure.to_notebook() if len(self) > 1 else ""
        return f"<p>{escape(repr(self)[1:-1])}</p>{drawn}{table.to_html()}"


def _columns(front: Front) -> list[Floats]:
    """The latencies of a front, shape (n,) for each target."""
    return list(front.latency_ms.reshape(len(front), -1).T)


def _apart(ms: Floats, most: int) -> list[int]:
    """Rows of some networks, of many as many as ``most``, about equally far apart in ms."""
    if len(ms) <= most:
        return list(range(len(ms)))
    wanted = np.linspace(ms.min(), ms.max(), most)
    found: list[int] = np.unique(np.abs(ms[:, None] - wanted).argmin(axis=0)).tolist()
    return found


# Budgets beside the last that the first sentence has room for; of more it tells the two ends.
_BUDGETS_TOLD = 2


@dataclass(frozen=True, repr=False, kw_only=True)
class SearchResult(Tabular):
    """One network per budget, in the order of the budgets, and the whole front.

    Without budgets the networks are those of the front. Arrays of latencies have the shape (n,)
    on one target and (n, targets) on several.

    Attributes:
        archs: the networks, n of them.
        max_latency_ms: the budgets; infinite without.
        accuracy: top-1 by the accuracy model, 0 … 1, shape (n,).
        accuracy_std: its standard deviation where the accuracy model states one, shape (n,).
        latency_ms: predicted latency.
        lower_ms, upper_ms: prediction interval at :attr:`coverage`; None where a predictor is not
            calibrated.
        coverage: of the interval.
        p_within_budget: probability that the true latency of what was picked is within the
            budget, for each target by itself, cautiously
            (:class:`~latcast.search.confidence.ConfidentBound`); None as above, or without budgets.
        confidence: with which every budget is met, or None if the prediction itself counts.
        front: all networks that are not beaten, up to the largest budget.
        predictors: of the latencies, one a target.
        method: name of the method.
        is_exact: whether no network that the search may choose is better.
        stopped: why the search ended early: ``"time"``, ``"interrupted"``, or None.
        evaluations: networks that were evaluated.
        seconds: wall clock of the search.
        others: quantity -> its predictions, shape (n,), of models that were given for others.
        limits: quantity -> the most of it that a network may have.
        doubts: what may be wrong with the accuracies, a sentence each.
    """

    archs: Archs
    max_latency_ms: Floats
    accuracy: Floats
    accuracy_std: Floats | None
    latency_ms: Floats
    lower_ms: Floats | None
    upper_ms: Floats | None
    coverage: float
    p_within_budget: Floats | None
    confidence: float | None
    front: Front
    predictors: tuple[Predictor, ...]
    method: str
    is_exact: bool
    stopped: str | None
    evaluations: int
    seconds: float
    others: Mapping[str, Floats] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.archs)

    def record(
        self, names: Sequence[str] = (), seed: int = 0, notes: Sequence[str] = ()
    ) -> SearchRecord:
        """One row per network, to print, to write and for other programs.

        Args:
            names: what the user calls the predictors; their targets by default.
            seed: that the search had.
            notes: about where the predictors come from; those on their predictions are added.
        """
        names = names or [str(p.target) for p in self.predictors]
        return SearchRecord.of(self, names, seed, notes)

    def to_polars(self) -> pl.DataFrame:
        """The front, a row a network, as of :meth:`record`."""
        return self.record().to_polars()

    def to_text(self) -> str:
        """Return the text that the command line prints."""
        return self.record().to_text()

    def plot(self) -> Picture:
        """The front, drawn by matplotlib."""
        return self.record().plot()

    def _repr_html_(self) -> str:
        return self.record()._repr_html_()

    def __repr__(self) -> str:
        """How many networks, of what, on which targets."""
        targets = ", ".join(str(p.target) for p in self.predictors)
        return (
            f"SearchResult({counted(len(self), 'network')} of {self.archs.space.name} on "
            f"{targets}, "
            f"{len(self.front)} in the front, method {self.method!r})"
        )


@dataclass(frozen=True)
class FoundNetwork:
    """The most accurate network within a budget.

    Attributes:
        max_latency_ms: the budget, ms; of several targets a list.
        accuracy: top-1 by the accuracy model, 0 to 1.
        accuracy_std: its standard deviation, where the accuracy model states one.
        latency_ms: predicted, ms; of several targets a list.
        lower_ms: lower end of the prediction interval, ms; null where it is not calibrated.
        upper_ms: upper end of the interval, ms.
        coverage: of the interval, 0 to 1.
        kept_probability: P(within budget), 0 to 1, for each target by itself.
        costs: of the network: ``macs``, ``params``, ``activation_bytes``, ``blocks``.
        arch: the architecture in the field's own form.
        energy_mj: predicted energy of a pass, mJ; null without a model of it.
        peak_memory_mb: predicted peak memory, millions of bytes; null without a model of it.
    """

    max_latency_ms: Numbers
    accuracy: float
    accuracy_std: float | None
    latency_ms: Numbers
    lower_ms: Numbers
    upper_ms: Numbers
    coverage: float
    kept_probability: Numbers
    costs: Mapping[str, int]
    arch: Any
    energy_mj: float | None = None
    peak_memory_mb: float | None = None


@dataclass(frozen=True)
class FrontNetwork:
    """A network that no other beats in accuracy and in latency.

    Attributes:
        accuracy: top-1 by the accuracy model, 0 to 1.
        accuracy_std: its standard deviation, where the accuracy model states one.
        latency_ms: predicted, ms; of several targets a list.
        counted_ms: what was held against the budgets: the prediction, or with a confidence the
            bound that the latency stays below.
        lower_ms: lower end of the prediction interval, ms; null where it is not calibrated.
        upper_ms: upper end of the interval, ms.
        costs: of the network: ``macs``, ``params``, ``activation_bytes``, ``blocks``.
        arch: the architecture in the field's own form.
        energy_mj: predicted energy of a pass, mJ; null without a model of it.
        peak_memory_mb: predicted peak memory, millions of bytes; null without a model of it.
    """

    accuracy: float
    accuracy_std: float | None
    latency_ms: Numbers
    counted_ms: Numbers
    lower_ms: Numbers
    upper_ms: Numbers
    costs: Mapping[str, int]
    arch: Any
    energy_mj: float | None = None
    peak_memory_mb: float | None = None


@dataclass(frozen=True, repr=False)
class SearchRecord(Record):
    """A search: one network per budget, and the front that they lie on.

    Attributes:
        device: as it was asked for; of several a list.
        target: that the latencies belong to; of several a list.
        space: search space.
        method: of the search.
        exact: whether no network that it may choose is better.
        stopped: why it ended early: ``time`` or ``interrupted``; or null.
        confidence: with which budgets are kept, 0 to 1; null if the prediction itself counts.
        coverage: of the intervals, 0 to 1.
        seed: of everything chance decides.
        evaluations: networks that were evaluated.
        seconds: wall clock of the search.
        found: one network per budget, in their order; empty without budgets.
        front: all networks that are not beaten, up to the largest budget.
        notes: sentences about where the predictions come from, and what may be wrong with them.
        limits: quantity -> the most of it that a network may have, in its unit.
    """

    schema = "search"
    frame = "front"

    device: str | list[str]
    target: str | list[str]
    space: str
    method: str
    exact: bool
    stopped: str | None
    confidence: float | None
    coverage: float
    seed: int
    evaluations: int
    seconds: float
    found: tuple[FoundNetwork, ...]
    front: tuple[FrontNetwork, ...]
    notes: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, result: SearchResult, names: Sequence[str], seed: int, notes: Sequence[str] = ()
    ) -> SearchRecord:
        """The record of a result; ``names`` are what the user calls the predictors."""
        targets = [str(p.target) for p in result.predictors]
        doubts = [x for p in result.predictors for x in p.doubts(result.archs)]
        has_budgets = bool(np.isfinite(result.max_latency_ms).all())
        return cls(
            device=_one(list(names)),
            target=_one(targets),
            space=result.archs.space.name,
            method=result.method,
            exact=result.is_exact,
            stopped=result.stopped,
            confidence=result.confidence,
            coverage=result.coverage,
            seed=seed,
            evaluations=result.evaluations,
            seconds=result.seconds,
            found=tuple(_found(result)) if has_budgets else (),
            front=tuple(_front(result)),
            notes=tuple(dict.fromkeys((*notes, *result.doubts, *doubts))),
            limits=dict(result.limits),
        )

    def headline(self) -> str:
        devices = ", ".join(_all(self.device))
        return f"The most accurate networks of {self.space} on {devices}"

    def answer(self) -> str:
        if not self.front:
            return ""
        if not self.found:
            fast, slow = self.front[0], self.front[-1]
            return (
                f"{len(self.front)} networks are not beaten: from {100 * fast.accuracy:.2f} % in "
                f"{_ms(fast)} to {100 * slow.accuracy:.2f} % in {_ms(slow)}."
            )
        *others, last = self.found
        text = (
            f"Within {_budget(last)} the most accurate network has {100 * last.accuracy:.2f} % "
            f"top-1 and takes {_ms(last)}"
        )
        if len(others) > _BUDGETS_TOLD:
            others = others[:1]
        for other in reversed(others):
            text += f"; within {_budget(other)}, {100 * other.accuracy:.2f} % and {_ms(other)}"
        kept = [x for n in self.found for x in _all(n.kept_probability) if x is not None]
        sure = f"; P(within budget) is at least {int(100 * min(kept))} %" if kept else ""
        return f"{text}{sure}."

    def figures(self) -> Iterator[Figure]:
        for n, device in enumerate(_all(self.device)):
            yield self._front_on(n, device)
        yield from gene_shares([x.arch for x in self.found or self.front])

    def _front_on(self, n: int, device: str) -> Figure:
        """Accuracy by latency on the n-th device, with the networks of the budgets."""

        def series(name: str, rows: Sequence[Any]) -> Series:
            ms = [float(_nth(x.latency_ms, n) or 0) for x in rows]
            lower, upper = ([_nth(getattr(x, end), n) for x in rows]
                            for end in ("lower_ms", "upper_ms"))  # fmt: skip
            labels = [
                f"{100 * x.accuracy:.2f} % top-1\n{charts.interval_note(v, low, high)}\n"
                f"{x.costs['macs'] / 1e6:.0f} M MACs"
                for x, v, low, high in zip(rows, ms, lower, upper, strict=True)
            ]
            top1 = [100 * x.accuracy for x in rows]
            return Series(name, ms, top1, "points", lower, upper, labels, along="x")

        every = -(-len(self.front) // MAX_DRAWN) or 1
        drawn = [series("front", self.front[::every])]
        budgets = {float(b) for x in self.found if (b := _nth(x.max_latency_ms, n)) is not None}
        if self.found:
            drawn.append(series("for a budget", self.found))
        guides = tuple(Guide(f"{b:g} ms", x=b) for b in sorted(budgets))
        return Figure(
            f"The front on {device}", Axis("latency, ms"), Axis("top-1, %"), tuple(drawn), guides,
            f"Bars are {100 * self.coverage:g} % intervals of the latency; dashed lines are "
            "budgets." if budgets else f"Bars are {100 * self.coverage:g} % intervals.",
        )  # fmt: skip

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        tables = [self._table(self.front, f"the front of {self.space}")]
        yield from sections_of(self.figures(), [*self.parts(), *(tables if self.found else ())])

    def parts(self) -> Iterator[Table | str]:
        devices = " / ".join(
            f"{name} ({target})"
            for name, target in zip(_all(self.device), _all(self.target), strict=True)
        )
        if self.found:
            yield self._table(self.found, f"most accurate of {self.space} on {devices}")
            return
        shown = self._shown()
        some = "" if len(shown) == len(self.front) else f"{len(shown)} of the {len(self.front)} "
        some += "networks of " if some else ""
        asked = [(quantity(name), most) for name, most in self.limits.items()]
        kept = " and ".join(f"{of.label} of {of.text(most)}" for of, most in asked)
        within = f", within {kept}" if kept else ""
        yield self._table(shown, f"{some}the front of {self.space} on {devices}{within}")
        if kept and self.front:
            best = max(self.front, key=lambda network: network.accuracy)
            ms = " / ".join(f"{value:.4g}" for value in _all(best.latency_ms))
            yield f"most accurate within {kept}: {_accuracy(best)} % in {ms} ms"

    def _shown(self) -> Sequence[FrontNetwork]:
        """Return the networks to show: of a long front some at about equal distances in ms."""
        if len(self.front) <= MAX_ROWS:
            return self.front
        ms = np.array([_all(network.latency_ms)[0] for network in self.front])
        return [self.front[n] for n in _apart(ms, MAX_ROWS)]

    def _table(self, rows: Sequence[FoundNetwork | FrontNetwork], title: str) -> Table:
        has_depths = all(isinstance(r.arch, dict) and {"r", "d"} <= set(r.arch) for r in rows)
        columns = [
            Column("top-1 %", _accuracy, detail=0),
            Column("ms", "latency_ms", ".2f", detail=0),
        ]
        if not isinstance(self.device, list):  # of several targets a table would be too wide
            columns.append(interval_column(self.coverage, ".2f"))
        columns += [
            Column(of.unit, of.name, of.format)
            for of in (ENERGY_MJ, PEAK_MEMORY_MB)
            if any(getattr(row, of.name) is not None for row in rows)
        ]
        if self.found:
            columns.insert(0, Column("budget ms", "max_latency_ms", "g"))
            columns.append(Column("P(within budget) %", "kept_probability", ".0f", 100))
        if has_depths:
            columns.append(Column("resolution", lambda row: row.arch["r"][0]))
            columns.append(Column("depths", lambda row: "-".join(map(str, row.arch["d"]))))
        else:
            columns.append(Column("architecture", lambda row: _form(row.arch)))
        return Table([*columns, Column("MMACs", "costs.macs", ".0f", 1e-6)], rows, title)

    def doubts(self) -> Iterator[str]:
        if self.stopped is not None:
            why = "interrupted" if self.stopped == "interrupted" else "out of time"
            yield f"{why}: the best found so far"
        yield from super().doubts()

    def summary(self) -> str:
        """How much was searched, in a line."""
        ending = (
            " (all there are: the result is exact)"
            if self.exact
            else f": the best found, by the method {self.method} with seed {self.seed}"
        )
        return (
            f"{counted(self.evaluations, 'network')} evaluated in {self.seconds:.1f} s{ending}; "
            f"{len(self.front)} in the front"
        )

    def write_front(self, path: Path) -> None:
        """Write the front as JSON (a list of its networks) or as CSV, one row per network."""
        rows = plain(self.front)
        text = json.dumps(rows) + "\n" if path.suffix == ".json" else self._csv(rows)
        write_file(path, text)

    def _csv(self, rows: Sequence[Mapping[str, Any]]) -> str:
        numbers = ("latency_ms", "counted_ms")
        names = _all(self.device)
        heads = [n if len(names) == 1 else f"{n} {name}" for n in numbers for name in names]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["accuracy", *heads, *rows[0]["costs"], "arch"])
        for row in rows:
            ms = [value for name in numbers for value in _all(row[name])]
            arch = json.dumps(row["arch"])
            writer.writerow([row["accuracy"], *ms, *row["costs"].values(), arch])
        return text.getvalue()


def _nth(value: Any, n: int) -> Any:
    """Return the n-th target's item of a list; a single value itself."""
    return value[n] if isinstance(value, list) else value


def _ms(row: Any) -> str:
    """A network's latency in words, of several targets one after the other."""
    ms, lower, upper = (_all(x) for x in (row.latency_ms, row.lower_ms, row.upper_ms))
    if len(lower) != len(ms):
        lower = upper = [None] * len(ms)
    return " / ".join(charts.interval_note(*each) for each in zip(ms, lower, upper, strict=True))


def _budget(row: FoundNetwork) -> str:
    return " / ".join(f"{x:g} ms" for x in _all(row.max_latency_ms))


def _found(result: SearchResult) -> Iterator[FoundNetwork]:
    for n, (costs, arch) in enumerate(_described(result.archs)):
        yield FoundNetwork(
            _at(result.max_latency_ms, n), float(result.accuracy[n]), _at(result.accuracy_std, n),
            _at(result.latency_ms, n), _at(result.lower_ms, n), _at(result.upper_ms, n),
            result.coverage, _at(result.p_within_budget, n), costs, arch,
            *_others(result.others, n),
        )  # fmt: skip


def _front(result: SearchResult) -> Iterator[FrontNetwork]:
    front = result.front
    lower, upper = intervals_of(result.predictors, front.archs, result.coverage)
    for n, (costs, arch) in enumerate(_described(front.archs)):
        yield FrontNetwork(
            float(front.accuracy[n]), _at(front.accuracy_std, n), _at(front.latency_ms, n),
            _at(front.counted_ms, n), _at(lower, n), _at(upper, n), costs, arch,
            *_others(front.others, n),
        )  # fmt: skip


def _others(values: Mapping[str, Floats], n: int) -> tuple[float | None, float | None]:
    """Energy and peak memory of the n-th network."""
    return _at(values.get(ENERGY_MJ.name), n), _at(values.get(PEAK_MEMORY_MB.name), n)


def intervals_of(
    predictors: Sequence[Predictor], archs: Archs, coverage: float
) -> tuple[Floats | None, Floats | None]:
    """Prediction intervals on every target; None where a predictor is not calibrated for them."""
    if not all(p.covers(coverage) for p in predictors):
        return None, None
    intervals = [p.predict_interval(archs, coverage) for p in predictors]
    return by_target([i[0] for i in intervals]), by_target([i[1] for i in intervals])


def _described(archs: Archs) -> Iterator[tuple[dict[str, int], Any]]:
    """Costs and the field's own form of every architecture."""
    columns = archs.space.cost_columns(archs)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    costs = [dict(zip(columns, row, strict=True)) for row in rows]
    return zip(costs, archs.to_dicts(), strict=True)


def _at(values: Floats | None, n: int) -> Any:
    return None if values is None else values[n].tolist()


def _one(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _all(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _accuracy(row: FoundNetwork | FrontNetwork) -> str:
    std = row.accuracy_std
    return f"{100 * row.accuracy:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def _form(arch: Mapping[str, Any]) -> str:
    """The first of the forms that a dict of an architecture has."""
    form = next(iter(arch.values()))
    return form if isinstance(form, str) else " ".join(map(str, form))


def by_target(columns: Sequence[Floats]) -> Floats:
    """One array of every target's (n,): itself if there is one, (n, targets) of several."""
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
