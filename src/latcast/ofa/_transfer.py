"""Weights on their way: cut out of a supernet, calibrated, folded, and given to modules.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from latcast.graph import Graph, Layer, Weights

from ._checkpoint import State
from ._images import Floats
from ._modules import KERNEL_SIZES, OFANetwork

_NUMBERED = re.compile(r"^(\w+)\.(\d+)\.")
_ELASTIC = ".depth_conv.conv"


def extract(
    supernet: Mapping[str, Tensor],
    shapes: Mapping[str, Tensor],
    numbers: Mapping[str, Sequence[int]],
) -> State:
    """Extract the parameters that a network of its own shares with the supernet.

    Along every dimension the first channels are kept: training has sorted them by importance.
    Kernels are made smaller by their transform matrices (:func:`transform_kernel`).

    Args:
        supernet: tensors by their plain names.
        shapes: the network's tensors by their plain names; only their shapes count.
        numbers: of every list of modules, such as ``blocks``, what its parts' numbers are in the
            supernet.

    Returns:
        New tensors with the names and shapes of ``shapes``.
    """
    result: State = {}
    for name, tensor in shapes.items():
        source = _NUMBERED.sub(lambda x: f"{x[1]}.{numbers[x[1]][int(x[2])]}.", name)
        values = supernet[source]
        if source.endswith(f"{_ELASTIC}.weight") and values.shape[-1] > tensor.shape[-1]:
            prefix = source.removesuffix("weight")
            matrices = {
                key.removeprefix(prefix): matrix
                for key, matrix in supernet.items()
                if key.startswith(prefix)
            }
            values = transform_kernel(values, matrices, tensor.shape[-1])
        # A view would keep all of the supernet's memory, and torch.save would write it.
        result[name] = values[tuple(slice(side) for side in tensor.shape)].clone()
    return result


def transform_kernel(weight: Tensor, matrices: Mapping[str, Tensor], kernel_size: int) -> Tensor:
    """A smaller kernel: the centre of the next larger one, times a matrix; 7 to 5, then 5 to 3.

    Args:
        weight: of a depthwise convolution, shape (channels, 1, 7, 7).
        matrices: ``7to5_matrix`` (25, 25) and ``5to3_matrix`` (9, 9), of the rows of a flat kernel.
        kernel_size: the side that is wanted.

    Returns:
        Shape (channels, 1, kernel_size, kernel_size).
    """
    for large, small in pairwise(reversed(KERNEL_SIZES)):
        if large <= kernel_size:
            break
        # Once-For-All trains the centre of the kernel and a matrix together: the centre alone is
        # not the smaller kernel.
        start = (large - small) // 2
        centre = weight[:, :, start : start + small, start : start + small].flatten(1)
        weight = torch.nn.functional.linear(centre, matrices[f"{large}to{small}_matrix"])
        weight = weight.reshape(-1, 1, small, small)
    return weight


def calibrate(module: nn.Module, batches: Iterable[Floats]) -> None:
    """Set the mean and variance of every batch norm to those of ``batches``.

    Every batch is normalized by its own statistics; of these the mean over the batches is kept,
    each weighted by its images. Variances are those of the batch itself (divided by n), as in
    Once-For-All's evaluation.

    Args:
        module: is changed; it is in evaluation mode afterwards.
        batches: images, shape (batch, 3, side, side).

    Raises:
        ValueError: there is no batch.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    statistics = {norm: _Average() for norm in norms}

    def take(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        # Set before the norm runs: later layers then see what they would in training, of this
        # batch.
        norm.running_mean, norm.running_var = mean, variance
        statistics[norm].add(mean, variance, len(inputs[0]))  # type: ignore[index]  # of norms only

    hooks = [norm.register_forward_pre_hook(take) for norm in norms]
    module.eval()
    images = 0
    try:
        with torch.no_grad():
            for batch in batches:
                module(torch.from_numpy(batch))
                images += len(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not images:
        raise ValueError("calibrating batch norms needs at least one image; got none")
    for norm, average in statistics.items():
        norm.running_mean, norm.running_var = average.mean, average.variance


class _Average:
    """Mean of means and of variances, in double precision."""

    def __init__(self) -> None:
        self._sums = torch.zeros(2, 1, dtype=torch.float64)
        self._images = 0

    def add(self, mean: Tensor, variance: Tensor, images: int) -> None:
        self._sums = self._sums + images * torch.stack([mean, variance])
        self._images += images

    @property
    def mean(self) -> Tensor:
        return (self._sums[0] / self._images).float()

    @property
    def variance(self) -> Tensor:
        return (self._sums[1] / self._images).float()


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
                # With a variance of 1, this scale undoes the eps under the root.
                norm.weight.fill_((1 + norm.eps) ** 0.5)
                norm.bias.copy_(torch.from_numpy(bias))
            elif conv.bias is not None:
                conv.bias.copy_(torch.from_numpy(bias))


def _is_weighted(layer: Layer) -> bool:
    return layer.kind in ("conv", "depthwise_conv", "linear")


def _folded(
    conv: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    # In double precision: folding and unfolding must give back the same float32.
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
