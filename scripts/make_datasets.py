"""Measure our datasets on this machine: sub-networks of OFA-MobileNetV3, and networks of any kind.

    python scripts/make_datasets.py --device NAME --campaigns build/campaigns --out datasets

Every target of the sub-networks is a campaign of its own, ``TARGET.campaign``; of the networks
every population on every target, ``TARGET.networks-SEED.campaign``. Each goes on where it was
interrupted, and a target's dataset is written when all of its campaigns are complete.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import latcast
from latcast import measure
from latcast.data import Dataset
from latcast.devices import Target
from latcast.families import population
from latcast.measure import CampaignFile, Plan, Protocol, Results

PROVENANCE: Mapping[str, str] = {"licence": "CC-BY-4.0", "source": "latcast"}

# In the order in which they are measured.
SUB_NETWORK_TARGETS = (
    "onnxruntime/b1/t1", "ncnn/b1/t1", "litert/b1/t1", "pytorch/b1/t1", "openvino/b1/t1",
    "openvino/b1/bf16/t1", "mnn/b1/t1", "onnxruntime/b1/t2", "onnxruntime/b8/t1",
)  # fmt: skip
NETWORK_TARGETS = ("onnxruntime/b1/t1", "openvino/b1/t1")

SPACE, SUB_NETWORKS, RESOLUTIONS = "ofa-mobilenet-v3", 1000, range(128, 241, 16)
# Seed of a population -> how many variants, of which families: their order and number decide which
# variants are drawn.
POPULATIONS = {
    0: (600, (
        "ofa", "nb201", "fbnet", "resnet", "mobilenet-v1", "mobilenet-v2", "mobilenet-v3",
        "efficientnet", "convnext", "vgg", "squeezenet", "densenet", "vit", "mixed",
    )),
    1: (130, ("resnet-cifar", "mixed")),
}  # fmt: skip
# Other programs and other machines share our CPUs, at any time of day. A run that is made again
# meets the same neighbours; runs in other rounds meet others, and their median forgets them.
PROTOCOL = Protocol(runs=5, other_cpus=2.0, halves_disagree=0.06, reference_disagrees=0.1, redo=1)


@dataclass(frozen=True)
class Folders:
    """Where raw records are kept and datasets are written.

    Attributes:
        campaigns: of the raw records.
        out: of the datasets.
        as_is: whether nothing is measured: written is what the campaigns hold.
    """

    campaigns: Path
    out: Path
    as_is: bool

    def sub_networks(self, target: Target) -> None:
        """Measure the sub-networks on a target."""
        space = latcast.space(SPACE)
        archs = space.sample(SUB_NETWORKS, seed=0, restrict={"r": RESOLUTIONS}).unique()
        results = self._measured("", Plan(target, archs, Protocol(runs=3)), None)
        results.dataset.save(self.out / f"{_stem(target)}.parquet")

    def networks(self, target: Target) -> None:
        """Measure all populations on a target, in the machine's state of the first campaign."""
        parts: list[Dataset] = []
        like_ms = None
        for seed, (count, families) in POPULATIONS.items():
            plan = Plan(target, population(count, seed, families), PROTOCOL)
            results = self._measured(f".networks-{seed}", plan, like_ms)
            like_ms = results.reference_ms
            parts.append(results.dataset)
        joined(parts).save(self.out / f"{_stem(target)}.networks.parquet")

    def _measured(self, suffix: str, plan: Plan, like_ms: float | None) -> Results:
        """Start or finish a campaign, and print what became of it."""
        path = self.campaigns / f"{_stem(plan.target)}{suffix}.campaign"
        started = time.monotonic()
        if self.as_is:
            with CampaignFile.open(path) as file:
                found = measure.results(file, PROVENANCE, like_ms=like_ms)
        else:
            found = measure.measured(
                path, plan, resume=True, like_ms=like_ms, provenance=PROVENANCE
            )
        print(
            f"{plan.target}: {len(found.dataset)} {found.dataset.subject}s in "
            f"{(time.monotonic() - started) / 60:.1f} minutes, noise of a run "
            f"{found.drift.noise:.2%}, drift {found.drift.range:.2%}, {int(found.unstable.sum())} "
            f"unstable, {len(found.failures)} failed, inference {found.inference_share:.0%}"
        )
        for warning in found.warnings:
            print(f"  warning: {warning}")
        for n, reason in found.failures.items():
            print(f"  failed: {n}: {reason}", flush=True)
        return found


def _stem(target: Target) -> str:
    return str(target).replace("/", "_")


def joined(parts: list[Dataset]) -> Dataset:
    """One dataset, whose provenance has what each campaign says."""
    names = dict.fromkeys(name for part in parts for name in part.provenance)
    facts = {
        name: dict.fromkeys(part.provenance.get(name, "–") for part in parts) for name in names
    }
    provenance = {name: "; ".join(values) for name, values in facts.items()}
    return replace(parts[0].concatenate(*parts[1:]), provenance=provenance)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", required=True, help="name of this machine")
    parser.add_argument("--campaigns", type=Path, required=True, help="folder of the raw records")
    parser.add_argument("--out", type=Path, required=True, help="folder of the datasets")
    parser.add_argument("--sub-networks", nargs="*", default=SUB_NETWORK_TARGETS, metavar="TARGET")
    parser.add_argument("--networks", nargs="*", default=NETWORK_TARGETS, metavar="TARGET")
    parser.add_argument(
        "--as-is", action="store_true", help="measure nothing: write what the campaigns hold"
    )
    arguments = parser.parse_args()
    folders = Folders(arguments.campaigns, arguments.out, arguments.as_is)
    for measured, names in (
        (folders.sub_networks, arguments.sub_networks),
        (folders.networks, arguments.networks),
    ):
        for name in names:
            measured(Target.parse(f"{arguments.device}/{name}"))


if __name__ == "__main__":
    main()
