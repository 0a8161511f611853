"""Whatever is sent costs one request and nothing else; nobody asks who may not."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from benchmark_files import load_benchmark

from latcast.families import population
from latcast.serve.settings import add_key
from latcast.spaces import space

pytestmark = [pytest.mark.slow, pytest.mark.worker]

ARCH = {"archs": space("ofa-mobilenet-v3").sample(1, seed=0).to_dicts(), "devices": ["tesla-p40"]}
serving = load_benchmark("serving")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bomb.pt2", serving.bomb),
        ("endless.onnx", serving.doubling_functions),
        ("deep.xml", lambda: b"<net>" + b"<a>" * 500_000),
        ("blank.onnx", lambda: bytes(2**20)),
        ("noise.tflite", lambda: b"\0\0\0\0TFL3" + np.random.default_rng(0).bytes(2**16)),
        ("../../../etc/passwd", lambda: b"root"),
        ("empty.onnx", lambda: b""),
    ],
)
def test_a_hostile_file_is_refused(service: Any, name: str, content: Callable[[], bytes]) -> None:
    answer = service.send("/v1/networks", name, content())
    assert 400 <= answer.status < 500
    found = answer.json()
    assert found["schema"] == "latcast/error"
    assert found["request_id"] == answer.headers["x-request-id"]
    assert str(service.state) not in found["error"]
    assert service.ask("POST", "/v1/forecast", ARCH).status == 200


def test_too_large_a_file_is_refused_before_it_comes(service: Any) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=300) as link:
        link.sendall(
            b"POST /v1/networks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2147483648\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        assert link.recv(4_096).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", service.port), timeout=300) as link:
        link.sendall(
            b"POST /v1/forecast HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )
        chunk = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012
            for _ in range(64):
                link.sendall(chunk)
            assert link.recv(4_096).startswith(b"HTTP/1.1 413 ")
            raise ConnectionResetError("reset")
    assert service.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"[" * 100_000, 400),
        ({"devices": ["pixel-7"]}, 422),
        ({"archs": [{}], "devices": ["pixel-7"]}, 422),
        ({"archs": [{}], "devices": ["/etc/passwd.latcast"]}, 422),
        ({"archs": [{}] * 20_001, "devices": ["pixel-7"]}, 413),
        ({"archs": [{}], "devices": ["pixel-7"], "space": "nonsense"}, 422),
        ({"archs": [{}], "devices": ["pixel-7"], "base": "x.latcast"}, 422),
        ({"network": "/etc/passwd", "devices": ["pixel-7"]}, 422),
        ({"network": "0" * 64, "devices": ["pixel-7"]}, 404),
        ({"network": "0" * 64, "devices": ["pixel-7"], "nonsense": 1}, 422),
        ({"network": "timm:../x", "devices": ["pixel-7"]}, 422),
        ({"network": "0" * 64, "model": "../../x"}, 404),
    ],
)
def test_a_bad_forecast_is_an_error_record(service: Any, body: Any, status: int) -> None:
    given = {"content-type": "application/json"}
    answer = service.ask("POST", "/v1/forecast", body, given)
    assert answer.status == status, answer.body
    assert answer.json()["schema"] == "latcast/error"


def test_pages_of_other_sites_and_other_names_are_refused(service: Any) -> None:
    for headers, status in (
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": service.url, "host": f"127.0.0.1:{service.port}"}, 200),
        ({"host": f"localhost:{service.port}"}, 200),
    ):
        answer = service.ask("GET", "/v1/spaces", headers=headers)
        assert answer.status == status
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_a_worker_takes_is_limited() -> None:
    code = """
from latcast.serve.workers import limit_memory
from latcast.serve.calls import failed
limit_memory(2**26)
try:
    bytearray(2**28)
except MemoryError as error:
    print(failed(error).status)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "413\n"


# --- a service of its own -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    return path, add_key(path, "me")


@pytest.fixture(scope="module")
def strict(serve: Any, key: tuple[Path, str], tmp_path_factory: Any) -> Any:
    """A service with a key, whose workers have 5 s for a request."""
    return serve(
        tmp_path_factory.mktemp("strict"), "--workers", 1, "--max-seconds", 5, "--keys", key[0]
    )


def workers(service: Any) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(service.process.pid).children():
        with suppress(psutil.Error):  # it has ended meanwhile
            if "latcast.serve.workers" in " ".join(process.cmdline()):
                found.append(process)
    return found


def has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more, though nobody may have waited for it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_keys(strict: Any, key: tuple[Path, str]) -> None:
    assert key[1] not in key[0].read_text()
    for path in ("/v1/devices", "/metrics", "/openapi.json", "/v1/jobs"):
        assert strict.ask("GET", path).status == 401
        assert strict.ask("GET", path, headers={"x-api-key": "wrong"}).status == 401
        assert strict.ask("GET", path, headers={"x-api-key": key[1]}).status == 200
        assert strict.ask("GET", path, headers={"authorization": f"Bearer {key[1]}"}).status == 200
    assert strict.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [(signal.SIGKILL, 500, "ended by SIGKILL"), (None, 504, "within 5 s")],
)
def test_a_worker_that_dies_or_hangs_costs_one_request(
    service: Any, strict: Any, key: tuple[Path, str], wait_until: Any, how: Any, status: int,
    text: str,
) -> None:  # fmt: skip
    if how is None:
        service = strict  # of the other one a request may take a minute, that it dies before
    headers, replies = {"x-api-key": key[1]}, []
    # So many are a worker's, and quick: a machine that is busy would need 5 s for much else.
    asked = {**ARCH, "archs": 9 * ARCH["archs"]}
    wait_until(lambda: service.ask("POST", "/v1/forecast", asked, headers).status == 200)
    (worker,) = workers(service)
    worker.suspend()
    thread = threading.Thread(
        target=lambda: replies.append(service.ask("POST", "/v1/forecast", asked, headers))
    )
    thread.start()
    if how is not None:
        two = re.compile(rb"^latcast_requests_running 2", re.MULTILINE)
        wait_until(lambda: two.search(service.ask("GET", "/metrics", headers=headers).body))
        worker.send_signal(how)
    # Others are answered meanwhile.
    assert service.ask("POST", "/v1/forecast", ARCH, headers).status == 200
    thread.join(timeout=300)
    assert replies[0].status == status
    assert text in replies[0].json()["error"]
    wait_until(lambda: [p.pid for p in workers(service)] not in ([], [worker.pid]))
    assert service.ask("POST", "/v1/forecast", asked, headers).status in (200, 504)


def test_a_public_address_needs_keys(latcast: Any) -> None:
    run = latcast("serve", "--listen", "0.0.0.0:0", code=2)
    assert "needs --keys" in run.stderr


def test_a_folder_of_the_state_may_be_named_from_here(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = serve(Path("state"), "--workers", 1)
    content = next(iter(population(1, 1, ["squeezenet"]))).to_onnx()
    sent = own.send("/v1/networks", "net.onnx", content)
    assert sent.status == 200, sent.body
    asked = {"network": sent.json()["id"], "devices": ["raspberry-pi-4"]}
    assert own.ask("POST", "/v1/forecast", asked).status == 200
    assert own.stop() == 0


def test_one_service_a_folder(service: Any) -> None:
    command = [sys.executable, "-m", "latcast", "serve", "--listen", "127.0.0.1:0", "--state"]
    run = subprocess.run([*command, service.state], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "another latcast serve uses" in run.stderr


# --- jobs -----------------------------------------------------------------------------------------


def test_jobs_outlive_a_crash_and_a_restart(
    serve: Any, tmp_path: Path, wait_until: Any, latcast: Any
) -> None:
    asked = {"command": "search", "device": ["samsung-note10"], "max_latency_ms": [20], "seed": 3}
    first = serve(tmp_path / "state", "--workers", 1)
    long = first.ask("POST", "/v1/jobs", asked | {"method": "nsga2", "evaluations": 900_000}).json()
    short = first.ask("POST", "/v1/jobs", asked | {"evaluations": 2_000}).json()
    assert (long["state"], short["state"]) == ("queued", "queued")

    def job(service: Any, key: str) -> Any:
        return service.ask("GET", f"/v1/jobs/{key}").json()

    wait_until(lambda: job(first, long["id"])["done"] > 0)
    children = psutil.Process(first.process.pid).children()
    first.stop(signal.SIGKILL)
    wait_until(lambda: all(map(has_ended, children)))  # nothing outlives the service
    second = serve(tmp_path / "state", "--workers", 1)
    wait_until(lambda: job(second, long["id"])["state"] == "running")
    assert [j["id"] for j in second.ask("GET", "/v1/jobs").json()] == [short["id"], long["id"]]
    assert second.ask("DELETE", f"/v1/jobs/{long['id']}").json()["state"] == "cancelled"
    wait_until(lambda: job(second, short["id"])["state"] == "done")
    found = job(second, short["id"])["result"]
    here = latcast.json("search", "--device", "samsung-note10", "--max-latency", 20, "--seed", 3,
                        "--evaluations", 2_000)  # fmt: skip
    assert found | {"seconds": 0} == here | {"seconds": 0}
    bad = second.ask("POST", "/v1/jobs", asked | {"max_latency_ms": [0.001]}).json()
    wait_until(lambda: job(second, bad["id"])["state"] == "failed")
    assert job(second, bad["id"])["result"]["schema"] == "latcast/error"
    assert second.ask("GET", "/v1/jobs/nonsense").status == 404
    assert second.stop() == 0
