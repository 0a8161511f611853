"""The catalogue, held against the rules of its fields and what its sources say."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from latcast.devices import PRECISIONS, Device, device, devices
from latcast.models import zoo

HELP = {
    "1080ti": "gtx-1080-ti", "2080ti": "rtx-2080-ti", "essential_ph": "essential-ph-1",
    "eyeriss": "eyeriss", "fpga": "fpga-zc706", "gold_6226": "xeon-gold-6226",
    "gold_6240": "xeon-gold-6240", "pixel2": "pixel-2", "pixel3": "pixel-3",
    "raspi4": "raspberry-pi-4", "samsung_a50": "samsung-a50", "samsung_s7": "samsung-s7",
    "silver_4114": "xeon-silver-4114", "silver_4210r": "xeon-silver-4210r",
    "titan_rtx": "titan-rtx", "titan_xp": "titan-xp", "titanx": "titan-x", "titanxp": "titan-xp",
    "v100": "tesla-v100",
}  # fmt: skip
"""HELP's names for its devices, without what looks like a batch size."""

COUNTED_TWICE = {"cdna-3", "rdna-3", "rdna-4"}
"""Generations whose FP32 peak counts two multiply-adds a lane and cycle."""


def of_kind(kind: str) -> list[Device]:
    return [d for d in devices().values() if d.kind == kind]


def test_it_is_large_and_tells_where_its_figures_come_from() -> None:
    kinds = Counter(d.kind for d in devices().values())
    assert min(kinds.values()) >= 10
    assert kinds.total() >= 700
    for found in devices().values():
        assert len(found.source) > 20, found.name
        assert found.year is not None, found.name
    titles = Counter(d.title for d in devices().values())
    assert max(titles.values()) == 1


def test_devices_that_predictors_were_trained_on() -> None:
    assert {zoo.target(name).device for name in zoo.names()} <= set(devices())
    figures = {
        "samsung-note10": (8, 8, 34.1), "rtx-2080-ti": (4352, 11, 616),
        "tesla-p40": (3840, 24, 347), "titan-rtx": (4608, 24, 672), "titan-xp": (3840, 12, 547.7),
        "tesla-v100": (5120, 16, 900), "epyc-genoa-2c": (2, 25.28, 36.4),
    }  # fmt: skip
    for name, expected in figures.items():
        found = device(name)
        assert (found.cores, found.memory_gb, found.bandwidth_gb_s) == expected


def test_every_device_of_help_is_in_it(shared: Path) -> None:
    stems = {re.sub(r"_(1|32|64|256)$", "", p.stem) for p in shared.glob("help/*/latency/*.pt")}
    assert stems
    assert {HELP[s] for s in stems} <= set(devices())


def test_a_gpus_fp32_peak_is_two_operations_a_core_and_cycle() -> None:
    checked = [d for d in of_kind("gpu") if d.clock_ghz is not None]
    assert len(checked) > 40
    for found in checked:
        assert found.clock_ghz is not None
        operations = 4 if found.architecture in COUNTED_TWICE else 2
        expected = operations * found.cores * found.clock_ghz * 1e9
        assert found.peak_fp32_flops == pytest.approx(expected, rel=0.02), found.name


def test_peaks_that_the_source_computes() -> None:
    """``10 cores x 2.2 GHz base x 32`` is what ``peak_fp32_flops`` says."""
    pattern = re.compile(r"(\d+) cores x ([\d.]+) GHz (?:base )?(?:at \d+ W )?x (\d+)")
    checked = 0
    for found in devices().values():
        if match := pattern.search(found.source):
            cores, ghz, rate = int(match[1]), float(match[2]), int(match[3])
            assert cores == found.cores
            assert found.peak_fp32_flops == pytest.approx(cores * ghz * rate * 1e9, rel=1e-3)
            checked += 1
    assert checked > 20


def test_bandwidths_that_the_source_computes() -> None:
    """``6 x DDR4-2400`` has six channels of eight bytes; LPDDR names its width in bits."""
    dimms = re.compile(r"(\d+) x DDR\d-(\d+)")
    soldered = re.compile(r"LPDDR\w+-(\d{4}) on (\d+) bit")
    checked = 0
    for found in devices().values():
        if found.kind == "cpu" and (match := soldered.search(found.source)):
            bytes_s = int(match[2]) / 8 * int(match[1]) * 1e6
        elif found.kind == "cpu" and (match := dimms.search(found.source)):
            bytes_s = int(match[1]) * 8 * int(match[2]) * 1e6
        else:
            continue
        assert found.bandwidth_gb_s == pytest.approx(bytes_s / 1e9, rel=0.01), found.name
        checked += 1
    assert checked > 20


def test_a_lower_precision_is_no_slower_where_the_same_units_do_it() -> None:
    for found in (d for d in devices().values() if not d.clusters):
        peaks = {p: found.peak_flops(p) or 0 for p in PRECISIONS}
        if 0 < peaks["fp16"] < peaks["fp32"]:  # consumer Pascal runs FP16 at 1/64
            assert peaks["fp16"] == pytest.approx(peaks["fp32"] / 64, rel=0.02)
        elif found.architecture == "volta" and not found.name.startswith("jetson"):
            assert peaks["int8"] < peaks["fp16"]  # int8 by dp4a, FP16 by tensor cores
        elif peaks["fp16"] and peaks["int8"]:
            assert peaks["bf16"] <= peaks["fp16"] <= peaks["int8"], found.name
        elif peaks["int8"]:
            assert peaks["fp32"] < peaks["int8"], found.name


def test_level_3_is_what_one_core_shares() -> None:
    mib = {"epyc-7742": 16, "epyc-7763": 32, "epyc-9354": 32, "epyc-9654": 32,
           "ryzen-9-5950x": 32, "ryzen-9-7950x": 32, "xeon-platinum-8480-plus": 105}  # fmt: skip
    for name, size in mib.items():
        assert device(name).l3_kb == size * 1024
    for found in devices().values():
        caches = [c for c in (found.l1d_kb, found.l2_kb, found.l3_kb) if c is not None]
        assert caches == sorted(caches), found.name


def test_phones_and_cpus_stay_below_what_their_cores_can_do() -> None:
    for found in [*of_kind("cpu"), *of_kind("phone")]:
        # Of virtual machines the clock is a nominal one, and the peak was measured.
        is_virtual = found.name in ("epyc-genoa-2c", "epyc-turin-2c")
        if found.peak_fp32_flops and found.clock_ghz and not is_virtual:
            rate = found.peak_fp32_flops / (found.cores * found.clock_ghz * 1e9)
            assert 4 < rate < 64, found.name
        if found.clusters and found.peak_fp32_flops:
            stated = sum(c.count * c.peak_flops("fp32", base=True) for c in found.clusters)
            assert found.peak_fp32_flops == pytest.approx(stated, rel=0.03), found.name
