"""Search spaces: genes, sampling, parsing, block tables."""

from __future__ import annotations

from functools import lru_cache

from latcast._registry import Registry

from ._base import Archs, Gene, SearchSpace
from ._block_table import FACTS, BlockTable
from ._supernet import SupernetSpace
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
    "register_space",
    "space",
    "space_names",
]


@lru_cache(maxsize=1)
def _registry() -> Registry[SearchSpace]:
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
    own = {s.name: s for s in spaces}
    return Registry("search space", "latcast.spaces", SearchSpace, own)  # type: ignore[type-abstract]


def register_space(made: SearchSpace) -> SearchSpace:
    """Make a space of one's own known by its name; one of that name before is replaced.

    An installed package registers its space by an entry point of the group ``latcast.spaces``.

    Raises:
        TypeError: it is no search space.
        ValueError: the name is one of latcast's own.
    """
    _registry().register(getattr(made, "name", repr(made)), made)
    return made


def space_names() -> list[str]:
    """Names of all search spaces."""
    return _registry().names()


def space(name: str) -> SearchSpace:
    """The search space called ``name``.

    Raises:
        ValueError: there is none; the message suggests the nearest and lists all.
    """
    return _registry().get(name)
