"""Devices and targets."""

from ._catalogue import (
    VARIABLE,
    catalogue_text,
    device,
    device_files,
    devices,
    load_devices,
    parse_catalogue,
)
from ._detect import detect
from ._device import KINDS, RANGES, Device, Range, figure_range
from ._host import cpu_features, cpu_model, host_name, usable_cpus
from ._target import PRECISIONS, Target

__all__ = [
    "KINDS",
    "PRECISIONS",
    "RANGES",
    "VARIABLE",
    "Device",
    "Range",
    "Target",
    "catalogue_text",
    "cpu_features",
    "cpu_model",
    "detect",
    "device",
    "device_files",
    "devices",
    "figure_range",
    "host_name",
    "load_devices",
    "parse_catalogue",
    "usable_cpus",
]
