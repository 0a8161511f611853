"""Kernels of one device beside those of another, whose runtime may fuse other layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Kernels = Sequence[Mapping[str, Any]]


def ms_beside(kernels: Kernels, others: Kernels) -> dict[str, float]:
    """Milliseconds on another device of the kernels of one.

    A kernel of the other device counts where its main layer is; one that is fused into a kernel
    that counts elsewhere has no milliseconds of its own.

    Args:
        kernels: of a device's record.
        others: of another device's record of the same network.

    Returns:
        Name of a kernel -> milliseconds; they add up to those of all ``others``.
    """
    owner = {layer: kernel["name"] for kernel in kernels for layer in kernel["layers"]}
    times: dict[str, float] = {}
    for other in others:
        if (name := owner.get(other["name"])) is not None:
            times[name] = times.get(name, 0.0) + other["ms"]
    return times
