"""Latency datasets: reading, splitting, auditing."""

from ._dataset import LatencyDataset
from ._read import FORMATS, read
from ._splits import paper_split, split

__all__ = ["FORMATS", "LatencyDataset", "paper_split", "read", "split"]
