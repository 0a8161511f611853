"""MNN, on the CPU."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from ._base import Floats, LoadedNetwork, Runtime, wheel
from ._onnx_models import (
    Arrays,
    LayerNumbers,
    UnsupportedNetworkError,
    attribute,
    median_by_layer,
)

if TYPE_CHECKING:
    import MNN

_MEMORY_DISK = Path("/dev/shm")  # noqa: S108  # only ever used through tempfile
_LAST_WORDS = 300


class MNNRuntime(Runtime):
    """MNN's CPU backend, through sessions.

    A network goes through the converter in MNN's wheel. ``precision="low"`` gives the same
    numbers in the same time on x86, so that it is not offered.
    """

    name = "mnn"
    title = "MNN"
    package = "MNN"
    extra = "mnn"
    lacks: ClassVar[Mapping[str, str]] = {
        "int8": ": MNN's quantizer is not used here; use onnxruntime or openvino"
    }
    has_profiler = True

    def _importing(self) -> AbstractContextManager[object]:
        return quiet()

    def _load_onnx(self, model: bytes | Path, inputs: Arrays, *, profiling: bool) -> LoadedNetwork:
        import MNN

        settings = {"backend": "CPU", "precision": "high", "numThread": self.threads}
        with quiet() as log:
            interpreter = convert(model, lambda path: MNN.Interpreter(str(path)), log)
            session = interpreter.createSession(settings)
            _resize(interpreter, session, inputs)
        numbers = LayerNumbers.of(model) if profiling else None
        return _Loaded(interpreter, session, inputs, numbers)

    def facts(self) -> Mapping[str, str]:
        import MNN

        return {
            "version": MNN.version(),
            "build": wheel("MNN"),
            "instructions": "chosen at run time; not stated",
            "threads": str(self.threads),
            "denormals": "kept: it has no option for them",
        }


def _resize(interpreter: MNN.Interpreter, session: MNN.Session, inputs: Arrays) -> None:
    """Give open axes of the inputs their sides."""
    tensors = interpreter.getSessionInputAll(session)
    wrong = [n for n, x in tensors.items() if tuple(x.getShape()) != inputs[n].shape]
    for name in wrong:
        interpreter.resizeTensor(tensors[name], inputs[name].shape)
    if wrong:
        interpreter.resizeSession(session)


T = TypeVar("T")


def convert(model: bytes | Path, read: Callable[[Path], T], log: IO[bytes]) -> T:
    """Convert an ONNX model to a file, and return what ``read`` makes of it.

    The converter is called directly: importing the module of MNN's own command installs a
    package and connects to its vendor.

    Args:
        model: the ONNX model, or its file.
        read: reads the converter's file, which is gone afterwards.
        log: of :func:`quiet`, in which the converter is called.

    Raises:
        UnsupportedNetworkError: the converter makes nothing of the model; its last words say why.
    """
    import _tools

    size = len(model) if isinstance(model, bytes) else model.stat().st_size
    with tempfile.TemporaryDirectory(dir=_fast_directory(3 * size)) as folder:
        source, target = Path(folder, "network.onnx"), Path(folder, "network.mnn")
        if isinstance(model, bytes):
            source.write_bytes(model)
        else:
            source = model
        files = ["--modelFile", str(source), "--MNNModel", str(target)]
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "latcast"])
        if not target.exists():
            raise UnsupportedNetworkError(f"MNN could not convert the network: {_tail(log)}")
        return read(target)


def _fast_directory(size: int) -> str | None:
    """A directory in memory with room for ``size`` bytes; None for the usual one."""
    with suppress(OSError):
        if os.access(_MEMORY_DISK, os.W_OK) and shutil.disk_usage(_MEMORY_DISK).free > size:
            return str(_MEMORY_DISK)
    return None


@contextmanager
def quiet() -> Iterator[IO[bytes]]:
    """Send what this process prints, from C++ too, to a file for as long as this lasts."""
    with tempfile.TemporaryFile() as log:
        _flush()
        saved = {}
        for descriptor in (1, 2):
            with suppress(OSError):  # closed
                saved[descriptor] = os.dup(descriptor)
        try:
            for descriptor in saved:
                os.dup2(log.fileno(), descriptor)
            yield log
        finally:
            _flush()
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)


def _flush() -> None:
    """Write out what Python's and C's buffers hold, while it goes where it was meant to go."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # none, or closed
            stream.flush()
    libc = ctypes.CDLL(None) if os.name == "posix" else ctypes.cdll.msvcrt
    libc.fflush(None)


def _tail(log: IO[bytes]) -> str:
    _flush()
    log.seek(0)
    return " ".join(log.read().decode(errors="replace").split())[-_LAST_WORDS:]


class _Loaded(LoadedNetwork):
    def __init__(
        self,
        interpreter: MNN.Interpreter,
        session: MNN.Session,
        inputs: Arrays,
        numbers: LayerNumbers | None,
    ) -> None:
        self._interpreter = interpreter
        self._session = session
        self._numbers = numbers
        tensors = interpreter.getSessionInputAll(session)
        self._inputs = [(x, _host_tensor(inputs[name])) for name, x in tensors.items()]
        self._output = interpreter.getSessionOutput(session)

    def run(self) -> None:
        self._fill()
        if code := self._interpreter.runSession(self._session):
            raise RuntimeError(f"MNN failed with code {code}")

    def _fill(self) -> None:
        # Sessions reuse the input's memory for what comes after: every pass needs a copy.
        for tensor, source in self._inputs:
            tensor.copyFrom(source)

    def output(self) -> Floats:
        result = _host_tensor(np.zeros(self._output.getShape(), np.float32))
        self._output.copyToHostTensor(result)
        return np.array(result.getNumpyData(), dtype=np.float32)

    def profile(self, repeats: int) -> Mapping[int, float] | None:
        if not self._numbers:
            return None
        self.run()
        passes = []
        for _ in range(repeats):
            clock = _Clock()
            self._fill()
            self._interpreter.runSessionWithCallBackInfo(self._session, clock.start, clock.stop)
            times = ((self._numbers[name], ms) for name, ms in clock.times)
            passes.append(attribute(times, self._numbers.last))
        return median_by_layer(passes)


def _host_tensor(values: npt.NDArray[Any]) -> MNN.Tensor:
    """A tensor with a copy of ``values`` in NCHW order.

    Raises:
        UnsupportedNetworkError: MNN has no such type of numbers.
    """
    import MNN

    kinds = {"float32": MNN.Halide_Type_Float, "int32": MNN.Halide_Type_Int,
             "uint8": MNN.Halide_Type_Uint8}  # fmt: skip
    # The converter makes 64-bit integers 32 bits wide, as the runtime knows no others.
    values = values.astype(np.int32) if values.dtype == np.int64 else values
    if values.dtype.name not in kinds:
        raise UnsupportedNetworkError(f"mnn takes no input of type {values.dtype}")
    order = MNN.Tensor_DimensionType_Caffe
    return MNN.Tensor(values.shape, kinds[values.dtype.name], values, order)


class _Clock:
    """Times operators of one pass between MNN's two callbacks.

    MNN names an operator after the tensor that it writes, with a suffix where it inserts one. It
    makes several of an h_sigmoid, with other names.
    """

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []
        self._started = 0.0

    def start(self, _: Any, operator: MNN.OpInfo) -> bool:
        self._started = time.perf_counter()
        return True

    def stop(self, _: Any, operator: MNN.OpInfo) -> bool:
        self.times.append((operator.getName(), (time.perf_counter() - self._started) * 1e3))
        return True
