"""Once-For-All's supernets: weights, networks cut out of them, and their export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._export import EXPORT_FORMATS, Export, export
    from ._images import ImageFolder
    from ._weights import in_supernet, network_module, ofa_module
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "EXPORT_FORMATS",
    "Export",
    "ImageFolder",
    "export",
    "in_supernet",
    "network_module",
    "ofa_module",
]
