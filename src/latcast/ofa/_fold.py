"""Parameters between networks, whose batch norms are folded, and modules, which have them.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from latcast.graph._network import Network, Parameters

from ._modules import OFANetwork


def fold(module: OFANetwork, network: Network) -> Network:
    """``network`` with the parameters of ``module``, batch norms folded in.

    A norm of mean m, variance v, scale g and shift b turns a convolution's weights w into
    w * g / sqrt(v + eps), with the bias b - m * g / sqrt(v + eps).

    Raises:
        ValueError: the weights are not finite, or the module is of another architecture.
    """
    folded = iter([_folded(conv, norm) for conv, norm in module.operators()])
    parameters = tuple(None if p is None else next(folded) for p in network.parameters)
    for n, (old, new) in enumerate(zip(network.parameters, parameters, strict=True)):
        if old is None or new is None:
            continue
        if old.weight.shape != new.weight.shape:
            raise ValueError(
                f"layer {n}: the module must be of the network's architecture, with weights of "
                f"shape {old.weight.shape}; got {new.weight.shape}"
            )
        if not (np.isfinite(new.weight).all() and np.isfinite(new.bias).all()):
            raise ValueError(f"layer {n}: weights and batch norm must be finite; got others")
    return replace(network, parameters=parameters)


def unfold(network: Network, module: OFANetwork) -> None:
    """Give ``module`` the parameters of ``network``: :func:`fold` then gives them back.

    Where there is a batch norm, it adds the bias and does nothing else.
    """
    given = [p for p in network.parameters if p is not None]
    with torch.no_grad():
        for (conv, norm), parameters in zip(module.operators(), given, strict=True):
            weight = torch.from_numpy(parameters.weight)
            conv.weight.copy_(weight.reshape(conv.weight.shape))
            bias = torch.from_numpy(parameters.bias)
            if norm is not None:
                norm.reset_running_stats()
                norm.weight.fill_((1 + norm.eps) ** 0.5)
                norm.bias.copy_(bias)
            elif conv.bias is not None:
                conv.bias.copy_(bias)


def _folded(conv: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None) -> Parameters:
    weight = conv.weight.detach().double()
    bias = torch.zeros(len(weight)).double() if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = norm.weight.detach().double() / (variance.double() + norm.eps).sqrt()
        weight = weight * scale.reshape(-1, 1, 1, 1)
        bias = norm.bias.detach().double() + (bias - mean.double()) * scale
    return Parameters(weight.float().numpy(), bias.float().numpy())
