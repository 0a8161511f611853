"""Linear algebra in one thread: what latcast solves is small and many.

A fit solves thousands of systems of some hundred unknowns. A second thread of BLAS wins nothing
there, and on a busy machine loses much, since threads spin while they wait for each other: a fit of
500 rows took 30.8 s of two threads and .8 s of one (Intel Xeon, model 167, two virtual cores, 14
processes waiting), an adaptation 1.0 and .17 s, a search .70 and .28 s.
"""

from __future__ import annotations

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


@cache
def _libraries() -> Any:
    """The BLAS libraries of numpy and scipy, which are loaded by then."""
    import scipy.linalg  # noqa: F401  # has a BLAS of its own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
