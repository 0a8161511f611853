"""Making the runs of a campaign: shuffled rounds in fresh worker processes, with restarts."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from latcast.devices import Target

from ._boards import Board, Item, Shares
from ._campaign_file import SUSTAINED_ROUND, CampaignFile, Run
from ._lines import WorkerDiedError
from ._machine import CampaignRunningError
from ._protocol import Protocol
from ._quantities import MEASURED
from ._sources import NetworkSource
from ._sustained import PATIENCE_S as SUSTAINED_PATIENCE_S
from .hosts import Host, HostLostError, host

# A network has failed when so many worker processes died with it; when they were killed, which may
# have had another reason, one more.
MAX_DEATHS, MAX_KILLS = 2, 3
# Networks that are run before a time budget is divided.
PROBE = 12
# Runs whose spread is told.
_RECENT = 1000
_PATIENCE_S = 60.0
_LOOK_S = 1.0  # whether it is to stop
_PROFILE_S = 0.15


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is.

    Attributes:
        done: accepted runs.
        total: runs that are planned.
        runs_per_s: rate since the campaign was started or resumed.
        seconds_left: at this rate.
        spread: median half-width of the last thousand runs, as a share of their medians.
        failed: networks that cannot be measured.
        redone: runs since then that raised doubts.
        other_cpus: CPUs that other programs keep busy, mean of the last runs; None: unknown.
        by_host: text of a host -> runs that it has made since then.
        left_out: text of a host that has failed -> the reason.
        lost: text of a host whose link is broken, and which is waited for -> how it broke.
    """

    done: int
    total: int
    runs_per_s: float
    seconds_left: float
    spread: float
    failed: int
    redone: int
    other_cpus: float | None
    by_host: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)


_Then: TypeAlias = Callable[[Board, Any], None]


def run(
    campaign: CampaignFile,
    *,
    on: Host | Sequence[Host] | None = None,
    time_budget_s: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
    cut: Event | None = None,
    sustains: bool = True,
) -> None:
    """Make all runs that the campaign still lacks.

    Can be called again, by another process too, after an interruption of any kind. Hosts of one
    kind share the networks, each by its speed; one that fails is left out, and its share goes on
    elsewhere.

    Args:
        campaign: an open campaign file.
        on: the host or hosts of the campaign's plan, where they have been opened already.
        time_budget_s: measure as many of the networks as fit, each with all its runs.
        on_progress: called after every run, and where a host is lost, comes back or is left out.
        stop: no run is begun any more once it is set.
        cut: runs in flight are given up, too, once this is set; they are made again by a later
            call.
        sustains: make the plan's sustained runs as well, which no time budget counts.

    Raises:
        CampaignRunningError: another campaign is measuring on the host; the file is removed if
            it has no runs yet.
        ValueError: the runtime or its version is not the one that the campaign began with.
        WorkerDiedError: worker processes do not start.
        HostError: the host cannot measure, or was lost and did not come back; of several, the last.
        OSError: the file cannot be written; what it holds is safe.
    """
    try:
        with ExitStack() as stack:
            if on is None:
                plan = campaign.plan()
                hosts = [host(text) for text in plan.get("hosts") or [plan.get("host", "")]]
                on = [stack.enter_context(board) for board in hosts]
            boards = [on] if isinstance(on, Host) else list(on)
            tell = on_progress or (lambda _: None)
            stops = (stop or Event(), cut or Event())
            session = _Session(campaign, boards, time_budget_s, tell, *stops)
            session.run(sustains=sustains)
    except CampaignRunningError:
        campaign.discard_if_unused()
        raise


class _Session:
    """A campaign from its start or its resumption to its end.

    What a board does is done by a thread of its own where there are several; this thread decides,
    and is the only one that writes.
    """

    def __init__(
        self,
        campaign: CampaignFile,
        hosts: Sequence[Host],
        time_budget_s: float | None,
        on_progress: Callable[[Progress], None],
        stop: Event,
        cut: Event,
    ) -> None:
        plan = campaign.plan()
        self._file = campaign
        self._plan = plan
        self._sustain_s = float(plan.get("sustain_s", 0.0))
        self._protocol = Protocol(**plan["protocol"])
        self._networks = campaign.networks()
        self._target = Target.parse(plan["target"])
        _check_runtime(hosts[0], campaign, plan, self._target.runtime)
        setup = (self._target, plan["protocol"], campaign.runtime)
        self._boards = [Board(h, n, setup, self._check_worker) for n, h in enumerate(hosts)]
        self._pool = ThreadPoolExecutor(len(hosts)) if len(hosts) > 1 else None
        self._outcomes: SimpleQueue[tuple[Board, _Then, Any]] = SimpleQueue()
        self._shares = Shares(len(hosts))
        self._steps: list[tuple[int, int]] = []
        self._step = self._under_way = 0
        self._is_all_put = False
        self._idle: deque[Board] = deque()
        self._waiting: list[Board] = []
        self._started = time.monotonic()
        self._deadline = None if time_budget_s is None else self._started + time_budget_s
        self._on_progress = on_progress
        self._stop, self._cut = stop, cut
        self._done = campaign.counts()[0]
        self._made = Counter[str]()
        self._left_out: dict[str, str] = {}
        self._lost: dict[str, str] = {}
        self._failed = set(campaign.failures())
        self._redone = 0
        self._spreads: deque[float] = deque(maxlen=_RECENT)
        self._others: deque[float] = deque(maxlen=20)
        facts = list(campaign.processes().values())
        self._runtime_facts = facts[0]["runtime"] if facts else None
        self._checking = Lock()

    def run(self, *, sustains: bool) -> None:
        """Make the runs, and leave no worker process behind."""
        is_over = Event()
        Thread(target=self._watch, args=(is_over,), daemon=True).start()
        try:
            for board in list(self._boards):
                self._submit(board, partial(board.open, self._file.path), self._go_on)
            while self._under_way and not self._idle:  # nothing is written before one is ours
                self._conclude(*self._next())
            self._run()
            if sustains and self._sustain_s:
                self._make_sustained()
        finally:
            is_over.set()
            for board in self._boards:
                board.host.stop_waiting()
                board.close()
            if self._pool is not None:
                self._pool.shutdown()

    def _run(self) -> None:
        n = len(self._networks)
        if self._deadline is None:
            self._extend(n)
            self._make(self._protocol.runs)
            return
        # How long a run takes is not known before some were made: the first ones tell.
        self._extend(min(PROBE, n))
        self._make(1)
        while True:
            extent, made = self._file.extent(), self._made.total()
            self._extend(min(n, extent + self._fitting()))
            self._make(self._protocol.runs)
            # Later networks may be faster than the first: the time that is left is divided once
            # more. A campaign that goes on may know no time yet.
            is_told = made > 0 or not self._made
            if self._file.extent() == n or (self._file.extent() == extent and is_told):
                return

    def _extend(self, networks: int) -> None:
        if networks > self._file.extent():
            self._file.extend(networks)

    def _fitting(self) -> int:
        """How many more networks the time left will do for, after those planned."""
        assert self._deadline is not None
        if not self._made:
            return 0
        now = time.monotonic()
        missing = self._total() - self._done
        run_s = (now - self._started) / self._made.total()
        return max(0, int((self._deadline - now) / run_s - missing) // self._protocol.runs)

    def _total(self) -> int:
        each = self._protocol.runs + (self._sustain_s > 0)
        return (self._file.extent() - len(self._failed)) * each

    def _out_of_time(self) -> bool:
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        return is_late or self._stop.is_set()

    # -- who makes which run ------------------------------------------------------------------

    def _make(self, rounds: int) -> None:
        """One run of every network a round; those that raise doubts again after all others."""
        if self._pool is not None:
            numbers = {board.text: board.number for board in self._boards}
            begun = {n: numbers[h] for n, h in self._file.boards().items() if h in numbers}
            self._shares = Shares(len(self._boards) + len(self._left_out), begun)
        self._make_all(list(product(range(rounds), range(self._protocol.redo + 1))))

    def _make_sustained(self) -> None:
        """A sustained run of every network, after all others: it leaves a hot machine behind."""
        self._deadline = None
        self._make_all([(SUSTAINED_ROUND, 0)])

    def _make_all(self, steps: list[tuple[int, int]]) -> None:
        self._steps = steps
        self._step, self._is_all_put = 0, False
        self._wake()
        while True:
            while self._idle:
                board = self._idle.popleft()
                if not self._dispatch(board):
                    self._waiting.append(board)
            if not self._under_way:
                return
            self._conclude(*self._next())

    def _dispatch(self, board: Board) -> bool:
        """Let a board do what comes next; False: there is nothing."""
        if self._stop.is_set():  # a worker may have been started for a run meanwhile
            self._give_back(board)
        if board.item is None and not self._out_of_time():
            if not len(self._shares):
                self._refill()
            board.item = self._shares.take(board.number)
            while board.item is not None and board.item.network in self._failed:
                board.item = self._shares.take(board.number)  # another board found out meanwhile
        if board.item is None:
            return False
        if board.lacks_worker(self._protocol.runs_per_process):
            self._submit(board, board.start, self._has_worker)
        else:
            self._submit(board, partial(self._ask, board), self._record)
        return True

    def _refill(self) -> None:
        """Put the next runs that are to be made, if there are any beside those under way."""
        if self._is_all_put:
            return
        under_way = [board.item for board in self._boards if board.item is not None]
        for _ in self._steps:
            round_, attempt = self._steps[self._step]
            self._step = (self._step + 1) % len(self._steps)
            todo = set(self._file.pending(round_, attempt, self._file.extent()))
            todo -= {item.network for item in under_way if item.round == round_}
            if todo:
                self._shares.put(
                    Item(n, round_, attempt) for n in self._ordered(todo, round_, attempt)
                )
                return
        self._is_all_put = True

    def _ordered(self, todo: Collection[int], round_: int, attempt: int) -> list[int]:
        # The order is drawn over all networks, not over those that are left: a resumed round
        # goes on in the order in which it began.
        seed = [self._plan["seed"], round_ % 2**32, attempt]  # that of sustained runs is negative
        order = np.random.default_rng(seed).permutation(len(self._networks))
        # Where a worker died before comes last: what killed it may be gone by then.
        return sorted(todo, key=lambda n: (self._file.deaths(n), order[n]))

    def _wake(self) -> None:
        """There may be runs to make again."""
        self._is_all_put = False
        self._idle.extend(self._waiting)
        self._waiting.clear()

    # -- what comes of it ---------------------------------------------------------------------

    def _submit(self, board: Board, job: Callable[[], Any], then: _Then) -> None:
        """Do what waits for a board; ``then`` is called by this thread with what it returned."""

        def work() -> None:
            try:
                outcome = job()
            except Exception as error:  # noqa: BLE001  # what it means is decided afterwards
                outcome = error
            self._outcomes.put((board, then, outcome))

        self._under_way += 1
        if self._pool is None:
            work()
        else:
            self._pool.submit(work)

    def _next(self) -> tuple[Board, _Then, Any]:
        """Return the outcome that arrives next, however long that takes."""
        while True:  # an endless wait could not be interrupted on Windows
            with suppress(Empty):
                return self._outcomes.get(timeout=_LOOK_S)

    def _watch(self, is_over: Event) -> None:
        """Once it is to stop, wait for nothing but the runs in flight: this thread may wait.

        Once it is to be cut, not for them either.
        """
        while not is_over.is_set():
            if not (self._stop.wait(_LOOK_S) or self._cut.is_set()):
                continue
            for board in list(self._boards):
                board.host.stop_waiting()
                if board.text in self._lost or self._cut.is_set():
                    board.host.close()
                if self._cut.is_set():
                    board.retire()
            is_over.wait(_LOOK_S)

    def _conclude(self, board: Board, then: _Then, outcome: Any) -> None:
        self._under_way -= 1
        if self._cut.is_set() and (isinstance(outcome, Exception) or then != self._record):
            self._give_back(board)  # it is no fault of the host's or the network's
        elif isinstance(outcome, HostLostError):
            # The others need not wait for it.
            self._give_back(board)
            self._lost[board.text] = str(outcome)
            self._tell()
            self._submit(board, partial(board.regain, outcome), self._is_back)
        elif isinstance(outcome, WorkerDiedError) and then == self._record:
            self._bury(board, str(outcome))
        elif isinstance(outcome, Exception):
            self._leave_out(board, outcome)
        else:
            then(board, outcome)

    def _go_on(self, board: Board, _: None = None) -> None:
        self._idle.append(board)

    def _is_back(self, board: Board, _: None) -> None:
        del self._lost[board.text]
        self._tell()
        self._go_on(board)

    def _has_worker(self, board: Board, facts: dict[str, Any]) -> None:
        several = {"host": board.text} if self._pool is not None else {}
        board.process = self._file.add_process({**facts, **several})
        self._go_on(board)

    def _give_back(self, board: Board) -> None:
        if board.item is not None:
            self._shares.give_back(board.item)
            board.item = None
            self._wake()

    def _leave_out(self, board: Board, reason: Exception) -> None:
        """Go on without a board; without the last, not at all."""
        if len(self._boards) == 1:
            raise reason
        self._boards.remove(board)
        self._lost.pop(board.text, None)
        self._left_out[board.text] = str(reason)
        board.close()
        self._give_back(board)
        self._shares.leave(board.number)
        self._wake()
        self._tell()

    def _bury(self, board: Board, reason: str) -> None:
        """Record the death of a worker; its network is tried again, unless it is given up."""
        board.retire()
        item, board.item = board.item, None
        assert item is not None
        # The system's out-of-memory killer may have been after another process.
        most = MAX_KILLS if "SIGKILL" in reason else MAX_DEATHS
        final = self._file.deaths(item.network) + 1 >= most
        self._fail(item.network, reason, final=final)
        if not final:
            self._shares.put([item])
        self._wake()
        self._go_on(board)

    def _fail(self, network: int, reason: str, *, final: bool) -> None:
        self._file.add_failure(network, reason, final=final)
        if final:
            self._failed.add(network)

    def _check_worker(self, facts: Mapping[str, str]) -> None:
        """Make sure that all workers have one runtime."""
        with self._checking:
            if self._runtime_facts is None:
                self._runtime_facts = dict(facts)
        # An upgrade between two sittings is another runtime: its runs would be taken for drift.
        if facts != self._runtime_facts:
            raise ValueError(
                "a campaign must be measured with one runtime: it began with "
                f"{_differences(self._runtime_facts, facts)}"
            )

    def _ask(self, board: Board) -> dict[str, Any]:
        """A run's answer."""
        assert board.item is not None
        source, seed = self._networks[board.item.network], self._plan["seed"]
        try:
            text = board.host.text_of(source, self._target.batch, seed)
        except (ValueError, FileNotFoundError) as error:  # a file is gone, or another by now
            return {"failed": f"{type(error).__name__}: {error}"}
        if board.item.round == SUSTAINED_ROUND:
            request = {"network": text, "seed": seed, "sustain_s": self._sustain_s}
            return board.ask(request, 1.2 * self._sustain_s + SUSTAINED_PATIENCE_S)
        beside, beside_s = self._beside(source, board.item)
        request = {"network": text, "seed": seed, **beside}
        return board.ask(request, _PATIENCE_S + 20 * self._protocol.run_s + beside_s)

    def _record(self, board: Board, answer: dict[str, Any]) -> None:
        item, board.item = board.item, None
        assert item is not None
        self._go_on(board)
        if "failed" in answer and self._cut.is_set():
            return  # what it ran may have been taken away from it
        if "failed" in answer:
            self._fail(item.network, answer["failed"], final=True)
            return
        # The last attempt counts whatever it is: a network must not be missing for a noisy machine,
        # and the drift's fit weighs a run by how far it is off.
        is_last = item.attempt == self._protocol.redo or item.round == SUSTAINED_ROUND
        accepted = not answer["doubts"] or is_last
        run = Run(
            item.network, item.round, item.attempt, board.process, time.time(), accepted,
            np.array(answer.pop("samples_ms")),
            tuple(np.array(r) for r in answer.pop("reference_ms")),  # type: ignore[arg-type]
            answer,
        )  # fmt: skip
        self._file.add_run(run)
        if not accepted:
            self._wake()
        self._count(board, run)
        self._tell()

    def _beside(self, source: NetworkSource, item: Item) -> tuple[dict[str, Any], float]:
        """Return the request for what is measured beside a run, and the seconds to wait for it."""
        asked: dict[str, Any] = {}
        if item.round == 0 and (passes := self._plan.get("profile_passes")):
            asked["profile_passes"] = passes
        elif item.round == 0 and source.is_profiled:
            asked["profile_s"] = _PROFILE_S
        # A run that raised doubts is made again for its times alone.
        wanted = self._plan.get("quantities", ()) if item.attempt == 0 else ()
        found = [(MEASURED[name], name) for name in wanted if item.round < MEASURED[name].rounds]
        asked |= {"quantities": [name for _, name in found]} if found else {}
        return asked, sum(how.patience_s for how, _ in found)

    def _count(self, board: Board, run: Run) -> None:
        self._done += run.accepted
        self._made[board.text] += 1
        self._redone += bool(run.details["doubts"])
        low, middle, high = np.quantile(run.samples_ms, (0.25, 0.5, 0.75))
        self._spreads.append((high - low) / 2 / middle)
        self._others.append(run.details["machine"].get("other_cpus", np.nan))

    def _tell(self) -> None:
        total = self._total()
        rate = self._made.total() / (time.monotonic() - self._started)
        # A sustained run takes its own time, whatever the others took.
        long = min(total - self._done, self._file.extent() - len(self._failed))
        long *= self._sustain_s > 0
        others = np.array(self._others)
        short_s = (total - self._done - long) / rate if rate else np.inf
        self._on_progress(
            Progress(
                done=self._done,
                total=total,
                runs_per_s=rate,
                seconds_left=short_s + long * self._sustain_s,
                spread=float(np.median(self._spreads)) if self._spreads else np.nan,
                failed=len(self._failed),
                redone=self._redone,
                other_cpus=None if np.isnan(others).all() else float(np.nanmean(others)),
                by_host=MappingProxyType(self._made),
                left_out=MappingProxyType(self._left_out),
                lost=MappingProxyType(self._lost),
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


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    for key in [*before, *now]:
        if before.get(key) != now.get(key):
            return f"{key} {before.get(key)!r}, and is {now.get(key)!r} now"
    return "another"
