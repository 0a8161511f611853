"""A machine that the system's ``ssh`` reaches, as a host.

The far side runs :mod:`latcast.measure.hosts.agent` in the environment that
``latcast host prepare`` has made there; requests and answers are lines of JSON through one
connection (:class:`.Connection`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from latcast.measure._lines import LineProcess

from ._base import HostError, HostLostError
from ._greeting import FOLDER, PING_S, check_greeting, greeting
from ._remote import Link, Remote

CONFIG_VARIABLE = "LATCAST_SSH_CONFIG"
"""Names an ssh configuration to use in place of the user's."""
# Where a login asks for a password, a person types it.
_LOGIN_S = 300.0
_COMMAND_S = 60.0
# Sockets have paths of at most 104 bytes, of which ssh takes 17 while it makes one.
_MAX_FOLDER = 60
# ssh notices within a minute that the other side is gone.
_OPTIONS = ("ServerAliveInterval=15", "ServerAliveCountMax=4", "ConnectTimeout=30")
# A command of the user's configuration, and its port forwardings, are for logins of a person.
_PLAIN = ("RemoteCommand=none", "ClearAllForwardings=yes", "RequestTTY=no")
_UNREACHED = re.compile(
    r"timed out|refused|no route|unreachable|connection closed|"
    r"connection reset|broken pipe|banner exchange|kex_exchange",
    re.IGNORECASE,
)
# Ctrl-C at a terminal is for all of its processes. It would end the connection, and with it the run
# in flight; that of a process group of its own could not ask for a password there.
_DEAF = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
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
        python = f"{FOLDER}/{metadata.version('latcast')}/bin/python"
        self._lines = LineProcess(
            connection.command(f"exec {python} -P -m latcast.measure.hosts.agent")
        )
        try:
            do = f"latcast host prepare {self._name} --runtime NAME"
            own = greeting()  # while the agent starts: it reads all of our sources
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
        prepare = f"latcast host prepare {self._name} --runtime NAME"
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


class Connection:
    """One connection of the system's ``ssh``, through which every command of a host goes.

    The user's configuration, agent, keys, jump hosts and host-key checks are ssh's own business: no
    option here touches them, and nothing is stored. The connection is a master in a private
    temporary folder (ssh_config(5), ``ControlMaster``), so that one login serves all commands; it
    ends with :meth:`close`, or with this process, whose end it notices.

    Args:
        destination: as ssh takes it.
    """

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it stands, as far as this side knows."""
        return self._master is not None and self._master.poll() is None

    def open(self, *, asks: bool = True) -> None:
        """Log in, if it does not stand already.

        Args:
            asks: let ssh ask the person at the terminal, such as for a password.

        Raises:
            HostLostError: the machine is not reached.
            HostError: it lets us not in, or there is no ssh here.
        """
        if self.is_open:
            return
        self.close()
        root = tempfile.gettempdir()
        root = root if len(root) < _MAX_FOLDER else "/tmp"  # noqa: S108  # mkdtemp lets nobody in
        self._folder = Path(tempfile.mkdtemp(prefix="latcast-", dir=root))
        batch = [] if asks else ["BatchMode=yes"]
        # It ends with its own command, which ends with its input: a process of ours that was killed
        # leaves no login behind.
        options = (*_OPTIONS, "ControlPersist=no", *batch)
        command = [*_DEAF, *self._ssh("-M", "-T", options=options), "cat"]
        with tempfile.TemporaryFile() as errors:
            try:
                self._master = subprocess.Popen(  # noqa: S603  # the system's ssh
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                )
                self._await_login(errors)
            except BaseException:
                self.close()
                raise

    def _await_login(self, errors: IO[bytes]) -> None:
        assert self._master is not None
        end = time.monotonic() + _LOGIN_S
        while not self._socket.exists():
            if self._master.poll() is not None:
                errors.seek(0)
                raise self.error(errors.read().decode(errors="replace"))
            if time.monotonic() > end:
                raise HostLostError(
                    f"{self.destination} must let us in within {_LOGIN_S:.0f} s; it did not"
                )
            time.sleep(0.02)

    def command(self, remote: str) -> list[str]:
        """Return the command that runs a shell's command through the open connection only."""
        # Without the master ssh would log in anew, by options that are no longer the user's.
        options = ("BatchMode=yes", "ProxyCommand=false", "ControlMaster=no")
        return [*self._ssh("-T", options=options), remote]

    def run(
        self, remote: str, *, data: IO[bytes] | None = None, timeout_s: float = _COMMAND_S
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a shell's command there, with ``data`` as its input.

        Raises:
            HostLostError: the link broke, or it did not end in time.
            HostError: as of :meth:`open`.
        """
        self.open()
        try:
            ended = subprocess.run(  # noqa: S603  # the system's ssh
                self.command(remote),
                stdin=subprocess.DEVNULL if data is None else data,
                capture_output=True,
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise HostLostError(
                f"{self.destination} must answer within {timeout_s:.0f} s; it did not"
            ) from None
        if ended.returncode == 255:  # ssh's own
            raise self.error(ended.stderr.decode(errors="replace"))
        return ended

    def error(self, text: str) -> HostError:
        """Return the error that ssh's error output means."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = "; ".join(lines[-2:])[-300:] or "nothing"
        name = self.destination
        if re.search(r"host key verification failed|identification has changed", text, re.I):
            return HostError(
                f"the host key of {name} must be the one that ssh knows; ssh says: {said}: log in "
                f"once by hand (ssh {name}) and see to it, no check is left out here"
            )
        if "permission denied" in text.lower():
            return HostError(
                f"{name} must let us in; ssh says: {said}: try `ssh {name} true` until it works "
                f"(ssh-copy-id {name} puts your key there)"
            )
        if "could not resolve" in text.lower():
            return HostLostError(
                f"{name} must be the name of a machine; ssh says: {said}: is it spelled so, and "
                "known in this network (or in ~/.ssh/config)?"
            )
        if _UNREACHED.search(text) or not lines:
            return HostLostError(
                f"{name} must be on and reached by ssh; ssh says: {said}: is it asleep, or on "
                "another network?"
            )
        return HostError(f"ssh must reach {name}; it says: {said}: see `ssh {name} true`")

    def close(self) -> None:
        """Log out; can be called twice."""
        if self._master is not None:
            if self._master.poll() is None:
                self._master.terminate()  # which removes the socket
            with suppress(subprocess.TimeoutExpired):
                self._master.wait(5)
            if self._master.poll() is None:
                self._master.kill()
                self._master.wait()
            assert self._master.stdin is not None
            self._master.stdin.close()
        self._master = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    @property
    def _socket(self) -> Path:
        assert self._folder is not None
        return self._folder / "ssh"

    def _ssh(self, *flags: str, options: tuple[str, ...]) -> list[str]:
        program = shutil.which("ssh")
        if program is None:
            raise HostError(
                "measuring on another machine needs the program ssh; there is none here: install "
                "OpenSSH's client"
            )
        config = os.environ.get(CONFIG_VARIABLE)
        own = ["-F", config] if config else []
        listed = [x for option in (*_PLAIN, *options) for x in ("-o", option)]
        return [program, *own, *flags, "-S", str(self._socket), *listed, "--", self.destination]
