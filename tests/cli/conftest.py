"""Campaigns on the command line that keep to themselves, or are over before their first run."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from latcast import measure


@pytest.fixture
def lock_of_its_own(tmp_path, monkeypatch):
    """No other campaign of this machine keeps the test's out."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def interrupted_measuring(monkeypatch):
    """Campaigns are begun, and interrupted before their first run."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "run", interrupt)


@pytest.fixture
def in_terminal():
    """Run a command in a terminal of so many columns: lines that it prints, of both streams."""

    def run(*arguments, columns):
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        known = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        command = [sys.executable, "-m", "latcast", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=known)
        os.close(theirs)
        content = b""
        with suppress(OSError):  # of Linux, at the end
            while piece := os.read(ours, 1 << 16):
                content += piece
        os.close(ours)
        assert process.wait() == 0
        # Without what a bar draws, and takes away again.
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[^\n]*\r(?!\n)", "", content.decode())
        return shown.replace("\r\n", "\n").splitlines()

    return run
