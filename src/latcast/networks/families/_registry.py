"""All families by name."""

from __future__ import annotations

from functools import cache

from ._family import Family
from .mobilenet import MobileNetV1, MobileNetV2
from .resnet import ResNet
from .vgg import VGG


@cache
def families() -> dict[str, Family]:
    """Name -> family."""
    found: list[Family] = [ResNet(), MobileNetV1(), MobileNetV2(), VGG()]
    return {f.name: f for f in found}
