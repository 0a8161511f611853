"""FBNet: 22 layers, each one of 9 blocks.

*FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search*
(arXiv:1812.03443), as *HW-NAS-Bench* (arXiv:2103.10584) builds it for CIFAR-100 and ImageNet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import short_repr, unknown_name
from latcast.graph import Graph, GraphBuilder

from ._base import Archs, Gene, Genes, SearchSpace, one_hot
from ._block_table import BlockTable
from ._mobile import conv_block, conv_bn, linear_block, pool_block


@dataclass(frozen=True, slots=True)
class FBNetDataset:
    """Sizes that all networks for one dataset have."""

    title: str
    resolution: int
    stem_stride: int
    strides: tuple[int, ...]
    head_width: int
    classes: int


CIFAR100 = FBNetDataset("CIFAR-100", 32, 1, (1, 1, 2, 2, 1, 2, 1), 1504, 100)
IMAGENET = FBNetDataset("ImageNet", 224, 2, (1, 2, 2, 2, 1, 2, 1), 1984, 1000)

# Table 1 of arXiv:1812.03443: the searched stages, with their numbers of layers.
WIDTHS = (16, 24, 32, 64, 112, 184, 352)
DEPTHS = (1, 4, 4, 4, 4, 4, 1)
STEM_WIDTH = 16

BLOCKS = {
    "k3_e1": (3, 1, 1),
    "k3_e1_g2": (3, 1, 2),
    "k3_e3": (3, 3, 1),
    "k3_e6": (3, 6, 1),
    "k5_e1": (5, 1, 1),
    "k5_e1_g2": (5, 1, 2),
    "k5_e3": (5, 3, 1),
    "k5_e6": (5, 6, 1),
}
"""Name -> kernel size, expand ratio, groups of the 1 x 1 convolutions."""
SKIP = "skip"
CHOICES = (*BLOCKS, SKIP)
LAYERS = 22

CODES = {name: code for code, name in enumerate(CHOICES, start=1)}
_SKIP_CODE = CODES[SKIP]


@dataclass(frozen=True, slots=True)
class _Position:
    """The blocks that one or more layers choose among."""

    name: str
    in_channels: int
    channels: int
    stride: int
    side: int

    @property
    def skip_is_identity(self) -> bool:
        return self.stride == 1 and self.in_channels == self.channels


class FBNet(SearchSpace):
    """The space for one dataset.

    Genes ``layer1`` … ``layer22`` are 1 k3_e1, 2 k3_e1_g2, 3 k3_e3, 4 k3_e6, 5 k5_e1, 6 k5_e1_g2,
    7 k5_e3, 8 k5_e6 (kernel size, expand ratio, groups) and 9 skip. A skip is no block at all
    where the shape stays, else a 1 x 1 convolution with batch norm and ReLU.
    """

    def __init__(self, name: str, dataset: FBNetDataset) -> None:
        self.name = name
        self.dataset = dataset
        self.description = (
            f"FBNet for {dataset.title} ({dataset.resolution} x {dataset.resolution}): "
            f"one of 9 blocks in each of {LAYERS} layers"
        )
        choices = tuple(CODES.values())
        self.genes = tuple(Gene(f"layer{i}", choices) for i in range(1, LAYERS + 1))
        self._positions, position_of = _positions(dataset)
        self._ids = self._choice_rows()[position_of]
        self._has_skip = np.array([not self._positions[p].skip_is_identity for p in position_of])

    def parse(self, items: Iterable[Any]) -> Archs:
        """Architectures from HW-NAS-Bench's lists.

        ``{"op_idx_list": [22 numbers], "arch_str": [22 names]}``: numbers count :data:`CHOICES`
        from 0. Either will do; with both, they must agree. A plain list of names or numbers will
        do as well.
        """
        rows = [_parse_one(n, item) for n, item in enumerate(items)]
        return Archs(self, np.array(rows, dtype=np.int64).reshape(len(rows), LAYERS))

    def format(self, archs: Archs) -> list[dict[str, Any]]:
        """Dicts with ``op_idx_list`` and ``arch_str`` of every architecture."""
        indices = (archs.genes.astype(np.int64) - 1).tolist()
        return [{"op_idx_list": row, "arch_str": [CHOICES[i] for i in row]} for row in indices]

    def canonical_genes(self, genes: Genes) -> Genes:
        """A copy of the genes, every one of which counts."""
        return genes.copy()

    def block_ids(self, archs: Archs) -> npt.NDArray[np.int32]:
        """Stem, 22 layers, last convolution, pool, classifier."""
        ids = np.empty((len(archs), 1 + LAYERS + 3), dtype=np.int32)
        ids[:, 0] = 0
        ids[:, 1 : 1 + LAYERS] = self._ids[np.arange(LAYERS), archs.genes]
        rows = len(self.block_table)
        ids[:, 1 + LAYERS :] = np.arange(rows - 3, rows)
        return ids

    def one_hot(self, archs: Archs) -> npt.NDArray[np.float32]:
        """198 inputs: layer by layer, which of the 9 blocks it has."""
        return one_hot(archs.genes, list(CODES.values()))

    def one_hot_to_blocks(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """A layer's inputs go to it; those of a skip that is no block are left out."""
        blocks = np.zeros((len(shares), 1 + LAYERS + 3))
        by_choice = shares.reshape(len(shares), LAYERS, len(CHOICES))
        skips = by_choice[:, :, _SKIP_CODE - 1] * self._has_skip
        blocks[:, 1 : 1 + LAYERS] = by_choice[:, :, : _SKIP_CODE - 1].sum(axis=2) + skips
        return blocks

    def _choice_rows(self) -> npt.NDArray[np.int32]:
        """Row of the block table by position and gene, shape (positions, 10)."""
        table = np.zeros((len(self._positions), len(CHOICES) + 1), dtype=np.int32)
        row = 1
        for place, position in zip(table, self._positions, strict=True):
            count = len(CHOICES) - position.skip_is_identity
            place[1 : 1 + count] = np.arange(row, row + count)
            row += count
        for place, position in zip(table, self._positions, strict=True):
            if position.skip_is_identity:
                place[_SKIP_CODE] = row + 3  # beyond the three blocks of the head: no block
        return table

    def _build_block_table(self) -> BlockTable:
        d = self.dataset
        image = (3, d.resolution, d.resolution)
        blocks = [
            conv_block(image, STEM_WIDTH, "stem", kernel_size=3, stride=d.stem_stride,
                       activation="relu")
        ]  # fmt: skip
        groups = [0]
        for position in self._positions:
            for code, choice in enumerate(CHOICES, start=1):
                if choice != SKIP or not position.skip_is_identity:
                    blocks.append(_block(position, choice))
                    groups.append(code)
        _, _, height, width = blocks[-1].out_shape
        head = conv_block((WIDTHS[-1], height, width), d.head_width, "last conv", activation="relu")
        blocks += [
            head,
            pool_block((d.head_width, height, width), "pool"),
            linear_block(d.head_width, d.classes, "classifier"),
        ]
        groups += range(len(CHOICES) + 1, len(CHOICES) + 4)
        keys = [x.name.replace(": ", "/") for x in blocks]
        return BlockTable.build(blocks, keys, np.array(groups, dtype=np.int32))


def _positions(dataset: FBNetDataset) -> tuple[list[_Position], npt.NDArray[np.intp]]:
    """The distinct positions, and that of every layer (22,)."""
    positions: list[_Position] = []
    of_layer: list[int] = []
    channels, side = STEM_WIDTH, -(-dataset.resolution // dataset.stem_stride)
    stages = zip(WIDTHS, DEPTHS, dataset.strides, strict=True)
    for stage, (width, depth, stride) in enumerate(stages, start=1):
        positions.append(_Position(f"stage {stage} start", channels, width, stride, side))
        of_layer.append(len(positions) - 1)
        channels, side = width, -(-side // stride)
        if depth > 1:
            positions.append(_Position(f"stage {stage}", width, width, 1, side))
            of_layer += [len(positions) - 1] * (depth - 1)
    return positions, np.array(of_layer, dtype=np.intp)


def _block(position: _Position, choice: str) -> Graph:
    name = f"{position.name}: {choice}"
    shape = (position.in_channels, position.side, position.side)
    if choice == SKIP:
        return conv_block(shape, position.channels, name, stride=position.stride, activation="relu")
    kernel_size, expand_ratio, groups = BLOCKS[choice]
    mid = position.in_channels * expand_ratio
    b = GraphBuilder(name=name)
    x = b.input(*shape)
    y = conv_bn(b, x, mid, 1, "relu", groups=groups)
    if groups > 1:
        y = b.channel_shuffle(y, groups)
    y = conv_bn(b, y, mid, kernel_size, "relu", position.stride, groups=mid)
    y = conv_bn(b, y, position.channels, groups=groups)
    return b.build(b.add(y, x) if position.skip_is_identity else y)


def _parse_one(n: int, item: Any) -> list[int]:
    if isinstance(item, list | tuple):
        return _codes(n, "the list", item)
    known = {"op_idx_list", "arch_str"}
    if not isinstance(item, Mapping) or not known & set(item):
        raise ValueError(
            f"architecture {n} must be a dict with 'op_idx_list' or 'arch_str', or a list of "
            f"{LAYERS} blocks; got {short_repr(item)}"
        )
    forms = [_codes(n, repr(key), item[key]) for key in sorted(known & set(item))]
    if forms[0] != forms[-1]:
        layer = next(i for i, (a, b) in enumerate(zip(*forms, strict=True), start=1) if a != b)
        raise ValueError(
            f"architecture {n}: 'op_idx_list' and 'arch_str' must agree; layer {layer} differs"
        )
    return forms[0]


def _codes(n: int, what: str, values: Any) -> list[int]:
    if not isinstance(values, list | tuple) or len(values) != LAYERS:
        raise ValueError(
            f"architecture {n}: {what} must hold {LAYERS} blocks; got {short_repr(values)}"
        )
    return [_code(n, value) for value in values]


def _code(n: int, value: Any) -> int:
    if isinstance(value, str):
        if value not in CODES:
            raise ValueError(f"architecture {n}: {unknown_name('block', value, list(CHOICES))}")
        return CODES[value]
    is_index = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_index or not 0 <= value < len(CHOICES):
        raise ValueError(
            f"architecture {n}: a block must be a name or a number from 0 to "
            f"{len(CHOICES) - 1}; got {short_repr(value)}"
        )
    return int(value) + 1


FBNET_CIFAR100 = FBNet("fbnet", CIFAR100)
FBNET_IMAGENET = FBNet("fbnet-imagenet", IMAGENET)
