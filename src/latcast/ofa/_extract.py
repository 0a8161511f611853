"""One architecture's weights out of a supernet's (arXiv:1908.09791, section 3).

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ._checkpoint import State
from ._mobile_modules import KERNEL_SIZES

_NUMBERED = re.compile(r"^(\w+)\.(\d+)\.")
_ELASTIC = ".depth_conv.conv"


def extract(
    supernet: Mapping[str, Tensor],
    shapes: Mapping[str, Tensor],
    numbers: Mapping[str, Sequence[int]],
) -> State:
    """What a network of its own shares with the supernet.

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
        start = (large - small) // 2
        centre = weight[:, :, start : start + small, start : start + small].flatten(1)
        weight = torch.nn.functional.linear(centre, matrices[f"{large}to{small}_matrix"])
        weight = weight.reshape(-1, 1, small, small)
    return weight
