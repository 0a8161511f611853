"""Constants that layers read, and the numbers that are drawn for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod, sqrt
from typing import Any, Self

import numpy as np
import numpy.typing as npt

WEIGHT, BUFFER, ARGUMENT = "weight", "buffer", "argument"

Weights = Sequence[tuple[npt.NDArray[Any], ...]]
"""The values of the constants of every layer of a graph, in the order of the layers."""

# As ONNX has them: weights in fp32, indices in int64.
_FLOAT_BYTES, _INTEGER_BYTES = 4, 8

# Biases are drawn within it: small beside activations of unit variance, yet not denormal.
BIAS_LIMIT = 0.1

# Numbers that all weights are taken from: drawing each would take longer than writing a file. It is
# prime, so that rows of weights never coincide.
_POOL_SIZE = 1_048_573


@dataclass(frozen=True, slots=True)
class Constant:
    """Numbers that a layer reads beside its inputs.

    Attributes:
        slot: place among all that the layer reads, its inputs included.
        shape: of the numbers; empty of a single one.
        limit: weights are drawn uniformly from ``center - limit`` to ``center + limit``.
        center: middle of that interval.
        values: the numbers themselves where they are given: integers (64 bits) or floats.
        role: ``weight`` is trained; ``buffer`` is read at run time but not trained; ``argument``
            tells a shape or an axis and is no work.
    """

    slot: int
    shape: tuple[int, ...] = ()
    limit: float = 0.0
    center: float = 0.0
    values: tuple[float, ...] | tuple[int, ...] | None = None
    role: str = WEIGHT

    @property
    def params(self) -> int:
        """Trainable numbers."""
        return prod(self.shape) if self.role == WEIGHT else 0

    @property
    def bytes(self) -> int:
        """Bytes that are read at run time."""
        if self.role == ARGUMENT:
            return 0
        return prod(self.shape) * (_INTEGER_BYTES if self.is_whole else _FLOAT_BYTES)

    @property
    def is_whole(self) -> bool:
        """Whether the numbers are integers."""
        return bool(self.values) and isinstance(self.values[0], int)  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class Constants:
    """All constants of a layer, with their sums.

    Attributes:
        items: the constants.
        params: trainable numbers.
        bytes: that are read at run time.
    """

    items: tuple[Constant, ...]
    params: int
    bytes: int

    @classmethod
    def of(cls, *items: Constant) -> Self:
        """Return a set of the given constants."""
        return cls(items, sum([x.params for x in items]), sum([x.bytes for x in items]))


NO_CONSTANTS = Constants((), 0, 0)


def he_weight(shape: tuple[int, ...], fan_in: int) -> Constant:
    """Weights of a variance that keeps that of sums of ``fan_in`` terms."""
    return Constant(1, shape, sqrt(3 / fan_in))


def shift(features: int, slot: int) -> Constant:
    """A bias."""
    return Constant(slot, (features,), BIAS_LIMIT)


@lru_cache(maxsize=4096)
def conv_constants(shape: tuple[int, ...], bias: str = "") -> Constants:
    """Weights of a convolution, and its bias: ``bias``, ``zero`` (not trained) or none."""
    weight = he_weight(shape, prod(shape[1:]))
    if bias == "zero":
        return Constants.of(weight, Constant(2, shape[:1], role=BUFFER))
    return Constants.of(weight, shift(shape[0], 2)) if bias else Constants.of(weight)


@lru_cache(maxsize=1024)
def norm_constants(channels: int) -> Constants:
    """Scale, shift, mean and variance of a batch norm."""
    spread = Constant(1, (channels,), 0.5, 1.0)
    mean = Constant(3, (channels,), BIAS_LIMIT, role=BUFFER)
    return Constants.of(spread, shift(channels, 2), mean, replace(spread, slot=4, role=BUFFER))


@lru_cache(maxsize=64)
def numbers(*values: float) -> Constants:
    """Single numbers after the input."""
    return Constants.of(
        *(Constant(n, values=(float(x),), role=BUFFER) for n, x in enumerate(values, 1))
    )


def argument(*values: int) -> Constants:
    return Constants.of(Constant(1, (len(values),), values=values, role=ARGUMENT))


def draw(
    constants: Iterable[tuple[Constant, ...]], gains: Iterable[float], seed: int
) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Values of the constants of one layer after the other, the same for the same seed.

    Args:
        constants: of every layer.
        gains: of every layer the factor on the limit of its first constant.
        seed: of those that are drawn; given values do not depend on it.
    """
    rng = np.random.default_rng(seed)
    pool = rng.random(_POOL_SIZE, dtype=np.float32)
    pool *= 2
    pool -= 1

    def values(x: Constant, gain: float) -> npt.NDArray[Any]:
        if x.values is not None:
            kind = np.int64 if x.is_whole else np.float32
            return np.array(x.values, dtype=kind).reshape(x.shape)
        if not x.limit:
            return np.full(x.shape, x.center, dtype=np.float32)
        start = int(rng.integers(_POOL_SIZE))
        drawn = _cycle(pool, start, prod(x.shape), np.float32(x.limit * gain))
        if x.center:
            drawn += np.float32(x.center)
        return drawn.reshape(x.shape)

    for of_layer, gain in zip(constants, gains, strict=True):
        yield tuple([values(x, 1.0 if n else gain) for n, x in enumerate(of_layer)])


def _cycle(
    pool: npt.NDArray[np.float32], start: int, count: int, factor: np.float32
) -> npt.NDArray[np.float32]:
    """``count`` numbers of ``pool`` from ``start`` on, round and round, times ``factor``."""
    result = np.empty(count, dtype=np.float32)
    done = 0
    while done < count:
        part = pool[start : start + count - done]
        np.multiply(part, factor, out=result[done : done + len(part)])
        done += len(part)
        start = 0
    return result
