"""Data issues of a dataset, found without being told where to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from latcast.math.robust import robust_deviation
from latcast.report.markup import counted

from ._audit_order import check_drift, drifted
from ._audit_units import check_units, unit_doubt
from ._audited import SEVERITIES, Audited, Finding, Ints, Memoized, first_rows, relative_residuals
from ._dataset import UNSTABLE, Dataset, paper_split
from ._quantity import LATENCY_MS, Quantity
from .additive import Floats, fit_additive, incidence

__all__ = ["CHECKS", "Finding", "audit", "drifted", "measured_rows", "unit_doubt"]

# Rows that a finding's evidence names at most; the count is of all.
LISTED_ROWS = 20

# The sensitivities below are of 42 files, the OFANAS paper's, half of HELP's and our own.
# Robust standard deviations: normal noise never gets there, what spikes do lies far beyond. With 6
# the finding is another in 3 of the files, with 12 in 5.
OUTLIER_SIGMAS = 8.0
# Relative: below, a residual may be the model's own error where the noise is tiny. With 0.1 the
# finding is another in 4 of the files, with 0.025 in none.
MIN_OUTLIER = 0.05
# Share of unstable rows above which they are more than a note.
MANY_UNSTABLE = 0.1
# Share by which the reference network may be off: in our own datasets, whose drift is taken out,
# it is so by up to 0.08 in all but 43 of 9,460 rows, and by 0.2 in one.
MAX_SPEED = 0.2
# Relative error of sums of a table that are printed with 7 digits. Anything from 1e-8 to 1e-4 gives
# the same findings in all the files.
EXACT = 1e-6


def audit(data: Dataset) -> list[Finding]:
    """Run all checks; the most severe findings first, within a severity in the checks' order.

    A dataset that is too small or too broken for a check has no finding of it.

    Raises:
        ValueError: the values do not depend on a target, as accuracies do not.
    """
    if not data.quantity.of_target:
        raise ValueError(
            f"an audit looks at what was measured on a target; got values of {data.quantity.name}"
        )
    audited = Audited(data)
    findings = [finding for check in CHECKS for finding in check(audited)]
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def measured_rows(data: Dataset, findings: Sequence[Finding] | None = None) -> Dataset:
    """The rows that were measured, without those whose label was copied from another architecture.

    Args:
        data: a dataset.
        findings: what :func:`audit` found in it; by default only copies are looked for.

    Raises:
        ValueError: labels were copied, and which rows are genuine cannot be told.
    """
    for finding in check_memoized(Audited(data)) if findings is None else findings:
        if finding.kind == "memoized":
            rows = np.array(finding.evidence["genuine_rows"], dtype=np.intp)
            if not rows.size:
                raise ValueError(f"{finding.message}; which were measured cannot be told")
            return data[rows]
    return data


# -- the values --------------------------------------------------------------------------------


def check_impossible(audited: Audited) -> Iterator[Finding]:
    """Values that are NaN, infinite, zero, negative or absurd."""
    bad = ~audited.possible
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    worst = audited.data.values[rows[0]]
    yield Finding(
        "impossible",
        "error",
        f"{_count(len(rows), len(bad))} {audited.of.with_article} that is not "
        f"{audited.of.condition}, or absurd (row {rows[0]}: {worst} {audited.of.unit})",
        {"count": len(rows), "rows": _listed(rows), "first_value": str(worst)},
        "No model can be fitted to these rows, and one such value makes a mean meaningless.",
        "Leave them out with data.valid(), and measure them again.",
    )


def check_near_zero(audited: Audited) -> Iterator[Finding]:
    """Values that are far too small to be one."""
    of = audited.of
    rows = np.flatnonzero(audited.near_zero)
    if not rows.size:
        return
    y = audited.data.values
    median = float(np.median(y[audited.possible]))
    worst = int(rows[np.argmin(y[rows])])
    dead = audited.dead(rows)
    yield Finding(
        "near-zero",
        "error",
        f"{_count(len(rows), len(y))} {of.with_article} near zero: down to {y[worst]:.4g} "
        f"{of.unit} (row {worst}), where the median is {median:.4g} {of.unit}"
        + (f"; {dead} of them are networks that make nothing of their input" if dead else ""),
        {
            "count": len(rows),
            "rows": _listed(rows),
            "worst_row": worst,
            of.column("worst"): float(y[worst]),
            of.column("largest"): float(y[rows].max()),
            of.column("median"): median,
            "dead_networks": dead,
        },
        f"Failed or empty runs look like very {'fast' if of == LATENCY_MS else 'frugal'} networks: "
        "a search picks them first.",
        f"Leave out rows below {y[rows].max() * 1.01:.3g} {of.unit} and measure them again.",
    )


def check_constant(audited: Audited) -> Iterator[Finding]:
    """One value for every network."""
    if not audited.is_constant or audited.distinct < 2:
        return
    value = float(audited.data.values[audited.usable[0]])
    yield Finding(
        "constant",
        "error",
        f"all {len(audited.usable)} usable rows have the same {audited.of.label}, {value:.6g} "
        f"{audited.of.unit}",
        {"rows": len(audited.usable), audited.of.name: value},
        "There is nothing to learn from.",
        "Check what was timed; a clock that stands still gives such data."
        if audited.of == LATENCY_MS
        else "Check what was measured; an instrument that stands still gives such data.",
    )


def check_outliers(audited: Audited) -> Iterator[Finding]:
    """Rows that a model of the blocks, fitted to the others, is far off at."""
    residuals = audited.residuals
    if residuals is None:
        return
    sigma = robust_deviation(residuals)
    far = np.abs(residuals) > max(MIN_OUTLIER, OUTLIER_SIGMAS * sigma)
    if not far.any():
        return
    rows = audited.fresh[far]
    position = int(np.argmax(np.abs(residuals)))
    worst = int(audited.fresh[position])
    y = float(audited.data.values[worst])
    off = float(residuals[position])
    yield Finding(
        "outliers",
        "warning" if len(rows) > 0.001 * len(residuals) else "note",
        f"{_count(len(rows), len(residuals))} {audited.of.with_article} far from what their blocks "
        f"explain; the worst is row {worst}: {y:.4g} {audited.of.unit}, {100 * abs(off):.0f} % "
        f"{'above' if off > 0 else 'below'}",
        {
            "count": len(rows),
            "rows": _listed(np.sort(rows)),
            "worst_row": worst,
            audited.of.column("worst"): y,
            "worst_relative": off,
            "sigma_percent": 100 * sigma,
        },
        "Least squares follows a few such rows more than hundreds of good ones.",
        "Measure these architectures again; fit with a loss that bounds a row's influence.",
    )


def check_unstable(audited: Audited) -> Iterator[Finding]:
    """Values that their own measurements do not tell to 3 %."""
    data, errors = audited.data, audited.data.standard_error
    rows = np.flatnonzero(data.unstable)
    if errors is None or not rows.size:
        return
    unknown = int(np.isnan(errors[rows]).sum())
    yield Finding(
        "unstable",
        "warning" if len(rows) > MANY_UNSTABLE * len(data) else "note",
        f"{_count(len(rows), len(data))} {audited.of.with_article} that is not known to "
        f"{100 * UNSTABLE:.0f} %: {data.row_names(data.unstable)}",
        {
            "count": len(rows),
            "rows": _listed(rows),
            "of_a_busy_machine": unknown,
            "largest_percent": 100 * float(np.nanmax(errors)) if unknown < len(errors) else None,
        },
        "What one run took may not be what the next one takes; of a busy machine it is too long by "
        "nobody knows how much.",
        "Measure them again with more runs on a quiet machine; adapt and train weigh them by their "
        "scatter.",
    )


def check_busy(audited: Audited) -> Iterator[Finding]:
    """Rows beside which the reference network was slow or fast, and which are not corrected."""
    data = audited.data
    if data.reference is None:
        return
    rows = audited.usable
    measured = data.values if data.uncorrected is None else data.uncorrected
    speed = np.log(data.reference[rows]) - np.median(np.log(data.reference[rows]))
    left = speed - np.log(measured[rows] / data.values[rows])
    off = np.abs(left) > np.log1p(MAX_SPEED)
    if not off.any():
        return
    times = np.exp(left[off])
    chosen = np.zeros(len(data), dtype=np.bool_)
    chosen[rows[off]] = True
    yield Finding(
        "busy",
        "warning",
        f"beside {int(off.sum())} of {len(data)} rows the reference network took "
        f"{times.min():.2f} to {times.max():.2f} times its usual time, for which they are not "
        f"corrected: {data.row_names(chosen)}",
        {
            "count": int(off.sum()),
            "rows": _listed(np.flatnonzero(chosen)),
            "least": float(times.min()),
            "largest": float(times.max()),
        },
        "The machine was busy or slow in these rows, whatever their repetitions agree on.",
        "Measure them again on a quiet machine, or divide them by the reference network's times.",
    )


def check_rounded(audited: Audited) -> Iterator[Finding]:
    """Values in whole steps of a coarse clock or instrument."""
    of, y = audited.of, audited.data.values[audited.usable]
    if len(y) < 20 or audited.is_constant:
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
        f"{of.plural} come in steps of {step:.4g} {of.unit}, {100 * (step / median):.1f} % of "
        "the median: "
        f"{counted(len(values), 'distinct value')} in {counted(len(y), 'row')}",
        {
            of.column("step"): step,
            "step_percent": 100 * step / median,
            _distinct(of): len(values),
            "rows": len(y),
        },
        f"No error below {step / 4:.3g} {of.unit} on average can be told from rounding.",
        "Time with a finer clock, or more runs per sample."
        if of == LATENCY_MS
        else "Measure with a finer instrument, or more runs per sample.",
    )


def check_additive(audited: Audited) -> Iterator[Finding]:
    """Values that a table of block values reproduces exactly on rows it was not fitted to."""
    if audited.data.space is None or audited.is_constant:
        return
    error = _held_out_error(audited)
    if error is None or error["median"] > EXACT or error["largest"] > 10 * EXACT:
        return
    yield Finding(
        "exactly-additive",
        "warning",
        f"{audited.of.plural} are sums over a table of blocks, not measurements: a table fitted to "
        f"{error['fitted']} rows reproduces {error['held_out']} others to "
        f"{error['largest']:.1e} at worst",
        error,
        "An error on this data tells how well a table is copied, not how well a device is known.",
        "Use the table itself (latcast.predictors.LookupTable) and validate on measured networks.",
    )


def _held_out_error(audited: Audited) -> dict[str, Any] | None:
    """Relative errors on a fifth of the architectures; None where that cannot be told."""
    data = audited.data
    rows = audited.fresh
    # More than one row per block value and some to spare, or the fit is exact for any labels.
    archs = data.archs[rows]
    used = int((np.asarray(incidence(archs).sum(axis=0)).ravel() > 0).sum()) if len(rows) else 0
    groups = archs.unique_index()
    if groups.max(initial=-1) + 1 < max(30, 1.5 * used):
        return None
    out = (np.random.default_rng(0).random(int(groups.max()) + 1) < 0.2)[groups]
    fit = fit_additive(archs[~out], data.values[rows[~out]], 1e-9)
    padded = np.append(fit.values_ms, 0.0)
    known = ~np.isnan(padded[archs.space.block_ids(archs)]).any(axis=1)
    held_out = np.flatnonzero(out & known)
    if held_out.size < 5:
        return None
    truth = data.values[rows[held_out]]
    errors = np.abs(fit.predict(archs[held_out]) / truth - 1)
    return {
        "fitted": int((~out).sum()),
        "held_out": len(held_out),
        "median": float(np.median(errors)),
        "largest": float(errors.max()),
    }


def _count(count: int, total: int) -> str:
    return f"{count:,} of {total:,} rows {'has' if count == 1 else 'have'}"


def _distinct(of: Quantity) -> str:
    """Key of the number of distinct values, such as ``distinct_latencies``."""
    return f"distinct_{of.plural.replace(' ', '_')}"


def _listed(rows: Ints) -> list[int]:
    return [int(row) for row in rows[:LISTED_ROWS]]


# -- copies ------------------------------------------------------------------------------------


def check_memoized(audited: Audited) -> Iterator[Finding]:
    """Architectures that differ in one gene and nevertheless have one latency."""
    found = audited.memoized
    if found is None:
        return
    data = audited.data
    evidence: dict[str, Any] = {
        "gene": found.gene,
        "groups": found.compared,
        "equal_groups": found.equal,
        "distinct_architectures": len(data.archs[audited.usable].unique()),
        _distinct(audited.of): len(np.unique(data.values[audited.usable])),
        "rows": len(audited.usable),
        **_genuine(audited, found),
    }
    genuine = evidence["first_rows_are_genuine"]
    yield Finding(
        "memoized",
        "error",
        f"the labels ignore {found.gene}: in {found.equal} of {found.compared} groups "
        f"architectures that differ in {found.gene} alone have exactly one {audited.of.label}; "
        f"{evidence['rows']} rows hold {evidence['distinct_architectures']} distinct "
        f"architectures and {evidence[_distinct(audited.of)]} distinct {audited.of.plural}",
        evidence,
        f"Most labels were copied from another architecture and are wrong for their {found.gene}; "
        "a split by row trains on the test set.",
        "Keep only the first row of each group: "
        "a model of the blocks agrees with these and not with the rest "
        "(data[finding.evidence['genuine_rows']])."
        if genuine
        else f"Measure again without caching by the other genes, or leave {found.gene} out.",
    )


def _genuine(audited: Audited, found: Memoized) -> dict[str, Any]:
    """Whether the first row of every group, unlike its later rows, fits its architecture."""
    data, rows = audited.data, audited.usable
    first = first_rows(found.groups, data.values[rows])
    # The last row of every group: of the same latencies, with another value of the gene.
    last = len(rows) - 1 - first_rows(found.groups[::-1], data.values[rows][::-1])
    sizes = [_typical_residual(audited, rows[part]) for part in (first, last)]
    genuine = None not in sizes and 2 * (sizes[0] or 0) < (sizes[1] or 0)
    return {
        "first_rows_are_genuine": genuine,
        "first_rows_residual_percent": sizes[0],
        "last_rows_residual_percent": sizes[1],
        "genuine_rows": [int(r) for r in np.sort(rows[first])] if genuine else [],
    }


def _typical_residual(audited: Audited, rows: Ints) -> float | None:
    residuals = relative_residuals(audited.data[rows])
    return None if residuals is None else 100 * float(np.median(np.abs(residuals)))


def check_duplicates(audited: Audited) -> Iterator[Finding]:
    """The same network in several rows, and what that does to the paper's split."""
    data = audited.data
    groups = data.unique_index()
    counts = np.bincount(groups) if len(groups) else np.zeros(0, dtype=np.intp)
    if not (counts > 1).any():
        return
    n = len(groups)
    numbered = replace(data, order=np.arange(n))  # so that a split shows which rows it took
    train, _, test = (part.order for part in paper_split(numbered))
    leaked = int(np.isin(groups[test], groups[train]).sum())
    evidence: dict[str, Any] = {
        "rows": n,
        "distinct_architectures": len(counts),
        "repeated_architectures": int((counts > 1).sum()),
        "test_rows": len(test),
        "test_rows_trained_on": leaked,
        **_agreement(groups[audited.usable], data.values[audited.usable]),
    }
    copied = evidence["exactly_equal_share"] > 0.9
    yield Finding(
        "duplicates",
        "error" if copied and leaked else "warning",
        f"{n} rows hold {len(counts)} distinct architectures; of the last 15 % of the rows, "
        f"{leaked} of {len(test)} are of an architecture among the first 70 %; repeated rows "
        + ("agree exactly" if copied else f"differ by {evidence['spread_percent']:.2g} %"),
        evidence,
        "Copied labels: a split by row tests on rows that were trained on."
        if copied
        else "Repeat measurements: a split by row tests on architectures that were trained on.",
        "Split by architecture, with latcast.data.split; count distinct architectures, not rows.",
    )


def _agreement(groups: Ints, values: Floats) -> dict[str, Any]:
    """How far the values of one network differ: (largest - least) / mean, median."""
    if not len(groups):
        return {"exactly_equal_share": 0.0, "spread_percent": 0.0}
    size = int(groups.max()) + 1
    least, largest = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(least, groups, values)
    np.maximum.at(largest, groups, values)
    repeated = np.bincount(groups, minlength=size) > 1
    if not repeated.any():
        return {"exactly_equal_share": 0.0, "spread_percent": 0.0}
    least, largest = least[repeated], largest[repeated]
    spread = 2 * (largest - least) / (largest + least)
    return {
        "exactly_equal_share": float((spread == 0).mean()),
        "spread_percent": 100 * float(np.median(spread)),
    }


CHECKS: tuple[Callable[[Audited], Iterator[Finding]], ...] = (
    check_impossible,
    check_units,
    check_near_zero,
    check_constant,
    check_memoized,
    check_duplicates,
    check_drift,
    check_outliers,
    check_unstable,
    check_busy,
    check_rounded,
    check_additive,
)
"""Of graphs, which have neither genes nor blocks, two of these find nothing."""
