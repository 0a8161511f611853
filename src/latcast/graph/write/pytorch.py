"""Networks as PyTorch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from latcast._optional import require
from latcast.graph._layer import BLOCK_INPUT, Layer
from latcast.graph._network import Network, Parameters

if TYPE_CHECKING:
    from torch import Tensor, nn


def to_pytorch(network: Network) -> nn.Module:
    """The network as a PyTorch module in evaluation mode, with the same parameters.

    Raises:
        ModuleNotFoundError: PyTorch is not installed.
        ValueError: a layer's operator is not known here.
    """
    torch = require("torch", "torch", "building PyTorch modules")

    class NetworkModule(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is optional
        def __init__(self) -> None:
            super().__init__()
            self.steps = torch.nn.ModuleList(_step(network, n) for n in range(len(network.layers)))
            self.reads = [x.inputs for x in network.layers]
            self.last_use = {i: n for n, x in enumerate(network.layers) for i in x.inputs}

        def forward(self, x: Tensor) -> Tensor:
            # Position -1, the network's input, is the list's last element.
            values: list[Any] = [None] * len(self.reads) + [x]
            for n, step in enumerate(self.steps):
                x = values[n] = step(*[values[i] for i in self.reads[n]])
                for i in self.reads[n]:
                    if self.last_use[i] == n:
                        values[i] = None  # free the memory, as local variables would
            return x

    module: nn.Module = NetworkModule().eval()
    return module


def _step(network: Network, n: int) -> nn.Module:
    layer = network.layers[n]
    builders = _builders()
    if layer.op not in builders and network.parameters[n] is None:
        raise ValueError(
            f"layer {n}: operator {layer.op!r} cannot be built in PyTorch; "
            f"known: {', '.join(builders)}"
        )
    if (parameters := network.parameters[n]) is not None:
        return _linear(parameters) if layer.op == "linear" else _conv(layer, parameters)
    source = layer.inputs[0]
    readers = sum(source in x.inputs for x in network.layers)
    # What an identity hands on may have other readers.
    is_own = readers == 1 and source != BLOCK_INPUT and network.layers[source].op != "identity"
    return builders[layer.op](layer, is_own)


def _builders() -> dict[str, Callable[[Layer, bool], nn.Module]]:
    """Operator -> module of a layer, given if it may overwrite its input, as MobileNets do."""
    from torch import nn

    return {
        "relu": lambda _, inplace: nn.ReLU(inplace),
        "relu6": lambda _, inplace: nn.ReLU6(inplace),
        "h_swish": lambda _, inplace: nn.Hardswish(inplace),
        "h_sigmoid": lambda _, inplace: nn.Hardsigmoid(inplace),
        "global_pool": lambda *_: nn.AdaptiveAvgPool2d(1),
        "avg_pool": lambda layer, _: _pool(nn.AvgPool2d, layer, count_include_pad=False),
        "max_pool": lambda layer, _: _pool(nn.MaxPool2d, layer),
        "channel_shuffle": lambda layer, _: nn.ChannelShuffle(layer.groups),
        "zero": lambda *_: _zero(),
        "identity": lambda *_: nn.Identity(),
        "add": lambda *_: _binary("add"),
        "scale": lambda *_: _binary("mul"),
    }


def _pool(kind: Callable[..., nn.Module], layer: Layer, **options: bool) -> nn.Module:
    padding = (layer.kernel_size - 1) // 2
    return kind(layer.kernel_size, layer.stride, padding, ceil_mode=layer.hangs_over, **options)


def _conv(layer: Layer, parameters: Parameters) -> nn.Module:
    import torch

    module = torch.nn.Conv2d(
        layer.in_shape[0],
        layer.out_shape[0],
        layer.kernel_size,
        layer.stride,
        padding=layer.kernel_size // 2,
        groups=layer.groups,
        device="meta",  # drawing weights that are replaced would take longer than all the rest
    )
    return _with_parameters(module, parameters)


def _linear(parameters: Parameters) -> nn.Module:
    import torch

    out_features, in_features = parameters.weight.shape
    module = torch.nn.Linear(in_features, out_features, device="meta")
    return torch.nn.Sequential(torch.nn.Flatten(), _with_parameters(module, parameters))


def _with_parameters(module: nn.Module, parameters: Parameters) -> nn.Module:
    import torch

    for name in ("weight", "bias"):
        values = torch.from_numpy(getattr(parameters, name).copy())
        setattr(module, name, torch.nn.Parameter(values, requires_grad=False))
    return module


def _zero() -> nn.Module:
    import torch

    class Zero(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul(0.0)

    return Zero()


def _binary(name: str) -> nn.Module:
    import torch

    operation = getattr(torch, name)

    class Binary(torch.nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            result: Tensor = operation(a, b)
            return result

    return Binary()
