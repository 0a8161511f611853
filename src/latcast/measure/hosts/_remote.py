"""Another machine as a host: an agent there (:mod:`.agent`) answers what is asked through a link.

What only the far side knows is decided there. Kinds of links are SSH's (:mod:`.ssh`) and Ray's
(:mod:`.ray`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from latcast.devices import Cluster, Device, Target
from latcast.measure._lines import WorkerDiedError
from latcast.measure._machine import CampaignRunningError
from latcast.measure._sources import NetworkSource, OnnxFile
from latcast.measure.runtimes import Runtime, runtime

from ._base import Host, HostError, HostLostError, HostWorker

# A small board imports the runtime's package before it can say whether it has it.
_REQUEST_S = 120.0
_START_S = 300.0
# Beyond what a worker may take: the far side ends the worker, and has to say so.
_SLACK_S = 60.0
# How long a link may be away: a board that starts anew, a network that comes and goes.
_PATIENCE_S = 300.0
_MAX_PAUSE_S = 20.0
# How long an agent of this very campaign may hold the lock that is to be had: one whose link was
# cut is told nothing, and listens for 75 s; one of a process that was killed ends at once.
_CUT_S, _KILLED_S = 90.0, 10.0
_PIECE = 2**20


class Link(Protocol):
    """A way to one agent."""

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            HostLostError: the link broke, or there was no answer in time.
        """

    def close(self) -> None:
        """End it, and the agent with it."""


class Remote(Host):
    """Another machine, by a link that is opened when it is first asked something.

    Args:
        name: how the link finds it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._link: Link | None = None
        self._locked: Path | None = None
        self._asking = threading.Lock()
        self._given_up = threading.Event()
        self._was_lost = False
        self._workers = 0
        self._texts: dict[str, str] = {}

    @property
    def title(self) -> str:
        return self.name

    @abstractmethod
    def _opened(self, *, asks: bool) -> Link:
        """A fresh link.

        Args:
            asks: whether the person at the terminal may be asked, such as for a password.

        Raises:
            HostLostError: the machine is not reached.
            HostError: it has no agent, or another one.
        """

    @property
    @abstractmethod
    def _to_install(self) -> str:
        """How a runtime is installed there, for a message that one is missing."""

    def facts(self) -> Mapping[str, Any]:
        found: dict[str, Any] = self._ask({"do": "facts"}, _REQUEST_S)
        return found

    def check(self, target: Target, own: type[Runtime] | None = None) -> None:
        self.runtime_text(target.runtime, own)
        self._ask({"do": "check", "target": str(target)}, _REQUEST_S)

    def check_quantities(self, names: Sequence[str], runtime: str) -> None:
        if names:
            self._ask({"do": "tells", "quantities": list(names), "runtime": runtime}, _REQUEST_S)

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
        self._given_up.clear()
        self._hold_soon(path)
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
        clusters = tuple(Cluster(**cluster) for cluster in found["clusters"])
        return Device(**{**found, "features": tuple(found["features"]), "clusters": clusters})

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
            pause = self._paused(pause)

    def stop_waiting(self) -> None:
        self._given_up.set()

    def close(self) -> None:
        self.stop_waiting()
        self.drop()

    def drop(self) -> None:
        """End the link, whatever it is doing."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    # -- what is asked -----------------------------------------------------------------------

    def _linked(self, *, asks: bool = True) -> Link:
        if self._link is None:
            self._link = self._opened(asks=asks)
        return self._link

    def _ask(self, request: Mapping[str, Any], timeout_s: float) -> Any:
        # Another thread closes what this one waits for: there is no answer to come then.
        if not self._asking.acquire(blocking=False):
            self.drop()
            raise HostLostError(f"the link to {self.name} was closed")
        try:
            reply = self._linked().ask(request, timeout_s)
        except BaseException:  # whatever it answers later is no answer to the next request
            self._was_lost = True
            self.drop()
            raise
        finally:
            self._asking.release()
        if "error" in reply:
            raise self._error(**reply["error"])
        return reply["answer"]

    def _error(self, kind: str, message: str) -> Exception:
        """Return the exception that stands for an error of the far side."""
        match kind:
            case "WorkerDiedError":
                return WorkerDiedError(message)
            case "CampaignRunningError":
                return CampaignRunningError(f"on {self.name} {message}")
            case "ModuleNotFoundError":
                return ModuleNotFoundError(f"on {self.name} {message} ({self._to_install})")
            case "ValueError":
                return ValueError(message)
            case "DiskFull":
                return HostError(
                    f"the disk of {self.name} must have room to measure; it is full ({message}): "
                    "make room there, then go on with --resume"
                )
        return HostError(f"{self.name} must be able to measure; it says: {kind}: {message}")

    def _hold(self, path: Path) -> None:
        self._ask({"do": "lock", "campaign": _told(path)}, _REQUEST_S)
        self._was_lost = False

    def _hold_soon(self, path: Path) -> None:
        """Lock the machine, even where an agent of this campaign's has yet to notice its end.

        Raises:
            CampaignRunningError: another campaign measures there, or the agent does not end.
        """
        end, pause = time.monotonic() + (_CUT_S if self._was_lost else _KILLED_S), 0.25
        while True:
            try:
                self._hold(path)
            except CampaignRunningError as error:
                if _told(path) not in str(error) or time.monotonic() + pause > end:
                    raise
            else:
                return
            pause = self._paused(pause)

    def _paused(self, pause: float) -> float:
        """Wait so many seconds, and return how many to wait the next time.

        Raises:
            HostError: nobody waits any longer.
        """
        if self._given_up.wait(pause):
            raise HostError(f"{self.name} is waited for no longer: go on with --resume")
        return min(2 * pause, _MAX_PAUSE_S)

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


def _told(path: Path) -> str:
    """What others are told of a campaign that measures on another machine than this one."""
    return f"{path.name} of {socket.gethostname()}"


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

    def __init__(self, board: Remote, number: int, facts: dict[str, Any], pid: int) -> None:
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
