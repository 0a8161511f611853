"""Train the shipped base models from the public data and our own (`make zoo`).

One a search space, of all its public targets and of those that we measured: what `latcast predict`
asks for a device that has no model of its own, and `latcast adapt` starts from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from latcast.data import LatencyDataset, read
from latcast.predict.training import fit_base

SEED = 0
ROWS = {"ofa-mobilenet-v3": 4_000, "nasbench201": 2_000, "fbnet": 4_000}
OFANAS = ("note10_lookuptable_ofa", "RTX_2080_Ti_GPU_ofa", "Tesla_P40_GPU_ofa")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with ofanas/ and help/")
    parser.add_argument("--measured", type=Path, required=True, help="folder of our datasets")
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--only", default="", help="only spaces whose name has this in it")
    arguments = parser.parse_args()
    for space, paths in _sources(arguments.data, arguments.measured).items():
        if arguments.only not in space:
            continue
        model, scores = fit_base([_part(read(path), ROWS[space]) for path in paths], seed=SEED)
        model.card["licence"] = "Apache-2.0; trained on data under the licences that it names"
        model.save(arguments.out / f"{space}.base.latcast")
        print(space, flush=True)
        for target, s in scores.items():
            print(
                f"  {target!s:44} MAPE {s['mape']:.2f} %  Spearman {s['spearman']:.4f}", flush=True
            )


def _sources(folder: Path, measured: Path) -> dict[str, list[Path]]:
    help_files = {
        space: sorted((folder / "help" / name / "latency").glob("*.pt"))
        for space, name in (
            ("ofa-mobilenet-v3", "ofa"), ("nasbench201", "nasbench201"), ("fbnet", "fbnet"),
        )
    }  # fmt: skip
    help_files["ofa-mobilenet-v3"] += [
        *(folder / "ofanas" / "datasets" / f"{name}.csv" for name in OFANAS),
        *sorted(measured.glob("*_t[0-9].parquet")),
    ]
    return help_files


def _part(data: LatencyDataset, rows: int) -> LatencyDataset:
    """At most so many rows, at random."""
    if len(data) <= rows:
        return data
    return data[np.sort(np.random.default_rng(SEED).choice(len(data), rows, replace=False))]


if __name__ == "__main__":
    main()
