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

ROOT = Path(__file__).parents[2]
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
    own = [str(ROOT / "src"), str(package.parent), str(ROOT / "tests/measure")]
    return os.pathsep.join(own)


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
