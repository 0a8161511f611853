"""Every endpoint answers with the record that the command of its name prints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

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
