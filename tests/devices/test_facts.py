"""Facts of targets as numbers: cores, peaks and bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latcast.devices import (
    PRECISIONS,
    Cluster,
    Device,
    cores,
    device,
    devices,
    parse_catalogue,
    target_facts,
    unit,
)

BOARD = Device(
    "board", "A board", "cpu", 6, 4, 12.8, "its manual", clock_ghz=2.0,
    clusters=(Cluster("cortex-a55", 4, 1.5), Cluster("cortex-a76", 2, 2.0)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("threads", "precision", "selection", "peak"),
    [
        (1, "fp32", "all", 2.0 * 16),
        (2, "fp32", "all", 2 * 2.0 * 16),
        (3, "fp32", "all", 2 * 2.0 * 16 + 1.5 * 8),
        (0, "fp32", "all", 2 * 2.0 * 16 + 4 * 1.5 * 8),
        (99, "fp32", "big", 2 * 2.0 * 16),
        (4, "fp32", "little", 4 * 1.5 * 8),
        (1, "fp16", "all", 2.0 * 32),
        (1, "bf16", "all", 2.0 * 16),  # converted: no instructions for it
        (1, "int8", "all", 2.0 * 64),
    ],
)
def test_threads_run_on_the_fastest_cores(
    threads: int, precision: str, selection: str, peak: float
) -> None:
    facts = target_facts(BOARD, "ncnn", threads, precision, selection)
    assert facts["peak_flops"] == facts["base_flops"] == facts["bound_flops"] == peak * 1e9


def test_facts_of_the_cores_that_are_used() -> None:
    big, all_, little = (target_facts(BOARD, cores=s) for s in ("big", "all", "little"))
    assert (big["is_in_order"], little["is_in_order"], all_["is_in_order"]) == (0, 1, 0)
    assert (big["threads"], all_["threads"], all_["cores"]) == (2, 6, 6)
    assert all_["share_of_fastest"] == pytest.approx(1 / 3)
    assert (all_["clock_ghz"], all_["slowest_clock_ghz"]) == (2.0, 1.5)
    assert (big["l2_kb"], big["last_level_kb"]) == (512, 1024)
    assert big["isa_arm"] == big["has_dotprod"] == 1
    assert big["has_avx2"] == big["isa_x86"] == 0


def test_vectors_that_no_runtime_has_code_for_count_in_the_bound_alone() -> None:
    facts = target_facts("sunway-sw831", "ncnn-cpu", threads=2)
    assert facts["peak_flops"] == facts["base_flops"] == 2 * facts["peak_core_flops"] == 10e9
    assert (facts["fp32_per_cycle"], facts["bound_flops"]) == (2, 80e9)
    assert device("sunway-sw831").peak_flops("fp32") == 8 * 2.5e9 * 16
    whole, int8 = (target_facts("spacemit-k1", "ncnn-cpu", precision=p) for p in ("fp32", "int8"))
    assert whole["peak_flops"] == whole["bound_flops"] == 8 * int8["peak_flops"]
    assert int8["bound_flops"] == 4 * whole["bound_flops"]


def test_a_boost_counts_in_the_peak_and_not_in_what_all_cores_hold() -> None:
    facts = target_facts("epyc-7742", "onnxruntime")
    assert facts["peak_flops"] == 64 * 3.4e9 * 32
    assert facts["base_flops"] == device("epyc-7742").peak_fp32_flops == 64 * 2.25e9 * 32
    assert facts["last_level_kb"] == 256 * 1024 + 64 * 512


@pytest.mark.parametrize(
    ("name", "precision", "bound"),
    [
        ("rtx-3090", "fp32", 1.2 * 35.6e12),  # TF32 is no faster
        ("a100-40gb", "fp32", 156e12),  # TF32
        ("mi210", "fp32", 45.3e12),  # matrix cores
        ("tesla-p4", "fp16", 2 * 2560 * 1.063e9),  # converted to fp32
        ("tesla-v100", "int8", 125e12),  # converted to fp16
        ("edge-tpu", "fp16", 4e12),  # no faster than int8
        ("rtx-2080-ti", "bf16", 1.2 * 215.2e12),
        ("gtx-980", "fp16", 1.2 * 4 * 2048 * 1.216e9),  # twice the lanes at most
        ("eyeriss", "int8", None),
    ],
)
def test_bounds_of_other_devices(name: str, precision: str, bound: float | None) -> None:
    found = target_facts(name, precision=precision)["bound_flops"]
    assert found == (None if bound is None else pytest.approx(bound, rel=1e-3))


def test_sums_in_fp32_halve_the_fp16_rate_of_geforce_cards() -> None:
    for name, factor in (("rtx-2080-ti", 0.5), ("rtx-4090", 0.5), ("titan-rtx", 1), ("a10", 1)):
        facts = target_facts(name, precision="fp16")
        assert facts["fp32_sum_flops"] == pytest.approx(factor * (facts["peak_flops"] or 0))
    for name in ("rtx-3090", "rtx-4090"):  # whose BF16 rate is with sums in fp32
        bf16 = device(name).peak_flops("bf16")
        assert target_facts(name, precision="fp16")["fp32_sum_flops"] == pytest.approx(bf16, 1e-3)


def test_facts_of_every_device_are_numbers_within_their_bounds() -> None:
    for found in devices().values():
        for precision in PRECISIONS:
            facts = target_facts(found, precision=precision)
            assert all(value is None or value >= 0 for value in facts.values()), found.name
            assert sum(facts[f"is_{u}"] or 0 for u in ("cpu", "gpu", "npu")) == 1
            if facts["peak_flops"] is not None:
                assert facts["bound_flops"] is not None
                assert facts["base_flops"] <= facts["peak_flops"] <= facts["bound_flops"]  # type: ignore[operator]  # no None
        if found.kind == "gpu":
            assert sum(v or 0 for k, v in facts.items() if k.startswith("vendor_")) == 1
        elif found.cpu_clusters():
            assert sum(v or 0 for k, v in facts.items() if k.startswith("isa_")) == 1


def test_every_thread_more_is_no_slower_and_every_bit_less_neither() -> None:
    for found in (d for d in devices().values() if d.clusters):
        peaks = [target_facts(found, threads=t)["peak_flops"] or 0 for t in range(1, 9)]
        assert peaks == sorted(peaks), found.name
    for core in cores().values():
        fp32, fp16, bf16, int8 = map(core.per_cycle, PRECISIONS)
        assert 1 <= fp32 <= min(fp16, bf16) <= int8 <= 2048, core.name


@pytest.mark.parametrize(
    ("name", "runtime", "expected"),
    [
        ("rk3588", "ncnn", "rk3588"),
        ("rk3588", "ncnn-vulkan", "rk3588-mali-g610"),
        ("rk3588", "rknn-npu", "rk3588-npu"),
        ("jetson-xavier-nx", "ncnn-cpu", "jetson-xavier-nx-cpu"),
        ("jetson-agx-xavier-cpu", "tensorrt", "jetson-agx-xavier"),
        ("samsung-s24", "qnn_npu", "snapdragon-8-gen-3-hexagon"),
        ("snapdragon-870", "ncnn-vulkan", "snapdragon-870-adreno-650"),
        ("rtx-3090", "pytorch", "rtx-3090"),
    ],
)
def test_a_runtime_may_name_a_part_of_the_chip(name: str, runtime: str, expected: str) -> None:
    part = next((p for p in ("vulkan", "npu", "cpu", "tensorrt") if p in runtime), None)
    kind = {"vulkan": "gpu", "tensorrt": "gpu", None: "gpu" if "rtx" in name else "cpu"}
    assert unit(device(name), kind.get(part, part or "")).name == expected
    assert target_facts(name, runtime) == target_facts(expected)


def test_cores_of_a_type_that_is_not_stated() -> None:
    named = replace(BOARD, clusters=(), architecture="cortex-a72")
    assert named.cpu_clusters() == (Cluster("cortex-a72", 6, 2.0),)
    for features, core in (
        (("asimd",), "generic-arm"),
        (("asimd", "asimdhp", "asimddp"), "generic-arm-fp16"),
        (("sse4_2", "avx", "avx2", "fma"), "generic-x86-avx2"),
        (("sse4_2", "avx", "avx2", "avx512f", "avx512_vnni", "amx_int8"), "generic-x86-amx"),
    ):
        (cluster,) = replace(BOARD, clusters=(), features=features).cpu_clusters()
        assert cluster.core == core
    # A clock that a virtual machine understates; the peak was measured.
    measured = replace(BOARD, clusters=(), architecture="cortex-a72", peak_fp32_flops=120e9)
    facts = target_facts(measured, threads=3, precision="int8")
    assert facts["peak_flops"] == 3 * 2.0e9 * 16
    assert facts["bound_flops"] == pytest.approx(2 * 60e9 / 0.8)
    unknown = replace(BOARD, clusters=(), peak_fp32_flops=60e9)
    assert unknown.cpu_clusters() == ()
    facts = target_facts(unknown, threads=3)
    assert (facts["peak_flops"], facts["peak_core_flops"]) == (30e9, 10e9)
    assert target_facts(unknown, precision="int8")["bound_flops"] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: target_facts("rk3588", precision="fp8"), "no precision is called 'fp8'"),
        (lambda: target_facts("rk3588", cores="huge"), "no selection of cores is called 'huge'"),
        (lambda: target_facts("rk3588", threads=-1), "threads must be 0 .all. or a positive"),
        (lambda: target_facts("rk3588x"), "did you mean 'rk3588'"),
        (lambda: unit(device("rk3588"), "dsp"), "no unit is called 'dsp'"),
        (lambda: unit(device("rk3308"), "gpu"), "no gpu of its chip 'rk3308' is known; write"),
        (lambda: Cluster("cortex-a54", 4, 1.5), "did you mean 'cortex-a5"),
        (lambda: Cluster("cortex-a55", 0, 1.5), "count of cortex-a55 must be a whole number"),
        (lambda: Cluster("cortex-a55", 4, 1500), "divide MHz by 1000"),
        (lambda: Cluster("cortex-a55", 4, 1.5, 0), "base_ghz of cortex-a55 must be a clock"),
        (lambda: replace(BOARD, cores=4), "clusters must hold the cores of a cpu or phone, 4 her"),
        (lambda: replace(BOARD, kind="gpu"), "they hold 6 of kind 'gpu'"),
        (lambda: replace(BOARD, clusters=[1]), "clusters must be a list of tables"),
        (lambda: replace(BOARD, clusters=None), "clusters must be a list of tables"),
        (lambda: replace(BOARD, chip=3), "chip must be text, such as 'rk3588'; got 3"),
        (lambda: replace(BOARD, memory_type="SRAM"), "memory_type must begin with DDR, LPDDR"),
    ],
)  # fmt: skip
def test_what_cannot_be(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


CLUSTERS = 'clusters = [{ core = "cortex-a76", count = 4, clock_ghz = 2.4 }]'
OWN = f'[x]\ntitle = "X"\nkind = "cpu"\nsource = "s"\n{CLUSTERS}\n'


def test_a_device_of_ones_own_is_built_on_a_chip() -> None:
    own = parse_catalogue('[x]\ntitle = "X"\nkind = "phone"\nchip = "rk3588"\nsource = "s"\n')["x"]
    soc = device("rk3588")
    assert (own.clusters, own.l3_kb, own.bandwidth_gb_s) == (soc.clusters, soc.l3_kb, 33.8)
    assert own.group == soc.group
    assert unit(own, "npu").name == "rk3588-npu"
    faster = parse_catalogue(f'{OWN}chip = "rk3588"\n')["x"]
    assert (faster.cores, faster.clock_ghz, faster.l3_kb, faster.memory_gb) == (4, 2.4, None, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN, "must have memory_gb, bandwidth_gb_s as well"),
        (f'{OWN}chip = "none"\n', "must have memory_gb, bandwidth_gb_s as well"),
        (OWN.replace("count", "number"), "'x': clusters: must be core, count, clock_ghz and perh"),
        (OWN.replace("a76", "a99"), "device 'x': clusters: no type of core is called 'cortex-a99'"),
        (OWN.replace("[{", "3 #"), "device 'x': clusters: must be core"),
    ],
)
def test_clusters_that_are_no_good(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_catalogue(text)
