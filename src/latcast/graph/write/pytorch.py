"""Graphs as PyTorch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from latcast._imports import require
from latcast.graph import Graph, Layer, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn


def to_pytorch(graph: Graph, weights: Weights | None = None) -> nn.Module:
    """The graph as a PyTorch module in evaluation mode, for a batch of any size.

    Args:
        graph: that a :class:`latcast.graph.GraphBuilder` has built.
        weights: values of its constants; by default those of ``graph.weights()``.

    Raises:
        ModuleNotFoundError: PyTorch is not installed.
        ValueError: a layer's operator is not known here.
    """
    torch = require("torch", "torch", "building PyTorch modules")
    values_of = graph.weights() if weights is None else weights
    steps = [_step(graph, n, list(values_of[n])) for n in range(len(graph))]

    class GraphModule(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is optional
        def __init__(self) -> None:
            super().__init__()
            self.steps = torch.nn.ModuleList(steps)
            self.reads = [x.inputs for x in graph.layers]
            self.last_use = {i: n for n, x in enumerate(graph.layers) for i in x.inputs}

        def forward(self, x: Tensor) -> Tensor:
            # Position -1, the graph's input, is the list's last element.
            values: list[Any] = [None] * len(self.reads) + [x]
            for n, step in enumerate(self.steps):
                x = values[n] = step(*[values[i] for i in self.reads[n]])
                for i in self.reads[n]:
                    if self.last_use[i] == n:
                        values[i] = None  # free the memory, as local variables would
            return x

    module: nn.Module = GraphModule().eval()
    return module


def _step(graph: Graph, n: int, values: list[Any]) -> nn.Module:
    layer = graph.layers[n]
    builders = _builders()
    if layer.op not in builders:
        raise ValueError(
            f"layer {n}: operator {layer.op!r} cannot be built in PyTorch; "
            f"known: {', '.join(builders)}"
        )
    source = layer.inputs[0]
    # What a view hands on may have other readers.
    is_own = source >= 0 and graph.readers[source] == (n,) and graph.layers[source].kind != "view"
    return builders[layer.op](layer, values, is_own)


def _builders() -> dict[str, Callable[[Layer, list[Any], bool], nn.Module]]:
    """Operator -> module of a layer and its constants' values.

    It is told whether the module may overwrite its input, as MobileNets do.
    """
    from torch import nn

    return {
        "conv": lambda layer, values, _: _conv(layer, values),
        "depthwise_conv": lambda layer, values, _: _conv(layer, values),
        "linear": lambda _, values, __: _linear(values),
        "relu": lambda _, __, inplace: nn.ReLU(inplace),
        "relu6": lambda _, __, inplace: nn.ReLU6(inplace),
        "h_swish": lambda _, __, inplace: nn.Hardswish(inplace),
        "h_sigmoid": lambda _, __, inplace: nn.Hardsigmoid(inplace),
        "global_pool": lambda *_: nn.AdaptiveAvgPool2d(1),
        "avg_pool": lambda layer, *_: _pool(nn.AvgPool2d, layer, count_include_pad=False),
        "max_pool": lambda layer, *_: _pool(nn.MaxPool2d, layer),
        "reshape": lambda layer, *_: _function(_reshape(layer)),
        "transpose": lambda layer, *_: _function(lambda x: x.permute(layer.order)),
        "identity": lambda *_: nn.Identity(),
        "add": lambda *_: _function(lambda x, y: x.add(y)),
        "scale": lambda *_: _function(lambda x, y: x.mul(y)),
        "mul": lambda _, values, __: _product(*map(float, values)),
    }


def _function(operation: Callable[..., Tensor]) -> nn.Module:
    import torch

    class Function(torch.nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return operation(*inputs)

    return Function()


def _product(*factors: float) -> nn.Module:
    # Numbers, not tensors: a number that is read of a tensor on the way is nothing that
    # torch.compile can compile, and it leaves the whole network as it is.
    return _function(lambda x, *y: x.mul(*y, *factors))


def _reshape(layer: Layer) -> Callable[[Tensor], Tensor]:
    return lambda x: x.reshape(len(x), *layer.out_shape[1:])


def _pool(kind: Callable[..., nn.Module], layer: Layer, **options: bool) -> nn.Module:
    padding, ceil = layer.attribute("pads")[0], bool(layer.attribute("ceil_mode", 0))
    return kind(layer.window, layer.stride, padding, ceil_mode=ceil, **options)


def _conv(layer: Layer, values: list[Any]) -> nn.Module:
    import torch

    out_channels, in_channels = values[0].shape[:2]
    module = torch.nn.Conv2d(
        in_channels * layer.groups,
        out_channels,
        layer.window,
        layer.stride,
        padding=layer.attribute("pads")[:2],
        dilation=layer.dilation,
        groups=layer.groups,
        bias=len(values) > 1,
        device="meta",  # drawing weights that are replaced would take longer than all the rest
    )
    return _with_parameters(module, values)


def _linear(values: list[Any]) -> nn.Module:
    import torch

    out_features, in_features = values[0].shape
    module = torch.nn.Linear(in_features, out_features, bias=len(values) > 1, device="meta")
    return _with_parameters(module, values)


def _with_parameters(module: nn.Module, values: list[Any]) -> nn.Module:
    import torch

    for name, array in zip(("weight", "bias"), values, strict=False):
        parameter = torch.nn.Parameter(torch.from_numpy(array.copy()), requires_grad=False)
        setattr(module, name, parameter)
    return module
