"""MNN's own timing tools, ``benchmark.out`` and ``MNNV2Basic.out``, and what they print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from latcast._files import read_file
from latcast.graph import Graph

from ._base import NUMBER, Job, OperatorTime, Report, Tool, last_words, of_tool, only

# Until 2021 without the space before "ms".
_ROW = re.compile(
    rf"^\[ - \] (.*?\S)\s+max =\s*{NUMBER} ?ms\s+min =\s*{NUMBER} ?ms\s+avg =\s*{NUMBER} ?ms\s*$",
    re.MULTILINE,
)
_LOOPS = re.compile(r"Benchmarking\.\.\. loop = (\d+)")
# ModuleBasic.out prints it without the sum over operators.
_AVERAGE = re.compile(
    rf"^Avg= {NUMBER} ms, (?:OpSum = {NUMBER} ms,? )?min= {NUMBER} ms, max= {NUMBER} ms",
    re.MULTILINE,
)
_OPERATOR = re.compile(rf"^\s*(\S.*?)\s+\[(\w+)\] run (\d+) average cost {NUMBER} ms", re.MULTILINE)
# Phones of a fleet are measured by threads of one process, whose output the converter is kept from.
_CONVERTING = Lock()
_PRECISIONS = {"fp32": "1", "fp16": "2"}  # MNN's "high" and "low"


class _MNNTool(Tool):
    """The common part of MNN's tools: models that its converter makes of ONNX."""

    runtime = "mnn"
    suffix = ".mnn"
    precisions = ("fp32", "fp16")
    published = "built with MNN, https://mnn-docs.readthedocs.io (MNN_BUILD_BENCHMARK, _TOOLS)"

    def write(self, graph: Graph, seed: int) -> Mapping[str, bytes]:
        from latcast.graph.write.onnx import to_onnx

        return self._converted(to_onnx(graph, graph.weights(seed)))

    def take(self, path: Path) -> Mapping[str, bytes | Path]:
        # Of an MNN file nothing reads the graph, which a dataset must have.
        if path.suffix.lower() != ".onnx":
            raise ValueError(f"{self.name} takes .onnx files, which MNN converts; got {path.name}")
        return self._converted(path)

    def _converted(self, model: bytes | Path) -> Mapping[str, bytes]:
        from latcast.measure.runtimes.mnn import convert, quiet

        with _CONVERTING, quiet() as log:
            return {f"model{self.suffix}": convert(model, read_file, log)}


class MNNBenchmark(_MNNTool):
    """``benchmark.out``, which times every model of a folder: here the one that was pushed."""

    name = "benchmark.out"
    programs = ("benchmark.out",)

    def command(self, program: str, model: str, job: Job) -> Sequence[str]:
        # Folder, passes, warm-ups, the CPU (0), threads, precision.
        passes = [str(job.loops), str(max(1, job.loops // 4)), "0"]
        return [program, "./", *passes, str(max(job.threads, 1)), _PRECISIONS[job.precision]]

    def read(self, output: str) -> Report:
        loops = _LOOPS.search(output)
        passes = int(loops[1]) if loops else None
        rows = [[float(x) for x in row[1:]] for row in _ROW.findall(output)]
        with of_tool(self.name):
            reports = [Report(mean, passes, low, high) for high, low, mean in rows]
        return only(self.name, reports, output)


class MNNBasic(_MNNTool):
    """``MNNV2Basic.out``, which times one model, and its operators by the way.

    The callbacks around every operator are a part of its times: prefer ``benchmark.out``.
    """

    name = "MNNV2Basic.out"
    programs = ("MNNV2Basic.out",)
    has_profile = True

    def command(self, program: str, model: str, job: Job) -> Sequence[str]:
        # Passes, no intermediate results (0), the CPU (0), threads, precision.
        passes = [str(job.loops), "0", "0"]
        return [program, model, *passes, str(max(job.threads, 1)), _PRECISIONS[job.precision]]

    def read(self, output: str) -> Report:
        rows = [[float(x) for x in (row[0], row[2], row[3])] for row in _AVERAGE.findall(output)]
        with of_tool(self.name):
            reports = [Report(mean, None, low, high) for mean, low, high in rows]
        return only(self.name, reports, output)

    def read_profile(self, text: str) -> tuple[OperatorTime, ...]:
        found = tuple(
            OperatorTime(kind, name, float(ms)) for name, kind, _, ms in _OPERATOR.findall(text)
        )
        if not found:
            raise ValueError(
                f"{self.name} must print the average cost of every operator; its last words are "
                f"{last_words(text)}"
            )
        return found
