"""Making the runs of a campaign: shuffled rounds in fresh worker processes, with restarts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from latcast.devices import Target

from ._campaign_file import CampaignFile, Run
from ._machine import CampaignRunningError
from ._protocol import Protocol
from ._worker import WorkerDiedError
from .hosts import Host, HostError, HostLostError, HostWorker, host

# A network has failed when so many worker processes died with it; when they were killed, which may
# have had another reason, one more.
MAX_DEATHS, MAX_KILLS = 2, 3
# Networks that are run before a time budget is divided.
PROBE = 12
# Workers that are started before it is given up: one may be killed for another's hunger.
_STARTS = 3
# Broken links without a run in between: what breaks them so often does not get better by itself.
_MAX_LOSSES = 5
_PATIENCE_S = 60.0
_PROFILE_S = 0.15


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is.

    Attributes:
        done: accepted runs.
        total: runs that are planned.
        runs_per_s: rate since the campaign was started or resumed.
        seconds_left: at this rate.
        spread: median half-width of the runs since then, as a share of their medians.
        failed: networks that cannot be measured.
        redone: runs since then that raised doubts.
        other_cpus: CPUs that other programs keep busy, mean of the last runs; None: unknown.
    """

    done: int
    total: int
    runs_per_s: float
    seconds_left: float
    spread: float
    failed: int
    redone: int
    other_cpus: float | None


def run(
    campaign: CampaignFile,
    *,
    on: Host | None = None,
    time_budget_s: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Make all runs that the campaign still lacks.

    Can be called again, by another process too, after an interruption of any kind.

    Args:
        campaign: an open campaign file.
        on: the host of the campaign's plan, where it has been opened already.
        time_budget_s: measure as many of the networks as fit, each with all its runs.
        on_progress: called after every run.

    Raises:
        CampaignRunningError: another campaign is measuring on the host; the file is removed if
            it has no runs yet.
        ValueError: the runtime or its version is not the one that the campaign began with.
        WorkerDiedError: worker processes do not start.
        HostError: the host cannot measure, or was lost and did not come back.
        OSError: the file cannot be written; what it holds is safe.
    """
    try:
        with ExitStack() as stack:
            board = on or stack.enter_context(host(campaign.plan().get("host", "")))
            stack.enter_context(board.lock(campaign.path))
            _Session(campaign, board, time_budget_s, on_progress or (lambda _: None)).run()
    except CampaignRunningError:
        campaign.discard_if_unused()
        raise


class _Session:
    """A campaign from its start or its resumption to its end."""

    def __init__(
        self,
        campaign: CampaignFile,
        board: Host,
        time_budget_s: float | None,
        on_progress: Callable[[Progress], None],
    ) -> None:
        plan = campaign.plan()
        self._file = campaign
        self._host = board
        self._plan = plan
        self._protocol = Protocol(**plan["protocol"])
        self._networks = campaign.networks()
        self._target = Target.parse(plan["target"])
        _check_runtime(board, campaign, plan, self._target.runtime)
        self._started = time.monotonic()
        self._deadline = None if time_budget_s is None else self._started + time_budget_s
        self._on_progress = on_progress
        self._worker: HostWorker | None = None
        self._process = 0
        self._runs_of_worker = 0
        self._done = campaign.counts()[0]
        self._made = 0
        self._redone = 0
        self._losses = 0
        self._spreads: list[float] = []
        self._others: list[float] = []
        facts = list(campaign.processes().values())
        self._runtime_facts = facts[0]["runtime"] if facts else None

    def run(self) -> None:
        """Make the runs, and leave no worker process behind."""
        try:
            self._run()
        finally:
            self._retire()

    def _run(self) -> None:
        n = len(self._networks)
        if self._deadline is None:
            self._extend(n)
            self._all_rounds()
            return
        # How long a run takes is not known before some were made: the first ones tell.
        self._extend(min(PROBE, n))
        self._round(0)
        while True:
            extent = self._file.extent()
            self._extend(min(n, extent + self._fitting()))
            self._all_rounds()
            # Later networks may be faster than the first: the time that is left is divided once
            # more.
            if self._file.extent() in (extent, n):
                return

    def _all_rounds(self) -> None:
        for round_ in range(self._protocol.runs):
            self._round(round_)

    def _extend(self, networks: int) -> None:
        if networks > self._file.extent():
            self._file.extend(networks)

    def _fitting(self) -> int:
        """How many more networks the time left will do for, after those planned."""
        assert self._deadline is not None
        now = time.monotonic()
        missing = self._total() - self._done
        run_s = (now - self._started) / max(self._made, 1)
        return max(0, int((self._deadline - now) / run_s - missing) // self._protocol.runs)

    def _total(self) -> int:
        return (self._file.extent() - len(self._file.failures())) * self._protocol.runs

    def _round(self, round_: int) -> None:
        """One run of every network; those that raise doubts again after all others."""
        self._retire()
        for attempt in range(self._protocol.redo + 1):
            todo = self._file.pending(round_, attempt, self._file.extent())
            # The order is drawn over all networks, not over those that are left: a resumed round
            # goes on in the order in which it began.
            seed = [self._plan["seed"], round_, attempt]
            order = np.random.default_rng(seed).permutation(len(self._networks))
            # Where a worker died before comes last: what killed it may be gone by then.
            precedence = {n: (self._file.deaths(n), order[n]) for n in todo}
            self._run_all(sorted(todo, key=precedence.__getitem__), round_, attempt)

    def _run_all(self, todo: Sequence[int], round_: int, attempt: int) -> None:
        left = deque(todo)
        while left and not self._out_of_time():
            network = left.popleft()
            try:
                worker = self._living_worker()
                if not self._lives_through(worker, network, round_, attempt):
                    left.append(network)
            except HostLostError as loss:
                self._regain(loss)
                left.appendleft(network)

    def _lives_through(self, worker: HostWorker, network: int, round_: int, attempt: int) -> bool:
        """Make a run; False if the worker died, and the network is to be tried again."""
        try:
            self._run_one(worker, network, round_, attempt)
        except WorkerDiedError as death:
            self._retire()
            return self._died(network, str(death))
        return True

    def _regain(self, loss: HostLostError) -> None:
        """Wait for the host to come back; the run in flight is made again by a fresh worker."""
        self._retire()
        self._losses += 1
        if self._losses > _MAX_LOSSES:
            raise HostError(
                f"{loss}; it was lost {self._losses} times without a run in between: see to the "
                "link, then go on with --resume"
            ) from loss
        self._host.reconnect()

    def _out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _living_worker(self) -> HostWorker:
        """The present worker process, or a fresh one when it has made its runs."""
        if self._worker is None or self._runs_of_worker >= self._protocol.runs_per_process:
            self._retire()
            self._worker = self._fresh_worker()
            self._process = self._file.add_process({**self._worker.facts, "pid": self._worker.pid})
        self._runs_of_worker += 1
        return self._worker

    def _retire(self) -> None:
        """End the present worker process, if there is one."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None
        self._runs_of_worker = 0

    def _fresh_worker(self) -> HostWorker:
        worker = self._first_alive()
        if self._runtime_facts is None:
            self._runtime_facts = worker.facts["runtime"]
        # An upgrade between two sittings is another runtime: its runs would be taken for drift.
        if worker.facts["runtime"] != self._runtime_facts:
            worker.close()
            raise ValueError(
                "a campaign must be measured with one runtime: it began with "
                f"{_differences(self._runtime_facts, worker.facts['runtime'])}"
            )
        return worker

    def _first_alive(self) -> HostWorker:
        """A worker that has started; one that is killed while it starts is no reason to stop."""
        setup = (self._target, self._plan["protocol"], self._file.runtime)
        for _ in range(_STARTS - 1):
            try:
                return self._host.start(*setup)
            except WorkerDiedError:
                continue
        return self._host.start(*setup)

    def _run_one(self, worker: HostWorker, network: int, round_: int, attempt: int) -> None:
        source, seed = self._networks[network], self._plan["seed"]
        try:
            request = {
                "network": self._host.text_of(source, self._target.batch, seed),
                "seed": seed,
            }
        except (ValueError, FileNotFoundError) as error:  # a file is gone, or another by now
            reason = f"{type(error).__name__}: {error}"
            self._file.add_failure(network, reason, final=True)
            return
        if round_ == 0 and (passes := self._plan.get("profile_passes")):
            request["profile_passes"] = passes
        elif round_ == 0 and source.is_profiled:
            request["profile_s"] = _PROFILE_S
        patience_s = _PATIENCE_S + 20 * self._protocol.run_s + self._host.slack_s
        answer = worker.ask(request, patience_s)
        if "full" in answer:
            raise HostError(
                f"the disk of {self._host.title} must have room to measure; it is full "
                f"({answer['full']}): make room there, then go on with --resume"
            )
        if "failed" in answer:
            self._file.add_failure(network, answer["failed"], final=True)
            return
        # The last attempt counts whatever it is: a network must not be missing for a noisy machine,
        # and the drift's fit weighs a run by how far it is off.
        accepted = not answer["doubts"] or attempt == self._protocol.redo
        run = Run(
            network, round_, attempt, self._process, time.time(), accepted,
            np.array(answer.pop("samples_ms")),
            tuple(np.array(r) for r in answer.pop("reference_ms")),  # type: ignore[arg-type]
            answer,
        )  # fmt: skip
        self._file.add_run(run)
        self._tell(run)

    def _died(self, network: int, reason: str) -> bool:
        """Record the death; whether the network is given up."""
        # The system's out-of-memory killer may have been after another process.
        most = MAX_KILLS if "SIGKILL" in reason else MAX_DEATHS
        final = self._file.deaths(network) + 1 >= most
        self._file.add_failure(network, reason, final=final)
        return final

    def _tell(self, run: Run) -> None:
        self._done += run.accepted
        self._made += 1
        self._losses = 0
        self._redone += bool(run.details["doubts"])
        low, middle, high = np.quantile(run.samples_ms, (0.25, 0.5, 0.75))
        self._spreads.append((high - low) / 2 / middle)
        self._others.append(run.details["machine"].get("other_cpus", np.nan))
        total = self._total()
        rate = self._made / (time.monotonic() - self._started)
        recent = self._others[-20:]
        self._on_progress(
            Progress(
                done=self._done,
                total=total,
                runs_per_s=rate,
                seconds_left=(total - self._done) / rate,
                spread=float(np.median(self._spreads)),
                failed=len(self._file.failures()),
                redone=self._redone,
                other_cpus=None if np.isnan(recent).all() else float(np.nanmean(recent)),
            )
        )


def _check_runtime(board: Host, campaign: CampaignFile, plan: Mapping[str, Any], name: str) -> None:
    """Make sure that the runtime is that of the plan: the one given with it, or one of its name.

    What the file says of it is compared, and never imported.

    Raises:
        ValueError: there is none of that name, or it is another than the campaign began with.
    """
    if (text := board.runtime_text(name, campaign.runtime)) != plan.get("runtime"):
        raise ValueError(
            f"a campaign goes on with the runtime it began with, {plan.get('runtime')!r}; got "
            f"{text!r}: register that one under the name {name!r} "
            "(latcast.measure.runtimes.register_runtime), or give the plan"
        )


def _differences(before: dict[str, str], now: dict[str, str]) -> str:
    for key in [*before, *now]:
        if before.get(key) != now.get(key):
            return f"{key} {before.get(key)!r}, and is {now.get(key)!r} now"
    return "another"
