"""``latcast host``: machines that measure, prepared, checked and cleaned up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import Command, Console, Group, UsageError, argument, command, option, usage
from ._options import MEASURING, find_host

if TYPE_CHECKING:
    from latcast.measure.hosts.ssh import SSH

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Machines that measure: prepare, check, clean up."
)

_HOST = "user@board, as ssh takes it."

Runtimes = Annotated[
    list[str] | None,
    option(
        "To measure with; repeat for several; onnxruntime by default.",
        None,
        "--runtime",
        panel=MEASURING,
    ),
]


@contextmanager
def _reached(host: str, runtimes: list[str], what: str) -> Iterator[SSH]:
    """A machine that ssh reaches.

    Raises:
        UsageError: ssh does not reach it, or there is no such runtime.
    """
    from latcast.measure.hosts import preparing
    from latcast.measure.hosts.ssh import SSH

    with find_host(host) as board:
        if not isinstance(board, SSH):
            raise UsageError(f"machines that ssh reaches are {what}; got {host}, which is not")
        with usage():
            preparing.requirements(runtimes)
        yield board


@app.command("prepare", cls=Command)
@command
def prepare(
    console: Console,
    *,
    host: str = argument(_HOST, metavar="HOST"),
    runtime: Runtimes = None,
    from_here: bool = option("Send all packages from here.", False, panel=MEASURING),
) -> None:
    """Install this latcast and runtimes on a machine, in a folder of their own.

    It needs Python 3.11. A machine without a way out is sent what it needs from here.

    Example: latcast host prepare pi@raspberrypi --runtime ncnn
    """
    from latcast.measure.hosts import preparing

    names = runtime or ["onnxruntime"]
    with _reached(host, names, "prepared") as board:
        console.show(preparing.prepare(board, names, from_here=from_here, tell=console.note))


@app.command("check", cls=Command)
@command
def check(
    console: Console, *, host: str = argument(_HOST, metavar="HOST"), runtime: Runtimes = None
) -> None:
    """Say what a machine has, and what is missing to measure there; exit code 1 if anything is.

    Example: latcast host check pi@raspberrypi --runtime ncnn
    """
    from latcast.measure.hosts import preparing

    names = runtime or ["onnxruntime"]
    with _reached(host, names, "checked") as board:
        found = preparing.check(board, names)
    console.show(found)
    if found.missing:
        raise typer.Exit(1)


@app.command("remove", cls=Command)
@command
def remove(console: Console, *, host: str = argument(_HOST, metavar="HOST")) -> None:
    """Remove everything of latcast from a machine.

    Example: latcast host remove pi@raspberrypi
    """
    from latcast.measure.hosts import preparing
    from latcast.measure.hosts.ssh import SSH

    with find_host(host) as board:
        if isinstance(board, SSH):
            found = preparing.remove(board)
            for step in found.done:
                console.note(f"{step} on {board.title}")
            console.show(found)
            return
        if board.kind == "adb":
            from latcast.measure.hosts.adb import AdbHost  # needs adbutils

            assert isinstance(board, AdbHost)
            board.remove()
            console.note(f"removed everything of latcast from {board.title}")
            return
        raise UsageError(f"another machine is cleaned up; got {host}, which is this one")
