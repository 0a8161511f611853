"""Measuring: runtimes, the timing protocol, campaigns and lookup tables from real hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from latcast.data import UNSTABLE

    from ._campaign import (
        AnotherCampaignError,
        Plan,
        measured,
        open_or_resume,
        resume_as,
    )
    from ._campaign_file import CampaignFile, Run
    from ._drift import Drift, Runs, estimate_drift
    from ._fleet import Boards, read_fleet, run_in_turns, run_side_by_side
    from ._lines import WorkerDiedError
    from ._machine import CampaignRunningError
    from ._protocol import Protocol
    from ._quantities import MEASURED, check_measurable, checked_quantities, quantity_datasets
    from ._record import CampaignRecord, CampaignsRecord, FleetRecord, conclude, measure_networks
    from ._results import (
        REFERENCE_LEVEL,
        NoLatencyError,
        Results,
        corrected_medians,
        profiles_of,
        results,
    )
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
    from .hosts import Host, HostError, HostLostError, host
    from .runtimes import class_name
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "MEASURED",
    "REFERENCE_LEVEL",
    "UNSTABLE",
    "AnotherCampaignError",
    "ArchSource",
    "BlockSource",
    "Boards",
    "CampaignFile",
    "CampaignRecord",
    "CampaignRunningError",
    "CampaignsRecord",
    "Drift",
    "FleetRecord",
    "Host",
    "HostError",
    "HostLostError",
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
    "check_measurable",
    "checked_quantities",
    "class_name",
    "conclude",
    "corrected_medians",
    "estimate_drift",
    "host",
    "measure_networks",
    "measured",
    "open_or_resume",
    "profiles_of",
    "quantity_datasets",
    "read_fleet",
    "results",
    "resume_as",
    "run",
    "run_in_turns",
    "run_side_by_side",
]
