"""A machine that the system's ``ssh`` reaches, as a host.

The far side runs :mod:`latcast.measure.hosts._agent` in the environment that
``latcast host prepare`` has made there; requests and answers are lines of JSON through one
connection (:class:`.Connection`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from latcast.devices import Device, Target
from latcast.measure._lines import LineProcess
from latcast.measure._machine import CampaignRunningError
from latcast.measure._sources import NetworkSource, OnnxFile
from latcast.measure._worker import WorkerDiedError
from latcast.measure.runtimes import Runtime, runtime

from ._agent import FOLDER, PING_S, PROTOCOL, greeting
from ._base import Host, HostError, HostLostError, HostWorker
from ._connection import Connection

# A small board takes half a minute to import what a worker needs.
_GREETING_S = 180.0
_MAX_NOISE = 1000
_REQUEST_S = 120.0
_START_S = 300.0
# Beyond what a worker may take: the far side ends the worker, and has to say so.
_SLACK_S = 60.0
# How long a link may be away: a board that starts anew, a network that comes and goes.
_PATIENCE_S = 300.0
_MAX_PAUSE_S = 20.0
_PIECE = 2**20


class SSH(Host):
    """Another machine, by the name that ``ssh`` knows it by.

    Args:
        name: destination, such as ``user@board``.
    """

    kind = "ssh"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.connection = Connection(name)
        self._link: _Link | None = None
        self._locked: Path | None = None
        self._asking = threading.Lock()
        self._workers = 0
        self._texts: dict[str, str] = {}

    @property
    def title(self) -> str:
        return self.name

    def facts(self) -> Mapping[str, Any]:
        found: dict[str, Any] = self._ask({"do": "facts"}, _REQUEST_S)
        return found

    def check(self, target: Target, own: type[Runtime] | None = None) -> None:
        self.runtime_text(target.runtime, own)
        self._ask({"do": "check", "target": str(target)}, _REQUEST_S)

    def runtime_text(self, name: str, own: type[Runtime] | None = None) -> str:
        text = super().runtime_text(name, own)
        if own is not None and own is not runtime(name):
            raise ValueError(
                f"{self.name} measures with the runtimes that are installed there; got the class "
                f"{text}: install there what registers it (an entry point), and name it"
            )
        return text

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        self._hold(path)
        self._locked = path
        try:
            yield
        finally:
            self._locked = None
            if self._link is not None:
                with suppress(HostError):  # a link that is gone holds no lock
                    self._ask({"do": "unlock"}, _REQUEST_S)

    def start(
        self, target: Target, protocol: Mapping[str, Any], own: type[Runtime] | None = None
    ) -> HostWorker:
        self.runtime_text(target.runtime, own)
        request = {"do": "start", "target": str(target), "protocol": dict(protocol)}
        found = self._ask(request, _START_S)
        self._workers += 1
        return _Worker(self, self._workers, found["facts"], found["pid"])

    def version_of(self, package: str) -> str:
        """Version of a package that is installed there.

        Raises:
            HostError: it is not.
        """
        found: str = self._ask({"do": "version", "package": package}, _REQUEST_S)
        return found

    def detect(self, name: str | None = None, *, seconds: float = 2.0) -> Device:
        if name is not None:
            Target(name, "any")  # as it is said here, before anything is measured
        request = {"do": "detect", "name": name, "seconds": seconds}
        found = self._ask(request, 10 * seconds + 700)
        return Device(**{**found, "features": tuple(found["features"])})

    def text_of(self, source: NetworkSource, batch: int, seed: int) -> str:
        if not isinstance(source, OnnxFile):
            return source.text
        if (text := source.text) not in self._texts:
            self._texts[text] = self._sent(source, batch, seed)
        return self._texts[text]

    def reconnect(self) -> None:
        self.drop()
        end, pause = time.monotonic() + _PATIENCE_S, 1.0
        while True:
            try:
                self._linked(asks=False)
                if self._locked is not None:
                    self._hold(self._locked)
            # The agent of before holds the lock until it has noticed.
            except (HostLostError, CampaignRunningError) as error:
                self.drop()
                if time.monotonic() + pause > end:
                    raise HostError(
                        f"the link to {self.name} must come back within {_PATIENCE_S:.0f} s; "
                        f"{error}: then go on with --resume"
                    ) from error
            else:
                return
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)

    def close(self) -> None:
        self.drop()

    def drop(self) -> None:
        """End the link and the connection, whatever they are doing."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self.connection.close()

    # -- what is asked -----------------------------------------------------------------------

    def _linked(self, *, asks: bool = True) -> _Link:
        if self._link is None:
            self.connection.open(asks=asks)
            self._link = _Link(self.connection)
        return self._link

    def _ask(self, request: Mapping[str, Any], timeout_s: float) -> Any:
        # Another thread closes what this one waits for: there is no answer to come then.
        if not self._asking.acquire(blocking=False):
            self.drop()
            raise HostLostError(f"the link to {self.name} was closed")
        try:
            reply = self._linked().ask(request, timeout_s)
        except BaseException:  # whatever it answers later is no answer to the next request
            self.drop()
            raise
        finally:
            self._asking.release()
        if "error" in reply:
            raise self._error(**reply["error"])
        return reply["answer"]

    def _error(self, kind: str, message: str) -> Exception:
        """What went wrong there, as it is raised here."""
        match kind:
            case "WorkerDiedError":
                return WorkerDiedError(message)
            case "CampaignRunningError":
                return CampaignRunningError(f"on {self.name} {message}")
            case "ModuleNotFoundError":
                hint = f"there, with latcast host prepare {self.name} --runtime NAME"
                return ModuleNotFoundError(f"on {self.name} {message} ({hint})")
            case "ValueError":
                return ValueError(message)
            case "DiskFull":
                return HostError(
                    f"the disk of {self.name} must have room to measure; it is full ({message}): "
                    "make room there, then go on with --resume"
                )
        return HostError(f"{self.name} must be able to measure; it says: {kind}: {message}")

    def _hold(self, path: Path) -> None:
        self._ask({"do": "lock", "path": f"{path.name} (from another machine)"}, _REQUEST_S)

    def _sent(self, source: OnnxFile, batch: int, seed: int) -> str:
        """The text of a file that is there, with the data that it keeps in other files."""
        model = source.model(batch, seed)
        files: dict[str, Path | bytes]
        if isinstance(model, Path):
            files = {"model.onnx": model, **_external_files(model)}
            digest = source.sha256
        else:
            assert isinstance(model, bytes)
            files, digest = {"model.onnx": model}, hashlib.sha256(model).hexdigest()
        sizes = {n: len(x) if isinstance(x, bytes) else x.stat().st_size for n, x in files.items()}
        has = {"do": "has", "folder": digest[:32], "files": sizes}
        if (folder := self._ask(has, _REQUEST_S)) is None:
            for name, content in files.items():
                data = content if isinstance(content, bytes) else content.read_bytes()
                self._put(digest[:32], name, data)
            folder = self._ask(has, _REQUEST_S)
        if folder is None:
            raise HostError(
                f"{self.name} must keep the files that it is sent; {source.name} is not"
            )
        return json.dumps({**source.facts(), "path": f"{folder}/model.onnx", "sha256": digest})

    def _put(self, folder: str, name: str, data: bytes) -> None:
        for offset in range(0, max(len(data), 1), _PIECE):
            piece = data[offset : offset + _PIECE]
            request = {
                "do": "put", "folder": folder, "name": name, "offset": offset,
                "data": base64.b64encode(piece).decode(), "last": offset + _PIECE >= len(data),
            }  # fmt: skip
            self._ask(request, _REQUEST_S)


def _external_files(model: Path) -> dict[str, Path]:
    """Files beside an ONNX file that hold its weights, by their names in it."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    graph = onnx.load(str(model), load_external_data=False).graph
    constants = [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
    held = [x for x in (*graph.initializer, *constants) if uses_external_data(x)]
    names = {ExternalDataInfo(x).location for x in held}
    return {name: model.parent / name for name in sorted(names)}


class _Worker:
    """A worker there; a newer one ends it."""

    def __init__(self, board: SSH, number: int, facts: dict[str, Any], pid: int) -> None:
        self.facts = facts
        self._board, self._number, self._pid = board, number, pid

    @property
    def pid(self) -> int:
        return self._pid

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        if self._number != self._board._workers:
            raise WorkerDiedError("the worker was closed")
        asked = {"do": "ask", "request": dict(request), "timeout_s": timeout_s}
        answer = self._board._ask(asked, timeout_s + _SLACK_S)
        if not isinstance(answer, dict):
            raise HostLostError(f"{self._board.name} must answer with a run; got {answer!r:.100}")
        return answer

    def close(self) -> None:
        if self._number != self._board._workers:
            return
        self._board._workers += 1
        if self._board._link is not None:
            with suppress(HostError):
                self._board._ask({"do": "stop"}, _REQUEST_S)


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
            self._check(self._greeted(), own)
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

    def _check(self, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        if there["latcast-host"] != PROTOCOL or there.get("sources") != here["sources"]:
            raise HostError(
                f"{self._name} must have this very latcast, {here['latcast']} of the same sources; "
                f"it has another {there.get('latcast')}: latcast host prepare {self._name}"
            )

    def _lost(self) -> HostLostError:
        self._lines.kill()
        said = self._lines.last_words()
        return HostLostError(f"the link to {self._name} broke{': ' * bool(said)}{said}")

    def _ping(self) -> None:
        while not self._ended.wait(PING_S):
            with suppress(BrokenPipeError, OSError):
                self._lines.send({"do": "ping"})
