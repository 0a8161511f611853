"""Measuring: runtimes, the timing protocol, campaigns and lookup tables from real hardware."""

from ._campaign import GRAPH, Plan, Progress, class_name, run, start
from ._campaign_file import CampaignFile
from ._drift import Drift, Visits, estimate_drift
from ._lock import CampaignRunningError
from ._lookup_table import Comparison, compare, distinct_rows, isolated_table, profiled_table
from ._network_results import network_results, networks_of
from ._onnx_networks import OnnxFile, OnnxNetwork, name_of
from ._process import WorkerDiedError
from ._protocol import Protocol
from ._record import CampaignRecord, conclude
from ._results import REFERENCE_LEVEL, Results, results

__all__ = [
    "GRAPH",
    "REFERENCE_LEVEL",
    "CampaignFile",
    "CampaignRecord",
    "CampaignRunningError",
    "Comparison",
    "Drift",
    "OnnxFile",
    "OnnxNetwork",
    "Plan",
    "Progress",
    "Protocol",
    "Results",
    "Visits",
    "WorkerDiedError",
    "class_name",
    "compare",
    "conclude",
    "distinct_rows",
    "estimate_drift",
    "isolated_table",
    "name_of",
    "network_results",
    "networks_of",
    "profiled_table",
    "results",
    "run",
    "start",
]
