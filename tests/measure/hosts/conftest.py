"""Boards behind an sshd of their own, and phones behind a fake adb server."""

from __future__ import annotations

import shutil

import phones
import pytest
import sshd

from latcast.measure.hosts import ssh
from latcast.measure.hosts.adb import AdbHost
from latcast.measure.runtimes import RUNTIMES


@pytest.fixture(name="free_port")
def free_port_of_a_test():
    """Finds a free port."""
    return sshd.free_port


@pytest.fixture
def modules(tmp_path):
    """What other processes import latcast and the fake runtime from."""
    return sshd.python_path(tmp_path)


@pytest.fixture
def servers(tmp_path, monkeypatch, fake):
    """Four sshds that ``ssh board-0`` to ``ssh board-3`` reach, as machines of their own.

    The third takes twice as long.
    """
    sshd.sshd_program()
    config, made = tmp_path / "ssh_config", []
    for n in range(4):
        (folder := tmp_path / f"sshd-{n}" / "tmp").mkdir(parents=True)
        made.append(sshd.Server(folder.parent, sshd.free_port(), f"board-{n}"))
        made[-1].environment |= {"TMPDIR": str(folder), "FAKE_SLOWNESS": "2" if n == 2 else "1"}
    config.write_text("".join(server.config.read_text() for server in made))
    monkeypatch.setenv(ssh.CONFIG_VARIABLE, str(config))
    monkeypatch.setitem(RUNTIMES._things, "my-own", fake.Own)
    yield [server.start() for server in made]
    for server in made:
        server.stop()


@pytest.fixture
def server(tmp_path, monkeypatch, fake):
    """A running sshd that ``ssh board`` reaches, and knows the fake runtime as ``my-own``."""
    sshd.sshd_program()
    folder = tmp_path / "sshd"
    folder.mkdir()
    made = sshd.Server(folder, sshd.free_port())
    monkeypatch.setenv(ssh.CONFIG_VARIABLE, str(made.config))
    monkeypatch.setitem(RUNTIMES._things, "my-own", fake.Own)
    yield made.start()
    made.stop()


# -- phones ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phone_server(tmp_path_factory):
    """The folder of phones behind a server that speaks the protocol of adb."""
    folder = tmp_path_factory.mktemp("phones")
    process, port = phones.start_server(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
        yield folder
    process.kill()
    process.wait()


@pytest.fixture
def plugged(phone_server, monkeypatch):
    """Plugs in phones, all of which are gone after the test."""
    monkeypatch.setattr(AdbHost, "poll_s", 0.01)
    monkeypatch.setattr(AdbHost, "patience_s", 5.0)
    made = []

    def plug(serial="R58M12", **options):
        made.append(phone_server / serial)
        return phones.make_phone(phone_server / serial, **options)

    yield plug
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture
def tool(tmp_path):
    def write(text=phones.BENCHMARK_MODEL, name="benchmark_model"):
        path = tmp_path / "tools" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def small_reference(monkeypatch):
    """A reference network that is written and pushed at once."""
    monkeypatch.setattr(
        "latcast.measure.hosts._phone_worker.reference_network",
        lambda: phones.small_network(96, 50).graph(),
    )
