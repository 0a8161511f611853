"""LiteRT, which was TensorFlow Lite, on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from latcast._imports import require
from latcast.graph import Graph, Weights
from latcast.graph.write.tflite import to_tflite

from ._base import Floats, LoadedNetwork, Runtime

_QUANTIZER = "ai_edge_quantizer"
QUANTIZATION = (
    "static, activations and weights in int8, weights by channel, by ai-edge-quantizer {}; "
    "calibrated with random numbers, on which latency hardly depends"
)
"""What datasets say of it."""
# What goes before a maximum over windows that reach over an edge: the quantizer (as of 0.10) fails
# on the number that it pads with, which is below all of its integers besides.
_IN_FLOATS = {
    "regex": ".*", "operation": "PADV2", "algorithm_key": "no_quantize", "op_config": {},
}  # fmt: skip
# Batches that ranges of activations are taken from, and the signature that they are given to.
_BATCHES, _KEY = 2, "serving_default"

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter


class LiteRT(Runtime):
    """LiteRT's interpreter with the XNNPACK delegate, which it applies by default.

    In int8 its own quantizer (ai-edge-quantizer) writes what runs: activations and weights in 8
    bits, the input and the output, too; ranges are taken from random numbers.

    Its Python interface has no option for half precision and no profiler. XNNPACK (as of LiteRT
    2.3) has depthwise kernels for 3 x 3 and 5 x 5 windows only; a depthwise convolution of 7 x 7
    goes through its general convolution, one group a channel, and takes many times as long.
    """

    name = "litert"
    title = "LiteRT"
    package = "ai_edge_litert"
    extra = "litert"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")

    def _prepare(self) -> None:
        if self.precision == "int8":
            require(_QUANTIZER, "litert-int8", "measuring with LiteRT in int8")

    def _load(
        self, graph: Graph, weights: Weights, inputs: Floats, *, profiling: bool
    ) -> LoadedNetwork:
        from ai_edge_litert.interpreter import Interpreter

        # The interpreter keeps a reference to the model, in which it leaves the weights.
        is_int8 = self.precision == "int8"
        model = quantized_tflite(graph, weights, inputs) if is_int8 else to_tflite(graph, weights)
        interpreter = Interpreter(model_content=model, num_threads=self.threads)
        interpreter.allocate_tensors()
        return _Loaded(interpreter, inputs)

    def facts(self) -> Mapping[str, str]:
        return {
            "version": version("ai-edge-litert"),
            "build": "wheel of ai-edge-litert; not stated",
            "instructions": "chosen by XNNPACK at run time; not stated",
            "delegate": "XNNPACK",
            "denormals": "kept: it has no option for them",
            **({"quantization": QUANTIZATION.format(version(_QUANTIZER.replace("_", "-")))}
               if self.precision == "int8" else {}),
        }  # fmt: skip


def quantized_tflite(graph: Graph, weights: Weights, inputs: Floats) -> bytes:
    """The graph as TensorFlow Lite with weights and activations in int8.

    Args:
        graph: of the whole batch.
        weights: of its layers.
        inputs: shape (batch, channels, height, width), from whose shape random ones are drawn.
    """
    from ai_edge_quantizer import quantizer, recipe

    wanted = [*recipe.static_wi8_ai8(), _IN_FLOATS]
    made = quantizer.Quantizer(to_tflite(graph, weights, signature=_KEY), wanted)
    rng, shape = np.random.default_rng(0), inputs.transpose(0, 2, 3, 1).shape
    batches = [{"input": rng.standard_normal(shape, np.float32)} for _ in range(_BATCHES)]
    # Bars, and that all tensors are kept, which calibration is about: the reason of a death that
    # follows would be buried by them.
    with redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranges = made.calibrate({_KEY: batches}, num_threads=1)
        found = made.quantize(ranges, enable_progress_report=False)
    return bytes(found.quantized_model)


class _Loaded(LoadedNetwork):
    def __init__(self, interpreter: Interpreter, inputs: Floats) -> None:
        self._interpreter = interpreter
        self._output = interpreter.get_output_details()[0]
        source = interpreter.get_input_details()[0]
        values = inputs.transpose(0, 2, 3, 1)
        if source["dtype"] == np.int8:
            scale, zero = source["quantization"]
            values = np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], np.ascontiguousarray(values))

    def run(self) -> None:
        self._interpreter.invoke()

    def output(self) -> Floats:
        result: Floats = self._interpreter.get_tensor(self._output["index"])
        if result.dtype == np.int8:
            scale, zero = self._output["quantization"]
            result = (result.astype(np.float32) - zero) * np.float32(scale)
        return result.transpose(0, 3, 1, 2) if result.ndim == 4 else result
