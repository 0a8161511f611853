"""The service that all endpoints share, from its start to its end, and as one key sees it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from .calls import Answer, refusal, warm
from .files import Files
from .gate import Metrics
from .jobs import JobLimits, Jobs
from .own_rows import OwnRows
from .settings import Keys, Settings
from .workers import Workers

IS_ID = re.compile(r"[0-9a-f]{64}")
# Threads for what is short: files that are put away, the end of processes.
_SPARE_THREADS = 8


class Refused(Exception):  # noqa: N818  # an answer, not a defect
    """A request is refused, or has failed.

    Args:
        answer: an error record.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body)
        self.answer = answer


class Service:
    """The files, worker processes, jobs, keys and metrics that all endpoints share.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.keys = None if settings.keys is None else Keys.read(settings.keys)
        self.files: Files
        self.workers: Workers
        self.jobs: Jobs
        self.own_rows = OwnRows()

    @contextlib.asynccontextmanager
    async def running(self, _: object) -> AsyncIterator[None]:
        """Start what the service needs, and end it; no other service may use its folder."""
        # Workers and jobs run in folders of their own.
        s, state = self.settings, self.settings.state.resolve()
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.files = Files(state, s.state_bytes)
        empty = self.files.coming()
        devices = [str(path.resolve()) for path in s.devices]
        setup = {
            "folder": str(empty), "memory_bytes": s.worker_bytes, "file_bytes": s.upload_bytes,
            "devices": devices,
        }  # fmt: skip
        self.workers = Workers(s.workers, setup, s.work_s)
        limits = JobLimits(
            s.running_jobs, s.jobs, s.key_jobs, s.job_s, s.job_bytes, s.job_disk_bytes
        )
        self.jobs = Jobs(state, self.files, setup, limits)
        self.files.sweep(self.jobs.needed)
        self._watch()
        # Each worker and each job has a thread that waits for it: by default there are too few of
        # them on a small machine, and uploads would wait for the end of a job.
        threads = ThreadPoolExecutor(s.workers + s.running_jobs + _SPARE_THREADS)
        asyncio.get_running_loop().set_default_executor(threads)
        try:
            await self.workers.start()
            await asyncio.to_thread(warm)
            self.own_rows.start()
            self.jobs.start()
            # Uploads come into this folder's disk, as /tmp may be memory.
            with _temporary_files_in(empty.parent):
                yield
        finally:
            self.workers.close()
            await self.jobs.close()
            self.own_rows.close()
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

    def of(self, owner: str) -> Caller:
        """The service as an owner of files and jobs sees it."""
        return Caller(self, owner)


class Caller:
    """The service as one key sees it: its own files and jobs, and nobody else's.

    Args:
        service: whose workers answer.
        owner: SHA-256 of the key in hexadecimal digits; ``""`` where the service has no keys.
    """

    def __init__(self, service: Service, owner: str) -> None:
        self.service, self.owner = service, owner
        self.files = service.files.of(owner)

    async def ask(self, call: str, arguments: dict[str, Any], **more: Any) -> Answer:
        """The answer of a worker process.

        Args:
            call: a name in :data:`latcast.serve.calls.CALLS`.
            arguments: of the call.
            more: ``shown`` and ``page``, as of :func:`latcast.serve.calls.answer`.

        Raises:
            Refused: the answer is an error record.
            BusyError: too many requests wait for a worker, most of them this owner's.
        """
        request = {"call": call, "arguments": arguments, **more}
        found = await self.service.workers.ask(request, self.owner)
        if found.status != 200:
            raise Refused(found)
        return found

    def network(self, asked: dict[str, Any], shown: dict[str, str]) -> None:
        """Put the path of a network that was sent in the place of its id.

        Args:
            asked: a request with ``network``, an id, and perhaps ``name``, which is taken out.
            shown: path -> what records call the network; it is added.

        Raises:
            Refused: it is no id: names of packages' networks, paths and addresses are refused.
            UnknownFileError: nothing of this owner has the id.
        """
        given, name = asked["network"], asked.pop("name", None)
        if not IS_ID.fullmatch(given):
            raise Refused(refusal(
                422, "a network must be the id of a file that was sent (POST /v1/networks); got "
                f"{given[:80]!r}: a request may not name files, addresses or networks of packages "
                "such as timm; export the network, and send its file", 2,
            ))  # fmt: skip
        path = self.files.path("networks", given, name)
        asked["network"] = str(path)
        shown[str(path)] = name or path.name

    def model(self, asked: dict[str, Any], shown: dict[str, str]) -> None:
        """Put the path of an adapted model in the place of its id, where one is named.

        Args:
            asked: a request, perhaps with ``model``, an id.
            shown: path -> the id, which records have; it is added.

        Raises:
            UnknownFileError: nothing of this owner has the id.
        """
        if (given := asked.get("model")) is not None:
            path = str(self.files.path("models", given))
            asked["model"], shown[path] = path, given

    def dataset(self, asked: dict[str, Any], key: str, shown: dict[str, str]) -> None:
        """Put the path of a dataset in the place of its id, where it is one.

        Args:
            asked: a request.
            key: of the field, which may also name what forecasts.
            shown: path -> the id; it is added.

        Raises:
            UnknownFileError: nothing of this owner has the id.
        """
        if IS_ID.fullmatch(asked[key]):
            path = str(self.files.path("datasets", asked[key]))
            shown[path], asked[key] = asked[key], path

    def begin_job(self, command: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Queue a job of this owner, and return it.

        Raises:
            UnknownFileError: nothing of this owner has the id of its dataset.
            BusyError: as many jobs as may wait or run.
        """
        if command == "tune":
            self.files.path("datasets", options["data"])
        jobs = self.service.jobs
        return jobs.get(jobs.add(command, options, self.owner), self.owner)


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Make temporary files of this process lie in a folder."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
