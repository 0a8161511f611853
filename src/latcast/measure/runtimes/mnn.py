"""MNN, on the CPU."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from latcast.networks import Network, to_onnx

from ._base import Floats, LoadedNetwork, Runtime, UnsupportedNetworkError, median_by_layer, wheel
from .onnx_runtime import OPERATORS

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
    operators = OPERATORS

    def _importing(self) -> AbstractContextManager[object]:
        return quiet()

    def _load(self, network: Network, inputs: Floats, *, profiling: bool) -> LoadedNetwork:
        import MNN

        settings = {"backend": "CPU", "precision": "high", "numThread": self.threads}
        model = to_onnx(network, self.batch)
        with quiet() as log:
            interpreter = _convert(model, MNN.Interpreter, log)
            session = interpreter.createSession(settings)
        return _Loaded(interpreter, session, inputs, len(network.layers) - 1)

    def facts(self) -> Mapping[str, str]:
        import MNN

        return {
            "version": MNN.version(),
            "build": wheel("MNN"),
            "instructions": "chosen at run time; not stated",
            "threads": str(self.threads),
        }


def _convert(model: bytes, read: type[MNN.Interpreter], log: IO[bytes]) -> MNN.Interpreter:
    """What ``read`` makes of the file that the converter makes of an ONNX model.

    The converter is called directly: importing the module of MNN's own command installs a
    package and connects to its vendor.
    """
    import _tools

    with tempfile.TemporaryDirectory(dir=_fast_directory(3 * len(model))) as folder:
        source, target = Path(folder, "network.onnx"), Path(folder, "network.mnn")
        source.write_bytes(model)
        files = ["--modelFile", str(source), "--MNNModel", str(target)]
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "latcast"])
        if not target.exists():
            raise UnsupportedNetworkError(f"MNN could not convert the network: {_tail(log)}")
        return read(str(target))


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
        self, interpreter: MNN.Interpreter, session: MNN.Session, inputs: Floats, last: int
    ) -> None:
        self._interpreter = interpreter
        self._session = session
        self._last = last
        self._source = _host_tensor(inputs)
        self._input = interpreter.getSessionInput(session)
        self._output = interpreter.getSessionOutput(session)

    def run(self) -> None:
        # Sessions reuse the input's memory for what comes after: every pass needs a copy.
        self._input.copyFrom(self._source)
        if code := self._interpreter.runSession(self._session):
            raise RuntimeError(f"MNN failed with code {code}")

    def output(self) -> Floats:
        result = _host_tensor(np.zeros(self._output.getShape(), np.float32))
        self._output.copyToHostTensor(result)
        return np.array(result.getNumpyData(), dtype=np.float32)

    def profile(self, repeats: int) -> Mapping[int, float] | None:
        self.run()
        passes = []
        for _ in range(repeats):
            clock = _Clock(self._last)
            self._input.copyFrom(self._source)
            self._interpreter.runSessionWithCallBackInfo(self._session, clock.start, clock.stop)
            passes.append(clock.ms)
        return median_by_layer(passes)


def _host_tensor(values: Floats) -> MNN.Tensor:
    """A tensor with a copy of ``values`` in NCHW order."""
    import MNN

    order = MNN.Tensor_DimensionType_Caffe
    return MNN.Tensor(values.shape, MNN.Halide_Type_Float, values, order)


class _Clock:
    """Times operators of one pass between MNN's two callbacks, by the layer they belong to.

    MNN names an operator after the tensor that it writes, with a suffix where it inserts one. It
    makes several of an h_sigmoid, with other names: those are booked on the layer after them.
    """

    def __init__(self, last: int) -> None:
        self.ms: dict[int, float] = defaultdict(float)
        self._last = last
        self._pending = 0.0
        self._started = 0.0

    def start(self, _: Any, operator: MNN.OpInfo) -> bool:
        self._started = time.perf_counter()
        return True

    def stop(self, _: Any, operator: MNN.OpInfo) -> bool:
        self._pending += (time.perf_counter() - self._started) * 1e3
        if (position := layer_position(operator.getName(), self._last)) is not None:
            self.ms[position] += self._pending
            self._pending = 0.0
        return True


def layer_position(name: str, last: int) -> int | None:
    """Position of the layer that an operator called ``name`` belongs to; None if unknown.

    Tensors have the names that :func:`latcast.networks.to_onnx` gave them.
    """
    if name.startswith("output"):
        return last
    found = re.match(r"(?:t|flat)(\d+)", name)
    return int(found[1]) if found else None
