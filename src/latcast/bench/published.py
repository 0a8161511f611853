"""Splits of targets that were published, and the figures that were published for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRIMMED = "scored on the networks between the 10th and 90th percentile of the true latency"
FIRST_128 = "scored on the first 128 networks"


@dataclass(frozen=True)
class Split:
    """Names of targets, as HELP's files are called."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """Spearman correlations of a peer after its split's training.

    Attributes:
        peer: its name.
        spearman: target, or "mean" of the test targets -> figure.
        measurements: of the target that it needs in total.
        easier: in what its protocol is easier than ours.
    """

    peer: str
    spearman: dict[str, float]
    measurements: int
    easier: str


# Name -> space -> split.
SPLITS = {
    "help": {
        "nasbench201": Split(
            (
                "1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r",
                "samsung_a50", "pixel3", "essential_ph_1", "samsung_s7",
            ),
            ("titanx_1", "titanx_32", "titanx_256", "gold_6240"),
            ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss"),
        ),
        "ofa-mobilenet-v3": Split(
            tuple(f"{gpu}_{batch}" for gpu in ("2080ti", "titan_xp", "v100")
                  for batch in (1, 32, 64)),
            ("titan_rtx_1", "titan_rtx_32"),
            ("titan_rtx_64",),
        ),
    }
}  # fmt: skip

# Split and space -> what peers published.
FIGURES = {
    ("help", "nasbench201"): (
        Published(
            "BRP-NAS",
            {"titan_rtx_256": 0.814, "gold_6226": 0.796, "pixel2": 0.666, "raspi4": 0.847,
             "eyeriss": 0.811, "fpga": 0.801, "mean": 0.789},
            900,
            TRIMMED,
        ),
        Published(
            "HELP",
            {"titan_rtx_256": 0.987, "gold_6226": 0.989, "pixel2": 0.802, "raspi4": 0.890,
             "eyeriss": 0.940, "fpga": 0.985, "mean": 0.932},
            20,
            f"10 samples and 10 reference networks; {TRIMMED}",
        ),
        Published("HELP by NASFLAT", {"mean": 0.948}, 20, FIRST_128),
        Published("MultiPredict", {"mean": 0.930}, 20, FIRST_128),
        Published("NASFLAT", {"mean": 0.959}, 20, FIRST_128),
    )
}  # fmt: skip


def published(space: str, train: tuple[str, ...], target: str) -> list[dict[str, Any]]:
    """Figures for a target that were published for training on the same targets, JSON-able."""
    return [
        {
            "peer": figure.peer,
            "spearman": figure.spearman[target],
            "measurements": figure.measurements,
            "easier": figure.easier,
        }
        for name, splits in SPLITS.items()
        if space in splits and set(splits[space].train) == set(train)
        for figure in FIGURES.get((name, space), ())
        if target in figure.spearman
    ]


BUDGETS_MS = (15.0, 20.0, 25.0, 30.0, 35.0)

PAPER = "OFANAS paper"
OFA = "Once-For-All"


@dataclass(frozen=True)
class PublishedSearch:
    """Five searches, one for every one of :data:`BUDGETS_MS`.

    Attributes:
        space: search space.
        source: of the latencies, as :data:`latcast.bench.latency_sources.SOURCES` calls it.
        who: searched.
        top1: accuracy of what was found, from 0 to 1.
        measured: whether that is an accuracy on ImageNet's images, rather than what
            Once-For-All's accuracy predictor expects.
        seconds: of all five.
    """

    space: str
    source: str
    who: str
    top1: tuple[float, ...]
    measured: bool
    seconds: float


FIXED, ELASTIC, WHOLE = "compofa-fixed-kernel", "compofa-elastic-kernel", "ofa-mobilenet-v3"

# The paper's are those of its notebook, tutorial/latency_prediction_demo.ipynb, without
# memoization; Once-For-All's were measured with its EvolutionFinder (population 100,
# 500 generations) on one core.
PUBLISHED = (
    PublishedSearch(FIXED, "table", PAPER, (0.728, 0.752, 0.757, 0.758, 0.759), True, 90.7),
    PublishedSearch(FIXED, "mlp-paper", PAPER, (0.734, 0.760, 0.753, 0.761, 0.760), True, 175.0),
    PublishedSearch(ELASTIC, "table", PAPER, (0.733, 0.758, 0.757, 0.763, 0.764), True, 105.4),
    PublishedSearch(ELASTIC, "mlp-paper", PAPER, (0.734, 0.758, 0.753, 0.777, 0.766), True, 223.7),
    PublishedSearch(WHOLE, "table", OFA, (0.7854, 0.8065, 0.8181, 0.8244, 0.8313), False, 62.2),
)


def published_search(space: str, source: str, budget_ms: float) -> dict[str, Any] | None:
    """Return the published result for a space, source and budget, JSON-able; None without any."""
    for found in PUBLISHED:
        if (found.space, found.source) == (space, source) and budget_ms in BUDGETS_MS:
            return {
                "who": found.who,
                "top1": found.top1[BUDGETS_MS.index(budget_ms)],
                "measured": found.measured,
                "seconds": found.seconds,
            }
    return None
