"""Search on a brand-new device: measure, adapt, search, and measure again.

    python benchmarks/verification.py host [--runtime onnxruntime] [--threads 1] [--rounds 2]
    python benchmarks/verification.py datasets

Nothing is known of the device but what is measured: networks that tell most about all others,
then those that the searches pick. Beside it the same number of measurements without rounds.

``host`` measures this machine, on which nothing else may run meanwhile; what was found is
measured once more at the end. With ``datasets`` the devices are those of our own measurements, and
searches choose among the networks that were measured, so that it is known how good the best is.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

import latcast
from latcast.bench.tables import machine
from latcast.data import Dataset, read_latencies
from latcast.devices import Target
from latcast.measure import Protocol
from latcast.models import Predictor
from latcast.search import accuracy_model
from latcast.search.verification import (
    Campaigns,
    Measured,
    Measuring,
    Verification,
    VerifiedResult,
    search_and_verify,
)
from latcast.spaces import Archs

BASES = ("ofa-mobilenet-v3", "samsung-note10")
QUANTILES = (0.2, 0.4, 0.6, 0.8)
RANDOM = 12
SHIFTS = (-0.08, -0.04, 0.0, 0.04, 0.08)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bench:
    """How and where this machine is measured.

    Attributes:
        folder: of the raw records.
        runtime: name of the runtime.
        threads: of a pass.
        runs: of every network.
    """

    folder: Path
    runtime: str
    threads: int
    runs: int

    def campaigns(self, name: str, like_ms: float | None = None) -> Campaigns:
        """New campaigns, on a device that no model has heard of."""
        return Campaigns(
            self.folder / name,
            self.runtime,
            self.threads,
            device="brand-new",
            protocol=Protocol(runs=self.runs),
            like_ms=like_ms,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["host", "datasets"])
    parser.add_argument("--base", action="append", help="what is known: a model or base model")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--space", default="ofa-mobilenet-v3")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--verify", type=int, default=5)
    parser.add_argument("--suggested", type=int, default=10)
    parser.add_argument("--runs", type=int, default=Protocol().runs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=Path, help="keep the raw records in this folder")
    a = parser.parse_args()
    print(machine())
    if a.what == "datasets":
        on_datasets(a.suggested, a.rounds, a.verify)
        return
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(a.records or Path(folder), a.runtime, a.threads, a.runs)
        budgets, level = find_budgets(bench, a.space)
        total = a.suggested + a.rounds * a.verify
        for base in a.base or BASES:
            for suggested, rounds, verify in (
                (a.suggested, a.rounds, a.verify),
                (total - len(budgets), 1, len(budgets)),
            ):
                name = f"{base}-{suggested}"
                print(
                    f"\nfrom {base}: {suggested} suggested, then up to {rounds} rounds of {verify}"
                )
                found = search_and_verify(
                    a.space,
                    latency=base,
                    measuring=bench.campaigns(name, level),
                    max_latency_ms=budgets.tolist(),
                    verify=verify,
                    rounds=rounds,
                    suggested=suggested,
                    seed=a.seed,
                    on_round=tell,
                )
                again = measure(bench.campaigns(f"{name}-again", level), found.archs)
                report(found, again)


def find_budgets(bench: Bench, space: str) -> tuple[Floats, float | None]:
    """Budgets that make sense on this machine, and the state that all latencies belong to.

    From random networks, of which the searches are told nothing.
    """
    measuring = bench.campaigns("budgets")
    archs = latcast.space(space).sample(RANDOM, seed=1, restrict={"r": [160, 176, 192, 208, 224]})
    latency_ms = measure(measuring, archs)
    budgets = np.quantile(latency_ms, QUANTILES).round(1)
    print(
        f"{space} on {measuring.target.runtime}, {bench.threads} thread(s), batch 1, "
        f"{bench.runs} runs\n{RANDOM} random networks take {latency_ms.min():.1f} to "
        f"{latency_ms.max():.1f} ms; budgets: {', '.join(f'{b:g}' for b in budgets)} ms"
    )
    return budgets, measuring.like_ms


def measure(measuring: Campaigns, archs: Archs) -> Floats:
    """Latencies of networks, in their order."""
    distinct = archs.unique()
    measured = measuring.measure(distinct, 1)
    if measured.is_interrupted:
        raise KeyboardInterrupt
    assert measured.dataset is not None
    groups = measured.dataset.archs.concatenate(archs).unique_index()
    where = {g: n for n, g in enumerate(groups[: len(measured.dataset)].tolist())}
    return measured.dataset.latency_ms[[where[g] for g in groups[len(measured.dataset) :].tolist()]]


def tell(found: Verification) -> None:
    print(f"  round {found.round}: {len(found)} measured")
    if not found.round:
        return
    for n, role in enumerate(found.roles):
        inside = "inside" if found.is_inside[n] else "OUTSIDE"
        kept = "kept" if found.keeps[n] else "EXCEEDED"
        budget = found.max_latency_ms[n]
        purpose = f"for {budget:6.1f} ms" if np.isfinite(budget) else "for no budget"
        print(
            f"    {role:6} {purpose}: predicted "
            f"{found.predicted_ms[n]:6.2f} [{found.lower_ms[n]:.2f}, {found.upper_ms[n]:.2f}], "
            f"measured {found.measured_ms[n]:6.2f} ({100 * found.error[n]:+.1f} %, {inside}, "
            f"{kept})"
        )
    picks = np.array([role == "pick" for role in found.roles])
    error = 100 * np.abs(found.error[picks])
    print(
        f"    picks: {error.mean():.1f} % off on average, "
        f"{int(found.is_inside[picks].sum())} of {picks.sum()} inside the 90 % interval, "
        f"{int(found.keeps[picks].sum())} of {picks.sum()} keep the budget"
    )
    for warning in found.warnings:
        print(f"    warning: {warning}")


def report(found: VerifiedResult, again_ms: Floats) -> None:
    measured = 0 if found.measured is None else len(found.measured)
    print(f"  {measured} measurements; the device {'agrees' if found.agrees else 'does not agree'}")
    for n, budget in enumerate(found.max_latency_ms):
        state = "verified" if found.is_verified[n] else "NOT VERIFIED"
        print(
            f"    {budget:6.1f} ms: top-1 {100 * found.accuracy[n]:.2f} %, predicted "
            f"{found.predicted_ms[n]:6.2f}, measured {found.measured_ms[n]:6.2f}, measured again "
            f"{again_ms[n]:6.2f} ({100 * (again_ms[n] / budget - 1):+.1f} % of the budget; {state})"
        )


class Pool(Measuring):
    """A device on which some networks have been measured already."""

    target = Target("brand-new", "any")

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def measure(self, archs: Archs, round_: int) -> Measured:
        groups = self._data.archs.concatenate(archs).unique_index()
        rows = [np.flatnonzero(groups[: len(self._data)] == g)[0] for g in groups[-len(archs) :]]
        return Measured(replace(self._data[np.array(rows)], target=self.target))


def on_datasets(suggested: int, rounds: int, verify: int) -> None:
    """Regret on the targets of our own datasets, with rounds and without."""
    files = sorted((Path(__file__).parents[1] / "datasets").glob("*_t[0-9].parquet"))
    # The shipped base model was trained on these targets; the Note10's was not.
    base = latcast.load("samsung-note10")
    total = suggested + rounds * verify
    print(
        f"top-1 % lost against the best network within the budget, for budgets at the quantiles "
        f"{', '.join(map(str, QUANTILES))},\n"
        f"each shifted by {', '.join(map(str, SHIFTS))} in a search of its own; from "
        "samsung-note10;\n"
        f"at most {total} measurements: {suggested} suggested and {rounds} rounds of {verify}, or "
        f"{total - len(QUANTILES)} suggested and the picks\n"
    )
    print(f"{'target':44}{'with rounds':>22}{'without':>22}{'measurements':>14}")
    every: list[list[list[float]]] = [[], []]
    for file in files:
        data, cells, count = read_latencies(file), [], 0
        for n, plan in enumerate(
            ((suggested, rounds, verify), (total - len(QUANTILES), 1, len(QUANTILES)))
        ):
            found = [regret(data, base, shift, *plan) for shift in SHIFTS]
            every[n] += [f[0] for f in found]
            count = count or int(np.mean([f[1] for f in found]))
            cells.append(np.mean([f[0] for f in found], axis=0))
        text = "".join(f"{' '.join(f'{x:.2f}' for x in c):>22}" for c in cells)
        print(f"{data.target!s:44}{text}{count:14}", flush=True)
    means = "".join(f"{np.mean(e):22.3f}" for e in every)
    print(f"{'mean':44}{means}\n{'largest':44}" + "".join(f"{np.max(e):22.2f}" for e in every))


def regret(
    data: Dataset, base: Predictor, shift: float, suggested: int, rounds: int, verify: int
) -> tuple[list[float], int]:
    """Top-1 % lost within every budget, and measurements made."""
    model = accuracy_model()
    assert model.resolutions is not None
    resolution = [g.name for g in data.archs.space.genes].index("r")
    data = data[np.isin(data.archs.genes[:, resolution], model.resolutions)]
    budgets = np.quantile(data.latency_ms, np.add(QUANTILES, shift))
    found = search_and_verify(
        data.archs.space,
        latency=base,
        measuring=Pool(data),
        max_latency_ms=budgets.tolist(),
        candidates=data.archs,
        suggested=suggested,
        rounds=rounds,
        verify=verify,
    )
    assert (found.measured_ms <= budgets).all()
    assert found.measured is not None
    accuracy = model.predict(data.archs)
    best = np.array([accuracy[data.latency_ms <= b].max() for b in budgets])
    return (100 * (best - found.accuracy)).tolist(), len(found.measured)


if __name__ == "__main__":
    main()
