"""Forecasts of networks whose family was not seen: one family left out after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.data import Dataset, read
from latcast.models import Kernels, Predictor

from .protocol import Report
from .tables import Scores

COVERAGE = 0.9
TEST_SHARE = 0.15
ADAPT = 10
# With fewer, the model that leaves one out has a single family to learn from.
MIN_FAMILIES = 3

Floats = npt.NDArray[np.float64]


def run(
    paths: Iterable[Path],
    *,
    families: Sequence[str] | None = None,
    samples: int = ADAPT,
    seeds: int = 3,
    report: Report = lambda _: None,
) -> Scores:
    """Leave families out, adapt to them by a few of their networks, and include them.

    Args:
        paths: network datasets, one a target.
        families: to leave out; all by default.
        samples: networks of the family that the model is adapted to.
        seeds: how often those, and the test rows of the included families, are drawn.
        report: called with what is being fitted.

    Returns:
        One row for each target, setting (``left out``, ``adapted``, ``included``) and family, and
        one with the family ``all`` for each setting. Errors are in percent.

    Raises:
        ValueError: a dataset has fewer than 3 families, an unknown one is asked for, or ``seeds``
            or ``samples`` is below 1.
    """
    if seeds < 1 or samples < 1:
        raise ValueError(f"seeds and samples must be at least 1; got {seeds} and {samples}")
    rows = []
    for path in paths:
        rows += _run(_networks(path), families, samples, seeds, report)
    return Scores("families", rows)


def _networks(path: Path) -> Dataset:
    data = read(path)
    if data.space is not None:
        raise ValueError(f"{path} must be a dataset of networks; it is one of architectures")
    data = data.valid()
    if len(set(data.families)) < MIN_FAMILIES:
        raise ValueError(f"{path} must have at least {MIN_FAMILIES} families to leave one out")
    return data


def _run(
    data: Dataset, asked: Sequence[str] | None, samples: int, seeds: int, report: Report
) -> list[dict[str, Any]]:
    names = np.array(data.families)
    known = sorted(set(data.families))
    for name in asked or ():
        if name not in known:
            raise ValueError(f"families must be among {', '.join(known)}; got {name!r}")
    outcomes: list[_Outcome] = []
    for family in asked or known:
        report(f"{data.target}: without {family}")
        own, others = data[names == family], data[names != family]
        started = time.perf_counter()
        model = Kernels().fit(others)
        seconds = time.perf_counter() - started
        outcomes.append(_Outcome.of("left out", family, model, own, seconds))
        for seed in range(seeds):
            few, rest = _drawn(own, samples, seed)
            if len(rest):
                started = time.perf_counter()
                adapted = model.adapt(few)
                seconds = time.perf_counter() - started
                outcomes.append(_Outcome.of("adapted", family, adapted, rest, seconds))
    for seed in range(seeds):
        report(f"{data.target}: all families, seed {seed}")
        test, train = _drawn(data, round(TEST_SHARE * len(data)), seed)
        started = time.perf_counter()
        model = Kernels().fit(train, seed=seed)
        seconds = time.perf_counter() - started
        test_names = np.array(test.families)
        for family in sorted(set(test.families)):
            part = test[test_names == family]
            outcomes.append(_Outcome.of("included", family, model, part, seconds))
    return _records(str(data.target), outcomes)


@dataclass(frozen=True)
class _Outcome:
    """Errors in percent on the networks of one family by one model, and which were inside."""

    setting: str
    family: str
    errors: Floats
    inside: npt.NDArray[np.bool_]
    seconds: float

    @classmethod
    def of(
        cls, setting: str, family: str, model: Predictor, test: Dataset, seconds: float
    ) -> _Outcome:
        errors = 100 * (model.predict(test.graphs) / test.latency_ms - 1)
        low, high = model.predict_interval(test.graphs, COVERAGE)
        inside = (low <= test.latency_ms) & (test.latency_ms <= high)
        return cls(setting, family, errors, inside, seconds)


def _drawn(data: Dataset, n: int, seed: int) -> tuple[Dataset, Dataset]:
    """``n`` rows at random, and the others."""
    order = np.random.default_rng(seed).permutation(len(data))
    return data[np.sort(order[:n])], data[np.sort(order[n:])]


def _records(target: str, outcomes: Sequence[_Outcome]) -> list[dict[str, Any]]:
    rows = []
    for setting in dict.fromkeys(o.setting for o in outcomes):
        own = [o for o in outcomes if o.setting == setting]
        by_family = {f: [o for o in own if o.family == f] for f in sorted({o.family for o in own})}
        for family, some in {**by_family, "all": own}.items():
            rows.append({"target": target, "setting": setting, "family": family, **_scores(some)})
    return rows


def _scores(outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    errors = np.concatenate([o.errors for o in outcomes])
    inside = np.concatenate([o.inside for o in outcomes])
    return {
        "networks": len(errors),
        "median_error": float(np.median(np.abs(errors))),
        "bias": float(np.median(errors)),
        "within_10": float(100 * (np.abs(errors) <= 10).mean()),
        "within_25": float(100 * (np.abs(errors) <= 25).mean()),
        "coverage_90": float(100 * inside.mean()),
        "seconds": float(np.mean([o.seconds for o in outcomes])),
    }
