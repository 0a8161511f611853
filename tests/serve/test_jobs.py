"""Jobs under limits, by themselves: how many, how long, and whose they are."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service needs latcast[serve]")

from latcast.report.record import Failure
from latcast.serve import jobs as jobs_module
from latcast.serve.calls import BusyError
from latcast.serve.files import Files
from latcast.serve.jobs import JobLimits, Jobs, UnknownJobError, main

ME, YOU = "a" * 64, "b" * 64


class Process:
    """Stands in for the process of a job: it says what it is given, and then nothing."""

    lines: Sequence[dict[str, Any] | None] = ()
    code = 0

    def __init__(self, _: object) -> None:
        self.left, self.is_killed = list(self.lines), False
        self.asked: dict[str, Any] = {}

    def send(self, request: dict[str, Any]) -> None:
        self.asked = request

    def receive(self, timeout_s: float) -> str | None:
        if not self.left:
            raise TimeoutError
        line = self.left.pop(0)
        return line and json.dumps(line)

    def kill(self) -> int:
        self.is_killed = True
        return self.code

    wait = kill
    close = kill

    def errors(self) -> str:
        return "Traceback"

    last_words = errors


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[Process]:
    class Own(Process):
        pass

    monkeypatch.setattr(jobs_module, "LineProcess", Own)
    monkeypatch.setattr(jobs_module, "_SECONDS_BETWEEN_LOOKS", 0.01)
    return Own


def of(folder: Path, **limits: Any) -> Jobs:
    return Jobs(folder, Files(folder), {}, JobLimits(**limits))


def work(jobs: Jobs, until: Callable[[], bool]) -> None:
    """Let a service's jobs be worked on until something is so."""

    async def wait() -> None:
        jobs.start()
        while not until():
            await asyncio.sleep(0.001)

    async def run() -> None:
        await asyncio.wait_for(wait(), 300)
        for task in jobs._tasks:
            task.cancel()
        await asyncio.gather(*jobs._tasks, return_exceptions=True)

    asyncio.run(run())


def ended(jobs: Jobs, id: str) -> Callable[[], bool]:
    return lambda: jobs.get(id)["state"] in ("done", "failed", "cancelled")


def test_a_job_that_takes_too_long_has_failed(tmp_path: Path, process: type[Process]) -> None:
    process.lines = [{"done": 1, "total": 9, "text": "searching"}]
    jobs = of(tmp_path, seconds=0.05)
    id = jobs.add("search", {})  # noqa: A001
    work(jobs, ended(jobs, id))
    job = jobs.get(id)
    assert job["state"] == "failed"
    assert job["result"]["error"] == "a job must end within 0.05 s; it did not, and was ended"
    assert job["seconds"] >= 0.05
    assert (job["done"], job["total"]) == (1, 9)


def test_time_before_a_restart_counts(tmp_path: Path, process: type[Process]) -> None:
    first = of(tmp_path)
    id = first.add("search", {})  # noqa: A001
    work(first, lambda: first.get(id)["seconds"] > 0)
    first._db.execute("UPDATE jobs SET seconds = 99")  # as if it had run so long
    second = of(tmp_path, seconds=100)
    assert second.get(id)["state"] == "queued"
    asked: list[dict[str, Any]] = []
    process.send = lambda _, request: asked.append(request)  # type: ignore[method-assign]
    process.lines = [{"state": "done", "result": "{}"}]
    work(second, ended(second, id))
    assert asked[0]["setup"]["cpu_s"] == 1
    assert second.get(id)["seconds"] >= 99


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-signal.SIGXCPU, "a job may take 7 s of CPU time; this one took more, and was ended"),
        (-signal.SIGKILL, "worked on a job was ended by SIGKILL (out of memory?)"),
        (1, "the job's process has ended: Traceback"),
    ],
)
def test_a_job_whose_process_ends_has_failed(
    tmp_path: Path, process: type[Process], code: int, text: str
) -> None:
    process.lines, process.code = [None], code
    jobs = of(tmp_path, seconds=7)
    id = jobs.add("search", {})  # noqa: A001
    work(jobs, ended(jobs, id))
    assert jobs.get(id)["state"] == "failed"
    assert text in jobs.get(id)["result"]["error"]


def test_a_job_has_so_much_disk(tmp_path: Path, process: type[Process]) -> None:
    jobs = of(tmp_path, disk_bytes=100)
    id = jobs.add("search", {})  # noqa: A001

    def write(_: Process, request: dict[str, Any]) -> None:
        assert request["setup"]["file_bytes"] == 100
        folder = Path(request["setup"]["folder"])
        for n in range(3):
            (folder / f"{n}").write_bytes(b"0" * 60)

    process.send = write  # type: ignore[method-assign]
    work(jobs, ended(jobs, id))
    job = jobs.get(id)
    assert job["state"] == "failed"
    assert "a job may keep at most 100 bytes on disk; this one kept more" in job["result"]["error"]
    assert not (tmp_path / "jobs" / id).exists()


@pytest.mark.slow
def test_a_file_that_is_written_has_so_many_bytes(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from latcast.serve.workers import limit_files
limit_files(1000)
Path("x").write_bytes(bytes(1000))
try:
    Path("y").write_bytes(bytes(1001))
except OSError as error:
    print(error.strerror)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                         check=True)  # fmt: skip
    assert run.stdout == "File too large\n"


def test_so_many_jobs_run_at_a_time(tmp_path: Path, process: type[Process]) -> None:
    jobs = of(tmp_path, running=2)
    for _ in range(3):
        jobs.add("search", {})
    work(jobs, lambda: jobs.counts().get("running", 0) == 2 and len(jobs._processes) == 2)
    assert jobs.counts()["queued"] == 1


def test_so_many_jobs_wait(tmp_path: Path) -> None:
    jobs = of(tmp_path, waiting=3, of_key=2)
    for _ in range(2):
        jobs.add("search", {}, ME)
    with pytest.raises(BusyError, match="at most 2 jobs of a key") as error:
        jobs.add("search", {}, ME)
    assert error.value.status == 429
    jobs.add("search", {}, YOU)
    with pytest.raises(BusyError, match="at most 3 jobs may wait or run") as error:
        jobs.add("search", {}, YOU)
    assert error.value.status == 503
    assert error.value.retry_s > 0
    jobs.cancel(jobs.list(ME)[0]["id"], ME)
    jobs.add("search", {}, YOU)


def test_without_keys_all_places_are_everybodys(tmp_path: Path) -> None:
    jobs = of(tmp_path, waiting=3, of_key=2)
    for _ in range(3):
        jobs.add("search", {})
    with pytest.raises(BusyError, match="at most 3 jobs may wait or run"):
        jobs.add("search", {})


def test_owners_take_turns(tmp_path: Path) -> None:
    jobs = of(tmp_path)
    mine = [jobs.add("search", {}, ME) for _ in range(3)]
    yours = [jobs.add("search", {}, YOU) for _ in range(2)]
    order = []
    while (row := jobs._next()) is not None:
        order.append(row["id"])
        jobs._set(row["id"], state="done")
    assert order == [mine[0], yours[0], mine[1], yours[1], mine[2]]


def test_a_job_is_its_owners(tmp_path: Path) -> None:
    jobs = of(tmp_path)
    mine, everybodys = jobs.add("search", {}, ME), jobs.add("search", {})
    for _ in range(2):  # and after a restart
        assert [job["id"] for job in jobs.list(ME)] == [mine]
        assert jobs.list(YOU) == []
        assert [job["id"] for job in jobs.list()] == [everybodys]
        for owner in (YOU, ""):
            with pytest.raises(UnknownJobError, match="no job has the id"):
                jobs.get(mine, owner)
            with pytest.raises(UnknownJobError, match="no job has the id"):
                jobs.cancel(mine, owner)
        assert jobs.get(mine, ME)["state"] == "queued"
        jobs = of(tmp_path)


def test_the_model_of_a_tuning_is_its_owners(tmp_path: Path, process: type[Process]) -> None:
    (model := tmp_path / "x.latcast").write_bytes(b"model")
    process.lines = [{"state": "done", "result": "{}", "model": str(model)}]
    jobs = of(tmp_path)
    id = jobs.add("tune", {}, ME)  # noqa: A001
    work(jobs, lambda: jobs.get(id, ME)["state"] == "done")
    (kept,) = (tmp_path / "models").iterdir()
    assert kept.name == f"of-{ME}"
    assert [path.name for path in kept.glob("*/*")] == ["tuned.latcast"]


def test_jobs_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "jobs.sqlite")
    db.execute(jobs_module._TABLE)
    db.execute("INSERT INTO jobs (id, command, options, state, created, changed) "
               "VALUES ('old', 'search', '{}', 'running', 'then', 'then')")  # fmt: skip
    db.commit()
    db.close()
    job = of(tmp_path).get("old")
    assert (job["state"], job["seconds"]) == ("queued", 0)


def test_the_oldest_jobs_of_an_owner_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module._limits, "MAX_KEPT_JOBS", 2)
    jobs = of(tmp_path)
    theirs = jobs.add("search", {}, YOU)
    jobs.cancel(theirs, YOU)
    for _ in range(4):
        jobs.cancel(jobs.add("search", {}, ME), ME)
    assert len(jobs.list(ME)) == 2
    assert len(jobs.list(YOU)) == 1


@pytest.mark.slow
def test_cpu_time_is_limited() -> None:
    code = "from latcast.serve.workers import limit_cpu\nlimit_cpu(0)\nwhile True: pass"
    run = subprocess.run([sys.executable, "-c", code], check=False)
    assert run.returncode == -signal.SIGXCPU


def test_a_path_stays_unknown_whatever_its_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Failure("the audit of /prüfstand/0.csv found nothing", 1)
    request = {
        "command": "tune", "options": {}, "shown": {"/prüfstand/0.csv": "rows"},
        "setup": {"cpu_s": 1.0},
    }  # fmt: skip
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("latcast.serve.jobs._tune", lambda *_: (record, {}))
    for name in ("begin", "limit_cpu"):  # of the process that a job has
        monkeypatch.setattr(f"latcast.serve.jobs.{name}", lambda *_: None)
    monkeypatch.setattr(
        "latcast.serve.jobs.answer_lines", lambda handle: handle(request, told.append)
    )
    main()
    assert [each["state"] for each in told] == ["done"]
    assert json.loads(told[0]["result"])["error"] == "the audit of rows found nothing"
