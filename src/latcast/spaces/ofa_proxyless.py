"""OFA-ProxylessNAS: as OFA-MobileNetV3, with ReLU6 and without squeeze-excitation.

The second network of *Once-for-All: Train One Network and Specialize it for Efficient Deployment*
(arXiv:1908.09791), on the widths of *ProxylessNAS* (arXiv:1812.00332), for one width multiplier.
After the five stages comes a block that is always there; its kernel size and expand ratio are
genes, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ._base import Archs
from ._mobile import InvertedResidual, ProxylessNAS, conv_block, linear_block, pool_block
from ._ofa_mobile import CLASSES, DEPTHS, OFAMobileSpace, Row, Stage, expanded_conv_key, keyed
from ._once_for_all import BLOCKS, STAGES, DictForm, Numbers

MIX_WIDTH = 1280
# Position in dicts of the last stage's depth, which is no gene.
_LAST_DEPTH = 2 * (BLOCKS + 1) + STAGES


class OFAProxyless(OFAMobileSpace):
    """The space at one width multiplier.

    Genes, in order: ``ks1`` … ``ks21``, ``e1`` … ``e21``, ``d1`` … ``d5`` and ``r``. Once-For-All
    writes a sixth depth, which is 1: larger ones are read as 1, as its code does.
    """

    base_widths = (32, 16)
    stages = (
        Stage(24, 2, "relu6", False),
        Stage(40, 2, "relu6", False),
        Stage(80, 2, "relu6", False),
        Stage(96, 1, "relu6", False),
        Stage(192, 2, "relu6", False),
        Stage(320, 1, "relu6", False, positions=1),
    )
    activation = "relu6"
    head_rows = 3
    form = DictForm(
        (
            Numbers("ks", BLOCKS + 1),
            Numbers("e", BLOCKS + 1),
            Numbers("d", STAGES + 1),
            Numbers("r", 1),
        )
    )

    def __init__(self, name: str, width: float) -> None:
        super().__init__(
            name,
            width,
            f"Once-For-All ProxylessNAS, width {width}: kernel size 3/5/7, expand ratio 3/4/6, "
            "depth 2/3/4 in 5 stages, resolution 128–240",
        )

    def parse(self, items: Iterable[Any]) -> Archs:
        """Architectures from OFA dicts (:mod:`latcast.spaces._once_for_all`)."""
        numbers = self.form.parse(items)
        unknown = ~np.isin(numbers[:, _LAST_DEPTH], (1, *DEPTHS))
        if unknown.any():
            n = int(np.argmax(unknown))
            raise ValueError(
                f"architecture {n}: the sixth of 'd' must be 1, the depth of the last stage; "
                f"got {numbers[n, _LAST_DEPTH]}"
            )
        return Archs(self, np.delete(numbers, _LAST_DEPTH, axis=1))

    def format(self, archs: Archs) -> list[dict[str, Any]]:
        """OFA dicts of every architecture."""
        return self.form.format(np.insert(archs.genes, _LAST_DEPTH, 1, axis=1))

    def specification(self, arch: Archs) -> ProxylessNAS:
        """Widths and blocks of one architecture (a batch of one).

        Raises:
            ValueError: the batch does not hold exactly one architecture.
        """
        blocks, positions = self._body(arch)
        return ProxylessNAS(
            first_channels=blocks[0].in_channels,
            blocks=blocks,
            positions=positions,
            mix_channels=self._scaled(MIX_WIDTH),
            classes=CLASSES,
        )

    def _head(self, side: int) -> Sequence[Row]:
        """Feature mix, pool, classifier."""
        shape = (self._scaled(self.stages[-1].width), side, side)
        mix_width = self._scaled(MIX_WIDTH)
        mix = conv_block(shape, mix_width, "feature mix", activation=self.activation)
        return [
            keyed("Conv_1", mix),
            keyed("AvgPool2D", pool_block((mix_width, side, side), "pool")),
            keyed("Logits", linear_block(mix_width, CLASSES, "classifier")),
        ]

    def _key(self, spec: InvertedResidual, side: int) -> str:
        return expanded_conv_key(spec, side, spec.mid_channels // spec.in_channels)


# The width of the checkpoint that Once-For-All publishes.
OFA_PROXYLESS = OFAProxyless("ofa-proxyless", 1.3)
