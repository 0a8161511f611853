"""Runtimes: what runs a network on this machine, one file each."""

from __future__ import annotations

from latcast._registry import Registry
from latcast.devices import public_runtime

from ._base import LoadedNetwork, Runtime
from ._onnx_models import UnsupportedNetworkError

_PLACES = {
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
}
NAMES: dict[str, str] = {place: name for name, place in _PLACES.items()}
"""``module:class`` of a runtime of ours -> its name: campaigns of before state the former."""

RUNTIMES: Registry[type[Runtime]] = Registry("runtime", "latcast.runtimes", type, _PLACES)
"""Name in targets -> class, from a file of this folder that is loaded when it is needed."""


def runtime(name: str) -> type[Runtime]:
    """The runtime called ``name``: our own, of an entry point, or one that was registered.

    Raises:
        ValueError: there is none; the message suggests the nearest.
        TypeError: what an entry point names is no complete runtime.
    """
    kind = RUNTIMES.get(registered_name(name))
    _check(kind)
    return kind


def registered_name(name: str) -> str:
    """The name of a runtime that measures, from what public tables call it (``tflite``)."""
    return name if name in RUNTIMES else public_runtime(name)


def register_runtime(kind: type[Runtime]) -> type[Runtime]:
    """Make a runtime of your own known by its name; can be used as a decorator.

    Campaigns need it at the top of a module, by whose name worker processes import it.

    Args:
        kind: the runtime's class.

    Raises:
        TypeError: it is no complete runtime.
        ValueError: the name is that of ours.
    """
    _check(kind)
    RUNTIMES.register(kind.name, kind)
    return kind


def class_name(kind: type[Runtime]) -> str:
    """Return the place where worker processes find a runtime, ``module:class``.

    Raises:
        ValueError: they could not import it.
    """
    if kind.__module__ == "__main__" or "." in kind.__qualname__:
        raise ValueError(
            f"worker processes must be able to import {kind.__qualname__}: define it at the top "
            "of a module, not in a script or a function"
        )
    return f"{kind.__module__}:{kind.__qualname__}"


def runtime_text(kind: type[Runtime]) -> str:
    """Return a campaign file's text of its runtime: the name of ours, the class of another.

    It is compared when the campaign goes on, and nothing is ever imported by it.

    Raises:
        ValueError: worker processes could not import it.
    """
    text = class_name(kind)
    return NAMES.get(text, text)


def _check(kind: object) -> None:
    """Make sure that a class is a runtime.

    Raises:
        TypeError: it is no complete one.
    """
    if not (isinstance(kind, type) and issubclass(kind, Runtime)):
        raise TypeError(f"a runtime must be a subclass of Runtime; got {kind!r}")
    needed = [x for x in ("name", "title", "package", "extra") if not hasattr(kind, x)]
    needed += sorted(kind.__abstractmethods__)
    if kind._load is Runtime._load and kind._load_onnx is Runtime._load_onnx:
        needed.append("_load_onnx or _load")
    if needed:
        raise TypeError(f"the runtime {kind.__qualname__} must define {', '.join(needed)}")


__all__ = [
    "NAMES",
    "RUNTIMES",
    "LoadedNetwork",
    "Runtime",
    "UnsupportedNetworkError",
    "class_name",
    "register_runtime",
    "registered_name",
    "runtime",
    "runtime_text",
]
