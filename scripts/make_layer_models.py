"""Train the shipped layer models from the public data and our own (`make zoo`).

One a target, of all that was measured on it: architectures of every space, and networks of any kind
where we have measured those. Fitted on 85 % of the networks and scored on the other 15 %.
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
ONE_SPACE = (
    "Trained on architectures of search spaces alone: a network whose layers are unlike theirs is "
    "predicted by physics, with a wide interval, and said to be outside of what the model has seen."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ofanas/ and help/")
    parser.add_argument("--measured", type=Path, required=True, help="folder of our datasets")
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--only", default="", help="only models whose name has this in it")
    parser.add_argument("--part", default="0/1", help="of the models every n-th from the i-th: i/n")
    arguments = parser.parse_args()
    first, step = (int(number) for number in arguments.part.split("/"))
    sources = _sources(arguments.data, arguments.measured)
    wanted = sorted(name for name in sources if arguments.only in name)
    for name in wanted[first::step]:
        print(make(name, sources[name], arguments.out / f"{name}.layers.latcast"), flush=True)


def make(name: str, paths: list[Path], out: Path) -> str:
    """Fit, score and save one model; returns a line on it."""
    datasets = [_part(read(path).valid()) for path in paths]
    networks = [data for data in datasets if data.space is None]
    # What was measured in another state of the machine would blur what it says of this one.
    datasets = list(networks) or datasets
    model = Kernels()
    fit_and_score(model, *datasets, seed=SEED)
    if not networks:
        model.card["note"] = ONE_SPACE
    model.save(out)
    scores = model.card["metrics"]
    return (
        f"{name:36} {model.card['rows']:5} rows  median error {scores['median_error']:.2f} %  "
        f"within 10 % {scores['within_10']:.1f} %  90 % interval covers "
        f"{scores['coverage_90']:.1f} %  {out.stat().st_size / 1e3:.0f} kB"
    )


def _sources(folder: Path, measured: Path) -> dict[str, list[Path]]:
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
