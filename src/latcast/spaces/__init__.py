"""Search spaces: genes, sampling, parsing, block tables."""

from __future__ import annotations

from functools import lru_cache

from latcast._names import unknown_name

from ._archs import Archs
from ._base import Gene, SearchSpace, SupernetSpace
from ._block_table import FACTS, BlockTable
from .compofa import CompOFA
from .fbnet import CIFAR100, IMAGENET, FBNet
from .nasbench201 import NASBench201
from .ofa_mobilenet_v3 import OFAMobileNetV3
from .ofa_proxyless import OFAProxyless
from .ofa_resnet50 import OFAResNet50

__all__ = [
    "FACTS",
    "Archs",
    "BlockTable",
    "CompOFA",
    "FBNet",
    "Gene",
    "NASBench201",
    "OFAMobileNetV3",
    "OFAProxyless",
    "OFAResNet50",
    "SearchSpace",
    "SupernetSpace",
    "space",
    "space_names",
]


@lru_cache(maxsize=1)
def _spaces() -> dict[str, SearchSpace]:
    spaces: list[SearchSpace] = []
    # Width 1.2 goes by the plain names: lookup tables and accuracy predictors that
    # Once-For-All publishes are for it.
    for width, suffix in ((1.2, ""), (1.0, "-w1.0")):
        parent = OFAMobileNetV3(f"ofa-mobilenet-v3{suffix}", width)
        spaces += [
            parent,
            CompOFA(f"compofa-fixed-kernel{suffix}", parent, elastic_kernel=False),
            CompOFA(f"compofa-elastic-kernel{suffix}", parent, elastic_kernel=True),
        ]
    # The width of the checkpoint that Once-For-All publishes.
    spaces += [OFAProxyless("ofa-proxyless", 1.3), OFAResNet50()]
    # The plain name is for the networks that were measured: HELP's are those for CIFAR-100.
    spaces += [NASBench201(), FBNet("fbnet", CIFAR100), FBNet("fbnet-imagenet", IMAGENET)]
    return {s.name: s for s in spaces}


def space_names() -> list[str]:
    """Names of all search spaces."""
    return list(_spaces())


def space(name: str) -> SearchSpace:
    """The search space called ``name``.

    Raises:
        ValueError: there is none; the message suggests the nearest and lists all.
    """
    try:
        return _spaces()[name]
    except KeyError:
        raise ValueError(unknown_name("search space", name, space_names())) from None
