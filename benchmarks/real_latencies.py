"""Forecasts of real models on a CPU that the shipped models have not seen, and three numbers.

    latcast measure --models build/models --runtime onnxruntime --out build/real/onnxruntime.parquet
    python benchmarks/real_latencies.py build/real/*.parquet --device benchmarks/xeon_167.toml \
      > docs/results/real_models.txt

Each dataset is of files that ``real_models.py`` writes or others, measured on this CPU. The layer
model of the EPYC for the dataset's runtime forecasts them as it is, with the interval of a CPU
whose peak is not known; carried to this CPU by the peaks of both (where ``--device`` describes it,
as ``latcast devices --detect`` does); and adapted to 1 and to 10 of them, drawn so often; all
others are scored. Beside it stand three numbers fitted
to the same ones: milliseconds of a MAC, of a byte of our fused kernels and of a network, by
non-negative least squares of relative errors.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latcast.bench.tables import machine
from latcast.data import Dataset, read
from latcast.devices import device_files, devices
from latcast.math.least_squares import non_negative
from latcast.models import Kernels, Predictor
from latcast.models.resolve import load_layers
from latcast.networks import ALL_KINDS, Networks

SAMPLES = (1, 10)
BASE = "epyc-genoa-2c-{}-b1-t1"
# Kind of a network -> operators of which one has most of its MACs, the first that is true.
KINDS = {"transformers": ("linear", "matmul", "attention"), "dense": ("conv",)}
MOBILE_KERNELS = 0.1

Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--device", type=Path, help="what describes the datasets' CPU, a TOML file")
    options = parser.parse_args()
    print(f"{machine()}; draws of seeds 0 to {options.draws - 1}")
    with device_files([options.device] if options.device else []):
        for path in options.datasets:
            report(read(path), options.draws)


def report(data: Dataset, draws: int) -> None:
    """Print the tables of one target."""
    base = load_layers(BASE.format(data.target.runtime))
    kernels = Networks.of(data.networks, data.target)
    moved = sum(kernels.fact(name) for name in ("read_bytes", "write_bytes", "param_bytes"))
    sums = kernels.counts @ np.stack([kernels.fact("macs"), moved], axis=1)
    work = np.column_stack([sums, np.ones(len(data))])
    kinds = np.array(list(_kinds(kernels)))
    error = data.standard_error
    known = "" if error is None or np.isnan(error).all() else (
        f"; median standard error of a latency {np.nanmedian(error):.1%}"
    )  # fmt: skip
    print(f"\n{data.target}: {len(data)} networks{known}; forecast by {base.target}")
    names = f"{'median %':>16}{'within 10':>11}{'25':>5}{'in 90 % interval':>18}"
    print(f"  {'':22}{names}{'its width x':>13}")
    assert isinstance(base, Kernels)
    # Of the model's own CPU nobody asks here: all that is known is that it is another one.
    another = replace(devices()[base.target.device], peak_fp32_flops=None)
    as_is = scores(data, base.carried(another, data.target), np.arange(len(data)))
    print(_line("as is", [as_is]))
    errors = {"as is": as_is[0]}
    if (device := devices().get(data.target.device)) is not None:
        carried = scores(data, base.carried(device, data.target), np.arange(len(data)))
        print(_line("carried by peaks", [carried]))
        errors["carried"] = carried[0]
    for k in SAMPLES:
        ours, theirs, gathered = [], [], []
        for seed in range(draws):
            order = np.random.default_rng(seed).permutation(len(data))
            few, rest = np.sort(order[:k]), np.sort(order[k:])
            ours.append(scores(data, base.adapt(data[few]), rest))
            theirs.append((three_numbers(work, data.values, few, rest), None, None))
            own = np.full(len(data), np.nan)
            own[rest] = ours[-1][0]
            gathered.append(own)
        print(_line(f"after {k}", ours))
        print(_line("  three numbers", theirs))
        medians = [np.array([np.median(np.abs(e)) for e, *_ in x]) for x in (ours, theirs)]
        limit = medians[1].mean() + medians[1].std(ddof=1) / np.sqrt(draws)
        verdict = "at most" if medians[0].mean() <= limit else "more than"
        print(f"    {verdict} three numbers and their standard error ({100 * limit:.1f} %)")
        errors[f"after {k}"] = np.nanmedian(gathered, axis=0)
    print("  signed median by kind, %: " + ", ".join(errors))
    for kind in np.unique(kinds):
        own = kinds == kind
        values = (f"{100 * np.nanmedian(e[own]):+.0f}" for e in errors.values())
        print(f"    {kind} ({own.sum()}): {', '.join(values)}")


Scores = tuple[Floats, npt.NDArray[np.bool_] | None, Floats | None]


def scores(data: Dataset, model: Predictor, rows: npt.NDArray[np.int64]) -> Scores:
    """Relative errors of some networks, which lie in the 90 % interval, and its ends' ratios."""
    of = data[rows]
    predicted, low, high, _ = model.within(of.networks, of.values)
    return predicted / of.values - 1, (low <= of.values) & (of.values <= high), high / low


def three_numbers(
    work: Floats, ms: Floats, few: npt.NDArray[np.int64], rest: npt.NDArray[np.int64]
) -> Floats:
    """Relative errors of three numbers that were fitted to a few networks."""
    relative = work[few] / ms[few, None]
    scale = relative.max(axis=0)
    fitted = non_negative(relative / scale, np.ones(len(few))) / scale
    return np.asarray(work[rest] @ fitted / ms[rest] - 1)


def _line(name: str, found: Sequence[Scores]) -> str:
    errors = [np.abs(e) for e, *_ in found]
    medians = np.array([np.median(e) for e in errors])
    spread = f" ± {100 * medians.std(ddof=1) / np.sqrt(len(found)):.1f}" if len(found) > 1 else ""
    within = [np.mean([np.mean(e <= limit) for e in errors]) for limit in (0.1, 0.25)]
    covered = [inside.mean() for _, inside, _ in found if inside is not None]
    widths = [np.median(width) for *_, width in found if width is not None]
    last = f"{100 * np.mean(covered):18.0f}{np.mean(widths):13.2f}" if covered else ""
    median = f"{100 * medians.mean():.1f}{spread}"
    return f"  {name:22}{median:>16}{100 * within[0]:11.0f}{100 * within[1]:5.0f}{last}"


def _kinds(kernels: Networks) -> Iterator[str]:
    """Kind of every network: by its depthwise kernels, else by where most of its MACs are."""
    macs = kernels.counts.multiply(kernels.fact("macs")).tocsr()
    names = np.array(ALL_KINDS)[kernels.kinds]
    for n in range(len(kernels)):
        own = kernels.counts[n].indices
        if (names[own] == "depthwise_conv").mean() > MOBILE_KERNELS:
            yield "mobile"
            continue
        row = macs[n].toarray().ravel()
        shares = {k: row[np.isin(names, ops)].sum() for k, ops in KINDS.items()}
        most = max(shares, key=lambda k: float(shares[k]))
        yield most if shares[most] > row.sum() / 2 else "others"


if __name__ == "__main__":
    main()
