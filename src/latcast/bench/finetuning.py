"""The OFANAS paper's fine-tuning (arXiv:2101.00732, section 4.2), and ours beside it.

A base is trained on one target's training rows, then fine-tuned on a few training rows of another
and scored on that one's test rows. Split as in :mod:`.paper`. Rows are drawn by seed; all methods
get the same ones, but for those that choose their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.data import Dataset
from latcast.math.metrics import metrics
from latcast.models import Bayes, Predictor, Roofline
from latcast.models.adaptation import suggest
from latcast.models.evaluation import evaluate
from latcast.report.markup import counted
from latcast.spaces import Archs

from . import paper
from .protocol import averaged, check, random_rows
from .tables import Scores

# A design pays off where there are few samples, and takes the longer the more there are.
MAX_SUGGESTED = 100


class Bases:
    """Predictors of one source, each trained when it is first asked for."""

    def __init__(self, source: str, train: Callable[[], Dataset]) -> None:
        self._source, self._train = source, cache(train)

    @cached_property
    def roofline(self) -> Predictor:
        """The default predictor."""
        return Roofline().fit(self._train())

    @cached_property
    def mlp(self) -> Predictor:
        """The paper's network by the paper's recipe; needs PyTorch."""
        dataset = next(d for d in paper.DATASETS if d.name == self._source)
        return paper.PREDICTORS["mlp-paper"](dataset).fit(self._train())


@dataclass(frozen=True)
class Scaled:
    """A base's predictions times one factor.

    Attributes:
        base: of another target.
        factor: the median ratio of what was measured to what the base says.
    """

    base: Predictor
    factor: float

    @classmethod
    def to(cls, base: Predictor, few: Dataset) -> Scaled:
        """The base as it is, if there is no measurement."""
        ratios = few.latency_ms / base.predict(few.archs)
        return cls(base, float(np.median(ratios)) if len(few) else 1.0)

    def predict(self, archs: Archs) -> npt.NDArray[np.float64]:
        """Milliseconds, shape (n,)."""
        return self.factor * self.base.predict(archs)


@dataclass(frozen=True)
class Method:
    """How to get from a base and a few measurements to a predictor.

    Attributes:
        learn: from bases, measurements and a seed.
        base: the one it uses, to be trained before the clock starts.
        min_samples: the fewest measurements that it works with.
        suggested: whether it chooses what is measured, which is at random otherwise.
    """

    learn: Callable[[Bases, Dataset, int], Predictor | Scaled]
    base: Callable[[Bases], Predictor] | None = None
    min_samples: int = 10
    suggested: bool = False

    def why_not(self, samples: int) -> str | None:
        """Why it is not run on so many measurements; None where it is."""
        if samples < self.min_samples:
            return f"needs at least {counted(self.min_samples, 'sample')}"
        if self.suggested and samples > MAX_SUGGESTED:
            return f"picks at most {MAX_SUGGESTED} samples"
        return None


def _adapt(bases: Bases, few: Dataset, seed: int) -> Predictor:
    return bases.roofline.adapt(few, seed=seed)


def _last_layer(bases: Bases, few: Dataset, seed: int) -> Predictor:
    return bases.mlp.adapt(few, method="last-layer", seed=seed)


METHODS: Mapping[str, Method] = {
    "adapt": Method(_adapt, lambda bases: bases.roofline, min_samples=1),
    "adapt-suggested": Method(_adapt, lambda bases: bases.roofline, min_samples=1, suggested=True),
    "scaled": Method(
        lambda bases, few, _: Scaled.to(bases.roofline, few),
        lambda bases: bases.roofline,
        min_samples=0,
    ),
    "last-layer": Method(_last_layer, lambda bases: bases.mlp),
    "roofline": Method(lambda _, few, seed: Roofline().fit(few, seed=seed)),
    "bayes": Method(lambda _, few, seed: Bayes().fit(few, seed=seed)),
}
"""Ours, on rows at random and on those that ``suggest`` picks; the base times one factor; the
paper's; and without a base, from scratch."""


SAMPLES = (10, 20, 50, 100, 300, 700)


@dataclass(frozen=True)
class Transfer:
    """A pair of the paper's files, base and target, with the published scores of the transfer.

    Attributes:
        target: the file that is adapted to.
        published_mae_ms: number of samples -> MAE in ms.
        note: how the published figures were come by.
        samples: how many rows of the target are learnt from.
        source: the file that the base is trained on.
    """

    target: str
    published_mae_ms: Mapping[int, float] = field(default_factory=dict)
    note: str = ""
    samples: Sequence[int] = SAMPLES
    source: str = "note10_lookuptable_ofa"


TRANSFERS = (
    Transfer("RTX_2080_Ti_GPU_ofa", {100: 1.03, 700: 0.7128, 900: 0.67}),
    Transfer("Tesla_P40_GPU_ofa", {100: 29.0, 500: 1.6}, "read off a plot"),
    Transfer("note10_lookuptable_elastickernelcompofa", samples=(0, 50)),
)


# What a user may choose from, by option.
KNOWN = {"dataset": [t.target for t in TRANSFERS], "predictor": list(METHODS)}
MIN_SAMPLES = 0


def run(
    folder: Path,
    *,
    datasets: Iterable[str] | None = None,
    predictors: Iterable[str] | None = None,
    samples: Sequence[int] = (),
    seeds: int = 10,
    report: paper.Report = lambda _: None,
) -> Scores:
    """Adapt to the paper's targets with few measurements.

    Args:
        folder: the paper's data, with ``datasets/*.csv``.
        datasets: files to adapt to, targets of :data:`TRANSFERS`; all by default.
        predictors: names of :data:`METHODS`; all by default.
        samples: numbers of measurements; by default those of every transfer.
        seeds: how often rows are drawn.
        report: called with what is being done, and with what is left out and why.

    Returns:
        One row for each target, method and number of samples: means over seeds, and the
        deviations of three of them; then what was published, as the method ``"published"``.

    Raises:
        FileNotFoundError: a dataset is not in the folder.
        ValueError: ``seeds`` is below 1, a number of samples below 0 or above that of the
            training rows, or there is nothing to run with these numbers.
    """
    check(seeds, samples)
    runs = _runs(datasets, predictors, samples, report)
    bases: dict[str, Bases] = {}
    rows: list[dict[str, Any]] = []
    for transfer, chosen in runs:
        if transfer.source not in bases:
            train_of = partial(_train_of, folder, transfer.source)
            bases[transfer.source] = Bases(transfer.source, train_of)
        train, _, test = paper.split_of(folder, transfer.target)
        source = bases[transfer.source]
        for name, n in chosen:
            report(f"{transfer.target}: {name}, {counted(n, 'sample')}")
            method = METHODS[name]
            if method.base is not None:
                method.base(source)
            scores = [_scores(source, method, train, test, n, seed) for seed in range(seeds)]
            rows.append(_record(transfer, name, n) | averaged(scores))
        rows += [
            _record(transfer, "published", n)
            | {"mae_ms": mae_ms, "seeds": 0, "note": transfer.note}
            for n, mae_ms in transfer.published_mae_ms.items()
        ]
    return Scores("fine-tuning", rows)


def _runs(
    datasets: Iterable[str] | None,
    predictors: Iterable[str] | None,
    samples: Sequence[int],
    report: paper.Report,
) -> list[tuple[Transfer, list[tuple[str, int]]]]:
    """List the methods and numbers of measurements to run by transfer; report those left out.

    Raises:
        ValueError: none is.
    """
    targets = None if datasets is None else set(datasets)
    asked = set(METHODS if predictors is None else predictors)
    names = [name for name in METHODS if name in asked]
    runs, reasons = [], []
    for transfer in (t for t in TRANSFERS if targets is None or t.target in targets):
        chosen = []
        for name, n in product(names, samples or transfer.samples):
            if (reason := METHODS[name].why_not(n)) is None:
                chosen.append((name, n))
            else:
                reasons.append(f"{name} {reason}; got {n}")
                report(f"note: {transfer.target}: left out, as {reasons[-1]}")
        runs.append((transfer, chosen))
    if reasons and not any(chosen for _, chosen in runs):
        raise ValueError(
            f"there is nothing to run: {', '.join(dict.fromkeys(reasons))}: choose other numbers "
            "of samples or other methods"
        )
    return runs


def _train_of(folder: Path, name: str) -> Dataset:
    return paper.split_of(folder, name)[0]


def _record(transfer: Transfer, method: str, samples: int) -> dict[str, Any]:
    return {
        "source": transfer.source, "target": transfer.target, "method": method, "samples": samples
    }  # fmt: skip


def _scores(
    bases: Bases,
    method: Method,
    train: Dataset,
    test: Dataset,
    samples: int,
    seed: int,
) -> dict[str, float]:
    few = (
        _suggested_rows(bases.roofline, train, samples, seed)
        if method.suggested
        else random_rows(train, samples, seed)
    )
    start = time.perf_counter()
    model = method.learn(bases, few, seed)
    seconds = time.perf_counter() - start
    scored = (
        metrics(test.latency_ms, model.predict(test.archs))
        if isinstance(model, Scaled)
        else evaluate(model, test)
    )
    return scored | {"seconds": seconds}


def _suggested_rows(base: Predictor, train: Dataset, samples: int, seed: int) -> Dataset:
    """Rows that are worth most for adapting a base, by no latency."""
    picked = suggest(train.archs.space, samples, base=base, candidates=train.archs, seed=seed)
    where = {genes.tobytes(): n for n, genes in enumerate(train.archs.genes)}
    return train[np.array([where[genes.tobytes()] for genes in picked.genes])]
