"""Latency budgets of models, kept in a file beside them and checked in continuous integration."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from latcast._files import read_input
from latcast._limits import MAX_CATALOGUE_BYTES
from latcast._names import short_list, short_repr, unknown_name
from latcast.graph.read import ReadOptions, is_named, read_with
from latcast.models.quantized_network import as_asked, in_own_precision
from latcast.models.resolve import Resolved, TargetQuery, resolve
from latcast.models.zoo import SUFFIX
from latcast.report import charts
from latcast.report.figure import Figure, Guide
from latcast.report.formats import pieces
from latcast.report.markup import counted, printable
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table
from latcast.report.text import interval_column, ms_column, ms_text

from .which import DeviceAnswer, answer_of
from .within_budget import CHANCES, GraphKernels, check_budget


class BudgetFileError(ValueError):
    """A file of budgets says something that makes no sense."""


@dataclass(frozen=True)
class CheckedBudget:
    """A budget of a model on one target, or why it cannot be checked.

    Attributes:
        name: of the budget; that of the model's file by default.
        model: as the file of budgets names it.
        device: as the file of budgets names it.
        max_latency_ms: the budget, ms for a whole batch.
        at_least: the chance that is enough.
        is_met: whether the chance is at least that.
        target: the target that the latency is of.
        chance: ``certain``, ``likely``, ``unlikely`` or ``no``, which it also is where the memory
            is too small.
        probability: that the latency is within the budget, 0 to 1.
        latency_ms: predicted, ms for a whole batch.
        lower_ms: lower end of the prediction interval, ms.
        upper_ms: upper end of the interval, ms.
        basis: ``measurements``, or ``specification`` where nothing was measured on the device.
        error: why there is no answer; null where there is one.
    """

    name: str
    model: str
    device: str
    max_latency_ms: float
    at_least: str
    is_met: bool = False
    target: str | None = None
    chance: str | None = None
    probability: float | None = None
    latency_ms: float | None = None
    lower_ms: float | None = None
    upper_ms: float | None = None
    basis: str | None = None
    error: str | None = None

    def share(self, ms: float | None) -> float | None:
        """Milliseconds in percent of the budget."""
        return None if ms is None else 100 * ms / self.max_latency_ms

    @property
    def told(self) -> str:
        """Why it is met or not, as a sentence."""
        if self.error is not None:
            return self.error
        return (
            f"{ms_text(self.latency_ms)} ms ({ms_text(self.lower_ms)} to {ms_text(self.upper_ms)}) "
            f"on {self.target}: within {self.max_latency_ms:g} ms with a probability of "
            f"{100 * (self.probability or 0):.0f} % ({self.chance}; {self.at_least} is asked for)"
        )


def _share_note(value: float | None, lower: float | None, upper: float | None) -> str:
    """A latency with its interval in percent of the budget, in words."""
    reach = "" if lower is None or upper is None else f" ({lower:.0f} – {upper:.0f})"
    return f"{value or 0:.0f} %{reach}"


@dataclass(frozen=True, repr=False)
class BudgetCheck(Record):
    """Whether models keep their latency budgets.

    Attributes:
        file: of the budgets.
        is_met: whether all are met.
        coverage: of the intervals, 0 to 1.
        budgets: an entry for every budget, device and model of it, in the order of the file.
        notes: doubts about the answers, a sentence each.
    """

    schema = "budget-check"
    frame = "budgets"
    no_figure = "no budget could be checked"

    file: str
    is_met: bool
    coverage: float
    budgets: tuple[CheckedBudget, ...]
    notes: tuple[str, ...] = ()

    def answer(self) -> str:
        return f"{self._told()}."

    def _told(self) -> str:
        met = sum(b.is_met for b in self.budgets)
        words = "latency budget is met", "latency budgets are met"
        return f"{met} of {counted(len(self.budgets), *words)}"

    def figures(self) -> Iterator[Figure]:
        """The latencies beside their budgets, all of which are 100 %."""
        rows = [
            (f"{b.name} on {b.target}", b.share(b.latency_ms), b.share(b.lower_ms),
             b.share(b.upper_ms))
            for b in self.budgets if b.error is None
        ]  # fmt: skip
        if rows:
            yield charts.intervals(
                "Latencies and budgets", rows, of="model", label="latency, % of the budget",
                guide=Guide("budget", x=100.0), note=_share_note,
                caption=f"Points are forecasts, bars {100 * self.coverage:g} % intervals.",
            )  # fmt: skip

    @property
    def errors(self) -> list[str]:
        """The errors of budgets that cannot be checked."""
        return [f"{b.name} on {b.device}: {b.error}" for b in self.budgets if b.error is not None]

    def sections(self) -> Iterator[Section]:
        for figure in self.figures():
            yield figure.title, [figure]
        yield "the budgets", [self._in_words(), *self.errors]

    def parts(self) -> Iterator[Table | str]:
        yield self._in_words()
        yield self._told()

    def _in_words(self) -> Table:
        return self._table(lambda b: "yes" if b.is_met else "NO")

    def _table(self, mark: Callable[[CheckedBudget], str]) -> Table:
        columns = (
            Column("met", mark),
            Column("model", "name"),
            Column("target", lambda b: b.target or b.device),
            Column("budget ms", "max_latency_ms", "g"),
            ms_column("ms", "latency_ms"),
            interval_column(self.coverage),
            Column("P(within) %", "probability", ".0f", 100),
            Column("at least", "at_least"),
        )
        return Table(columns, self.budgets)

    def to_markdown(self) -> str:
        """A summary in GitHub's Markdown, as ``$GITHUB_STEP_SUMMARY`` takes it."""
        table = self._table(lambda b: "✅" if b.is_met else "❌")
        heading = f"### {'✅' if self.is_met else '❌'} {self._told()}\n\n"
        return heading + "".join(pieces([table, *self.errors, *self.doubts()], "md")) + "\n"

    def to_junit(self) -> str:
        """A test suite in JUnit's XML: a case for every budget, which fails where it is not met."""
        counts = {
            "tests": str(len(self.budgets)),
            "failures": str(sum(not b.is_met and b.error is None for b in self.budgets)),
            "errors": str(len(self.errors)),
        }
        suites = ElementTree.Element("testsuites", counts)
        name = printable(Path(self.file).name)
        suite = ElementTree.SubElement(suites, "testsuite", {"name": name, **counts})
        for budget in self.budgets:
            case = f"{budget.target or budget.device} within {budget.max_latency_ms:g} ms"
            told = {"name": printable(case), "classname": printable(budget.name)}
            element = ElementTree.SubElement(suite, "testcase", told)
            text = printable(budget.told)
            if budget.is_met:
                ElementTree.SubElement(element, "system-out").text = text
            else:
                kind = "failure" if budget.error is None else "error"
                ElementTree.SubElement(element, kind, {"message": text, "type": "budget"})
        ElementTree.indent(suites)
        return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


# --- the file ---------------------------------------------------------------------------------

_TEXT, _COUNT, _TEXTS = (str,), (int,), (str, list)
# Settings of a budget, which stand above all budgets where they are the same for all.
_COMMON: Mapping[str, tuple[type, ...]] = {
    "device": _TEXTS, "runtime": _TEXT, "precision": _TEXT, "batch": _COUNT, "threads": _COUNT,
    "at_least": _TEXT, "model": _TEXT, "max_latency_ms": (int, float), "shapes": (dict,),
    "batch_axis": _COUNT, "trip_count": _COUNT,
}  # fmt: skip
_OWN: Mapping[str, tuple[type, ...]] = {"name": _TEXT}
_FILE: Mapping[str, tuple[type, ...]] = {**_COMMON, "coverage": (float,), "budget": (list,)}


def _read(path: Path) -> tuple[float, list[dict[str, Any]]]:
    """Coverage of the intervals, and the settings of every budget.

    Raises:
        BudgetFileError: it is no TOML, or a setting is missing, unknown or of another type.
        FileNotFoundError: there is no such file.
    """
    name, content = read_input(path, MAX_CATALOGUE_BYTES)
    try:
        tables = tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BudgetFileError(f"{name} must be TOML: {error}") from error
    _check_settings(name, tables, _FILE)
    rows = tables.get("budget")
    if not rows:
        raise BudgetFileError(
            f"{name} must hold [[budget]] tables, each with model = … and max_latency_ms = …; "
            f"it holds {short_list(tables) or 'nothing'}"
        )
    common = {key: value for key, value in tables.items() if key in _COMMON}
    budgets = []
    for number, row in enumerate(rows, 1):
        where = f"[[budget]] {number} of {name}"
        if not isinstance(row, dict):
            raise BudgetFileError(f"{where} must be a table; got {short_repr(row)}")
        _check_settings(where, row, {**_COMMON, **_OWN})
        budget = {"at_least": "likely", **common, **row}
        for key in ("model", "max_latency_ms", "device"):
            if key not in budget:
                raise BudgetFileError(f"{where} must say {key} = …; it says {short_list(row)}")
        _check_values(where, budget)
        budgets.append(budget)
    coverage = tables.get("coverage", 0.9)
    if not 0 < coverage < 1:
        raise BudgetFileError(f"coverage of {name} must be between 0 and 1; got {coverage}")
    return coverage, budgets


def _check_settings(
    where: str, given: Mapping[str, Any], known: Mapping[str, tuple[type, ...]]
) -> None:
    for key, value in given.items():
        if key not in known:
            raise BudgetFileError(f"{where}: {unknown_name('setting', key, list(known))}")
        if type(value) not in known[key]:
            kinds = " or ".join(kind.__name__ for kind in known[key])
            raise BudgetFileError(
                f"{key} of {where} must be of type {kinds}; got {short_repr(value)}"
            )


def _check_values(where: str, budget: dict[str, Any]) -> None:
    devices = budget["device"]
    budget["device"] = devices = [devices] if isinstance(devices, str) else devices
    if not devices or not all(isinstance(name, str) for name in devices):
        raise BudgetFileError(f"device of {where} must be a text or a list of them")
    if budget["at_least"] not in CHANCES:
        told = unknown_name("chance", budget["at_least"], list(CHANCES))
        raise BudgetFileError(f"at_least of {where}: {told}")
    for key in ("batch", "threads"):
        if budget.get(key, 1) < 1:
            raise BudgetFileError(f"{key} of {where} must be at least 1; got {budget[key]}")
    for name, shape in budget.get("shapes", {}).items():
        sides = shape if isinstance(shape, list) else [shape]
        if not all(type(side) is int and side > 0 for side in sides):
            raise BudgetFileError(f"shape of {name!r} of {where} must be positive whole numbers")
        budget["shapes"] = budget["shapes"] | {name: sides}
    try:
        check_budget(budget["max_latency_ms"])
    except ValueError as error:
        raise BudgetFileError(f"max_latency_ms of {where}: {error}") from error


# --- the check --------------------------------------------------------------------------------


def check(
    path: str | Path, *, on_progress: Callable[[int, int, str], object] | None = None
) -> BudgetCheck:
    """Whether models keep the budgets of a file.

    A budget that cannot be checked, since its model cannot be read or nothing answers for its
    device, is not met; the others are checked all the same.

    Args:
        path: TOML, as ``docs/budgets.md`` describes it; models and ``.latcast`` files in it are
            named from its folder, with ``-``, standard input, from the current one.
        on_progress: called with how many budgets are done, how many there are, and the next one.

    Raises:
        BudgetFileError: the file makes no sense.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    coverage, budgets = _read(path)
    rows: list[CheckedBudget] = []
    # Note -> the rows that it is of.
    notes: dict[str, dict[str, None]] = {}

    @cache
    def kernels(model: str, options: str, batch: int | None) -> GraphKernels:
        return GraphKernels(read_with(model, replace(asked[options], batch=batch)))

    asked: dict[str, ReadOptions] = {}
    for number, budget in enumerate(budgets):
        if on_progress is not None:
            on_progress(number, len(budgets), str(budget.get("name", budget["model"])))
        options = ReadOptions(
            None, budget.get("shapes", {}), budget.get("batch_axis"), budget.get("trip_count")
        )
        asked[repr(options)] = options
        model = _located(budget["model"], path.parent)
        for device in budget["device"]:
            row = CheckedBudget(
                budget.get("name", Path(budget["model"]).name), budget["model"], device,
                float(budget["max_latency_ms"]), budget["at_least"],
            )  # fmt: skip
            try:
                found = kernels(model, repr(options), budget.get("batch"))
                rows += _rows(row, found, budget, path.parent, coverage, notes)
            except (ValueError, OSError, ModuleNotFoundError) as error:
                rows.append(replace(row, error=" ".join(str(error).split())))
    return BudgetCheck(
        str(path), all(row.is_met for row in rows), coverage, tuple(rows),
        tuple(f"{short_list(of)}: {note}" for note, of in notes.items()),
    )  # fmt: skip


def _located(name: str, folder: Path) -> str:
    """A model's file from the folder of the budgets; the name of a package's model as it is."""
    return name if is_named(name) else str(folder / name)


def _rows(
    row: CheckedBudget,
    found: GraphKernels,
    budget: Mapping[str, Any],
    folder: Path,
    coverage: float,
    notes: dict[str, dict[str, None]],
) -> Iterator[CheckedBudget]:
    """The row, answered by every predictor that the device stands for."""
    batch = budget.get("batch") or found.graph.batch or 1
    query = TargetQuery(
        budget.get("runtime"), batch, budget.get("precision"), budget.get("threads")
    )
    device = row.device
    name = str(folder / device) if device.endswith(SUFFIX) else device

    def ask(query: TargetQuery) -> list[Resolved]:
        return resolve(name, query, role="networks")

    for resolved in in_own_precision(name, query, ask, lambda _: found.graph.precision):
        answer: DeviceAnswer = answer_of(resolved, found, row.max_latency_ms, coverage)
        graph, note = as_asked(found.graph, resolved)
        order = list(CHANCES)
        is_open = answer.chance not in (order[0], order[-1])
        doubts = resolved.predictor.doubts(graph, of_width=is_open)
        for each in filter(None, [*resolved.notes, *doubts, *graph.notes, note]):
            notes.setdefault(each, {})[f"{row.name} on {device}"] = None
        yield replace(
            row,
            is_met=order.index(answer.chance) <= order.index(row.at_least),
            target=answer.target, chance=answer.chance, probability=answer.probability,
            latency_ms=answer.latency_ms, lower_ms=answer.lower_ms, upper_ms=answer.upper_ms,
            basis=answer.basis,
        )  # fmt: skip
