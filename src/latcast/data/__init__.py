"""Latency datasets: reading, splitting, auditing."""

from ._dataset import LatencyDataset
from ._measurements import Measurements
from ._network_dataset import NetworkDataset
from ._read import FORMATS, read, read_latencies
from ._splits import paper_split, split

__all__ = [
    "FORMATS",
    "LatencyDataset",
    "Measurements",
    "NetworkDataset",
    "paper_split",
    "read",
    "read_latencies",
    "split",
]
