from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.devices import Device, Target
from latcast.models.zero_shot import (
    UNEXPLAINED,
    Overlap,
    Source,
    TargetSpec,
    positive,
    predict_log_scale,
    similarities,
)
from latcast.spaces import Archs, space

CPU = TargetSpec(Target("a", "pytorch", batch=4), "cpu", 1e11, 20.0)

TARGETS = st.builds(
    Target,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["pytorch", "onnxruntime"]),
    st.integers(1, 256),
    st.sampled_from(["fp32", "int8"]),
)
FIGURES = st.none() | st.floats(1e-3, 1e15)
SPECS = st.builds(TargetSpec, TARGETS, st.sampled_from([None, "cpu", "gpu"]), FIGURES, FIGURES)


@pytest.mark.parametrize(("precision", "element"), [("fp32", 1.0), ("fp16", 0.5), ("int8", 0.25)])
def test_roofline_by_hand(precision: str, element: float) -> None:
    ofa = space("ofa-mobilenet-v3")
    archs = ofa.sample(3, 0)
    spec = replace(CPU, target=replace(CPU.target, precision=precision))
    table = ofa.block_table.facts
    total = 0.0
    for ids in ofa.block_ids(archs).tolist():
        for i in ids:
            if i == len(ofa.block_table):
                continue
            moved = 4 * (table["read_bytes"][i] + table["write_bytes"][i]) + table["param_bytes"][i]
            total += max(4 * 2 * table["macs"][i] / 1e11, element * moved / 20e9) * 1e3
    assert spec.roofline_ms(archs) == pytest.approx(total / 3, rel=1e-9)
    # It needs both peaks.
    assert replace(spec, peak_flops=None).roofline_ms(archs) is None
    assert replace(spec, bandwidth_gb_s=None).roofline_ms(archs) is None


def test_specification_of_a_device() -> None:
    device = Device("a", "A", "gpu", 100, 8.0, 300.0, "", 1e13, peak_int8_ops=4e13)
    target = Target("a", "tensorrt", precision="int8")
    assert TargetSpec.of(target, device) == TargetSpec(target, "gpu", 4e13, 300.0)
    half = replace(target, precision="fp16")
    assert TargetSpec.of(half, device).peak_flops == 1e13, "fp32 where its own is not known"
    assert TargetSpec.of(target, None) == TargetSpec(target)


@given(SPECS, SPECS)
def test_distance_is_symmetric_and_zero_for_equals(a: TargetSpec, b: TargetSpec) -> None:
    assert a.distance(a) == 0
    assert a.distance(b) == pytest.approx(b.distance(a))
    assert a.distance(b) >= 0
    np.testing.assert_allclose(similarities(a, [a, b]), [1.0, np.exp(-(a.distance(b) ** 2) / 2)])


@given(SPECS, st.lists(st.integers(1, 4096), min_size=2, max_size=5))
def test_distance_grows_with_the_batch(spec: TargetSpec, batches: list[int]) -> None:
    one = replace(spec, target=replace(spec.target, batch=1))
    others = [replace(one, target=replace(one.target, batch=b)) for b in sorted(batches)]
    assert (np.diff([one.distance(o) for o in others]) >= 0).all()


def test_distances_by_hand() -> None:
    assert CPU.distance(replace(CPU, kind="gpu")) == 2
    assert CPU.distance(replace(CPU, kind=None)) == 0
    assert CPU.distance(replace(CPU, peak_flops=1.6e12)) == 2
    assert CPU.distance(replace(CPU, bandwidth_gb_s=None)) == 0
    for change in ({"runtime": "mnn"}, {"precision": "int8"}, {"batch": 16}):
        assert CPU.distance(replace(CPU, target=replace(CPU.target, **change))) == 1


@given(SPECS)
def test_record_round_trip(spec: TargetSpec) -> None:
    assert TargetSpec.parse(spec.record()) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "gpuu"}, {"kind": 3}, {"peak_flops": -1.0}, {"peak_flops": "fast"},
        {"bandwidth_gb_s": float("inf")}, {"bandwidth_gb_s": [1]}, {"target": "x"},
        {"peak_flops": True},
    ],
)  # fmt: skip
def test_records_that_lie(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|could not convert|no kind of device"):
        TargetSpec.parse(CPU.record() | change)


def test_positive() -> None:
    assert positive("1e3") == positive(1000) == 1000.0
    for bad in (0, -2.0, float("nan"), None):
        with pytest.raises(ValueError, match=r"positive|convert"):
            positive(bad)


def test_without_rooflines_it_is_the_weighted_mean() -> None:
    scales, weights = np.array([0.0, 3.0]), np.array([2.0, 1.0])
    for own, known in ((None, [1.0, 2.0]), (1.0, [None, None])):
        mean, deviation = predict_log_scale(own, known, scales, weights)
        assert mean == pytest.approx(1.0)
        assert deviation == pytest.approx(np.sqrt(2.0 + UNEXPLAINED**2))


def test_rooflines_of_unlike_targets_do_not_decide() -> None:
    mean, _ = predict_log_scale(5.0, [None, 1.0], np.array([0.0, 3.0]), np.array([9.0, 1.0]))
    assert mean == pytest.approx(0.3)


def test_one_source_is_scaled_by_the_roofline() -> None:
    """Nothing tells the slope but the prior, and doubt grows with the distance."""
    one = np.ones(1)
    near = predict_log_scale(2.0, [2.0], np.array([5.0]), one)
    far = predict_log_scale(6.0, [2.0], np.array([5.0]), one)
    assert near[0] == pytest.approx(5.0)
    assert far[0] == pytest.approx(5.0 + 0.75 * 4.0)
    assert far[1] ** 2 - near[1] ** 2 == pytest.approx((0.35 * 4.0) ** 2)


def test_many_sources_on_a_line() -> None:
    x = np.linspace(-5, 5, 200)
    mean, deviation = predict_log_scale(2.0, x.tolist(), 1.0 + 1.1 * x, np.ones(200))
    assert mean == pytest.approx(1.0 + 2.2, abs=0.01)
    assert deviation < 0.1
    scattered = 1.0 + 1.1 * x + np.random.default_rng(0).normal(0.0, 1.0, 200)
    assert predict_log_scale(2.0, x.tolist(), scattered, np.ones(200))[1] > 0.8


def test_weights_count_by_their_ratio() -> None:
    arguments = (1.0, [0.0, 2.0, None], np.array([1.0, 2.0, 9.0]))
    once = predict_log_scale(*arguments, np.array([1.0, 2.0, 0.5]))
    assert predict_log_scale(*arguments, np.array([10.0, 20.0, 5.0])) == pytest.approx(once)


# -- batches of a GPU ---------------------------------------------------------------------------


def _spec(device: str, batch: int, speed: float = 1.0, kind: str | None = "gpu") -> TargetSpec:
    return TargetSpec(Target(device, "pytorch", batch), kind, 1e13 * speed, 500.0 * speed)


@pytest.fixture(scope="module")
def archs() -> Archs:
    return space("nasbench201").sample(100, 0)


@pytest.fixture(scope="module")
def shapes() -> np.ndarray:
    """Of the GPU's time and of the host's, each with a mean of 1, shape (100, 2)."""
    values = np.random.default_rng(0).uniform(0.5, 1.5, (100, 2))
    return values / values.mean(axis=0)


def _expected(
    new: TargetSpec, sources: list[Source], shapes: np.ndarray, archs: Archs
) -> tuple[np.ndarray, tuple[float, float]]:
    overlap = Overlap.of(new, sources)
    assert overlap is not None
    return overlap.expect(shapes, archs)


def _sources(gpu_ms: float, host_ms: float) -> list[Source]:
    """A GPU that takes ``gpu_ms`` a sample, and a host that launches in ``host_ms``."""
    return [
        Source(_spec("known", 256), 256 * gpu_ms, 100),
        Source(_spec("known", 1), host_ms, 100),
    ]


def test_a_bound_gpu(archs: Archs, shapes: np.ndarray) -> None:
    """A large batch: the host does not matter, and time is in proportion to the batch."""
    new, sources = _spec("new", 128), _sources(1.0, 0.5)
    values, (log_scale, deviation) = _expected(new, sources, shapes, archs)
    np.testing.assert_allclose(values, shapes[:, 0], rtol=0.01)
    assert values.mean() == pytest.approx(1.0)
    # Averaged over what is not known of the ratio, which is a little more than the median.
    assert 0 <= log_scale - np.log(128.0) < 0.15
    assert deviation > 0


def test_a_bound_host(archs: Archs, shapes: np.ndarray) -> None:
    """Batch 1 on a fast GPU takes as long as the launches do."""
    new, sources = _spec("new", 1), _sources(0.001, 7.0)
    values, (log_scale, _) = _expected(new, sources, shapes, archs)
    np.testing.assert_allclose(values, shapes[:, 1], rtol=0.01)
    assert 0 <= log_scale - np.log(7.0) < 0.15


def test_batches_do_not_shorten_the_time(archs: Archs, shapes: np.ndarray) -> None:
    sources = _sources(0.2, 7.0)
    means = [
        _expected(_spec("new", batch), sources, shapes, archs)[1][0]
        for batch in (1, 4, 16, 64, 256)
    ]
    assert (np.diff(means) >= 0).all()
    assert means[1] - means[0] < np.log(2), "the host launches as much"
    assert means[-1] - means[-2] > np.log(3), "the GPU computes four times as much"


def test_faster_devices_take_less(archs: Archs, shapes: np.ndarray) -> None:
    sources = _sources(1.0, 0.5)
    scales = [
        _expected(_spec("new", 128, speed), sources, shapes, archs)[1][0]
        for speed in (0.5, 1.0, 2.0, 4.0)
    ]
    assert (np.diff(scales) < -0.3).all()


def test_both_times_must_be_known() -> None:
    busy, launching = _sources(1.0, 0.5)
    new = _spec("new", 8)
    assert Overlap.of(new, [busy]) is None
    assert Overlap.of(new, [launching]) is None
    assert Overlap.of(new, []) is None
    small = Source(_spec("known", 8), 5.0, 100)
    assert Overlap.of(new, [small, launching]) is None
    cpu = Source(_spec("cpu", 256, kind="cpu"), 5.0, 100)
    unknown = Source(_spec("unknown", 256, kind=None), 5.0, 100)
    assert Overlap.of(new, [cpu, unknown, launching]) is None


def test_the_largest_batch_of_every_device_tells_of_the_gpu() -> None:
    batches = [("a", 32), ("b", 64), ("a", 256), ("a", 1), ("c", 8), ("b", 1)]
    sources = [Source(_spec(d, b), 1.0, 10) for d, b in batches]
    overlap = Overlap.of(_spec("new", 8), sources)
    assert overlap is not None
    assert overlap.busy == [1, 2]
    assert overlap.launching == [3, 5]
