"""``benchncnn``, which comes with ncnn, and what it prints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from latcast.graph import Graph

from ._base import NUMBER, Job, Report, Tool, of_tool, only

_ROW = re.compile(
    rf"^\s*\S+\s+min\s*=\s*{NUMBER}\s+max\s*=\s*{NUMBER}\s+avg\s*=\s*{NUMBER}\s*$", re.MULTILINE
)
_LOOPS = re.compile(r"^\s*loop_count = (\d+)\s*$", re.MULTILINE)


class BenchNcnn(Tool):
    """ncnn's own timing tool, on the CPU.

    It takes a network's ``.param`` alone and makes up the weights, and computes in fp16 where the
    CPU can, as ncnn does by default: ``fp32`` is what the file says, as in ncnn's own tables.
    A number of passes is all that it can be told; eight more warm it up.
    """

    name = "benchncnn"
    runtime = "ncnn"
    suffix = ".param"
    max_batch = 1
    published = "built with ncnn, https://github.com/Tencent/ncnn/tree/master/benchmark"

    def write(self, graph: Graph, seed: int) -> Mapping[str, bytes]:
        from latcast.graph.write.ncnn import to_ncnn

        return {f"model{self.suffix}": to_ncnn(graph, graph.weights(seed))[0].encode()}

    def command(self, program: str, model: str, job: Job) -> Sequence[str]:
        # All cores (0), since the host has chosen among them; on the CPU (-1); no pause of ten
        # seconds (0).
        words = [program, str(job.loops), str(max(job.threads, 1)), "0", "-1", "0"]
        shape = job.shape or ()
        if len(shape) == 4:
            _, channels, height, width = shape
            words += [f"param={model}", f"shape=[{width},{height},{channels}]"]
        return words

    def read(self, output: str) -> Report:
        loops = _LOOPS.search(output)
        rows = [[float(x) for x in row] for row in _ROW.findall(output)]
        passes = int(loops[1]) if loops else None
        with of_tool(self.name):
            reports = [Report(mean, passes, low, high) for low, high, mean in rows]
        return only(self.name, reports, output)
