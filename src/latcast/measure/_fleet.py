"""Fleets: the hosts of several targets in a TOML file, and campaigns that run side by side."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from latcast._files import read_file
from latcast._limits import MAX_CATALOGUE_BYTES
from latcast._names import short_repr, unknown_name

from ._campaign_file import CampaignFile
from ._session import Progress, run
from .hosts import host

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
            f"{', '.join(tables) or 'nothing'}"
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

    A campaign that fails does not stop the others. An interruption lets the runs in flight end.

    Args:
        paths: the campaigns' files.
        time_budget_s: of each, as of :func:`latcast.measure.run`.
        on_progress: called with the file after every run, by one thread at a time for each file.

    Returns:
        File of a campaign that failed -> the reason.
    """
    stop = Event()
    failed: dict[Path, Exception] = {}

    def measure(path: Path) -> None:
        # SQLite wants a connection to be used by the thread that opened it.
        with CampaignFile.open(path) as campaign:
            run(
                campaign,
                time_budget_s=time_budget_s,
                on_progress=on_progress and (lambda p: on_progress(path, p)),
                stop=stop,
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
            raise
    return failed
