"""ncnn, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from latcast.graph import Graph, TensorShape, Weights
from latcast.graph.write.ncnn import to_ncnn

from ._base import Floats, LoadedNetwork, Runtime, wheel
from ._onnx_models import UnsupportedNetworkError

if TYPE_CHECKING:
    import ncnn

_HALF_PRECISION = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")


class NCNN(Runtime):
    """ncnn's CPU layers, one extractor a pass, as applications use it.

    In bf16 it (as of 2026) computes nonsense where a convolution has groups and is not depthwise,
    so that such networks are refused. One sample a pass: ncnn (as of 2026) takes batches, but
    runs each layer sample by sample.
    Its Python interface has no profiler.
    """

    name = "ncnn"
    title = "ncnn"
    package = "ncnn"
    extra = "ncnn"
    lacks: ClassVar[Mapping[str, str]] = {
        "int8": ": ncnn's wheel has no quantizer; use onnxruntime or openvino"
    }
    precisions = ("fp32", "bf16")
    max_batch = 1
    flushes_denormals = True

    def _load(
        self, graph: Graph, weights: Weights, inputs: Floats, *, profiling: bool
    ) -> LoadedNetwork:
        import ncnn

        if self.precision == "bf16":
            _check_groups(graph)
        text, content = to_ncnn(graph, weights)
        net = ncnn.Net()
        net.opt.num_threads = self.threads
        # ncnn would otherwise take a GPU that it finds, and the target says CPU.
        net.opt.use_vulkan_compute = False
        # On by default, and then fp32 is not what is timed.
        for option in _HALF_PRECISION:
            setattr(net.opt, option, False)
        net.opt.use_bf16_storage = self.precision == "bf16"
        if code := net.load_param_mem(text):
            raise UnsupportedNetworkError(f"ncnn refused the graph with code {code}")
        net.load_model_mem(content)
        loaded = _Loaded(net, inputs, graph.out_shape)
        loaded.run()  # loading weights reports no failure
        return loaded

    def facts(self) -> Mapping[str, str]:
        import ncnn

        return {
            "version": ncnn.__version__,
            "build": wheel("ncnn"),
            "instructions": "chosen at run time; not stated",
            "threads": f"{self.threads} of OpenMP",
            "denormals": "flushed (ncnn's default)",
        }


def _check_groups(graph: Graph) -> None:
    for n, layer in enumerate(graph.layers):
        if layer.op == "conv" and layer.groups > 1:
            raise UnsupportedNetworkError(
                f"layer {n}: ncnn computes a convolution of {layer.groups} groups wrongly in "
                "bf16, and grouped ones are refused: measure in fp32"
            )


class _Loaded(LoadedNetwork):
    def __init__(self, net: ncnn.Net, inputs: Floats, shape: TensorShape) -> None:
        import ncnn

        self._net = net
        self._input = ncnn.Mat(inputs[0]).clone()  # its own memory, aligned
        self._output = self._input
        self._shape = shape

    def run(self) -> None:
        extractor = self._net.create_extractor()
        extractor.input("input", self._input)
        code, self._output = extractor.extract("output")
        if code:
            raise RuntimeError(f"ncnn failed with code {code}")

    def output(self) -> Floats:
        return np.array(self._output, dtype=np.float32).reshape(self._shape)
