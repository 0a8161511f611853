"""Measures memory bandwidth and peak FLOP/s with numpy, in a process of its own.

Run as ``python -m latcast.devices._micro_benchmark THREADS ARRAY_BYTES SECONDS``, with the BLAS
library kept to one thread by the environment, which it reads when numpy is loaded: here each
core works on its own. A product shared by the threads of OpenBLAS waits for the slowest of them,
and fell to a third of its speed with one other process on the machine.
Prints one JSON object; see :func:`measure`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Arrays = tuple[Array, Array, Array]

# The fastest counts: which size suits a BLAS and its caches is not known beforehand.
_SIZES = (256, 512, 1024)


def measure(threads: int, array_bytes: int, seconds: float) -> dict[str, Any]:
    """Measure for about ``seconds``, half of it for each figure.

    Returns:
        ``bandwidth_gb_s``; ``peak_fp32_flops``; ``cpu_share``, see :class:`Crew`; and ``numpy``
        and ``blas``, what was measured with.
    """
    blas: Any = np.show_config(mode="dicts")
    library = blas["Build Dependencies"]["blas"] if isinstance(blas, dict) else {}
    with ThreadPoolExecutor(threads) as pool:
        crew = Crew(pool, threads)
        return {
            "peak_fp32_flops": peak_fp32_flops(crew, seconds / 2),
            "bandwidth_gb_s": bandwidth_gb_s(crew, array_bytes, seconds / 2),
            "cpu_share": crew.cpu_share,
            "numpy": np.__version__,
            "blas": " ".join(str(library.get(k, "")) for k in ("name", "version")).strip(),
        }


class Crew:
    """Threads that do the same work at the same time, each on arrays of its own.

    Attributes:
        threads: how many.
        cpu_share: how much of the time that they worked they had a CPU; other work on the
            machine lowers it. Waiting for each other does not.
    """

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool = pool
        self.threads = threads
        self._cpu_s = self._elapsed_s = 0.0

    @property
    def cpu_share(self) -> float:
        return self._cpu_s / self._elapsed_s

    def shortest(
        self, work: Callable[[Arrays], None], shape: tuple[int, ...], seconds: float
    ) -> float:
        """Shortest time, in seconds, in which all have done their work, of at least two runs."""
        # Each thread writes its arrays first, so that the system puts them near its core.
        parts = list(self._pool.map(lambda _: _arrays(*shape), range(self.threads)))
        end = time.perf_counter() + seconds
        best, runs = math.inf, 0
        # The first run may pay for pages and clocks that rise; the shortest counts.
        while runs < 2 or time.perf_counter() < end:
            start = time.perf_counter()
            spent = list(self._pool.map(lambda part: _timed(work, part), parts))
            best = min(best, time.perf_counter() - start)
            runs += 1
            self._cpu_s += sum(cpu for cpu, _ in spent)
            self._elapsed_s += sum(elapsed for _, elapsed in spent)
        return best


def peak_fp32_flops(crew: Crew, seconds: float) -> float:
    """The most FLOP/s of all threads together, a multiply-add counting two.

    Each thread multiplies square float32 matrices of its own, at the same time as the others.
    Which size is fastest depends on the caches, so several are tried, small ones first; one that
    would take longer than its share of the time is left out.
    """
    share, best = seconds / len(_SIZES), 0.0
    for n in _SIZES:
        flop = 2.0 * n**3 * crew.threads
        if best and flop / best > share:
            break
        best = max(best, flop / crew.shortest(_multiply, (n, n), share))
    return best


def bandwidth_gb_s(crew: Crew, array_bytes: int, seconds: float) -> float:
    """The most GB/s (10^9 bytes) that all threads together move in STREAM's copy and add.

    As in STREAM (McCalpin), what the program reads and writes is counted: 8 bytes an element for
    ``c = a`` and 12 for ``c = a + b``. The line that a cache may read before it is written
    (write-allocate) is not, so that the memory can be busier than this says.

    Args:
        crew: who moves them.
        array_bytes: bytes of each array, all threads together; several times the caches.
        seconds: how long to try.
    """
    n = max(array_bytes // 4 // crew.threads, 1)
    rates = (
        8 * n * crew.threads / crew.shortest(_copy, (n,), seconds / 2),
        12 * n * crew.threads / crew.shortest(_add, (n,), seconds / 2),
    )
    return max(rates) / 1e9


def _timed(work: Callable[[Arrays], None], part: Arrays) -> tuple[float, float]:
    """CPU seconds and seconds that this thread took."""
    cpu, start = time.thread_time(), time.perf_counter()
    work(part)
    return time.thread_time() - cpu, time.perf_counter() - start


def _arrays(*shape: int) -> Arrays:
    """Two operands and a place for the result, all of them written to."""
    a, b, out = (np.full(shape, value, np.float32) for value in (1, 2, 0))
    return a, b, out


def _multiply(part: Arrays) -> None:
    np.matmul(part[0], part[1], out=part[2])


def _copy(part: Arrays) -> None:
    np.copyto(part[2], part[0])


def _add(part: Arrays) -> None:
    np.add(part[0], part[1], out=part[2])


if __name__ == "__main__":
    answer = measure(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.write(json.dumps(answer) + "\n")
