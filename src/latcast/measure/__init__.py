"""Measuring: runtimes, the timing protocol, campaigns and lookup tables from real hardware."""

from ._campaign import (
    AnotherCampaignError,
    Plan,
    class_name,
    measured,
    open_or_resume,
    resume_as,
)
from ._campaign_file import CampaignFile, Run
from ._drift import Drift, Runs, estimate_drift
from ._lookup_table import (
    Comparison,
    compare,
    distinct_rows,
    isolated_table,
    profiled_table,
    profiling_plan,
)
from ._machine import CampaignRunningError
from ._protocol import Protocol
from ._record import CampaignRecord, conclude
from ._results import REFERENCE_LEVEL, UNSTABLE, NoLatencyError, Results, results
from ._session import Progress, run
from ._sources import (
    ArchSource,
    BlockSource,
    NetworkSource,
    OnnxFile,
    VariantSource,
    archs_of,
    blocks_of,
)
from ._worker import WorkerDiedError

__all__ = [
    "REFERENCE_LEVEL",
    "UNSTABLE",
    "AnotherCampaignError",
    "ArchSource",
    "BlockSource",
    "CampaignFile",
    "CampaignRecord",
    "CampaignRunningError",
    "Comparison",
    "Drift",
    "NetworkSource",
    "NoLatencyError",
    "OnnxFile",
    "Plan",
    "Progress",
    "Protocol",
    "Results",
    "Run",
    "Runs",
    "VariantSource",
    "WorkerDiedError",
    "archs_of",
    "blocks_of",
    "class_name",
    "compare",
    "conclude",
    "distinct_rows",
    "estimate_drift",
    "isolated_table",
    "measured",
    "open_or_resume",
    "profiled_table",
    "profiling_plan",
    "results",
    "resume_as",
    "run",
]
