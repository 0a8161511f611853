"""Checks that look at the latencies alone, or at what a model makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.math.robust import robust_deviation

from ._finding import ArchSubject, Finding, Subject
from .additive import fit_additive, incidence

LISTED_ROWS = 20
OUTLIER_SIGMAS = 8.0
OUTLIER_LEAST = 0.05
EXACT = 1e-6


def check_impossible(subject: Subject) -> Iterator[Finding]:
    """Latencies that are NaN, infinite, zero, negative or absurd."""
    bad = ~subject.possible
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    worst = subject.data.latency_ms[rows[0]]
    yield Finding(
        "impossible",
        "error",
        f"{_count(len(rows), len(bad))} a latency that is not finite and positive, or absurd "
        f"(row {rows[0]}: {worst} ms)",
        {"count": len(rows), "rows": _listed(rows), "first_value": str(worst)},
        "No model can be fitted to these rows, and one such value makes a mean meaningless.",
        "Leave them out with data.valid(), and measure them again.",
    )


def check_near_zero(subject: Subject) -> Iterator[Finding]:
    """Latencies that are far too small to be one."""
    rows = np.flatnonzero(subject.near_zero)
    if not rows.size:
        return
    y = subject.data.latency_ms
    median = float(np.median(y[subject.possible]))
    worst = int(rows[np.argmin(y[rows])])
    dead = subject.dead(rows)
    yield Finding(
        "near-zero",
        "error",
        f"{_count(len(rows), len(y))} a latency near zero: down to {y[worst]:.4g} ms "
        f"(row {worst}), where the median is {median:.4g} ms"
        + (f"; {dead} of them are networks that make nothing of their input" if dead else ""),
        {
            "count": len(rows),
            "rows": _listed(rows),
            "worst_row": worst,
            "worst_ms": float(y[worst]),
            "largest_ms": float(y[rows].max()),
            "median_ms": median,
            "dead_networks": dead,
        },
        "Failed or empty runs look like very fast networks: a search picks them first.",
        f"Leave out rows below {y[rows].max() * 1.01:.3g} ms and measure them again.",
    )


def check_constant(subject: Subject) -> Iterator[Finding]:
    """One latency for every architecture."""
    if not subject.is_constant or subject.distinct < 2:
        return
    value = float(subject.data.latency_ms[subject.usable[0]])
    yield Finding(
        "constant",
        "error",
        f"all {len(subject.usable)} usable rows have the same latency, {value:.6g} ms",
        {"rows": len(subject.usable), "latency_ms": value},
        "There is nothing to learn from.",
        "Check what was timed; a clock that stands still gives such data.",
    )


def check_outliers(subject: Subject) -> Iterator[Finding]:
    """Rows that a model of the blocks, fitted to the others, is far off at."""
    residuals = subject.residuals
    if residuals is None:
        return
    sigma = robust_deviation(residuals)
    far = np.abs(residuals) > max(OUTLIER_LEAST, OUTLIER_SIGMAS * sigma)
    if not far.any():
        return
    rows = subject.fresh[far]
    position = int(np.argmax(np.abs(residuals)))
    worst = int(subject.fresh[position])
    y = float(subject.data.latency_ms[worst])
    off = float(residuals[position])
    yield Finding(
        "outliers",
        "warning" if len(rows) > 0.001 * len(residuals) else "note",
        f"{_count(len(rows), len(residuals))} a latency far from what their blocks explain; the "
        f"worst is row {worst}: {y:.4g} ms, {abs(off):.0%} {'above' if off > 0 else 'below'}",
        {
            "count": len(rows),
            "rows": _listed(np.sort(rows)),
            "worst_row": worst,
            "worst_ms": y,
            "worst_relative": off,
            "sigma_percent": 100 * sigma,
        },
        "Least squares follows a few such rows more than hundreds of good ones.",
        "Measure these architectures again; fit with a loss that bounds a row's influence.",
    )


def check_rounded(subject: Subject) -> Iterator[Finding]:
    """Latencies in whole steps of a coarse clock."""
    y = subject.data.latency_ms[subject.usable]
    if len(y) < 20 or subject.is_constant:
        return
    values = np.unique(y)
    step = float(np.diff(values).min())
    median = float(np.median(y))
    multiples = np.abs(values / step - np.round(values / step)) < 1e-3
    if step < 0.002 * median or len(values) > len(y) / 2 or not multiples.all():
        return
    yield Finding(
        "rounded",
        "note",
        f"latencies come in steps of {step:.4g} ms, {step / median:.1%} of the median: "
        f"{len(values)} distinct values in {len(y)} rows",
        {
            "step_ms": step,
            "step_percent": 100 * step / median,
            "distinct_latencies": len(values),
            "rows": len(y),
        },
        f"No error below {step / 4:.3g} ms on average can be told from rounding.",
        "Time with a finer clock, or more runs per sample.",
    )


def check_additive(subject: ArchSubject) -> Iterator[Finding]:
    """Latencies that a table of block values reproduces exactly on rows it was not fitted to."""
    error = None if subject.is_constant else _held_out_error(subject)
    if error is None or error["median"] > EXACT or error["largest"] > 10 * EXACT:
        return
    yield Finding(
        "exactly-additive",
        "warning",
        f"latencies are sums over a table of blocks, not measurements: a table fitted to "
        f"{error['fitted']} rows reproduces {error['held_out']} others to "
        f"{error['largest']:.1e} at worst",
        error,
        "An error on this data tells how well a table is copied, not how well a device is known.",
        "Use the table itself (latcast.predictors.LookupTable) and validate on measured networks.",
    )


def _held_out_error(subject: ArchSubject) -> dict[str, Any] | None:
    """Relative errors on a fifth of the architectures; None where that cannot be told."""
    data = subject.data
    rows = subject.fresh
    # More than one row per block value and some to spare, or the fit is exact for any labels.
    archs = data.archs[rows]
    used = int((np.asarray(incidence(archs).sum(axis=0)).ravel() > 0).sum()) if len(rows) else 0
    groups = archs.unique_index()
    if groups.max(initial=-1) + 1 < max(30, 1.5 * used):
        return None
    out = (np.random.default_rng(0).random(int(groups.max()) + 1) < 0.2)[groups]
    fit = fit_additive(archs[~out], data.latency_ms[rows[~out]], 1e-9)
    padded = np.append(fit.values_ms, 0.0)
    known = ~np.isnan(padded[archs.space.block_ids(archs)]).any(axis=1)
    held_out = np.flatnonzero(out & known)
    if held_out.size < 5:
        return None
    truth = data.latency_ms[rows[held_out]]
    errors = np.abs(fit.predict(archs[held_out]) / truth - 1)
    return {
        "fitted": int((~out).sum()),
        "held_out": len(held_out),
        "median": float(np.median(errors)),
        "largest": float(errors.max()),
    }


def _count(count: int, total: int) -> str:
    return f"{count} of {total} rows {'has' if count == 1 else 'have'}"


def _listed(rows: npt.NDArray[np.intp]) -> list[int]:
    return [int(row) for row in rows[:LISTED_ROWS]]
