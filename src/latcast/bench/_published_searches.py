"""What others' searches on the Note10's lookup table found, as published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BUDGETS_MS = (15.0, 20.0, 25.0, 30.0, 35.0)

PAPER = "OFANAS paper"
OFA = "Once-For-All"


@dataclass(frozen=True)
class PublishedSearch:
    """Five searches, one for every one of :data:`BUDGETS_MS`.

    Attributes:
        space: search space.
        source: of the latencies, as :data:`latcast.bench._latency_sources.SOURCES` calls it.
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
    """What was published for a space, source and budget, JSON-able; None if nothing was."""
    for found in PUBLISHED:
        if (found.space, found.source) == (space, source) and budget_ms in BUDGETS_MS:
            return {
                "who": found.who,
                "top1": found.top1[BUDGETS_MS.index(budget_ms)],
                "measured": found.measured,
                "seconds": found.seconds,
            }
    return None
