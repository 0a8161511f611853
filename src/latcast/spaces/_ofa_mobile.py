"""The base of the Once-For-All spaces of inverted residual blocks.

*Once-for-All: Train One Network and Specialize it for Efficient Deployment* (arXiv:1908.09791):
kernel 3/5/7, expand ratio 3/4/6, depth 2/3/4 over 5 stages of 4 positions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from ._base import Archs, Gene, Genes, one_hot
from ._block_table import BlockTable
from ._mobile import InvertedResidual, conv_block, make_divisible
from ._once_for_all import (
    POSITIONS,
    RESOLUTIONS,
    STAGES,
    DictForm,
    SupernetSpace,
    index_of,
    resolution_shares,
)

if TYPE_CHECKING:
    from latcast.graph import Graph

KERNEL_SIZES = (3, 5, 7)
EXPAND_RATIOS = (3, 4, 6)
DEPTHS = (2, 3, 4)
CLASSES = 1000

_CHOICES = len(KERNEL_SIZES) * len(EXPAND_RATIOS)
_RESOLUTION_INDEX = index_of(RESOLUTIONS).astype(np.uint16)
# Of the 20 positions.
_STAGE_OF, _POSITION_OF = np.divmod(np.arange(STAGES * POSITIONS), POSITIONS)
# A block's choice as a number, 0 for no choice: kernel size times 8, and expand ratio.
_KERNEL_CODE = 8
_CODES = _KERNEL_CODE * (max(KERNEL_SIZES) + 1)

# A row of the block table: a block and its key.
Row: TypeAlias = "tuple[Graph, str]"


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width; the first of them changes the width and may halve the side."""

    width: int
    stride: int
    activation: str
    squeeze_excitation: bool
    positions: int = POSITIONS


def active_positions(depths: Genes) -> npt.NDArray[np.bool_]:
    """Return which of the 20 positions the depths (n, 5) keep, shape (n, 20)."""
    active: npt.NDArray[np.bool_] = np.take(depths, _STAGE_OF, axis=1) > _POSITION_OF
    return active


class OFAMobileSpace(SupernetSpace):
    """A space at one width multiplier: first conv, first block, stages, head.

    Genes, in order: kernel sizes ``ks1`` … and expand ratios ``e1`` … of all blocks of the
    stages, depths ``d1`` … ``d5`` and the resolution ``r``. A stage of one position after the
    fifth has no depth.
    """

    base_widths: ClassVar[tuple[int, int]]
    """Widths of the first conv and the first block, before the width multiplier."""
    stages: ClassVar[tuple[Stage, ...]]
    activation: ClassVar[str]
    """Activation of the first conv and of the head."""
    head_rows: ClassVar[int]
    """Blocks after the last stage."""
    form: ClassVar[DictForm]

    def __init__(self, name: str, width: float, description: str) -> None:
        self.name = name
        self.width = width
        self.description = description
        self._stage_of = [n for n, s in enumerate(self.stages) for _ in range(s.positions)]
        self._position_of = [p for s in self.stages for p in range(s.positions)]
        blocks = len(self._stage_of)
        self._ks, self._e = slice(0, blocks), slice(blocks, 2 * blocks)
        self._d, self._r = slice(2 * blocks, 2 * blocks + STAGES), 2 * blocks + STAGES
        self.genes = (
            *(Gene(f"ks{i}", KERNEL_SIZES) for i in range(1, blocks + 1)),
            *(Gene(f"e{i}", EXPAND_RATIOS) for i in range(1, blocks + 1)),
            *(Gene(f"d{i}", DEPTHS) for i in range(1, STAGES + 1)),
            Gene("r", RESOLUTIONS),
        )
        self._bases, self._rows_each = self._layout()

    def parse(self, items: Iterable[Any]) -> Archs:
        """Architectures from OFA dicts (:mod:`latcast.spaces._once_for_all`)."""
        return Archs(self, self.form.parse(items))

    def format(self, archs: Archs) -> list[dict[str, Any]]:
        """OFA dicts of every architecture."""
        return self.form.format(archs.genes)

    def canonical_genes(self, genes: Genes) -> Genes:
        """Kernel sizes and expand ratios of positions beyond a stage's depth become 0."""
        result = genes.copy()
        inactive = ~self._active(genes)
        result[:, self._ks][inactive] = 0
        result[:, self._e][inactive] = 0
        return result

    def block_ids(self, archs: Archs) -> npt.NDArray[np.int32]:
        """First conv, first block, every position of the stages, head."""
        genes = archs.genes
        end = 2 + len(self._stage_of)
        # One look-up by resolution, position and choice, whose indices are small integers: half of
        # the time of adding up what each of the genes contributes.
        places = np.empty((len(genes), end + self.head_rows), dtype=np.uint16)
        places[:] = _CODES * np.arange(places.shape[1], dtype=np.uint16)
        codes = genes[:, self._ks] * np.uint8(_KERNEL_CODE)
        codes += genes[:, self._e]
        codes *= self._active(genes)
        places[:, 2:end] += codes
        step = np.uint16(_CODES * places.shape[1])
        places += (_RESOLUTION_INDEX[genes[:, self._r]] * step)[:, None]
        return np.take(self._rows_by_place, places)

    @cached_property
    def _rows_by_place(self) -> npt.NDArray[np.int32]:
        """Row of every resolution, position in :meth:`block_ids` and code of a choice, flat."""
        end, none = 2 + len(self._stage_of), len(RESOLUTIONS) * self._rows_each
        rows = np.full((len(RESOLUTIONS), end + self.head_rows, _CODES), none, dtype=np.int32)
        offset = self._rows_each * np.arange(len(RESOLUTIONS), dtype=np.int32)[:, None]
        choices = product(KERNEL_SIZES, EXPAND_RATIOS)
        for n, (kernel_size, expand_ratio) in enumerate(choices):
            rows[:, 2:end, _KERNEL_CODE * kernel_size + expand_ratio] = offset + self._bases + n
        rows[:, :2, 0] = offset + np.arange(2)
        rows[:, end:, 0] = offset + np.arange(self._rows_each - self.head_rows, self._rows_each)
        return rows.ravel()

    def one_hot(self, archs: Archs) -> npt.NDArray[np.float32]:
        """Kernel sizes, expand ratios, resolution (8); inactive blocks are 0.

        A resolution between two multiples of 16 is shared between them in proportion, so that
        multiples of 16 are one-hot. At 20 blocks these are the 128 inputs of arXiv:2101.00732.
        """
        genes = self.canonical_genes(archs.genes)
        kernels = one_hot(genes[:, self._ks], KERNEL_SIZES)
        expands = one_hot(genes[:, self._e], EXPAND_RATIOS)
        return np.concatenate([kernels, expands, resolution_shares(genes[:, self._r])], axis=1)

    def one_hot_to_blocks(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Kernel and expand inputs go to their position; the resolution to none."""
        count = len(self._stage_of)
        blocks = np.zeros((len(shares), 2 + count + self.head_rows))
        parts = shares[:, : 2 * count * 3].reshape(len(shares), 2, count, 3)
        blocks[:, 2 : 2 + count] = parts.sum(axis=(1, 3))
        return blocks

    def _active(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """Return which positions of the stages each architecture's depths keep, (n, blocks)."""
        active = np.ones((len(genes), len(self._stage_of)), dtype=np.bool_)
        active[:, : STAGES * POSITIONS] = active_positions(genes[:, self._d])
        return active

    def _body(self, arch: Archs) -> tuple[tuple[InvertedResidual, ...], tuple[int, ...]]:
        """Blocks of one architecture (a batch of one), each with its number in the supernet."""
        self._check_one(arch)
        genes = arch.genes
        blocks, positions = [self._first_block()], [0]
        for n in np.flatnonzero(self._active(genes)[0]).tolist():
            stage, position = self._stage_of[n], self._position_of[n]
            kernel_size, expand_ratio = int(genes[0, self._ks][n]), int(genes[0, self._e][n])
            blocks.append(self._elastic(stage, position == 0, kernel_size, expand_ratio))
            positions.append(1 + n)
        return tuple(blocks), tuple(positions)

    def _layout(self) -> tuple[npt.NDArray[np.int32], int]:
        """First row of every position at the lowest resolution, and the rows of a resolution.

        Rows are those of the first conv and the first block, then per stage the 9 choices of the
        first position and the 9 that the others share, then the head.
        """
        bases, row = [], 2
        for stage in self.stages:
            bases += [row] + [row + _CHOICES] * (stage.positions - 1)
            row += _CHOICES * min(stage.positions, 2)
        return np.array(bases, dtype=np.int32), row + self.head_rows

    def _build_block_table(self) -> BlockTable:
        groups = np.tile(np.arange(self._rows_each, dtype=np.int32), len(RESOLUTIONS))
        return BlockTable.stored(self.name, self._all_rows, groups)

    def _all_rows(self) -> tuple[list[Graph], list[str]]:
        """The blocks of all resolutions, and their keys."""
        rows = [(r, block, key) for r in RESOLUTIONS for block, key in self._rows(r)]
        return [block for _, block, _ in rows], [f"{r}/{key}" for r, _, key in rows]

    def _rows(self, resolution: int) -> list[Row]:
        """Blocks at one resolution, each with the key that OFA's lookup tables give it."""
        side = -(-resolution // 2)
        first = self._first_block()
        rows = [self._first_conv(resolution)]
        rows.append((first.block(side, "first block"), self._key(first, side)))
        for n, stage in enumerate(self.stages):
            rows += self._choices(n, side, first=True)
            side = -(-side // stage.stride)
            if stage.positions > 1:
                rows += self._choices(n, side, first=False)
        return [*rows, *self._head(side)]

    def _choices(self, stage: int, side: int, *, first: bool) -> Sequence[Row]:
        """The 9 blocks that kernel size and expand ratio choose between."""
        rows = []
        for kernel_size in KERNEL_SIZES:
            for expand_ratio in EXPAND_RATIOS:
                spec = self._elastic(stage, first, kernel_size, expand_ratio)
                name = f"stage {stage + 1}: kernel {kernel_size}, expand {expand_ratio}"
                rows.append((spec.block(side, name), self._key(spec, side)))
        return rows

    def _elastic(
        self, number: int, first: bool, kernel_size: int, expand_ratio: int
    ) -> InvertedResidual:
        """A block of a stage."""
        stage = self.stages[number]
        before = self.stages[number - 1].width if number else self.base_widths[1]
        in_channels = self._scaled(before if first else stage.width)
        return InvertedResidual(
            in_channels, in_channels * expand_ratio, self._scaled(stage.width), kernel_size,
            stage.stride if first else 1, stage.activation, stage.squeeze_excitation,
        )  # fmt: skip

    def _first_block(self) -> InvertedResidual:
        channels, width = map(self._scaled, self.base_widths)
        activation = self.stages[0].activation
        return InvertedResidual(channels, channels, width, 3, 1, activation, False, expands=False)

    def _scaled(self, width: int) -> int:
        """Channels of a base width."""
        return make_divisible(width * self.width)

    def _first_conv(self, resolution: int) -> Row:
        channels, image = self._scaled(self.base_widths[0]), (3, resolution, resolution)
        block = conv_block(
            image, channels, "first conv", kernel_size=3, stride=2, activation=self.activation
        )
        return keyed("Conv", block)

    @abstractmethod
    def _head(self, side: int) -> Sequence[Row]:
        """The blocks after the last stage, whose output has ``side`` pixels."""

    @abstractmethod
    def _key(self, spec: InvertedResidual, side: int) -> str:
        """Key of an inverted residual block in Once-For-All's lookup tables."""


def keyed(kind: str, block: Graph) -> Row:
    """A block with its key in Once-For-All's lookup tables."""
    read, written = _shape(block.in_shape[1:]), _shape(block.out_shape[1:])
    return block, f"{kind}-input:{read}-output:{written}"


def _shape(shape: tuple[int, ...]) -> str:
    """Sides before channels; of a vector its features alone."""
    channels, *sides = shape
    return "x".join(map(str, (*sides, channels)))


def expanded_conv_key(spec: InvertedResidual, side: int, expand: int) -> str:
    """The part of Once-For-All's lookup-table keys that all inverted residual blocks share.

    Args:
        spec: of the block.
        side: of its input.
        expand: channels of its depthwise convolution, or how often they are its input's.
    """
    out_side = -(-side // spec.stride)
    in_shape, out_shape = (spec.in_channels, side, side), (spec.out_channels, out_side, out_side)
    return (
        f"expanded_conv-input:{_shape(in_shape)}-output:{_shape(out_shape)}-expand:{expand}"
        f"-kernel:{spec.kernel_size}-stride:{spec.stride}-idskip:{int(spec.residual)}"
    )
