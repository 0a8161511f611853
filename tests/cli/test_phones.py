"""Commands that measure, with a phone behind the fake adb server."""

from __future__ import annotations

import phones
import pytest

from latcast.data import read
from latcast.measure import CampaignFile
from latcast.measure.hosts.adb import AdbHost

pytest.importorskip("adbutils")

pytestmark = phones.MARKS


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """A phone that is plugged in; its root."""
    root = phones.make_phone(tmp_path / "phones/R58M12")
    server, port = phones.start_server(tmp_path / "phones")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
    monkeypatch.setattr(AdbHost, "poll_s", 0.01)
    yield root
    server.kill()
    server.wait()


@pytest.fixture
def tool(tmp_path):
    path = tmp_path / "benchncnn"
    path.write_text(phones.BENCHNCNN)
    return path


NETWORKS = ("--population", "2", "--family", "mobilenet-v1", "--runtime", "ncnn", "--runs", "2")


@pytest.mark.slow
def test_a_phone_is_measured_and_gone_on_with(latcast, phone, tool, tmp_path):
    out = tmp_path / "phone.parquet"
    where = ("--host", "adb:R58M12", "--tool", tool)
    found = latcast.json("measure", *NETWORKS, *where, "--cores", "little", "--out", out)
    assert (found["target"], found["networks"]) == ("example-phone-8-little/ncnn/b1/t1", 2)
    assert read(out).provenance["machine cores"] == "little"
    assert set((phone / "masks").read_text().split()) == {"f"}
    with CampaignFile.open(out.with_suffix(".campaign")) as campaign:
        assert campaign.plan()["protocol"]["run_s"] == 3.0  # a phone's default
    # Nothing needs to be said again, and nothing else may be said.
    again = latcast.json("measure", "--out", out, "--resume")
    assert again["networks"] == 2
    message = latcast.error("measure", *where, "--out", out, "--resume", code=2)
    assert "--host was adb:R58M12?" in message


def test_a_phone_needs_a_tool_that_runs_the_runtime(latcast, phone, tool, tmp_path):
    out = tmp_path / "phone.parquet"
    run = ("measure", *NETWORKS, "--out", out)
    message = latcast.error(*run, "--host", "adb:R58M12", code=2)
    assert "a phone is measured by a tool, whose file must be given (--tool PATH)" in message
    where = ("--host", "adb:R58M12", "--tool", tool)
    message = latcast.error("measure", "--runtime", "openvino", *where, "--out", out, code=2)
    assert "runtime with a tool for phones is called 'openvino'" in message
    message = latcast.error(*run, "--tool", tool, code=2)
    assert "chosen for a phone (adb:SERIAL); got 'this machine'" in message
    message = latcast.error(*run, "--host", "adb:other", "--tool", tool, code=1)
    assert "no phone has the serial 'other'; adb knows R58M12" in message
    assert not out.with_suffix(".campaign").exists()


def test_a_phone_is_described(latcast, phone, tmp_path):
    out = tmp_path / "phone.toml"
    latcast("devices", "--detect", "--host", "adb:R58M12", "--name", "mine", "--out", out)
    text = out.read_text()
    assert text.startswith("[mine]")
    assert 'chip = "snapdragon-855"' in text
