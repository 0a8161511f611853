"""Devices and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._catalogue import (
        VARIABLE,
        DeviceList,
        Shown,
        catalogue_text,
        device,
        device_files,
        devices,
        list_devices,
        load_devices,
        parse_catalogue,
        shown_figure,
    )
    from ._cores import Cluster, Core, cores
    from ._device import KINDS, PRECISIONS, RANGES, Device, Range, Target, figure_range
    from ._facts import (
        SELECTIONS,
        UNIT_OF_KIND,
        UNITS,
        Facts,
        only_on,
        runs_pytorch,
        target_facts,
        unit,
    )
    from ._headings import Chip, as_built, chip_of, named_device, parse_clusters
    from ._host import cpu_features, cpu_model, detect, host_name, host_title, usable_cpus
    from ._runtimes import public_runtime, runtime_names, runtime_of_domain, unit_of_runtime
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "KINDS",
    "PRECISIONS",
    "RANGES",
    "SELECTIONS",
    "UNITS",
    "UNIT_OF_KIND",
    "VARIABLE",
    "Chip",
    "Cluster",
    "Core",
    "Device",
    "DeviceList",
    "Facts",
    "Range",
    "Shown",
    "Target",
    "as_built",
    "catalogue_text",
    "chip_of",
    "cores",
    "cpu_features",
    "cpu_model",
    "detect",
    "device",
    "device_files",
    "devices",
    "figure_range",
    "host_name",
    "host_title",
    "list_devices",
    "load_devices",
    "named_device",
    "only_on",
    "parse_catalogue",
    "parse_clusters",
    "public_runtime",
    "runs_pytorch",
    "runtime_names",
    "runtime_of_domain",
    "shown_figure",
    "target_facts",
    "unit",
    "unit_of_runtime",
    "usable_cpus",
]
