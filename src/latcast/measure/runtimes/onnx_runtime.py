"""ONNX Runtime, on the CPU and on NVIDIA GPUs."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latcast.devices import cpu_features
from latcast.measure import _machine

from ._base import Floats, LoadedNetwork, Runtime
from ._onnx_models import Arrays, LayerNumbers, attribute, median_by_layer
from ._quantized import QUANTIZATION, quantized, without_telemetry

if TYPE_CHECKING:
    import onnxruntime as ort

_KERNEL_TIME = "_kernel_time"
# A fusion of several layers that is called after none of them.
_NAMELESS = "SkipLayerNormalization"
_BF16_PRODUCTS = "mlas.enable_gemm_fastmath_arm64_bfloat16"


class ONNXRuntime(Runtime):
    """ONNX Runtime's CPU provider, all graph optimizations on.

    In int8 its own static quantizer writes what runs. In bf16 inputs and weights stay in fp32 and
    products are computed in bf16, which it (as of 1.32) does on ARM CPUs under Linux alone.
    """

    name = "onnxruntime"
    title = "ONNX Runtime"
    package = "onnxruntime"
    extra = "onnxruntime"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8", "bf16")
    has_profiler = True
    flushes_denormals = True
    providers: ClassVar[tuple[str, ...]] = ("CPUExecutionProvider",)
    _cpus: tuple[int, ...] = ()
    """One for every thread; empty: wherever the system puts them."""

    def _importing(self) -> AbstractContextManager[object]:
        return without_telemetry()

    def _prepare(self) -> None:
        import onnxruntime as ort

        ort.disable_telemetry_events()
        if self.precision == "bf16" and not _has_bf16():
            raise ValueError(
                f"{self.name} has bf16 on ARM CPUs with that instruction under Linux only; this "
                f"CPU has {', '.join(cpu_features()) or platform.machine()}: use precision fp32, "
                "or openvino or pytorch where it has bf16"
            )

    def bind(self, cpus: Sequence[int]) -> None:
        if self.threads > 1:
            self._cpus = tuple(cpus[: self.threads])
            _machine.pin(cpus[:1])

    def _options(self) -> ort.SessionOptions:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        # One stream of operators: branches that run side by side would share the threads of one
        # another.
        options.inter_op_num_threads = 1
        # Warnings of the optimizer on the worker's error output would bury the reason of a death.
        options.log_severity_level = 3
        # One public text recognizer took three times as long with its denormal numbers.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        if self.precision == "bf16":
            options.add_session_config_entry(_BF16_PRODUCTS, "1")
        if self.threads > 1:
            # Threads that wait for the next pass of one network would slow another's.
            options.add_session_config_entry("session.force_spinning_stop", "1")
        if self._cpus:
            # Left alone, threads can share a CPU for a second, and passes take half as long
            # again. The thread that calls is the first; CPUs count from 1.
            others = ";".join(str(cpu + 1) for cpu in self._cpus[1:])
            options.add_session_config_entry("session.intra_op_thread_affinities", others)
        return options

    def _load_onnx(self, model: bytes | Path, inputs: Arrays, *, profiling: bool) -> LoadedNetwork:
        options = self._options()
        if profiling:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(tempfile.mkdtemp()) / "latcast")
        # The quantizer calls what it adds after the tensors of the model.
        numbers = LayerNumbers.of(model) if profiling else None
        if self.precision == "int8":
            model = quantized(model, inputs)
        return _Loaded(self._session(model, options), inputs, numbers)

    def _session(self, model: bytes | Path, options: ort.SessionOptions) -> ort.InferenceSession:
        """The model as the runtime runs it.

        Raises:
            UnsupportedNetworkError: it has no kernel for an operator.
        """
        import onnxruntime as ort

        source = model if isinstance(model, bytes) else str(model)
        session = ort.InferenceSession(source, options, providers=list(self.providers))
        # It keeps the bytes to begin anew with other providers, of which there are none: they would
        # double the memory of weights, beside which a session from a file has no such copy.
        session._model_bytes = None
        return session

    def facts(self) -> Mapping[str, str]:
        import onnxruntime as ort

        return {
            "version": ort.__version__,
            "build": ort.get_build_info(),
            "instructions": "chosen by MLAS at run time; not stated",
            "providers": ", ".join(self.providers),
            "denormals": "flushed (session.set_denormal_as_zero)",
            **({"threads": "each on a CPU of its own"} if self._cpus else {}),
            **({"quantization": QUANTIZATION} if self.precision == "int8" else {}),
            **({"products": f"in bf16 ({_BF16_PRODUCTS})"} if self.precision == "bf16" else {}),
        }


def _has_bf16() -> bool:
    is_arm = platform.system() == "Linux" and platform.machine() == "aarch64"
    return is_arm and "bf16" in cpu_features()


class _Loaded(LoadedNetwork):
    def __init__(
        self, session: ort.InferenceSession, inputs: Arrays, numbers: LayerNumbers | None
    ) -> None:
        self._session = session
        self._numbers = numbers
        self._feed = inputs
        self._output: Any = None

    def run(self) -> None:
        self._output = self._session.run(None, self._feed)

    def output(self) -> Floats:
        result: Floats = self._output[0]
        return result

    def profile(self, repeats: int) -> Mapping[int, float] | None:
        if self._numbers is None:
            return None
        # The first pass allocates; it stands in the trace before the others and is left out.
        for _ in range(repeats + 1):
            self.run()
        path = Path(self._session.end_profiling())
        try:
            return read_profile(path.read_text(encoding="utf-8"), repeats, self._numbers)
        finally:
            path.unlink()
            path.parent.rmdir()


def read_profile(trace: str, repeats: int, numbers: LayerNumbers) -> dict[int, float] | None:
    """Median milliseconds by layer from an ONNX Runtime trace of ``1 + repeats`` passes.

    A fused node is called after a node or tensor of the model, with a suffix. The runtime
    inserts nodes of its own (changes of layout), which are attributed to the layer that they
    come before.

    Args:
        trace: JSON text.
        repeats: timed passes; those before are left out.
        numbers: of the model's layers; None is returned where there are none.
    """
    if not numbers:
        return None
    passes: list[dict[int, float]] = []
    current: list[tuple[str, float]] = []
    for event in json.loads(trace):
        if event.get("cat") == "Session" and event.get("name") == "model_run":
            # The event of a pass follows those of its nodes.
            passes.append(attribute(_numbered(current, numbers), numbers.last))
            current = []
        elif event.get("cat") == "Node" and event["name"].endswith(_KERNEL_TIME):
            current.append((event["name"].removesuffix(_KERNEL_TIME), event["dur"] / 1000))
    return median_by_layer(passes[-repeats:])


def _numbered(
    times: Sequence[tuple[str, float]], numbers: LayerNumbers
) -> list[tuple[int | None, float]]:
    """The layers of nodes; one that was fused and lost its name is the layer before the next."""
    found: list[tuple[int | None, float]] = []
    following = numbers.last + 1
    for name, ms in reversed(times):
        number = numbers[name]
        if number is None and name.startswith(_NAMELESS):
            number = following - 1
        elif number is not None:
            following = number
        found.append((number, ms))
    return found[::-1]


class ONNXRuntimeCUDA(ONNXRuntime):
    """ONNX Runtime's CUDA provider, with input and output on the GPU.

    Written against the documented interface and tested only as far as a machine without a GPU
    can: not run.
    """

    name = "onnxruntime-cuda"
    title = "ONNX Runtime on CUDA"
    extra = "onnxruntime-gpu"
    precisions = ("fp32",)
    kind = "gpu"
    has_profiler = False
    providers: ClassVar[tuple[str, ...]] = ("CUDAExecutionProvider",)

    def _prepare(self) -> None:
        import onnxruntime as ort

        super()._prepare()
        available = ort.get_available_providers()
        if self.providers[0] not in available:
            raise ValueError(
                f"{self.name} needs an onnxruntime with {self.providers[0]} "
                f"(pip install onnxruntime-gpu); this one has {', '.join(available)}"
            )

    def _load_onnx(self, model: bytes | Path, inputs: Arrays, *, profiling: bool) -> LoadedNetwork:
        return _LoadedOnGPU(self._session(model, self._options()), inputs)


class ONNXRuntimeTensorRT(ONNXRuntimeCUDA):
    """ONNX Runtime's TensorRT provider; not run, as :class:`ONNXRuntimeCUDA`."""

    name = "onnxruntime-tensorrt"
    title = "ONNX Runtime on TensorRT"
    providers = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


class _LoadedOnGPU(LoadedNetwork):
    def __init__(self, session: ort.InferenceSession, inputs: Arrays) -> None:
        import onnxruntime as ort

        self._session = session
        self._binding = session.io_binding()
        for name, values in inputs.items():
            on_gpu = ort.OrtValue.ortvalue_from_numpy(values, "cuda", 0)
            self._binding.bind_ortvalue_input(name, on_gpu)
        for output in session.get_outputs():
            self._binding.bind_output(output.name, "cuda", 0)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> Floats:
        result: Floats = self._binding.copy_outputs_to_cpu()[0]
        return result
