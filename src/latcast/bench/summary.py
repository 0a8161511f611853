"""The scores of a bench at one glance: a sentence, and figures of the score that tells most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Series
from latcast.report.markup import counted, number_text

Row = Mapping[str, Any]

# Name of a bench -> the title of its page.
TITLES = {
    "paper": "Predictors on the datasets of the OFANAS paper",
    "dataset-size": "Errors by the number of networks that are trained on",
    "fine-tuning": "Errors by the number of measurements that are adapted to",
    "transfer": "Forecasts of targets that a base model has not seen",
    "gpu": "Forecasts of GPUs that were left out",
    "families": "Forecasts of families of networks that were left out",
    "devices": "Forecasts of devices and networks that were left out",
    "search": "Searches by forecast latencies",
}
# Score -> label: the first that rows have is drawn.
_SCORES = {
    "median_error_mean": "median absolute error, %",
    "median_error": "median absolute error, %",
    "mape_mean": "mean absolute error, %",
    "mape": "mean absolute error, %",
    "spearman_mean": "Spearman rank correlation",
}
# Benches of learning curves -> keys of what has a figure of its own, of its lines, and of scores:
# the first that rows have is drawn.
_ERRORS = ("mae_ms", "mape")
_CURVES = {
    "dataset-size": ("dataset", "predictor", _ERRORS),
    "fine-tuning": ("target", "method", _ERRORS),
    "transfer": ("target", "selection", ("spearman_mean",)),
}
# Score -> name of its standard deviation over seeds; `_std` takes the place of a final `_mean`.
STANDARD_DEVIATIONS = {"mae_ms": "mae_std_ms", "mape": "mape_std", "spearman": "spearman_std"}
# The line of what others published, which has points where they did: it need not be complete.
_PUBLISHED = "published"
# Keys of rows that are no text, and tell rows apart.
_NUMBERS = {"samples": "{} measured", "confidence": "confidence {}"}


def answer(rows: Sequence[Row]) -> str:
    """The least and the most of the score, or the budgets that are kept, in a sentence."""
    if kept := _kept(rows):
        told = [f"{name} {kept_} of {found}" for name, (kept_, found) in kept.items()]
        return f"Budgets that are kept, by where latencies come from: {', '.join(told)}."
    # Means over targets and families lie between those that they are of.
    own = [r for r in rows if "mean" not in r.values() and r.get("family") != "all"]
    label, scored = _scored(own or rows)
    if not scored:
        return ""
    what = label.removesuffix(", %")
    unit = " %" if label.endswith("%") else ""
    what = what[:1].upper() + what[1:]
    ranked = sorted(scored, key=lambda row: row[1])
    (first, low), (last, high) = ranked[0], ranked[-1]
    if len(scored) == 1:
        named = ", ".join(v for v in (own or rows)[0].values() if isinstance(v, str) and v)
        return f"{what}: {low:.3g}{unit} ({named})."
    return f"{what}: from {low:.3g}{unit} ({first}) to {high:.3g}{unit} ({last})."


def figures(bench: str, rows: Sequence[Row]) -> Iterator[Figure]:
    """Curves where rows are points of some, else a bar for every row."""
    if kept := _kept(rows):
        shares = [(name, 100 * n / found) for name, (n, found) in kept.items() if found]
        yield charts.bars("Budgets that are kept", shares, "budgets kept, %", of="source")
        return
    label, scored = _scored(rows)
    if bench in _CURVES and len({r["samples"] for r in rows}) > 1:
        yield from _curves(rows, *_CURVES[bench])
    elif len(scored) > 1:
        yield charts.bars(label, scored, label, of="row")


def _curves(rows: Sequence[Row], panel: str, line: str, scores: Sequence[str]) -> Iterator[Figure]:
    """A score of every line by its number of measurements, a figure for each panel."""
    score = next((s for s in scores if any(_is_known(r.get(s)) for r in rows)), None)
    if score is None:
        return
    label = {"mae_ms": "mean absolute error, ms"}.get(score) or _SCORES[score]
    for name in dict.fromkeys(r[panel] for r in rows):
        lines: dict[str, list[Row]] = {}
        for row in rows:
            if row[panel] == name and row["samples"] and _is_known(row.get(score)):
                lines.setdefault(row[line], []).append(row)
        series = tuple(_line(of, own, score) for of, own in lines.items())
        if series:
            x, y = ([v for s in series for v in getattr(s, axis)] for axis in ("x", "y"))
            yield Figure(
                f"{name}: {label}", Axis("networks", log=charts.is_wide(x)),
                Axis(label, log=charts.is_wide(y)), series,
            )  # fmt: skip


def _line(name: str, rows: Sequence[Row], score: str) -> Series:
    """A line with a band of its standard deviation over seeds, where there are several."""
    deviation = STANDARD_DEVIATIONS.get(score) or f"{score.removesuffix('_mean')}_std"
    away = [row.get(deviation) or 0.0 for row in rows]
    # Below a mean there is no room on a logarithmic axis for more than the mean itself.
    lower = [max(r[score] - d, 0.05 * r[score]) for r, d in zip(rows, away, strict=True)]
    return Series(
        name, [r["samples"] for r in rows], [r[score] for r in rows],
        "points" if name == _PUBLISHED else "line",
        lower if any(away) else (),
        [r[score] + d for r, d in zip(rows, away, strict=True)] if any(away) else (),
        labels=[
            f"{name}, {counted(r['samples'], 'network')}: {number_text(r[score])}" for r in rows
        ],
    )  # fmt: skip


def _kept(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """Count the budgets that were kept, by the source of a search's latencies, and of how many."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        if not {"source", "found"} <= row.keys() or row.get("target") == "mean":
            continue
        sure = f" at confidence {row['confidence']:g}" if row.get("confidence") else ""
        name = f"{row['source']}{sure}"
        kept = row["kept"] if "kept" in row else row["found"] - row.get("over", 0)
        before = found.get(name, (0, 0))
        found[name] = before[0] + kept, before[1] + row["found"]
    return found


def _scored(rows: Sequence[Row]) -> tuple[str, list[tuple[str, float]]]:
    """The label of the score that tells most, and what rows that have it are called."""
    for score, label in _SCORES.items():
        own = [row for row in rows if _is_known(row.get(score))]
        if own:
            names = _names(own)
            return label, [(n, float(r[score])) for n, r in zip(names, own, strict=True)]
    return "", []


def _is_known(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _names(rows: Sequence[Row]) -> list[str]:
    """Return the keys that tell rows apart; of keys that tell the same, the first."""
    keys = [k for k, v in rows[0].items() if isinstance(v, str) or k in _NUMBERS]
    keys = [k for k in keys if len({str(r.get(k)) for r in rows}) > 1]
    for key in reversed(keys[:]):
        if any(_tells(rows, other, key) for other in keys if other != key):
            keys.remove(key)
    return [
        ", ".join(_NUMBERS.get(k, "{}").format(r[k]) for k in keys if r.get(k) is not None) or "all"
        for r in rows
    ]


def _tells(rows: Sequence[Row], key: str, other: str) -> bool:
    """Whether the value of one key of a row tells that of another."""
    pairs = {(str(r.get(key)), str(r.get(other))) for r in rows}
    return len(pairs) == len({first for first, _ in pairs})
