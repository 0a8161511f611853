"""The OFANAS paper's architecture search (arXiv:2101.00732), by every latency source.

A search on the Note10 takes its latencies from a source and looks for the most accurate network
within budgets; what it finds is held against the published lookup table, which is the truth here,
and scored by the teacher of the accuracy model. Regret is what a network that keeps its budget
lacks in accuracy, by the accuracy model, to the best one known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latcast._names import unknown_name
from latcast.spaces import space as find_space

from ._budgeted_search import deviation, mean
from ._few_shot import Report
from ._latency_sources import QUICK, SOURCES, Material
from ._note10_searches import SPACES, Plan, Searched, Study
from ._published_searches import BUDGETS_MS, published_search
from ._teacher import Teacher

__all__ = ["BUDGETS_MS", "QUICK", "SOURCES", "SPACES", "Plan", "plan", "run"]


def plan(
    spaces: Sequence[str] = (),
    sources: Sequence[str] = (),
    budgets_ms: Sequence[float] = (),
    *,
    seeds: int = 3,
    confidence: float | None = None,
    evaluations: int | None = None,
) -> Plan:
    """Decide what is searched; what is left empty takes :class:`Plan`'s default.

    Raises:
        ValueError: a space or source that does not exist, or a number that makes no sense.
    """
    for kind, asked, known in (("space", spaces, SPACES), ("source", sources, list(SOURCES))):
        for name in asked:
            if name not in known:
                raise ValueError(unknown_name(kind, name, known))
    if any(not 0 < budget < np.inf for budget in budgets_ms):
        raise ValueError(f"budgets must be positive numbers of ms; got {list(budgets_ms)}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
    if confidence is not None and not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.9; got {confidence}")
    return Plan(
        tuple(dict.fromkeys(spaces)) or SPACES,
        tuple(name for name in SOURCES if name in (sources or QUICK)),
        tuple(sorted(set(map(float, budgets_ms)))) or BUDGETS_MS,
        seeds, confidence, evaluations,
    )  # fmt: skip


def run(
    folder: Path,
    the_plan: Plan | None = None,
    *,
    material: Material | None = None,
    report: Report = lambda _: None,
) -> list[dict[str, Any]]:
    """Search by every source, and hold what is found against the published table.

    Args:
        folder: the paper's data, with ``datasets``, ``lookup_tables`` and ``acc_predictor.pth``.
        the_plan: what is searched; :class:`Plan`'s defaults if it is left out.
        material: what sources are made of; by default that of ``folder`` alone.
        report: called with what is being done, and with what is left out and why.

    Returns:
        One record per space, source, confidence and budget, JSON-able.

    Raises:
        FileNotFoundError: a file is not in the folder.
        ValueError: a file is damaged.
        ModuleNotFoundError: PyTorch, which reads the teacher, is not installed.
    """
    the_plan = the_plan or plan()
    teacher = Teacher(folder / "acc_predictor.pth")
    study = Study(the_plan, material or Material(folder), teacher, report)
    rows: list[dict[str, Any]] = []
    for space in map(find_space, the_plan.spaces):
        found = study.of(space)
        best = study.best_known(space, found)
        for (name, level), runs in found.items():
            trained_on = list(SOURCES[name].trained_on(study.material))
            for n, budget in enumerate(the_plan.budgets_ms):
                rows.append({
                    "space": space.name,
                    "source": name,
                    "samples": SOURCES[name].samples,
                    "trained_on": trained_on,
                    "confidence": level,
                    **_scores(runs, n, budget, float(best[n])),
                    "published": published_search(space.name, name, budget),
                })  # fmt: skip
    return rows


def _scores(runs: Sequence[Searched], n: int, budget: float, best: float) -> dict[str, Any]:
    """Of searches within the n-th budget; those of networks over it count towards no regret."""
    accuracy = np.array([r.accuracy[n] for r in runs])
    true_ms = np.array([r.true_ms[n] for r in runs])
    teacher = np.array([r.teacher[n] for r in runs])
    is_over = true_ms > budget
    results = [r.found.result for r in runs if r.found.result is not None]
    return {
        "max_latency_ms": budget,
        "seeds": len(runs),
        "found": int(np.isfinite(true_ms).sum()),
        "accuracy_mean": mean(accuracy),
        "accuracy_std": deviation(accuracy),
        "teacher_mean": mean(teacher),
        "teacher_std": deviation(teacher),
        "predicted_ms": mean(np.array([r.predicted_ms[n] for r in runs])),
        "true_ms": mean(true_ms),
        "over": int(is_over.sum()),
        "excess_ms": mean((true_ms - budget)[is_over]),
        "best_known": best,
        "regret_mean": mean((best - accuracy)[true_ms <= budget]),
        "learn_seconds": mean(np.array([r.learn_seconds for r in runs])),
        "search_seconds": mean(np.array([r.seconds for r in results])),
        "evaluations": mean(np.array([r.evaluations for r in results])),
        "is_exact": bool(results) and all(r.is_exact for r in results),
        "runs": [_single(run, n) for run in runs],
    }


def _single(run: Searched, n: int) -> dict[str, Any]:
    result, arch = run.found.result, None
    if result is not None and run.found.is_found[n]:
        arch = result.archs[int(run.found.is_found[:n].sum())].to_dicts()[0]
    return {
        "seed": run.seed,
        "accuracy": float(run.accuracy[n]),
        "teacher": float(run.teacher[n]),
        "predicted_ms": float(run.predicted_ms[n]),
        "true_ms": float(run.true_ms[n]),
        "arch": arch,
    }
