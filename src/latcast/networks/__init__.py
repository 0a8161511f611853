"""Networks as graphs of layers, and what they cost."""

from ._costs import BYTES_PER_ELEMENT, OPERATORS, Cost, cost, peak_activation_bytes
from ._layer import BLOCK_INPUT, Block, BlockBuilder, Layer, Shape
from ._mobile import InvertedResidual, conv_block, linear_block, make_divisible, pool_block
from ._ofa_config import blocks_from_ofa_config

__all__ = [
    "BLOCK_INPUT",
    "BYTES_PER_ELEMENT",
    "OPERATORS",
    "Block",
    "BlockBuilder",
    "Cost",
    "InvertedResidual",
    "Layer",
    "Shape",
    "blocks_from_ofa_config",
    "conv_block",
    "cost",
    "linear_block",
    "make_divisible",
    "peak_activation_bytes",
    "pool_block",
]
