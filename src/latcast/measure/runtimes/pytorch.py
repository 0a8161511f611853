"""PyTorch: eager, channels last, compiled, and on CUDA."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from latcast.graph import Graph, Weights
from latcast.graph.write.pytorch import to_pytorch

from ._base import Floats, LoadedNetwork, Runtime, check_bf16

if TYPE_CHECKING:
    import torch


class PyTorch(Runtime):
    """PyTorch in eager mode, NCHW."""

    name = "pytorch"
    title = "PyTorch"
    package = "torch"
    extra = "torch"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16")
    lacks: ClassVar[Mapping[str, str]] = {
        "int8": ": no quantizer of PyTorch is used here; use onnxruntime or openvino"
    }
    flushes_denormals = True
    device = "cpu"

    def _prepare(self) -> None:
        import torch

        if self.precision == "bf16":
            check_bf16(self.name)
        torch.set_num_threads(self.threads)
        # Other threads take the mode of the one that starts them.
        with _flushed():
            torch.ones(1 << 20).add_(1.0)

    def _load(
        self, graph: Graph, weights: Weights, inputs: Floats, *, profiling: bool
    ) -> LoadedNetwork:
        import torch

        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        module = to_pytorch(graph, weights).to(device=self.device, dtype=dtype[self.precision])
        x = torch.from_numpy(inputs).to(device=self.device, dtype=dtype[self.precision])
        return self._wrap(*self._arrange(module, x))

    def _arrange(self, module: torch.nn.Module, x: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """The module and its input as this way of running PyTorch wants them."""
        return module, x

    def _wrap(self, module: Any, x: torch.Tensor) -> LoadedNetwork:
        return _Loaded(module, x)

    def facts(self) -> Mapping[str, str]:
        import torch

        config = torch.__config__.show()
        capability = re.search(r"CPU capability usage: (\S+)", config)
        return {
            "version": torch.__version__,
            "build": torch.version.git_version or "",
            "instructions": capability[1] if capability else "not stated",
            "denormals": "flushed (torch.set_flush_denormal)",
        }


class PyTorchChannelsLast(PyTorch):
    """PyTorch in eager mode, NHWC."""

    name = "pytorch-channels-last"
    title = "PyTorch, channels last"

    def _arrange(self, module: torch.nn.Module, x: torch.Tensor) -> tuple[Any, torch.Tensor]:
        import torch

        last: Any = torch.channels_last
        moved: Any = module  # torch does not declare this keyword
        return moved.to(memory_format=last), x.to(memory_format=last)


class PyTorchCompile(PyTorch):
    """``torch.compile`` with its default backend: compiling takes seconds a network.

    Needs a C++ compiler on the machine.
    """

    name = "pytorch-compile"
    title = "torch.compile"
    backend = "inductor"

    def _arrange(self, module: torch.nn.Module, x: torch.Tensor) -> tuple[Any, torch.Tensor]:
        import torch

        torch.compiler.reset()  # networks of one class would share a limited cache
        compiled = torch.compile(module, dynamic=False, backend=self.backend)
        with torch.inference_mode():
            compiled(x)
        return compiled, x


class PyTorchCUDA(PyTorch):
    """PyTorch in eager mode on an NVIDIA GPU, timed by CUDA events.

    Written against the documented interface and tested only as far as a machine without a GPU
    can: not run.
    """

    name = "pytorch-cuda"
    title = "PyTorch on CUDA"
    kind = "gpu"
    precisions = ("fp32", "fp16", "bf16")
    device = "cuda"

    def _prepare(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise ValueError(
                f"{self.name} needs a CUDA GPU and a PyTorch built for it; "
                f"got PyTorch {torch.__version__}, which sees none"
            )
        torch.backends.cudnn.benchmark = True  # deployments fix the shape and let cuDNN choose

    def _wrap(self, module: Any, x: torch.Tensor) -> LoadedNetwork:
        return _LoadedOnGPU(module, x)

    def facts(self) -> Mapping[str, str]:
        import torch

        cudnn: Any = torch.backends.cudnn
        return {
            "version": torch.__version__,
            "build": f"CUDA {torch.version.cuda}, cuDNN {cudnn.version()}",
            "instructions": ".".join(map(str, torch.cuda.get_device_capability())),
            "gpu": torch.cuda.get_device_name(),
        }


@contextmanager
def _flushed() -> Iterator[None]:
    """Denormal numbers count as 0 meanwhile, in this thread; what else runs in it keeps them."""
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class _Loaded(LoadedNetwork):
    def __init__(self, module: Any, x: torch.Tensor) -> None:
        import torch

        self._module = module
        self._input = x
        self._output = x
        self._mode = torch.inference_mode

    def run(self) -> None:
        with self._mode(), _flushed():
            self._output = self._module(self._input)

    def output(self) -> Floats:
        result: Floats = self._output.float().cpu().numpy()
        return result


class _LoadedOnGPU(_Loaded):
    def run(self) -> None:
        import torch

        super().run()
        torch.cuda.synchronize()

    def time(self, repeats: int) -> float:
        """Every pass waits for the one before it, as a single request would."""
        import torch

        event: Any = torch.cuda.Event
        events = [(event(enable_timing=True), event(enable_timing=True)) for _ in range(repeats)]
        torch.cuda.synchronize()
        for start, end in events:
            start.record()
            super().run()
            end.record()
            end.synchronize()
        return float(sum(start.elapsed_time(end) for start, end in events)) * 1e-3
