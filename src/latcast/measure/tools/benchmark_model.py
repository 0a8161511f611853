"""``benchmark_model`` of TensorFlow Lite and LiteRT: what it prints, and its operators' times.

The forms are those of TensorFlow's ``benchmark_model.cc`` and ``stats_calculator.cc`` since 2019:
times in microseconds, a line of statistics for the warm-up and one for the timed passes, a summary.
Newer ones tell percentiles, the median among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from latcast.graph import Graph

from ._base import NUMBER, Job, OperatorTime, Report, Tool, last_words, of_tool

# Until 2019 without the first pass, in another order.
_SUMMARY = re.compile(
    rf"Inference timings in us: Init: (?P<init>{NUMBER}), First inference: (?P<first>{NUMBER}), "
    rf"Warmup \(avg\): {NUMBER}, Inference \(avg\): (?P<mean>{NUMBER})"
    rf"|Average inference timings in us: Warmup: {NUMBER}, Init: (?P<init_2019>{NUMBER}), "
    rf"no stats: (?P<mean_2019>{NUMBER})"
)
_STATISTICS = re.compile(r"\bcount=(\d+)((?: [a-z0-9]+=\S+)*)")
# Until 2020 the growth of the process was called its peak.
_MEMORY = re.compile(
    rf"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init={NUMBER} overall={NUMBER}"
)
_REGULAR_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_RUN_ORDER = re.compile(r"^=+ Run Order =+$")
# A pass cap, which the time goes before.
_MAX_S = 150


class BenchmarkModel(Tool):
    """TensorFlow Lite's own timing tool, on the CPU with XNNPACK, which it applies by default."""

    name = "benchmark_model"
    runtime = "litert"
    suffix = ".tflite"
    precisions = ("fp32", "fp16", "int8")
    published = (
        "https://ai.google.dev/edge/litert/models/measurement (native binary, android_aarch64)"
    )
    takes_seconds = True
    has_profile = True
    profile_file = "profile.csv"

    def write(self, graph: Graph, seed: int) -> Mapping[str, bytes]:
        from latcast.graph.write.tflite import to_tflite

        return {f"model{self.suffix}": to_tflite(graph, graph.weights(seed))}

    def command(self, program: str, model: str, job: Job) -> Sequence[str]:
        words = [
            program,
            f"--graph={model}",
            f"--num_threads={max(job.threads, 1)}",
            "--warmup_runs=1",
            f"--warmup_min_secs={job.warm_up_s:g}",
            "--num_runs=2",
            f"--min_secs={job.run_s:g}",
            f"--max_secs={_MAX_S}",
        ]
        if job.precision == "fp16":
            words.append("--xnnpack_force_fp16=true")
        if job.profiling:
            words += ["--enable_op_profiling=true"]
            words += [f"--profiling_output_csv_file={self.profile_file}"]
        return words

    def read(self, output: str) -> Report:
        summaries = list(_SUMMARY.finditer(output))
        if not summaries:
            raise ValueError(
                "benchmark_model must print its 'Inference timings in us'; its last words are "
                f"{last_words(output)}"
            )
        # The last: a log may hold those of earlier invocations.
        told = {k.partition("_")[0]: float(v) for k, v in summaries[-1].groupdict().items() if v}
        before = output[: summaries[-1].start()]
        statistics = _statistics(before)
        latency = statistics.get("median", told["mean"])
        memory = _MEMORY.findall(output[summaries[-1].start() :])
        with of_tool(self.name):
            return Report(
                latency_ms=latency / 1000,
                passes=int(statistics["count"]) if "count" in statistics else None,
                min_ms=_ms(statistics.get("min")),
                max_ms=_ms(statistics.get("max")),
                init_ms=told["init"] / 1000,
                first_ms=_ms(told.get("first")),
                peak_memory_mb=float(memory[0][1]) if memory else None,
            )

    def read_profile(self, text: str) -> tuple[OperatorTime, ...]:
        found = tuple(_operators(text))
        if not found:
            raise ValueError(
                "benchmark_model's profile must have a table 'Run Order' with operators; its last "
                f"words are {last_words(text)}"
            )
        return found


def _statistics(text: str) -> dict[str, float]:
    """The last line of statistics, which is that of the timed passes, in microseconds."""
    lines = list(_STATISTICS.finditer(text))
    if not lines:
        return {}
    pairs = [word.split("=", 1) for word in lines[-1][2].split()]
    known = {key: float(value) for key, value in pairs if re.fullmatch(NUMBER, value)}
    return {"count": float(lines[-1][1]), **known}


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


def _operators(text: str) -> Iterator[OperatorTime]:
    """Rows of the first table in run order of the timed passes; in a CSV, or as it is printed."""
    # The table before is of the tool's start.
    lines = iter(text.partition(_REGULAR_RUNS)[2].splitlines() or text.splitlines())
    if not any(_RUN_ORDER.match(line.strip()) for line in lines):
        return
    header = next(lines, "")
    separator = "\t" if "\t" in header else ","
    titles = [x.strip(" []").replace(" ", "_") for x in header.strip().split(separator)]
    if titles[:1] != ["node_type"] or "avg_ms" not in titles:
        return
    column = titles.index("avg_ms")
    for line in lines:
        if not line.strip():
            return
        # From the right: names have no commas, types of XNNPACK's operators do.
        cells = [
            x.strip() for x in line.strip("\n").lstrip("\t").rsplit(separator, len(titles) - 1)
        ]
        if len(cells) == len(titles) and re.fullmatch(NUMBER, cells[column]):
            # "[tensor, tensor]:3" is the node that writes them.
            name = re.sub(r"\]:\d+$", "]", cells[-1]).strip("[]")
            yield OperatorTime(cells[0], name, float(cells[column]))
