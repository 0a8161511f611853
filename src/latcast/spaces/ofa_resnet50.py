"""OFA-ResNet50: expand ratios of bottlenecks, widths and depths of stages, depth of the stem.

The ResNet-50D space of Once-For-All (arXiv:1908.09791; in its repository the network is
``ofa_resnet50``): four stages of 2, 2, 4, 2 and up to two more bottlenecks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._base import Archs, Gene, Genes
from ._block_table import BlockTable
from ._mobile import conv_block, linear_block, make_divisible, pool_block
from ._once_for_all import (
    RESOLUTIONS,
    DictForm,
    Numbers,
    SupernetSpace,
    index_of,
    resolution_shares,
)
from ._resnet import Bottleneck, ResNet, max_pool_block, stem_residual_block

if TYPE_CHECKING:
    from latcast.graph import Graph

EXPANDS = (20, 25, 35)
# Hundredths, as genes are bytes.
WIDTHS = (65, 80, 100)
BASE_DEPTHS = (2, 2, 4, 2)
BASE_WIDTHS = (256, 512, 1024, 2048)
STRIDES = (1, 2, 2, 2)
# Most blocks that a stage, and convolutions that the stem, has beside its base depth.
MORE = 2
STEM_CONVS = (2, 3)
BASE_STEM_WIDTH = 64
CLASSES = 1000

STAGES = len(BASE_DEPTHS)
_POSITIONS = tuple(depth + MORE for depth in BASE_DEPTHS)
BLOCKS = sum(_POSITIONS)
_STAGE_OF = np.repeat(np.arange(STAGES), _POSITIONS)
_POSITION_OF = np.concatenate([np.arange(n) for n in _POSITIONS])

E = slice(0, BLOCKS)
W = slice(BLOCKS, BLOCKS + 2 + STAGES)
STEM = W.stop
D = slice(STEM + 1, STEM + 1 + STAGES)
R = D.stop


def _scaled(width: int, hundredths: int) -> int:
    """Channels of a base width."""
    return make_divisible(width * (hundredths / 100))


def _stem_channels(hundredths: int) -> int:
    """Channels of the stem's first convolutions: half of those of its last one."""
    return make_divisible(_scaled(BASE_STEM_WIDTH, hundredths) // 2)


# Where several widths round to the same channels, the smallest stands for all.
_STEM_WIDTHS = tuple({_stem_channels(w): w for w in reversed(WIDTHS)}.values())[::-1]
_STEM_WIDTH_OF = tuple(
    next(w for w in _STEM_WIDTHS if _stem_channels(w) == _stem_channels(width)) for width in WIDTHS
)

# Rows of the block table at one resolution, in order. Tables of a choice come first conv, stem
# residual, stem conv, max pool; then per stage the first block, which depends on the width before
# it as well, and the one that the others share; then pool and classifier.
_N_STEM, _N_W, _N_E = len(_STEM_WIDTHS), len(WIDTHS), len(EXPANDS)
_RESIDUAL = _N_STEM
_STEM_CONV = _RESIDUAL + _N_STEM
_MAX_POOL = _STEM_CONV + _N_STEM * _N_W
_BODY = _MAX_POOL + _N_W
_FIRST_ROWS, _OTHER_ROWS = _N_W * _N_W * _N_E, _N_W * _N_E
_POOL = _BODY + STAGES * (_FIRST_ROWS + _OTHER_ROWS)
_CLASSIFIER = _POOL + _N_W
_ROWS = _CLASSIFIER + _N_W
_BASES = (
    _BODY
    + _STAGE_OF * (_FIRST_ROWS + _OTHER_ROWS)
    + np.where(_POSITION_OF > 0, _FIRST_ROWS, 0)
).astype(np.int32)  # fmt: skip
_FIRSTS = np.flatnonzero(_POSITION_OF == 0)
_COLUMNS = 4 + BLOCKS + 2

_E_INDEX, _W_INDEX = index_of(EXPANDS), index_of(WIDTHS)
_STEM_INDEX, _R_INDEX = index_of(_STEM_WIDTHS), index_of(RESOLUTIONS)


def _read_expand(_: int, value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    hundredths = 100 * float(value)
    if not abs(hundredths) <= 255 or abs(hundredths - round(hundredths)) > 1e-4:
        return None
    return round(hundredths)


def _read_width(position: int, value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return None
    if not 0 <= value < len(WIDTHS):
        return None
    return (WIDTHS if position else _STEM_WIDTH_OF)[int(value)]


def _read_depth(position: int, value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return None
    if not 0 <= value <= MORE:
        return None
    if position:
        return BASE_DEPTHS[position - 1] + int(value)
    return {0: STEM_CONVS[0], MORE: STEM_CONVS[1]}.get(int(value))


def _write_depth(position: int, gene: int) -> int:
    if position:
        return gene - BASE_DEPTHS[position - 1]
    return MORE * STEM_CONVS.index(gene)


_FORM = DictForm(
    (
        Numbers("e", BLOCKS, "expand ratios, 0.2, 0.25 or 0.35", _read_expand,
                lambda _, gene: gene / 100),
        Numbers("w", 2 + STAGES, "indices from 0 to 2 of a width", _read_width,
                lambda _, gene: WIDTHS.index(gene)),
        Numbers("d", 1 + STAGES, "depths from 0 to 2, the stem's 0 or 2", _read_depth,
                _write_depth),
        Numbers("r", 1),
    )
)  # fmt: skip


class OFAResNet50(SupernetSpace):
    """Widths are 0.65, 0.8 or 1 of ResNet-50's, bottlenecks 0.2, 0.25 or 0.35 of their output.

    Genes, in order: expand ratios of the bottlenecks, ``e1`` … ``e18``, and widths of the stem's
    first convolutions, of its last one, and of the stages, ``w1`` … ``w6``, in hundredths; how
    many convolutions the ``stem`` has, 2 or 3; how many bottlenecks the stages have, ``d1`` …
    ``d4``; and the resolution ``r``. As 0.65 and 0.8 give the stem's first convolutions the same
    channels, ``w1`` is 65 for both.
    """

    def __init__(self) -> None:
        self.name = "ofa-resnet50"
        self.description = (
            "Once-For-All ResNet-50D: width 0.65/0.8/1, expand ratio 0.2/0.25/0.35, up to 2 more "
            "blocks in each of 4 stages, resolution 128–240"
        )
        self.genes = (
            *(Gene(f"e{i}", EXPANDS) for i in range(1, BLOCKS + 1)),
            Gene("w1", _STEM_WIDTHS),
            *(Gene(f"w{i}", WIDTHS) for i in range(2, 3 + STAGES)),
            Gene("stem", STEM_CONVS),
            *(
                Gene(f"d{i}", tuple(range(depth, depth + MORE + 1)))
                for i, depth in enumerate(BASE_DEPTHS, start=1)
            ),
            Gene("r", RESOLUTIONS),
        )

    def parse(self, items: Iterable[Any]) -> Archs:
        """Architectures from OFA dicts.

        Their keys are ``e``, 18 ratios; ``w``, 6 indices of a width; ``d``, the stem's depth, 0
        or 2, and those of the stages, 0 to 2 each; and ``r`` or ``image_size``.
        """
        return Archs(self, _FORM.parse(items))

    def format(self, archs: Archs) -> list[dict[str, Any]]:
        """OFA dicts of every architecture."""
        return _FORM.format(archs.genes)

    def canonical_genes(self, genes: Genes) -> Genes:
        """Expand ratios of positions beyond a stage's depth become 0."""
        result = genes.copy()
        result[:, E][~_active(genes)] = 0
        return result

    def block_ids(self, archs: Archs) -> npt.NDArray[np.int32]:
        """First conv, stem residual, stem conv, max pool, 18 positions, pool, classifier."""
        genes = archs.genes
        ids = np.empty((len(genes), _COLUMNS), dtype=np.int32)
        stem, widths = _STEM_INDEX[genes[:, W.start]], _W_INDEX[genes[:, W.start + 1 : W.stop]]
        ids[:, 0] = stem
        ids[:, 1] = _RESIDUAL + stem
        ids[:, 2] = _STEM_CONV + stem * _N_W + widths[:, 0]
        ids[:, 3] = _MAX_POOL + widths[:, 0]
        body = ids[:, 4 : 4 + BLOCKS]
        np.take(_E_INDEX, genes[:, E], out=body)
        body += np.take(widths[:, 1:] * _N_E, _STAGE_OF, axis=1)
        body[:, _FIRSTS] += widths[:, :-1] * (_N_W * _N_E)
        body += _BASES
        ids[:, -2] = _POOL + widths[:, -1]
        ids[:, -1] = _CLASSIFIER + widths[:, -1]
        ids += (_R_INDEX[genes[:, R]] * _ROWS)[:, None]
        body[~_active(genes)] = len(RESOLUTIONS) * _ROWS
        ids[genes[:, STEM] == STEM_CONVS[0], 1] = len(RESOLUTIONS) * _ROWS
        return ids

    def one_hot(self, archs: Archs) -> npt.NDArray[np.float32]:
        """81 inputs: expand ratios 54, widths 17, stem 2, resolution 8; inactive blocks are 0.

        Depths follow from the blocks that are there. A resolution between two multiples of 16 is
        shared between them in proportion.
        """
        genes = self.canonical_genes(archs.genes)
        parts = [
            genes[:, [n]] == np.array(gene.choices, dtype=np.uint8)
            for n, gene in enumerate(self.genes[: STEM + 1])
        ]
        return np.concatenate([*parts, resolution_shares(genes[:, R])], axis=1, dtype=np.float32)

    def one_hot_to_blocks(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """A gene of one block goes to it; a stage's width to its blocks, in equal parts.

        Those are the blocks that are there at any depth. Of the stem's depth, the input for 3
        convolutions goes to the one that adds its input; the resolution goes to none.
        """
        ends = np.cumsum([len(g.choices) for g in self.genes[: STEM + 1]])
        *_, stem, _ = np.split(shares, ends, axis=1)
        sums = [part.sum(axis=1) for part in np.split(shares, ends, axis=1)]
        blocks = np.zeros((len(shares), _COLUMNS))
        blocks[:, 4 : 4 + BLOCKS] = np.stack(sums[E], axis=1)
        blocks[:, 0], blocks[:, 2] = sums[W][0], sums[W][1]
        blocks[:, 1] = stem[:, -1]
        for stage, width in enumerate(sums[W][2:]):
            start, depth = 4 + int(_FIRSTS[stage]), BASE_DEPTHS[stage]
            blocks[:, start : start + depth] += width[:, None] / depth
        return blocks

    def specification(self, arch: Archs) -> ResNet:
        """Widths and blocks of one architecture (a batch of one).

        Raises:
            ValueError: the batch does not hold exactly one architecture.
        """
        self._check_one(arch)
        genes = arch.genes[0].tolist()
        stem_width, last_width, *widths = genes[W]
        channels = _scaled(BASE_STEM_WIDTH, last_width)
        stem, blocks, positions = channels, [], np.flatnonzero(_active(arch.genes)[0]).tolist()
        for n in positions:
            stage = int(_STAGE_OF[n])
            first = n in _FIRSTS
            blocks.append(_bottleneck(stage, channels, widths[stage], genes[E][n], first=first))
            channels = blocks[-1].out_channels
        return ResNet(
            stem_channels=_stem_channels(stem_width),
            stem_convs=genes[STEM],
            channels=stem,
            blocks=tuple(blocks),
            positions=tuple(positions),
            classes=CLASSES,
        )

    def _build_block_table(self) -> BlockTable:
        groups = np.tile(np.arange(_ROWS, dtype=np.int32), len(RESOLUTIONS))
        return BlockTable.stored(self.name, _all_rows, groups)


def _all_rows() -> tuple[list[Graph], list[str]]:
    """The blocks of all resolutions, and their keys."""
    rows = [(r, block) for r in RESOLUTIONS for block in _rows(r)]
    return [x for _, x in rows], [f"{r}/{x.name.replace(': ', '/')}" for r, x in rows]


def _active(genes: Genes) -> npt.NDArray[np.bool_]:
    """Return which of the 18 positions each architecture's depths keep, shape (n, 18)."""
    active: npt.NDArray[np.bool_] = np.take(genes[:, D], _STAGE_OF, axis=1) > _POSITION_OF
    return active


def _bottleneck(stage: int, channels: int, width: int, expand: int, *, first: bool) -> Bottleneck:
    """A block of a stage, whose first one changes the width and may halve the side."""
    out = _scaled(BASE_WIDTHS[stage], width)
    mid = make_divisible(round(out * (expand / 100)))
    return Bottleneck(channels, mid, out, STRIDES[stage] if first else 1)


def _rows(resolution: int) -> Iterator[Graph]:
    """Blocks at one resolution."""
    side = -(-resolution // 2)
    stems = [_stem_channels(w) for w in _STEM_WIDTHS]
    channels = [_scaled(BASE_STEM_WIDTH, w) for w in WIDTHS]
    image = (3, resolution, resolution)
    for stem in stems:
        name = f"first conv: {stem} channels"
        yield conv_block(image, stem, name, kernel_size=3, stride=2, activation="relu")
    for stem in stems:
        yield stem_residual_block((stem, side, side), f"stem residual: {stem} channels")
    for stem, out in product(stems, channels):
        name = f"stem conv: {stem} to {out} channels"
        yield conv_block((stem, side, side), out, name, kernel_size=3, activation="relu")
    for out in channels:
        yield max_pool_block((out, side, side), f"max pool: {out} channels")
    side = -(-side // 2)
    for stage in range(STAGES):
        yield from _stage_rows(stage, channels, side)
        side = -(-side // STRIDES[stage])
        channels = [_scaled(BASE_WIDTHS[stage], w) for w in WIDTHS]
    for last in channels:
        yield pool_block((last, side, side), f"pool: {last} channels")
    for last in channels:
        yield linear_block(last, CLASSES, f"classifier: {last} features")


def _stage_rows(stage: int, channels: list[int], side: int) -> Iterator[Graph]:
    """The blocks of a stage that reads maps of ``side`` pixels, of one of ``channels``."""
    for before, width, expand in product(channels, WIDTHS, EXPANDS):
        start = _bottleneck(stage, before, width, expand, first=True)
        sizes = f"{before} to {start.out_channels} channels, expand {expand / 100:g}"
        yield start.block(side, f"stage {stage + 1} start: {sizes}")
    side = -(-side // STRIDES[stage])
    for width, expand in product(WIDTHS, EXPANDS):
        out = _scaled(BASE_WIDTHS[stage], width)
        other = _bottleneck(stage, out, width, expand, first=False)
        name = f"stage {stage + 1}: {out} channels, expand {expand / 100:g}"
        yield other.block(side, name)


OFA_RESNET50 = OFAResNet50()
