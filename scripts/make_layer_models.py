"""Train the shipped layer models from our campaigns of networks of any kind (`make zoo`).

One a target, fitted on 85 % of the networks and scored on the other 15 %. Targets of which search
spaces alone were measured are in the joint model (`scripts/make_joint.py`).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from _sources import help_files, measured_files, measured_network_files, ofanas_files

from latcast.data import Dataset, read
from latcast.models import Kernels
from latcast.models.training import fit_and_score

SEED = 0
ROWS = 1_000
SPACES = ("ofa", "nasbench201", "fbnet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ofanas/ and help/")
    parser.add_argument("--measured", type=Path, required=True, help="folder of our datasets")
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--only", default="", help="only models whose name has this in it")
    arguments = parser.parse_args()
    for name, paths in sorted(sources(arguments.data, arguments.measured).items()):
        datasets = chosen(paths) if arguments.only in name else []
        if datasets and datasets[0].space is None:
            print(make(datasets, arguments.out / f"{name}.layers.latcast"), flush=True)


def make(datasets: list[Dataset], out: Path) -> str:
    """Fit, score and save one model; returns a line on it."""
    model = Kernels()
    fit_and_score(model, *datasets, seed=SEED)
    model.save(out)
    scores = model.card["metrics"]
    return (
        f"{model.target!s:36} {model.card['rows']:5} rows  median error "
        f"{scores['median_error']:.2f} %  within 10 % {scores['within_10']:.1f} %  90 % interval "
        f"covers {scores['coverage_90']:.1f} %  {out.stat().st_size / 1e3:.0f} kB"
    )


def chosen(paths: list[Path]) -> list[Dataset]:
    """What a model of a target learns from: networks of any kind, where there are some."""
    datasets = [_part(read(path).valid()) for path in paths]
    # What was measured in another state of the machine would blur what it says of this one.
    return [data for data in datasets if data.space is None] or datasets


def sources(folder: Path, measured: Path) -> dict[str, list[Path]]:
    """Name of a model -> files of its target."""
    named = [
        *ofanas_files(folder).items(),
        *(x for space in SPACES for x in help_files(folder, space).items()),
        *measured_files(measured).items(),
        *measured_network_files(measured).items(),
    ]
    names: dict[str, str] = {}
    found: dict[str, list[Path]] = defaultdict(list)
    for name, path in named:
        target = str(read(path).target)
        found[names.setdefault(target, name)].append(path)
    return dict(found)


def _part(data: Dataset) -> Dataset:
    """At most so many rows, at random."""
    if len(data) <= ROWS:
        return data
    return data[np.sort(np.random.default_rng(SEED).choice(len(data), ROWS, replace=False))]


if __name__ == "__main__":
    main()
