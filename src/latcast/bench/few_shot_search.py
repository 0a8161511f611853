"""NAS-Bench-201: the most accurate network within a budget on a device with few measurements.

Of HELP's six test targets a few latencies are measured; the base model of its train targets turns
them into a predictor, and a search chooses among the networks whose accuracies HELP's folder
holds. What it finds is held against the target's own latency of it. Networks that are measured
are none of those that are chosen from. Budgets are quantiles of the true latencies of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.data import Dataset
from latcast.models import BaseModel, Flops, Predictor
from latcast.models.accuracy import TableAccuracy
from latcast.report.markup import counted

from .help_folder import HelpFolder
from .protocol import Report, base_model, mean, random_rows, search_within
from .published import SPLITS

SPACE = "nasbench201"
# File of HELP's folder: networks with their accuracies on CIFAR-100.
ACCURACIES = "arch_generated_by_metad2a.txt"

# As many as HELP adapts to a device with.
SAMPLES = 10
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
CONFIDENCE = 0.9
MEAN = "mean"

Floats = npt.NDArray[np.float64]


def _adapted(base: BaseModel, few: Dataset) -> Predictor:
    return base.adapt(few)


def _macs(_: BaseModel, few: Dataset) -> Predictor:
    """A line over MACs through the same measurements, which also have to calibrate it."""
    line = Flops().fit(few, calibration=few)
    # MACs are known of every operation, whether it was measured or not.
    choices = {gene.name: list(gene.choices) for gene in line.space.genes}
    line.become(replace(line.fitted, seen=choices))
    return line


# Name -> predictor of a target, from the base model and the measurements.
SOURCES: Mapping[str, Callable[[BaseModel, Dataset], Predictor]] = {
    "base-model": _adapted,
    "macs": _macs,
}


@dataclass(frozen=True)
class HeldOutTarget:
    """A test target.

    Attributes:
        name: as its file is called.
        candidates: its rows of networks with known accuracies; a search chooses from these.
        others: its rows of all other networks; what is measured is of these.
        accuracy: the accuracy model.
    """

    name: str
    candidates: Dataset
    others: Dataset
    accuracy: TableAccuracy

    @classmethod
    def of(cls, name: str, data: Dataset, accuracy: TableAccuracy) -> HeldOutTarget:
        """A target's rows, divided; impossible latencies are left out."""
        valid = data.valid()
        known = accuracy.known(valid.archs.space)
        if known is None or not len(known):
            raise ValueError(
                f"the accuracies must be of networks of {valid.archs.space.name}; got others"
            )
        groups = valid.archs.concatenate(known).unique_index()
        is_candidate = np.isin(groups[: len(valid)], groups[len(valid) :])
        return cls(name, valid[is_candidate], valid[~is_candidate], accuracy)

    def budgets_ms(self) -> Floats:
        """:data:`QUANTILES` of the candidates' latencies."""
        return np.quantile(self.candidates.latency_ms, QUANTILES)

    def oracle(self) -> Floats:
        """The best accuracy within every budget, by the true latencies; shape (budgets,)."""
        accuracy = self.accuracy.predict(self.candidates.archs)
        return np.array(
            [accuracy[self.candidates.latency_ms <= b].max() for b in self.budgets_ms()]
        )

    def search(
        self, predictor: Predictor, confidence: float | None
    ) -> tuple[Floats, Floats, Floats]:
        """Accuracy and true latency of what is found within every budget, and the prediction.

        Each of shape (budgets,), NaN where no candidate keeps the budget by the predictor.
        """
        found = search_within(
            self.candidates.archs.space, predictor, self.budgets_ms().tolist(),
            accuracy=self.accuracy, candidates=self.candidates.archs, confidence=confidence,
        )  # fmt: skip
        if found.result is None:
            none = np.full(len(QUANTILES), np.nan)
            return none, none, none
        genes, latency = self.candidates.archs.genes, self.candidates.latency_ms
        own = dict(zip(map(bytes, genes), latency, strict=True))
        true_ms = [own[bytes(row)] for row in found.result.archs.genes]
        return (
            found.spread(found.result.accuracy),
            found.spread(true_ms),
            found.spread(found.result.latency_ms),
        )


def run(
    data: Path,
    *,
    seeds: int = 3,
    samples: int = SAMPLES,
    confidence: float = CONFIDENCE,
    base_samples: int | None = None,
    report: Report = lambda _: None,
) -> list[dict[str, Any]]:
    """Search on HELP's test targets, with and without a confidence.

    Args:
        data: folder of HELP's format with the accuracies' file, or one that holds it.
        seeds: choices of the measurements.
        samples: measurements of a target, at least 10: a line over MACs needs as many.
        confidence: with which budgets are to be kept, beside the search by the prediction alone.
        base_samples: measurements of every train target; 900 by default.
        report: called with what is being done.

    Returns:
        One row for each target, source, confidence and budget; then their means over the targets,
        as the target ``"mean"``.

    Raises:
        FileNotFoundError: there are no accuracies in the folder.
        ValueError: the folder lacks a target of HELP's split, a file is damaged, or a number
            makes no sense.
        ModuleNotFoundError: PyTorch, which reads HELP's files, is not installed.
    """
    if seeds < 1 or samples < SAMPLES:
        raise ValueError(
            f"seeds must be at least 1 and samples at least {SAMPLES}; got {seeds} and {samples}"
        )
    folder, accuracy = find(data)
    split = SPLITS["help"][SPACE]
    targets = [HeldOutTarget.of(name, folder.read(name), accuracy) for name in split.test]
    base, _, _ = base_model({n: folder.read(n) for n in split.train}, base_samples, report)
    rows = []
    for target in targets:
        report(f"{target.name}: {counted(len(target.candidates), 'candidate')}")
        rows += list(_records(target, base, seeds, samples, confidence))
    return rows + _means(rows)


def find(data: Path) -> tuple[HelpFolder, TableAccuracy]:
    """The folder of all targets that take part, and the accuracies that it holds.

    Raises:
        FileNotFoundError: there are no accuracies in the folder.
        ValueError: the folder lacks a target of HELP's split, or the accuracies are damaged.
    """
    folder = HelpFolder.find(data, SPACE)
    split = SPLITS["help"][SPACE]
    folder.check(split.train + split.test)
    return folder, TableAccuracy.read(folder.path / ACCURACIES, SPACE)


def _records(
    target: HeldOutTarget, base: BaseModel, seeds: int, samples: int, confidence: float
) -> Iterator[dict[str, Any]]:
    budgets, oracle = target.budgets_ms(), target.oracle()
    for source, learn in SOURCES.items():
        made = [learn(base, random_rows(target.others, samples, seed)) for seed in range(seeds)]
        for level in (None, confidence):
            found = np.array([target.search(predictor, level) for predictor in made])
            for n, quantile in enumerate(QUANTILES):
                yield {
                    "study": SPACE,
                    "target": target.name,
                    "source": source,
                    "samples": samples,
                    "confidence": level,
                    "quantile": quantile,
                    "max_latency_ms": float(budgets[n]),
                    "seeds": seeds,
                    "candidates": len(target.candidates),
                    "oracle": float(oracle[n]),
                    **_scores(found[:, :, n], float(budgets[n]), float(oracle[n])),
                }


def _scores(found: Floats, budget_ms: float, oracle: float) -> dict[str, float]:
    """Scores of searches with one budget; those of networks over it count towards no regret.

    Args:
        found: accuracy, true and predicted latency of every seed, shape (seeds, 3).
        budget_ms: budget.
        oracle: the best accuracy within it.
    """
    accuracy, true_ms, predicted_ms = found.T
    kept, over = true_ms <= budget_ms, true_ms > budget_ms
    return {
        "found": int(np.isfinite(true_ms).sum()),
        "kept": int(kept.sum()),
        "accuracy_mean": mean(accuracy),
        "true_ms": mean(true_ms),
        "predicted_ms": mean(predicted_ms),
        "regret_mean": mean(oracle - accuracy[kept]),
        "excess_percent": mean(100 * (true_ms[over] / budget_ms - 1)),
    }


def _means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over the targets; searches are added up. Regret is over those where a budget was kept."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["source"], row["confidence"], row["quantile"])
        groups.setdefault(key, []).append(row)
    result = []
    for (source, confidence, quantile), own in groups.items():
        means = ("oracle", "accuracy_mean", "regret_mean", "excess_percent")
        result.append({
            "study": SPACE,
            "target": MEAN,
            "source": source,
            "samples": own[0]["samples"],
            "confidence": confidence,
            "quantile": quantile,
            "seeds": own[0]["seeds"],
            "targets": [row["target"] for row in own],
            "regret_targets": [row["target"] for row in own if row["kept"]],
            "found": sum(row["found"] for row in own),
            "kept": sum(row["kept"] for row in own),
            **{key: mean(np.array([row[key] for row in own])) for key in means},
        })  # fmt: skip
    return result
