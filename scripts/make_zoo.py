"""Train the shipped latency models from the public data and our own (`make zoo`).

Of architectures, a model a target and a base model a search space; of networks of any kind, a layer
model for each target on which our campaigns measured them (what search spaces alone were measured
on is in the joint model, `scripts/make_joint.py`). Every model is fitted and calibrated on 85 % of
its networks and scored on the other 15 %; the scores, the split, the source, its licence and what
the audit found go into its card.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from _sources import SEED, chosen, help_files, measured_files, ofanas_files, part, sources

from latcast.data import read_latencies
from latcast.models import Kernels, Model, Roofline
from latcast.models.training import fit_and_score, fit_base

# Of a base model's targets.
ROWS = {"ofa-mobilenet-v3": 4_000, "nasbench201": 2_000, "fbnet": 4_000}
WIDTH_NOTE = (
    "The source does not state the width multiplier of the measured networks; block facts are "
    "those of width 1.2, whose physics fits best."
)
# Layer models that are left out: shipped models together take 6 MB at most, and in fp32 those of
# the EPYC of the generation before answer. Other batches and threads are the joint model's.
NOT_SHIPPED = ("epyc-turin-2c-openvino-b1-t1",)
_SHIPPED = {"batch": 1, "threads": 1}
# File of a model, the model, and a line on it.
Made = Iterator[tuple[str, Model, str]]


def of_spaces(data: Path, measured: Path, only: str) -> Made:
    """A model for each target of OFA-MobileNetV3."""
    for name, path in {
        **ofanas_files(data), **help_files(data, "ofa"), **measured_files(measured)
    }.items():  # fmt: skip
        if only not in name:
            continue
        rows, model = read_latencies(path), Roofline()
        s = fit_and_score(model, rows, seed=SEED)
        if rows.target.runtime.startswith("pytorch") and rows.uncorrected is None:
            model.fitted.card["note"] = WIDTH_NOTE
        told = (
            f"MAE {s['mae_ms']:.4f} ms  MAPE {s['mape']:.3f} %  within 5 % {s['within_5']:.1f} %  "
            f"Spearman {s['spearman']:.4f}  90 % interval covers {s['coverage_90']:.1f} %"
        )
        yield f"{name}.latcast", model, told


def of_many_targets(data: Path, measured: Path, only: str) -> Made:
    """A base model for each space, of all its public targets and of those that we measured."""
    for space, rows in ROWS.items():
        if only not in space:
            continue
        files = help_files(data, space.removesuffix("-mobilenet-v3"))
        if space == "ofa-mobilenet-v3":
            files |= ofanas_files(data) | measured_files(measured)
        model, scores = fit_base([part(read_latencies(p), rows) for p in files.values()], seed=SEED)
        model.card["licence"] = "Apache-2.0; trained on data under the licences that it names"
        lines = (
            f"\n  {target!s:44} MAPE {s['mape']:.2f} %  Spearman {s['spearman']:.4f}"
            for target, s in scores.items()
        )
        yield f"{space}.base.latcast", model, "".join(lines)


def of_networks(data: Path, measured: Path, only: str) -> Made:
    """A layer model for each target of our campaigns of networks of any kind."""
    for name, paths in sorted(sources(data, measured).items()):
        datasets = chosen(paths) if only in name and name not in NOT_SHIPPED else []
        if not datasets or datasets[0].space is not None:
            continue
        if any(getattr(datasets[0].target, part) != value for part, value in _SHIPPED.items()):
            continue
        model = Kernels()
        fit_and_score(model, *datasets, seed=SEED)
        s = model.card["metrics"]
        told = (
            f"{model.card['rows']:5} rows  median error {s['median_error']:.2f} %  within 10 % "
            f"{s['within_10']:.1f} %  90 % interval covers {s['coverage_90']:.1f} %"
        )
        yield f"{name}.layers.latcast", model, told


KINDS = {"space": of_spaces, "base": of_many_targets, "layers": of_networks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ofanas/ and help/")
    parser.add_argument("--measured", type=Path, required=True, help="folder of our datasets")
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--only", default="", help="only models whose name has this in it")
    arguments = parser.parse_args()
    for kind in arguments.kind:
        for name, model, told in KINDS[kind](arguments.data, arguments.measured, arguments.only):
            model.save(arguments.out / name)
            print(f"{name:52} {told}", flush=True)


if __name__ == "__main__":
    main()
