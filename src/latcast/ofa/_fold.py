"""Weights between graphs, whose batch norms are folded, and modules, which have them.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from latcast.graph import Graph, Layer, Weights

from ._modules import OFANetwork


def fold(module: OFANetwork, graph: Graph) -> Weights:
    """Weights of ``graph`` that are those of ``module``, batch norms folded in.

    A norm of mean m, variance v, scale g and shift b turns a convolution's weights w into
    w * g / sqrt(v + eps), with the bias b - m * g / sqrt(v + eps).

    Raises:
        ValueError: the weights are not finite, or the module is of another architecture.
    """
    given = iter([_folded(conv, norm) for conv, norm in module.operators()])
    weights: list[tuple[npt.NDArray[Any], ...]] = list(graph.weights())
    for n, layer in enumerate(graph.layers):
        if not _is_weighted(layer):
            continue
        weight, bias = weights[n] = next(given)
        if weight.shape != layer.constants[0].shape:
            raise ValueError(
                f"layer {n}: the module must be of the network's architecture, with weights of "
                f"shape {layer.constants[0].shape}; got {weight.shape}"
            )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"layer {n}: weights and batch norm must be finite; got others")
    return weights


def unfold(graph: Graph, weights: Weights, module: OFANetwork) -> None:
    """Give ``module`` the weights of a graph: :func:`fold` then gives them back.

    Where there is a batch norm, it adds the bias and does nothing else.
    """
    given = [x for layer, x in zip(graph.layers, weights, strict=True) if _is_weighted(layer)]
    with torch.no_grad():
        for (conv, norm), (weight, bias) in zip(module.operators(), given, strict=True):
            conv.weight.copy_(torch.from_numpy(weight).reshape(conv.weight.shape))
            if norm is not None:
                norm.reset_running_stats()
                norm.weight.fill_((1 + norm.eps) ** 0.5)
                norm.bias.copy_(torch.from_numpy(bias))
            elif conv.bias is not None:
                conv.bias.copy_(torch.from_numpy(bias))


def _is_weighted(layer: Layer) -> bool:
    return layer.kind in ("conv", "depthwise_conv", "linear")


def _folded(
    conv: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    weight = conv.weight.detach().double()
    bias = torch.zeros(len(weight)).double() if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = norm.weight.detach().double() / (variance.double() + norm.eps).sqrt()
        weight = weight * scale.reshape(-1, 1, 1, 1)
        bias = norm.bias.detach().double() + (bias - mean.double()) * scale
    return weight.float().numpy(), bias.float().numpy()
