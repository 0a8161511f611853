"""Models on the Hugging Face Hub: the real package against a small Hub in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from latcast._model_file import read_header
from latcast.families import Variant
from latcast.models import Kernels, zoo
from latcast.models.hub import Address
from latcast.models.overview import model_card
from latcast.models.publishing import _content, card_markdown
from latcast.serve.calls import check_names

huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs: pip install 'latcast[hub]'")
pytestmark = [pytest.mark.slow, pytest.mark.worker]

SERVER = Path(__file__).with_name("hub_server.py")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.kill()


class Hub:
    """The command line as a user of the Hub has it: its settings hold from a process's start."""

    def __init__(self, endpoint: str, home: Path) -> None:
        self.home = home
        self.environment = {
            **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "hf_test",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip

    def __call__(self, *arguments: object, code: int = 0, **environment: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "latcast", *map(str, arguments)], capture_output=True, text=True,
            env=self.environment | environment, check=False, cwd=self.home.parent,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout if code == 0 else done.stderr.splitlines()[-1])


@pytest.fixture(scope="module")
def hub(endpoint: str, tmp_path_factory: pytest.TempPathFactory, layer_model: Kernels) -> Hub:
    folder = tmp_path_factory.mktemp("hub")
    layer_model.save(folder / "cpu.latcast")
    return Hub(endpoint, folder / "home")


@pytest.fixture(scope="module")
def pushed(hub: Hub) -> dict[str, Any]:
    """The first of two commits of one model."""
    first = hub("models", "push", "cpu.latcast", "hf://me/cpu", "--json")
    hub("models", "push", "samsung-note10", "hf://me/phones/note10.latcast", "--json")
    return dict(first)


def test_a_model_that_was_pushed_is_loaded(hub: Hub, pushed: dict[str, Any]) -> None:
    assert pushed["address"] == "hf://me/cpu/cpu.latcast"
    assert pushed["url"].endswith("/me/cpu")
    net = hub.home.parent / "net.onnx"
    net.write_bytes(Variant.parse("squeezenet-1.1").to_onnx())
    here = hub("predict", net, "--device", "cpu.latcast", "--json")["devices"][0]
    addresses = ("hf://me/cpu", pushed["address"], f"hf://me/cpu@{pushed['commit']}")
    arguments = [x for address in addresses for x in ("--device", address)]
    there = hub("predict", net, *arguments, "--json")["devices"]
    for row in there:
        assert row["latency_ms"] == here["latency_ms"]
    # From the cache alone, of a Hub that is not there.
    offline = hub("predict", net, "--device", "hf://me/cpu", "--json", HF_HUB_OFFLINE="1",
                  HF_ENDPOINT="http://127.0.0.1:9")  # fmt: skip
    assert offline["devices"][0]["latency_ms"] == here["latency_ms"]
    card = hub("models", pushed["address"], "--json")
    assert card["target"] == "imaginary/simulator/b1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hf://cpu",), "must be like hf://owner/name"),
        (("push", "cpu.latcast", "me/cpu"), "must be like hf://owner/name"),
        (("push", "cpu.latcast"), "push needs a model and an address"),
    ],
)
def test_what_is_no_address_asks_no_hub(
    latcast: Any, hub: Hub, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(hub.home.parent)
    assert message in latcast.error("models", *arguments, code=2)


def test_what_the_hub_refuses(hub: Hub, pushed: dict[str, Any]) -> None:
    for address, message in (
        ("hf://me/none", "hf://me/none is not there: no such repository"),
        ("hf://me/cpu/other.latcast", "other.latcast is not there"),
        ("hf://me/cpu@v2", "@v2 is not there"),
    ):
        assert message in hub("models", address, "--json", code=1)["error"]
    error = hub("models", "push", "cpu.latcast", "hf://me/cpu", "--json", code=1, HF_TOKEN="hf_no")
    assert "log in with `hf auth login`" in error["error"]
    error = hub("models", "hf://you/model", "--json", code=1, HF_HUB_OFFLINE="1")
    assert "cannot be reached on the Hub, and is not in the cache" in error["error"]
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    error = hub("models", "push", "cpu.latcast", "hf://me/cpu", "--json", code=1, **nowhere)
    assert "cannot be reached on the Hub" in error["error"]


@pytest.mark.parametrize("name", ["samsung-note10", "epyc-genoa-2c-onnxruntime-b1-t1", "FILE",
                                  "ofa-mobilenet-v3"])  # fmt: skip
def test_cards_are_of_the_hub_s_format(name: str, tmp_path: Path, layer_model: Kernels) -> None:
    """The Hub's own package reads the metadata, and the scores."""
    if name == "FILE":
        layer_model.save(tmp_path / "cpu.latcast")
        name = str(tmp_path / "cpu.latcast")
    card = model_card(name)
    text = card_markdown(card, Address("me/models", "x.latcast", None))
    read = huggingface_hub.ModelCard(text)
    assert read.data.library_name == "latcast"
    assert card.kind in read.data.tags
    if card.card.get("metrics"):
        results = {r.metric_type: r.metric_value for r in read.data.eval_results}
        scores = card.card["metrics"]
        scores = scores if card.target else next(reversed(scores.values()))
        assert results["mape"] == pytest.approx(scores["mape"])
        assert np.isfinite(list(results.values())).all()
    assert 'latcast.load("hf://me/models/x.latcast")' in read.text
    assert yaml.safe_load(read.data.to_yaml())["tags"][0] == "latency"


def test_every_shipped_model_has_a_file_to_push(tmp_path: Path) -> None:
    of_joint = next(iter(zoo.of_joint()))
    for name in ("samsung-note10", "ofa-mobilenet-v3", "devices", of_joint):
        content, file = _content(name)
        assert file.startswith(name)
        (tmp_path / file).write_bytes(content)
        assert {"kind", "card"} <= read_header(tmp_path / file).keys()


def test_addresses() -> None:
    for text in ("hf://o/n", "hf://o/n/a/b.latcast", "hf://o/n@v1", "hf://o/n/b.latcast@refs/pr/1"):
        assert str(Address.parse(text)) == text
        assert Address.parse(Path(text)) == Address.parse(text)
    for text in ("hf://o", "o/n", "hf://o/n/readme.md", "hf://o/n/../x y@"):
        with pytest.raises(ValueError, match="must be like hf://owner/name"):
            Address.parse(text)


def test_a_server_loads_no_address_of_a_request() -> None:
    with pytest.raises(ValueError, match="a request may not name files, addresses"):
        check_names(["rk3588", "hf://me/cpu"])
