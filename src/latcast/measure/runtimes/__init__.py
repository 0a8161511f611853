"""Runtimes: what runs a network on this machine, one file each."""

from __future__ import annotations

from latcast._registry import Registry

from ._base import LoadedNetwork, Runtime
from ._onnx_models import UnsupportedNetworkError

RUNTIMES: Registry[type[Runtime]] = Registry(
    "runtime",
    "latcast.runtimes",
    type,
    {
        name: f"{__name__}.{place}"
        for name, place in {
            "onnxruntime": "onnx_runtime:ONNXRuntime",
            "litert": "litert:LiteRT",
            "openvino": "openvino:OpenVINO",
            "mnn": "mnn:MNNRuntime",
            "ncnn": "ncnn:NCNN",
            "pytorch": "pytorch:PyTorch",
            "pytorch-channels-last": "pytorch:PyTorchChannelsLast",
            "pytorch-compile": "pytorch:PyTorchCompile",
            "onnxruntime-cuda": "onnx_runtime:ONNXRuntimeCUDA",
            "onnxruntime-tensorrt": "onnx_runtime:ONNXRuntimeTensorRT",
            "pytorch-cuda": "pytorch:PyTorchCUDA",
        }.items()
    },
)
"""Name in targets -> class, from a file of this folder that is loaded when it is needed."""


def runtime(name: str) -> type[Runtime]:
    """The runtime called ``name``: our own, of an entry point, or one that was registered.

    Raises:
        ValueError: there is none; the message suggests the nearest. Or worker processes could not
            import it.
        TypeError: what an entry point names is no complete runtime.
    """
    kind = RUNTIMES.get(name)
    _check(kind)
    return kind


def register_runtime(kind: type[Runtime]) -> type[Runtime]:
    """Make a runtime of your own known by its name; can be used as a decorator.

    Worker processes import the class by the name of its module.

    Args:
        kind: the runtime's class.

    Raises:
        TypeError: it is no complete runtime.
        ValueError: worker processes could not import it, or the name is that of ours.
    """
    _check(kind)
    RUNTIMES.register(kind.name, kind)
    return kind


def _check(kind: object) -> None:
    """Make sure that campaigns can use a class as a runtime.

    Raises:
        TypeError: it is no complete runtime.
        ValueError: worker processes could not import it.
    """
    if not (isinstance(kind, type) and issubclass(kind, Runtime)):
        raise TypeError(f"a runtime must be a subclass of Runtime; got {kind!r}")
    needed = [x for x in ("name", "title", "package", "extra") if not hasattr(kind, x)]
    needed += sorted(kind.__abstractmethods__)
    if kind._load is Runtime._load and kind._load_onnx is Runtime._load_onnx:
        needed.append("_load_onnx or _load")
    if needed:
        raise TypeError(f"the runtime {kind.__qualname__} must define {', '.join(needed)}")
    if kind.__module__ == "__main__" or "." in kind.__qualname__:
        raise ValueError(
            f"worker processes must be able to import {kind.__qualname__}: define it at the top "
            "of a module, not in a script or a function"
        )


__all__ = [
    "RUNTIMES",
    "LoadedNetwork",
    "Runtime",
    "UnsupportedNetworkError",
    "register_runtime",
    "runtime",
]
