"""Several campaigns: side by side on the hosts of a fleet, or in turns on one."""

from __future__ import annotations

import time
import tomllib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from threading import Event
from typing import Any

from latcast._files import read_file
from latcast._limits import MAX_CATALOGUE_BYTES
from latcast._names import short_list, short_repr, unknown_name

from ._campaign_file import CampaignFile
from ._machine import CampaignRunningError
from ._session import Progress, run
from .hosts import Host, host

# Runs of one of several campaigns before it is the next one's turn: what slows a machine for
# minutes slows all of them, and starting a process takes as long as a few runs.
TURN = 40
# For runs in flight to end after an interruption: most take a second or two, sustained ones
# minutes or hours.
_GRACE_S = 5.0

_SETTINGS = {"name": str, "runtime": str, "precision": str, "batch": int, "threads": int}


@dataclass(frozen=True)
class Boards:
    """Hosts of one kind in a fleet, which share the networks of one target.

    Attributes:
        hosts: texts of the hosts.
        settings: of the target, those that the file gives: ``name`` of the device, ``runtime``,
            ``precision``, ``batch`` and ``threads``.
    """

    hosts: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The settings in one word, which tells the targets of a fleet apart."""
        return "-".join(str(self.settings[key]) for key in _SETTINGS if key in self.settings)


def read_fleet(path: str | Path) -> tuple[Boards, ...]:
    """Read the targets of a fleet.

    A file of one is such as::

        [[target]]
        name = "raspberry-pi-4"
        hosts = ["pi@board-1", "pi@board-2"]
        runtime = "ncnn"
        threads = 4

        [[target]]
        name = "pixel-6"
        hosts = ["adb:1A2B3C", "adb:4D5E6F"]

    What a target does not say is as for all of them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of a fleet; the message says what must hold, and what was found.
    """
    path = Path(path)
    content = read_file(path, MAX_CATALOGUE_BYTES)
    try:
        # Editors on Windows write a byte order mark, which TOML does not have.
        tables = tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} must be TOML: {error}") from error
    rows = tables.get("target")
    if not isinstance(rows, list) or not rows or tables.keys() != {"target"}:
        raise ValueError(
            f"{path} must hold [[target]] tables, each with hosts = [...]; it holds "
            f"{short_list(tables) or 'nothing'}"
        )
    fleet = tuple(_boards(path, number, row) for number, row in enumerate(rows, 1))
    _check_different(path, fleet)
    return fleet


def _boards(path: Path, number: int, row: object) -> Boards:
    where = f"[[target]] {number} of {path}"
    if not isinstance(row, dict):
        raise ValueError(f"{where} must be a table; got {short_repr(row)}")
    settings = dict(row)
    texts = settings.pop("hosts", None)
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"hosts of {where} must be a list of texts; got {short_repr(texts)}")
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise ValueError(f"{where}: {unknown_name('setting', key, ['hosts', *_SETTINGS])}")
        if type(value) is not _SETTINGS[key]:
            raise ValueError(
                f"{key} of {where} must be of type {_SETTINGS[key].__name__}; "
                f"got {short_repr(value)}"
            )
    try:
        return Boards(tuple(host(text).text or "here" for text in texts), settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_different(path: Path, fleet: Sequence[Boards]) -> None:
    """Make sure that no host measures twice, and that targets differ."""
    for what, names in (
        ("host", [text for boards in fleet for text in boards.hosts]),
        ("target", [boards.label for boards in fleet]),
    ):
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"{path} must name every {what} once; {', '.join(sorted(twice)) or 'one'} stands "
                "there twice: a host makes one run at a time, and targets are told apart by what "
                "they state"
            )


def run_side_by_side(
    paths: Sequence[Path],
    *,
    time_budget_s: float | None = None,
    on_progress: Callable[[Path, Progress], None] | None = None,
) -> dict[Path, Exception]:
    """Make the runs that several campaigns lack, of other hosts each, at the same time.

    A campaign that fails does not stop the others. An interruption lets runs in flight end that do
    so within seconds; the others are given up, and are made again by a later call.

    Args:
        paths: the campaigns' files.
        time_budget_s: of each, as of :func:`latcast.measure.run`.
        on_progress: as of :func:`latcast.measure.run`, called with the file before, by one thread
            at a time for each file.

    Returns:
        File of a campaign that failed -> the reason.
    """
    stop, cut = Event(), Event()
    failed: dict[Path, Exception] = {}

    def measure(path: Path) -> None:
        # SQLite wants a connection to be used by the thread that opened it.
        with CampaignFile.open(path) as campaign:
            run(
                campaign,
                time_budget_s=time_budget_s,
                on_progress=on_progress and (lambda p: on_progress(path, p)),
                stop=stop,
                cut=cut,
            )

    with ThreadPoolExecutor(len(paths)) as pool:
        running = {pool.submit(measure, path): path for path in paths}
        try:
            for done in as_completed(running):
                try:
                    done.result()
                except Exception as error:  # noqa: BLE001  # each campaign has its own fate
                    failed[running[done]] = error
        except BaseException:
            stop.set()
            try:
                wait(running, timeout=_GRACE_S)
            finally:
                cut.set()
            raise
    return failed


def run_in_turns(
    campaigns: Sequence[CampaignFile],
    *,
    on: Host | Sequence[Host] | None = None,
    time_budget_s: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Make the runs that campaigns of one host lack, :data:`TURN` of each at a time.

    So the machine's states are the same for all, and latencies of two precisions can be compared.

    Args:
        campaigns: open campaign files.
        on: the host or hosts of their plans, as of :func:`latcast.measure.run`.
        time_budget_s: of all together, as of :func:`latcast.measure.run`.
        on_progress: as of :func:`latcast.measure.run`, with how far all of them are.

    Raises:
        Exception: as of :func:`latcast.measure.run`; of campaigns that another one keeps from
            beginning no file is left.
    """
    going, told = deque(enumerate(campaigns)), dict[int, Progress]()
    started = time.monotonic()
    try:
        while going:
            number, campaign = going.popleft()
            is_last, stop = not going, Event()

            def tell(progress: Progress, own: int = number, stop: Event = stop) -> None:
                told[own] = progress
                made = sum(progress.by_host.values())
                if made >= TURN and not is_last:  # noqa: B023  # it is called in this turn alone
                    stop.set()
                if on_progress is not None:
                    on_progress(_together(told, progress))

            left_s = None
            if time_budget_s is not None:
                left_s = (started + time_budget_s - time.monotonic()) / (len(going) + 1)
            run(campaign, on=on, time_budget_s=left_s, on_progress=tell, stop=stop, sustains=False)
            if stop.is_set():
                going.append((number, campaign))
        # They leave a hot machine behind, which the others' runs should not be of.
        _sustain(campaigns, on, partial(tell, stop=Event()))
    except CampaignRunningError:
        for campaign in campaigns:
            if campaign.path.exists():
                campaign.discard_if_unused()
        raise


def _sustain(
    campaigns: Sequence[CampaignFile],
    on: Host | Sequence[Host] | None,
    tell: Callable[..., None],
) -> None:
    """The sustained runs of campaigns whose other runs have been made, one after the other."""
    for number, campaign in enumerate(campaigns):
        if campaign.plan().get("sustain_s"):
            run(campaign, on=on, on_progress=partial(tell, own=number))


def _together(told: Mapping[int, Progress], last: Progress) -> Progress:
    """Progress of all campaigns that have begun."""
    if len(told) == 1:
        return last
    done, total = sum(p.done for p in told.values()), sum(p.total for p in told.values())
    rate = last.runs_per_s  # of this turn: they are made one after the other
    return replace(
        last, done=done, total=total, seconds_left=(total - done) / rate if rate else inf,
        spread=sum(p.spread for p in told.values()) / len(told),
        failed=sum(p.failed for p in told.values()), redone=sum(p.redone for p in told.values()),
    )  # fmt: skip
