"""Describing this host as a device, its bandwidth and peak measured."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latcast.cli import devices as command
from latcast.devices import (
    Device,
    _host,
    _micro_benchmark,
    cpu_features,
    detect,
    host_name,
    parse_catalogue,
)
from latcast.devices._host import Host
from latcast.devices._micro_benchmark import Crew, bandwidth_gb_s, peak_fp32_flops


@pytest.fixture
def small_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some virtual machines take a minute a GB to give out memory, and large caches ask for 3.

    The command measures for as short as the other tests: on all cores, beside which others run.
    """
    monkeypatch.setattr(_host, "_array_bytes", lambda *_: 2**24)
    monkeypatch.setattr(command, "_SECONDS", 0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("small_arrays")
def test_this_host() -> None:
    found = detect(seconds=0.1)
    assert found.name == host_name()
    assert found.features == cpu_features()
    assert found.kind == "cpu"
    assert found.peak_fp32_flops is not None
    assert detect("my-board", seconds=0.05).name == "my-board"


def test_what_cannot_be_detected() -> None:
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds must be a positive number"):
            detect(seconds=seconds)
    with pytest.raises(ValueError, match="got 'My Board'"):
        detect("My Board")


def test_measuring_takes_few_runs_where_time_is_short() -> None:
    with ThreadPoolExecutor(2) as pool:
        crew = Crew(pool, 2)
        assert peak_fp32_flops(crew, 1e-6) > 0
        assert bandwidth_gb_s(crew, 2**16, 1e-6) > 0
        assert 0 < crew.cpu_share < 2


def test_the_shortest_run_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now, pauses = [0.0], iter([4.0, 2.0, 3.0])

    def work(_: object) -> None:
        now[0] += next(pauses)

    clocks = SimpleNamespace(perf_counter=lambda: now[0], thread_time=lambda: now[0] / 2)
    monkeypatch.setattr(_micro_benchmark, "time", clocks)
    with ThreadPoolExecutor(1) as pool:
        crew = Crew(pool, 1)
        assert crew.shortest(work, (1,), 8.0) == 2.0
    assert crew.cpu_share == 0.5


FIGURES = {"bandwidth_gb_s": 12.345, "peak_fp32_flops": 1.2345e11, "cpu_share": 1.0,
           "numpy": "2", "blas": "b"}  # fmt: skip


@pytest.mark.parametrize(("share", "busy"), [(0.95, False), (0.6, True)])
def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch, share: float, busy: bool) -> None:
    figures = {**FIGURES, "cpu_share": share}
    monkeypatch.setattr(_host, "_measure", lambda *_: figures)
    found = detect()
    assert (found.bandwidth_gb_s, found.peak_fp32_flops) == (12.3, 1.23e11)
    assert ("other work left 60 % of the CPU time" in found.source) == busy


def test_what_cannot_be_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host, "_measure", lambda *_: FIGURES)
    host = Host("X", 1, 2**33, clock_ghz=4200.0, l1d_kb=32, l2_kb=512, l3_kb=1)
    monkeypatch.setattr(_host, "this_host", lambda: host)
    found = detect()
    assert (found.clock_ghz, found.l1d_kb, found.l2_kb, found.l3_kb) == (None, 32, 512, None)


def test_memory_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host, "this_host", lambda: Host("X", 1))
    with pytest.raises(OSError, match="must tell how much memory"):
        detect()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "failed: code 3"),
        ("echo first >&2; echo 'no numpy' >&2; exit 1", "failed: code 1: no numpy"),
        ("kill -9 $$", "failed: ended by signal 9"),
        ("", "positive figures; got b''"),
        ("echo '[1]'", "positive figures"),
        ("echo '{\"bandwidth_gb_s\": 3'", "positive figures"),
        ('echo \'{"bandwidth_gb_s": 1, "peak_fp32_flops": NaN}\'', "positive figures"),
        ('echo \'{"bandwidth_gb_s": "1", "peak_fp32_flops": 2}\'', "positive figures"),
        ("exec sleep 60", "must end within 1 s"),
    ],
)
def test_a_failing_micro_benchmark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, message: str
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    if "sleep" in script:
        monkeypatch.setattr(_host, "_PATIENCE_S", 0.5)
    with pytest.raises(OSError, match=re.escape(message)):
        detect(seconds=0.05)


def test_the_peak_is_that_of_this_cpu_s_own_kernels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """OpenBLAS with the kernels of a Haswell reaches half the peak of a Zen 5."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "type ${OPENBLAS_CORETYPE-own}" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    with pytest.raises(OSError, match="type own"):
        detect(seconds=0.05)


def test_arrays_exceed_the_caches_but_not_the_memory() -> None:
    mib = 2**20
    assert _host._array_bytes(32 * 1024, 2**36) == 128 * mib
    assert _host._array_bytes(None, 2**36) == 128 * mib
    assert _host._array_bytes(512, 2**36) == 64 * mib
    assert _host._array_bytes(768 * 1024, 2**36) == 1024 * mib
    assert _host._array_bytes(32 * 1024, 2**29) == 32 * mib


@pytest.mark.slow
@pytest.mark.usefixtures("small_arrays")
def test_command(latcast: Any, tmp_path: Path) -> None:
    out = tmp_path / "new" / "host.toml"
    run = latcast("devices", "--detect", "--name", "my.board", "--out", out)
    found = parse_catalogue(out.read_text(encoding="utf-8"))["my.board"]
    assert found.title in run.stdout
    assert f"{found.bandwidth_gb_s:g}" in run.stdout
    assert f"wrote {out}" in run.stderr
    assert list(out.parent.iterdir()) == [out]
    run = latcast("devices", "--detect", "--json", "--quiet", "--out", out)
    assert run.stderr == ""
    (record,) = json.loads(run.stdout)["devices"]
    record |= {"features": tuple(record["features"]), "clusters": tuple(record["clusters"])}
    assert parse_catalogue(out.read_text(encoding="utf-8")) == {host_name(): Device(**record)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tesla-p40", "--detect"], "got the device 'tesla-p40' as well"),
        (["--name", "x"], "go with --detect"),
        (["--out", "x.toml"], "go with --detect"),
        (["--detect", "--out", "x.json"], "--out must end in .toml; got x.json"),
        (["--detect", "--name", "A B"], "got 'A B'"),
    ],
)
def test_wrong_usage(latcast: Any, arguments: list[str], message: str) -> None:
    run = latcast("devices", *arguments, code=2)
    assert message in run.stderr
    assert run.stdout == ""
