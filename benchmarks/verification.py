"""Search on this machine as on a brand-new device: measure, adapt, search, and measure again.

    python benchmarks/verification.py [--runtime onnxruntime] [--threads 1] [--rounds 2]

Nothing is known of this machine but what is measured: networks that tell most about all others,
then those that the searches pick. Beside it the same number of measurements without rounds. What
was found is measured once more at the end. Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import latcast
from latcast.bench.machine import describe
from latcast.measure import Protocol
from latcast.search.verification import (
    Campaigns,
    Verification,
    VerifiedResult,
    search_and_verify,
)
from latcast.spaces import Archs

BASES = ("ofa-mobilenet-v3", "samsung-note10")
QUANTILES = (0.2, 0.4, 0.6, 0.8)
RANDOM = 12

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bench:
    """How and where this machine is measured.

    Attributes:
        folder: of the raw records.
        runtime: name of the runtime.
        threads: of a pass.
        visits: to every network.
    """

    folder: Path
    runtime: str
    threads: int
    visits: int

    def campaigns(self, name: str, like_ms: float | None = None) -> Campaigns:
        """New campaigns, on a device that no model has heard of."""
        return Campaigns(
            self.folder / name,
            self.runtime,
            self.threads,
            device="brand-new",
            protocol=Protocol(visits=self.visits),
            like_ms=like_ms,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", action="append", help="what is known: a model or base model")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--space", default="ofa-mobilenet-v3")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--verify", type=int, default=5)
    parser.add_argument("--suggested", type=int, default=10)
    parser.add_argument("--visits", type=int, default=Protocol().visits)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=Path, help="keep the raw records in this folder")
    a = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(a.records or Path(folder), a.runtime, a.threads, a.visits)
        budgets, level = find_budgets(bench, a.space)
        total = a.suggested + a.rounds * a.verify
        for base in a.base or BASES:
            for suggested, rounds, verify in (
                (a.suggested, a.rounds, a.verify),
                (total, 1, len(budgets)),
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
        f"{bench.visits} visits\n{RANDOM} random networks take {latency_ms.min():.1f} to "
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
        print(
            f"    {role:6} for {found.max_latency_ms[n]:6.1f} ms: predicted "
            f"{found.predicted_ms[n]:6.2f} [{found.lower_ms[n]:.2f}, {found.upper_ms[n]:.2f}], "
            f"measured {found.measured_ms[n]:6.2f} ({100 * found.error[n]:+.1f} %, {inside}, {kept})"
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


if __name__ == "__main__":
    main()
