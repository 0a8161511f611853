"""What a device's figures can be."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from latcast.devices import RANGES, Device, devices, figure_range

GOOD = Device("x", "X", "gpu", 1024, 8, 300, "s")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bandwidth_gb_s": 616_000},
         "x: bandwidth_gb_s must be memory bandwidth in GB/s, from 2 to 25000; got 616000 (divide"),
        ({"bandwidth_gb_s": 0.616}, "from 2 to 25000; got 0.616"),
        ({"memory_gb": 11_264}, "x: memory_gb must be memory in GB (10^9 bytes)"),
        ({"memory_gb": None}, "from 0.05 to 10000; got None"),
        ({"clock_ghz": 1545}, "x: clock_ghz must be a clock in GHz, from 0.01 to 10; got 1545 ("),
        ({"clock_ghz": "fast"}, "got 'fast'"),
        ({"clock_ghz": math.nan}, "got nan"),
        ({"clock_ghz": math.inf}, "got inf"),
        ({"peak_fp32_flops": 13.45}, "got 13.45 (multiply GFLOP/s by 1e9, TFLOP/s by 1e12)"),
        ({"peak_int8_ops": 215.2}, "got 215.2 (multiply TOP/s by 1e12)"),
        ({"l2_kb": 5.5}, "l2_kb must be a cache in KiB, from 16 to 250000; got 5.5 (multiply MiB"),
        ({"power_w": 250_000}, "got 250000 (divide mW by 1000)"),
        ({"power_w": -1}, "x: power_w must be power in W"),
        ({"year": 20}, "x: year must be a whole year, from 1990 to 2100; got 20 (write all four"),
        ({"year": 2018.0}, "got 2018.0"),
        ({"cores": 0}, "x: cores must be a whole number of cores, from 1 to 2e+06; got 0"),
        ({"cores": 2.5}, "got 2.5"),
        ({"cores": True}, "got True"),
        ({"features": "avx2"}, "x: features must be a list of texts"),
        ({"features": (1,)}, "x: features must be a list of texts"),
        ({"title": 3}, "x: title must be text; got 3"),
    ],
)  # fmt: skip
def test_what_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(GOOD, **changes)


def test_ends_of_the_ranges_can_be() -> None:
    for figure in RANGES:
        limits = figure_range("gpu", figure)
        for value in (limits.least, limits.most):
            whole = int(value) if figure in {"cores", "year"} else value
            others = {"memory_gb": "bandwidth_gb_s", "bandwidth_gb_s": "memory_gb"}
            # Memory is read in about a second.
            beside = {}
            if (other := others.get(figure)) is not None:
                ends = figure_range("gpu", other)
                beside = {other: min(max(value, ends.least), ends.most)}
            good = dataclasses.replace(GOOD, **{figure: whole, **beside})
            assert getattr(good, figure) == whole


def test_a_range_for_a_kind_lies_within_that_for_all() -> None:
    for kind in ("cpu", "gpu", "phone", "accelerator"):
        for figure, widest in RANGES.items():
            limits = figure_range(kind, figure)
            assert widest.least <= limits.least < limits.most <= widest.most


WRONG_UNITS = {
    "peak_fp32_flops": (1e-9, 1e-12),
    "peak_fp16_flops": (1e-9, 1e-12),
    "peak_bf16_flops": (1e-9, 1e-12),
    "peak_int8_ops": (1e-9, 1e-12),
    "clock_ghz": (1e3, 1e9),
    "l1d_kb": (1024, 1 / 1024),
    "l2_kb": (1024,),
    "l3_kb": (1024, 1 / 1024),
}


@pytest.mark.parametrize("figure", WRONG_UNITS)
def test_no_device_of_the_catalogue_would_pass_in_another_unit(figure: str) -> None:
    known = [d for d in devices().values() if getattr(d, figure) is not None]
    assert len(known) > 10
    for found in known:
        for factor in WRONG_UNITS[figure]:
            with pytest.raises(ValueError, match=f"{found.name}: {figure} must be"):
                dataclasses.replace(found, **{figure: getattr(found, figure) * factor})


@pytest.mark.parametrize(
    ("figure", "factor", "unit", "kinds"),
    [
        ("bandwidth_gb_s", 1000, "MB/s|MB/s by 1000", ("gpu", "cpu", "phone")),
        ("bandwidth_gb_s", 1e-3, "TB/s", ("gpu", "phone")),
        ("memory_gb", 1000, "MB", ("gpu", "phone")),
    ],
)
def test_memory_and_bandwidth_in_another_unit_are_out_of_proportion(
    figure: str, factor: float, unit: str, kinds: tuple[str, ...]
) -> None:
    for found in (d for d in devices().values() if d.kind in kinds):
        with pytest.raises(ValueError, match=unit):
            dataclasses.replace(
                found, **{figure: getattr(found, figure) * factor}
            ).check_proportions()


def test_both_in_mb_are_too_much_for_a_core() -> None:
    for found in (d for d in devices().values() if d.kind in ("cpu", "phone")):
        both = {f: 1000 * getattr(found, f) for f in ("memory_gb", "bandwidth_gb_s")}
        with pytest.raises(ValueError, match=r"must (go together|be memory)"):
            dataclasses.replace(found, **both).check_proportions()
