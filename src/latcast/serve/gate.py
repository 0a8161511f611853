"""The gate that every request passes: it checks who asks, from where, how much and how many."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
import uuid
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException

from latcast import __version__, _limits

from .calls import Answer, BusyError, refusal
from .settings import Keys, Settings

log = logging.getLogger("latcast.serve")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Paths that need no key: whether it lives, and the explorer's own files, which hold no secrets.
_OPEN = ("/healthz",)
_API = ("/v1/", "/metrics", "/openapi.json")
_METHODS = ("GET", "HEAD", "POST", "DELETE")
_UPLOADS = ("/v1/networks", "/v1/datasets")
_REQUEST_ID = re.compile(r"[\w.-]{1,64}")
_HEADERS = (
    (b"x-latcast-version", __version__.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters, gauges and histograms of a service, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of: dict[str, Any] = {"registry": self.registry}
        labels = ("method", "path", "status")
        self.requests = Counter("latcast_requests", "Requests that were answered.", labels, **of)
        self.seconds = Histogram(
            "latcast_request_seconds", "Seconds from a request's head to its answer's end.",
            ("path",), buckets=_BUCKETS, **of,
        )  # fmt: skip
        self.running = Gauge("latcast_requests_running", "Requests that are worked on.", **of)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a figure that is looked at when Prometheus asks.

        Args:
            name: of the figure.
            text: what it is, a sentence.
            value: called for its value.
        """
        Gauge(name, text, registry=self.registry).set_function(value)


class Places:
    """Places for what may happen so many times at a time, in all and for each owner.

    Args:
        most: places in all.
        most_each: of one owner; ``""``, who is everybody, may have all.
        what: takes a place, in the plural.
    """

    def __init__(self, most: int, most_each: int, what: str) -> None:
        self._most, self._most_each, self._what = most, most_each, what
        self._taken: Tally[str] = Tally()

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken.total()

    def take(self, owner: str) -> None:
        """Take a place, which :meth:`leave` gives back.

        Raises:
            BusyError: the owner has all that they may have (429), or there is none (503).
        """
        if owner and self._taken[owner] >= self._most_each:
            text = f"at most {self._most_each} {self._what} of a key are taken at a time"
            raise BusyError(f"{text}: try again later", 429)
        if self.taken >= self._most:
            text = f"at most {self._most} {self._what} are taken at a time"
            raise BusyError(f"{text}: try again later")
        self._taken[owner] += 1

    def leave(self, owner: str) -> None:
        """Give a place back."""
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]


class Gate:
    """An application behind checks; each that fails is an error record with the request's id.

    Args:
        app: the application.
        settings: of the service.
        keys: None where everybody may ask.
        metrics: that count.
    """

    def __init__(self, app: App, settings: Settings, keys: Keys | None, metrics: Metrics) -> None:
        self._app, self._settings, self._keys, self._metrics = app, settings, keys, metrics
        self._uploads = Places(settings.uploads, settings.key_uploads, "uploads")
        self._requests = Places(_limits.MAX_REQUESTS, _limits.MAX_KEY_REQUESTS, "requests")
        metrics.watch("latcast_uploads", "Files that are taken.", lambda: self._uploads.taken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        own = headers.get("x-request-id", "")
        request_id = own if _REQUEST_ID.fullmatch(own) else uuid.uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, owner="")
        started, status = time.perf_counter(), [500]
        metrics, begun = self._metrics, [False]

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0], begun[0] = message["status"], True
                extra = [*_HEADERS, (b"x-request-id", request_id.encode())]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        metrics.running.inc()
        try:
            refused = self._refused(scope, headers)
            if refused is not None:
                await respond(refused, request_id, tell)
                return
            with self._placed(scope):
                await self._app(scope, self._limited(scope, receive), tell)
        except BusyError as error:
            busy = refusal(error.status, str(error), retry_s=error.retry_s)
            await respond(busy, request_id, tell)
        except Exception as error:
            if begun[0]:
                raise
            log.exception("request %s failed", request_id)
            text = f"unexpected {type(error).__name__}: see the log of the service"
            await respond(refusal(500, text), request_id, tell)
        finally:
            metrics.running.dec()
            # Only paths and methods of the service: anything else would be a label of its own.
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            metrics.requests.labels(method, route, status[0]).inc()
            metrics.seconds.labels(route).observe(time.perf_counter() - started)

    @contextmanager
    def _placed(self, scope: Scope) -> Iterator[None]:
        """Keep a place for a request as long as it is worked on; its body has not been read yet.

        Raises:
            BusyError: there is none.
        """
        path, owner = scope["path"], scope["state"]["owner"]
        if path in _OPEN:  # whether it lives is told in any case
            yield
            return
        is_upload = scope["method"] == "POST" and path in _UPLOADS
        with ExitStack() as stack:
            for places in (self._requests, self._uploads)[: 1 + is_upload]:
                places.take(owner)
                stack.callback(places.leave, owner)
            yield

    def _refused(self, scope: Scope, headers: dict[str, str]) -> Answer | None:
        """The error record of a request that is not let in, or None; its body is not read.

        The owner of its key is noted in the state of ``scope``.
        """
        host = headers.get("host", "")
        if not self._is_own(host):
            return refusal(
                421, f"this service is not called {host[:80]!r}: start it with --name for that", 2
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            # A page of another site, which a browser lets send files and forms.
            return refusal(403, f"pages of {origin[:80]} may not ask this service", 2)
        path = scope["path"]
        if self._keys is not None and path.startswith(_API) and path not in _OPEN:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            key = key if scheme.lower() == "bearer" else headers.get("x-api-key", "")
            if (found := self._keys.find(key.strip())) is None:
                return refusal(401, "a key of this service must be sent: Authorization: Bearer", 2)
            scope["state"]["owner"] = found.owner
        length = headers.get("content-length", "0")
        most = self._most(path)
        if length.isdecimal() and int(length) > most:
            return refusal(413, f"a request may have at most {most} bytes; got {length}")
        return None

    def _is_own(self, host: str) -> bool:
        """Tell whether a Host header names this service.

        A page whose name is made to lead here (DNS rebinding) asks by that name; addresses cannot
        be made so.
        """
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        name = name.strip("[]").lower()
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in ("localhost", self._settings.host.lower(), *self._settings.hosts)
        return True

    def _most(self, path: str) -> int:
        # What surrounds a file in its request is small.
        upload = self._settings.upload_bytes + 65_536
        return upload if path.startswith(_UPLOADS) else _limits.MAX_REQUEST_BYTES

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Receive a request as long as it has no more bytes and takes no longer than it may.

        Raises:
            HTTPException: it has more (413), or takes longer (408).
        """
        most, got = self._most(scope["path"]), 0
        end = time.monotonic() + _limits.MAX_UPLOAD_S
        is_whole = False

        async def limited() -> Message:
            nonlocal got, is_whole
            if is_whole:  # what comes then is that the client is gone, whenever that is
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                text = f"a request must come within {_limits.MAX_UPLOAD_S:g} s"
                raise HTTPException(408, text) from None
            got += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if got > most:
                raise HTTPException(413, f"a request may have at most {most} bytes; got more")
            return message

        return limited


async def respond(answer: Answer, request_id: str, send: Send) -> None:
    """Send an error record with the id of its request."""
    body = f'{answer.body[:-1]},"request_id":"{request_id}"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if answer.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if answer.retry_s is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_s))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
