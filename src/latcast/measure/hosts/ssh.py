"""A machine that the system's ``ssh`` reaches, as a host.

The far side runs :mod:`latcast.measure.hosts._agent` in the environment that
``latcast host prepare`` has made there; requests and answers are lines of JSON through one
connection (:class:`.Connection`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from latcast.measure._lines import LineProcess

from ._agent import FOLDER, PING_S, greeting
from ._base import HostError, HostLostError
from ._connection import Connection
from ._remote import Link, Remote, check_greeting

# A small board takes half a minute to import what a worker needs.
_GREETING_S = 180.0
_MAX_NOISE = 1000


class SSH(Remote):
    """Another machine, by the name that ``ssh`` knows it by.

    Args:
        name: destination, such as ``user@board``.
    """

    kind = "ssh"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.connection = Connection(name)

    def drop(self) -> None:
        """End the link and the connection, whatever they are doing."""
        super().drop()
        self.connection.close()

    def _opened(self, *, asks: bool) -> Link:
        self.connection.open(asks=asks)
        return _Link(self.connection)

    @property
    def _to_install(self) -> str:
        return f"there, with latcast host prepare {self.name} --runtime NAME"


class _Link:
    """The agent of a host, started through its connection.

    Raises:
        HostLostError: the link broke.
        HostError: there is no agent, or another one.
    """

    def __init__(self, connection: Connection) -> None:
        self._name = connection.destination
        self._connection = connection
        own = greeting()
        python = f"{FOLDER}/{own['latcast']}/bin/python"
        self._lines = LineProcess(
            connection.command(f"exec {python} -P -m latcast.measure.hosts._agent")
        )
        try:
            do = f"latcast host prepare {self._name}"
            check_greeting(self._name, self._greeted(), own, do)
        except BaseException:
            self.close()
            raise
        self._ended = threading.Event()
        threading.Thread(target=self._ping, daemon=True).start()

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer to a request."""
        try:
            self._lines.send(request)
            line = self._lines.receive(timeout_s)
        except TimeoutError:
            raise HostLostError(f"{self._name} must answer within {timeout_s:.0f} s") from None
        except BrokenPipeError:
            line = None
        if line is None:
            raise self._lost()
        try:
            reply = json.loads(line)
            if {"answer", "error"} & set(reply):
                return dict(reply)
        except (ValueError, TypeError):
            pass
        raise HostLostError(f"{self._name} must answer in JSON; got {line.strip()!r:.100}")

    def close(self) -> None:
        """End it."""
        if hasattr(self, "_ended"):
            self._ended.set()
        self._lines.close()

    def _greeted(self) -> dict[str, Any]:
        """The greeting, after whatever a login says."""
        end = time.monotonic() + _GREETING_S
        noise: list[str] = []
        while len(noise) < _MAX_NOISE:
            try:
                line = self._lines.receive(max(end - time.monotonic(), 0))
            except TimeoutError:
                line = None
                self._lines.kill()
            if line is None:
                raise self._silent(noise)
            if line.startswith('{"latcast-host"'):
                with suppress(ValueError):
                    return dict(json.loads(line))
            noise.append(line.strip())
        self._lines.kill()
        raise self._silent(noise)

    def _silent(self, noise: list[str]) -> HostError:
        """Why there is no greeting."""
        code, said = self._lines.kill(), self._lines.errors()
        prepare = f"latcast host prepare {self._name}"
        if code == 255 or not self._connection.is_open:
            return self._connection.error(said)
        if code in (126, 127) or "No such file" in said:
            return HostError(
                f"{self._name} must be prepared for this latcast; it is not: {prepare}"
            )
        last = next((x for x in reversed([*noise, *said.splitlines()]) if x.strip()), "nothing")
        return HostError(
            f"{self._name} must start latcast's agent; got {last[:200]!r} (code {code}): see "
            f"latcast host check {self._name}, and keep ~/.bashrc and the like from printing"
            if noise
            else f"{self._name} must start latcast's agent; it says {last[:200]!r} (code {code}): "
            f"{prepare}"
        )

    def _lost(self) -> HostLostError:
        self._lines.kill()
        said = self._lines.last_words()
        return HostLostError(f"the link to {self._name} broke{': ' * bool(said)}{said}")

    def _ping(self) -> None:
        while not self._ended.wait(PING_S):
            with suppress(BrokenPipeError, OSError):
                self._lines.send({"do": "ping"})
