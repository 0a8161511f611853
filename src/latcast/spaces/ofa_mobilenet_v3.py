"""OFA-MobileNetV3: kernel 3/5/7, expand ratio 3/4/6, depth 2/3/4 over 5 stages of 4 positions.

The network of *Once-for-All: Train One Network and Specialize it for Efficient Deployment*
(arXiv:1908.09791), for one width multiplier.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ._base import Archs, Genes
from ._mobile import InvertedResidual, MobileNetV3, conv_block, linear_block, pool_block
from ._ofa_mobile import (
    CLASSES,
    DEPTHS,
    EXPAND_RATIOS,
    KERNEL_SIZES,
    OFAMobileSpace,
    Row,
    Stage,
    active_positions,
    expanded_conv_key,
    keyed,
)
from ._once_for_all import BLOCKS, POSITIONS, RESOLUTIONS, STAGES, DictForm, Numbers

__all__ = [
    "BLOCKS",
    "DEPTHS",
    "EXPAND_RATIOS",
    "KERNEL_SIZES",
    "KS",
    "POSITIONS",
    "RESOLUTIONS",
    "STAGES",
    "D",
    "E",
    "OFAMobileNetV3",
    "R",
    "active_blocks",
]

# The head of MobileNetV3-Large.
EXPAND_WIDTH, MIX_WIDTH = 960, 1280

KS = slice(0, BLOCKS)
E = slice(BLOCKS, 2 * BLOCKS)
D = slice(2 * BLOCKS, 2 * BLOCKS + STAGES)
R = 2 * BLOCKS + STAGES


def active_blocks(genes: Genes) -> npt.NDArray[np.bool_]:
    """Return which of the 20 positions each architecture's depths keep, shape (n, 20)."""
    return active_positions(genes[:, D])


class OFAMobileNetV3(OFAMobileSpace):
    """The space at one width multiplier.

    Genes, in order: ``ks1`` … ``ks20``, ``e1`` … ``e20``, ``d1`` … ``d5`` and ``r``.
    """

    base_widths = (16, 16)
    stages = (
        Stage(24, 2, "relu", False),
        Stage(40, 2, "relu", True),
        Stage(80, 2, "h_swish", False),
        Stage(112, 1, "h_swish", True),
        Stage(160, 2, "h_swish", True),
    )
    activation = "h_swish"
    head_rows = 4
    form = DictForm(
        (Numbers("ks", BLOCKS), Numbers("e", BLOCKS), Numbers("d", STAGES), Numbers("r", 1))
    )

    def __init__(self, name: str, width: float) -> None:
        super().__init__(
            name,
            width,
            f"Once-For-All MobileNetV3, width {width}: kernel size 3/5/7, expand ratio 3/4/6, "
            "depth 2/3/4 in 5 stages, resolution 128–240",
        )

    def specification(self, arch: Archs) -> MobileNetV3:
        """Widths and blocks of one architecture (a batch of one).

        Raises:
            ValueError: the batch does not hold exactly one architecture.
        """
        blocks, positions = self._body(arch)
        return MobileNetV3(
            first_channels=blocks[0].in_channels,
            blocks=blocks,
            positions=positions,
            expand_channels=self._scaled(EXPAND_WIDTH),
            mix_channels=self._scaled(MIX_WIDTH),
            classes=CLASSES,
        )

    def _head(self, side: int) -> Sequence[Row]:
        """Final expand, pool, feature mix, classifier."""
        shape = (self._scaled(self.stages[-1].width), side, side)
        expand_width, mix_width = self._scaled(EXPAND_WIDTH), self._scaled(MIX_WIDTH)
        pooled, act = (expand_width, 1, 1), self.activation
        mix = conv_block(pooled, mix_width, "feature mix", activation=act, batch_norm=False)
        return [
            keyed("Conv_1", conv_block(shape, expand_width, "final expand", activation=act)),
            keyed("AvgPool2D", pool_block((expand_width, side, side), "pool")),
            keyed("Conv_2", mix),
            keyed("Logits", linear_block(mix_width, CLASSES, "classifier")),
        ]

    def _key(self, spec: InvertedResidual, side: int) -> str:
        return (
            f"{expanded_conv_key(spec, side, spec.mid_channels)}"
            f"-se:{int(spec.squeeze_excitation)}-hs:{int(spec.activation == 'h_swish')}"
        )


WIDTH_1_2 = OFAMobileNetV3("ofa-mobilenet-v3", 1.2)
WIDTH_1_0 = OFAMobileNetV3("ofa-mobilenet-v3-w1.0", 1.0)
