"""Search spaces: genes, sampling, parsing, block tables."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from latcast._imports import public_names
from latcast._registry import Registry

if TYPE_CHECKING:
    from ._base import Archs, Gene, SearchSpace
    from ._block_table import FACTS, BlockTable
    from ._once_for_all import SupernetSpace
    from .compofa import CompOFA
    from .fbnet import FBNet
    from .nasbench201 import NASBench201
    from .ofa_mobilenet_v3 import OFAMobileNetV3
    from .ofa_proxyless import OFAProxyless
    from .ofa_resnet50 import OFAResNet50
else:
    __getattr__, __dir__ = public_names(__name__)

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

# Width 1.2 goes by the plain names: lookup tables and accuracy predictors that Once-For-All
# publishes are for it. The plain fbnet is for the networks that were measured: HELP's are those
# for CIFAR-100.
_OWN = {
    "ofa-mobilenet-v3": "ofa_mobilenet_v3:WIDTH_1_2",
    "compofa-fixed-kernel": "compofa:FIXED_KERNEL_WIDTH_1_2",
    "compofa-elastic-kernel": "compofa:ELASTIC_KERNEL_WIDTH_1_2",
    "ofa-mobilenet-v3-w1.0": "ofa_mobilenet_v3:WIDTH_1_0",
    "compofa-fixed-kernel-w1.0": "compofa:FIXED_KERNEL_WIDTH_1_0",
    "compofa-elastic-kernel-w1.0": "compofa:ELASTIC_KERNEL_WIDTH_1_0",
    "ofa-proxyless": "ofa_proxyless:OFA_PROXYLESS",
    "ofa-resnet50": "ofa_resnet50:OFA_RESNET50",
    "nasbench201": "nasbench201:NASBENCH201",
    "fbnet": "fbnet:FBNET_CIFAR100",
    "fbnet-imagenet": "fbnet:FBNET_IMAGENET",
}


@lru_cache(maxsize=1)
def _registry() -> Registry[SearchSpace]:
    from ._base import SearchSpace

    own = {name: f"{__name__}.{place}" for name, place in _OWN.items()}
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
