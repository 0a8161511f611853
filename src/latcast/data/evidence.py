"""The evidence of an audit's findings in words, as tables of names and values with their units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from latcast.report.markup import number_text
from latcast.report.table import Column, Table, pairs

from ._audited import Finding

# Row numbers that are told; the record's JSON has more.
_LISTED = 12


def fact_text(value: Any) -> str:
    """A fact as text: numbers of four digits, whole numbers in thousands, yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number_text(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _percent(value: float) -> str:
    return number_text(100 * value)


def _numbers(rows: Sequence[int]) -> str:
    """Numbers of rows as they stand in a file, without separators."""
    more = ", …" if len(rows) > _LISTED else ""
    return ", ".join(map(str, rows[:_LISTED])) + more


# Key -> what it is, and how its value is told; keys with the kind of their finding come first.
_WORDS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "busy.least": ("least time of the reference network, times its usual one", fact_text),
    "busy.largest": ("most time of the reference network, times its usual one", fact_text),
    "exactly-additive.fitted": ("rows that the table was fitted to", fact_text),
    "exactly-additive.held_out": ("other rows, which it was compared with", fact_text),
    "exactly-additive.median": ("median error on these, %", lambda v: f"{100 * v:.1e}"),
    "exactly-additive.largest": ("largest error on these, %", lambda v: f"{100 * v:.1e}"),
    "count": ("rows that it is about", fact_text),
    "dead_networks": ("networks among them that make nothing of their input", fact_text),
    "distinct_architectures": ("distinct architectures", fact_text),
    "equal_groups": ("groups in which all have one value", fact_text),
    "exactly_equal_share": ("repeated architectures whose rows agree exactly, %", _percent),
    "factor": ("factor that makes them milliseconds", fact_text),
    "first_rows_are_genuine": ("first rows of the groups agree with a model of the blocks",
                               fact_text),
    "first_rows_residual_percent": ("first rows are off that model by, %", fact_text),
    "first_value": ("value of the first", str),
    "gene": ("gene that the labels ignore", str),
    "genuine_rows": ("first rows of the groups", _numbers),
    "groups": ("groups of architectures that differ in it alone", fact_text),
    "lag1_autocorrelation": ("correlation of neighbouring rows' residuals", fact_text),
    "lag1_autocorrelation_of_predictions": ("correlation of neighbouring rows' predictions",
                                            fact_text),
    "largest_percent": ("largest standard error, %", fact_text),
    "last_rows_residual_percent": ("last rows of the groups are off that model by, %", fact_text),
    "of_a_busy_machine": ("rows among them of a busy machine", fact_text),
    "repeated_architectures": ("architectures in several rows", fact_text),
    "rows": ("rows", lambda v: _numbers(v) if isinstance(v, list | tuple) else fact_text(v)),
    "share_percent": ("rows in stretches that drifted, %", fact_text),
    "sigma_percent": ("usual scatter about what blocks explain, %", fact_text),
    "spread_percent": ("median difference of one architecture's rows, %", fact_text),
    "step_percent": ("step, % of the median", fact_text),
    "test_against_train_percent": ("last 15 % of the rows against the first 70 %, %", fact_text),
    "test_rows": ("last 15 % of the rows", fact_text),
    "test_rows_trained_on": ("of these, of an architecture among the first 70 %", fact_text),
    "times": ("median, times what is possible", fact_text),
    "unit": ("unit that the values look like", str),
    "worst_relative": ("worst against what its blocks explain, %", _percent),
    "worst_row": ("row of the worst", str),
}  # fmt: skip
# Keys of rows inside of an evidence, and of columns of public tables.
_COLUMNS: Mapping[str, str] = {
    "c_in": "channels in", "c_out": "channels out", "count": "rows", "from": "from row",
    "gmacs": "GMACs", "images_per_second": "images/s", "macts": "activations, M",
    "op": "operator", "params_m": "parameters, M", "percent": "slower by, %",
    "powersave": "power save", "qairt": "QAIRT", "share": "share of rows", "to": "to row",
}  # fmt: skip
# Ends of keys -> units.
_UNITS = {"ms": "ms", "mb": "MB", "mj": "mJ"}


def column_label(key: str) -> str:
    """A key of a row as the heading of its column, such as ``latency, ms``."""
    name, _, unit = key.rpartition("_")
    if key in _COLUMNS or unit not in _UNITS:
        return _COLUMNS.get(key, key.replace("_", " "))
    return f"{name.replace('_', ' ')}, {_UNITS[unit]}"


def evidence_rows(finding: Finding) -> Iterator[tuple[str, str]]:
    """Yield the numbers of an evidence, each named in words; lists of rows are left out."""
    for key, value in finding.evidence.items():
        if _is_table(value) or value is None or value == []:
            continue
        label, told = _WORDS.get(f"{finding.kind}.{key}") or _WORDS.get(
            key, (column_label(key), fact_text)
        )
        if key == "rows" and isinstance(value, list):
            label = "their rows"
        yield label, told(value)


def evidence_tables(finding: Finding) -> Iterator[Table]:
    """An evidence as tables: its examples, or else its numbers; and the stretches of a drift."""
    tables = [value for value in finding.evidence.values() if _is_table(value)]
    rows = list(evidence_rows(finding))
    if rows and "examples" not in finding.evidence:
        yield pairs(("evidence", "value"), rows)
    for found in tables:
        yield Table([Column(column_label(n), n, _form(n)) for n in found[0]], found)


def concerned(finding: Finding) -> int | None:
    """How many rows of a dataset a finding is about; None where nothing counts them."""
    evidence = finding.evidence
    count = evidence.get("count", evidence.get("rows"))
    if count is None and (stretches := evidence.get("segments")):
        count = sum(stretch["rows"] for stretch in stretches)
    return count if isinstance(count, int) else None


def _form(key: str) -> Callable[[Any], str]:
    return str if key in ("row", "from", "to") else fact_text


def _is_table(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)
