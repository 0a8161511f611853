"""A forecast as a trace of Chrome's format, which Perfetto and chrome://tracing show.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Processes of the trace, whose threads are the tracks.
_FORECAST, _MEASURED = 1, 2
# What a slice tells of its kernel -> its key in the forecast's JSON.
_TOLD = {
    "operators": "operators", "lower_ms": "lower_ms", "upper_ms": "upper_ms", "bound": "bound",
    "macs": "macs", "traffic_bytes": "moved_bytes", "gflop_s": "gflop_s", "layers": "layers",
    "extrapolation": "doubt",
}  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """A slice of time in which a kernel or an operator ran.

    Attributes:
        name: of the kernel.
        start_us: since the beginning of the forward pass, µs.
        duration_us: in µs.
        category: kind of kernel, or operator.
        details: shown beside it.
    """

    name: str
    start_us: float
    duration_us: float
    category: str
    details: Mapping[str, Any]


def trace(
    forecasts: Iterable[tuple[str, Iterable[Mapping[str, Any]]]],
    measured: Sequence[tuple[str, Iterable[Slice]]],
    **about: Any,
) -> dict[str, Any]:
    """Return a trace with a track for every target, and below it one for every measured profile.

    Kernels of a forecast follow one another from 0 on, in running order.

    Args:
        forecasts: names of tracks, each with a forecast's ``kernels`` in JSON.
        measured: names of tracks, each with what ran there.
        about: facts about the whole trace.
    """
    tracks = [(name, _slices(kernels)) for name, kernels in forecasts]
    events: list[dict[str, Any]] = []
    for process, title, threads in (
        (_FORECAST, "forecast", tracks),
        (_MEASURED, "measured", measured),
    ):
        if threads:
            events.append(_name("process_name", process, 0, title))
        for thread, (name, slices) in enumerate(threads, 1):
            events.append(_name("thread_name", process, thread, name))
            events += [
                {
                    "ph": "X", "name": x.name, "cat": x.category, "pid": process, "tid": thread,
                    "ts": x.start_us, "dur": x.duration_us, "args": dict(x.details),
                }
                for x in slices
            ]  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}


def _slices(kernels: Iterable[Mapping[str, Any]]) -> Iterator[Slice]:
    start = 0.0
    for kernel in kernels:
        told = {name: kernel[key] for name, key in _TOLD.items() if kernel[key] is not None}
        yield Slice(kernel["name"], start, kernel["ms"] * 1e3, kernel["kind"], told)
        start += kernel["ms"] * 1e3


def _name(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}
