"""Boards of one kind that share the runs of a campaign, each by its speed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latcast.devices import Target

from ._lines import WorkerDiedError
from .hosts import Host, HostError, HostLostError, HostWorker
from .runtimes import Runtime

# Workers that are started before it is given up: one may be killed for another's hunger.
_STARTS = 3
# Broken links without a run in between: what breaks them so often does not get better by itself.
_MAX_LOSSES = 5


@dataclass(frozen=True, slots=True)
class Item:
    """A run that is to be made: of a network, in a round, for the first time or again."""

    network: int
    round: int
    attempt: int


class Shares:
    """The shares of the boards: which of them makes each of the runs that are left.

    A network goes on where it began, so that its runs tell of one board's drift. A board that has
    no such network left takes one that nobody has begun; where all have been, one from the end of
    the longest share. So shares follow the boards' speeds, and a board that is gone leaves its
    share to the others.

    Args:
        boards: how many there are.
        begun: number of a network -> number of the board on which it began.
    """

    def __init__(self, boards: int, begun: Mapping[int, int] | None = None) -> None:
        self._own: list[deque[Item]] = [deque() for _ in range(boards)]
        self._anyones: deque[Item] = deque()
        self._board = dict(begun or {})
        self._gone: set[int] = set()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, items: Iterable[Item]) -> None:
        """Add runs, to be taken in this order."""
        for item in items:
            self._queue(item).append(item)
            self._size += 1

    def give_back(self, item: Item) -> None:
        """A run that was taken and could not be made is the next to be taken."""
        self._queue(item).appendleft(item)
        self._size += 1

    def take(self, board: int) -> Item | None:
        """The next run of a board; None: there is none left."""
        if not self._size:
            return None
        self._size -= 1
        queue = self._own[board] or self._anyones
        item = queue.popleft() if queue else max(self._own, key=len).pop()
        # One board alone takes all runs as they are put.
        if len(self._own) > 1:
            self._board[item.network] = board
        return item

    def leave(self, board: int) -> None:
        """A board is gone: its share is anyone's."""
        self._gone.add(board)
        self._anyones.extend(self._own[board])
        self._own[board].clear()

    def _queue(self, item: Item) -> deque[Item]:
        board = self._board.get(item.network)
        return self._anyones if board is None or board in self._gone else self._own[board]


class Board:
    """A host of a campaign, with the worker that is alive there.

    Its methods but :meth:`retire` wait for the host, and may be called by a thread of its own.

    Attributes:
        host: which one.
        number: among the campaign's.
        process: number of the worker in the campaign file.
        item: the run that it is about to make, or makes.
    """

    def __init__(
        self,
        host: Host,
        number: int,
        setup: tuple[Target, Mapping[str, Any], type[Runtime] | None],
        check: Callable[[Mapping[str, str]], None],
    ) -> None:
        self.host = host
        self.number = number
        self.process = 0
        self.item: Item | None = None
        self._setup = setup
        self._check = check
        self._worker: HostWorker | None = None
        self._runs_of_worker = 0
        self._round = 0
        self._losses = 0
        self._opened = ExitStack()
        self._path: Path | None = None
        self._is_open = False

    @property
    def text(self) -> str:
        """How the host is called where there are several."""
        return self.host.text or "here"

    def lacks_worker(self, most: int) -> bool:
        """Whether a fresh worker is to be started: none lives, or it has made ``most`` runs.

        Workers do not live longer than a round: the runs of a network are in as many processes.
        """
        assert self.item is not None
        return (
            self._worker is None or self._runs_of_worker >= most or self._round != self.item.round
        )

    def open(self, path: Path) -> None:
        """Keep other campaigns from the host, until :meth:`close`.

        Args:
            path: the campaign's file.

        Raises:
            CampaignRunningError: another one measures there.
            HostError: the host cannot measure.
        """
        self._path = path
        self._opened.enter_context(self.host.lock(path))
        self._is_open = True

    def close(self) -> None:
        """End the worker, and let others measure there."""
        self.retire()
        self._opened.close()

    def start(self) -> dict[str, Any]:
        """Start a fresh worker; returns what it states of itself.

        Raises:
            WorkerDiedError: it does not start; one that is killed meanwhile is no reason to stop.
            HostLostError: the link broke.
            ValueError: it has another runtime than the campaign began with.
        """
        assert self.item is not None
        self.retire()
        for left in reversed(range(_STARTS)):
            try:
                worker = self.host.start(*self._setup)
                break
            except WorkerDiedError:
                if not left:
                    raise
        try:
            self._check(worker.facts["runtime"])
        except ValueError:
            worker.close()
            raise
        self._worker, self._round = worker, self.item.round
        return {**worker.facts, "pid": worker.pid}

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Make a run.

        Raises:
            WorkerDiedError: as of :meth:`HostWorker.ask`.
            HostLostError: likewise.
            HostError: the host's disk is full.
        """
        assert self._worker is not None
        self._runs_of_worker += 1
        answer = self._worker.ask(request, timeout_s + self.host.slack_s)
        if "full" in answer:
            raise HostError(
                f"the disk of {self.host.title} must have room to measure; it is full "
                f"({answer['full']}): make room there, then go on with --resume"
            )
        self._losses = 0
        return answer

    def regain(self, loss: HostLostError) -> None:
        """Wait for a host that was lost; fresh workers make the runs that are left.

        Raises:
            HostError: it does not come back, or is lost again and again.
        """
        self.retire()
        self._losses += 1
        if self._losses > _MAX_LOSSES:
            raise HostError(
                f"{loss}; it was lost {self._losses} times without a run in between: see to the "
                "link, then go on with --resume"
            ) from loss
        self.host.reconnect()
        if not self._is_open and self._path is not None:  # it was away when it was to be locked
            self.open(self._path)

    def retire(self) -> None:
        """End the worker, if there is one, whatever it does."""
        worker, self._worker = self._worker, None
        self._runs_of_worker = 0
        if worker is not None:
            worker.close()
