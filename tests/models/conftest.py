"""Targets of our own making, whose latencies follow physics at prices that are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from latcast.data import Dataset
from latcast.devices import Device, Target
from latcast.models import BaseModel, Predictor
from latcast.spaces import Archs, space

Floats = npt.NDArray[np.float64]

RESOLUTIONS = {"r": [160, 192, 224]}
NOISE = 0.01


@dataclass(frozen=True)
class Simulated:
    """A target that takes its time by physics.

    Attributes:
        target: what it is called.
        per_mac_ms: price of a multiply-accumulate.
        per_byte_ms: price of a byte of elementwise layers.
        per_launch_ms: price of a layer.
        efficiency: share of the device's peaks that is reached.
    """

    target: Target
    per_mac_ms: float = 2e-8
    per_byte_ms: float = 5e-8
    per_launch_ms: float = 0.01
    efficiency: float = 0.3

    @property
    def device(self) -> Device:
        """A device whose peaks agree with the prices."""
        return Device(
            self.target.device, "Simulated", "cpu", 4, 8.0,
            1e-6 / self.per_byte_ms / self.efficiency, "our own making",
            peak_fp32_flops=2e3 / self.per_mac_ms / self.efficiency,
        )  # fmt: skip

    def mean_ms(self, archs: Archs) -> Floats:
        """Latency without noise, shape (n,)."""
        archs = archs.space.expand(archs)
        facts = archs.space.block_table.facts
        blocks = (
            facts["macs"] * self.per_mac_ms
            + facts["elementwise_bytes"] * self.per_byte_ms
            + facts["launches"] * self.per_launch_ms
        )
        return archs.space.block_sums(archs, blocks)

    def measure(self, archs: Archs, seed: int = 0) -> Dataset:
        """Latencies with 1 % of noise."""
        noise = np.random.default_rng(seed).normal(1.0, NOISE, len(archs))
        return Dataset(archs, self.mean_ms(archs) * noise, self.target)

    def few(self, k: int, seed: int = 0, name: str = "ofa-mobilenet-v3") -> Dataset:
        """Measurements of k networks of a space that are in no training data."""
        return self.measure(space(name).sample(k, 1_000 + seed, restrict=RESOLUTIONS), 2_000 + seed)

    def error(self, p: Predictor, archs: Archs) -> float:
        """Mean relative error of a predictor."""
        return float(np.abs(p.predict(archs) / self.mean_ms(archs) - 1).mean())


def simulated_targets(n: int, seed: int, prefix: str) -> list[Simulated]:
    """Targets whose speeds differ by a factor of 10 and more, prices among them less."""
    rng = np.random.default_rng(seed)
    result = []
    for i in range(n):
        speed = np.exp(rng.normal(0.0, 1.2))
        mac, byte, launch = speed * np.exp(rng.normal(0.0, 0.5, 3))
        result.append(
            Simulated(
                Target(f"{prefix}-{i}", "simulator"), 2e-8 * mac, 5e-8 * byte, 0.01 * launch,
                0.3 * float(np.exp(rng.normal(0.0, 0.2))),
            )
        )  # fmt: skip
    return result


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Simulated]:
    """Make a simulated target."""
    return Simulated


@pytest.fixture(scope="session")
def sources() -> list[Simulated]:
    """Eight targets to train a base model on."""
    return simulated_targets(8, 1, "known")


@pytest.fixture(scope="session")
def newcomers() -> list[Simulated]:
    """Twelve targets that no base model knows."""
    return simulated_targets(12, 2, "new")


@pytest.fixture(scope="session")
def source_data(sources: list[Simulated]) -> list[Dataset]:
    """120 measurements of every source."""
    ofa = space("ofa-mobilenet-v3")
    return [
        s.measure(ofa.sample(120, 100 + n, restrict=RESOLUTIONS), n) for n, s in enumerate(sources)
    ]


@pytest.fixture(scope="session")
def base_model(sources: list[Simulated], source_data: list[Dataset]) -> BaseModel:
    """A base model of the sources."""
    return BaseModel().fit(source_data, catalogue={s.target.device: s.device for s in sources})


@pytest.fixture(scope="session")
def networks() -> Archs:
    """400 networks that are in no training data."""
    return space("ofa-mobilenet-v3").sample(400, 7, restrict=RESOLUTIONS)
