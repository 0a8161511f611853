"""Verified searches as tables and as JSON."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._common import note, print_table

if TYPE_CHECKING:
    from latcast.search.verification import Verification, VerifiedResult


def result_record(result: VerifiedResult) -> dict[str, Any]:
    """A verified search as JSON can hold it."""
    costs = result.archs.space.costs(result.archs).to_dicts()
    columns = {
        "max_latency_ms": result.max_latency_ms,
        "accuracy": result.accuracy,
        "latency_ms": result.predicted_ms,
        "lower_ms": result.lower_ms,
        "upper_ms": result.upper_ms,
        "measured_ms": result.measured_ms,
        "standard_error": result.standard_error,
        "verified": result.is_verified,
        "unverified_accuracy": result.unverified_accuracy,
    }
    return {
        "target": str(result.predictor.target),
        "space": result.archs.space.name,
        "method": result.search.method,
        "confidence": result.search.confidence,
        "coverage": result.coverage,
        "agrees": result.agrees,
        "stopped": result.stopped,
        "measurements": 0 if result.measured is None else len(result.measured),
        "rounds": [round_record(found) for found in result.rounds],
        "found": [
            {**_row(columns, n), "costs": costs[n], "arch": arch}
            for n, arch in enumerate(result.archs.to_dicts())
        ],
    }


def round_record(found: Verification) -> dict[str, Any]:
    """Predicted against measured as JSON can hold it."""
    columns = {
        "max_latency_ms": found.max_latency_ms,
        "accuracy": found.accuracy,
        "predicted_ms": found.predicted_ms,
        "lower_ms": found.lower_ms,
        "upper_ms": found.upper_ms,
        "measured_ms": found.measured_ms,
        "standard_error": found.standard_error,
        "error": found.error,
        "inside": _where(found.lower_ms >= 0, found.is_inside),
        "kept": _where(found.max_latency_ms < float("inf"), found.keeps),
    }
    return {
        "round": found.round,
        "mape": found.mape,
        "networks": [
            {"role": found.roles[n], **_row(columns, n), "arch": arch}
            for n, arch in enumerate(found.archs.to_dicts())
        ],
        "failed": [{"arch": a.to_dicts()[0], "reason": why} for a, why in found.failures],
        "warnings": list(found.warnings),
    }


def _row(columns: dict[str, Any], n: int) -> dict[str, Any]:
    return {name: values[n] for name, values in columns.items()}


def _where(known: Iterable[bool], values: Iterable[bool]) -> list[bool | None]:
    return [bool(v) if k else None for k, v in zip(known, values, strict=True)]


def print_result(result: VerifiedResult, *, quiet: bool) -> None:
    """Every round's table, and the networks found; doubts go to stderr."""
    for found in result.rounds:
        if len(found):
            _print_round(found, str(result.predictor.target))
        for arch, reason in found.failures:
            note(f"not measured: {jsonlib.dumps(arch.to_dicts()[0])}: {reason}", quiet=quiet)
        for warning in found.warnings:
            note(f"warning: {warning}", quiet=quiet)
    _print_found(result)
    note(_conclusion(result), quiet=quiet)


def _print_round(found: Verification, target: str) -> None:
    rows = [
        [
            found.roles[n],
            _number(found.max_latency_ms[n], "g"),
            _number(100 * found.accuracy[n], ".2f"),
            _number(found.predicted_ms[n], ".2f"),
            _bounds(found.lower_ms[n], found.upper_ms[n]),
            _number(found.measured_ms[n], ".2f"),
            _number(100 * found.error[n], "+.1f"),
            _yes(found.is_inside[n], known=found.lower_ms[n] >= 0),
            _yes(found.keeps[n], known=found.max_latency_ms[n] < float("inf")),
        ]
        for n in range(len(found))
    ]
    columns = [
        "why", "budget ms", "top-1 %", "predicted ms", f"{100 * found.coverage:g} % interval",
        "measured ms", "error %", "inside", "kept",
    ]  # fmt: skip
    print_table(columns, rows, title=f"round {found.round}: predicted against measured on {target}")


def _print_found(result: VerifiedResult) -> None:
    macs = result.archs.space.costs(result.archs)["macs"].to_list()
    rows = [
        [
            _number(result.max_latency_ms[n], ".4g"),
            f"{100 * result.accuracy[n]:.2f}",
            f"{result.predicted_ms[n]:.2f}",
            _number(result.measured_ms[n], ".2f"),
            _state(result, n),
            f"{macs[n] / 1e6:.0f}",
            jsonlib.dumps(arch, separators=(",", ":")),
        ]
        for n, arch in enumerate(result.archs.to_dicts())
    ]
    columns = ["budget ms", "top-1 %", "predicted ms", "measured ms", "", "MMACs", "architecture"]
    print_table(
        columns,
        rows,
        title=f"most accurate of {result.archs.space.name} on {result.predictor.target}",
    )


def _state(result: VerifiedResult, n: int) -> str:
    from latcast.measure._results import UNSTABLE

    if not result.is_verified[n]:
        return "NOT VERIFIED"
    states_errors = result.measured is not None and result.measured.standard_error is not None
    if states_errors and not result.standard_error[n] <= UNSTABLE:
        return "measured, UNSTABLE"
    return "measured"


def summary(found: Verification) -> str:
    """What came of a round, on one line."""
    what = f"round {found.round}: {len(found)} measured"
    if found.mape == found.mape:
        what += f", predictions {found.mape:.1f} % off on average"
    has_budget = found.max_latency_ms < float("inf")
    picks = [n for n, role in enumerate(found.roles) if role == "pick" and has_budget[n]]
    if picks:
        what += f", {int(found.keeps[picks].sum())} of {len(picks)} picks keep their budget"
    return what


def _conclusion(result: VerifiedResult) -> str:
    count = 0 if result.measured is None else len(result.measured)
    if result.agrees:
        return f"the device agrees, after {count} measurements"
    text = f"{'interrupted after ' if result.stopped else ''}{count} measurements"
    if not result.is_verified.all():
        text += f"; {_unverified(result)}: allow more --rounds"
    better = 100 * (result.unverified_accuracy - result.accuracy)
    if (better > 0).any():
        text += (
            f"; the last search expects up to {better[better > 0].max():.2f} % more from networks "
            "that have not been measured: allow more --rounds"
        )
    return text


def _unverified(result: VerifiedResult) -> str:
    """What stands behind the networks that were not measured."""
    if result.measured is None:
        return "NOT VERIFIED: nothing has been measured"
    budgets = ", ".join(f"{b:g}" for b in result.max_latency_ms[~result.is_verified])
    return (
        f"NOT VERIFIED: no measured network is an answer for {budgets} ms, and what is shown for "
        "it has not been measured"
    )


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if abs(value) < float("inf") else "–"


def _bounds(lower: float, upper: float) -> str:
    return f"{lower:.2f} – {upper:.2f}" if lower >= 0 else "–"


def _yes(value: bool, *, known: bool) -> str:
    return ("yes" if value else "NO") if known else "–"
