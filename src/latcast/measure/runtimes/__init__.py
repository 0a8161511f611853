"""Runtimes: what runs a network on this machine, one file each."""

from latcast._names import unknown_name

from ._base import LoadedNetwork, Runtime
from ._unsupported import UnsupportedNetworkError
from .litert import LiteRT
from .mnn import MNNRuntime
from .ncnn import NCNN
from .onnx_runtime import ONNXRuntime, ONNXRuntimeCUDA, ONNXRuntimeTensorRT
from .openvino import OpenVINO
from .pytorch import PyTorch, PyTorchChannelsLast, PyTorchCompile, PyTorchCUDA

RUNTIMES: dict[str, type[Runtime]] = {
    r.name: r
    for r in (
        ONNXRuntime,
        LiteRT,
        OpenVINO,
        MNNRuntime,
        NCNN,
        PyTorch,
        PyTorchChannelsLast,
        PyTorchCompile,
        ONNXRuntimeCUDA,
        ONNXRuntimeTensorRT,
        PyTorchCUDA,
    )
}
"""Name in targets -> class."""


def runtime(name: str) -> type[Runtime]:
    """The runtime called ``name``.

    Raises:
        ValueError: there is none; the message suggests the nearest.
    """
    try:
        return RUNTIMES[name]
    except KeyError:
        raise ValueError(unknown_name("runtime", name, list(RUNTIMES))) from None


__all__ = [
    "RUNTIMES",
    "LoadedNetwork",
    "Runtime",
    "UnsupportedNetworkError",
    "runtime",
]
