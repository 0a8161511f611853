"""Once-For-All's ResNet networks.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latcast.spaces._resnet import Bottleneck, ResNet

from ._modules import OFANetwork, classifier, conv_layer, conv_norm, mean_pool, same_conv, sequence


class ResNetNetwork(OFANetwork):
    """A network of the ResNet space; all of its supernet's layers are elastic."""

    of: ResNet

    def _build(self, *, elastic: bool) -> None:
        of = self.of
        stem = of.stem_channels
        parts: list[nn.Module] = [conv_layer(3, stem, 3, "relu", stride=2, elastic=elastic)]
        if of.stem_convs > 2:
            parts.append(StemResidual(stem, elastic=elastic))
        parts.append(conv_layer(stem, of.channels, 3, "relu", elastic=elastic))
        self.input_stem = nn.Sequential(*parts)
        self.max_pooling = nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(BottleneckBlock(b, elastic=elastic) for b in of.blocks))
        self.classifier = classifier(of.blocks[-1].out_channels, of.classes, elastic=elastic)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, height, width)."""
        x = self.blocks(self.max_pooling(self.input_stem(x)))
        scores: Tensor = self.classifier(mean_pool(x).flatten(1))
        return scores


class StemResidual(nn.Module):
    """A convolution layer of the stem that adds its input."""

    def __init__(self, channels: int, *, elastic: bool) -> None:
        super().__init__()
        self.conv = conv_layer(channels, channels, 3, "relu", elastic=elastic)

    def forward(self, x: Tensor) -> Tensor:
        """A map of the shape of ``x``."""
        added: Tensor = self.conv(x) + x
        return added


class BottleneckBlock(nn.Module):
    """A bottleneck block; its shortcut is a convolution where the shape changes."""

    def __init__(self, of: Bottleneck, *, elastic: bool) -> None:
        super().__init__()
        mid = of.mid_channels
        self.conv1 = conv_layer(of.in_channels, mid, 1, "relu", elastic=elastic)
        self.conv2 = conv_layer(mid, mid, 3, "relu", stride=of.stride, elastic=elastic)
        self.conv3 = conv_norm(same_conv(mid, of.out_channels, 1), None, elastic=elastic)
        self.downsample = _projection(of, elastic=elastic) if of.projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """A map of the block's output shape."""
        y = self.conv3(self.conv2(self.conv1(x)))
        return torch.relu(y + self.downsample(x))


def _projection(of: Bottleneck, *, elastic: bool) -> nn.Sequential:
    conv = same_conv(of.in_channels, of.out_channels, 1)
    layers = conv_norm(conv, None, elastic=elastic)
    # Of a stride of 1 it does nothing.
    pool = nn.AvgPool2d(of.stride, ceil_mode=True)
    return sequence(avg_pool=pool, **dict(layers.named_children()))
