"""Kernels of quantized models by our rules against those of ONNX Runtime's optimized graph.

    python benchmarks/quantized.py FOLDER [--forms static …] [--only WORD …]

Every file of the folder is quantized by ``onnxruntime.quantization`` in each form, calibrated with
noise, and compared as ``benchmarks/kernels.py`` compares it. Forms are pairs of a quantization and
its inverse around every operator (``static``: activations unsigned, weights signed; ``signed``:
both signed, a scale for each channel), operators on integers (``operators``), products of
activations that are quantized by their own range (``dynamic``), and half precision with 32 bits at
the borders (``half``, by ``onnxruntime.transformers``). ``LIST`` in the folder tells the inputs'
shapes.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import kernels
import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization import QuantFormat, QuantType
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from latcast.bench.tables import machine
from latcast.graph import rules_of
from latcast.graph.read.onnx import read_onnx

_SAMPLES = 2
_Form = Callable[[Path, Path], None]


class _Noise(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Samples of normal noise for every input of a model."""

    def __init__(self, model: Path) -> None:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        rng, types = np.random.default_rng(0), {"tensor(float)": np.float32}
        self._samples = iter([
            {
                x.name: (4 * rng.normal(size=x.shape)).astype(types.get(x.type, np.int64))
                for x in session.get_inputs()
            }
            for _ in range(_SAMPLES)
        ])  # fmt: skip

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._samples, None)


def _static(kind: QuantFormat, activations: QuantType, *, channels: bool) -> _Form:
    def quantize(model: Path, out: Path) -> None:
        quantization.quantize_static(
            model, out, _Noise(model), quant_format=kind, activation_type=activations,
            weight_type=QuantType.QInt8, per_channel=channels,
        )  # fmt: skip

    return quantize


def _dynamic(model: Path, out: Path) -> None:
    quantization.quantize_dynamic(model, out, weight_type=QuantType.QUInt8)


def _half(model: Path, out: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=True), out)


FORMS: dict[str, _Form] = {
    "static": _static(QuantFormat.QDQ, QuantType.QUInt8, channels=False),
    "signed": _static(QuantFormat.QDQ, QuantType.QInt8, channels=True),
    "operators": _static(QuantFormat.QOperator, QuantType.QUInt8, channels=False),
    "dynamic": _dynamic,
    "half": _half,
}


def compared(path: Path, shapes: dict[str, kernels.Shape], form: str) -> kernels.Comparison:
    """Our kernels of a quantized file beside the runtime's."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(kernels.fixed(path, shapes), source)
        quant_pre_process(source, source, skip_symbolic_shape=True)
        FORMS[form](source, out)
        theirs = kernels.of_onnxruntime(onnx.load(out))
        graph = read_onnx(out)
    ours = kernels.kernels_of(graph, rules_of("onnxruntime"), kernels.ours_onnxruntime)
    return kernels.compare(ours, theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of ONNX files, with LIST")
    parser.add_argument("--forms", choices=FORMS, nargs="+", default=list(FORMS))
    parser.add_argument("--only", nargs="+", default=[""], help="words of files' names")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{machine()}; onnxruntime {onnxruntime.__version__}\n")
    print(f"{'':44s} {'kernels':>8s} {'same':>8s} {'same shape':>11s}")
    inputs, totals = kernels.listed(arguments.folder), dict[str, kernels.Comparison]()
    for path in sorted(arguments.folder.glob("*.onnx")):
        if not any(word in path.name for word in arguments.only):
            continue
        for form in arguments.forms:
            try:
                found = compared(path, inputs.get(path.name, {}), form)
            except Exception as error:  # noqa: BLE001  # whatever a runtime or quantizer raises
                print(f"{path.stem} {form}: {str(error).splitlines()[0][:90]}")
                continue
            totals.setdefault(form, kernels.Comparison()).add(found)
            kernels.print_row(f"{path.stem} {form}", found)
    for form, total in totals.items():
        kernels.print_row(f"all {form}", total)


if __name__ == "__main__":
    main()
