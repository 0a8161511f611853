"""Campaigns: what is measured, and the one way to begin with it or to go on; its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from latcast.devices import Target

from ._campaign_file import NEWER, CampaignFile, is_stub
from ._protocol import Protocol
from ._quantities import checked_quantities
from ._results import Results, results
from ._session import Progress, run
from ._sources import Networks, NetworkSource, as_sources
from ._sustained import MAX_NETWORKS
from .hosts import Host, host
from .runtimes import Runtime


@dataclass(frozen=True)
class Plan:
    """The networks, the target and the protocol of a campaign.

    All of it stays the same when it is resumed, but for the runs, which can be more.

    Attributes:
        target: device, runtime, batch, precision and threads.
        networks: in the order in which they are taken on: architectures of a space, or any
            named networks, such as variants of families, ONNX files and
            :func:`latcast.measure.blocks_of` a space.
        protocol: how they are timed.
        seed: of the networks' parameters and of the order of runs.
        runtime: class of the runtime, if it is not the registered one of the target.
        options: what the plan was made from, to be compared when it is resumed.
        profile_passes: passes in which every network is profiled beside its first run; 0 profiles
            variants of families only, as briefly as their latency allows.
        quantities: what is measured beside the latency, such as ``peak_memory_mb``.
        host: where it is measured, as :func:`latcast.measure.hosts.host` takes it; this machine by
            default.
        hosts: boards of one kind that share the networks, in place of ``host``.
        sustain_s: seconds that every network runs back to back after all other runs; 0: it does
            not.
        sources: the networks, each by its name.

    Raises:
        ValueError: there is no network, no such kind of host, a host is named twice, a quantity is
            not measured, or there are too many networks for sustained runs.
    """

    target: Target
    networks: Networks
    protocol: Protocol = field(default_factory=Protocol)
    seed: int = 0
    runtime: type[Runtime] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    profile_passes: int = 0
    host: str = ""
    hosts: tuple[str, ...] = ()
    quantities: Sequence[str] = ()
    sustain_s: float = 0.0
    sources: tuple[NetworkSource, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", as_sources(self.networks))  # the dataclass is frozen
        if not self.sources:
            raise ValueError("a campaign must have at least one network; got none")
        object.__setattr__(self, "host", host(self.host).text)
        texts = tuple(host(text).text or "here" for text in self.hosts)
        if len(set(texts)) < len(texts) or (texts and self.host):
            raise ValueError(
                f"a campaign must have one host, or hosts that differ; got {[self.host, *texts]}"
            )
        object.__setattr__(self, "hosts", texts)
        object.__setattr__(self, "quantities", checked_quantities(self.quantities))
        if self.sustain_s and len(self.sources) > MAX_NETWORKS:
            raise ValueError(
                f"sustained runs are for at most {MAX_NETWORKS} networks; got {len(self.sources)}, "
                f"which would take {len(self.sources) * self.sustain_s / 3600:.1f} hours"
            )

    def record(self) -> dict[str, Any]:
        """Return the plan as the campaign file holds it, without the networks.

        Raises:
            ValueError: the target's runtime is unknown.
        """
        board = host(self.hosts[0] if self.hosts else self.host)
        record = {
            "target": str(self.target),
            "protocol": asdict(self.protocol),
            "seed": self.seed,
            "runtime": board.runtime_text(self.target.runtime, self.runtime),
            "options": dict(self.options),
        }
        if self.hosts:
            record["hosts"] = list(self.hosts)
        elif board.text:
            record["host"] = board.text
        if self.profile_passes:
            record["profile_passes"] = self.profile_passes
        if self.quantities:
            record["quantities"] = list(self.quantities)
        if self.sustain_s:
            record["sustain_s"] = self.sustain_s
        return record


class AnotherCampaignError(ValueError):
    """A campaign cannot be gone on with as is asked, since it began otherwise.

    Attributes:
        setting: that differs; None: the networks do.
        began, asked: its values.
    """

    def __init__(
        self, path: Path, setting: str | None = None, began: object = None, asked: object = None
    ) -> None:
        what = f"{setting} was {began}, got {asked}" if setting else f"{path} is of other networks"
        super().__init__(f"a campaign goes on as it began: {what}; use another file for another")
        self.setting, self.began, self.asked = setting, began, asked


def open_or_resume(path: str | Path, plan: Plan, *, resume: bool = False) -> CampaignFile:
    """The file of a campaign: a new one, or the one that an earlier run has left.

    Args:
        path: the file.
        plan: of the campaign.
        resume: go on with what the file holds, if there is one.

    Raises:
        FileExistsError: there is a file, and it is not to be resumed.
        AnotherCampaignError: the file is of another plan; only the runs may be more than so far.
        ValueError: the target's runtime is unknown, or the file is no campaign.
    """
    path = Path(path)
    if not path.exists() or is_stub(path):
        return _of_plan(CampaignFile.create(path, plan.record(), plan.sources), plan)
    if not resume:
        raise FileExistsError(
            f"{path} holds a campaign already: go on with it (--resume), or remove it"
        )
    return _of_plan(resume_as(path, _settings(plan.record()), plan.sources), plan)


def _of_plan(campaign: CampaignFile, plan: Plan) -> CampaignFile:
    campaign.runtime = plan.runtime
    return campaign


def resume_as(
    path: Path, asked: Mapping[str, Any], sources: Sequence[NetworkSource] | None = None
) -> CampaignFile:
    """The campaign of an earlier run, if it is the one that is asked for.

    Args:
        path: the campaign's file.
        asked: settings of the plan, the protocol or the options by their names; those that are
            not named may be any. ``runs`` may be more than so far.
        sources: the networks; None: whatever they are.

    Raises:
        FileNotFoundError: there is no campaign.
        AnotherCampaignError: it began otherwise.
    """
    campaign = CampaignFile.open(path)
    try:
        _check(campaign, asked, sources)
    except BaseException:
        campaign.close()
        raise
    return campaign


def _check(
    campaign: CampaignFile, asked: Mapping[str, Any], sources: Sequence[NetworkSource] | None
) -> None:
    """Make sure that a campaign is what is asked for, and plan more runs where those are."""
    began = _settings(campaign.plan())
    for name, value in asked.items():
        has_more_runs = name == "runs" and value > began["runs"]
        is_newer = name in NEWER and began[name] == NEWER[name]
        if value != began.get(name) and not (has_more_runs or is_newer):
            raise AnotherCampaignError(campaign.path, name, began.get(name, "not given"), value)
    if sources is not None and campaign.networks() != list(sources):
        raise AnotherCampaignError(campaign.path)
    if asked.get("runs", 0) > began["runs"]:
        campaign.plan_runs(asked["runs"])


def _settings(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the networks that a plan's record says, as JSON gives it back."""
    names = ("target", "seed", "runtime", "profile_passes", "hosts", "quantities", "sustain_s")
    own = {"host": plan.get("host", "here"), **{name: plan[name] for name in names if name in plan}}
    # What it was made from says it in the user's words. Its number of runs may have grown since.
    return {**own, **plan.get("options", {}), **plan["protocol"]}


def measured(
    path: str | Path,
    plan: Plan,
    *,
    resume: bool = False,
    time_budget_s: float | None = None,
    like_ms: float | None = None,
    provenance: Mapping[str, str] | None = None,
    on: Host | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Measure networks: begin a campaign or go on with it, and return what it found.

    Args:
        path: the campaign's file, which keeps every run.
        plan: what to measure.
        resume: as of :func:`open_or_resume`.
        time_budget_s: as of :func:`latcast.measure.run`.
        like_ms: as of :func:`latcast.measure.results`.
        provenance: likewise.
        on: as of :func:`latcast.measure.run`.
        on_progress: called after every run.

    Raises:
        Exception: as of those three.
    """
    with open_or_resume(path, plan, resume=resume) as campaign:
        run(campaign, on=on, time_budget_s=time_budget_s, on_progress=on_progress)
        return results(campaign, provenance, like_ms=like_ms)
