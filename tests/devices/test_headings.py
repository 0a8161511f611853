"""Headings of public tables, and the devices that they speak of."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest

from latcast.devices import (
    as_built,
    chip_of,
    cores,
    device,
    named_device,
    parse_clusters,
    target_facts,
)


@pytest.mark.parametrize(
    ("text", "clusters"),
    [
        ("Kirin 970 (Cortex-A73 2.4GHz x 4 + Cortex-A53 1.8GHz x 4)",
         "4 x cortex-a73 at 2.4 GHz + 4 x cortex-a53 at 1.8 GHz"),
        ("Rockchip RK3588 (Quad Core A76 2.4GHz + Quad Core A55 1.8GHz + Mali-G610)",
         "4 x cortex-a76 at 2.4 GHz + 4 x cortex-a55 at 1.8 GHz"),
        ("Snapdragon 855+ (Kyro485 2.96 GHz + 2.42 GHz x 3 + 1.80 GHz x 4 + Adreno 640)",
         "1 x cortex-a76 at 2.96 GHz + 3 x cortex-a76 at 2.42 GHz + 4 x cortex-a55 at 1.8 GHz"),
        ("SDM660 (Kryo 260 2.2GHz x 4 + Kryo 260 1.84GHz x 4 + Adreno 512)",
         "4 x cortex-a73 at 2.2 GHz + 4 x cortex-a53 at 1.84 GHz"),
        ("XC7Z020 (Cortex-A9 766MHz x 2)", "2 x cortex-a9 at 0.766 GHz"),
        ("Amlogic S805 (Cortex-A5, 4 × 1.536GHz)", "4 x cortex-a5 at 1.536 GHz"),
        ("PhytiumPi (FTC664@1.8GHz x2 + FTC310@1.5GHz x2)",
         "2 x ftc664 at 1.8 GHz + 2 x ftc310 at 1.5 GHz"),
        ("Loongson 3A5000 (LA464 2.5GHz * 4)", "4 x la464 at 2.5 GHz"),
        ("SG2000 (C906, 1 GHz x 1 + 700MHz x 1)", "1 x c906 at 1 GHz + 1 x c906 at 0.7 GHz"),
        ("Dimensity (Cortex-X2 3.05GHz x 1 + Cortex-A710 2.85GHz x 3)",
         "1 x cortex-x2 at 3.05 GHz + 3 x cortex-a710 at 2.85 GHz"),
        ("Orin (Cortex-A78AE 2.2 GHz x 12 + Ampere@1.3 GHz Tensor Cores 64)",
         "12 x cortex-a78ae at 2.2 GHz"),
        ("NVIDIA RTX 3090", ""),
    ],
)  # fmt: skip
def test_clusters_of_a_heading(text: str, clusters: str) -> None:
    assert " + ".join(map(str, parse_clusters(text))) == clusters


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Qualcomm MSM8996 Pro Snapdragon 821 (Kyro 2.35GHz x 2)", "snapdragon-821"),
        ("Qualcomm MSM8996 Snapdragon 820 (Kyro 2.15GHz x 2)", "snapdragon-820"),
        ("Snapdragon 8+ Gen 1", "snapdragon-8-plus-gen-1"),
        ("OrangePi5, Rockchip RK3588s", "rk3588"),
        ("Samsung Galaxy S23 Ultra", "samsung-s23"),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "xeon-platinum-8375c"),
        ("Intel® Core™ i7-12700H", "core-i7-12700h"),
        ("AMD Ryzen 7 5800H with Radeon Graphics", "ryzen-7-5800h"),
        ("Apple M2 Max", "apple-m2-max"),
        ("Toaster 3000", None),
    ],
)
def test_names_within_a_heading(text: str, name: str | None) -> None:
    found = named_device(text)
    assert (found and found.name) == name


@pytest.mark.parametrize(
    ("table", "heading", "part", "name", "group"),
    [
        ("ncnn", "Qualcomm SM8250 Snapdragon 865 (…)", "gpu", "snapdragon-865-adreno-650",
         "snapdragon-865"),
        ("ncnn", "NVIDIA RTX 3060 Ti of Desktop", "gpu", "rtx-3060-ti", "rtx-3060-ti"),
        ("ncnn", "Raspberry Pi 5 Broadcom BCM2712, Cortex-A76 (ARMv8) (2.4GHz x 4)", "cpu",
         "raspberry-pi-5", "raspberry-pi-5"),
        ("timm", "amp-nchw-pt240-cu124-rtx2080ti-dynamo", "cpu", "rtx-2080-ti", "rtx-2080-ti"),
        ("timm", "amp-nhwc-pt210-cu121-h100", "cpu", "h100-sxm", "h100-sxm"),
        ("timm", "fp32-nchw-pt240-cpu-i7_12700h-dynamo", "cpu", "core-i7-12700h",
         "core-i7-12700h"),
        ("neusight", "NVIDIA_H100_80GB_HBM3", "gpu", "h100-sxm", "h100-sxm"),
        ("neusight", "NVIDIA L4", "gpu", "l4", "l4"),
        ("ai_hub", "Snapdragon X Plus 8-Core CRD", "npu", "snapdragon-x-plus-8-core-hexagon",
         "snapdragon-x-plus-8-core"),
        ("ai_hub", "Samsung Galaxy S25 Ultra", "gpu", "snapdragon-8-elite-adreno-830",
         "snapdragon-8-elite"),
    ],
)  # fmt: skip
def test_headings_that_were_never_seen(
    table: str, heading: str, part: str, name: str, group: str
) -> None:
    found = chip_of(table, heading, part)
    assert (found.device.name, found.group, found.notes) == (name, group, ())


def test_clocks_are_those_of_the_heading_but_of_cores_with_a_boost() -> None:
    slower = chip_of("ncnn", "EAIDK, Rockchip RK3328 (Cortex-A53 1.3GHz x 4)").device
    assert (slower.clusters[0].clock_ghz, slower.clock_ghz) == (1.3, 1.3)
    assert device("rk3328").clock_ghz == 1.5
    boosted = chip_of("ncnn", "AMD Ryzen Embedded V1605B (Zen 2.0 GHz ~ 3.6 GHz x 4)").device
    assert boosted == device("ryzen-embedded-v1605b")


@pytest.mark.parametrize(
    ("name", "text", "flops"),
    [
        ("azure-d64as-v7", "Results (With AVX512)", 64),
        ("azure-d64as-v7", "Results (Without AVX512)", 32),
        ("ryzen-9-5950x", "Results (Without AVX512)", 32),  # which it has not
        ("ingenic-t40", "Ingenic T40XP Xburst2 (without MSA)", 2),
        ("raspberry-pi-4", "without MSA, without a fan", 8),
    ],
)
def test_instructions_that_software_is_built_without_count_for_nothing(
    name: str, text: str, flops: float
) -> None:
    whole, built = device(name), as_built(device(name), text)
    assert target_facts(built, "ncnn", 1)["fp32_per_cycle"] == flops
    assert (built == whole) == (flops == cores()[whole.clusters[0].core].fp32)
    for fact in ("threads", "clock_ghz", "l1d_kb", "l2_kb", "bandwidth_gb_s"):
        assert target_facts(built)[fact] == target_facts(whole)[fact]


def test_cores_of_a_chip_that_is_not_known() -> None:
    found = chip_of("ncnn", "Frobnicator 9 (Cortex-A55 1.8GHz x 2)")
    assert [str(c) for c in found.device.clusters] == ["2 x cortex-a55 at 1.8 GHz"]
    assert found.group == found.device.name == "frobnicator-9-cortex-a55-1.8ghz-x-2"
    assert found.notes[0].startswith("not in the catalogue; its memory is assumed to be that of ")
    alike = chip_of("ncnn", "Intel Core i7-4771 of Desktop")
    assert alike.device.architecture == "haswell"
    assert alike.group == "intel-core-i7-4771-of-desktop"
    assert "whose name is most alike" in alike.notes[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("help", "x"), "no public table is called 'help'"),
        (("ncnn", "x", "dsp"), "no unit is called 'dsp'"),
        (("ncnn", "Toaster 3000"), "no cpu is known from the heading 'Toaster 3000': write"),
        (("ncnn", "Frobnicator (Cortex-A55 1.8GHz x 2)", "gpu"), "no gpu is known from the head"),
        (("ncnn", "NVIDIA RTX3090 (GA102 SM x 82 + Tensor Core 328)"), "must name a cpu"),
    ],
)
def test_headings_that_say_too_little(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chip_of(*arguments)


def test_a_heading_of_several_machines_tells_them() -> None:
    heading = (
        "MacBook Pro (15-inch, 2019) - 2.6GHz six cores Intel Core i7 && Radeon Pro 555X 4GB && "
        "Intel UHD Graphics 630 1536MB"
    )
    found = [chip_of("ncnn", heading, *which) for which in (("cpu",), ("gpu", 0), ("gpu", 1))]
    assert [c.device.name for c in found] == ["core-i7-9750h", "radeon-pro-555x", "uhd-630"]
    assert len({c.group for c in found}) == 3
    assert all("two GPUs" in c.notes[0] for c in found)


def _rows(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return list(csv.DictReader(io.StringIO(text.decode("utf-8"))))


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("ncnn", "ncnn/latencies.csv"),
        ("timm", "timm/latencies.csv.gz"),
        ("ai_hub", "ai_hub/latencies.csv.gz"),
        ("neusight", "neusight/models.csv"),
        ("neusight", "neusight/operators-test-known-gpus.csv.gz"),
    ],
)
def test_every_heading_of_the_public_tables(shared: Path, table: str, file: str) -> None:
    path = shared / "public" / file
    if not path.exists():
        pytest.skip(f"no {path}")
    rows = _rows(path)
    asked = {
        (r["setting"] if table == "timm" else r["device"], r.get("compute_unit", "cpu").lower(),
         r.get("gpu_device", "-1"))
        for r in rows
    }  # fmt: skip
    for heading, part, index in asked:
        is_gpu = index not in ("", "-1")
        found = chip_of(table, heading, "gpu" if is_gpu else part, int(index) if is_gpu else 0)
        assert found.device.kind != "accelerator" or part == "npu"
        assert not any("not in the catalogue" in note for note in found.notes), heading
