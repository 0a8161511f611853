"""Networks as graphs of layers, and what they cost."""

from ._cells import addition_block, batch_norm_relu_block, cell_operation, reduction_block
from ._costs import BYTES_PER_ELEMENT, OPERATORS, Cost, cost, peak_activation_bytes
from ._export import EXPORT_FORMATS, Export, export
from ._layer import BLOCK_INPUT, SECOND_INPUT, Block, BlockBuilder, Layer, Shape
from ._mobile import (
    InvertedResidual,
    MobileNet,
    MobileNetV3,
    ProxylessNAS,
    conv_block,
    linear_block,
    make_divisible,
    pool_block,
)
from ._ncnn import to_ncnn
from ._network import Network, Parameters
from ._ofa_config import blocks_from_ofa_config
from ._onnx import INPUT as ONNX_INPUT
from ._onnx import to_onnx
from ._pytorch import to_pytorch
from ._resnet import Bottleneck, ResNet, max_pool_block, stem_residual_block
from ._tflite import to_tflite
from .supernet import ImageFolder, ofa_module

__all__ = [
    "BLOCK_INPUT",
    "BYTES_PER_ELEMENT",
    "EXPORT_FORMATS",
    "ONNX_INPUT",
    "OPERATORS",
    "SECOND_INPUT",
    "Block",
    "BlockBuilder",
    "Bottleneck",
    "Cost",
    "Export",
    "ImageFolder",
    "InvertedResidual",
    "Layer",
    "MobileNet",
    "MobileNetV3",
    "Network",
    "Parameters",
    "ProxylessNAS",
    "ResNet",
    "Shape",
    "addition_block",
    "batch_norm_relu_block",
    "blocks_from_ofa_config",
    "cell_operation",
    "conv_block",
    "cost",
    "export",
    "linear_block",
    "make_divisible",
    "max_pool_block",
    "ofa_module",
    "peak_activation_bytes",
    "pool_block",
    "reduction_block",
    "stem_residual_block",
    "to_ncnn",
    "to_onnx",
    "to_pytorch",
    "to_tflite",
]
