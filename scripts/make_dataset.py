"""Measure our dataset: the same sub-networks of OFA-MobileNetV3 on every target of this machine.

    python scripts/make_dataset.py --device epyc-genoa-2c --campaigns build/campaigns --out datasets

Every target is a campaign of its own, which goes on where it was interrupted; its dataset is
written when it is complete.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _campaigns import file_stem, measured

import latcast
from latcast.devices import Target
from latcast.measure import Plan, Protocol

TARGETS = (
    "onnxruntime/b1/t1",
    "ncnn/b1/t1",
    "litert/b1/t1",
    "pytorch/b1/t1",
    "openvino/b1/t1",
    "openvino/b1/bf16/t1",
    "mnn/b1/t1",
    "onnxruntime/b1/t2",
    "onnxruntime/b8/t1",
)
"""In the order in which they are measured."""

SPACE = "ofa-mobilenet-v3"
NETWORKS = 1000
RESOLUTIONS = range(128, 241, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True, help="name of this machine")
    parser.add_argument("--campaigns", type=Path, required=True, help="folder of the raw records")
    parser.add_argument("--out", type=Path, required=True, help="folder of the datasets")
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    space = latcast.space(SPACE)
    archs = space.sample(NETWORKS, seed=0, restrict={"r": RESOLUTIONS}).unique()
    for name in arguments.targets:
        target = Target.parse(f"{arguments.device}/{name}")
        path = arguments.campaigns / (file_stem(target) + ".campaign")
        plan = Plan(target, archs, Protocol(runs=arguments.runs))
        results = measured(path, plan)
        results.dataset.save(arguments.out / (file_stem(target) + ".parquet"))


if __name__ == "__main__":
    main()
