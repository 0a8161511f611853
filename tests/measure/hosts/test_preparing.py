"""What a machine needs, and how it gets it."""

from __future__ import annotations

import io
import re
import zipfile

import pytest

from latcast.measure import HostError
from latcast.measure.hosts import host, preparing
from latcast.measure.hosts.preparing import HostRecord, Probe

SAID = """Welcome to board
latcast-probe:system=Linux
latcast-probe:libc=glibc 2.31
latcast-probe:free_kb=2048000
latcast-probe:python=/usr/bin/python3 3.9 linux-aarch64
latcast-probe:python=/usr/bin/python3.11 3.11 linux-aarch64
latcast-probe:installed=/home/pi/.cache/latcast-host/0.0.9/bin/python
latcast-probe:end=1
"""


def test_what_a_machine_says_of_itself():
    probe = Probe.parse(SAID)
    assert (probe.python, probe.version) == ("/usr/bin/python3.11", "3.11")
    assert probe.installed == ("0.0.9",)
    assert not list(probe.lacks())
    tags = probe.tags()
    assert tags[0] == "manylinux_2_31_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(tags)
    assert not any("2_32" in tag for tag in tags), "its C library is older"
    musl = Probe.parse(SAID.replace("glibc 2.31", "musl libc Version 1.2.3 1.2"))
    assert musl.tags() == ["musllinux_1_2_aarch64", "musllinux_1_1_aarch64"][::-1]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("python3.11 3.11", "python3.10 3.10", r"3\.11 or newer .* got /usr/bin/python3 3\.9"),
        ("=2048000", "=2048", "must have 500 MB free; it has 2: make room"),
        ("=Linux", "=Darwin", "must be Linux; it is Darwin"),
    ],
)
def test_what_is_missing(old, new, says):
    (missing,) = Probe.parse(SAID.replace(old, new)).lacks()
    assert re.search(says, missing)


def wheel(folder, name, tag):
    """A wheel of one module, for a platform."""
    info = f"{name}-1.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1-{tag}.whl", "w") as made:
        made.writestr(f"{name}.py", f"TAG = {tag!r}\n")
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        made.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        made.writestr(f"{info}/RECORD", "")


@pytest.mark.worker
@pytest.mark.slow
@pytest.mark.parametrize("machine", ["armv7l", "aarch64"])
def test_wheels_are_those_of_the_machine(tmp_path, monkeypatch, machine):
    other = {"armv7l": "aarch64", "aarch64": "armv7l"}[machine]
    for name, tags in {
        "newest": ("manylinux_2_31_{}", "manylinux2014_{}", "manylinux_2_35_{}"),
        "built_there": ("linux_{}",),
    }.items():
        for tag in tags:
            for of in (machine, other, "x86_64"):
                wheel(tmp_path, name, f"cp311-cp311-{tag.format(of)}")
    wheel(tmp_path, "any", "py3-none-any")
    wheel(tmp_path, "foreign", f"cp311-cp311-manylinux2014_{other}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    probe = Probe.parse(SAID.replace("linux-aarch64", f"linux-{machine}"))
    preparing.install_for(probe, ["newest", "built_there", "any"], tmp_path / "there")
    found = {x.stem: x.read_text().split("'")[1] for x in (tmp_path / "there").glob("*.py")}
    assert found == {
        "newest": f"cp311-cp311-manylinux_2_31_{machine}",  # 2.35 is newer than its C library
        "built_there": f"cp311-cp311-linux_{machine}",
        "any": "py3-none-any",
    }
    with pytest.raises(HostError, match=rf"wheels for linux-{machine} and Python 3\.11 must be"):
        preparing.install_for(probe, ["foreign"], tmp_path / "none")


def test_a_shell_that_answers_garbage():
    with pytest.raises(ValueError, match="This account is not available"):
        Probe.parse("This account is not available")


def test_requirements_are_those_of_a_worker_and_its_runtimes():
    found = preparing.requirements(["ncnn", "onnxruntime"])
    names = [preparing._name(x) for x in found]
    assert names == ["numpy", "onnx", "psutil", "filelock", "ncnn", "onnxruntime"]
    with pytest.raises(ValueError, match="nccn"):
        preparing.requirements(["nccn"])


def test_the_wheel_is_this_package():
    with zipfile.ZipFile(io.BytesIO(preparing.own_wheel())) as wheel:
        names = set(wheel.namelist())
        record = wheel.read(f"latcast-{preparing.own_version()}.dist-info/RECORD").decode()
    assert {"latcast/__init__.py", "latcast/measure/hosts/agent.py"} <= names
    assert not any("__pycache__" in name for name in names)
    assert {line.split(",")[0] for line in record.splitlines()} == names


@pytest.mark.worker
@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtimes", "missing", "answer"),
    [
        ({}, [], "pi is ready to measure."),
        ({"ncnn": "1", "mnn": "2"}, [], "pi is ready to measure by ncnn, mnn."),
        ({"ncnn": "1", "mnn": None}, ["mnn"], "pi can measure by ncnn, but not by mnn."),
        ({"mnn": None}, ["mnn"], "pi cannot measure yet: 1 thing is missing."),
        ({}, ["Python", "room"], "pi cannot measure yet: 2 things are missing."),
    ],
)
def test_the_answer_says_whether_it_can_measure(runtimes, missing, answer):
    record = HostRecord("pi", "Linux", "", "", 9_000, "3.11", [], runtimes, missing, ["a", "b"])
    assert record.answer() == answer
    assert [heading for heading, _ in record.sections()] == ["pi", "What was done"]


def test_checking_and_removing_over_ssh(server, latcast):
    with host("board") as board:
        assert preparing.own_version() in preparing.check(board, []).latcast
    server.prepare("exit 1")
    with host("board") as board:
        found = preparing.check(board, [])
        assert "must start latcast's agent" in found.missing[0]
        removed = preparing.remove(board)
    assert removed.latcast == []
    assert list(server.home.iterdir()) == [], "nothing of ours is left"
    shown = latcast("host", "check", "board", "--json", code=1, partly=True).stdout
    assert "must be prepared there: latcast host prepare board" in shown


@pytest.mark.worker
@pytest.mark.slow
def test_a_failed_preparation_leaves_nothing(server, monkeypatch):
    monkeypatch.setattr(preparing, "_PIP", "-c 'raise SystemExit(1)'")
    monkeypatch.setattr(preparing, "install_for", lambda *_: (_ for _ in ()).throw(HostError("no")))
    server.prepare("exit 1")
    with host("board") as board, pytest.raises(HostError, match="no"):
        preparing.prepare(board, [])
    assert not list(server.home.rglob("python*"))


def test_only_machines_that_ssh_reaches_are_prepared(latcast):
    assert "which is not" in latcast.error("host", "prepare", "here", code=2)
    assert "this one" in latcast.error("host", "remove", "here", code=2)
    assert "onnxruntime" in latcast.error("host", "check", "b", "--runtime", "onxruntime", code=2)
