"""The link to a phone through adb's server: commands, files, and what goes wrong with either.

adbutils speaks to the server, and starts one where an ``adb`` is there. What it raises when a phone
goes away is of a dozen types: here it is one.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from latcast._imports import require

from ._base import HostError, HostLostError

if TYPE_CHECKING:
    from adbutils import AdbClient, AdbDevice

# Without an answer of the server in between.
_PATIENCE_S = 60.0
# Of a command's output: a tool that prints without end must not fill the memory.
MAX_OUTPUT = 1 << 20
_STATES = {
    "unauthorized": "allow USB debugging on the phone's screen",
    "offline": "unplug it and plug it in again, or restart adb (adb kill-server)",
    "no": "let your user reach the USB device (udev rules of Android's platform tools)",
}


class RefusedError(Exception):
    """The phone has refused a file; the link is as it was."""


class AdbLink:
    """One phone.

    Args:
        serial: as ``adb devices`` lists it.

    Raises:
        ModuleNotFoundError: adbutils is not installed; the message says what to type.
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self._adb = require("adbutils", "adb", "measuring on a phone")

    @cached_property
    def _client(self) -> AdbClient:
        client: AdbClient = self._adb.AdbClient(socket_timeout=_PATIENCE_S)
        return client

    @cached_property
    def _phone(self) -> AdbDevice:
        return self._client.device(self.serial)

    @cached_property
    def _features(self) -> Collection[str]:
        features: str = self._phone.get_features()
        return features.split(",")

    def check(self) -> None:
        """Make sure that the phone is there and lets itself be used.

        Raises:
            HostError: it is not, or does not; the message says what to do.
        """
        try:
            with self._guarded("listing phones"):
                states = {info.serial: info.state for info in self._client.list()}
        except HostLostError as error:
            raise HostError(
                f"adb's server must answer on {self._client.host}:{self._client.port}; {error}: "
                "install Android's platform tools, and see whether `adb devices` works"
            ) from error
        state = states.get(self.serial)
        if state is None:
            known = ", ".join(states) or "none"
            raise HostError(
                f"no phone has the serial {self.serial!r}; adb knows {known}: plug it in, turn on "
                "USB debugging, and see whether `adb devices` lists it"
            )
        if state != "device":
            advice = _STATES.get(state, "see whether `adb devices` calls it a device")
            raise HostError(f"the phone {self.serial} must be ready; it is {state}: {advice}")

    def shell(self, command: str, timeout_s: float = _PATIENCE_S) -> tuple[int, str]:
        """Run a command by the phone's shell: its exit status, and what it printed.

        Args:
            command: as the shell reads it.
            timeout_s: seconds to wait for the next of its output.

        Raises:
            HostLostError: the phone is gone, or says nothing for so long.
        """
        with self._guarded("a command"):
            # adbutils appends to the command where the daemon has no exit statuses of its own.
            found = self._phone.shell2(
                command.strip(), timeout=timeout_s, encoding=None, v2="shell_v2" in self._features
            )
            text = (found.output or found.stdout)[:MAX_OUTPUT].decode(errors="replace")
            return int(found.returncode), text.replace("\r\n", "\n")

    def push(self, content: bytes | Path, path: str, mode: int = 0o644) -> None:
        """Put a file on the phone, in place of one that is there.

        Raises:
            RefusedError: the phone could not write it.
            HostLostError: the phone is gone.
        """
        with self._guarded("pushing a file"):
            try:
                self._phone.sync.push(content, path, mode, check=True)
            except (self._adb.AdbError, OSError, EOFError, AssertionError, struct.error) as error:
                # The end of a link and a full disk look alike to a sender: the state tells which.
                self._phone.get_state()
                raise RefusedError(f"{path}: {error}") from error

    def read(self, path: str) -> str:
        """The text of a file on the phone; empty where there is none.

        Raises:
            HostLostError: the phone is gone.
        """
        code, text = self.shell(f"cat '{path}' 2>/dev/null")
        return "" if code else text

    def has(self, path: str, size: int) -> bool:
        """Whether a file of that size is there.

        Raises:
            HostLostError: the phone is gone.
        """
        with self._guarded("looking for a file"):
            return bool(self._phone.sync.stat(path).size == size)

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Every way in which adbutils ends when the phone or the server goes away, as one."""
        try:
            yield
        # An answer that is cut short fails an assertion of adbutils, or the reading of a number.
        except (
            self._adb.AdbError, OSError, EOFError, AssertionError, struct.error, ValueError,
            IndexError,
        ) as error:  # fmt: skip
            words = " ".join(str(error).split())[:200] or type(error).__name__
            raise HostLostError(f"{what} on the phone {self.serial} failed: {words}") from error
