"""Names of runtimes: what measures and what a public table calls it, and which unit they tell."""

from __future__ import annotations

# Name that is shown and that `latcast measure` takes -> what public tables call it, that of the
# most rows first.
_ALIASES = {"onnxruntime": ("onnx",), "litert": ("tflite",)}
# Runtime -> the forms of networks that it runs, each with a name of its own in public tables.
_FORMS = {"qnn": ("qnn-dlc", "qnn-context-binary")}
_UNITS = ("-cpu", "-gpu", "-npu")
# A part of a runtime's name -> the part of a chip that it runs on; others run on the device named.
_UNIT_OF_RUNTIME = {
    "cpu": "cpu", "gpu": "gpu", "vulkan": "gpu", "cuda": "gpu", "tensorrt": "gpu", "opencl": "gpu",
    "npu": "npu", "qnn": "npu", "hexagon": "npu",
}  # fmt: skip


def public_runtime(name: str) -> str:
    """The name by which `latcast measure` knows a runtime, from any of its names."""
    return next((public for public, others in _ALIASES.items() if name in others), name)


def runtime_names(name: str) -> tuple[str, ...]:
    """The names that mean a runtime, the given one first; of one with several forms, theirs too."""
    public = public_runtime(name)
    return tuple(dict.fromkeys([name, public, *_ALIASES.get(public, ()), *_FORMS.get(name, ())]))


def runtime_of_domain(domain: str) -> str:
    """The public name of a domain's runtime; the domain ``onnx-cpu`` is of ``onnxruntime``."""
    unit = next((u for u in _UNITS if domain.endswith(u)), "")
    return public_runtime(domain.removesuffix(unit))


def unit_of_runtime(runtime: str) -> str | None:
    """The part of a chip that a runtime runs on by its name, such as ``ncnn-vulkan``; or None."""
    parts = runtime.replace("_", "-").split("-")
    return next((_UNIT_OF_RUNTIME[p] for p in parts if p in _UNIT_OF_RUNTIME), None)
