"""Families that are search spaces of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from latcast.graph._layer import BLOCK_INPUT, Layer
from latcast.graph._network import folded_layers

from ._builder import OnnxBuilder
from ._family import Family
from ._writer import Tensor

_ARCHS = range(1_000_000)


class SpaceFamily(Family):
    """Architectures of search spaces.

    ``arch`` is the seed with which one architecture is sampled.

    Args:
        name: of the family.
        title: for people.
        source: the paper.
        variant: name of the parameter that chooses the space.
        spaces: its value -> name of the space.
        resolutions: choices of the resolution, where it is a gene of the spaces.
    """

    def __init__(
        self,
        name: str,
        title: str,
        source: str,
        variant: str,
        spaces: Mapping[int, str],
        resolutions: Sequence[int] = (),
    ) -> None:
        self.name, self.title, self.source = name, title, source
        self._variant, self._spaces = variant, spaces
        sides = {"resolution": resolutions} if resolutions else {}
        self.parameters = {"arch": _ARCHS, variant: tuple(spaces), **sides}

    def build(self, builder: OnnxBuilder, parameters: Mapping[str, int]) -> Tensor:
        # Spaces are made of networks' layers: they cannot be imported before these.
        from latcast.spaces import space

        chosen = space(self._spaces[parameters[self._variant]])
        resolution = parameters.get("resolution")
        restrict = None if resolution is None else {"r": [resolution]}
        arch = chosen.sample(1, parameters["arch"], restrict=restrict)
        blocks = chosen.block_table.blocks
        rows = [i for i in chosen.block_ids(arch)[0].tolist() if i < len(blocks)]
        layers = folded_layers([blocks[i] for i in rows], chosen.reads)
        tensors = {BLOCK_INPUT: builder.input(*layers[0].in_shape)}
        for n, layer in enumerate(layers):
            tensors[n] = _add(builder, layer, [tensors[i] for i in layer.inputs])
        return tensors[len(layers) - 1]


def _add(b: OnnxBuilder, layer: Layer, inputs: Sequence[Tensor]) -> Tensor:
    """Write one layer as :func:`latcast.graph.write.onnx.to_onnx` does."""
    write = _WRITERS.get(layer.op)
    return write(b, layer, *inputs) if write else b.activation(inputs[0], layer.op)


def _conv(b: OnnxBuilder, layer: Layer, x: Tensor) -> Tensor:
    return b.conv(
        x,
        layer.out_shape[0],
        layer.kernel_size,
        stride=layer.stride,
        groups=layer.groups,
        bias=layer.bias,
    )


def _avg_pool(b: OnnxBuilder, layer: Layer, x: Tensor) -> Tensor:
    padding = (layer.kernel_size - 1) // 2
    return b.avg_pool(x, layer.kernel_size, stride=layer.stride, padding=padding)


_WRITERS: dict[str, Callable[..., Tensor]] = {
    "conv": _conv,
    "depthwise_conv": _conv,
    "avg_pool": _avg_pool,
    "linear": lambda b, layer, x: b.linear(b.flatten(x), layer.out_shape[0], bias=layer.bias),
    "global_pool": lambda b, _, x: b.global_pool(x),
    "channel_shuffle": lambda b, layer, x: b.channel_shuffle(x, layer.groups),
    "add": lambda b, _, x, y: b.add(x, y),
    "scale": lambda b, _, x, y: b.mul(x, y),
    "zero": lambda b, _, x: b.mul(x, 0.0),
    "identity": lambda b, _, x: b.unary("Identity", x),
}
"""Operator -> how it is written; all others are activations."""


def ofa() -> SpaceFamily:
    """Once-For-All's MobileNetV3."""
    spaces = {100: "ofa-mobilenet-v3-w1.0", 120: "ofa-mobilenet-v3"}
    source = "Cai et al., arXiv:1908.09791"
    return SpaceFamily(
        "ofa", "Once-For-All MobileNetV3", source, "width", spaces, range(128, 225, 4)
    )


def nb201() -> SpaceFamily:
    """NAS-Bench-201."""
    source = "Dong and Yang, arXiv:2001.00326"
    return SpaceFamily("nb201", "NAS-Bench-201", source, "classes", {10: "nasbench201"})


def fbnet() -> SpaceFamily:
    """FBNet for images of CIFAR and of ImageNet."""
    spaces = {100: "fbnet", 1000: "fbnet-imagenet"}
    return SpaceFamily("fbnet", "FBNet", "Wu et al., arXiv:1812.03443", "classes", spaces)
