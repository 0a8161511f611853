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
"""Name -> space -> split."""

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
"""Split and space -> what peers published."""


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
