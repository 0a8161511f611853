"""Tools: makers' own programs that time a network on a device, one file a maker."""

from __future__ import annotations

from pathlib import Path

from latcast._names import unknown_name

from ._base import Job, OperatorTime, Report, Tool
from .benchmark_model import BenchmarkModel
from .benchncnn import BenchNcnn
from .mnn import MNNBasic, MNNBenchmark

TOOLS: dict[str, tuple[type[Tool], ...]] = {
    "litert": (BenchmarkModel,),
    "ncnn": (BenchNcnn,),
    "mnn": (MNNBenchmark, MNNBasic),
}
"""Runtime of a target -> the tools that run it."""


def find_tool(runtime: str, program: Path) -> Tool:
    """The tool that a user's program is.

    Args:
        runtime: of the target.
        program: the program's file; of several tools of a runtime, its name tells which it is.

    Raises:
        ValueError: no tool runs that runtime, or the program's name tells none.
    """
    if runtime not in TOOLS:
        raise ValueError(unknown_name("runtime with a tool for phones", runtime, list(TOOLS)))
    kinds = TOOLS[runtime]
    found = [kind for kind in kinds if not kind.programs or program.name in kind.programs]
    if not found:
        known = [name for kind in kinds for name in kind.programs]
        raise ValueError(
            f"a tool of {runtime} must be called {' or '.join(known)}, which tells how to call it; "
            f"got {program.name}: rename it if it is one of them"
        )
    return found[0]()


__all__ = [
    "TOOLS",
    "BenchNcnn",
    "BenchmarkModel",
    "Job",
    "MNNBasic",
    "MNNBenchmark",
    "OperatorTime",
    "Report",
    "Tool",
    "find_tool",
]
