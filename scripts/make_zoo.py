"""Train the shipped latency models from the public data and our own (`make zoo`).

Every model is fitted and calibrated on 85 % of its dataset's architectures and scored on the other
15 %; the scores, the split, the source, its licence and what the audit found go into its card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _sources import help_files, measured_files, ofanas_files

from latcast.data import Dataset, read_latencies
from latcast.models import Roofline
from latcast.models.training import fit_and_score

SEED = 0

WIDTH_NOTE = (
    "The source does not state the width multiplier of the measured networks; block facts are "
    "those of width 1.2, whose physics fits best."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with ofanas/ and help/")
    parser.add_argument("--measured", type=Path, required=True, help="folder of our datasets")
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--only", default="", help="only models whose name has this in it")
    arguments = parser.parse_args()
    for name, path in _sources(arguments.data, arguments.measured).items():
        if arguments.only not in name:
            continue
        scores = make(read_latencies(path), arguments.out / f"{name}.latcast")
        print(
            f"{name:36} MAE {scores['mae_ms']:.4f} ms  MAPE {scores['mape']:.3f} %  "
            f"within 5 % {scores['within_5']:.1f} %  Spearman {scores['spearman']:.4f}  "
            f"90 % interval covers {scores['coverage_90']:.1f} %",
            flush=True,
        )


def _sources(folder: Path, measured: Path) -> dict[str, Path]:
    return {**ofanas_files(folder), **help_files(folder, "ofa"), **measured_files(measured)}


def make(data: Dataset, out: Path) -> dict[str, float]:
    """Fit, score and save one model; returns its scores on the test part."""
    predictor = Roofline()
    scores = fit_and_score(predictor, data, seed=SEED)
    if data.target.runtime.startswith("pytorch") and data.uncorrected is None:
        predictor.fitted.card["note"] = WIDTH_NOTE
    predictor.save(out)
    return scores


if __name__ == "__main__":
    main()
