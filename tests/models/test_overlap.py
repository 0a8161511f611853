from __future__ import annotations

import numpy as np
import pytest

from latcast.devices import Target
from latcast.models.zero_shot import Overlap, Source, TargetSpec
from latcast.spaces import Archs, space


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


def _sources(gpu_ms: float, host_ms: float) -> list[Source]:
    """A GPU that takes ``gpu_ms`` a sample, and a host that launches in ``host_ms``."""
    return [
        Source(_spec("known", 256), 256 * gpu_ms, 100),
        Source(_spec("known", 1), host_ms, 100),
    ]


def test_a_bound_gpu(archs: Archs, shapes: np.ndarray) -> None:
    """A large batch: the host does not matter, and time is in proportion to the batch."""
    overlap = Overlap.of(_spec("new", 128), _sources(1.0, 0.5))
    assert overlap is not None
    values, (log_scale, deviation) = overlap.expect(shapes, archs)
    np.testing.assert_allclose(values, shapes[:, 0], rtol=0.01)
    assert values.mean() == pytest.approx(1.0)
    # Averaged over what is not known of the ratio, which is a little more than the median.
    assert 0 <= log_scale - np.log(128.0) < 0.15
    assert deviation > 0


def test_a_bound_host(archs: Archs, shapes: np.ndarray) -> None:
    """Batch 1 on a fast GPU takes as long as the launches do."""
    overlap = Overlap.of(_spec("new", 1), _sources(0.001, 7.0))
    assert overlap is not None
    values, (log_scale, _) = overlap.expect(shapes, archs)
    np.testing.assert_allclose(values, shapes[:, 1], rtol=0.01)
    assert 0 <= log_scale - np.log(7.0) < 0.15


def test_batches_do_not_shorten_the_time(archs: Archs, shapes: np.ndarray) -> None:
    sources = _sources(0.2, 7.0)
    means = []
    for batch in (1, 4, 16, 64, 256):
        overlap = Overlap.of(_spec("new", batch), sources)
        assert overlap is not None
        means.append(overlap.expect(shapes, archs)[1][0])
    assert (np.diff(means) >= 0).all()
    assert means[1] - means[0] < np.log(2), "the host launches as much"
    assert means[-1] - means[-2] > np.log(3), "the GPU computes four times as much"


def test_faster_devices_take_less(archs: Archs, shapes: np.ndarray) -> None:
    sources = _sources(1.0, 0.5)
    scales = []
    for speed in (0.5, 1.0, 2.0, 4.0):
        overlap = Overlap.of(_spec("new", 128, speed), sources)
        assert overlap is not None
        scales.append(overlap.expect(shapes, archs)[1][0])
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
