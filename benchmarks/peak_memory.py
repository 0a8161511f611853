"""Peak memory of passes: the forecast beside what a process takes beyond its runtime's floor.

    python benchmarks/peak_memory.py [--networks 40] [--seed 1] > docs/results/peak-memory.txt

Networks of all families are each measured as ``latcast measure --quantity peak_memory_mb`` does: a
fresh process loads one and runs a few passes. The forecast is that of ``choose --max-memory``:
weights and activations, as the runtime holds them. What a runtime holds of each was fitted with
``--networks 60`` of ``--seed 11`` and ``12``, so that any other seed is of networks that the
forecast has not seen. Errors are told beyond the floor, which is the network's own part, and of the
whole process, with the floor as it was measured. Needs Linux.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from latcast.bench.tables import machine
from latcast.devices import Target
from latcast.families import population
from latcast.graph import Graph
from latcast.graph.read import read_as_run
from latcast.measure._memory import peak_memory
from latcast.measure._sources import NetworkSource, as_sources
from latcast.measure._worker import worker_setup
from latcast.measure.runtimes import class_name, runtime
from latcast.networks import Networks
from latcast.search.within_budget import KernelTotals, memory_bytes

RUNTIMES = ("onnxruntime", "openvino")
Row = tuple[float, float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES))
    options = parser.parse_args()
    asked = "" if options.seed == 1 else f" --seed {options.seed}"
    print(f"$ python benchmarks/peak_memory.py --networks {options.networks}{asked}")
    print(machine())
    print("\nerror of the peak's forecast in %: median (90th percentile)\n")
    print(f"{'runtime':12}{'networks':>9}{'floor, MB':>11}{'peak, MB':>18}"
          f"{'plain, beyond':>17}{'beyond floor':>16}{'whole process':>17}")  # fmt: skip
    for name in options.runtimes:
        target = Target("here", name, threads=1)
        rows = np.array(list(measured(target, options.networks, options.seed)))
        floor, peak, plain, forecast = rows.T
        spread = f"{peak.min():.1f} to {peak.max():.1f}"
        cells = [
            errors(plain, peak), errors(forecast, peak), errors(forecast + floor, peak + floor),
        ]  # fmt: skip
        print(f"{name:12}{len(rows):9}{np.median(floor):11.1f}{spread:>18}"
              f"{cells[0]:>17}{cells[1]:>16}{cells[2]:>17}")  # fmt: skip


def measured(target: Target, networks: int, seed: int) -> Iterator[Row]:
    """Floor, peak beyond it, weights and liveness alone, and our forecast, MB."""
    setup = worker_setup(target, {}, class_name(runtime(target.runtime)))
    for source in as_sources(population(networks, seed)):
        try:
            found = peak_memory(setup, {"network": source.text, "seed": 0})
        except RuntimeError as error:
            print(f"{source.name}: {error}", file=sys.stderr)
            continue
        graph = graph_of(source)
        kernels = KernelTotals.of(Networks.of(graph, target))
        facts = (float(graph.peak_activation_bytes), float(graph.params), target.precision)
        plain = float(memory_bytes(*facts))
        ours = float(memory_bytes(*facts, target.runtime, kernels)[0])
        yield found["memory"]["floor_mb"], found["peak_memory_mb"], plain / 1e6, ours / 1e6


def graph_of(source: NetworkSource) -> Graph:
    """The network of a source, for one sample."""
    model = source.model(1, 0)
    return model if isinstance(model, Graph) else read_as_run(model, source.asked, 1)


def errors(forecast: object, truth: object) -> str:
    """Median of relative errors in percent, and their 90th percentile."""
    off = 100 * np.abs(np.asarray(forecast) / np.asarray(truth) - 1)
    return f"{np.median(off):.1f} ({np.quantile(off, 0.9):.1f})"


if __name__ == "__main__":
    main()
