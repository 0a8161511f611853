"""Once-For-All's supernets: weights, networks cut out of them, and their export."""

from ._config import blocks_from_ofa_config
from ._export import EXPORT_FORMATS, Export, export
from ._images import ImageFolder
from ._weights import in_supernet, network_module, ofa_module

__all__ = [
    "EXPORT_FORMATS",
    "Export",
    "ImageFolder",
    "blocks_from_ofa_config",
    "export",
    "in_supernet",
    "network_module",
    "ofa_module",
]
