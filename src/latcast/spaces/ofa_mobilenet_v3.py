"""OFA-MobileNetV3: kernel 3/5/7, expand ratio 3/4/6, depth 2/3/4 over 5 stages of 4 positions.

The network of *Once-for-All: Train One Network and Specialize it for Efficient Deployment*
(arXiv:1908.09791), for one width multiplier.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.networks import (
    Block,
    InvertedResidual,
    MobileNetV3,
    conv_block,
    linear_block,
    make_divisible,
    pool_block,
)

from ._archs import Archs, Genes
from ._base import Gene, SearchSpace
from ._block_table import BlockTable
from ._ofa_dicts import BLOCKS, POSITIONS, STAGES, format_ofa_dicts, parse_ofa_dicts

KERNEL_SIZES = (3, 5, 7)
EXPAND_RATIOS = (3, 4, 6)
DEPTHS = (2, 3, 4)
RESOLUTIONS = tuple(range(128, 241, 4))
CLASSES = 1000

BASE_WIDTHS = (16, 16, 24, 40, 80, 112, 160, 960, 1280)
STRIDES = (2, 2, 2, 1, 2)
ACTIVATIONS = ("relu", "relu", "h_swish", "h_swish", "h_swish")
SQUEEZE_EXCITATION = (False, True, False, True, True)

KS = slice(0, BLOCKS)
E = slice(BLOCKS, 2 * BLOCKS)
D = slice(2 * BLOCKS, 2 * BLOCKS + STAGES)
R = 2 * BLOCKS + STAGES

# Rows of the block table at one resolution: first conv, first block, then per stage the 9
# choices of the first position and the 9 that the other positions share, then the head.
_CHOICES = len(KERNEL_SIZES) * len(EXPAND_RATIOS)
_STAGE_ROWS = 2 * _CHOICES
_HEAD = 2 + STAGES * _STAGE_ROWS
_ROWS = _HEAD + 4

_ONE_HOT_RESOLUTIONS = np.arange(128, 241, 16)


def _index_of(choices: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Table value -> its index among ``choices`` (other values: 0)."""
    table = np.zeros(256, dtype=np.int32)
    table[list(choices)] = np.arange(len(choices))
    return table


_KERNEL_OFFSET = _index_of(KERNEL_SIZES) * len(EXPAND_RATIOS)
_EXPAND_OFFSET = _index_of(EXPAND_RATIOS)
_RESOLUTION_OFFSET = _index_of(RESOLUTIONS) * _ROWS
_POSITION_BASE = (
    2
    + np.repeat(np.arange(STAGES), POSITIONS) * _STAGE_ROWS
    + np.tile([0, _CHOICES, _CHOICES, _CHOICES], STAGES)
).astype(np.int32)
_FIXED_ROWS = np.array([0, 1, _HEAD, _HEAD + 1, _HEAD + 2, _HEAD + 3], dtype=np.int32)


def active_blocks(genes: Genes) -> npt.NDArray[np.bool_]:
    """Which of the 20 positions each architecture's depths keep, shape (n, 20)."""
    depths = np.repeat(genes[:, D], POSITIONS, axis=1)
    return np.tile(np.arange(POSITIONS, dtype=np.uint8), STAGES) < depths


class OFAMobileNetV3(SearchSpace):
    """The space at one width multiplier.

    Genes, in order: ``ks1`` … ``ks20``, ``e1`` … ``e20``, ``d1`` … ``d5`` and ``r``.
    """

    def __init__(self, name: str, width: float) -> None:
        self.name = name
        self.width = width
        self.description = (
            f"Once-For-All MobileNetV3, width {width}: kernel size 3/5/7, expand ratio 3/4/6, "
            "depth 2/3/4 in 5 stages, resolution 128–240"
        )
        self.genes = (
            *(Gene(f"ks{i}", KERNEL_SIZES) for i in range(1, BLOCKS + 1)),
            *(Gene(f"e{i}", EXPAND_RATIOS) for i in range(1, BLOCKS + 1)),
            *(Gene(f"d{i}", DEPTHS) for i in range(1, STAGES + 1)),
            Gene("r", RESOLUTIONS),
        )

    def parse(self, items: Iterable[Any]) -> Archs:
        """Architectures from OFA dicts (:mod:`latcast.spaces._ofa_dicts`)."""
        return Archs(self, parse_ofa_dicts(items))

    def format(self, archs: Archs) -> list[dict[str, Any]]:
        """OFA dicts of every architecture."""
        return format_ofa_dicts(archs.genes)

    def canonical_genes(self, genes: Genes) -> Genes:
        """Kernel sizes and expand ratios of positions beyond a stage's depth become 0."""
        result = genes.copy()
        inactive = ~active_blocks(genes)
        result[:, KS][inactive] = 0
        result[:, E][inactive] = 0
        return result

    def block_ids(self, archs: Archs) -> npt.NDArray[np.int32]:
        """First conv, first block, 20 positions, final expand, pool, feature mix, classifier."""
        genes = archs.genes
        offset = _RESOLUTION_OFFSET[genes[:, R]][:, None]
        ids = np.empty((len(genes), BLOCKS + len(_FIXED_ROWS)), dtype=np.int32)
        body = ids[:, 2 : 2 + BLOCKS]
        np.take(_KERNEL_OFFSET, genes[:, KS], out=body)
        body += np.take(_EXPAND_OFFSET, genes[:, E])
        body += _POSITION_BASE
        body += offset
        body[~active_blocks(genes)] = len(RESOLUTIONS) * _ROWS
        ids[:, :2] = _FIXED_ROWS[:2] + offset
        ids[:, 2 + BLOCKS :] = _FIXED_ROWS[2:] + offset
        return ids

    def one_hot(self, archs: Archs) -> npt.NDArray[np.float32]:
        """The paper's 128 inputs: kernel 60, expand 60, resolution 8; inactive blocks are 0.

        A resolution between two multiples of 16 is shared between them in proportion, so that
        multiples of 16 are one-hot.
        """
        genes = self.canonical_genes(archs.genes)
        kernels = genes[:, KS, None] == np.array(KERNEL_SIZES, dtype=np.uint8)
        expands = genes[:, E, None] == np.array(EXPAND_RATIOS, dtype=np.uint8)
        distance = np.abs(genes[:, R, None].astype(np.float32) - _ONE_HOT_RESOLUTIONS) / 16
        n = len(genes)
        return np.concatenate(
            [
                kernels.reshape(n, BLOCKS * 3),
                expands.reshape(n, BLOCKS * 3),
                np.maximum(0, 1 - distance),
            ],
            axis=1,
            dtype=np.float32,
        )

    def one_hot_to_blocks(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Kernel and expand inputs go to their position; the resolution to none."""
        blocks = np.zeros((len(shares), BLOCKS + len(_FIXED_ROWS)))
        parts = shares[:, : 2 * BLOCKS * 3].reshape(len(shares), 2, BLOCKS, 3)
        blocks[:, 2 : 2 + BLOCKS] = parts.sum(axis=(1, 3))
        return blocks

    def specification(self, arch: Archs) -> MobileNetV3:
        """Widths and blocks of one architecture (a batch of one).

        Raises:
            ValueError: the batch does not hold exactly one architecture.
        """
        if len(arch) != 1:
            raise ValueError(f"a network is built from one architecture; got {len(arch)}")
        genes = arch.genes
        channels, first_width, *_, expand_width, mix_width = self._widths()
        blocks = [_first_block(channels, first_width)]
        positions = [0]
        for n in np.flatnonzero(active_blocks(genes)[0]).tolist():
            stage, position = divmod(n, POSITIONS)
            kernel_size, expand_ratio = int(genes[0, KS][n]), int(genes[0, E][n])
            blocks.append(self._elastic(stage, position == 0, kernel_size, expand_ratio))
            positions.append(1 + n)
        return MobileNetV3(
            channels, tuple(blocks), tuple(positions), expand_width, mix_width, CLASSES
        )

    def supernet(self) -> MobileNetV3:
        """Widths and blocks of the network that holds all others, all genes at their largest."""
        largest = [gene.choices[-1] for gene in self.genes]
        return self.specification(Archs(self, [largest]))

    def _build_block_table(self) -> BlockTable:
        blocks: list[Block] = []
        keys: list[str] = []
        for resolution in RESOLUTIONS:
            for block, key in self._rows(resolution):
                blocks.append(block)
                keys.append(f"{resolution}/{key}")
        groups = np.tile(np.arange(_ROWS, dtype=np.int32), len(RESOLUTIONS))
        return BlockTable.build(blocks, keys, groups)

    def _rows(self, resolution: int) -> list[tuple[Block, str]]:
        """Blocks at one resolution, each with the key that OFA's lookup tables give it."""
        channels, first_width, *stage_widths, expand_width, mix_width = self._widths()
        side = -(-resolution // 2)
        image = (3, resolution, resolution)
        rows = [
            (
                conv_block(image, channels, "first conv", kernel_size=3, stride=2,
                           activation="h_swish"),
                f"Conv-input:{_shape(resolution, 3)}-output:{_shape(side, channels)}",
            )
        ]  # fmt: skip
        first = _first_block(channels, first_width)
        rows.append((first.block(side, "first block"), _mb_key(first, side)))
        for stage in range(STAGES):
            rows += self._choices(stage, side, first=True)
            side = -(-side // STRIDES[stage])
            rows += self._choices(stage, side, first=False)
        channels = stage_widths[-1]
        rows += [
            (
                conv_block((channels, side, side), expand_width, "final expand",
                           activation="h_swish"),
                f"Conv_1-input:{_shape(side, channels)}-output:{_shape(side, expand_width)}",
            ),
            (
                pool_block((expand_width, side, side), "pool"),
                f"AvgPool2D-input:{_shape(side, expand_width)}-output:{_shape(1, expand_width)}",
            ),
            (
                conv_block((expand_width, 1, 1), mix_width, "feature mix", activation="h_swish",
                           batch_norm=False),
                f"Conv_2-input:{_shape(1, expand_width)}-output:{_shape(1, mix_width)}",
            ),
            (
                linear_block(mix_width, CLASSES, "classifier"),
                f"Logits-input:{_shape(1, mix_width)}-output:{CLASSES}",
            ),
        ]  # fmt: skip
        return rows

    def _choices(self, stage: int, side: int, *, first: bool) -> list[tuple[Block, str]]:
        """The 9 blocks that kernel size and expand ratio choose between."""
        rows = []
        for kernel_size in KERNEL_SIZES:
            for expand_ratio in EXPAND_RATIOS:
                spec = self._elastic(stage, first, kernel_size, expand_ratio)
                name = f"stage {stage + 1}: kernel {kernel_size}, expand {expand_ratio}"
                rows.append((spec.block(side, name), _mb_key(spec, side)))
        return rows

    def _elastic(
        self, stage: int, first: bool, kernel_size: int, expand_ratio: int
    ) -> InvertedResidual:
        """A block of a stage, whose first one changes the width and may halve the side."""
        before, width = self._widths()[1 + stage : 3 + stage]
        in_channels = before if first else width
        return InvertedResidual(
            in_channels, in_channels * expand_ratio, width, kernel_size,
            STRIDES[stage] if first else 1, ACTIVATIONS[stage], SQUEEZE_EXCITATION[stage],
        )  # fmt: skip

    def _widths(self) -> list[int]:
        """Of the first conv, the first block, the stages, the final expand and the feature mix."""
        return [make_divisible(w * self.width) for w in BASE_WIDTHS]


def _first_block(channels: int, width: int) -> InvertedResidual:
    return InvertedResidual(channels, channels, width, 3, 1, "relu", False, expands=False)


def _shape(side: int, channels: int) -> str:
    return f"{side}x{side}x{channels}"


def _mb_key(spec: InvertedResidual, side: int) -> str:
    out_side = -(-side // spec.stride)
    return (
        f"expanded_conv-input:{_shape(side, spec.in_channels)}"
        f"-output:{_shape(out_side, spec.out_channels)}-expand:{spec.mid_channels}"
        f"-kernel:{spec.kernel_size}-stride:{spec.stride}-idskip:{int(spec.residual)}"
        f"-se:{int(spec.squeeze_excitation)}-hs:{int(spec.activation == 'h_swish')}"
    )
