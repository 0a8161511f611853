"""Weights of Once-For-All's supernets, and the networks that are cut out of them."""

from ._images import ImageFolder
from ._weights import in_supernet, network_module, ofa_module

__all__ = ["ImageFolder", "in_supernet", "network_module", "ofa_module"]
