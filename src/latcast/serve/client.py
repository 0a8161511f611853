"""A client of the service: calls of the library that another machine answers, as the same records.

It needs none of the packages that the service does.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from latcast._files import STDIN, check_file
from latcast.report.record import Record, read_record

if TYPE_CHECKING:
    from latcast.graph.inspection import Inspection
    from latcast.models.comparison import Comparison
    from latcast.models.forecast_archs import ArchsForecast
    from latcast.models.forecast_records import NetworkForecast
    from latcast.models.suggestions import Suggestions, Telling
    from latcast.models.sweep import NetworkSweep
    from latcast.models.workflow import Adaptation
    from latcast.search import SearchRecord
    from latcast.search.choose import Choice
    from latcast.search.which import DeviceRanking

# Of the environment, where a key is not to stand in a command.
KEY_VARIABLE = "LATCAST_KEY"

# Of the package, whose module this one is a public name of: it is loaded whenever this one is.
_OWN_VERSION: str = sys.modules["latcast"].__version__
_BLOCK = 1 << 18
_SECONDS_BETWEEN_LOOKS = 0.5
_SUFFIX = ".latcast"
_ENDED = ("done", "failed", "cancelled")
# Answers after which a request may be sent again, and the longest pause before it is, s.
_BUSY = (429, 503)
_MAX_PAUSE_S = 30
# Of an answer: the version of the latcast that serves.
_VERSION = "x-latcast-version"
# Answers to what a service of another version may not know: a path, a field, a name.
_UNKNOWN = (404, 405, 422)

Progress = Callable[[int, int | None, str], None]


class ServerError(ValueError):
    """The service says why there is no answer.

    Attributes:
        exit_code: 1 where the work failed, 2 where it was asked for wrongly.
        status: of HTTP; 0 where the service could not be asked.
        request_id: of the service's log.
        retry_s: seconds after which the service says to ask again; None where it does not.
    """

    def __init__(
        self,
        message: str,
        exit_code: int = 1,
        status: int = 0,
        request_id: str = "",
        retry_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code, self.status, self.request_id = exit_code, status, request_id
        self.retry_s = retry_s


class AdaptedModel(NamedTuple):
    """A model that the service keeps.

    Attributes:
        model: its id, which :meth:`Client.forecast` takes.
        adaptation: its scores, as ``latcast adapt`` tells them.
    """

    model: str
    adaptation: Adaptation


class Client:
    """Asks a service (``latcast serve``); its methods take what calls of their names take.

    A network is a file, which is sent if the service does not have it yet; names of packages'
    networks, such as ``timm:resnet18``, a service refuses. Where the service is busy (429 and 503
    with ``Retry-After``) a request is sent again after the seconds that it says.

    Args:
        url: of the service, such as ``http://127.0.0.1:8765``.
        key: that it asks for; by default what the variable ``LATCAST_KEY`` of the environment has.
        timeout_s: seconds to wait for an answer.
        retries: how often a request is sent again at most.

    Raises:
        ValueError: the URL is none of HTTP.
    """

    def __init__(
        self, url: str, key: str | None = None, timeout_s: float = 300, *, retries: int = 3
    ) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServerError(f"a server must be like http://127.0.0.1:8765; got {url!r}", 2)
        self.url, self._parts, self._timeout_s = url, parts, timeout_s
        self._key = os.environ.get(KEY_VARIABLE) if key is None else key
        self._retries = retries
        # Version of the latcast that answered last.
        self._served_by: str | None = None

    def __repr__(self) -> str:
        """The address that it asks; the key is not shown."""
        return f"Client({self.url!r})"

    # --- what there is --------------------------------------------------------------------------

    def devices(self, name: str | None = None, **options: str | None) -> Record:
        """The devices that the service knows, as ``latcast devices`` lists them.

        Args:
            name: of one device.
            options: ``kind`` and ``find``, as of the command.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        return self._list("devices", name=name, **options)

    def models(self, name: str | None = None) -> Record:
        """The models that ship with the service, or the card of one.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        return self._list("models", name=name)

    def spaces(self, name: str | None = None) -> Record:
        """The search spaces that the service knows, or one with its genes.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        return self._list("spaces", name=name)

    # --- forecasts ------------------------------------------------------------------------------

    def forecast(
        self, networks: Any, devices: str | Sequence[str] = (), **options: Any
    ) -> ArchsForecast | NetworkForecast:
        """:func:`latcast.forecast`; ``model`` is the id of an adapted model beside the devices.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        asked = {**self._networks(networks), "devices": _names(devices), **options}
        found: ArchsForecast | NetworkForecast = self._record("forecast", asked)
        return found

    def sweep(
        self, network: str | Path, devices: str | Sequence[str], side: str,
        values: Sequence[int], **options: Any,
    ) -> NetworkSweep:  # fmt: skip
        """:func:`latcast.sweep`.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        return self._curve("sweep", network, devices, side, values, options)

    def vary(
        self, network: str | Path, devices: str | Sequence[str], figure: str,
        values: Sequence[float], **options: Any,
    ) -> NetworkSweep:  # fmt: skip
        """:func:`latcast.models.sweep.vary`.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        return self._curve("vary", network, devices, figure, values, options)

    def _curve(
        self, kind: str, network: str | Path, devices: str | Sequence[str], of: str,
        values: Sequence[float], options: Mapping[str, Any],
    ) -> NetworkSweep:  # fmt: skip
        curve = {"of": of, "values": list(values)}
        asked = {**self._networks(network), "devices": _names(devices), kind: curve, **options}
        found: NetworkSweep = self._record("forecast", asked)
        return found

    def which(self, network: str | Path, max_latency_ms: float, **options: Any) -> DeviceRanking:
        """:func:`latcast.which`.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        asked = {**self._networks(network), "max_latency_ms": max_latency_ms, **options}
        found: DeviceRanking = self._record("which", asked)
        return found

    def choose(self, device: str, max_latency_ms: float, **options: Any) -> Choice:
        """:func:`latcast.choose`, of the accuracies that the service has.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        if options.pop("accuracies", None) is not None:
            raise ServerError("a server has accuracies of its own: leave out --accuracies", 2)
        asked = {"device": _device(device), "max_latency_ms": max_latency_ms, **options}
        found: Choice = self._record("choose", asked)
        return found

    def suggest_for(self, network: str | Path, device: str, **options: Any) -> Suggestions:
        """:func:`latcast.suggest_for`.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        asked = {**self._networks(network), "device": _device(device), **options}
        found: Suggestions = self._record("suggest", asked | self._among(options))
        return found

    def suggest_on(self, device: str, **options: Any) -> Telling:
        """:func:`latcast.suggest_on`.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        asked = {"device": _device(device), **options}
        found: Telling = self._record("suggest", asked | self._among(options))
        return found

    def inspect(self, network: str | Path, **options: Any) -> Inspection:
        """The record of ``latcast inspect`` about a network's file.

        Args:
            network: the file.
            options: ``batch``, ``shapes``, ``batch_axis``, ``trip_count`` and ``in_place``.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        found: Inspection = self._send_network(Path(network), options)[1]
        return found

    def compare(self, a: str | Path, b: str | Path, *, false_share: float = 0.05) -> Comparison:
        """:func:`latcast.compare`, of datasets by their files, or a device and a dataset.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        from latcast.models.comparison import is_dataset

        sides = [self.send_dataset(x) if is_dataset(x) else _device(str(x)) for x in (a, b)]
        names = [str(a), str(b)]
        asked = {"a": sides[0], "b": sides[1], "false_share": false_share, "names": names}
        found: Comparison = self._record("compare", asked)
        return found

    def adapt(
        self, device: str, measured: Mapping[str | Path, float], **options: Any
    ) -> AdaptedModel:
        """A model of a device from what networks took there.

        Args:
            device: as :func:`latcast.forecast` takes it.
            measured: file or name of a network -> its latency, ms.
            options: ``runtime``, ``precision``, ``batch``, ``threads``, ``similar_to``; ``model``,
                what is adapted, by default what answers for the device.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        rows = [{**self._networks(n), "latency_ms": ms} for n, ms in measured.items()]
        asked = {"device": _device(device), "measurements": rows, **options}
        found = self._ask("POST", "/v1/adapt", asked)
        return AdaptedModel(found["model"], self._read(found["adaptation"]))

    # --- jobs -----------------------------------------------------------------------------------

    def search(
        self, device: str | Sequence[str], progress: Progress | None = None, **options: Any
    ) -> SearchRecord:
        """A search by the service, which is waited for; ctrl-C cancels it.

        Args:
            device: one or several.
            progress: called with how much is done, how much there is, and what is being done.
            options: of ``latcast search``, as ``POST /v1/jobs`` describes them.

        Raises:
            ServerError: there is no answer, or the job failed or was cancelled.
        """
        found: SearchRecord = self._done(
            {"command": "search", "device": _names(device), **options}, progress
        )
        return found

    def tune(self, data: str | Path, progress: Progress | None = None, **options: Any) -> Record:
        """A tuning by the service, which is waited for; its model is kept there.

        Args:
            data: file of a dataset.
            progress: called with how many trials are done, how many there are, and what is done.
            options: of ``latcast tune``, as ``POST /v1/jobs`` describes them.

        Raises:
            ServerError: there is no answer; the message says why.
        """
        found: Record = self._done(
            {"command": "tune", "data": self.send_dataset(data), **options}, progress
        )
        return found

    def begin(self, command: str, **options: Any) -> str:
        """Begin a job without waiting for it, and return its id, which :meth:`job` takes.

        Raises:
            ServerError: the options make no sense, or too many jobs wait or run.
        """
        found: str = self._ask("POST", "/v1/jobs", _plain({"command": command, **options}))["id"]
        return found

    def job(self, id: str) -> dict[str, Any]:
        """A job of this key: its state, how far it is, and its result.

        Raises:
            ServerError: this key has none of that id.
        """
        found: dict[str, Any] = self._ask("GET", f"/v1/jobs/{quote(id, safe='')}")
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs of this key, the newest first, without their results."""
        found: list[dict[str, Any]] = self._ask("GET", "/v1/jobs")
        return found

    def cancel(self, id: str) -> dict[str, Any]:
        """End a job of this key; one that has ended stays as it is.

        Raises:
            ServerError: this key has none of that id.
        """
        found: dict[str, Any] = self._ask("DELETE", f"/v1/jobs/{quote(id, safe='')}")
        return found

    def _done(self, asked: dict[str, Any], progress: Progress | None) -> Any:
        id = self.begin(**asked)  # noqa: A001
        try:
            while (job := self.job(id))["state"] not in _ENDED:
                if progress is not None:
                    progress(job["done"], job["total"], job["text"])
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            self.cancel(id)
            raise
        if job["state"] == "cancelled":
            raise ServerError(f"the job {id} was cancelled")
        if job["state"] == "failed":
            raise ServerError(job["result"]["error"], job["result"]["exit_code"])
        return self._read(job["result"])

    # --- files ----------------------------------------------------------------------------------

    def send(self, network: str | Path) -> str:
        """The id of a network's file; it is sent if the service does not have it.

        Raises:
            FileNotFoundError: there is no such file.
            ServerError: there is no answer; the message says why.
        """
        path = Path(network)
        key = _digest(path)
        try:
            self._ask("GET", f"/v1/networks/{key}")
        except ServerError as error:
            if error.status != 404:
                raise
            return self._send_network(path, {})[0]
        return key

    def send_dataset(self, data: str | Path, **options: str | None) -> str:
        """The id of a dataset's file, which is sent.

        Args:
            data: the file.
            options: ``space``, ``target`` and ``input_format``, where the file does not tell.

        Raises:
            FileNotFoundError: there is no such file.
            ServerError: there is no answer; the message says why.
        """
        given = {k: v for k, v in options.items() if v is not None}
        found: str = self._post_file("/v1/datasets", Path(data), given)["id"]
        return found

    def _send_network(self, path: Path, options: Mapping[str, Any]) -> tuple[str, Any]:
        fields = {"name": str(path), "options": json.dumps(_plain(options))}
        found = self._post_file("/v1/networks", path, fields)
        return found["id"], self._read(found["inspection"])

    def _networks(self, networks: Any) -> dict[str, Any]:
        """How a request names what is forecast."""
        from latcast.graph.read import is_named

        if not isinstance(networks, str | Path):
            if hasattr(networks, "to_dicts"):
                return {"archs": networks.to_dicts(), "space": networks.space.name}
            if isinstance(networks, Mapping):
                return {"archs": [networks]}
            if isinstance(networks, Sequence):
                return {"archs": list(networks)}
            raise ServerError(
                f"a network must be a file or a name for a server; got {type(networks).__name__}", 2
            )
        if is_named(networks):
            raise ServerError(
                f"a server takes networks as files; got the name {networks}: export the network "
                "(torch.onnx.export or torch.export.save), and name its file", 2,
            )  # fmt: skip
        if Path(networks).suffix.lower() == ".json":
            from latcast.spaces.reading import read_architectures

            return {"archs": list(read_architectures(Path(networks)))}
        return {"network": self.send(networks), "name": str(networks)}

    def _among(self, options: Mapping[str, Any]) -> dict[str, Any]:
        among = options.get("among")
        return {} if among is None else {"among": [self._networks(n)["network"] for n in among]}

    # --- HTTP -----------------------------------------------------------------------------------

    def _list(self, what: str, **options: str | None) -> Record:
        given = {k: v for k, v in options.items() if v is not None}
        found: Record = self._read(self._ask("GET", f"/v1/{what}?{urlencode(given)}"))
        return found

    def _record(self, call: str, asked: Mapping[str, Any]) -> Any:
        return self._read(self._ask("POST", f"/v1/{call}", _plain(asked)))

    def _read(self, data: Mapping[str, Any]) -> Any:
        """The record of an answer.

        Raises:
            ServerError: this latcast cannot read it, as the service may be of another version.
        """
        try:
            return read_record(data)
        except ValueError as error:
            raise ServerError(f"{error} ({self._versions()})") from error

    def _versions(self) -> str:
        """Which versions meet, and what to do where they differ."""
        theirs = self._served_by or "of an earlier version"
        if theirs == _OWN_VERSION:
            return f"the server {self.url} and this client are latcast {theirs}"
        return (
            f"the server {self.url} is latcast {theirs}, this client {_OWN_VERSION}: install the "
            "same version on both"
        )

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        return self._exchange(method, path, content, kind)

    def _post_file(self, path: str, file: Path, fields: Mapping[str, str]) -> Any:
        """Send a file as a form does, a block at a time."""
        check_file(file)
        border = uuid.uuid4().hex
        start = f"--{border}\r\nContent-Disposition: form-data; name="
        texts = [f'{start}"{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
        name = quote(file.name, safe=" ()+.-_")
        texts.append(f'{start}"file"; filename="{name}"\r\n\r\n')
        head, tail = "".join(texts).encode(), f"\r\n--{border}--\r\n".encode()

        def parts() -> Iterator[bytes]:
            yield head
            with file.open("rb") as content:
                while block := content.read(_BLOCK):
                    yield block
            yield tail

        length = len(head) + file.stat().st_size + len(tail)
        headers = {
            "content-type": f"multipart/form-data; boundary={border}",
            "content-length": str(length),
        }
        return self._exchange("POST", path, parts, headers)

    def _exchange(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        """Ask, again where the service is busy, and read the answer.

        Args:
            method: of HTTP.
            path: of the endpoint.
            body: bytes, None, or what makes an iterator of parts, anew for every time.
            headers: besides those of every request.

        Raises:
            ServerError: it is an error, or there is none.
        """
        for left in range(self._retries, -1, -1):
            try:
                return self._exchange_once(method, path, body, headers)
            except ServerError as error:
                if error.retry_s is None or not left:
                    raise
                time.sleep(min(error.retry_s, _MAX_PAUSE_S))
        raise AssertionError("there is a last time")

    def _exchange_once(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        headers["accept"] = "application/json"
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        is_safe = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if is_safe else http.client.HTTPConnection
        assert self._parts.hostname is not None
        where = f"{self._parts.path.rstrip('/')}{path}"
        connection = kind(self._parts.hostname, self._parts.port, timeout=self._timeout_s)
        with closing(connection):
            try:
                # A service that refuses a large file reads no more of it, and says why.
                with suppress(BrokenPipeError):
                    parts = body() if callable(body) else body
                    connection.request(method, where, parts, headers)
                answer = connection.getresponse()
                status, content = answer.status, answer.read()
                again = answer.getheader("retry-after", "")
                self._served_by = answer.getheader(_VERSION)
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
                raise ServerError(f"the server {self.url} does not answer: {reason}") from error
        try:
            return _read(status, content, self.url, int(again) if again.isdecimal() else None)
        except ServerError as error:
            if status in _UNKNOWN and self._served_by not in (None, _OWN_VERSION):
                error.args = (f"{error} ({self._versions()})",)
            raise


def _read(status: int, content: bytes, url: str, retry_s: int | None) -> Any:
    """Read the JSON of an answer.

    Raises:
        ServerError: it is an error record, or no answer of a latcast serve.
    """
    try:
        found = json.loads(content) if content else None
    except ValueError:
        found = None
    if status < 300 and (found is not None or not content):
        return found
    if isinstance(found, dict) and "error" in found:
        raise ServerError(
            found["error"], found.get("exit_code", 1), status, found.get("request_id", ""),
            retry_s if status in _BUSY else None,
        )  # fmt: skip
    raise ServerError(f"{url} must be a latcast serve; it answers with status {status}", 2, status)


def _names(devices: str | Path | Sequence[str | Path]) -> list[str]:
    return [_device(str(d)) for d in ([devices] if isinstance(devices, str | Path) else devices)]


def _device(name: str) -> str:
    if name.endswith(_SUFFIX):
        raise ServerError(
            f"a server takes devices and shipped models by name; got the file {name}: adapt at the "
            "server (Client.adapt)", 2,
        )  # fmt: skip
    return name


def _digest(path: Path) -> str:
    if str(path) == STDIN:
        raise ServerError("standard input (-) is not sent to a server: name a file", 2)
    check_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON has them; what is not said is left out."""
    found = {}
    for key, value in options.items():
        if value is None or (key == "shapes" and not value):
            continue
        found[key] = value.name if hasattr(value, "block_space") else value
    return found
