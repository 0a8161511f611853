"""BLAS has one thread where latcast fits and searches, and as many as before afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  # loads its BLAS
from threadpoolctl import threadpool_info, threadpool_limits

from latcast.data import Dataset
from latcast.math.one_thread import in_one_blas_thread, one_blas_thread
from latcast.models import Flops


def threads() -> set[int]:
    return {x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        yield


def test_the_number_of_threads_is_one_inside_and_restored_after_the_last() -> None:
    assert threads() == {2}
    with one_blas_thread():
        assert threads() == {1}
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {2}
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        1 / 0  # noqa: B018
    assert threads() == {2}


def test_calls_at_the_same_time_leave_the_number_as_it_was() -> None:
    begun, end = threading.Event(), threading.Event()

    @in_one_blas_thread
    def work() -> None:
        begun.set()
        end.wait(60)

    thread = threading.Thread(target=work)
    with one_blas_thread():
        thread.start()
        assert begun.wait(60)
    assert threads() == {2}
    end.set()
    thread.join(60)
    assert threads() == {2}


def test_a_fit_runs_in_one(synthetic: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    fit: Any = Flops._fit

    def spied(self: Flops, *args: Any, **kwargs: Any) -> Any:
        seen.append(threads())
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(Flops, "_fit", spied)
    fitted = Flops().fit(synthetic[:200])
    assert seen
    assert set.union(*seen) == {1}
    assert threads() == {2}
    assert np.isfinite(fitted.predict(synthetic.archs[:3])).all()


LOADING = """
import sys, threadpoolctl, numpy
from latcast.math.one_thread import one_blas_thread
def threads():
    return {x["num_threads"] for x in threadpoolctl.threadpool_info() if x["user_api"] == "blas"}
with one_blas_thread():
    print("scipy.linalg" in sys.modules, end=" ")
import scipy.linalg
with one_blas_thread():
    print(threads(), end=" ")
with threadpoolctl.threadpool_limits(2, user_api="blas"), one_blas_thread():
    print(threads())
"""


@pytest.mark.parametrize(("count", "is_loaded"), [("1", False), ("2", True)])
def test_scipy_is_loaded_for_it_only_where_its_threads_are_not_one_anyway(
    count: str, is_loaded: bool
) -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": count}
    command = [sys.executable, "-c", LOADING]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == f"{is_loaded} {{1}} {{1}}\n"
