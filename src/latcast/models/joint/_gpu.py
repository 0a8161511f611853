"""Products of matrices on GPUs, as the GPUs execute them.

A GPU computes a product in tiles, one to a multiprocessor at a time: what it executes is whole
tiles in waves over all multiprocessors, and each tile has a prologue. That, and clocks held down by
the power of a board, is most of what tells one GPU's efficiency from another's; the rest (which
tiles a library picks, the host's launches) is for a target's weights. Constants were fitted to the
fp32 operators that PyTorch 2.1 ran on P4, P100, V100, T4 and A100 (NeuSight, Lee et al., 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from latcast.networks import ALL_KINDS, Networks

Floats = npt.NDArray[np.float64]
Facts = Mapping[str, float | None]

# Tiles (rows, columns) that libraries choose from, and logarithms of their speed on full waves:
# smaller ones read more for what they compute.
TILES = np.array([(128, 128), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128), (32, 32)])
TILE_SPEED = np.array([0.0, -0.05, -0.05, -0.1, -0.3, -0.5, -0.7])
# Blocks that the sum of one tile is split among; each but the first adds a pass over the sums.
SPLITS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
SPLIT_DEPTH = 60.0
# Steps of the sum that a tile's prologue and epilogue are worth.
PROLOGUE = 60.0
# How far the last wave counts as whole: blocks of several waves overlap, so only partly.
QUANTIZED = 0.15
# What one block alone falls short of, as a multiprocessor hides latencies with others.
ALONE = 0.3
# Softness of the least over tiles: libraries pick by rules, not by trying.
SOFTNESS = 0.03

# Products whose depth or columns do not fill loads of four numbers take this much longer.
UNALIGNED = 0.12
# Pascal's translation of addresses: rows of the output beyond this width slow a product down by
# their width alone. P100 falls from .75 of its peak (6,000 columns) to .28 (50,000), P4 from .85 to
# .5; V100 loses a tenth, T4 and A100 nothing.
WIDE, WIDE_RANGE = 8192.0, 1.4
PASCAL_SLOPE, LATER_SLOPE = 0.7, 0.02

# Energy of an operation in fp32 that the board has to supply (J), and the duration beyond which a
# kernel runs at the clock that this sustains (s). A T4 has 8.6 pJ at its peak: its products run at
# .95 of it when short and at .50 beyond 3 ms; A100 12.8 (.83), P4 13.6 (.86), V100 17.9 (.96).
ENERGY, SHORT = 16.5e-12, 1.0e-3
# Processes since those cards: an assumption, as no table has fp32 products of a newer one.
ENERGY_YEAR, YEARS_TO_HALF = 2020.0, 2.2

_PRODUCTS = ("conv", "conv_transpose", "linear", "matmul")


class Product(NamedTuple):
    """Products of matrices of d kernels: ``number`` of (rows x depth) by (depth x columns)."""

    number: Floats
    rows: Floats
    columns: Floats
    depth: Floats


def multiprocessors(facts: Facts) -> float | None:
    """Streaming multiprocessors or compute units of a GPU; None where they are unknown.

    NVIDIA's have 64 cores each on the P100, Volta, Turing and the A100, and 128 on others since
    2014; AMD's have 64. Other makers' are not counted.
    """
    cores = facts.get("cores")
    if not cores or not (facts.get("vendor_nvidia") or facts.get("vendor_amd")):
        return None
    year, hbm = facts.get("year") or 2020.0, facts.get("memory_hbm") or 0.0
    small = year <= 2021 if hbm else 2017 < year < 2020
    return cores / (64.0 if small or facts.get("vendor_amd") else 128.0)


def executed_operations(networks: Networks, facts: Facts) -> Floats:
    """Operations (two for a multiply-add) that a GPU's peak is spent on, shape (d,).

    Those of products count whole tiles and waves, and the clock that the power of the board
    sustains; other kernels' are theirs, and so are all on matrix units, or where units or the peak
    are unknown. Divided by the peak they do not fall with batch or sequence, nor rise with cores
    of one clock.

    Args:
        networks: d kernels.
        facts: of the target, as :class:`TargetFacts` has them.
    """
    if (shapes := _SHAPES.get(networks)) is None:
        shapes = _SHAPES[networks] = _Shapes.of(networks)
    operations, some = shapes.operations, shapes.is_product
    units, peak = multiprocessors(facts), facts.get("peak_flops")
    # What matrix units execute was not fitted: their tiles, and the energy that they take, differ.
    has_matrices = bool(peak) and (peak or 0.0) > 1.01 * (facts.get("base_flops") or np.inf)
    if not (units and peak) or has_matrices or not some.any():
        return operations.copy()
    if units not in shapes.tiled:
        shapes.tiled[units] = _log_tiled(shapes.products, units)
    logs = shapes.tiled[units] + shapes.unaligned
    logs += shapes.wide * (PASCAL_SLOPE if _is_pascal(facts) else LATER_SLOPE)
    logs += _held_down(np.log(operations[some] * _energy_ratio(facts)) - logs, np.exp(logs) / peak)
    result = operations.copy()
    result[some] = np.exp(logs)
    return np.asarray(result)


@dataclass(frozen=True, eq=False)
class _Shapes:
    """The facts of kernels that follow from their shapes alone, on any GPU.

    Attributes:
        operations: two for a multiply-add, shape (d,).
        is_product: whether they are products of matrices with operations, shape (d,).
        products: the shapes of those, p of them.
        unaligned: logarithm of how much longer they take for numbers that fill no loads, (p,).
        wide: as of :func:`_wide`, shape (p,).
        tiled: units of a GPU -> :func:`_log_tiled`, shape (p,), of those that were asked about.
    """

    operations: Floats
    is_product: npt.NDArray[np.bool_]
    products: Product
    unaligned: Floats
    wide: Floats
    tiled: dict[float, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, networks: Networks) -> _Shapes:
        operations = np.asarray(2 * networks.fact("macs"))
        kinds = np.array(ALL_KINDS)[networks.kinds]
        alone = (networks.fact("groups") > 1) & (networks.fact("inputs") <= 1)
        some = np.isin(kinds, _PRODUCTS) & ~alone & (operations > 0)
        product = _products(networks, some)
        # Not of products of activations: with a longer sequence they would fall to a whole
        # multiple.
        aligned = (product.depth % 4 == 0) & (product.columns % 4 == 0)
        unaligned = np.where(aligned | (kinds[some] == "matmul"), 0.0, UNALIGNED)
        return cls(operations, some, product, unaligned, _wide(product.columns))


_SHAPES: WeakKeyDictionary[Networks, _Shapes] = WeakKeyDictionary()


def _products(networks: Networks, some: npt.NDArray[np.bool_]) -> Product:
    """Return the kernels that are products; the number of a batched one follows from its reads."""
    part = {
        name: np.maximum(networks.fact(name)[some], 1.0)
        for name in (
            "positions", "outputs", "inputs", "window", "groups", "read_bytes", "write_bytes"
        )
    }  # fmt: skip
    columns = part["outputs"] / part["groups"]
    depth = part["inputs"] * part["window"]
    # Numbers are as wide as those written. Both factors are read:
    # positions x depth, and number x depth x columns.
    width = np.maximum(part["write_bytes"] / (part["positions"] * part["outputs"]), 1.0)
    second = part["read_bytes"] / width - part["positions"] * depth
    batched = np.array(ALL_KINDS)[networks.kinds[some]] == "matmul"
    number = np.where(batched, np.round(second / (depth * columns)), part["groups"])
    number = np.clip(number, 1.0, np.where(batched, part["positions"], np.inf))
    rows = part["positions"] / np.where(batched, number, 1.0)
    return Product(number, rows, columns, depth)


def _log_tiled(product: Product, units: float) -> Floats:
    """Logarithm of operations in whole tiles and waves, by about the fastest tile, shape (d,)."""
    number, rows, columns, depth = (x[:, None, None] for x in product)
    high, wide = TILES[:, 0, None], TILES[:, 1, None]
    waves = number * np.ceil(rows / high) * np.ceil(columns / wide) * SPLITS / units
    waves = QUANTIZED * np.ceil(waves) + (1 - QUANTIZED) * np.maximum(waves, 1.0)
    steps = depth / SPLITS + PROLOGUE + SPLIT_DEPTH * (SPLITS > 1)
    operations = 2 * high * wide * units * waves * steps * (1 + ALONE / waves)
    logs = (np.log(operations) - TILE_SPEED[:, None]).reshape(len(number), -1)
    least = logs.min(axis=1)
    odds = np.exp((least[:, None] - logs) / SOFTNESS).sum(axis=1)
    return np.asarray(least - SOFTNESS * np.log(odds))


def _wide(columns: Floats) -> Floats:
    """Map numbers of columns to a feature from 0 (few) to at most :data:`WIDE_RANGE`."""
    beyond = 0.3 * np.logaddexp(0.0, np.log(columns / WIDE) / 0.3)
    return np.asarray(WIDE_RANGE * np.tanh(beyond / WIDE_RANGE))


def _is_pascal(facts: Facts) -> bool:
    year = facts.get("year")
    if not year or not facts.get("vendor_nvidia"):
        return False
    return year < 2017 or (year == 2017 and not facts.get("memory_hbm"))


def _held_down(beyond: Floats, seconds: Floats) -> Floats:
    """Logarithm of how much longer kernels take at the clock that the board sustains, shape (d,).

    Args:
        beyond: logarithm of the time for which the board supplies their energy over their own.
        seconds: their own, at the peak clock. Short ones are over before the clock is lowered.
    """
    return np.asarray(0.1 * np.logaddexp(0.0, beyond / 0.1) / (1 + (SHORT / seconds) ** 2))


def _energy_ratio(facts: Facts) -> float:
    """Energy of an operation over what the board supplies at its peak; tiny where unknown."""
    power, peak = facts.get("power_w"), facts.get("peak_flops")
    if not (power and peak):
        return 1e-9
    years = max((facts.get("year") or ENERGY_YEAR) - ENERGY_YEAR, 0.0)
    return float(ENERGY * 0.5 ** (years / YEARS_TO_HALF) * peak / power)
