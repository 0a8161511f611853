"""Files that commands read, and campaigns that keep to themselves or are soon over."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from functools import partial

import pytest

from latcast import measure
from latcast.families import Variant
from latcast.measure import Protocol


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
def hasty(monkeypatch):
    """Campaigns whose runs are short, and are not made again where the machine is busy."""
    settings = {"run_s": 0.02, "warm_up_s": 0.0, "reference_s": 0.0, "other_cpus": 1e9, "redo": 0}
    monkeypatch.setattr(measure, "Protocol", partial(Protocol, **settings))


@pytest.fixture(scope="module")
def files(tmp_path_factory, synthetic, latcast):
    """A folder with a file for every command that reads one."""
    folder = tmp_path_factory.mktemp("files")
    synthetic[:300].save(folder / "data.parquet")
    synthetic[300:340].save(folder / "few.parquet")
    latcast("train", folder / "data.parquet", "--predictor", "flops", "--out", folder / "m.latcast")
    archs = synthetic.archs[:40].to_dicts()
    (folder / "archs.json").write_text(json.dumps(archs[:2]))
    (folder / "one.json").write_text(json.dumps(archs[0]))
    cells = [json.dumps(arch).replace('"', '""') for arch in archs]
    rows = [f'"{cell}",{0.7 + n / 1000}' for n, cell in enumerate(cells)]
    (folder / "accuracies.csv").write_text("\n".join(["arch,accuracy", *rows]))
    (folder / "net.onnx").write_bytes(Variant.parse("squeezenet-1.1").to_onnx(1))
    budget = 'model = "net.onnx"\ndevice = "raspberry-pi-4"\nmax_latency_ms = 9e9\n'
    (folder / "budgets.toml").write_text(f"[[budget]]\n{budget}")
    (folder / "result.json").write_text(latcast("devices", "pixel-3", "--json").stdout)
    return folder


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
