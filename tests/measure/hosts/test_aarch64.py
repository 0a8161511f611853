"""A board of another architecture without a way out: Debian's aarch64 programs under qemu-user.

What takes how long there says nothing, so no time is looked at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import latcast as library
from latcast import measure
from latcast.devices import Target
from latcast.measure import Plan, Protocol, _session
from latcast.measure.hosts import host, preparing

MUST_RUN = "LATCAST_TEST_AARCH64"
"""Set where qemu-user and Debian's packages must be there: a skip is a failure then."""
# Without ensurepip, as Debian has it without python3-venv.
PACKAGES = (
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "libgcc-s1",
    "libstdc++6", "libgomp1", "zlib1g", "libexpat1", "libffi8", "libssl3", "libbz2-1.0",
    "liblzma5", "libsqlite3-0", "libuuid1",
)  # fmt: skip
SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|none~1|skip_connect~2|"
pytestmark = [pytest.mark.worker, pytest.mark.slow]


def lacking(reason):
    (pytest.fail if os.environ.get(MUST_RUN) else pytest.skip)(reason)


def make_userland(folder):
    """Unpack Debian's arm64 packages, and let qemu run their Python; nothing is installed here."""
    if missing := [x for x in ("qemu-aarch64", "apt-get", "dpkg-deb") if shutil.which(x) is None]:
        lacking(f"needs qemu-user and Debian's tools: {', '.join(missing)} is missing")
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    for name in ("lists/partial", "archives/partial", "root", "parts"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    config = folder / "apt.conf"
    config.write_text(
        f'Dir::State "{folder}"; Dir::Cache "{folder}"; Dir::State::status "{folder}/status";\n'
        f'Dir::Etc::sourcelist "{sources}"; Dir::Etc::sourceparts "{folder}/parts";\n'
        'APT::Architecture "arm64"; APT::Architectures "arm64"; APT::Sandbox::User "";\n'
        'Acquire::Languages "none";\n'
    )
    for command in (["update", "-qq"], ["download", "-qq", *PACKAGES]):
        ended = subprocess.run(
            ["apt-get", *command], cwd=folder, env={**os.environ, "APT_CONFIG": str(config)},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if ended.returncode or not sources.exists():
            lacking(f"needs Debian's arm64 packages; apt-get says: {ended.stderr[-300:]}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    python = folder / "root/usr/bin/python3"
    # By its own name: an environment's Python is a link to it, and finds itself by that.
    program = f'qemu-aarch64 -0 "$0" -L {folder}/root {folder}/root/usr/bin/python3.11'
    python.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    python.chmod(0o700)
    return python


@pytest.fixture
def board(tmp_path, server):
    """An sshd whose Python is aarch64's, and has no index to install from."""
    python = make_userland(tmp_path / "userland")
    server.stop()
    shutil.rmtree(server.home / ".cache")
    server.environment.pop("PYTHONPATH")
    server.start(PATH=f"{python.parent}:/usr/bin:/bin", PIP_NO_INDEX="1")
    return server


def test_a_board_without_a_way_out_measures(board, latcast, tmp_path, monkeypatch):
    monkeypatch.setattr(_session, "_PATIENCE_S", 600.0)  # an emulated run takes its time
    found = latcast.json("host", "prepare", "board", "--runtime", "ncnn")
    assert found["platform"] == "linux-aarch64"
    assert found["runtimes"]["ncnn"]
    assert any("it cannot by itself" in step for step in found["done"])
    network = library.space("nasbench201").parse([SKIPS])
    # Emulated, the reference network takes seconds.
    quick = Protocol(runs=1, warm_up_s=0.0, run_s=0.0, min_samples=3, reference_s=0.0, redo=0)
    plan = Plan(Target("board", "ncnn", threads=1), network, quick, host="board")
    with measure.open_or_resume(tmp_path / "a", plan) as campaign:
        measure.run(campaign)
        assert not campaign.failures()
        (run,) = campaign.runs()
        assert run.samples_ms.min() > 0
    with host("board") as there:
        assert there.facts()["machine"] == "aarch64"
        preparing.remove(there)
    assert not list(board.home.iterdir()), "nothing of ours is left"
