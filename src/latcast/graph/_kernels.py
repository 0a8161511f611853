"""Kernels: layers that a runtime runs as one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """Layers of a graph that are fused.

    Attributes:
        main: position of the layer that the kernel is named after: the one with most work.
        layers: positions of all of its layers, ascending; ``main`` is one of them.
        idle: those of them that do not run, because they repeat another one of the kernel, cancel
            each other, keep what they read, or are part of the weights of another one.
        blocked: whether a CPU runtime keeps the channels that it writes in blocks of 16, as
            ONNX Runtime does with AVX-512.
    """

    main: int
    layers: tuple[int, ...]
    idle: tuple[int, ...] = ()
    blocked: bool = False
