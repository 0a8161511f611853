"""Checks of the order in which rows were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.math.change_points import Segment, base_level, lag_one, segments
from latcast.math.robust import robust_deviation

from ._audited import Audited, Finding
from ._dataset import PAPER_FRACTIONS, Dataset
from .additive import Floats

# A twentieth of the rows may be a warm-up: of fewer they are too few to tell from noise.
MIN_ROWS = 100
# A stretch is worth reporting from 0.3 % on. Half or twice as much changes the finding in 3 of 42
# files (the OFANAS paper's, half of HELP's, our own).
MIN_SHIFT = 0.003
WARM_UP_SHARE = 0.05
# A shifted stretch at the start is a warm-up up to this share of the rows, or so many of them.
WARM_UP_ROWS = 50


@dataclass(frozen=True, slots=True)
class _Campaign:
    """Rows in the order of the campaign, each of another architecture than the one before.

    Attributes:
        order: positions in the campaign, shape (n,).
        residuals: relative residuals, shape (n,).
        series: the same without outliers.
        predicted_log: logarithms of what the model predicts, shape (n,).
    """

    order: npt.NDArray[np.int64]
    residuals: Floats
    series: Floats
    predicted_log: Floats


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Positions ``start`` to ``stop`` (exclusive) of the campaign, ``shift`` off the rest."""

    start: int
    stop: int
    shift: float


def check_drift(audited: Audited) -> Iterator[Finding]:
    """Stretches of the campaign in which the machine was faster or slower; the warm-up apart."""
    campaign = _campaign(audited)
    if campaign is None:
        return
    autocorrelation = lag_one(campaign.predicted_log)
    if _is_ordered(campaign):
        yield _ordered(autocorrelation)
        return
    warm_up, shifted = _divided(campaign)
    if shifted:
        yield _drift(campaign, shifted)
    if warm_up:
        yield _warm_up(campaign, warm_up)


def drifted(data: Dataset, predicted: Floats) -> list[tuple[int, int, float]]:
    """Stretches of a campaign in which the machine was faster or slower, by a model's predictions.

    Args:
        data: n rows, of which a model predicts
        predicted: shape (n,).

    Returns:
        First and last position in the campaign, and how far rows between them are off the rest,
        relative; without the warm-up. None of rows that are ordered, or too few.
    """
    rows = np.argsort(data.order, kind="stable")
    residuals = data.values[rows] / predicted[rows] - 1
    campaign = _campaign_of(data[rows], residuals - float(np.median(residuals)))
    if campaign is None or _is_ordered(campaign):
        return []
    order = campaign.order
    return [
        (int(order[part.start]), int(order[part.stop - 1]), part.shift)
        for part in _divided(campaign)[1]
    ]


def _is_ordered(campaign: _Campaign) -> bool:
    """Rows in the order of their genes are slow and fast in turns for reasons of their own."""
    return bool(abs(lag_one(campaign.predicted_log)) > max(0.1, 5 / len(campaign.series) ** 0.5))


def _divided(campaign: _Campaign) -> tuple[list[_Stretch], list[_Stretch]]:
    """The stretches of the warm-up, and the others that are off."""
    n = len(campaign.series)
    shifted = _shifted(campaign)
    warm_up: list[_Stretch] = []
    # A machine that warms up in several steps gives several stretches, one after the other from the
    # first row on.
    while shifted and shifted[0].start == (warm_up[-1].stop if warm_up else 0):
        if shifted[0].stop > max(WARM_UP_ROWS, WARM_UP_SHARE * n):
            break
        warm_up.append(shifted.pop(0))
    return warm_up, shifted


def _campaign(audited: Audited) -> _Campaign | None:
    """Return the fresh rows' campaign with residuals; None if there are no residuals."""
    residuals = audited.residuals
    return None if residuals is None else _campaign_of(audited.data[audited.fresh], residuals)


def _campaign_of(data: Dataset, residuals: Floats) -> _Campaign | None:
    # Repeats in a row share the model's error, which would look like drift.
    networks = data.unique_index()
    kept = np.append(True, np.diff(networks) != 0)
    if kept.sum() < MIN_ROWS:
        return None
    residuals = residuals[kept]
    # Levels are means: a spike would make a stretch of its own.
    limit = 3 * robust_deviation(residuals)
    return _Campaign(
        data.order[kept],
        residuals,
        np.clip(residuals, -limit, limit),
        np.log(data.values[kept]) - np.log(np.maximum(1 + residuals, 1e-12)),
    )


def _shifted(campaign: _Campaign) -> list[_Stretch]:
    """Stretches off the rest by the least shift, in the mean and in the median.

    Levels are means of clipped residuals; how far a stretch is off is said by medians, which
    neither clipping nor more frequent outliers move.
    """
    # The deviation holds the drift itself: it is too large rather than too small, and splits too
    # seldom rather than too often.
    parts = segments(campaign.series, float(campaign.series.std()))
    base = base_level(parts)
    normal = [p for p in parts if abs(p.level - base) < MIN_SHIFT]
    usual = float(np.median(np.concatenate([campaign.residuals[p.start : p.stop] for p in normal])))
    result = []
    for part in _joined(parts):
        shift = float(np.median(campaign.residuals[part.start : part.stop])) - usual
        off = part.level - base
        if min(abs(off), abs(shift)) >= MIN_SHIFT and off * shift > 0:
            result.append(_Stretch(part.start, part.stop, shift))
    return result


def _joined(parts: Sequence[Segment]) -> list[Segment]:
    """Neighbours whose levels differ by less than the least shift, as one."""
    result: list[Segment] = []
    for part in parts:
        last = result[-1] if result else None
        if last is not None and abs(last.level - part.level) < MIN_SHIFT:
            level = (last.level * len(last) + part.level * len(part)) / (len(last) + len(part))
            result[-1] = Segment(last.start, part.stop, level)
        else:
            result.append(part)
    return result


def _ordered(autocorrelation: float) -> Finding:
    return Finding(
        "ordered",
        "note",
        "rows are ordered by architecture or latency: predictions of neighbouring rows correlate "
        f"by {autocorrelation:.2f}",
        {"lag1_autocorrelation_of_predictions": autocorrelation},
        "Drift cannot be told from what a model does not know; a split by row tests on "
        "architectures unlike those it trained on.",
        "Give the order in which rows were measured, if it was another; measure in random order.",
    )


def _drift(campaign: _Campaign, shifted: list[_Stretch]) -> Finding:
    # By its significance, which grows with the root of its length.
    largest = max(shifted, key=lambda p: abs(p.shift) * (p.stop - p.start) ** 0.5)
    share = sum(p.stop - p.start for p in shifted) / len(campaign.series)
    autocorrelation = lag_one(campaign.series)
    gap = _test_gap(campaign.residuals)
    return Finding(
        "drift",
        "warning",
        f"the machine drifted: {len(shifted)} stretch{'es' if len(shifted) > 1 else ''} "
        f"({100 * share:.0f} % of the rows), above all {_phrase(campaign, largest)}; neighbouring "
        f"residuals correlate by {autocorrelation:.2f}",
        {
            "segments": _described(campaign, shifted),
            "share_percent": 100 * share,
            "lag1_autocorrelation": autocorrelation,
            "test_against_train_percent": 100 * gap,
        },
        "Errors hold a part that no model of the architecture can explain; "
        f"the last 15 % of the rows run {100 * abs(gap):.1f} % {'slow' if gap > 0 else 'fast'} "
        "against the first 70 %.",
        "Split at random by architecture, not by row order; divide by an interleaved reference "
        "network where one was timed, and interleave one in the next campaign.",
    )


def _warm_up(campaign: _Campaign, parts: list[_Stretch]) -> Finding:
    return Finding(
        "warm-up",
        "note",
        f"the campaign had not settled at its start: {_phrase(campaign, parts[0])}",
        {"segments": _described(campaign, parts)},
        "The first rows belong to a colder machine than the rest.",
        f"Leave out the rows up to {campaign.order[parts[-1].stop - 1]}; warm up longer in the "
        "next campaign.",
    )


def _described(campaign: _Campaign, parts: list[_Stretch]) -> list[dict[str, Any]]:
    return [
        {
            "from": int(campaign.order[part.start]),
            "to": int(campaign.order[part.stop - 1]),
            "rows": part.stop - part.start,
            "percent": 100 * part.shift,
        }
        for part in parts
    ]


def _phrase(campaign: _Campaign, part: _Stretch) -> str:
    word = "slow" if part.shift > 0 else "fast"
    first, last = campaign.order[part.start], campaign.order[part.stop - 1]
    return f"rows {first}–{last} ran {100 * abs(part.shift):.1f} % {word}"


def _test_gap(residuals: Floats) -> float:
    """Median of the last 15 % of the rows less that of the first 70 %."""
    first, second = PAPER_FRACTIONS
    n = len(residuals)
    train, test = residuals[: int(first * n)], residuals[int((first + second) * n) :]
    return float(np.median(test) - np.median(train))
