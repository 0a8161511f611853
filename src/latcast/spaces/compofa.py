"""CompOFA: in every stage the depth decides the expand ratio.

*CompOFA: Compound Once-For-All Networks for Faster Multi-Platform Deployment*
(arXiv:2104.12642): depth 2, 3, 4 goes with expand ratio 3, 4, 6. Kernel sizes are fixed by
stage (3, 5, 3, 3, 5: 243 networks at each resolution) or elastic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import ofa_mobilenet_v3 as ofa
from ._base import Archs, Gene, Genes, SearchSpace
from ._block_table import BlockTable
from ._once_for_all import BLOCKS, POSITIONS, STAGES

# Those of MobileNetV3-Large, which CompOFA keeps where kernels are fixed.
STAGE_KERNEL_SIZES = (3, 5, 3, 3, 5)

_EXPAND_OF_DEPTH = np.zeros(256, dtype=np.uint8)
_EXPAND_OF_DEPTH[list(ofa.DEPTHS)] = ofa.EXPAND_RATIOS


class CompOFA(SearchSpace):
    """A subspace of OFA-MobileNetV3 that shares its block table.

    Genes: ``ks1`` … ``ks20`` if kernels are elastic, then ``d1`` … ``d5`` and ``r``.
    """

    def __init__(self, name: str, parent: ofa.OFAMobileNetV3, *, elastic_kernel: bool) -> None:
        self.name = name
        self.parent = parent
        self.elastic_kernel = elastic_kernel
        kernels = "elastic kernel size" if elastic_kernel else "kernel sizes 3, 5, 3, 3, 5 by stage"
        self.description = (
            f"CompOFA, width {parent.width}: depth 2/3/4 with expand ratio 3/4/6, {kernels}"
        )
        kernel_genes = parent.genes[ofa.KS] if elastic_kernel else ()
        self.genes: tuple[Gene, ...] = (*kernel_genes, *parent.genes[ofa.D], parent.genes[ofa.R])

    @property
    def block_space(self) -> str:
        """The OFA-MobileNetV3 space of the same width."""
        return self.parent.name

    def expand(self, archs: Archs) -> Archs:
        """Return these networks as architectures of the OFA-MobileNetV3 space."""
        genes = archs.genes
        depths = genes[:, -1 - STAGES : -1]
        expands = np.repeat(_EXPAND_OF_DEPTH[depths], POSITIONS, axis=1)
        if self.elastic_kernel:
            kernels = genes[:, :BLOCKS]
        else:
            stages = np.array(STAGE_KERNEL_SIZES, dtype=np.uint8)
            kernels = np.broadcast_to(np.repeat(stages, POSITIONS), expands.shape)
        full = np.concatenate([kernels, expands, depths, genes[:, -1:]], axis=1)
        return Archs._trusted(self.parent, full)

    def parse(self, items: Iterable[Any]) -> Archs:
        """Architectures from OFA dicts.

        Raises:
            ValueError: a dict is malformed, or not in this space (its expand ratio does not
                follow its depth, or a kernel size is not the stage's).
        """
        full = self.parent.parse(items)
        start = 0 if self.elastic_kernel else BLOCKS
        genes = np.concatenate([full.genes[:, start:BLOCKS], full.genes[:, ofa.D.start :]], axis=1)
        archs = Archs(self, genes)
        outside = (self.expand(archs).canonical().genes != full.canonical().genes).any(axis=1)
        if outside.any():
            n = int(np.argmax(outside))
            rule = "depth 2, 3, 4 goes with expand ratio 3, 4, 6"
            if not self.elastic_kernel:
                rule += f" and stages have kernel sizes {STAGE_KERNEL_SIZES}"
            raise ValueError(
                f"architecture {n} is not in {self.name}, where {rule}; "
                f"the space {self.parent.name!r} holds it"
            )
        return archs

    def format(self, archs: Archs) -> list[dict[str, Any]]:
        """OFA dicts of every architecture."""
        return self.parent.format(self.expand(archs))

    def canonical_genes(self, genes: Genes) -> Genes:
        """Kernel sizes of positions beyond a stage's depth become 0."""
        result = genes.copy()
        if self.elastic_kernel:
            depths = np.repeat(genes[:, -1 - STAGES : -1], POSITIONS, axis=1)
            position = np.tile(np.arange(POSITIONS, dtype=np.uint8), STAGES)
            result[:, :BLOCKS][position >= depths] = 0
        return result

    def block_ids(self, archs: Archs) -> npt.NDArray[np.int32]:
        """Rows of the OFA-MobileNetV3 block table."""
        return self.parent.block_ids(self.expand(archs))

    def one_hot(self, archs: Archs) -> npt.NDArray[np.float32]:
        """The encoding of the OFA-MobileNetV3 space."""
        return self.parent.one_hot(self.expand(archs))

    def one_hot_to_blocks(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Shares go to blocks as in the OFA-MobileNetV3 space."""
        return self.parent.one_hot_to_blocks(shares)

    def _build_block_table(self) -> BlockTable:
        return self.parent.block_table


FIXED_KERNEL_WIDTH_1_2 = CompOFA("compofa-fixed-kernel", ofa.WIDTH_1_2, elastic_kernel=False)
ELASTIC_KERNEL_WIDTH_1_2 = CompOFA("compofa-elastic-kernel", ofa.WIDTH_1_2, elastic_kernel=True)
FIXED_KERNEL_WIDTH_1_0 = CompOFA("compofa-fixed-kernel-w1.0", ofa.WIDTH_1_0, elastic_kernel=False)
ELASTIC_KERNEL_WIDTH_1_0 = CompOFA(
    "compofa-elastic-kernel-w1.0", ofa.WIDTH_1_0, elastic_kernel=True
)
