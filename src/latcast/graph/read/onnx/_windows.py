"""Operators that slide a window: convolutions and pools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from latcast.graph._graph import TensorShape

from ._shapes import window_side
from ._values import Entry, Node, Reading

_MOST = 2**31
"""Sides, steps and paddings are below it."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Window of a node, along each spatial axis."""

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]
    auto_pad: str
    ceil: bool

    @classmethod
    def of(cls, node: Node, kernel: Sequence[int]) -> _Window:
        rank = len(kernel)
        ones = [1] * rank
        window = cls(
            kernel,
            node.integers("strides", ones),
            node.integers("dilations", ones),
            node.integers("pads", [0] * 2 * rank),
            node.text("auto_pad", "NOTSET"),
            bool(node.integer("ceil_mode", 0)),
        )
        steps = (*kernel, *window.strides, *window.dilations)
        if not all(0 < v < _MOST for v in steps) or not all(0 <= v < _MOST for v in window.pads):
            raise ValueError(
                f"kernel_shape, strides, dilations must be positive, pads too or 0; "
                f"got {[*steps, *window.pads]}"
            )
        if len(steps) != 3 * rank or len(window.pads) != 2 * rank:
            raise ValueError(
                f"a window of {rank} axes must have as many strides, dilations and "
                f"twice as many pads; got {[*steps, *window.pads]}"
            )
        return window

    def sides(self, sides: Sequence[int]) -> TensorShape:
        """Of the output."""
        if len(sides) != len(self.kernel):
            raise ValueError(
                f"a window of {len(self.kernel)} axes must slide over as many; got {list(sides)}"
            )
        if self.auto_pad.startswith("SAME"):
            return tuple(-(-s // t) for s, t in zip(sides, self.strides, strict=True))
        if self.auto_pad not in {"NOTSET", "VALID"}:
            raise ValueError(f"auto_pad must be NOTSET, VALID or SAME_…; got {self.auto_pad!r}")
        rank = len(sides)
        padded = self.auto_pad == "NOTSET"
        return tuple(
            window_side(
                side, self.kernel[n], self.strides[n], self.dilations[n],
                (self.pads[n], self.pads[n + rank]) if padded else (0, 0), ceil=self.ceil,
            )
            for n, side in enumerate(sides)
        )  # fmt: skip

    def reading(self, shapes: tuple[TensorShape | None, ...], op: str | None = None,
                groups: int = 1, weights: tuple[int, ...] = ()) -> Reading:  # fmt: skip
        return Reading(
            shapes, op, None, weights,
            _plane(self.kernel), _last_two(self.strides), _last_two(self.dilations), groups,
        )  # fmt: skip


def _plane(sides: Sequence[int]) -> tuple[int, int]:
    """Height and width; depth and what else there is are folded into the height."""
    return prod(sides[:-1]), sides[-1] if sides else 1


def _last_two(steps: Sequence[int]) -> tuple[int, int]:
    height, width = (1, 1, *steps)[-2:]
    return height, width


def convolution(
    *, weights: int = 1, bias: int = 2, extra: int | None = None
) -> Callable[[Node], Reading]:
    """Reader of a convolution with its weights at input ``weights``.

    An input ``extra``, as fused convolutions have it, is added to the output.
    """

    def read(node: Node) -> Reading:
        shape, kernel = node.shape(0, least=2), node.shape(weights, least=2)
        groups = node.integer("group", 1)
        window = _Window.of(node, node.integers("kernel_shape", kernel[2:]))
        if tuple(window.kernel) != kernel[2:]:
            raise ValueError(
                f"kernel_shape must be that of the weights {list(kernel)}; "
                f"got {list(window.kernel)}"
            )
        if groups < 1 or kernel[1] * groups != shape[1] or kernel[0] % groups:
            raise ValueError(
                f"weights {list(kernel)} in {groups} groups must fit the channels of {list(shape)}"
            )
        out = (shape[0], kernel[0], *window.sides(shape[2:]))
        if extra is not None and node.get(extra) is not None and node.shape(extra) != out:
            raise ValueError(f"what is added must have the shape of the output {list(out)}")
        op = "depthwise_conv" if groups == shape[1] > 1 else "conv"
        return window.reading((out,), op, groups, (weights, bias))

    return read


def _conv_transpose(node: Node) -> Reading:
    shape, kernel = node.shape(0, least=2), node.shape(1, least=2)
    groups = node.integer("group", 1)
    window = _Window.of(node, node.integers("kernel_shape", kernel[2:]))
    rank = len(window.kernel)
    if kernel[0] != shape[1] or groups < 1 or shape[1] % groups or len(shape) != rank + 2:
        raise ValueError(f"weights {list(kernel)} in {groups} groups must fit {list(shape)}")
    beyond = node.integers("output_padding", [0] * rank)
    asked = node.integers("output_shape", [])
    if len(beyond) != rank or len(asked) not in {0, rank, rank + 2}:
        raise ValueError(f"output_padding and output_shape must have {rank} numbers")
    sides = []
    for n, side in enumerate(shape[2:]):
        reach = (window.kernel[n] - 1) * window.dilations[n] + 1 + beyond[n]
        pads = window.pads[n] + window.pads[n + rank]
        if window.auto_pad.startswith("SAME"):
            # As onnxruntime has it: it pads nothing where the window is smaller than a step.
            sides.append(window.strides[n] * (side - 1) + min(window.strides[n], reach))
        else:
            sides.append(window.strides[n] * (side - 1) + reach - pads)
    out = (shape[0], kernel[1] * groups, *(asked[-rank:] or sides))
    return window.reading((out,), None, groups, (1, 2))


def _pool(node: Node) -> Reading:
    shape = node.shape(0, least=2)
    window = _Window.of(node, node.integers("kernel_shape"))
    out = (*shape[:2], *window.sides(shape[2:]))
    return window.reading((out,) * node.outputs)


def _global_pool(node: Node) -> Reading:
    shape = node.shape(0, least=2)
    return Reading(((*shape[:2], *(1 for _ in shape[2:])),))


WINDOWS: dict[str, Entry] = {
    "Conv": Entry("conv", convolution()),
    "com.microsoft::FusedConv": Entry("conv", convolution(extra=3)),
    "ConvInteger": Entry("conv", convolution(bias=1)),
    "QLinearConv": Entry("conv", convolution(weights=3, bias=8)),
    "ConvTranspose": Entry("conv_transpose", _conv_transpose),
    "MaxPool": Entry("max_pool", _pool),
    "AveragePool": Entry("avg_pool", _pool),
    "LpPool": Entry("avg_pool", _pool),
    "GlobalAveragePool": Entry("global_pool", _global_pool),
    "GlobalLpPool": Entry("global_pool", _global_pool),
    "GlobalMaxPool": Entry("global_max_pool", _global_pool),
    "com.microsoft::QLinearGlobalAveragePool": Entry("global_pool", _global_pool),
    "com.microsoft::QLinearAveragePool": Entry("avg_pool", _pool),
}
"""ONNX operator -> how it is read."""
