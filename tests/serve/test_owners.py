"""What a key has sent or begun is nobody else's, also after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from latcast.families import population
from latcast.serve.settings import add_key

pytestmark = [pytest.mark.slow, pytest.mark.worker]


def network() -> bytes:
    return population(1, 1, ["squeezenet"])[0].to_onnx()


def test_others_get_404(serve: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    mine, yours = add_key(keys, "me"), add_key(keys, "you")
    state = tmp_path / "state"
    service = serve(state, "--workers", 1, "--keys", keys)

    def ask(key: str, method: str, path: str, body: Any = None) -> Any:
        return service.ask(method, f"/v1/{path}", body, {"x-api-key": key})

    sent = service.send("/v1/networks", "net.onnx", network(), key=mine)
    assert sent.status == 200, sent.body
    id = sent.json()["id"]  # noqa: A001
    device = {"device": "raspberry-pi-4", "runtime": "ncnn"}
    measurements = [{"network": id, "latency_ms": 30}]
    adapted = ask(mine, "POST", "adapt", device | {"measurements": measurements}).json()["model"]
    search = {"command": "search", "device": ["samsung-note10"], "max_latency_ms": [20],
              "method": "nsga2", "evaluations": 900_000}  # fmt: skip
    job = ask(mine, "POST", "jobs", search).json()["id"]
    asked = [
        ("GET", f"networks/{id}", None),
        ("POST", "forecast", {"network": id, "devices": ["pixel-7"]}),
        ("POST", "which", {"network": id, "max_latency_ms": 9}),
        ("POST", "suggest", device | {"network": id}),
        ("POST", "suggest", device | {"among": [id]}),
        ("POST", "suggest", device | {"model": adapted}),
        ("POST", "adapt", device | {"measurements": measurements}),
        ("POST", "adapt", device | {"measurements": measurements, "model": adapted}),
        ("POST", "forecast", {"network": id, "model": adapted}),
        ("POST", "choose", device | {"model": adapted, "max_latency_ms": 9}),
        ("GET", f"jobs/{job}", None),
        ("DELETE", f"jobs/{job}", None),
        ("DELETE", f"networks/{id}", None),
    ]
    for method, path, body in asked:
        answer = ask(yours, method, path, body)
        assert answer.status == 404, (method, path, answer.body)
        assert answer.json()["schema"] == "latcast/error"
    assert ask(yours, "GET", "jobs").json() == []
    assert service.stop() == 0
    service = serve(state, "--workers", 1, "--keys", keys)
    assert [x["id"] for x in ask(mine, "GET", "jobs").json()] == [job]
    assert ask(yours, "GET", f"jobs/{job}").status == 404
    assert ask(yours, "GET", f"networks/{id}").status == 404
    assert ask(mine, "POST", "forecast", {"network": id, "model": adapted}).status == 200
    assert ask(mine, "DELETE", f"jobs/{job}").json()["state"] == "cancelled"
    assert ask(mine, "DELETE", f"networks/{id}").status == 204
    assert ask(mine, "DELETE", f"networks/{id}").status == 404
    for path in state.rglob("*"):
        assert mine not in str(path)
        assert not path.is_file() or mine.encode() not in path.read_bytes()


def test_limits_of_the_command_line(serve: Any, tmp_path: Path, wait_until: Any) -> None:
    service = serve(tmp_path / "state", "--workers", 1, "--max-job-seconds", 1, "--max-jobs", 1,
                    "--max-uploads", 1)  # fmt: skip
    search: Mapping[str, Any] = {
        "command": "search", "device": ["samsung-note10"], "max_latency_ms": [20],
        "method": "nsga2", "evaluations": 900_000,
    }  # fmt: skip
    first = service.ask("POST", "/v1/jobs", search).json()["id"]
    second = service.ask("POST", "/v1/jobs", search)
    assert second.status == 503
    assert int(second.headers["retry-after"]) > 0
    assert "at most 1 jobs may wait or run" in second.json()["error"]
    wait_until(lambda: service.ask("GET", f"/v1/jobs/{first}").json()["state"] == "failed")
    found = service.ask("GET", f"/v1/jobs/{first}").json()
    assert "1 s" in found["result"]["error"]  # of the clock or of the CPU, whichever came first
    assert service.ask("POST", "/v1/jobs", search).status == 202
    assert not list((tmp_path / "state" / "jobs").glob(first))


def test_a_job_has_so_much_memory(serve: Any, tmp_path: Path, wait_until: Any) -> None:
    service = serve(tmp_path / "state", "--workers", 1, "--max-job-memory", "2MB")
    search = {"command": "search", "device": ["samsung-note10"], "max_latency_ms": [20],
              "method": "nsga2", "evaluations": 900_000, "population_size": 100_000}  # fmt: skip
    job = service.ask("POST", "/v1/jobs", search).json()["id"]
    wait_until(lambda: service.ask("GET", f"/v1/jobs/{job}").json()["state"] == "failed")
    assert "memory" in service.ask("GET", f"/v1/jobs/{job}").json()["result"]["error"].lower()
    assert service.ask("GET", "/healthz").status == 200
