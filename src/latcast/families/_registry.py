"""All families by name."""

from __future__ import annotations

from functools import cache

from ._family import Family
from .convnext import ConvNeXt
from .densenet import DenseNet
from .efficientnet import EfficientNet
from .from_spaces import fbnet, nb201, ofa
from .mixed import Mixed
from .mobilenet import MobileNetV1, MobileNetV2
from .mobilenet_v3 import MobileNetV3
from .resnet import ResNet
from .resnet_cifar import ResNetCIFAR
from .squeezenet import SqueezeNet
from .vgg import VGG
from .vit import ViT


@cache
def families() -> dict[str, Family]:
    """Name -> family."""
    found: list[Family] = [
        ofa(),
        nb201(),
        fbnet(),
        ResNet(),
        ResNetCIFAR(),
        MobileNetV1(),
        MobileNetV2(),
        MobileNetV3(),
        EfficientNet(),
        ConvNeXt(),
        VGG(),
        SqueezeNet(),
        DenseNet(),
        ViT(),
        Mixed(),
    ]
    return {f.name: f for f in found}
