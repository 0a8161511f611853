"""Measure our datasets of networks of any kind: variants of all families, on this machine.

    python scripts/make_network_datasets.py --device epyc-genoa-2c --campaigns build/campaigns \
        --out datasets

Every population on every target is a campaign of its own, ``TARGET.networks-SEED.campaign``, which
goes on where it was interrupted; a target's dataset is written when all of its are complete.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from _campaigns import file_stem, measured

from latcast.data import Dataset
from latcast.devices import Target
from latcast.families import Variant, population
from latcast.measure import Plan, Protocol

TARGETS = ("onnxruntime/b1/t1", "openvino/b1/t1")

FIRST = (
    "ofa", "nb201", "fbnet", "resnet", "mobilenet-v1", "mobilenet-v2", "mobilenet-v3",
    "efficientnet", "convnext", "vgg", "squeezenet", "densenet", "vit", "mixed",
)  # fmt: skip
SECOND = ("resnet-cifar", "mixed")
"""Families of the populations; their order and number decide which variants are drawn."""

# Other programs and other machines share our CPUs, at any time of day. A run that is made again
# meets the same neighbours; runs in other rounds meet others, and their median forgets them.
PROTOCOL = Protocol(runs=5, other_cpus=2.0, halves_disagree=0.06, reference_disagrees=0.1, redo=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", required=True, help="name of this machine")
    parser.add_argument("--campaigns", type=Path, required=True, help="folder of the raw records")
    parser.add_argument("--out", type=Path, required=True, help="folder of the datasets")
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument(
        "--as-is", action="store_true", help="measure nothing: write what the campaigns hold"
    )
    arguments = parser.parse_args()
    variants = populations()
    for name in arguments.targets:
        target = Target.parse(f"{arguments.device}/{name}")
        data = measured_networks(arguments.campaigns, target, variants, as_is=arguments.as_is)
        data.save(arguments.out / (file_stem(target) + ".networks.parquet"))


def populations() -> dict[int, list[Variant]]:
    """Seed -> its variants."""
    return {0: population(600, 0, FIRST), 1: population(130, 1, SECOND)}


def measured_networks(
    campaigns: Path, target: Target, variants: dict[int, list[Variant]], *, as_is: bool
) -> Dataset:
    """All populations on one target, in the machine's state of the first campaign."""
    parts: list[Dataset] = []
    like_ms = None
    for seed, networks in variants.items():
        results = measured(
            campaigns / f"{file_stem(target)}.networks-{seed}.campaign",
            Plan(target, networks, PROTOCOL),
            like_ms=like_ms,
            as_is=as_is,
        )
        like_ms = results.reference_ms
        parts.append(results.dataset)
    return joined(parts)


def joined(parts: list[Dataset]) -> Dataset:
    """One dataset, whose provenance has what each campaign says."""
    names = dict.fromkeys(name for part in parts for name in part.provenance)
    facts = {
        name: dict.fromkeys(part.provenance.get(name, "–") for part in parts) for name in names
    }
    provenance = {name: "; ".join(values) for name, values in facts.items()}
    return replace(parts[0].concatenate(*parts[1:]), provenance=provenance)


if __name__ == "__main__":
    main()
