"""What the system tells of the host, from made-up ``/proc`` and ``/sys`` trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.devices import Target, usable_cpus
from latcast.devices._host import FEATURES, Host, linux, macos, other, parse_sysctl, slug, windows

MEMORY = 16_384_000_000


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What psutil tells: 10 cores, 16 GB, up to 2.6 GHz."""
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 20 if logical else 10)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=MEMORY))
    monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(current=900.0, max=2600.0))


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
        **siblings("0,4", "1,5", "2,6", "3,7"),
        **{k: v for c in range(8) for k, v in caches(c, "0-1,4-5" if c % 4 < 2 else "2").items()},
    }
    host = linux(tree(tmp_path, files), range(8))
    assert host == Host(
        "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz", cores=4, memory_bytes=MEMORY,
        clock_ghz=3.1, l1d_kb=48, l2_kb=2048, l3_kb=107_520, last_level_kb=2 * 107_520,
        features=("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16",
                  "amx_bf16", "amx_int8"),
    )  # fmt: skip
    assert host.name == "intel-xeon-platinum-8488c-4c"


def test_a_virtual_machine_is_told_by_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    text = "processor: 0\ncpu family: {}\nmodel: {}\nmodel name: {}\nflags: fpu {}\n"
    for family, model, name, flag, title in (
        (26, 2, "AMD EPYC", "hypervisor", "AMD EPYC (family 26, model 2), 2 virtual cores"),
        (6, 167, "Xeon CPU @ 2.2GHz", "", "Xeon CPU @ 2.2GHz (family 6, model 167), 2 cores"),
        (25, 17, "AMD EPYC 9654", "", "AMD EPYC 9654, 2 cores"),
    ):
        entry = text.format(family, model, name, flag)
        assert linux(tree(tmp_path, {"proc/cpuinfo": entry}), [0]).title == title


def test_only_the_usable_cpus_count(tmp_path: Path) -> None:
    clocks = {f"{CPU}{c}/cpufreq/cpuinfo_max_freq": f"{c + 1}500000\n" for c in range(3)}
    files = {"proc/cpuinfo": XEON, **siblings("0,4", "1,5"), **caches(0, "0-7"), **clocks}
    root = tree(tmp_path, files)
    assert linux(root, [0, 4]).cores == 1
    assert linux(root, [4, 5]).cores == 2
    assert linux(root, [4, 5]).l3_kb is None  # only CPU 0's is known here
    assert linux(root, [0, 1]).clock_ghz == 2.5  # the highest that they reach


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
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/m/memory.limit_in_bytes": "1000000000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    host = linux(tree(tmp_path, files), range(4))
    assert (host.cores, host.memory_bytes) == (2, 1_000_000_000)
    (tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert linux(tmp_path, range(4)).cores == 4


def test_nothing_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=0))
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
def test_hostile_files(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    names = ["proc/cpuinfo", "proc/self/cgroup", "sys/fs/cgroup/cpu.max",
             "sys/fs/cgroup/memory.max", f"{CPU}0/cpufreq/cpuinfo_max_freq",
             *siblings("0"), *caches(0, "0")]  # fmt: skip
    root = tmp_path_factory.mktemp("host")
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    host = linux(root, [0])
    Target(host.name, "any")
    assert host.cores == 1
    assert set(host.features) <= set(FEATURES)
    assert host.clock_ghz is None or 0 < host.clock_ghz < float("inf")


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
hw.l3cachesize: 12582912
machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz
machdep.cpu.features: FPU SSE4.2 FMA AVX1.0 F16C
machdep.cpu.leaf7_features: RDWRFSGS AVX2
"""


def test_macos() -> None:
    host = parse_sysctl(APPLE)
    assert host == Host("Apple M2 Pro", 10, MEMORY, 2.6, 128, 16_384, None, 16_384,
                        ("asimd", "asimddp"))  # fmt: skip
    host = parse_sysctl(INTEL_MAC)
    assert (host.name, host.clock_ghz, host.l3_kb) == ("intel-core-i7-9750h-10c", 2.6, 12_288)
    assert host.features == ("sse4_2", "avx", "avx2", "fma", "f16c")


@given(st.text())
def test_any_text_gives_a_device_name(text: str) -> None:
    Target(slug(text), "any")
    Target(parse_sysctl(text).name, "any")


def unknown(*_: object, **__: object) -> None:
    raise OSError("this system does not tell")


@pytest.mark.parametrize("read", [macos, windows, other])
def test_other_systems(read: Callable[[], Host], monkeypatch: pytest.MonkeyPatch) -> None:
    host = read()
    assert (host.cores, host.memory_bytes, host.clock_ghz) == (10, MEMORY, 2.6)
    for name in ("virtual_memory", "cpu_freq"):
        monkeypatch.setattr(psutil, name, unknown)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: None)
    host = read()
    assert host.cores >= 1
    assert (host.memory_bytes, host.clock_ghz) == (None, None)


def test_cpus_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cpus() == sorted(set(usable_cpus())) != []
    monkeypatch.setattr(psutil, "Process", SimpleNamespace)  # of macOS, without an affinity
    assert usable_cpus() == list(range(20))
