"""Every endpoint answers with the record that the command of its name prints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from latcast.cli import app
from latcast.families import population
from latcast.spaces import space

pytestmark = [pytest.mark.slow, pytest.mark.worker]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's file."""
    path = tmp_path_factory.mktemp("models") / "small net.onnx"
    path.write_bytes(population(1, 1, ["squeezenet"])[0].to_onnx())
    return path


@pytest.fixture(scope="session")
def sent(service: Any, model: Path) -> str:
    answer = service.send("/v1/networks", model.name, model.read_bytes())
    assert answer.status == 200, answer.body
    return answer.json()["id"]


def command(latcast: Any, *arguments: object) -> Any:
    return json.loads(latcast(*arguments, "--json", "--quiet").stdout)


@pytest.mark.parametrize(
    "options",
    [
        ("devices",),
        ("devices", "raspberry-pi-4"),
        ("devices", "--kind", "phone", "--find", "pixel"),
        ("models",),
        ("models", "samsung-note10"),
        ("spaces",),
        ("spaces", "ofa-mobilenet-v3"),
    ],
)
def test_lists(service: Any, latcast: Any, options: tuple[str, ...]) -> None:
    what, *rest = options
    names = "name=" + rest[0] if len(rest) == 1 else "kind=phone&find=pixel" if rest else ""
    answer = service.ask("GET", f"/v1/{what}?{names}")
    assert answer.status == 200
    assert answer.json() == command(latcast, *options)


def test_a_network_that_is_sent(service: Any, latcast: Any, model: Path, sent: str) -> None:
    assert sent == hashlib.sha256(model.read_bytes()).hexdigest()
    assert service.ask("GET", f"/v1/networks/{sent}").json()["name"] == model.name
    fields = {"options": '{"batch": 2}', "name": str(model)}
    answer = service.send("/v1/networks", "x.onnx", model.read_bytes(), fields)
    assert answer.json()["inspection"] == command(latcast, "inspect", model, "--batch", 2)


def test_forecasts(service: Any, latcast: Any, model: Path, sent: str, tmp_path: Path) -> None:
    network = {"network": sent, "name": str(model), "devices": ["raspberry-pi-4"]}
    cases = [
        ({"precision": ["fp32", "int8"], "batch": 1}, ("--precision", "fp32,int8", "--batch", 1)),
        ({"batch": [1, 4]}, ("--sweep", "batch=1,4")),
        ({"vary": {"of": "bandwidth_gb_s", "values": [4, 8]}}, ("--vary", "bandwidth_gb_s=4,8")),
    ]
    for asked, options in cases:
        answer = service.ask("POST", "/v1/forecast", network | asked)
        told = command(latcast, "predict", model, "--device", "raspberry-pi-4", *options)
        assert answer.json() == told
    archs = space("ofa-mobilenet-v3").sample(20, seed=0).to_dicts()
    (file := tmp_path / "archs.json").write_text(json.dumps(archs))
    devices = ["samsung-note10", "raspberry-pi-4"]
    for count in (1, 20):  # by the service itself, and by a worker
        asked = {"archs": archs[:count], "devices": devices}
        file.write_text(json.dumps(archs[:count]))
        told = command(latcast, "predict", file, "--device", devices[0], "--device", devices[1])
        assert service.ask("POST", "/v1/forecast", asked).json() == told


def test_pages(service: Any, sent: str) -> None:
    asked = {"network": sent, "devices": ["raspberry-pi-4"]}
    page = service.ask("POST", "/v1/forecast", asked, {"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.body.lower().startswith(b"<!doctype html>")
    assert service.ask("GET", "/v1/spaces", headers={"accept": "text/html"}).body[:2] == b"<!"
    assert service.ask("GET", "/").status == 200


def test_adapt_and_what_it_is_good_for(service: Any, sent: str) -> None:
    device = {"device": "raspberry-pi-4", "runtime": "ncnn"}
    before = service.ask(
        "POST", "/v1/forecast", {"network": sent, "devices": ["raspberry-pi-4/ncnn/b1"]}
    ).json()["devices"][0]
    measured = [{"network": sent, "latency_ms": 1.5 * before["latency_ms"]}]
    adapted = service.ask("POST", "/v1/adapt", device | {"measurements": measured}).json()
    assert adapted["adaptation"]["schema"] == "latcast/adaptation"
    assert adapted["adaptation"]["model"] == adapted["model"]
    answer = service.ask("POST", "/v1/forecast", {"network": sent, "model": adapted["model"]})
    after = answer.json()["devices"][0]
    assert after["device"] == adapted["model"]
    assert after["latency_ms"] > 1.2 * before["latency_ms"]
    assert after["upper_ms"] / after["lower_ms"] < before["upper_ms"] / before["lower_ms"]
    # What to measure next knows what was measured: the network itself is not suggested again.
    asked = device | {"model": adapted["model"], "network": sent}
    further = service.ask("POST", "/v1/suggest", asked).json()
    assert further["device"] == adapted["model"]
    assert further["latency_ms"] == pytest.approx(after["latency_ms"])
    assert service.ask("POST", "/v1/suggest", asked | {"among": [sent]}).json()["candidates"] == 0
    everywhere = service.ask("POST", "/v1/suggest", device | {"model": adapted["model"]}).json()
    assert everywhere["networks"]
    assert everywhere["factor"] != service.ask("POST", "/v1/suggest", device).json()["factor"]


@pytest.mark.parametrize("field", [{"name": "x"}, {"shapes": {"x": [1]}}, {"trip_count": 2}])
def test_what_is_of_a_network_needs_one(service: Any, field: dict[str, Any]) -> None:
    archs = space("ofa-mobilenet-v3").sample(1, seed=0).to_dicts()
    for path, asked in (
        ("suggest", {"device": "pixel-7"}),
        ("forecast", {"archs": archs, "devices": ["pixel-7"]}),
    ):
        answer = service.ask("POST", f"/v1/{path}", asked | field)
        assert answer.status == 422, answer.body
        (name,) = field
        assert answer.json()["error"] == f"{name} must be of a network; none is named"


@pytest.mark.parametrize(
    "options",
    [
        ("predict", "MODEL", "--device", "raspberry-pi-4", "--batch", "2"),
        ("predict", "MODEL", "--device", "raspberry-pi-4", "--sweep", "batch=1,2"),
        ("predict", "MODEL", "--device", "raspberry-pi-4", "--vary", "bandwidth_gb_s=4,8"),
        ("predict", "MODEL", "--device", "nonsense"),
        ("predict", "ARCH", "--device", "samsung-note10", "--device", "tesla-p40"),
        ("which", "MODEL", "--max-latency", "10", "--device", "raspberry-pi-4"),
        ("which", "MODEL", "--max-latency", "10", "--at-least", "nonsense"),
        ("suggest", "--for", "MODEL", "--device", "pixel-7", "--samples", "1"),
        ("inspect", "MODEL", "--layers", "3", "--sort", "macs", "--in-place"),
        ("inspect", "DAMAGED"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_command_prints_the_same_by_a_server(
    service: Any, model: Path, tmp_path: Path, options: tuple[str, ...], form: tuple[str, ...]
) -> None:
    archs = space("ofa-mobilenet-v3").sample(2, seed=1).to_dicts()
    (tmp_path / "arch.json").write_text(json.dumps(archs))
    (tmp_path / "damaged.onnx").write_bytes(model.read_bytes()[:999])
    files = {"MODEL": model, "ARCH": tmp_path / "arch.json", "DAMAGED": tmp_path / "damaged.onnx"}
    command = [files.get(x, x) for x in options]
    run = [str(x) for x in (*command, *form)]
    here = CliRunner().invoke(app, run)
    there = CliRunner().invoke(app, [*run, "--server", service.url])
    assert there.stdout == here.stdout
    assert there.stderr == here.stderr
    assert there.exit_code == here.exit_code


def test_a_search_by_a_server(service: Any, latcast: Any, tmp_path: Path) -> None:
    options = ("search", "--device", "samsung-note10", "--max-latency", 20, "--evaluations", 2_000,
               "--json", "--out")  # fmt: skip
    here = json.loads(latcast(*options, tmp_path / "a.json").stdout)
    there = json.loads(latcast(*options, tmp_path / "b.json", "--server", service.url).stdout)
    assert {**there, "seconds": 0} == {**here, "seconds": 0}
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


def test_what_a_server_cannot_have_is_said(service: Any, latcast: Any, model: Path) -> None:
    for options, text in (
        (("predict", model, "--device", "mine.latcast"), "takes devices and shipped models"),
        (("predict", "-", "--device", "pixel-7"), "standard input"),
        (("search", "--device", "pixel-7", "--checkpoint", "x"), "leave out --checkpoint"),
        (("choose", "--device", "pixel-7", "--max-latency", 9, "--accuracies", "x"), "accuracies"),
    ):
        run = latcast(*options, "--server", service.url, code=2, stdin="[]")
        assert text in run.stderr
    run = latcast("inspect", model, "--server", "http://127.0.0.1:1", code=1)
    assert "does not answer" in run.stderr
