"""Batch-norm statistics of a network that was cut out of a supernet.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ._images import Floats


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
