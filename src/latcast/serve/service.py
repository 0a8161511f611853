"""What the endpoints share: files, worker processes, jobs and keys, from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from .calls import Answer, check_names, refusal, warm
from .files import Files
from .gate import Metrics
from .jobs import Jobs
from .settings import Keys, Settings
from .workers import Workers

# Networks of packages go by names that are no paths.
NAMED = re.compile(r"(timm|torchvision|transformers):[\w.-]{1,120}")
IS_ID = re.compile(r"[0-9a-f]{64}")
# Rows that the service forecasts itself: some milliseconds. More are a worker's.
MAX_OWN_ROWS = 8


class Refused(Exception):  # noqa: N818  # an answer, not a defect
    """A request has an answer already: why it has no other."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body)
        self.answer = answer


class Service:
    """What the endpoints share, from the start of the service to its end.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.keys = None if settings.keys is None else Keys.read(settings.keys)
        self.files: Files
        self.workers: Workers
        self.jobs: Jobs

    @contextlib.asynccontextmanager
    async def running(self, _: object) -> AsyncIterator[None]:
        """Start what the service needs, and end it; its folder is nobody else's."""
        state = self.settings.state
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.files = Files(state, self.settings.state_bytes)
        empty = self.files.coming()
        memory = self.settings.worker_bytes
        devices = [str(path.resolve()) for path in self.settings.devices]
        setup = {"folder": str(empty), "memory_bytes": memory, "devices": devices}
        self.workers = Workers(self.settings.workers, setup, self.settings.work_s)
        self.jobs = Jobs(state, self.files, setup)
        self.files.sweep(self.jobs.needed)
        self._watch()
        try:
            await self.workers.start()
            await asyncio.to_thread(warm)
            self.jobs.start()
            yield
        finally:
            self.workers.close()
            await self.jobs.close()
            shutil.rmtree(empty, ignore_errors=True)

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("latcast_workers", "Worker processes.", lambda: len(self.workers.pids))
        watch("latcast_workers_replaced", "Since the start.", lambda: self.workers.restarts)
        watch("latcast_waiting", "Requests without a worker.", lambda: self.workers.waiting)
        for state in ("queued", "running", "done", "failed", "cancelled"):
            watch(f"latcast_jobs_{state}", f"Jobs: {state}.", partial(self._jobs, state))

    def _jobs(self, state: str) -> int:
        return self.jobs.counts().get(state, 0)

    async def ask(self, call: str, arguments: dict[str, Any], **more: Any) -> Answer:
        """The answer of a worker process; raised where it is an error."""
        found = await self.workers.ask({"call": call, "arguments": arguments, **more})
        if found.status != 200:
            raise Refused(found)
        return found

    def network(self, asked: dict[str, Any], shown: dict[str, str]) -> None:
        """Put the path of a network in the place of its id, its own name into ``shown``."""
        given, name = asked["network"], asked.pop("name", None)
        if IS_ID.fullmatch(given):
            path = self.files.path("networks", given, name)
            asked["network"] = str(path)
            shown[str(path)] = name or path.name
        elif not NAMED.fullmatch(given):
            raise Refused(refusal(
                422, f"a network must be the id of one that was sent (POST /v1/networks), or "
                f"timm:NAME; got {given[:80]!r}", 2,
            ))  # fmt: skip

    def model(self, asked: dict[str, Any], shown: dict[str, str]) -> None:
        """Likewise of an adapted model."""
        if (given := asked.get("model")) is not None:
            path = str(self.files.path("models", given))
            asked["model"], shown[path] = path, given

    def dataset(self, asked: dict[str, Any], key: str, shown: dict[str, str]) -> None:
        """Likewise of a dataset, where it is one; other names are of what forecasts."""
        if IS_ID.fullmatch(asked[key]):
            path = str(self.files.path("datasets", asked[key]))
            shown[path], asked[key] = asked[key], path
        else:
            check_names([asked[key]])
