"""Datasets of a quantity: reading, splitting, auditing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._csv import Frame, text_frame
    from ._dataset import UNSTABLE, Dataset, LatencyDataset, NetworkDataset, paper_split, split
    from ._formats import FORMATS, UNITS, Source, read, read_accuracies, read_latencies
    from ._quantity import (
        ACCURACY,
        ENERGY_MJ,
        LATENCY_MS,
        LATENCY_UNITS,
        PEAK_MEMORY_MB,
        Quantity,
        quantity,
        quantity_names,
        register_quantity,
    )
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "ACCURACY",
    "ENERGY_MJ",
    "FORMATS",
    "LATENCY_MS",
    "LATENCY_UNITS",
    "PEAK_MEMORY_MB",
    "UNITS",
    "UNSTABLE",
    "Dataset",
    "Frame",
    "LatencyDataset",
    "NetworkDataset",
    "Quantity",
    "Source",
    "paper_split",
    "quantity",
    "quantity_names",
    "read",
    "read_accuracies",
    "read_latencies",
    "register_quantity",
    "split",
    "text_frame",
]
