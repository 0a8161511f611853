"""``latcast serve``: the same records over HTTP."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from latcast import _limits

from ._console import Console, UsageError, command, option, usage
from ._options import Devices, parse_count


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask."""

    panel: ClassVar[str] = "Access"

    listen: str = option("Where to listen; this machine alone by default.", "127.0.0.1:8765",
                         metavar="HOST:PORT")  # fmt: skip
    keys: Path | None = option("File of the keys that may ask.", metavar="FILE")
    new_key: str | None = option("Add a key to --keys, print it, and end.", metavar="NAME")
    no_keys: bool = option("Let everybody ask who reaches a public address.", False)
    name: list[str] | None = option("Name that requests may call it by; repeatable.",
                                    metavar="HOST")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Options that limit requests."""

    panel: ClassVar[str] = "Limits"

    state: Path | None = option("Folder of files and jobs; ~/.local/state/latcast by default.")
    workers: int = option("Processes for requests about files.", 2, min=1, max=64)
    max_upload: str = option("Most bytes of a file that is sent.", "512MB")
    max_uploads: int = option("Files that are taken at a time.", _limits.MAX_UPLOADS, min=1)
    max_key_uploads: int = option("Files of one key that are taken at a time.",
                                  _limits.MAX_KEY_UPLOADS, min=1)  # fmt: skip
    max_state: str = option("Most bytes of all files that are kept.", "8GB")
    max_memory: str = option("Memory of a request about a file.", "3GB")
    max_seconds: float = option("Seconds of a request about a file, of the clock and of the CPU.",
                                _limits.MAX_WORK_S, min=1)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class JobLimits:
    """Limits of searches and tunings."""

    panel: ClassVar[str] = "Limits of jobs"

    running_jobs: int = option("Jobs that run at a time.", _limits.MAX_RUNNING_JOBS, min=1, max=64)
    max_jobs: int = option("Jobs that wait or run.", _limits.MAX_JOBS, min=1)
    max_key_jobs: int = option("Jobs of one key that wait or run.", _limits.MAX_KEY_JOBS, min=1)
    max_job_memory: str = option("Memory of a job.", "3GB")
    max_job_disk: str = option("Most bytes that a job keeps on disk.", "1GB")
    max_job_seconds: float = option("Seconds of a job, of the clock and of the CPU.",
                                    _limits.MAX_JOB_S, min=1)  # fmt: skip


@command
def serve(
    console: Console,
    *,
    access: Access,
    limits: Limits,
    job_limits: JobLimits,
    devices: Devices = None,
) -> None:
    """Answer over HTTP: forecasts, choices, searches as jobs, and the explorer for a browser.

    Example: latcast serve --listen 0.0.0.0:8765 --keys keys.txt
    """
    from latcast._imports import require

    console.check_no_result()
    if access.new_key is not None:
        _add_key(console, access)
        return
    from latcast.serve.settings import Settings, parse_listen

    with usage():
        host, port = parse_listen(access.listen)
    state = limits.state or _state_folder()
    settings = Settings(
        host, port, state, access.keys, tuple(name.lower() for name in access.name or ()),
        workers=limits.workers,
        work_s=limits.max_seconds,
        worker_bytes=_bytes(limits.max_memory, "--max-memory"),
        upload_bytes=_bytes(limits.max_upload, "--max-upload"),
        uploads=limits.max_uploads,
        key_uploads=limits.max_key_uploads,
        state_bytes=_bytes(limits.max_state, "--max-state"),
        running_jobs=job_limits.running_jobs,
        jobs=job_limits.max_jobs,
        key_jobs=job_limits.max_key_jobs,
        job_s=job_limits.max_job_seconds,
        job_bytes=_bytes(job_limits.max_job_memory, "--max-job-memory"),
        job_disk_bytes=_bytes(job_limits.max_job_disk, "--max-job-disk"),
    )  # fmt: skip
    if settings.is_public and access.keys is None and not access.no_keys:
        raise UsageError(
            f"an address that others reach needs --keys FILE (or --no-keys, which lets everybody "
            f"ask); got {access.listen}"
        )
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(package, "serve", "serving")
    from latcast.serve.running import run

    with ExitStack() as starting:
        starting.enter_context(console.progress("starting"))

        def begun(line: str) -> None:
            starting.close()
            console.note(line)

        run(settings, devices or (), begun)


def _add_key(console: Console, access: Access) -> None:
    import typer

    from latcast.serve.settings import add_key

    if access.keys is None or access.new_key is None:
        raise UsageError("--new-key needs the file that it is added to: --keys")
    with usage():
        key = add_key(access.keys, access.new_key)
    console.note(f"the key of {access.new_key}; {access.keys} holds its hash alone:")
    typer.echo(key)


def _bytes(text: str, name: str) -> int:
    return int(parse_count(text, name, "B") or 0)


def _state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "latcast"
