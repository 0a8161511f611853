"""Quantities that a campaign measures beside the latency, in the same runs, and their datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from latcast.data import ENERGY_MJ, LATENCY_MS, PEAK_MEMORY_MB, Dataset, quantity

from . import _energy, _memory
from ._campaign_file import CampaignFile, Run
from ._sustained import NAME as SUSTAINED
from ._sustained import sustained_dataset
from .runtimes import Runtime


@dataclass(frozen=True)
class MeasuredQuantity:
    """How a worker measures a quantity after it has timed a network.

    Attributes:
        measure: called with the worker's runtime, its setup and the request; what it returns is
            added to the run's details, the value by the quantity's name.
        rounds: rounds in which it is measured: one where repeats agree.
        patience_s: seconds that it may take.
        method: how it is measured, for the dataset's provenance.
        details: key of the details of what it was made of, a ``note`` to the method among them.
    """

    measure: Callable[[Runtime, Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
    rounds: int
    patience_s: float
    method: str
    details: str


MEASURED: Mapping[str, MeasuredQuantity] = {
    PEAK_MEMORY_MB.name: MeasuredQuantity(
        lambda _, setup, request: _memory.peak_memory(setup, request),
        1,
        _memory.PATIENCE_S,
        "peak of the resident memory during passes, in a process of its own, beyond what the "
        "runtime takes before it loads a network",
        "memory",
    ),
    ENERGY_MJ.name: MeasuredQuantity(
        lambda runtime, _, request: _energy.energy(runtime, request),
        2,
        _energy.PATIENCE_S,
        "energy of two seconds of passes over their number, less the idle power before and after",
        "energy",
    ),
}
"""By the quantity's name."""


def checked_quantities(names: Iterable[str]) -> tuple[str, ...]:
    """Names of quantities to measure beside the latency, which is always measured.

    Raises:
        ValueError: one cannot be measured.
    """
    found = [name for name in dict.fromkeys(names) if name != LATENCY_MS.name]
    for name in found:
        if name not in MEASURED:
            raise ValueError(
                f"quantities that are measured are {', '.join([LATENCY_MS.name, *MEASURED])}; "
                f"got {name}"
            )
    return tuple(found)


def check_measurable(names: Iterable[str], kind: str) -> None:
    """Make sure that this machine tells quantities, before hours are spent on the others.

    Args:
        names: of quantities.
        kind: what the runtime computes on, ``cpu`` or ``gpu``.

    Raises:
        OSError: it does not tell one, or not to this user.
        ModuleNotFoundError: a package is missing.
    """
    if ENERGY_MJ.name in names:
        _energy.find_meter(kind)


def failed_quantities(runs: Iterable[Run]) -> list[str]:
    """Why quantities are not known that were to be measured, a sentence each."""
    reasons: dict[tuple[str, str], set[int]] = {}
    for run in runs:
        for name in MEASURED:
            if (reason := run.details.get(f"{name}_failed")) is not None:
                reasons.setdefault((name, str(reason)), set()).add(run.network)
    return [
        f"{name} of {len(networks)} networks could not be measured: {reason}"
        for (name, reason), networks in reasons.items()
    ]


def quantity_datasets(campaign: CampaignFile, latencies: Dataset) -> dict[str, Dataset]:
    """Datasets of what was measured beside the latency, by the quantity's name.

    Args:
        campaign: an open campaign file.
        latencies: its dataset of latencies (:attr:`latcast.measure.Results.dataset`), whose
            networks they are of.

    Returns:
        A dataset for every quantity of which one value is known at least, in the order of the
        latencies. A value is the median over runs, with its standard error where there are several.
        Latencies in the steady state of sustained runs are called ``sustained``.
    """
    runs = campaign.runs()
    found = {}
    for name, how in MEASURED.items():
        known: dict[int, list[float]] = {}
        for run in runs:
            if isinstance(value := run.details.get(name), int | float):
                known.setdefault(run.network, []).append(float(value))
        if known:
            found[name] = _dataset(name, how, known, latencies, runs)
    if (steady := sustained_dataset(campaign, latencies)) is not None:
        found[SUSTAINED] = steady
    return found


def _method(how: MeasuredQuantity, runs: Sequence[Run]) -> str:
    """How values were measured, as their runs tell it."""
    told = [run.details[how.details] for run in runs if how.details in run.details]
    if not told:
        return "as the host's own tool tells it"
    return how.method + "".join(dict.fromkeys(d["note"] for d in told if "note" in d))


def _dataset(
    name: str,
    how: MeasuredQuantity,
    known: Mapping[int, Sequence[float]],
    latencies: Dataset,
    runs: Sequence[Run],
) -> Dataset:
    accepted = [run.network for run in runs if run.accepted]
    numbers = [accepted[position] for position in latencies.order.tolist()]
    rows = [row for row, number in enumerate(numbers) if number in known]
    values = [known[numbers[row]] for row in rows]
    errors = None
    if max(map(len, values)) > 1:
        errors = np.array([
            np.std(v, ddof=1) / np.sqrt(len(v)) / np.mean(v) if len(v) > 1 else np.nan
            for v in values
        ])  # fmt: skip
    return replace(
        latencies[np.array(rows)], values=np.array([np.median(v) for v in values]),
        quantity=quantity(name), samples=tuple(map(np.array, values)), standard_error=errors,
        reference=None, uncorrected=None, layers=None,
        provenance={**latencies.provenance, "method": _method(how, runs)},
    )  # fmt: skip
