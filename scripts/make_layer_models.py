"""Train the shipped layer models from the public data and our own (`make layer-models`).

One a target, of all that was measured on it: architectures of every space, and networks of any kind
where we have measured those. Fitted on 85 % of the networks and scored on the other 15 %.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from latcast.data import LatencyDataset, NetworkDataset, read
from latcast.predict.layers.training import fit_and_score

SEED = 0
ROWS = 1_000
OFANAS = {
    "note10_lookuptable_ofa": "samsung-note10",
    "RTX_2080_Ti_GPU_ofa": "rtx-2080-ti",
    "Tesla_P40_GPU_ofa": "tesla-p40",
}
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
    networks = [data for data in datasets if isinstance(data, NetworkDataset)]
    # What was measured in another state of the machine would blur what it says of this one.
    datasets = list(networks) or datasets
    model = fit_and_score(*datasets, seed=SEED, families=False)
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
    paths = {
        path: OFANAS[path.stem]
        for path in sorted((folder / "ofanas" / "datasets").glob("*.csv"))
        if path.stem in OFANAS
    }
    for space in ("ofa", "nasbench201", "fbnet"):
        for path in sorted((folder / "help" / space / "latency").glob("*.pt")):
            paths[path] = "help-" + path.stem.replace("_", "-")
    for path in sorted(measured.glob("*.parquet")):
        paths[path] = path.name.split(".")[0].replace("_", "-")
    names: dict[str, str] = {}
    found: dict[str, list[Path]] = defaultdict(list)
    for path, name in paths.items():
        target = str(read(path).target)
        found[names.setdefault(target, name)].append(path)
    return dict(found)


def _part(data: LatencyDataset | NetworkDataset) -> LatencyDataset | NetworkDataset:
    """At most so many rows, at random."""
    if len(data) <= ROWS:
        return data
    return data[np.sort(np.random.default_rng(SEED).choice(len(data), ROWS, replace=False))]


if __name__ == "__main__":
    main()
