"""LiteRT, which was TensorFlow Lite, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from latcast.graph import Graph, Weights
from latcast.graph.write.tflite import to_tflite

from ._base import Floats, LoadedNetwork, Runtime

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter


class LiteRT(Runtime):
    """LiteRT's interpreter with the XNNPACK delegate, which it applies by default.

    Its Python interface has no option for half precision and no profiler. XNNPACK (as of LiteRT
    2.3) has depthwise kernels for 3 x 3 and 5 x 5 windows only; a depthwise convolution of 7 x 7
    goes through its general convolution, one group a channel, and takes many times as long.
    """

    name = "litert"
    title = "LiteRT"
    package = "ai_edge_litert"
    extra = "litert"
    lacks: ClassVar[Mapping[str, str]] = {
        "int8": ": LiteRT's quantizer is not used here; use onnxruntime or openvino"
    }

    def _load(
        self, graph: Graph, weights: Weights, inputs: Floats, *, profiling: bool
    ) -> LoadedNetwork:
        from ai_edge_litert.interpreter import Interpreter

        # The interpreter keeps a reference to the model, in which it leaves the weights.
        interpreter = Interpreter(model_content=to_tflite(graph, weights), num_threads=self.threads)
        interpreter.allocate_tensors()
        return _Loaded(interpreter, inputs)

    def facts(self) -> Mapping[str, str]:
        return {
            "version": version("ai-edge-litert"),
            "build": "wheel of ai-edge-litert; not stated",
            "instructions": "chosen by XNNPACK at run time; not stated",
            "delegate": "XNNPACK",
            "denormals": "kept: it has no option for them",
        }


class _Loaded(LoadedNetwork):
    def __init__(self, interpreter: Interpreter, inputs: Floats) -> None:
        self._interpreter = interpreter
        self._output = interpreter.get_output_details()[0]["index"]
        source = interpreter.get_input_details()[0]["index"]
        interpreter.set_tensor(source, np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)))

    def run(self) -> None:
        self._interpreter.invoke()

    def output(self) -> Floats:
        result: Floats = self._interpreter.get_tensor(self._output)
        return result.transpose(0, 3, 1, 2) if result.ndim == 4 else result
