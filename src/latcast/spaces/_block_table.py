"""Block tables: the physical facts of every distinct block of a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from latcast.graph import Graph

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

# Facts are of fp32; who is of another precision scales them.
BYTES_PER_PARAMETER = 4

# Facts of the large spaces' blocks, as `scripts/make_block_facts.py` works them out: making 1,500
# blocks to count in them took a third of a second of every command, half of what a search takes.
STORED = Path(__file__).with_name("block_facts.npz")

_ELSE = ("", "elementwise_bytes")
# Operator -> the facts in which its MACs and bytes count besides; all others are elementwise.
_GROUPS = {
    "conv": ("conv_macs", "conv_bytes"),
    "depthwise_conv": ("depthwise_macs", "depthwise_bytes"),
    "linear": ("linear_macs", ""),
    "global_pool": ("", "pool_bytes"),
    "avg_pool": ("", "pool_bytes"),
    "max_pool": ("", "pool_bytes"),
}


class BlockTable:
    """One row per distinct block.

    Attributes:
        groups: number per row; rows of one group are the same block at other resolutions.
        facts: fact name -> shape (rows,); the names are :data:`FACTS`.
    """

    def __init__(
        self,
        rows: Callable[[], tuple[Sequence[Graph], Sequence[str]]],
        groups: npt.NDArray[np.int32],
        facts: Facts,
    ) -> None:
        self._make_rows = rows
        self.groups = groups
        self.facts = facts

    @classmethod
    def build(
        cls, blocks: Sequence[Graph], keys: Sequence[str], groups: npt.NDArray[np.int32]
    ) -> BlockTable:
        """Work out the facts of ``blocks``."""
        # Blocks of the same layers, as at other resolutions, have the same facts.
        known = {id(b.layers): b for b in blocks}
        found = {key: _block_facts(b) for key, b in known.items()}
        columns = np.array([found[id(b.layers)] for b in blocks], dtype=np.float64).T.copy()
        return cls(lambda: (blocks, keys), groups, _named(columns))

    @classmethod
    def stored(
        cls,
        space: str,
        rows: Callable[[], tuple[Sequence[Graph], Sequence[str]]],
        groups: npt.NDArray[np.int32],
    ) -> BlockTable:
        """The table of a space whose facts :data:`STORED` has; its blocks are made when needed.

        Facts of other names than today's are worked out anew.

        Args:
            space: its name.
            rows: makes the blocks and their keys, in row order.
            groups: as of the attribute.
        """
        if STORED.is_file():
            with np.load(STORED, allow_pickle=False) as file:
                if space in file and file["names"].tolist() == list(FACTS):
                    return cls(rows, groups, _named(file[space].astype(np.float64)))
        return cls.build(*rows(), groups)

    @property
    def blocks(self) -> Sequence[Graph]:
        """The blocks, in row order."""
        return self._rows[0]

    @property
    def keys(self) -> Sequence[str]:
        """A short name per row for lookups from outside (OFA's lookup-table keys)."""
        return self._rows[1]

    @cached_property
    def _rows(self) -> tuple[Sequence[Graph], Sequence[str]]:
        blocks, keys = self._make_rows()
        return tuple(blocks), tuple(keys)

    def __len__(self) -> int:
        return len(self.groups)


def _named(columns: npt.NDArray[np.float64]) -> Facts:
    """Facts (facts, rows) by name, which nobody may write to."""
    columns.flags.writeable = False
    return dict(zip(FACTS, columns, strict=True))


def _block_facts(block: Graph) -> tuple[int, ...]:
    """Facts of one block, in the order of :data:`FACTS`; views count nothing.

    Conventions: nothing is fused, so that every layer reads its inputs and writes its output
    once; only trainable numbers are parameters, of 4 bytes each, read besides once a batch.
    """
    from latcast.graph import OPERATORS

    fact = dict.fromkeys((*FACTS, ""), 0)
    windows, strides, channels = [], [], []
    for layer in block.layers:
        operator = OPERATORS[layer.op]
        if operator.kind == "view":
            continue
        macs, read, written = operator.macs(layer), layer.read_bytes, layer.write_bytes
        fact["macs"] += macs
        fact["params"] += layer.params
        fact["read_bytes"] += read
        fact["write_bytes"] += written
        fact["launches"] += 1
        of_macs, of_bytes = _GROUPS.get(layer.op, _ELSE)
        fact[of_macs] += macs
        fact[of_bytes] += read + written
        windows.append(layer.window[0])
        strides.append(layer.stride[0])
        channels += [shape[1] for shape in layer.out_shapes if shape]
    first, last = block.in_shape, block.out_shape
    fact |= {
        "param_bytes": BYTES_PER_PARAMETER * fact["params"],
        "peak_activation_bytes": block.peak_activation_bytes,
        "kernel_size": next((side for side in windows if side > 1), 1),
        "stride": max(strides, default=1),
        "in_channels": first[1],
        "mid_channels": max(channels, default=first[1]),
        "out_channels": last[1],
        "in_side": first[-1],
        "out_side": last[-1] if len(last) == len(first) else 1,
    }
    return tuple(fact[name] for name in FACTS)
