"""ONNX Runtime, on the CPU and on NVIDIA GPUs."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latcast.measure import _machine
from latcast.networks import Network, to_onnx

from ._base import Floats, LoadedNetwork, Runtime, median_by_layer

if TYPE_CHECKING:
    import onnxruntime as ort

OPERATORS = frozenset({
    "conv", "depthwise_conv", "linear", "relu", "relu6", "h_swish", "h_sigmoid",
    "global_pool", "avg_pool", "max_pool", "channel_shuffle", "zero", "identity", "add", "scale",
})  # fmt: skip


class ONNXRuntime(Runtime):
    """ONNX Runtime's CPU provider, all graph optimizations on."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    package = "onnxruntime"
    extra = "onnxruntime"
    operators = OPERATORS
    providers: ClassVar[tuple[str, ...]] = ("CPUExecutionProvider",)
    _cpus: tuple[int, ...] = ()
    """One for every thread; empty: wherever the system puts them."""

    def _prepare(self) -> None:
        import onnxruntime as ort

        ort.disable_telemetry_events()

    def bind(self, cpus: Sequence[int]) -> None:
        if self.threads > 1:
            self._cpus = tuple(cpus[: self.threads])
            _machine.pin(cpus[:1])

    def _options(self) -> ort.SessionOptions:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if self.threads > 1:
            # Threads that wait for the next pass of one network would slow another's.
            options.add_session_config_entry("session.force_spinning_stop", "1")
        if self._cpus:
            # Left alone, threads can share a CPU for a second, and passes take half as long
            # again. The thread that calls is the first; CPUs count from 1.
            others = ";".join(str(cpu + 1) for cpu in self._cpus[1:])
            options.add_session_config_entry("session.intra_op_thread_affinities", others)
        return options

    def _load(self, network: Network, inputs: Floats, *, profiling: bool) -> LoadedNetwork:
        import onnxruntime as ort

        options = self._options()
        if profiling:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(tempfile.mkdtemp()) / "latcast")
        model = to_onnx(network, self.batch)
        session = ort.InferenceSession(model, options, providers=list(self.providers))
        return _Loaded(session, inputs, len(network.layers) - 1)

    def facts(self) -> Mapping[str, str]:
        import onnxruntime as ort

        return {
            "version": ort.__version__,
            "build": ort.get_build_info(),
            "instructions": "chosen by MLAS at run time; not stated",
            "providers": ", ".join(self.providers),
            **({"threads": "each on a CPU of its own"} if self._cpus else {}),
        }


class _Loaded(LoadedNetwork):
    def __init__(self, session: ort.InferenceSession, inputs: Floats, last: int) -> None:
        self._session = session
        self._last = last
        self._feed = {session.get_inputs()[0].name: inputs}
        self._output: Any = None

    def run(self) -> None:
        self._output = self._session.run(None, self._feed)

    def output(self) -> Floats:
        result: Floats = self._output[0]
        return result

    def profile(self, repeats: int) -> Mapping[int, float] | None:
        # The first pass allocates; it stands in the trace before the others and is left out.
        for _ in range(repeats + 1):
            self.run()
        path = Path(self._session.end_profiling())
        if not path.name:
            return None
        try:
            return read_profile(path.read_text(encoding="utf-8"), repeats, self._last)
        finally:
            path.unlink()
            path.parent.rmdir()


def read_profile(trace: str, repeats: int, last: int) -> dict[int, float]:
    """Median milliseconds by layer from an ONNX Runtime trace of ``1 + repeats`` passes.

    Nodes are named after the layers or the tensors that :func:`latcast.networks.to_onnx` named;
    a fused node after the tensor that it writes. The runtime inserts nodes of its own (changes
    of layout), which are booked on the layer that they come before.

    Args:
        trace: JSON text.
        repeats: timed passes; those before are left out.
        last: position of the network's last layer.
    """
    passes: list[dict[int, float]] = []
    current: dict[int, float] = defaultdict(float)
    pending = 0.0
    for event in json.loads(trace):
        if event.get("cat") == "Session" and event.get("name") == "model_run":
            passes.append(current)  # the event of a pass follows those of its nodes
            current = defaultdict(float)
            continue
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        position = layer_position(event["name"].removesuffix("_kernel_time"), last)
        if position is None:
            pending += event["dur"] / 1000
            continue
        current[position] += event["dur"] / 1000 + pending
        pending = 0.0
    return median_by_layer(passes[-repeats:])


def layer_position(name: str, last: int) -> int | None:
    """The layer of a node called ``conv_12``, ``t12_nchwc`` or ``output``; None for others."""
    if name.startswith("output"):
        return last
    found = re.match(r"t(\d+)(?:_|$)|([a-z_]+)_(\d+)$", name)
    if found is None or (found[2] is not None and found[2] not in {*OPERATORS, "flatten"}):
        return None
    return int(found[1] or found[3])


class ONNXRuntimeCUDA(ONNXRuntime):
    """ONNX Runtime's CUDA provider, with input and output on the GPU.

    Written against the documented interface and tested only as far as a machine without a GPU
    can: not run.
    """

    name = "onnxruntime-cuda"
    title = "ONNX Runtime on CUDA"
    extra = "onnxruntime-gpu"
    kind = "gpu"
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

    def _load(self, network: Network, inputs: Floats, *, profiling: bool) -> LoadedNetwork:
        import onnxruntime as ort

        session = ort.InferenceSession(
            to_onnx(network, self.batch), self._options(), providers=list(self.providers)
        )
        return _LoadedOnGPU(session, inputs)


class ONNXRuntimeTensorRT(ONNXRuntimeCUDA):
    """ONNX Runtime's TensorRT provider; not run, as :class:`ONNXRuntimeCUDA`."""

    name = "onnxruntime-tensorrt"
    title = "ONNX Runtime on TensorRT"
    providers = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


class _LoadedOnGPU(LoadedNetwork):
    def __init__(self, session: ort.InferenceSession, inputs: Floats) -> None:
        import onnxruntime as ort

        self._session = session
        self._binding = session.io_binding()
        on_gpu = ort.OrtValue.ortvalue_from_numpy(inputs, "cuda", 0)
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, on_gpu)
        self._binding.bind_output(session.get_outputs()[0].name, "cuda", 0)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> Floats:
        result: Floats = self._binding.copy_outputs_to_cpu()[0]
        return result
