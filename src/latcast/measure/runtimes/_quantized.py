"""Networks in integers of 8 bits, as ONNX Runtime's static quantizer makes them of ONNX models."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from latcast._files import write_file

from ._onnx_models import Arrays, parse

QUANTIZATION = (
    "static, QDQ, activations in uint8, weights in int8 by channel, by onnxruntime.quantization; "
    "calibrated with random numbers, on which latency hardly depends; a file that is in integers "
    "already runs as it is"
)
"""What datasets say of it."""

# Of batches that ranges of activations are taken from. Which numbers they are changes scales, and
# no kernel.
_BATCHES = 2
# Its own optimizer merges these into what is before them; left alone, they would stay in floats.
_MERGED = "BatchNormalization"
# Words in the names of operators that only a quantized file has.
_OF_INTEGERS = ("QuantizeLinear", "QLinear", "Integer")


T = TypeVar("T", bound=bytes | Path)
# Name, shape and type of every input.
_Inputs: TypeAlias = tuple[tuple[str, tuple[int, ...], str], ...]

KEPT = "LATCAST_QUANTIZED"
"""Environment variable of a folder that keeps quantized networks: a campaign loads each anew in
every round, and others load the same ones."""


def quantized(model: T, inputs: Arrays) -> T | bytes:
    """The model with a pair of a quantization and its inverse around what runs in 8 bits.

    One that is quantized already stays as it is.

    Args:
        model: an ONNX file may have external data beside it.
        inputs: as the model takes them; their shapes and types are what counts.

    Raises:
        ValueError: the quantizer cannot read the model.
    """
    if _is_in_integers(model):
        return model
    return _quantized(model, tuple((name, x.shape, x.dtype.str) for name, x in inputs.items()))


# A network is loaded once more to be profiled; quantizing takes a second or two.
@lru_cache(maxsize=1)
def _quantized(model: bytes | Path, inputs: _Inputs) -> bytes:
    """Return the quantized model, kept from an earlier run if :data:`KEPT` names a folder."""
    folder = os.environ.get(KEPT)
    # What is beside a file is no part of what it is known by.
    if not folder or not isinstance(model, bytes):
        return _made(model, inputs)
    known_by = sha256(model)
    known_by.update(f"{inputs} {metadata.version('onnxruntime')} {QUANTIZATION}".encode())
    path = Path(folder) / f"{known_by.hexdigest()}.onnx"
    if not path.exists():
        write_file(path, _made(model, inputs))
    return path.read_bytes()


def _is_in_integers(model: bytes | Path) -> bool:
    return any(word in x.op_type for x in parse(model).graph.node for word in _OF_INTEGERS)


def without_telemetry() -> AbstractContextManager[object]:
    """Keep ONNX Runtime from writing a number of the machine and a database to the home folder.

    As of 1.32 it does so under Linux when it is imported, for what it reports to its makers.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return nullcontext()


def _made(model: bytes | Path, inputs: _Inputs) -> bytes:
    import onnx

    without_telemetry()
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quiet():
        out = Path(folder) / "model.onnx"
        whole = parse(model) if isinstance(model, bytes) else onnx.load(model)
        if any(node.op_type == _MERGED for node in whole.graph.node):
            # A model in memory it would take apart, and not find the parts of again.
            onnx.save(whole, out)
            quant_pre_process(out, out, skip_symbolic_shape=True)
            whole = onnx.load(out)
        quantization.quantize_static(
            whole, out, _reader(inputs), quant_format=quantization.QuantFormat.QDQ,
            # On x86 ONNX Runtime has the faster kernels for activations without a sign.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8, per_channel=True,
        )  # fmt: skip
        return out.read_bytes()


def _reader(inputs: _Inputs) -> Any:
    """Batches of standard normal numbers, and of zeros for integers."""
    from onnxruntime.quantization import CalibrationDataReader

    rng = np.random.default_rng(0)

    def batch() -> Arrays:
        return {
            name: rng.standard_normal(shape).astype(kind)
            if np.dtype(kind).kind == "f"
            else np.zeros(shape, kind)
            for name, shape, kind in inputs
        }

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter([batch() for _ in range(_BATCHES)])

        def get_next(self) -> Arrays | None:
            return next(self._batches, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice, which it logs at the root for every model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
