"""Devices and targets."""

from ._catalogue import KINDS, Device, catalogue_text, device, devices, parse_catalogue
from ._detect import cpu_features, detect, host_name
from ._target import PRECISIONS, Target

__all__ = [
    "KINDS",
    "PRECISIONS",
    "Device",
    "Target",
    "catalogue_text",
    "cpu_features",
    "detect",
    "device",
    "devices",
    "host_name",
    "parse_catalogue",
]
