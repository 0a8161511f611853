"""Block tables: the physical facts of every distinct block of a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from latcast.graph._costs import cost, peak_activation_bytes
from latcast.graph._layer import Block, Layer

Facts = Mapping[str, npt.NDArray[np.float64]]

FACTS = (
    "macs",
    "params",
    "param_bytes",
    "read_bytes",
    "write_bytes",
    "launches",
    "peak_activation_bytes",
    "conv_macs",
    "conv_bytes",
    "depthwise_macs",
    "depthwise_bytes",
    "linear_macs",
    "elementwise_bytes",
    "pool_bytes",
    "kernel_size",
    "stride",
    "in_channels",
    "mid_channels",
    "out_channels",
    "in_side",
    "out_side",
)
"""Names of the facts, each one number per block, for one sample; bytes are unfused."""

_GROUPS = {
    "conv": "conv",
    "depthwise_conv": "depthwise",
    "linear": "linear",
    "global_pool": "pool",
    "avg_pool": "pool",
    "max_pool": "pool",
}


@dataclass(frozen=True)
class BlockTable:
    """One row per distinct block.

    Attributes:
        blocks: the blocks, in row order.
        keys: a short name per row for lookups from outside (OFA's lookup-table keys).
        groups: number per row; rows of one group are the same block at other resolutions.
        facts: fact name -> shape (rows,); the names are :data:`FACTS`.
    """

    blocks: Sequence[Block]
    keys: Sequence[str]
    groups: npt.NDArray[np.int32]
    facts: Facts

    @classmethod
    def build(
        cls, blocks: Sequence[Block], keys: Sequence[str], groups: npt.NDArray[np.int32]
    ) -> BlockTable:
        """Work out the facts of ``blocks``."""
        rows = np.array([_block_facts(b.layers) for b in blocks], dtype=np.float64)
        facts = {name: rows[:, i].copy() for i, name in enumerate(FACTS)}
        for column in facts.values():
            column.flags.writeable = False
        return cls(tuple(blocks), tuple(keys), groups, facts)

    def __len__(self) -> int:
        return len(self.blocks)


@cache
def _block_facts(layers: tuple[Layer, ...]) -> tuple[float, ...]:
    """Facts of one block, in the order of :data:`FACTS`; blocks of equal layers share them."""
    fact = dict.fromkeys(FACTS, 0.0)
    for layer in layers:
        c = cost(layer)
        group = _GROUPS.get(layer.op, "elementwise")
        for name, amount in (
            ("macs", c.macs),
            ("params", c.params),
            ("param_bytes", c.param_bytes),
            ("read_bytes", c.read_bytes),
            ("write_bytes", c.write_bytes),
            ("launches", c.launches),
            (f"{group}_macs", c.macs),
            (f"{group}_bytes", c.read_bytes + c.write_bytes),
        ):
            if name in fact:
                fact[name] += amount
    fact["peak_activation_bytes"] = peak_activation_bytes(Block("", layers))
    spatial = [x for x in layers if x.kernel_size > 1] or list(layers[:1])
    fact["kernel_size"] = spatial[0].kernel_size
    fact["stride"] = max(x.stride for x in layers)
    fact["in_channels"], _, fact["in_side"] = layers[0].in_shape
    fact["mid_channels"] = max(x.out_shape[0] for x in layers)
    fact["out_channels"], _, fact["out_side"] = layers[-1].out_shape
    return tuple(fact[name] for name in FACTS)
