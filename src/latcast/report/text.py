"""Numbers, names and scores as text, the same on terminals and on pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

from .table import MISSING, Column, Table, look_up

# Score of a predictor in percent, or a correlation -> label, in the order of tables.
SCORES = {
    "mape": "mean absolute error, %",
    "median_error": "median absolute error, %",
    "within_5": "within 5 %, % of rows",
    "within_10": "within 10 %, % of rows",
    "within_25": "within 25 %, % of rows",
    "spearman": "Spearman rank correlation",
    "kendall": "Kendall rank correlation",
    "coverage_50": "50 % interval covers, %",
    "coverage_80": "80 % interval covers, %",
    "coverage_90": "90 % interval covers, %",
    "coverage_95": "95 % interval covers, %",
}
# Characters that are shown of the name of a side.
_MAX_NAME = 60
# Rows that a note names as alike.
_MAX_ALIKE = 4
# Only layer models have these.
_OF_NETWORKS = ("median_error", "within_25")


# Kind of kernel -> colour, readable on white and on black.
KIND_COLOURS = {
    "conv": "#4477cc",
    "depthwise_conv": "#33a3a8",
    "linear": "#dd7733",
    "matmul": "#c9a227",
    "attention": "#aa4499",
    "norm": "#66a344",
    "softmax": "#e2739f",
    "activation": "#8f7bd8",
    "elementwise": "#7d8b99",
    "copy": "#a5714e",
    "pool": "#4d9a73",
    "reduce": "#b05c5c",
    "conv_transpose": "#6aa5e0",
    "unknown": "#d03030",
}
OTHER_COLOUR = "#9a9a9a"
# What kernels are bound by -> colour.
BOUND_COLOURS = {
    "compute": "#4477cc",
    "memory": "#dd7733",
    "launch": "#66a344",
    "unknown": "#d03030",
}


def score_labels(unit: str) -> dict[str, str]:
    """Return the label, with its unit, of each score of a predictor of values in ``unit``."""
    errors = {f"{name}_{unit.lower()}": f"{name.upper()}, {unit}" for name in ("mae", "rmse")}
    return errors | SCORES


def scores_table(scores: Mapping[str, float], title: str, unit: str) -> Table:
    """Return a table of a predictor's scores, of values in ``unit``; a dash for an unknown one."""
    labels = score_labels(unit)
    shown = [name for name in labels if name in scores or name not in _OF_NETWORKS]
    columns = (
        Column("score", labels.get),
        Column("value", scores.get, ".4g"),
    )
    return Table(columns, shown, title)


def families_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table of scores on each family of networks by a model that had not seen it."""
    columns = (
        Column("family", "family"),
        Column("median %", "median_error", ".1f"),
        Column("within 10 %", "within_10", ".1f"),
        Column("within 25 %", "within_25", ".1f"),
        Column("90 % interval covers", "coverage_90", ".1f"),
    )
    return Table(columns, families_rows(scores), "on each family, by a model that had not seen it:")


def families_rows(scores: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each family in alphabetical order, and for all of them last."""
    names = sorted(scores, key=lambda name: (name == "all", name))
    return [{"family": name, **scores[name]} for name in names]


def ms_text(ms: float | None) -> str:
    """Return milliseconds with about four digits, or a dash where there are none."""
    if ms is None:
        return MISSING
    for limit, digits in ((10.0, 3), (100.0, 2), (1000.0, 1)):
        if ms < limit:
            return f"{ms:.{digits}f}"
    return f"{ms:.0f}"


def ms_column(heading: str, attribute: str, detail: int = 0) -> Column:
    """Return a column of the milliseconds of rows that have such an attribute."""
    return Column(heading, attribute, ms_text, detail=detail)


def interval_column(
    coverage: float,
    form: str | Callable[[Any], str] = ms_text,
    of: Callable[[Any], Any] = lambda row: row,
) -> Column:
    """Return a column of the interval of ``of(row)``, which has ``lower_ms`` and ``upper_ms``."""

    def ends(row: Any) -> tuple[Any, Any]:
        low, high = of(row).lower_ms, of(row).upper_ms
        return (None, None) if low is None or not low >= 0 else (low, high)

    return Column(f"{100 * coverage:g} % interval", ends, form, detail=0, ends=("lower", "upper"))


def shared_notes(
    notes: Iterable[tuple[tuple[str, str], str]],
    targets: Sequence[tuple[str, str]],
    words: Mapping[tuple[str, str], Sequence[str]] | None = None,
) -> Iterator[str]:
    """Notes of several targets, each once, with the names of the devices that it is of.

    One of all targets is told without names, one of some targets of a device with theirs.

    Args:
        notes: device and target of a row, and its note.
        targets: device and target of all rows.
        words: of a row, what it is called and by what it runs: notes of several rows that differ
            in these and in numbers alone are told once, by the first of them.
    """
    told: dict[str, list[tuple[tuple[str, str], str]]] = {}
    for row, text in notes:
        key = text
        for word in (words or {}).get(row, ()):
            key = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", "#", key)
        if words:
            key = re.sub(r"\d+(\.\d+)?", "#", key)
        told.setdefault(key, []).append((row, text))
    for each in told.values():
        first = each[0][1]
        rows = list(dict.fromkeys(row for row, text in each if text == first))
        others = _names(dict.fromkeys(row for row, _ in each if row not in rows), targets)
        of = "" if set(targets) <= set(rows) else ", ".join(_names(rows, targets))
        more = ", …" if len(others) > _MAX_ALIKE else ""
        alike = f" (alike: {', '.join(others[:_MAX_ALIKE])}{more})" if others else ""
        rest = (text for row, text in each if row in rows and text != first)
        for text in (f"{first}{alike}", *dict.fromkeys(rest)):
            # One that begins with the name says whose it is.
            is_told = not of or text.startswith(f"{of} ")
            yield f"note: {text}" if is_told else f"note: {of}: {text}"


def _names(rows: Iterable[tuple[str, str]], targets: Sequence[tuple[str, str]]) -> list[str]:
    """Names of devices, or of targets where not all of a device's are meant."""
    rows = list(rows)
    whole = {device for device, _ in rows} - {d for d, t in targets if (d, t) not in rows}
    return list(dict.fromkeys(device if device in whole else target for device, target in rows))


def count_text(value: float) -> str:
    """Return a count with three digits and a prefix, powers of 1,000: ``4.09 G``."""
    prefix = ""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5:
            break
        value /= 1000 if prefix != "T" else 1
    return f"{value:.3g} {prefix}".strip()


def at_least(value: float, digits: int = 4) -> str:
    """Return a number of about four digits that is not below ``value``, to be typed as a limit.

    What is rounded to the nearest, as :func:`ms_text` has it, may name a budget that is refused.
    """
    return format(Context(prec=digits, rounding=ROUND_CEILING).plus(Decimal(value)), "f")


def factor_text(value: float) -> str:
    """Return a factor with two digits and no exponent: ``3.2``, ``17``, ``130``."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:g}" if rounded < 1e4 else f"{rounded:,.0f}"


def bytes_text(value: float) -> str:
    """Return bytes with three digits and a prefix: ``46.7 MB``."""
    number, _, prefix = count_text(value).partition(" ")
    return f"{number} {prefix}B"


def shape_text(shape: Sequence[int] | None) -> str:
    """Return a shape as text, such as ``1x3x224x224``."""
    return "unknown" if shape is None else "x".join(map(str, shape)) or "scalar"


def sides_text(sides: Sequence[int | str | None] | None) -> str:
    """Return a shape as a file tells it, such as ``[N, 3, ?, ?]``."""
    if sides is None:
        return "?"
    # A file's names may be of any length.
    texts = ("?" if s is None else str(s)[:_MAX_NAME] for s in sides)
    return f"[{', '.join(texts)}]"


def bound_text(bound: str) -> str:
    """Return what a kernel is bound by in the field's words: compute, memory or launch."""
    return "memory" if bound == "bandwidth" else bound


def extrapolation_text(extrapolation: Any) -> str:
    """Return in words the kernels that are out of a model's distribution for one reason.

    Args:
        extrapolation: of a device's ``extrapolations`` in :func:`latcast.models.forecast`, as a
            record or as its JSON.
    """
    kind, subject, kernels, share, values, seen = (
        look_up(extrapolation, n) for n in ("kind", "subject", "kernels", "share", "values", "seen")
    )
    who = f"{kind} x {kernels}, {100 * share:.1f} % of the ms"
    if subject == "unknown":
        return f"{who}: the cost is not known"
    if seen is None:
        return f"{who}: the model has seen no {subject}"
    low, high = map(count_text, seen)
    first, last = count_text(values[0]), count_text(values[-1])
    shown = first if first == last else f"{first} to {last}"
    return f"{who}: {subject} {shown} (seen: {low} to {high})"


def ms_beside(kernels: Sequence[Any], others: Sequence[Any]) -> dict[str, float]:
    """Return the milliseconds on another device of the kernels of one.

    A kernel of the other device counts where its main layer is; one that is fused into a kernel
    that counts elsewhere has no milliseconds of its own.

    Args:
        kernels: of a device's record, or of its JSON.
        others: of another device's record of the same network.

    Returns:
        Name of a kernel -> milliseconds; they add up to those of all ``others``.
    """
    owner = {layer: look_up(k, "name") for k in kernels for layer in look_up(k, "layers")}
    times: dict[str, float] = {}
    for other in others:
        if (name := owner.get(look_up(other, "name"))) is not None:
            times[name] = times.get(name, 0.0) + look_up(other, "ms")
    return times
