"""From a campaign's raw visits to a latency dataset, with its doubts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast import spaces
from latcast.data import Dataset
from latcast.devices import Target
from latcast.spaces import Archs

from . import _machine
from ._campaign_file import CampaignFile, Visit
from ._drift import Drift, Visits, estimate_drift, medians_by_arch
from ._protocol import Protocol

LEAST_VISITS = 2
UNSTABLE = 0.03
"""An architecture is unstable when the standard error of its latency is above this share."""
SAMPLE_DIGITS = 5
REFERENCE_LEVEL = "reference network, ms"
"""Entry of a dataset's provenance."""
_POSSIBLE_LOADINGS = (0.5, 2.0)
_FEW_SAMPLES = 6
_STEAL = 0.01
_CLOCKS_DIFFER = 0.05
_OFTEN = 0.05

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Results:
    """What a campaign found.

    Attributes:
        dataset: one row per architecture or network.
        drift: of the machine, at every accepted visit.
        reference_ms: the reference network's latency in the state that latencies belong to.
        failures: architectures that could not be measured (number -> reason).
        unfinished: architectures left out: fewer than 2 visits in 2 processes so far.
        inference_share: share of the time between first and last visit that was inference.
        warnings: doubts about the campaign as a whole, a sentence each.
    """

    dataset: Dataset
    drift: Drift
    reference_ms: float
    failures: Mapping[int, str]
    unfinished: int
    inference_share: float
    warnings: Sequence[str]

    @property
    def unstable(self) -> npt.NDArray[np.bool_]:
        """Rows of the dataset whose latency is not known to 3 %, shape (n,)."""
        return _unstable(self.dataset)


def results(
    campaign: CampaignFile,
    provenance: Mapping[str, str] | None = None,
    *,
    like_ms: float | None = None,
) -> Results:
    """Correct the drift, and take medians of the visits' medians.

    Args:
        campaign: an open campaign file of a space's architectures, finished or not.
        provenance: what the dataset shall say of its source and licence besides.
        like_ms: level of the reference network (:attr:`Results.reference_ms`) in an earlier
            campaign on the same target: latencies are those of the machine in that state. By
            default they are those of its median state in this campaign.

    Raises:
        ValueError: no architecture has been visited in two processes yet, or the campaign is of
            graphs (:func:`latcast.measure.network_results`).
    """
    plan = campaign.plan()
    if plan["space"] is None:
        raise ValueError(
            f"{campaign.path} must be a campaign of a space's architectures; it is of networks of "
            "any kind: use network_results"
        )
    archs = Archs(spaces.space(plan["space"]), campaign.genes())

    def dataset(rows: npt.NDArray[np.int64], **columns: Any) -> Dataset:
        return Dataset(archs[rows], **columns)

    return results_of(campaign, dataset, provenance, like_ms)


def results_of(
    campaign: CampaignFile,
    dataset: Callable[..., Dataset],
    provenance: Mapping[str, str] | None,
    like_ms: float | None,
) -> Results:
    """The results of a campaign of any kind.

    Args:
        campaign: an open campaign file.
        dataset: called with the numbers of the items that were measured and the columns of
            :class:`~latcast.data.Dataset` by name.
        provenance: as of :func:`results`.
        like_ms: likewise.

    Raises:
        ValueError: as of :func:`results`.
    """
    plan = campaign.plan()
    every = campaign.visits()
    accepted = [v for v in every if v.accepted]
    kept = _visited_enough(accepted, len(campaign.items()))
    failures = campaign.failures()
    started = len({v.arch for v in every} - set(failures))
    if not kept.any():
        raise ValueError(
            f"{campaign.path} must have at least {LEAST_VISITS} visits to an architecture in as "
            f"many processes; it has {len(accepted)} visits so far: go on with --resume"
        )
    visits = as_visits(accepted)
    drift = estimate_drift(visits)
    level = reference_level(visits, drift)
    if like_ms is not None:
        drift = drift.shifted((level / like_ms) ** (1 / _loading(drift)))
        level = like_ms
    protocol = Protocol(**plan["protocol"])
    rows, columns = _columns(accepted, drift, kept, protocol)
    facts = _facts(campaign, plan, drift, len(accepted), failures)
    facts[REFERENCE_LEVEL] = f"{level:.6g}"
    made = dataset(
        rows,
        target=Target.parse(plan["target"]),
        provenance={**facts, **(provenance or {})},
        **columns,
    )
    return Results(
        dataset=made,
        drift=drift,
        reference_ms=level,
        failures=failures,
        unfinished=started - int(kept.sum()),
        inference_share=_inference_share(every),
        warnings=_warnings(campaign, every, made, protocol),
    )


def as_visits(accepted: Sequence[Visit]) -> Visits:
    """The visits' medians, as the drift estimator takes them."""
    return Visits(
        arch=np.array([v.arch for v in accepted]),
        process=np.array([v.process for v in accepted]),
        latency_ms=np.array([np.median(v.samples_ms) for v in accepted]),
        reference_ms=np.array([[np.median(r) for r in v.reference_ms] for v in accepted]),
        time_s=np.maximum.accumulate([v.time_s for v in accepted]),  # a wall clock can be set
    )


def reference_level(visits: Visits, drift: Drift) -> float:
    """Latency of the reference network without the drift, in ms."""
    log = np.log(visits.reference_ms).mean(axis=1)
    if np.isfinite(drift.loading):
        log = log - drift.loading * np.log(drift.factor)
    return float(np.exp(np.median(log)))


def _loading(drift: Drift) -> float:
    """What a change of state does to the reference for each 1 % that it does to the networks.

    The campaign's own estimate, if it has one and it is not far from 1: a campaign in which the
    machine hardly changed cannot tell.
    """
    low, high = _POSSIBLE_LOADINGS
    return float(np.clip(drift.loading, low, high)) if np.isfinite(drift.loading) else 1.0


def _visited_enough(accepted: Sequence[Visit], n: int) -> npt.NDArray[np.bool_]:
    pairs = {(v.arch, v.process) for v in accepted}
    counts = np.bincount([arch for arch, _ in pairs], minlength=n) if pairs else np.zeros(n)
    return np.asarray(counts >= LEAST_VISITS)


def _columns(
    accepted: Sequence[Visit], drift: Drift, kept: npt.NDArray[np.bool_], protocol: Protocol
) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    """Numbers of the items that were measured, in the order of their visits, and their columns."""
    visits = as_visits(accepted)
    n = len(kept)
    by_arch: list[list[Floats]] = [[] for _ in range(n)]
    for visit in accepted:
        by_arch[visit.arch].append(visit.samples_ms)
    error = _standard_error(visits.arch, drift, n)
    most = protocol.other_cpus
    # Other work slows a visit by what no repetition shows: nothing is known of its error.
    loaded = np.array([v.details["machine"].get("other_cpus", 0.0) > most for v in accepted])
    first = np.full(n, len(accepted))
    np.minimum.at(first, visits.arch, np.arange(len(accepted)))
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(first[rows])]
    return rows, {
        "values": medians_by_arch(visits.arch, drift.corrected_ms, n)[rows],
        "order": first[rows],
        "reference": medians_by_arch(visits.arch, visits.reference_ms.mean(axis=1), n)[rows],
        "samples": tuple(_rounded(np.concatenate(by_arch[i])) for i in rows),
        "uncorrected": medians_by_arch(visits.arch, visits.latency_ms, n)[rows],
        "standard_error": np.where(_mostly(loaded, visits.arch, n), np.nan, error)[rows],
    }


def _mostly(
    what: npt.NDArray[np.bool_], arch: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.bool_]:
    """Whether it is true of more than half of the visits to each architecture, shape (n,)."""
    return np.asarray(np.bincount(arch, what, minlength=n) > np.bincount(arch, minlength=n) / 2)


def _unstable(dataset: Dataset) -> npt.NDArray[np.bool_]:
    assert dataset.standard_error is not None
    return ~(dataset.standard_error <= UNSTABLE)


def _standard_error(arch: npt.NDArray[np.int64], drift: Drift, n: int) -> Floats:
    """Relative standard error of every median of medians, shape (n,).

    With few visits each, an architecture's own spread says little: the variance is a mean of
    its own and the campaign's, weighted by degrees of freedom (4 for the campaign's). A median
    of normal values has an efficiency of 2/π.
    """
    log = np.log(drift.corrected_ms)
    count = np.bincount(arch, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(arch, log, minlength=n) / count
        squares = np.bincount(arch, (log - mean[arch]) ** 2, minlength=n)
        variance = (squares + 4 * drift.noise**2) / (count - 1 + 4)
        return np.asarray(np.sqrt(np.pi / 2 * variance / count))


def _rounded(samples: Floats) -> Floats:
    """To 5 digits, a hundredth of what any clock and any network can repeat: files stay small."""
    decimals = SAMPLE_DIGITS - 1 - int(np.floor(np.log10(np.median(samples))))
    return np.asarray(np.round(samples, decimals))


def _facts(
    campaign: CampaignFile,
    plan: Mapping[str, Any],
    drift: Drift,
    visits: int,
    failures: Mapping[int, str],
) -> dict[str, str]:
    processes = campaign.processes()
    stated = next(iter(processes.values()))
    return {
        "method": (
            "measured by latcast measure: median of the visits' medians, drift of the machine "
            "estimated and taken out (uncorrected_ms is without that)"
        ),
        "visits": str(visits),
        "processes": str(len(processes)),
        "failed": str(len(failures)),
        "drift range": f"{drift.range:.2%}",
        "noise of a visit": f"{drift.noise:.2%}",
        "protocol": ", ".join(f"{k} {v}" for k, v in plan["protocol"].items()),
        "seed": str(plan["seed"]),
        **{f"runtime {k}": v for k, v in stated["runtime"].items()},
        **{f"machine {k}": v for k, v in stated["machine"].items()},
    }


def _inference_share(visits: Sequence[Visit]) -> float:
    """Inference seconds over the seconds that visits took, and the gaps between them.

    Gaps of more than a minute are interruptions of the campaign, not part of it.
    """
    ends = np.array([v.time_s for v in visits])
    gaps = np.diff(ends)
    inference = np.array([v.details["inference_s"] for v in visits])[1:]
    running = gaps < 60
    return float(inference[running].sum() / gaps[running].sum()) if running.any() else float("nan")


def _warnings(
    campaign: CampaignFile, visits: Sequence[Visit], dataset: Dataset, protocol: Protocol
) -> list[str]:
    facts = next(iter(campaign.processes().values()))
    found = _machine.setting_doubts(facts["machine"])
    machine = [v.details["machine"] for v in visits]
    busy = [m.get("other_cpus", 0.0) > protocol.other_cpus for m in machine]
    if np.mean(busy) > _OFTEN:
        mean = np.mean([m.get("other_cpus", 0.0) for m in machine])
        found.append(
            f"loaded machine: during {np.mean(busy):.0%} of the visits other programs kept CPUs "
            f"busy ({mean:.1f} on average); measure on an idle machine"
        )
    steal = [m.get("steal", 0.0) > _STEAL for m in machine]
    if np.mean(steal) > _OFTEN:
        found.append(
            f"steal time: during {np.mean(steal):.0%} of the visits the hypervisor gave CPU time "
            "to other machines; use a machine of your own"
        )
    throttled = sum(m.get("throttled", 0) > 0 for m in machine)
    if throttled:
        found.append(f"throttling: the CPU was too hot during {throttled} visits; cool it")
    clocks = [m["clock_mhz"] for m in machine if m.get("clock_mhz")]
    if clocks and (gap := max(clocks) / min(clocks) - 1) > _CLOCKS_DIFFER:
        found.append(f"frequency scaling: the CPU's clock varied by {gap:.0%}; fix it")
    found += _doubts_about_visits(visits)
    unstable = int(_unstable(dataset).sum())
    if unstable:
        found.append(
            f"unstable: {unstable} of {len(dataset)} latencies are not known to {UNSTABLE:.0%}; "
            "measure with more --runs, or leave them out by their standard_error"
        )
    return found


def _doubts_about_visits(visits: Sequence[Visit]) -> list[str]:
    doubts = (doubt for v in visits if v.accepted for doubt in v.details["doubts"])
    kinds = Counter(d.split(" disagree")[0] for d in doubts if " disagree" in d)
    accepted = sum(v.accepted for v in visits)
    found = [
        f"unstable visits: {count} of {accepted} were accepted although {kind} disagreed again"
        for kind, count in kinds.items()
        if count > _OFTEN * accepted
    ]
    few = sum(v.accepted and len(v.samples_ms) < _FEW_SAMPLES for v in visits)
    if few:
        found.append(f"too few samples: {few} visits have fewer than {_FEW_SAMPLES}")
    return found
