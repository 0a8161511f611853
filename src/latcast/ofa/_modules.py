"""PyTorch modules whose state dicts are those that Once-For-All publishes.

Names and shapes follow the files of its model zoo (github.com/mit-han-lab/once-for-all), where an
inverted residual block's body is called ``mobile_inverted_conv``; the later code's ``conv`` is read
as well. What runs are the layers of the network's graph, batch norms unfolded.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latcast.graph import Graph, GraphBuilder, Layer
from latcast.spaces._mobile import MobileNet, MobileNetV3, conv_bn
from latcast.spaces._resnet import ResNet

from ._checkpoint import matched

KERNEL_SIZES = (3, 5, 7)
"""Of elastic depthwise convolutions, whose weights have the last one's size."""

# Of the image that the graph is made for; its layers take any other.
_SIDE = 64
# Operators without weights, of a layer and what it reads.
_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "relu": lambda _, x: functional.relu(x),
    "relu6": lambda _, x: functional.relu6(x),
    "h_swish": lambda _, x: functional.hardswish(x),
    "h_sigmoid": lambda _, x: functional.hardsigmoid(x),
    "global_pool": lambda _, x: x.mean((2, 3), keepdim=True),
    "max_pool": lambda layer, x: functional.max_pool2d(x, layer.window, layer.stride, padding=1),
    "avg_pool": lambda layer, x: functional.avg_pool2d(x, layer.window, ceil_mode=True),
    "reshape": lambda _, x: x.flatten(1),
    "add": lambda _, x, y: x + y,
    "scale": lambda _, x, y: x * y,
}


class OFANetwork(nn.Module):
    """One architecture, in evaluation mode after construction.

    Args:
        of: its widths and blocks.
        elastic: with the names of the supernet, whose elastic convolutions and batch norms are one
            level deeper, and its kernel transform matrices (the identity, until they are loaded).

    Attributes:
        calibrated: whether batch norms have statistics of this network, not of the supernet that
            it was cut out of; None where that is not known, as of a file of its own.
    """

    def __init__(self, of: MobileNet | ResNet, *, elastic: bool = False) -> None:
        super().__init__()
        self.of = of
        self.calibrated: bool | None = True
        self._layers = _graph(of).layers
        self._last_readers = {i: n for n, x in enumerate(self._layers) for i in x.inputs}
        names = _resnet_names(of, elastic) if isinstance(of, ResNet) else _mobile_names(of, elastic)
        # In a list modules keep their order; state dicts have them under their published names.
        self._steps: list[nn.Module | None] = []
        # Layers draw weights, which will be replaced: the user's random numbers stay as they were.
        with torch.random.fork_rng(devices=[]):
            for layer in self._layers:
                step = None if layer.op in _FUNCTIONS else _module(layer, of.norm_epsilon)
                if step is not None:
                    self._put(next(names), step)
                self._steps.append(step)
        self.eval()

    def _put(self, name: str, module: nn.Module) -> None:
        """Register a module under a name of several levels."""
        parent: nn.Module = self
        *levels, last = name.split(".")
        for level in levels:
            if level not in dict(parent.named_children()):
                parent.add_module(level, nn.Module())
            parent = parent.get_submodule(level)
        if name.endswith("depth_conv.conv.conv"):
            # The matrices that make a smaller kernel of the centre of the next larger one.
            for small, large in pairwise(KERNEL_SIZES):
                matrix = nn.Parameter(torch.eye(small * small))
                parent.register_parameter(f"{large}to{small}_matrix", matrix)
        parent.add_module(last, module)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, height, width)."""
        values = {-1: x}
        for n, (layer, step) in enumerate(zip(self._layers, self._steps, strict=True)):
            read = [values[i] for i in layer.inputs]
            values[n] = step(*read) if step is not None else _FUNCTIONS[layer.op](layer, *read)
            for i in {i for i in layer.inputs if self._last_readers[i] == n}:
                del values[i]  # a batch of images takes memory
        return values[len(self._layers) - 1]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state dict under the names of published files or of later code."""
        return super().load_state_dict(matched(state_dict, self.state_dict()), strict, assign)

    def operators(self) -> list[tuple[nn.Conv2d | nn.Linear, nn.BatchNorm2d | None]]:
        """Convolutions and linear layers in the order in which they run, each with its norm."""
        return [
            (step, after if isinstance(after, nn.BatchNorm2d) else None)
            for step, after in pairwise([*self._steps, None])
            if isinstance(step, nn.Conv2d | nn.Linear)
        ]


def _module(layer: Layer, epsilon: float) -> nn.Module:
    """The module of a layer with weights, which are drawn at random."""
    weight, *others = (x.shape for x in layer.constants)
    if layer.op == "batch_norm":
        return nn.BatchNorm2d(weight[0], epsilon)
    if layer.op == "linear":
        return nn.Linear(weight[1], weight[0])
    # Where no norm follows, a bias of zeros that is not trained stands for none.
    has_bias = bool(others) and layer.params > layer.constants[0].params
    return nn.Conv2d(
        weight[1] * layer.groups, weight[0], weight[2], layer.stride, weight[2] // 2,
        groups=layer.groups, bias=has_bias,
    )  # fmt: skip


# --- networks, and what their layers with weights are called, in the order in which they run ------


def _graph(of: MobileNet | ResNet) -> Graph:
    b = GraphBuilder()
    x = b.input(3, _SIDE, _SIDE)
    if isinstance(of, ResNet):
        x = conv_bn(b, x, of.stem_channels, 3, "relu", 2)
        if of.stem_convs > 2:
            x = b.add(conv_bn(b, x, of.stem_channels, 3, "relu"), x)
        x = b.max_pool(conv_bn(b, x, of.channels, 3, "relu"), 3, stride=2, padding=1)
    else:
        first = "h_swish" if isinstance(of, MobileNetV3) else "relu6"
        x = conv_bn(b, x, of.first_channels, 3, first, 2)
    for block in of.blocks:
        x = b.extend(block.block(x.shape[2], ""), x)
    if isinstance(of, MobileNetV3):
        x = b.global_pool(conv_bn(b, x, of.expand_channels, 1, "h_swish"))
        x = conv_bn(b, x, of.mix_channels, 1, "h_swish", batch_norm=False)
    else:
        if isinstance(of, MobileNet):
            x = conv_bn(b, x, of.mix_channels, 1, "relu6")
        x = b.global_pool(x)
    b.linear(b.flatten(x), of.classes)
    return b.build()


def _pair(name: str, *, elastic: bool = False) -> Iterator[str]:
    """A convolution and its batch norm; elastic ones lie one level deeper."""
    yield from (f"{name}.{x}.{x}" if elastic else f"{name}.{x}" for x in ("conv", "bn"))


def _mobile_names(of: MobileNet, elastic: bool) -> Iterator[str]:
    yield from _pair("first_conv")
    for n, block in enumerate(of.blocks):
        body = f"blocks.{n}.mobile_inverted_conv"
        deeper = elastic and block.expands
        if block.expands:
            yield from _pair(f"{body}.inverted_bottleneck", elastic=deeper)
        yield from _pair(f"{body}.depth_conv", elastic=deeper)
        if block.squeeze_excitation:
            yield from (f"{body}.depth_conv.se.fc.{x}" for x in ("reduce", "expand"))
        yield from _pair(f"{body}.point_linear", elastic=deeper)
    if isinstance(of, MobileNetV3):
        yield from _pair("final_expand_layer")
        yield "feature_mix_layer.conv"
    else:
        yield from _pair("feature_mix_layer")
    yield "classifier.linear"


def _resnet_names(of: ResNet, elastic: bool) -> Iterator[str]:
    stem = ("0", "1.conv", "2") if of.stem_convs > 2 else ("0", "1")
    parts = [f"input_stem.{x}" for x in stem]
    for n, block in enumerate(of.blocks):
        inside = ("conv1", "conv2", "conv3", "downsample")
        parts += [f"blocks.{n}.{x}" for x in inside[: 4 if block.projects else 3]]
    for part in parts:
        yield from _pair(part, elastic=elastic)
    yield "classifier.linear.linear" if elastic else "classifier.linear"
