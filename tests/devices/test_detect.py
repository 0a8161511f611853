"""Describing the host, from made-up ``/proc`` and ``/sys`` trees and for real."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.devices import (
    KINDS,
    RANGES,
    Device,
    Target,
    _detect,
    _micro_benchmark,
    catalogue_text,
    cpu_features,
    detect,
    devices,
    figure_range,
    host_name,
    parse_catalogue,
)
from latcast.devices._elsewhere import macos, other, parse_sysctl, windows
from latcast.devices._host import FEATURES, Host, slug
from latcast.devices._linux import cpuinfo, features, linux
from latcast.devices._micro_benchmark import Crew, bandwidth_gb_s, peak_fp32_flops

XEON = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz
cpu MHz\t\t: 2400.000
flags\t\t: fpu sse4_2 avx avx2 fma f16c avx512f avx512_bf16 amx_bf16 amx_int8 avx512_vnni

processor\t: 1
model name\t: Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz
cpu MHz\t\t: 3100.500
flags\t\t: fpu
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes crc32 cpuid asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Revision\t: d04170
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
CPU = "sys/devices/system/cpu/cpu"


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def caches(cpu: int, group: str) -> dict[str, str]:
    """Four caches of a CPU whose level 3 is shared by ``group``."""
    rows = [
        ("1", "Data", "48K", str(cpu)),
        ("1", "Instruction", "32K", str(cpu)),
        ("2", "Unified", "2048K", str(cpu)),
        ("3", "Unified", "105M", group),
    ]
    keys = ("level", "type", "size", "shared_cpu_list")
    return {
        f"{CPU}{cpu}/cache/index{n}/{key}": f"{value}\n"
        for n, row in enumerate(rows)
        for key, value in zip(keys, row, strict=True)
    }


def siblings(*groups: str) -> dict[str, str]:
    name = CPU + "{}/topology/thread_siblings_list"
    return {name.format(c): f"{group}\n" for group in groups for c in group.split(",")}


def test_a_linux_server(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": XEON,
        "proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 5 kB\n",
        **siblings("0,4", "1,5", "2,6", "3,7"),
        **{k: v for c in range(8) for k, v in caches(c, "0-1,4-5" if c % 4 < 2 else "2").items()},
    }
    host = linux(tree(tmp_path, files), range(8))
    assert host == Host(
        model="Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz",
        cores=4,
        memory_bytes=16_384_000_000,
        clock_ghz=3.1,
        l1d_kb=48,
        l2_kb=2048,
        l3_kb=107_520,
        last_level_kb=2 * 107_520,
        features=("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16",
                  "amx_bf16", "amx_int8"),
    )  # fmt: skip
    assert host.name == "intel-xeon-platinum-8488c-4c"


def test_only_the_usable_cpus_count(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/cpuinfo": XEON, **siblings("0,4", "1,5"), **caches(0, "0-7")})
    assert linux(root, [0, 4]).cores == 1
    assert linux(root, [4, 5]).cores == 2
    assert linux(root, [4, 5]).l3_kb is None  # only CPU 0's is known here


def test_clock_is_the_highest_that_the_cpus_reach(tmp_path: Path) -> None:
    clocks = {f"{CPU}{c}/cpufreq/cpuinfo_max_freq": f"{c + 1}500000\n" for c in range(3)}
    root = tree(tmp_path, {"proc/cpuinfo": XEON, **clocks})
    assert linux(root, [0, 1]).clock_ghz == 2.5


def test_arm(tmp_path: Path) -> None:
    host = linux(tree(tmp_path, {"proc/cpuinfo": ARM}), [0])
    assert (host.name, host.features) == ("cortex-a76-1c", ("asimd", "asimddp"))
    both = ARM + ARM.replace("0xd0b", "0xd05").replace("processor\t: 0", "processor\t: 1")
    assert linux(tree(tmp_path, {"proc/cpuinfo": both}), [0]).model == "Cortex-A76+Cortex-A55"
    unknown = {"proc/cpuinfo": ARM.replace("0xd0b", "0xfff"),
               "proc/device-tree/model": "Pine64 Rock\0"}  # fmt: skip
    assert linux(tree(tmp_path, unknown), [0]).name == "pine64-rock-1c"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000"}, 4),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1),
        ({"c/cpu.max": "100000 100000"}, 4),  # not our group
        ({"cpu.max": "nonsense"}, 4),
        ({"cpu.max": "100000 0"}, 4),
    ],
)
def test_control_group_version_2(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/a/b\n"})
    tree(root / "sys/fs/cgroup", files)
    assert linux(root, range(4)).cores == cores


def test_control_group_version_1(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/m\n2:cpu,cpuacct:/docker/x\n1:name=systemd:/\n0::/\n",
        "proc/meminfo": "MemTotal:       16000000 kB\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/m/memory.limit_in_bytes": "1000000000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    host = linux(tree(tmp_path, files), range(4))
    assert (host.cores, host.memory_bytes) == (2, 1_000_000_000)
    (tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert linux(tmp_path, range(4)).cores == 4


def test_nothing_to_read(tmp_path: Path) -> None:
    host = linux(tmp_path, range(3))
    assert (host.cores, host.memory_bytes, host.clock_ghz, host.l1d_kb) == (3, None, None, None)
    assert (host.last_level_kb, host.features) == (None, ())
    Target(host.name, "any")


LINES = st.tuples(
    st.sampled_from(["model name", "cpu MHz", "flags", "Features", "CPU part", "CPU implementer"]),
    st.sampled_from(["\t: ", ":", "::", " "]),
    st.text(max_size=30)
    | st.sampled_from(["nan", "inf", "1e999", "٣", "9" * 5000, "0x41", "0xd0b", *FEATURES]),
).map("".join)  # fmt: skip
HOSTILE = st.text(max_size=300) | st.lists(LINES | st.just(""), max_size=30).map("\n".join)


@given(text=HOSTILE)
def test_hostile_cpuinfo(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("host")
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_bytes(text.encode("utf-8", errors="surrogatepass"))
    host = linux(root, [0])
    Target(host.name, "any")
    assert set(host.features) <= set(FEATURES)
    assert host.clock_ghz is None or 0 < host.clock_ghz < float("inf")
    assert set(features(cpuinfo(text))) <= set(FEATURES)


@pytest.mark.slow
@given(text=HOSTILE)
def test_hostile_files(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    names = ["proc/meminfo", "proc/self/cgroup", "sys/fs/cgroup/cpu.max",
             "sys/fs/cgroup/memory.max", f"{CPU}0/cpufreq/cpuinfo_max_freq",
             *siblings("0"), *caches(0, "0")]  # fmt: skip
    root = tmp_path_factory.mktemp("host")
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    assert linux(root, [0]).cores == 1


@given(st.text())
def test_slug_is_a_device_name(model: str) -> None:
    Target(slug(model), "any")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("AMD EPYC", "amd-epyc"),
        ("AMD EPYC 7B13 64-Core Processor", "amd-epyc-7b13"),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "intel-core-i7-8700k"),
        ("Apple M2 Pro", "apple-m2-pro"),
        ("", "cpu"),
    ],
)
def test_slug(model: str, name: str) -> None:
    assert slug(model) == name


APPLE = """\
hw.memsize: 17179869184
hw.physicalcpu: 10
hw.l1dcachesize: 65536
hw.l2cachesize: 4194304
hw.perflevel0.l1dcachesize: 131072
hw.perflevel0.l2cachesize: 16777216
hw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_BF16: 0
machdep.cpu.brand_string: Apple M2 Pro
"""
INTEL_MAC = """\
hw.physicalcpu: 6
hw.cpufrequency_max: 2600000000
hw.l3cachesize: 12582912
machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz
machdep.cpu.features: FPU SSE4.2 FMA AVX1.0 F16C
machdep.cpu.leaf7_features: RDWRFSGS AVX2
"""


def test_macos() -> None:
    host = parse_sysctl(APPLE)
    assert host == Host("Apple M2 Pro", 10, 2**34, None, 128, 16_384, None, 16_384,
                        ("asimd", "asimddp"))  # fmt: skip
    host = parse_sysctl(INTEL_MAC)
    assert (host.name, host.clock_ghz, host.l3_kb) == ("intel-core-i7-9750h-6c", 2.6, 12_288)
    assert host.features == ("sse4_2", "avx", "avx2", "fma", "f16c")


@given(st.text())
def test_hostile_sysctl(text: str) -> None:
    Target(parse_sysctl(text).name, "any")


def test_other_systems_never_fail() -> None:
    for read in (macos, windows, other):
        assert read().cores >= 1


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
REQUIRED = ("cores", "memory_gb", "bandwidth_gb_s")


@st.composite
def any_device(draw: st.DrawFn) -> Device:
    name = draw(st.from_regex(r"[a-z0-9][a-z0-9.+-]{0,12}", fullmatch=True))
    kind = draw(st.sampled_from(KINDS))
    figures: dict[str, Any] = {}
    for figure in RANGES:
        limits = figure_range(kind, figure)
        whole = st.integers(math.ceil(limits.least), math.floor(limits.most))
        value = whole if figure in {"cores", "year"} else whole | st.floats(
            limits.least, limits.most)  # fmt: skip
        figures[figure] = draw(value if figure in REQUIRED else st.none() | value)
    features = tuple(draw(st.lists(TEXTS, max_size=3)))
    return Device(name, draw(TEXTS), kind, source=draw(TEXTS), features=features, **figures)


@pytest.mark.slow
@given(st.lists(any_device(), max_size=3, unique_by=lambda d: d.name))
def test_catalogue_text_round_trip(found: list[Device]) -> None:
    assert list(parse_catalogue(catalogue_text(found)).values()) == found


def test_the_catalogue_survives_being_written() -> None:
    assert parse_catalogue(catalogue_text(devices().values())) == devices()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": "avx2"}, "x: features must be a list of texts"),
        ({"features": (1,)}, "x: features must be a list of texts"),
        ({"title": 3}, "x: title must be text; got 3"),
    ],
)
def test_impossible_devices(changes: dict[str, Any], message: str) -> None:
    good = Device("x", "X", "cpu", 1, 1, 1, "s")
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(good, **changes)


@pytest.fixture
def small_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some virtual machines take a minute a GB to give out memory, and large caches ask for 3."""
    monkeypatch.setattr(_detect, "_array_bytes", lambda *_: 2**24)


@pytest.mark.usefixtures("small_arrays")
def test_this_host() -> None:
    found = detect(seconds=0.1)
    assert found.name == host_name()
    assert found.features == cpu_features()
    assert found.kind == "cpu"
    assert found.peak_fp32_flops is not None
    assert detect("my-board", seconds=0.05).name == "my-board"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be a positive number"):
        detect(seconds=seconds)


def test_bad_name() -> None:
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


@pytest.mark.parametrize(("share", "busy"), [(0.95, False), (0.6, True)])
def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch, share: float, busy: bool) -> None:
    figures = {"bandwidth_gb_s": 12.345, "peak_fp32_flops": 1.2345e11, "cpu_share": share,
               "numpy": "2", "blas": "b"}  # fmt: skip
    monkeypatch.setattr(_detect, "_measure", lambda *_: figures)
    found = detect()
    assert (found.bandwidth_gb_s, found.peak_fp32_flops) == (12.3, 1.23e11)
    assert ("other work left 60% of the CPU time" in found.source) == busy


def test_what_cannot_be_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"bandwidth_gb_s": 12.3, "peak_fp32_flops": 1e11, "cpu_share": 1.0,
               "numpy": "2", "blas": "b"}  # fmt: skip
    monkeypatch.setattr(_detect, "_measure", lambda *_: figures)
    host = Host("X", 1, 2**33, clock_ghz=4200.0, l1d_kb=32, l2_kb=512, l3_kb=1)
    monkeypatch.setattr(_detect, "_host", lambda: host)
    found = detect()
    assert (found.clock_ghz, found.l1d_kb, found.l2_kb, found.l3_kb) == (None, 32, 512, None)


def test_memory_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_detect, "_host", lambda: Host("X", 1))
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
        monkeypatch.setattr(_detect, "_PATIENCE_S", 0.5)
    with pytest.raises(OSError, match=re.escape(message)):
        detect(seconds=0.05)


def test_arrays_exceed_the_caches_but_not_the_memory() -> None:
    mib = 2**20
    assert _detect._array_bytes(32 * 1024, 2**36) == 128 * mib
    assert _detect._array_bytes(None, 2**36) == 128 * mib
    assert _detect._array_bytes(512, 2**36) == 64 * mib
    assert _detect._array_bytes(768 * 1024, 2**36) == 1024 * mib
    assert _detect._array_bytes(32 * 1024, 2**29) == 32 * mib


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
    (record,) = json.loads(run.stdout)
    record["features"] = tuple(record["features"])
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
