"""Train the shipped base models from the public data and our own (`make zoo`).

One a search space, of all its public targets and of those that we measured: what `latcast predict`
asks for a device that has no model of its own, and `latcast adapt` starts from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _sources import help_files, measured_files, ofanas_files, part

from latcast.data import read_latencies
from latcast.models.training import fit_base

SEED = 0
ROWS = {"ofa-mobilenet-v3": 4_000, "nasbench201": 2_000, "fbnet": 4_000}


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
        data = [part(read_latencies(path), ROWS[space], SEED) for path in paths]
        model, scores = fit_base(data, seed=SEED)
        model.card["licence"] = "Apache-2.0; trained on data under the licences that it names"
        model.save(arguments.out / f"{space}.base.latcast")
        print(space, flush=True)
        for target, s in scores.items():
            print(
                f"  {target!s:44} MAPE {s['mape']:.2f} %  Spearman {s['spearman']:.4f}", flush=True
            )


def _sources(folder: Path, measured: Path) -> dict[str, list[Path]]:
    files = {
        "ofa-mobilenet-v3": [
            help_files(folder, "ofa"),
            ofanas_files(folder),
            measured_files(measured),
        ],
        "nasbench201": [help_files(folder, "nasbench201")],
        "fbnet": [help_files(folder, "fbnet")],
    }
    return {
        space: [path for found in parts for path in found.values()]
        for space, parts in files.items()
    }


if __name__ == "__main__":
    main()
