"""Linear algebra in one thread: what latcast solves is small and many.

A fit solves thousands of systems of some hundred unknowns. A second thread of BLAS wins nothing
there, and on a busy machine loses much, since threads spin while they wait for each other: a fit of
500 rows took 30.8 s of two threads and .8 s of one (Intel Xeon, model 167, two virtual cores, 14
processes waiting), an adaptation 1.0 and .17 s, a search .70 and .28 s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS has one thread inside, and as many as before afterwards.

    The number is one of the process. Of a program's threads only the first that sets it can, as
    long as that thread lives (threadpoolctl 3.8 sees to it): in the others this changes nothing, so
    that calls at the same time never leave a number behind that was not the caller's.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        yield


def in_one_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """A function that runs inside of :func:`one_blas_thread`."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with one_blas_thread():
            return function(*args, **kwargs)

    return run


def _libraries() -> Any:
    """The BLAS libraries of numpy and scipy, which are loaded by then.

    Where the environment gives every BLAS one thread, as the command line does, scipy's is left to
    be loaded by what needs it: importing it takes 60 ms, a twentieth of a search of the command
    line, which needs none of it.
    """
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        import scipy.linalg  # noqa: F401  # has a BLAS of its own
    return _loaded("scipy.linalg" in sys.modules)


@cache
def _loaded(_with_scipy: bool) -> Any:
    """The libraries that are loaded: fewer of a process before it has scipy's than after."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
