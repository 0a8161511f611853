"""Campaigns: every architecture visited several times, in shuffled rounds and fresh processes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latcast import spaces
from latcast.devices import Target, usable_cpus
from latcast.spaces import Archs

from ._campaign_file import CampaignFile, Visit
from ._lock import machine_lock
from ._onnx_networks import OnnxNetwork, is_member, to_text
from ._process import WorkerDiedError, WorkerProcess
from ._protocol import Protocol
from .runtimes import Runtime, runtime

DEATHS, KILLS = 2, 3
"""An architecture has failed when so many worker processes died with it; when they were killed,
which may have had another reason, one more."""
PROBE = 12
"""Architectures that are visited before a time budget is divided."""
_LOST = 3
_PATIENCE_S = 60.0
_PROFILE_S = 0.15
GRAPH = "graph"
"""Unit of a campaign of members of families and ONNX files."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is.

    Attributes:
        done: accepted visits.
        total: visits that are planned.
        visits_per_s: rate since this run of the campaign started.
        seconds_left: at this rate.
        spread: median half-width of the visits of this run, as a share of their medians.
        failed: architectures that cannot be measured.
        redone: visits of this run that raised doubts.
        other_cpus: CPUs that other programs keep busy, mean of the last visits; None: unknown.
    """

    done: int
    total: int
    visits_per_s: float
    seconds_left: float
    spread: float
    failed: int
    redone: int
    other_cpus: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign measures.

    All of it stays the same when it is resumed, but for the visits, which can be more.

    Attributes:
        target: device, runtime, batch, precision and threads.
        archs: architectures, in the order in which they are taken on; each is timed as a whole.
            None where ``networks`` are measured.
        protocol: how they are timed.
        seed: of the networks' parameters and of the order of visits.
        runtime: class of the runtime, if it is not one of latcast's own.
        blocks: rows of the space's block table to time instead, each as a network of its own;
            ``archs`` only names the space then.
        options: what the plan was made from, to be compared when it is resumed.
        networks: members of families and ONNX files to measure instead of architectures.

    Raises:
        ValueError: there are both architectures and networks, or neither.
    """

    target: Target
    archs: Archs | None
    protocol: Protocol = field(default_factory=Protocol)
    seed: int = 0
    runtime: type[Runtime] | None = None
    blocks: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    networks: tuple[OnnxNetwork, ...] = ()

    def __post_init__(self) -> None:
        if (self.archs is None) != bool(self.networks):
            raise ValueError(
                "a plan must be of architectures or of networks, and not of both; got "
                f"{0 if self.archs is None else len(self.archs)} and {len(self.networks)}"
            )

    def record(self) -> dict[str, Any]:
        """What the campaign file holds of it; the architectures are beside."""
        return {
            "target": str(self.target),
            "space": None if self.archs is None else self.archs.space.name,
            "protocol": asdict(self.protocol),
            "seed": self.seed,
            "runtime": class_name(self.runtime or runtime(self.target.runtime)),
            "unit": GRAPH if self.networks else "block" if self.blocks else "network",
            "options": dict(self.options),
        }

    def items(self) -> list[bytes]:
        """What is visited: genes, the bytes of a row number, or JSON."""
        if self.archs is None:
            return [to_text(network).encode() for network in self.networks]
        if self.blocks:
            return [row.to_bytes(4, "little") for row in self.blocks]
        return [bytes(genes) for genes in self.archs.genes]


def start(path: str | Path, plan: Plan) -> CampaignFile:
    """Make the file of a new campaign.

    Raises:
        FileExistsError: there is one already.
        ValueError: no architecture is given, or the target's runtime is unknown.
    """
    items = plan.items()
    if not items:
        raise ValueError("a campaign must have at least one architecture; got none")
    return CampaignFile.create(Path(path), plan.record(), items)


def requests(campaign: CampaignFile) -> list[dict[str, Any]]:
    """What a worker is asked to visit, for every item of the campaign.

    Rows of the block table that a network is made of, or the text of a graph.
    """
    plan = campaign.plan()
    if plan["unit"] == GRAPH:
        return [{"graph": item.decode()} for item in campaign.items()]
    if plan["unit"] == "block":
        return [{"rows": [int.from_bytes(item, "little")]} for item in campaign.items()]
    space = spaces.space(plan["space"])
    none = len(space.block_table)
    ids = space.block_ids(Archs(space, campaign.genes())).tolist()
    return [{"rows": [row for row in rows if row < none]} for rows in ids]


def run(
    campaign: CampaignFile,
    *,
    time_budget_s: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Make all visits that the campaign still lacks.

    Can be called again, by another process too, after an interruption of any kind.

    Args:
        campaign: an open campaign file.
        time_budget_s: measure as many of the architectures as fit, each with all its visits.
        on_progress: called after every visit.

    Raises:
        CampaignRunningError: another campaign runs on this machine.
        ValueError: the runtime or its version is not the one that the campaign began with.
        WorkerDiedError: worker processes do not start.
        OSError: the file cannot be written; what it holds is safe.
    """
    with machine_lock(campaign.path):
        _Run(campaign, time_budget_s, on_progress or (lambda _: None)).run()


class _Run:
    """One run of a campaign, from its start or its resumption to its end."""

    def __init__(
        self,
        campaign: CampaignFile,
        time_budget_s: float | None,
        on_progress: Callable[[Progress], None],
    ) -> None:
        plan = campaign.plan()
        self._file = campaign
        self._plan = plan
        self._protocol = Protocol(**plan["protocol"])
        self._requests = requests(campaign)
        self._target = Target.parse(plan["target"])
        self._started = time.monotonic()
        self._deadline = None if time_budget_s is None else self._started + time_budget_s
        self._on_progress = on_progress
        self._worker: WorkerProcess | None = None
        self._process = 0
        self._visits_made = 0
        self._done = campaign.counts()[0]
        self._made = 0
        self._redone = 0
        self._spreads: list[float] = []
        self._others: list[float] = []
        facts = list(campaign.processes().values())
        self._runtime_facts = facts[0]["runtime"] if facts else None

    def run(self) -> None:
        """Make the visits, and leave no worker process behind."""
        try:
            self._run()
        finally:
            self._retire()

    def _run(self) -> None:
        n = len(self._requests)
        if self._deadline is None:
            self._extend(n)
            self._all_rounds()
            return
        self._extend(min(PROBE, n))
        self._round(0)
        while True:
            extent = self._file.extent()
            self._extend(min(n, extent + self._fitting()))
            self._all_rounds()
            if self._file.extent() in (extent, n):
                return

    def _all_rounds(self) -> None:
        for round_ in range(self._protocol.visits):
            self._round(round_)

    def _extend(self, archs: int) -> None:
        if archs > self._file.extent():
            self._file.extend(archs)

    def _fitting(self) -> int:
        """How many more architectures the time left will do for, after those planned."""
        assert self._deadline is not None
        now = time.monotonic()
        missing = self._total() - self._done
        visit_s = (now - self._started) / max(self._made, 1)
        return max(0, int((self._deadline - now) / visit_s - missing) // self._protocol.visits)

    def _total(self) -> int:
        return (self._file.extent() - len(self._file.failures())) * self._protocol.visits

    def _round(self, round_: int) -> None:
        """One visit to every architecture; those that raise doubts again after all others."""
        self._retire()
        for attempt in range(self._protocol.redo + 1):
            todo = self._file.pending(round_, attempt, self._file.extent())
            seed = [self._plan["seed"], round_, attempt]
            order = np.random.default_rng(seed).permutation(len(self._requests))
            # Where a worker died before comes last: what killed it may be gone by then.
            precedence = {a: (self._file.deaths(a), order[a]) for a in todo}
            self._visit_all(sorted(todo, key=precedence.__getitem__), round_, attempt)

    def _visit_all(self, todo: Sequence[int], round_: int, attempt: int) -> None:
        left = deque(todo)
        while left and not self._out_of_time():
            arch = left.popleft()
            worker = self._living_worker()
            try:
                self._visit(worker, arch, round_, attempt)
            except WorkerDiedError as death:
                self._retire()
                if not self._died(arch, str(death)):
                    left.append(arch)

    def _out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _living_worker(self) -> WorkerProcess:
        """The present worker process, or a fresh one when it has made its visits."""
        if self._worker is None or self._visits_made >= self._protocol.visits_per_process:
            self._retire()
            self._worker = self._fresh_worker()
            self._process = self._file.add_process({**self._worker.facts, "pid": self._worker.pid})
        self._visits_made += 1
        return self._worker

    def _retire(self) -> None:
        """End the present worker process, if there is one."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None
        self._visits_made = 0

    def _fresh_worker(self) -> WorkerProcess:
        threads = max(self._target.threads, 1)
        setup = worker_setup(
            self._target, self._plan["space"], self._plan["protocol"], self._plan["runtime"]
        )
        worker = _first_alive(setup, threads)
        if self._runtime_facts is None:
            self._runtime_facts = worker.facts["runtime"]
        if worker.facts["runtime"] != self._runtime_facts:
            worker.close()
            raise ValueError(
                "a campaign must be measured with one runtime: it began with "
                f"{_differences(self._runtime_facts, worker.facts['runtime'])}"
            )
        return worker

    def _visit(self, worker: WorkerProcess, arch: int, round_: int, attempt: int) -> None:
        request = {**self._requests[arch], "seed": self._plan["seed"]}
        if round_ == 0 and self._plan["unit"] == GRAPH and is_member(request["graph"]):
            request["profile_s"] = _PROFILE_S
        answer = worker.ask(request, _PATIENCE_S + 20 * self._protocol.visit_s)
        if "failed" in answer:
            self._file.add_failure(arch, answer["failed"], final=True)
            return
        accepted = not answer["doubts"] or attempt == self._protocol.redo
        visit = Visit(
            arch, round_, attempt, self._process, time.time(), accepted,
            np.array(answer.pop("samples_ms")),
            tuple(np.array(r) for r in answer.pop("reference_ms")),  # type: ignore[arg-type]
            answer,
        )  # fmt: skip
        self._file.add_visit(visit)
        self._tell(visit)

    def _died(self, arch: int, reason: str) -> bool:
        """Record the death; whether the architecture is given up."""
        final = self._file.deaths(arch) + 1 >= (KILLS if "SIGKILL" in reason else DEATHS)
        self._file.add_failure(arch, reason, final=final)
        return final

    def _tell(self, visit: Visit) -> None:
        self._done += visit.accepted
        self._made += 1
        self._redone += bool(visit.details["doubts"])
        low, middle, high = np.quantile(visit.samples_ms, (0.25, 0.5, 0.75))
        self._spreads.append((high - low) / 2 / middle)
        self._others.append(visit.details["machine"].get("other_cpus", np.nan))
        total = self._total()
        rate = self._made / (time.monotonic() - self._started)
        recent = self._others[-20:]
        self._on_progress(
            Progress(
                done=self._done,
                total=total,
                visits_per_s=rate,
                seconds_left=(total - self._done) / rate,
                spread=float(np.median(self._spreads)),
                failed=len(self._file.failures()),
                redone=self._redone,
                other_cpus=None if np.isnan(recent).all() else float(np.nanmean(recent)),
            )
        )


def worker_setup(
    target: Target, space: str | None, protocol: Mapping[str, Any], runtime: str
) -> dict[str, Any]:
    """What a worker process is told first (:class:`latcast.measure._worker.Worker`)."""
    return {
        "runtime": runtime,
        "options": {
            "threads": target.threads,
            "batch": target.batch,
            "precision": target.precision,
        },
        "space": space,
        "protocol": dict(protocol),
        # The last ones: the first CPUs serve most interrupts.
        "cpus": usable_cpus()[-max(target.threads, 1) :],
    }


def _first_alive(setup: dict[str, Any], threads: int) -> WorkerProcess:
    """A worker that has started; one that is killed while it starts is no reason to stop."""
    for _ in range(_LOST - 1):
        try:
            return WorkerProcess(setup, threads=threads)
        except WorkerDiedError:
            continue
    return WorkerProcess(setup, threads=threads)


def class_name(kind: type[Runtime]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _differences(before: dict[str, str], now: dict[str, str]) -> str:
    for key in [*before, *now]:
        if before.get(key) != now.get(key):
            return f"{key} {before.get(key)!r}, and is {now.get(key)!r} now"
    return "another"
