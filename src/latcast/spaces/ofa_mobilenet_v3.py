"""OFA-MobileNetV3: kernel 3/5/7, expand ratio 3/4/6, depth 2/3/4 over 5 stages of 4 positions.

The network of *Once-for-All: Train One Network and Specialize it for Efficient Deployment*
(arXiv:1908.09791), for one width multiplier.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from latcast.networks import (
    InvertedResidual,
    MobileNetV3,
    conv_block,
    linear_block,
    pool_block,
)

from ._archs import Archs, Genes
from ._ofa_dicts import BLOCKS, POSITIONS, STAGES, DictForm, Numbers
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
    shape_key,
)
from ._resolutions import RESOLUTIONS

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

EXPAND_WIDTH, MIX_WIDTH = 960, 1280

KS = slice(0, BLOCKS)
E = slice(BLOCKS, 2 * BLOCKS)
D = slice(2 * BLOCKS, 2 * BLOCKS + STAGES)
R = 2 * BLOCKS + STAGES


def active_blocks(genes: Genes) -> npt.NDArray[np.bool_]:
    """Which of the 20 positions each architecture's depths keep, shape (n, 20)."""
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
        channels, expand_width, mix_width = map(
            self._scaled, (self.stages[-1].width, EXPAND_WIDTH, MIX_WIDTH)
        )
        return [
            (
                conv_block((channels, side, side), expand_width, "final expand",
                           activation=self.activation),
                f"Conv_1-input:{shape_key(side, channels)}-output:{shape_key(side, expand_width)}",
            ),
            (
                pool_block((expand_width, side, side), "pool"),
                f"AvgPool2D-input:{shape_key(side, expand_width)}"
                f"-output:{shape_key(1, expand_width)}",
            ),
            (
                conv_block((expand_width, 1, 1), mix_width, "feature mix", activation=self.activation,
                           batch_norm=False),
                f"Conv_2-input:{shape_key(1, expand_width)}-output:{shape_key(1, mix_width)}",
            ),
            (
                linear_block(mix_width, CLASSES, "classifier"),
                f"Logits-input:{shape_key(1, mix_width)}-output:{CLASSES}",
            ),
        ]  # fmt: skip

    def _key(self, spec: InvertedResidual, side: int) -> str:
        return (
            f"{expanded_conv_key(spec, side, spec.mid_channels)}"
            f"-se:{int(spec.squeeze_excitation)}-hs:{int(spec.activation == 'h_swish')}"
        )
