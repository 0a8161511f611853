"""What a sweep answers, target by target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latcast.models.sweep import NetworkSweep, SweepPoint
from latcast.report.axis import Scale, shown_ticks
from latcast.report.record import read_record


def points(
    target: str, *values: tuple[float, float], notes: tuple[str, ...] = ()
) -> list[SweepPoint]:
    device = target.partition("/")[0]
    return [
        SweepPoint(value, device, target.format(int(value)), latency_ms=ms,
                   per_sample_ms=ms / value, notes=notes)
        for value, ms in values
    ]  # fmt: skip


def swept(side: str, *own: list[SweepPoint]) -> NetworkSweep:
    return NetworkSweep("net.onnx", side, 0.9, tuple(p for each in own for p in each))


def test_every_target_has_a_sentence_of_its_own() -> None:
    found = swept(
        "x.2",
        points("a/x/b1", (20, 4.0), (10, 8.0)),
        points("a/y/b1", (10, 2.0), (20, 1.0)),
    )
    assert found.answer() == (
        "On a/x/b1 latency goes from 8.000 ms at x.2 10 to 4.000 ms at 20. "
        "On a/y/b1 latency goes from 2.000 ms at x.2 10 to 1.000 ms at 20."
    )
    many = swept("n", *(points(f"a/r{n}/b1", (1, 1.0), (2, 2.0)) for n in range(6)))
    assert many.answer().endswith("On a/r3/b1 latency goes from 1.000 ms at n 1 to 2.000 ms at 2. "
                                  "The table has 2 more.")  # fmt: skip


def test_targets_of_a_sweep_of_the_batch_are_one_curve() -> None:
    found = swept("batch", points("gpu/pytorch/b{}/fp16", (1, 1.0), (8, 2.0)))
    assert found.answer() == (
        "On gpu/pytorch/fp16 latency goes from 1.000 ms at batch 1 to 2.000 ms at 8; "
        "a sample takes least, 0.250 ms, at batch 8."
    )
    (figure,) = found.figures()
    (series,) = figure.series
    assert (series.name, list(series.x)) == ("gpu/pytorch/fp16", [1, 8])
    # The batches that were asked for, not round numbers of decades.
    scale = Scale.of(figure.x, series.x, from_zero=False)
    assert shown_ticks(scale, figure.x) == [(1, "1"), (8, "8")]
    many = replace(figure.x, at=range(1, 40))
    assert len(shown_ticks(Scale.of(many, many.at, from_zero=False), many)) < 8


def test_notes_that_differ_in_numbers_are_told_once() -> None:
    a = points("a/x/b1", (1, 1.0), (2, 2.0), notes=("by its specification",))
    wide = [
        SweepPoint(v, "b", "b/x/b1", latency_ms=v, notes=(f"spans a factor of {v + 0.5}",))
        for v in (1, 2)
    ]
    assert list(swept("n", a).doubts()) == ["note: by its specification"]
    assert list(swept("n", a, wide, points("b/x/b1", (3, 3.0))).doubts()) == [
        "note: a: n 1, 2: by its specification",
        "note: b: n 1, 2: spans a factor of 1.5 (at n 1; alike at the others)",
    ]
    b = points("b/x/b1", (1, 1.0), (2, 2.0), notes=("by its specification",))
    assert list(swept("n", a, b).doubts()) == ["note: by its specification"]


GB_S = (
    "On a/x/b1, whose bandwidth is 12.5 GB/s, latency would go from 8.000 ms at 10 GB/s to "
    "4.000 ms at 20 GB/s, all else as it is."
)
PEAK = (
    "On a/x/b1, whose peak in fp16 is 5 TFLOP/s, latency would go from 8.000 ms at 10 TFLOP/s to "
    "4.000 ms at 20 TFLOP/s, all else as it is."
)
CORES = "On a/x/b1 latency goes from 8.000 ms at cores 10 to 4.000 ms at 20."


@pytest.mark.parametrize(
    ("side", "values", "own", "name", "axis", "told"),
    [
        ("bandwidth_gb_s", (10, 20), 12.5, "bandwidth", "bandwidth, GB/s", GB_S),
        ("peak_fp16_flops", (1e13, 2e13), 5e12, "peak in fp16", "peak in fp16, TFLOP/s", PEAK),
        ("cores", (10, 20), None, "cores", "cores", CORES),
    ],
)
def test_a_figure_has_its_name_and_unit_and_what_the_device_has(
    side: str, values: tuple[float, float], own: float | None, name: str, axis: str, told: str
) -> None:
    low, high = values
    answers = tuple(points("a/x/b1", (low, 8.0), (high, 4.0)))
    found = NetworkSweep("net.onnx", side, 0.9, answers, {"a": own})
    assert found.headline() == f"net.onnx: latency by {name}"
    assert found.answer() == told
    (figure,) = found.figures()
    assert (figure.title, figure.x.label) == (f"Latency by {name}", axis)
    assert [guide.x for guide in figure.guides] == ([] if own is None else [own])
    assert ("a device that does not exist" in figure.caption) == (own is not None)
    (table,) = found.parts()
    assert table.columns[1].label == axis
    assert side not in (text := found.to_text()) or side == name
    assert f" {low * (1e-12 if low > 1e9 else 1):g} " in text
    assert read_record(found.to_dict()) == found
    assert not any("has no part" in note for note in found.doubts())
    flat = replace(found, points=tuple(points("a/x/b1", (low, 8.0), (high, 8.0))))
    assert f"note: a: {name} has no part in these forecasts" in "".join(flat.doubts())
    page = found.to_html()
    assert f"Latency by {name}</h2>" in page
    assert "All values</h2>" in page
