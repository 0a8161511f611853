"""Devices and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._catalogue import (
        VARIABLE,
        DeviceList,
        catalogue_text,
        device,
        device_files,
        devices,
        load_devices,
        parse_catalogue,
    )
    from ._detect import detect
    from ._device import KINDS, PRECISIONS, RANGES, Device, Range, Target, figure_range
    from ._host import cpu_features, cpu_model, host_name, usable_cpus
else:
    __getattr__, __dir__ = public_names(
        __name__,
        {
            "._catalogue": "VARIABLE DeviceList catalogue_text device device_files devices "
            "load_devices parse_catalogue",
            "._detect": "detect",
            "._device": "KINDS PRECISIONS RANGES Device Range Target figure_range",
            "._host": "cpu_features cpu_model host_name usable_cpus",
        },
    )

__all__ = [
    "KINDS",
    "PRECISIONS",
    "RANGES",
    "VARIABLE",
    "Device",
    "DeviceList",
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
