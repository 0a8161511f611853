"""Run the service until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import uvicorn
from filelock import FileLock, Timeout

from .app import app_of
from .settings import Settings

# Seconds that requests have to end after the service was told to.
_GRACE_S = 10


def run(settings: Settings, devices: Sequence[Path], tell: Callable[[str], None]) -> None:
    """Listen until a signal comes, then let requests end.

    Args:
        settings: of the service.
        devices: files of further devices, for its processes.
        tell: called with a line for the user once the service answers.

    Raises:
        OSError: nobody can listen there.
        ValueError: another service uses the folder of the state.
    """
    from latcast.data.public.timm import VARIABLE, find_imagenet

    with suppress(FileNotFoundError):
        # Workers run in folders of their own: what is found from this one is named for them.
        os.environ[VARIABLE] = str(find_imagenet().resolve())
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with _locked(settings.state), socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        settings = replace(settings, port=listening.getsockname()[1], devices=tuple(devices))
        config = uvicorn.Config(
            app_of(settings), log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=_GRACE_S, timeout_keep_alive=30, lifespan="on",
            h11_max_incomplete_event_size=65_536,
        )  # fmt: skip
        line = f"latcast serves {settings.url} (state in {settings.state}); ctrl-C ends it"
        # A signal ends the server, which raises it again when all is done: that is no failure.
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        try:
            _Server(config, lambda: tell(line)).run(sockets=[listening])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Server(uvicorn.Server):
    """A server that says when it answers: its workers are warm, and its socket takes requests.

    Args:
        config: of the server.
        begun: called then.
    """

    def __init__(self, config: uvicorn.Config, begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start what the application needs, listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._begun()


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Keep other services out of a folder.

    Raises:
        ValueError: one is in it.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(state / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another latcast serve uses {state}: name another --state") from None
    try:
        yield
    finally:
        lock.release()
