"""The contract of a tool: a maker's own program that times a network on a device without Python."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import ClassVar, final

from latcast.graph import Graph

# Passes of an invocation whose network is not known yet, and the most of one that is fast.
_FIRST_LOOPS, _MAX_LOOPS = 4, 1000
# Of a tool's last words in a message.
_LAST_WORDS = 200

NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
"""A number as C++ streams and ``printf`` write one; NaN and infinity are none."""

# What a shell or a linker says -> what to do about it; the first that is found counts.
_REMEDIES = (
    (r"not executable|Exec format error", "take the tool's build for this device's ABI, {abi}"),
    (
        r"CANNOT LINK EXECUTABLE|library .* not found",
        "put the tool and its libraries into one folder, and name that",
    ),
    (r"Permission denied", "the device must let programs of its folder for tools run"),
    (r"No space left", "make room on the device"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """The output of one invocation of a tool; None where it states nothing.

    Attributes:
        latency_ms: of a pass: the median where the tool tells it, else the mean.
        passes: timed passes.
        min_ms: the fastest of them.
        max_ms: the slowest.
        init_ms: time that loading took, ms.
        first_ms: the first pass of all.
        peak_memory_mb: by how much the process grew since the tool started, at its peak, MB.

    Raises:
        ValueError: a figure is not a positive number, or the latency is outside of its range.
    """

    latency_ms: float
    passes: int | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    init_ms: float | None = None
    first_ms: float | None = None
    peak_memory_mb: float | None = None

    def __post_init__(self) -> None:
        for name in ("latency_ms", "min_ms", "max_ms", "first_ms", "passes"):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value > 0):
                raise ValueError(f"{name} of a tool's output must be above 0; got {value}")
        # Tools print a mean of few digits: it may leave the range by its rounding.
        low, high = self.min_ms or self.latency_ms, self.max_ms or self.latency_ms
        if not 0.99 * low - 0.01 <= self.latency_ms <= 1.01 * high + 0.01:
            raise ValueError(
                f"a latency must lie between the fastest and the slowest pass, {low} to {high} ms; "
                f"got {self.latency_ms} ms"
            )


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """Time of one operator, as a tool's profiler has it.

    Attributes:
        kind: the tool's word for it.
        name: of the operator, or of the tensor that it writes; may be empty.
        ms: mean of a pass.
    """

    kind: str
    name: str
    ms: float


@dataclass(frozen=True, slots=True)
class Job:
    """One invocation.

    Attributes:
        threads: CPU threads.
        precision: of the target.
        warm_up_s: seconds before passes count, for a tool that takes seconds.
        run_s: seconds of timed passes to aim at.
        pass_ms: what a pass took before, for a tool that takes a number of passes; None: unknown.
        shape: of the network's input, (batch, channels, height, width); None: the file's own.
        profiling: whether the operators' times are wanted instead of a latency.
    """

    threads: int
    precision: str
    warm_up_s: float
    run_s: float
    pass_ms: float | None = None
    shape: tuple[int, ...] | None = None
    profiling: bool = False

    @property
    def loops(self) -> int:
        """Passes that take about :attr:`run_s`."""
        if self.pass_ms is None:
            return _FIRST_LOOPS
        return min(max(ceil(1000 * self.run_s / self.pass_ms), _FIRST_LOOPS), _MAX_LOOPS)


class Tool(ABC):
    """Times one network an invocation, which is one process on the device.

    A host pushes the program once, and :meth:`files` of every network; runs :meth:`command` with
    the files' folder as the current one; and hands what it printed to :meth:`read`. Nothing here
    knows where the device is.
    """

    name: ClassVar[str]
    """Of the program."""
    programs: ClassVar[tuple[str, ...]] = ()
    """File names that tell it from another tool of the same runtime."""
    runtime: ClassVar[str]
    """How targets call what it runs."""
    suffix: ClassVar[str]
    """Of the files of networks that it takes."""
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    max_batch: ClassVar[int | None] = None
    published: ClassVar[str]
    """Where its maker publishes it, or how it is built."""
    takes_seconds: ClassVar[bool] = False
    """Whether it can be told how long to run; else a number of passes is all that it takes."""
    has_profile: ClassVar[bool] = False
    """Whether it can tell the times of operators."""
    profile_file: ClassVar[str | None] = None
    """File that a profiling invocation writes them to; None: it prints them."""

    @abstractmethod
    def write(self, graph: Graph, seed: int) -> Mapping[str, bytes]:
        """Files of a network with random weights, the one to name on the command line first.

        Args:
            graph: of the whole batch.
            seed: of its weights.

        Raises:
            ValueError: an operator has no form in the tool's format.
            ModuleNotFoundError: writing the format needs a package that is not installed.
        """

    def take(self, path: Path) -> Mapping[str, bytes | Path]:
        """Files of a user's own network, likewise, under names that need no quoting anywhere.

        Raises:
            ValueError: the tool has no use for files of that kind.
        """
        if path.suffix.lower() != self.suffix:
            raise ValueError(f"{self.name} takes {self.suffix} files; got {path.name}: convert it")
        return {f"model{self.suffix}": path}

    @abstractmethod
    def command(self, program: str, model: str, job: Job) -> Sequence[str]:
        """The words of the command line.

        Args:
            program: path of the tool on the device.
            model: name of the first of the files, in the current folder.
            job: what to do.
        """

    @abstractmethod
    def read(self, output: str) -> Report:
        """Parse the output of an invocation that ended well.

        Raises:
            ValueError: it does not say how long a pass takes; the message quotes its last words.
        """

    def read_profile(self, text: str) -> tuple[OperatorTime, ...]:
        """Operators in the tool's order, of :attr:`profile_file` or what was printed.

        Raises:
            ValueError: the text holds none.
        """
        raise ValueError(f"{self.name} has no profile of operators")

    @final
    def failure(self, code: int, output: str, abi: str = "") -> str:
        """Why an invocation failed, in one line, with what to do where that is known.

        Args:
            code: its exit status, 128 and a signal's number where it was ended by one.
            output: what it has printed.
            abi: of the device.
        """
        remedy = next((do for words, do in _REMEDIES if re.search(words, output)), "")
        advice = f": {remedy.format(abi=abi or 'not stated')}" if remedy else ""
        return f"{self.name} ended with code {code}: {last_words(output)}{advice}"


def last_words(output: str) -> str:
    """The last line that says something, cut to a message's length."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return repr(lines[-1][:_LAST_WORDS]) if lines else "it printed nothing"


@contextmanager
def of_tool(name: str) -> Iterator[None]:
    """Reports inside are of a tool's output, which may be cut off in a number.

    Raises:
        ValueError: a report makes no sense; the message names the tool.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name} must print all of a latency: {error}") from None


def only(name: str, rows: Iterable[Report], output: str) -> Report:
    """The one row of an invocation that times one network.

    Raises:
        ValueError: there is none, or there are several.
    """
    found = list(rows)
    if len(found) != 1:
        raise ValueError(
            f"{name} must print the latency of one network; it printed {len(found)}, and last "
            f"{last_words(output)}"
        )
    return found[0]
