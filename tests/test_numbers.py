"""What the numbers are worth: the page says what the printed tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"

# Row of the page -> public table and what its settings begin with.
ROWS = {
    "ncnn on {} CPUs": ("ncnn", "cpu "),
    "ncnn on {} GPUs, Vulkan": ("ncnn", "vulkan "),
    "PyTorch on three GPUs, timm, 13 settings": ("timm", "amp-"),
    "NPUs of nine Snapdragons, AI Hub": ("ai_hub", "npu "),
    "PyTorch on a CPU, timm, the only one of that table": ("timm", "fp32-"),
}


def _printed(table: str, setting: str, first: str = "the device is new") -> list[dict[str, float]]:
    """Rows of a table of devices.txt, by their headings."""
    text = (DOCS / "results" / "devices.txt").read_text(encoding="utf-8")
    part = re.split(r"\n\s*\n", text.partition(f"\n{table}: {first}")[2])[0]
    _, head, _, *lines = part.splitlines()
    names = re.split(r"\s{2,}", head.strip())
    rows = []
    for line in lines:
        if line.startswith(f" {setting}"):
            values = [cell.split(" (")[0] for cell in re.split(r"\s{2,}", line.strip())]
            numbers = zip(names[1:], values[1:], strict=True)
            rows.append({name: float(x) for name, x in numbers if x != "–"})
    return rows


@pytest.mark.parametrize("named", ROWS)
def test_any_device(named: str) -> None:
    page = (DOCS / "numbers.md").read_text(encoding="utf-8")
    rows = _printed(*ROWS[named])
    assert rows
    name = named.format(max(int(row["groups"]) for row in rows))
    (told,) = (line for line in page.splitlines() if line.startswith(f"| {name} |"))
    *errors, baseline = (cell.strip() for cell in told.split("|")[2:-1])
    columns = [
        [row["median error %"] for row in rows if row["samples"] == samples]
        for samples in (0, 1, 5, 10)
    ]
    best = [min(row.get("rank-1 %", 1e9), row.get("gaussian %", 1e9))
            for row in rows if row["samples"] == 5]  # fmt: skip
    for cell, values in zip([*errors, baseline], [*columns, best], strict=True):
        if cell == "–":
            continue
        ends = [float(x) for x in cell.split(" – ")]
        digits = 1 if "." in cell else 0
        # Half a unit of the last digit, of figures that were rounded before.
        near = 0.5 * 10**-digits + 0.051
        assert [ends[0], ends[-1]] == pytest.approx([min(values), max(values)], abs=near), cell


def test_intervals_hold_what_the_page_says() -> None:
    page = (DOCS / "numbers.md").read_text(encoding="utf-8")
    rows = [
        row for first in ("the device is new", "network and device are new")
        for setting in ("cpu", "vulkan") for row in _printed("ncnn", setting, first)
        if row["groups"] > 20
    ]  # fmt: skip
    held = [row["90 % interval covers %"] for row in rows]
    assert len(held) > 15
    ranges = re.findall(r"(\d+) to (\d+) % in\s(?:the\srows|tables)\sof\smore\sthan\stwenty", page)
    assert ranges == 2 * [(f"{min(held):g}", f"{max(held):g}")]


def test_the_readme_says_the_same() -> None:
    text = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    error = {row["samples"]: row["median error %"] for row in _printed("ncnn", "cpu ")}
    assert f"ncnn are {error[0]:.0f} % off from the specification alone" in text
    assert f"and {error[10]:.0f} % after ten measurements" in text
