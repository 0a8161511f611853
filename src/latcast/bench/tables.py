"""The results of benches: scores with their machine and protocol, and the tables that show them."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import latcast
from latcast.devices import host_title
from latcast.report.figure import Figure
from latcast.report.markup import counted
from latcast.report.record import Record, Section
from latcast.report.table import MISSING, Column, Table

from . import summary

Row = Mapping[str, Any]
Rows = Sequence[dict[str, Any]]


def machine() -> str:
    """One line: processor, cores, Python, numpy and latcast versions."""
    return (
        f"{host_title()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, latcast {latcast.__version__}"
    )


@dataclass(frozen=True, repr=False)
class Scores(Record):
    """The scores of a bench, with the machine and the protocol that they belong to.

    Attributes:
        bench: name of the bench, which tells what keys its rows have (docs/bench.md).
        rows: the scores, an object each.
        machine: processor, cores and versions that the scores were computed with.
    """

    schema = "bench"
    frame = "rows"
    no_figure = "one row has nothing to compare with"

    bench: str
    rows: Rows
    machine: str = field(default_factory=machine)

    def headline(self) -> str:
        return summary.TITLES[self.bench]

    def answer(self) -> str:
        return summary.answer(self.rows)

    def figures(self) -> Iterator[Figure]:
        yield from summary.figures(self.bench, self.rows)

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        about, *parts = self.parts()
        yield from sections_of(self.figures(), parts)
        yield "How it was scored", [about]

    def parts(self) -> Iterator[Table | str]:
        about, *parts = LAYOUTS[self.bench](self.rows)
        yield f"{self.machine}; {about}" if isinstance(about, str) else self.machine
        if not isinstance(about, str):
            yield about
        yield from parts


Parts = Iterator[Table | str]


# --- cells ------------------------------------------------------------------------------------


def number(value: float | None, form: str) -> str:
    """A number; a dash where there is none, and a power of ten where it is out of bounds."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:{form}}" if abs(value) < 1e6 or "," in form else f"{value:.1e}"


def _spread(label: str, score: str, form: str, scale: float = 1.0) -> Column:
    """A mean over seeds and its deviation, which is left out where there is one seed."""

    def cell(row: Row) -> str:
        mean = scale * row[f"{score}_mean"]
        text = number(mean, form)
        if row["seeds"] < 2 or text == MISSING:
            return text
        return f"{text} ± {scale * row[f'{score}_std']:{form}}"

    return Column(label, cell)


SCORE_COLUMNS = (
    _spread("Spearman", "spearman", ".4f"),
    _spread("Kendall", "kendall", ".4f"),
    _spread("MAPE %", "mape", ".2f"),
    _spread("median error %", "median_error", ".2f"),
    _spread("≤ 10 %", "within_10", ".1f"),
    _spread("90 % interval covers %", "coverage_90", ".1f"),
)


def seeds_text(rows: Rows) -> str:
    """How many seeds the most thorough row is a mean of."""
    seeds = max(r["seeds"] for r in rows)
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


def _grouped(rows: Rows, *keys: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


# --- predictors -------------------------------------------------------------------------------


def _paper(rows: Rows) -> Parts:
    def published(row: Row) -> str:
        if row["published_mae_ms"] is None:
            return MISSING
        note = f" ({row['published_note']})" if row["published_note"] else ""
        return f"{row['published_mae_ms']:.4f}{note}"

    def coverage(row: Row) -> str:
        return "/".join(number(row.get(f"coverage_{c}"), ".0f") for c in (50, 80, 90, 95))

    yield seeds_text(rows)
    yield Table(
        (
            Column("dataset", "dataset"),
            Column("predictor", "predictor"),
            Column("train", "train"),
            Column("test", "test"),
            Column("MAE ms", lambda r: f"{r['mae_ms']:.4g} ± {r['mae_std_ms']:.1g}"),
            Column("RMSE ms", "rmse_ms", ".4g"),
            Column("MAPE %", "mape", ".3g"),
            Column("≤ 5 %", "within_5", ".1f"),
            Column("≤ 10 %", "within_10", ".1f"),
            Column("Spearman", "spearman", ".4f"),
            Column("Kendall", "kendall", ".4f"),
            Column("cover 50/80/90/95", coverage),
            Column("fit s", "fit_seconds", ".2f"),
            Column("archs/s", "archs_per_second", ",.0f"),
            Column("published MAE", published),
        ),
        rows,
    )


# Score of learning curves -> title, significant digits.
CURVES = {
    "mae_ms": ("MAE ms", 3),
    "mape": ("MAPE %", 3),
    "coverage_90": ("90 % interval covers %", 3),
    "seconds": ("seconds of one fit", 2),
}


def _curves(panel: str, line: str) -> Callable[[Rows], Parts]:
    """A table for each panel and score: a row for each line, a column for each sample size."""

    def parts(rows: Rows) -> Parts:
        yield seeds_text(rows)
        for (name,), within in _grouped(rows, panel).items():
            origin = f"{within[0]['source']} -> " if "source" in within[0] else ""
            for score in CURVES:
                if any(score in r for r in within):
                    yield _curve_table(f"{origin}{name}: ", score, within, line)
            for text in dict.fromkeys(r["note"] for r in within if r.get("note")):
                yield f"published: {text}\n"

    return parts


def _curve_table(before: str, score: str, rows: Rows, line: str) -> Table:
    title, digits = CURVES[score]
    deviation = summary.STANDARD_DEVIATIONS.get(score)
    lines: dict[str, dict[str, Any]] = {}
    for r in (r for r in rows if score in r):
        text = f"{r[score]:.{digits}g}"
        if deviation in r and r["seeds"] > 1:
            text += f" ± {r[deviation]:.1g}"
        lines.setdefault(r[line], {"": r[line]})[str(r["samples"])] = text
    samples = sorted({int(n) for cells in lines.values() for n in cells if n})
    columns = [Column(line, ""), *(Column(str(n), str(n)) for n in samples)]
    return Table(columns, list(lines.values()), before + title)


def _protocol(rows: Rows, seconds: str) -> str:
    bases = max(r["base_samples"] for r in rows)
    fits = [r[seconds] for r in rows if r.get("method", "base-model") == "base-model"]
    took = f", fitted in {max(fits):.1f} s at most" if fits else ""
    return (
        f"{rows[0]['space']}; base models of {bases} networks a target{took}; mean ± deviation "
        f"over {counted(max(r['seeds'] for r in rows), 'seed')}"
    )


def _transfer(rows: Rows) -> Parts:
    def peers(row: Row) -> str:
        found = row["published"]
        text = (f"{p['peer']} {p['spearman']:.3f} ({p['measurements']})" for p in found)
        return ", ".join(text) or MISSING

    columns = [
        Column("target", "target"),
        Column("samples", "samples"),
        Column("selection", "selection"),
        *SCORE_COLUMNS,
        Column("adapt s", "adapt_seconds", ".2f"),
        Column("scored", "scored"),
    ]
    if any("ceiling_mape" in r for r in rows):
        columns += [
            Column("ceiling ρ", "ceiling_spearman", ".4f"),
            Column("ceiling MAPE %", "ceiling_mape", ".2f"),
            Column("ceiling ≤ 10 %", "ceiling_within_10", ".1f"),
        ]
    published = [p for r in rows for p in r["published"]]
    yield _protocol(rows, "base_seconds")
    yield Table([*columns, Column("published ρ", peers)] if published else columns, rows)
    yield from _data_issues(rows)
    for easier in sorted({p["easier"] for p in published}):
        names = sorted({p["peer"] for p in published if p["easier"] == easier})
        yield f"{', '.join(names)}: {easier}; in brackets, measurements of the target in all"


def _gpu(rows: Rows) -> Parts:
    columns = (
        Column("GPU left out", "gpu"),
        Column("target", "target"),
        Column("method", "method"),
        Column("samples", "samples"),
        *SCORE_COLUMNS,
        Column("fit s", "fit_seconds", ".1f"),
    )
    for own in _grouped(rows, "space").values():
        yield Table(columns, own, _protocol(own, "fit_seconds"))
        yield from _data_issues(own)


def _data_issues(rows: Rows) -> Iterator[str]:
    """Latencies that were left out, and latencies that are not plausible."""
    seen = {r["target"]: r for r in rows if r["target"] != "mean"}
    for name, r in seen.items():
        if r["impossible"]:
            yield f"{name}: {r['impossible']} impossible latencies were left out"
        if r["near_zero"]:
            yield (
                f"{name}: {r['near_zero']} latencies are near zero (`latcast audit`); they are "
                "scored like all others, and weigh on the MAPE"
            )


SETTINGS = {
    "left out": "the model has not seen the family",
    "adapted": "the same, adapted with some measured networks of the family; scored on others",
    "included": "15 % of all networks at random, by a model of the others",
}


def _families(rows: Rows) -> Parts:
    columns = (
        Column("family", "family"),
        Column("networks", "networks"),
        Column("median error %", "median_error", ".1f"),
        Column("bias %", "bias", "+.1f"),
        Column("≤ 10 %", "within_10", ".0f"),
        Column("≤ 25 %", "within_25", ".0f"),
        Column("90 % interval covers %", "coverage_90", ".0f"),
        Column("fit s", "seconds", ".1f"),
    )
    yield "errors of all seeds together"
    for (target, setting), own in _grouped(rows, "target", "setting").items():
        yield Table(columns, own, f"{target}, {setting}: {SETTINGS[setting]}")


PROTOCOL_TITLES = {
    "network": "the network is new, its family left out; the device is known",
    "device": "the device is new, its chip left out; so many networks of it are measured",
    "both": "network and device are new; so many known networks of the device are measured",
}


def _devices(rows: Rows) -> Parts:
    columns = (
        Column("setting", "setting"),
        Column("samples", "samples"),
        Column("groups", "groups"),
        Column("networks", "networks"),
        Column("median error %", "median_error", ".1f"),
        Column("mean error %", "mean_error", ".1f"),
        Column("≤ 10 %", "within_10", ".0f"),
        Column("≤ 25 %", "within_25", ".0f"),
        Column("Spearman", "spearman", ".3f"),
        Column("90 % interval covers %", _range),
        Column("its width ×", "width_90", ".2f"),
    )
    published = Column("published mean error %", lambda r: r["published"] or MISSING)
    yield "groups left out: chips of devices, families of networks"
    plain = [r for r in rows if "brier" not in r]
    for (table, protocol), scored in _grouped(plain, "table", "protocol").items():
        own = list(scored)
        while own:  # all at once, but for what the first method has no answer to
            first, *beside = dict.fromkeys(r["method"] for r in own)
            shown = {_asked(r): r for r in own if r["method"] == first}
            others = [published] * any(r["published"] for r in own)
            others += [Column(f"{method} %", _beside(own, method)) for method in beside]
            medians = "; beside it the others' median errors (of so many networks, where of fewer)"
            title = f"{table}: {PROTOCOL_TITLES[protocol]}; by {first}{medians if beside else ''}"
            yield Table((*columns, *others), [*shown.values()], title)
            own = [r for r in own if _asked(r) not in shown]
    if compared := [r for r in rows if "brier" in r]:
        yield Table(
            (
                Column("table", "table"),
                Column("protocol", "protocol"),
                Column("setting", "setting"),
                Column("method", "method"),
                Column("pairs", "rows"),
                Column("is faster %", "share_faster", ".1f"),
                Column("balanced accuracy %", "balanced_accuracy", ".1f"),
                Column("Brier score", "brier", ".4f"),
                Column("of the base rate", "brier_base", ".4f"),
                Column("factor's median error %", "median_error", ".1f"),
            ),
            compared,
            "is one precision faster than another",
        )


def _asked(row: Row) -> tuple[str, int]:
    return row["setting"], row["samples"]


def _beside(rows: Rows, method: str) -> Callable[[Row], str]:
    """The cell of another method in the same setting, with as many measurements."""
    known = {_asked(r): r for r in rows if r["method"] == method}

    def cell(row: Row) -> str:
        other = known.get(_asked(row))
        if other is None:
            return MISSING
        few = "" if other["networks"] == row["networks"] else f" ({other['networks']})"
        return number(other["median_error"], ".1f") + few

    return cell


def _range(row: Row) -> str:
    low, high = (number(row[f"coverage_90_{end}"], ".0f") for end in ("low", "high"))
    return f"{number(row['coverage_90'], '.0f')} ({low}–{high})"


# --- searches ---------------------------------------------------------------------------------


def _searches(rows: Rows) -> Parts:
    studies = _grouped(rows, "study")
    if note10 := studies.get(("samsung-note10",)):
        yield from _note10(note10)
    if nasbench201 := studies.get(("nasbench201",)):
        yield from _nasbench201(nasbench201)
    if left_out := studies.get(("left-out",)):
        yield from _left_out(left_out)


def _level(row: Row) -> str:
    return number(row["confidence"], "g")


def _note10(rows: Rows) -> Parts:
    """Tables of every source's networks, of kept budgets, and of published results."""
    yield Table(
        (
            Column("space", "space"),
            Column("latencies from", "source"),
            Column("rows", lambda r: 7000 if r["samples"] is None else r["samples"]),
            Column("confidence", _level),
            Column("budget ms", "max_latency_ms", "g"),
            _spread("top-1 %", "accuracy", ".2f", 100),
            _spread("teacher's %", "teacher", ".2f", 100),
            Column("predicted ms", "predicted_ms", ".2f"),
            Column("true ms", "true_ms", ".2f"),
            Column("over", lambda r: f"{r['over']} of {r['found']}"),
            Column("over by ms", "excess_ms", ".2f"),
            Column("regret", "regret_mean", ".2f", 100),
            Column("search s", "search_seconds", ".2f"),
            Column(
                "evaluations",
                lambda r: number(r["evaluations"], ",.0f") + " (all)" * r["is_exact"],
            ),
            Column("published %", "published.top1", ".2f", 100),
        ),
        rows,
        f"samsung-note10; mean ± deviation over {seeds_text(rows)}",
    )
    yield Table(
        (
            Column("latencies from", "source"),
            Column("confidence", _level),
            Column("kept", lambda r: f"{r['found'] - r['over']} of {r['found']}"),
            Column("none found", lambda r: r["asked"] - r["found"]),
            Column("over by %", "excess", ".1f", 100),
            Column("regret", "regret", ".2f", 100),
        ),
        [_totals(own) for own in _grouped(rows, "source", "confidence").values()],
        "all spaces and budgets",
    )
    yield (
        "true: by the published lookup table; regret: points of top-1 behind the best network "
        "known, of those that keep the budget"
    )
    yield from dict.fromkeys(_published_line(r) for r in rows if r["published"])


def _totals(rows: Rows) -> dict[str, Any]:
    over = [r["excess_ms"] / r["max_latency_ms"] for r in rows if r["over"]]
    regret = [r["regret_mean"] for r in rows if r["over"] < r["found"]]
    return {
        "source": rows[0]["source"],
        "confidence": rows[0]["confidence"],
        "found": sum(r["found"] for r in rows),
        "over": sum(r["over"] for r in rows),
        "asked": sum(r["seeds"] for r in rows),
        "excess": np.mean(over) if over else None,
        "regret": np.mean(regret) if regret else None,
    }


def _published_line(row: Row) -> str:
    published = row["published"]
    measured = "on images of ImageNet" if published["measured"] else (
        "by the teacher of the accuracy model"
    )  # fmt: skip
    return (
        f"published (quoted, not run here): {published['who']}, {row['space']}, {row['source']}: "
        f"top-1 {measured}; {published['seconds']:g} s for five budgets"
    )


def _nasbench201(rows: Rows) -> Parts:
    """Regret by budget of every target, source and confidence."""
    quantiles = list(dict.fromkeys(row["quantile"] for row in rows))
    first = rows[0]
    yield Table(
        (
            Column("target", "target"),
            Column("latencies from", "source"),
            Column("confidence", _level),
            *(
                Column(f"regret at {100 * q:g} %", f"regret.{n}", ".2f", 100)
                for n, q in enumerate(quantiles)
            ),
            Column("kept", lambda r: f"{r['kept']} of {r['found']}"),
            Column("none found", lambda r: r["asked"] - r["found"]),
            Column("over by %", "excess", ".1f"),
        ),
        [_over_budgets(own) for own in _grouped(rows, "target", "source", "confidence").values()],
        f"nasbench201; {counted(first['samples'], 'measurement')} of a target, "
        f"{seeds_text(rows)}; a choice "
        f"among {first['candidates']} networks with known accuracies on CIFAR-100",
    )
    yield (
        "budgets: quantiles of these networks' true latencies; regret: points of accuracy behind "
        "the search on the true latencies, of those that keep the budget"
    )
    means = [row for row in rows if "targets" in row]
    if partial := sum(len(row["regret_targets"]) < len(row["targets"]) for row in means):
        yield (
            "regret of mean: over the targets where a network kept the budget, which in "
            f"{partial} of {len(means)} cells are not all: two sources can differ in their targets"
        )


def _left_out(rows: Rows) -> Parts:
    """Budgets kept on targets that were left out, and what that costs in accuracy."""
    columns = (
        Column("target", "target"),
        Column("latencies from", "source"),
        Column("rows", lambda r: "all others" if r["samples"] is None else r["samples"]),
        Column("confidence", _level),
        Column("kept", lambda r: f"{r['kept']} of {r['found']}"),
        Column("none found", lambda r: r["budgets"] - r["found"]),
        Column("over by %", "excess_percent", ".1f"),
        Column("lost to own model", lambda r: number(100 * r["lost_mean"], ".2f")),
        Column("regret", lambda r: number(100 * r["regret_mean"], ".2f")),
    )
    yield seeds_text(rows)
    for (space,), own in _grouped(rows, "space").items():
        yield Table(columns, own, f"{space}: the target and its chip left out")
    yield (
        "budgets: quantiles of the candidates' true latencies; lost and regret: points of accuracy "
        "behind the choices by the target's own model and by the true latencies, of what keeps the "
        "budget"
    )


def _over_budgets(rows: Rows) -> dict[str, Any]:
    over = [r["excess_percent"] for r in rows if math.isfinite(r["excess_percent"])]
    return {
        **{key: rows[0][key] for key in ("target", "source", "confidence")},
        "regret": {str(n): row["regret_mean"] for n, row in enumerate(rows)},
        "kept": sum(r["kept"] for r in rows),
        "found": sum(r["found"] for r in rows),
        "asked": sum(r["seeds"] * len(r.get("targets", "1")) for r in rows),
        "excess": np.mean(over) if over else None,
    }


# Bench -> what its rows are shown as: what is true of all of them first, where it is a text.
LAYOUTS: Mapping[str, Callable[[Rows], Parts]] = {
    "paper": _paper,
    "dataset-size": _curves("dataset", "predictor"),
    "fine-tuning": _curves("target", "method"),
    "transfer": _transfer,
    "gpu": _gpu,
    "families": _families,
    "devices": _devices,
    "search": _searches,
}
