"""OpenVINO, on the CPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._base import Floats, LoadedNetwork, Runtime
from ._onnx_models import Arrays, LayerNumbers, attribute, median_by_layer
from ._quantized import QUANTIZATION, quantized

if TYPE_CHECKING:
    import openvino as ov

# In int8 for what is not quantized.
_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}
_TELEMETRY = "openvino_telemetry"
PROFILE_REQUESTS = 3


class OpenVINO(Runtime):
    """OpenVINO's CPU plugin with one stream, tuned for latency.

    The precision is always stated: left alone, the plugin takes bf16 where the CPU has it. In int8
    it runs what ONNX Runtime's static quantizer writes. Usage
    statistics, which ``import openvino`` sends unless refused, are not sent.
    """

    name = "openvino"
    title = "OpenVINO"
    package = "openvino"
    extra = "openvino"
    precisions = ("fp32", "int8", "bf16")
    has_profiler = True
    flushes_denormals = True

    def _importing(self) -> AbstractContextManager[object]:
        return without_telemetry()

    def _prepare(self) -> None:
        able = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.precision == "bf16" and "BF16" not in able:
            raise ValueError(
                f"{self.name} has bf16 on CPUs with AVX-512 BF16 or AMX only; this CPU has "
                f"{', '.join(able)}: use precision fp32"
            )

    @cached_property
    def _core(self) -> ov.Core:
        import openvino as ov

        return ov.Core()

    def _settings(self) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "CPU_DENORMALS_OPTIMIZATION": True,
        }

    def _load_onnx(self, model: bytes | Path, inputs: Arrays, *, profiling: bool) -> LoadedNetwork:
        numbers = LayerNumbers.of(model) if profiling else None
        if self.precision == "int8":
            model = quantized(model, inputs)
        read = self._core.read_model(model)
        if read.is_dynamic():
            read.reshape({name: list(values.shape) for name, values in inputs.items()})
        settings = self._settings() | {"PERF_COUNT": profiling}
        compiled = self._core.compile_model(read, "CPU", settings)
        return _Loaded(compiled, inputs, numbers)

    def facts(self) -> Mapping[str, str]:
        import openvino as ov

        x = ov.opset13.parameter([1], ov.Type.f32)
        smallest = ov.Model([ov.opset13.relu(x)], [x])
        compiled = self._core.compile_model(smallest, "CPU", self._settings())
        needs = re.search(r"isa=([^;]+)", compiled.get_property("RUNTIME_REQUIREMENTS"))
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        return {
            "version": ov.__version__.partition("-")[0],
            "build": ov.get_version(),
            "instructions": needs[1] if needs else "chosen at run time; not stated",
            "denormals": "flushed (CPU_DENORMALS_OPTIMIZATION)",
            "threads": f"{threads} in {compiled.get_property('NUM_STREAMS')} stream",
            **({"quantization": QUANTIZATION} if self.precision == "int8" else {}),
        }


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Hide the module that ``import openvino`` sends usage statistics with."""
    if _TELEMETRY in sys.modules:
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes its import fail
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]


class _Loaded(LoadedNetwork):
    def __init__(
        self, compiled: ov.CompiledModel, inputs: Arrays, numbers: LayerNumbers | None
    ) -> None:
        self._compiled = compiled
        self._inputs = inputs
        self._numbers = numbers
        self._request = self._new_request()

    def run(self) -> None:
        self._request.infer()

    def output(self) -> Floats:
        result: Floats = self._request.get_output_tensor(0).data
        return result

    def profile(self, repeats: int) -> Mapping[int, float] | None:
        if not self._numbers:
            return None
        # A request keeps no times but means over its passes: only several have a median.
        each = -(-repeats // PROFILE_REQUESTS)
        return median_by_layer([self._means(each) for _ in range(PROFILE_REQUESTS)])

    def _means(self, repeats: int) -> dict[int, float]:
        """Mean milliseconds by layer of a new request, without its first pass, which allocates."""
        request = self._new_request()
        request.infer()
        first = self._times(request)
        for _ in range(repeats):
            request.infer()
        means = self._times(request).items()
        # A layer that took less than the clock's microsecond is missing from the first pass.
        return {n: max(0.0, (ms * (repeats + 1) - first.get(n, 0.0)) / repeats) for n, ms in means}

    def _times(self, request: ov.InferRequest) -> dict[int, float]:
        assert self._numbers is not None
        numbers, ran = self._numbers, request.get_profiling_info()
        times = ((numbers[x.node_name], x.real_time.total_seconds() * 1e3) for x in ran)
        return attribute(times, numbers.last)

    def _new_request(self) -> ov.InferRequest:
        import openvino as ov

        request = self._compiled.create_infer_request()
        for n, port in enumerate(self._compiled.inputs):
            (values,) = (self._inputs[name] for name in port.names if name in self._inputs)
            request.set_input_tensor(n, ov.Tensor(values))
        return request
