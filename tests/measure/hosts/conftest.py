"""A real sshd on the loopback, as whoever runs the tests, with keys and folders of its own."""

from __future__ import annotations

import getpass
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from latcast.measure.hosts import ssh
from latcast.measure.runtimes import RUNTIMES

TESTS = Path(__file__).parents[1]
MUST_RUN = "LATCAST_TEST_SSHD"
"""Set where an sshd must be there: a skip is a failure then."""
PYTHON = f".cache/latcast-host/{metadata.version('latcast')}/bin/python"


def free_port():
    """A port that nobody listens on, below those that systems give out by themselves.

    Another program would otherwise be given it before the server of a test takes it.
    """
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture(name="free_port")
def free_port_of_a_test():
    """Finds a free port."""
    return free_port


def sshd_program():
    found = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    missing = [x for x in ("ssh", "ssh-keygen") if shutil.which(x) is None]
    reason = None
    if found is None or missing:
        reason = f"needs OpenSSH: {', '.join(missing) or 'sshd'} is missing"
    elif os.getuid() == 0 and not Path("/run/sshd").is_dir():
        reason = "sshd needs /run/sshd where root runs it"
    if reason is not None:
        (pytest.fail if os.environ.get(MUST_RUN) else pytest.skip)(reason)
    return found


def python_path(folder):
    """Folders of latcast, and of a fake runtime that an entry point registers as ``my-own``."""
    package = folder / "package" / "fake_runtime-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-runtime\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[latcast.runtimes]\nmy-own = fake_runtime:Own\n")
    own = [str(TESTS.parents[1] / "src"), str(package.parent), str(TESTS)]
    return os.pathsep.join([*own, *sys.path[1:2]])


class Server:
    """An sshd, and the home folder of whoever logs in there.

    Args:
        folder: of its keys and that home.
        port: a free one.
        name: that its configuration gives it.
    """

    def __init__(self, folder: Path, port: int, name: str = "board") -> None:
        self.folder, self.port, self.home = folder, port, folder / "home"
        self.program = sshd_program()
        self.process = None
        for key in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key]
            subprocess.run(command, check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        host_key = (folder / "host.pub").read_text().split()
        (folder / "known").write_text(f"[127.0.0.1]:{port} {host_key[0]} {host_key[1]}\n")
        self.config = folder / "ssh_config"
        self.config.write_text(
            f"Host {name}\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
            f" IdentityFile {folder}/user\n IdentitiesOnly yes\n IdentityAgent none\n"
            f" UserKnownHostsFile {folder}/known\n"
        )
        self.environment = {
            "HOME": str(self.home),
            "PYTHONPATH": python_path(folder),
            "TMPDIR": tempfile.gettempdir(),
        }
        self.prepare()

    def prepare(self, script=f'exec {sys.executable} "$@"'):
        """What `latcast host prepare` leaves there: a Python, here this very one."""
        python = self.home / PYTHON
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o700)
        return python

    def start(self, **environment):
        every = {**self.environment, **environment}
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder}/host\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nPidFile none\nUsePAM no\n"
            # Folders of tests are below one that everybody may write to.
            "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"SetEnv {' '.join(f'{k}={v}' for k, v in every.items())}\n"
        )
        self.process = subprocess.Popen(
            [self.program, "-D", "-f", config, "-E", self.folder / "log"], start_new_session=True
        )
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        raise AssertionError("sshd does not listen")

    def children(self, word=""):
        """Its processes for logins with all they started, whose command lines have the word."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has ended meanwhile
                if word in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def stop(self):
        """Kill it with all logins, as a board that loses its power does."""
        if self.process is None or self.process.poll() is not None:
            return
        for process in self.children():
            with suppress(psutil.Error):
                process.kill()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def modules(tmp_path):
    """What other processes import latcast and the fake runtime from."""
    return python_path(tmp_path)


@pytest.fixture
def servers(tmp_path, monkeypatch, fake):
    """Four sshds that ``ssh board-0`` to ``ssh board-3`` reach, as machines of their own.

    The third takes twice as long.
    """
    sshd_program()
    config, made = tmp_path / "ssh_config", []
    for n in range(4):
        (folder := tmp_path / f"sshd-{n}" / "tmp").mkdir(parents=True)
        made.append(Server(folder.parent, free_port(), f"board-{n}"))
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
    sshd_program()
    folder = tmp_path / "sshd"
    folder.mkdir()
    made = Server(folder, free_port())
    monkeypatch.setenv(ssh.CONFIG_VARIABLE, str(made.config))
    monkeypatch.setitem(RUNTIMES._things, "my-own", fake.Own)
    yield made.start()
    made.stop()
