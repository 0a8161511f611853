"""Datasets of a quantity: reading, splitting, auditing."""

from ._dataset import Dataset, LatencyDataset, NetworkDataset, paper_split, split
from ._formats import FORMATS, UNITS, read, read_accuracies, read_latencies
from ._quantity import (
    ACCURACY,
    ENERGY_MJ,
    LATENCY_MS,
    PEAK_MEMORY_MB,
    Quantity,
    quantity,
    quantity_names,
    register_quantity,
)

__all__ = [
    "ACCURACY",
    "ENERGY_MJ",
    "FORMATS",
    "LATENCY_MS",
    "PEAK_MEMORY_MB",
    "UNITS",
    "Dataset",
    "LatencyDataset",
    "NetworkDataset",
    "Quantity",
    "paper_split",
    "quantity",
    "quantity_names",
    "read",
    "read_accuracies",
    "read_latencies",
    "register_quantity",
    "split",
]
