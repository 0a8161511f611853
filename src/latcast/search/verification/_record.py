"""A verified search as a record: predicted against measured, round by round."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.markup import counted
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table
from latcast.report.text import interval_column
from latcast.search.genes import gene_shares

from ._verification import Verification, VerifiedResult

# Budgets that the first sentence tells.
MAX_TOLD = 4


@dataclass(frozen=True)
class CheckedNetwork:
    """A network of a round: what was predicted, and what was measured.

    Attributes:
        role: why it was measured: ``suggested``, ``pick`` or ``front``.
        max_latency_ms: the budget that it was chosen for, ms; null for none.
        accuracy: top-1 by the accuracy model, 0 to 1; null where it does not know the network.
        predicted_ms: before it was measured, ms; null where nothing could predict it.
        lower_ms: lower end of the prediction interval, ms; null where there is none.
        upper_ms: upper end of the interval, ms.
        measured_ms: measured latency, ms.
        standard_error: relative, of the measurement.
        error: predicted over measured, less 1.
        inside: whether the measured latency lies in the interval; null where there is none.
        kept: whether the measured latency is within the budget; null where there is none.
        arch: the architecture in the field's own form.
    """

    role: str
    max_latency_ms: float | None
    accuracy: float | None
    predicted_ms: float | None
    lower_ms: float | None
    upper_ms: float | None
    measured_ms: float
    standard_error: float | None
    error: float | None
    inside: bool | None
    kept: bool | None
    arch: Any


@dataclass(frozen=True)
class FailedNetwork:
    """A network that could not be measured.

    Attributes:
        arch: the architecture in the field's own form.
        reason: why it could not be measured.
    """

    arch: Any
    reason: str


@dataclass(frozen=True)
class Round:
    """A round of a verified search.

    Attributes:
        round: 0 for networks that were suggested before the first search, then 1, 2, …
        mape: mean absolute error of the predictions, %; null without any.
        networks: that were measured, in the order in which they were chosen.
        failed: networks that could not be measured.
        warnings: doubts about the measurements, a sentence each.
    """

    round: int
    mape: float | None
    networks: tuple[CheckedNetwork, ...]
    failed: tuple[FailedNetwork, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, found: Verification) -> Round:
        """The record of a round."""
        return cls(
            found.round,
            _known(found.mape),
            tuple(_checked(found, n, arch) for n, arch in enumerate(found.archs.to_dicts())),
            tuple(FailedNetwork(arch.to_dicts()[0], why) for arch, why in found.failures),
            found.warnings,
        )

    def summary(self) -> str:
        """Return a line on the round's outcome."""
        what = f"round {self.round}: {len(self.networks)} measured"
        if self.mape is not None:
            what += f", predictions {self.mape:.1f} % off on average"
        picks = [n.kept for n in self.networks if n.role == "pick" and n.kept is not None]
        if picks:
            what += f", {sum(picks)} of {counted(len(picks), 'pick')} within budget"
        return what


@dataclass(frozen=True)
class VerifiedNetwork:
    """The network for a budget.

    Attributes:
        max_latency_ms: the budget, ms; without budgets what the network counts as.
        accuracy: top-1 by the accuracy model, 0 to 1.
        latency_ms: predicted by the last model, ms.
        lower_ms: lower end of its prediction interval, ms; null where there is none.
        upper_ms: upper end of the interval, ms.
        measured_ms: ms; null where it has not been measured.
        standard_error: relative, of the measurement.
        stable: whether the measured latency is known to 3 %; null where that is not stated.
        verified: whether it was measured, and is within its budget.
        unverified_accuracy: what the last search expects of a network within the budget that has
            not been measured, where that is more than ``accuracy``.
        costs: of the network: ``macs``, ``params``, ``activation_bytes``, ``blocks``.
        arch: the architecture in the field's own form.
    """

    max_latency_ms: float | None
    accuracy: float
    latency_ms: float
    lower_ms: float | None
    upper_ms: float | None
    measured_ms: float | None
    standard_error: float | None
    stable: bool | None
    verified: bool
    unverified_accuracy: float | None
    costs: Mapping[str, int]
    arch: Any


@dataclass(frozen=True, repr=False)
class VerificationRecord(Record):
    """A search whose best networks were measured on the device.

    Attributes:
        model: that it began with, by its name or file.
        seed: of everything chance decides.
        target: the target that was measured.
        space: search space.
        method: of the searches.
        confidence: with which budgets are kept, 0 to 1; null if the prediction itself counts.
        coverage: of the intervals, 0 to 1.
        agrees: whether the device takes what was predicted for the best networks.
        stopped: why it ended early: ``interrupted``, or null.
        measurements: networks measured in all rounds.
        rounds: predicted against measured.
        found: one network per budget, in their order.
    """

    schema = "verified-search"
    frame = "found"
    no_figure = "no network was measured"

    model: str
    seed: int
    target: str
    space: str
    method: str
    confidence: float | None
    coverage: float
    agrees: bool
    stopped: str | None
    measurements: int
    rounds: tuple[Round, ...]
    found: tuple[VerifiedNetwork, ...]

    @classmethod
    def of(cls, result: VerifiedResult, model: str, seed: int) -> VerificationRecord:
        """The record of a result; ``model`` is what the user calls the first model."""
        costs = result.archs.space.costs(result.archs).to_dicts()
        archs = result.archs.to_dicts()
        return cls(
            model=model,
            seed=seed,
            target=str(result.predictor.target),
            space=result.archs.space.name,
            method=result.search.method,
            confidence=result.search.confidence,
            coverage=result.coverage,
            agrees=result.agrees,
            stopped=result.stopped,
            measurements=0 if result.measured is None else len(result.measured),
            rounds=tuple(map(Round.of, result.rounds)),
            found=tuple(_verified(result, n, costs[n], archs[n]) for n in range(len(result))),
        )

    def headline(self) -> str:
        return f"The most accurate networks of {self.space}, measured on {self.target}"

    def answer(self) -> str:
        verified = [n for n in self.found if n.verified]
        conclusion = self._conclusion()
        if not verified:
            return f"{conclusion[0].upper()}{conclusion[1:]}."
        if len(verified) > 1 and all(n.max_latency_ms is not None for n in verified):
            told = ", ".join(
                f"{100 * n.accuracy:.2f} % top-1 within {n.max_latency_ms:.4g} ms (measured "
                f"{n.measured_ms or 0:.2f})" for n in verified[:MAX_TOLD]
            )  # fmt: skip
            more = f" and {len(verified) - MAX_TOLD} more" if len(verified) > MAX_TOLD else ""
            return f"The most accurate networks have {told}{more}; {conclusion}."
        best = max(verified, key=lambda n: n.accuracy)
        budget = best.max_latency_ms
        the = "The" if budget is None else f"Within {budget:.4g} ms the"
        return (
            f"{the} most accurate network has {100 * best.accuracy:.2f} % top-1 and took "
            f"{best.measured_ms or 0:.2f} ms when it was measured; {conclusion}."
        )

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        *rounds, found = self.parts()
        yield "The networks", [found]
        yield from sections_of(self.figures(), rounds)

    def figures(self) -> Iterator[Figure]:
        series = []
        for found in self.rounds:
            own = [n for n in found.networks if n.predicted_ms is not None]
            labels = [f"{n.role}, round {found.round}\nmeasured {n.measured_ms:.2f} ms, "
                      f"predicted {n.predicted_ms:.2f}" for n in own]  # fmt: skip
            if own:
                series.append(
                    Series(
                        f"round {found.round}", [n.measured_ms for n in own],
                        [n.predicted_ms or 0.0 for n in own], "points",
                        [n.lower_ms for n in own], [n.upper_ms for n in own], labels,
                    )
                )  # fmt: skip
        if series:
            caption = (
                "On the line the device takes what was predicted; upright strokes are "
                f"{100 * self.coverage:g} % intervals."
            )
            yield Figure("Predicted and measured", Axis("measured, ms"), Axis("predicted, ms"),
                         tuple(series), (Guide("equal"),), caption)  # fmt: skip
        yield from gene_shares([n.arch for n in self.found])

    def parts(self) -> Iterator[Table | str]:
        for found in self.rounds:
            if found.networks:
                yield self._round(found)
        columns = (
            Column("budget ms", "max_latency_ms", ".4g"),
            Column("top-1 %", "accuracy", ".2f", 100),
            Column("predicted ms", "latency_ms", ".2f"),
            Column("measured ms", "measured_ms", ".2f"),
            Column("state", _state),
            Column("MMACs", "costs.macs", ".0f", 1e-6),
            Column("architecture", lambda row: json.dumps(row.arch, separators=(",", ":"))),
        )
        yield Table(columns, self.found, f"most accurate of {self.space} on {self.target}")

    def _round(self, found: Round) -> Table:
        columns = (
            Column("why", "role"),
            Column("budget ms", "max_latency_ms", "g"),
            Column("top-1 %", "accuracy", ".2f", 100),
            Column("predicted ms", "predicted_ms", ".2f"),
            interval_column(self.coverage, ".2f"),
            Column("measured ms", "measured_ms", ".2f"),
            Column("error %", "error", "+.1f", 100),
            Column("inside", "inside"),
            Column("within budget", "kept"),
        )
        title = f"round {found.round}: predicted against measured on {self.target}"
        return Table(columns, found.networks, title)

    def doubts(self) -> Iterator[str]:
        for found in self.rounds:
            for failed in found.failed:
                yield f"not measured: {json.dumps(failed.arch)}: {failed.reason}"
            for warning in found.warnings:
                yield f"warning: {warning}"
        yield self._conclusion()

    def _conclusion(self) -> str:
        if self.agrees:
            return f"the device agrees, after {self.measurements} measurements"
        text = f"{'interrupted after ' if self.stopped else ''}{self.measurements} measurements"
        if not all(n.verified for n in self.found):
            text += f"; {self._unverified()}: allow more --rounds"
        gains = [
            100 * (n.unverified_accuracy - n.accuracy)
            for n in self.found
            if n.unverified_accuracy is not None
        ]
        if gains and max(gains) > 0:
            text += (
                f"; the last search expects up to {max(gains):.2f} % more from networks that have "
                "not been measured: allow more --rounds"
            )
        return text

    def _unverified(self) -> str:
        """Return a sentence on the basis of networks that were not measured."""
        if not self.measurements:
            return "NOT VERIFIED: nothing has been measured"
        budgets = ", ".join(f"{n.max_latency_ms:g}" for n in self.found if not n.verified)
        return (
            f"NOT VERIFIED: no measured network is an answer for {budgets} ms, and what is shown "
            "for it has not been measured"
        )


def _checked(found: Verification, n: int, arch: Any) -> CheckedNetwork:
    budget, lower = _known(found.max_latency_ms[n]), _known(found.lower_ms[n])
    return CheckedNetwork(
        found.roles[n], budget, _known(found.accuracy[n]), _known(found.predicted_ms[n]), lower,
        _known(found.upper_ms[n]), float(found.measured_ms[n]), _known(found.standard_error[n]),
        _known(found.error[n]), None if lower is None else bool(found.is_inside[n]),
        None if budget is None else bool(found.keeps[n]), arch,
    )  # fmt: skip


def _verified(
    result: VerifiedResult, n: int, costs: Mapping[str, int], arch: Any
) -> VerifiedNetwork:
    from latcast.data import UNSTABLE

    states_errors = result.measured is not None and result.measured.standard_error is not None
    # An error that a campaign which states errors could not tell is no reason to trust a latency.
    stable = bool(result.standard_error[n] <= UNSTABLE) if states_errors else None
    return VerifiedNetwork(
        _known(result.max_latency_ms[n]), float(result.accuracy[n]),
        float(result.predicted_ms[n]), _known(result.lower_ms[n]), _known(result.upper_ms[n]),
        _known(result.measured_ms[n]), _known(result.standard_error[n]), stable,
        bool(result.is_verified[n]), _known(result.unverified_accuracy[n]), costs, arch,
    )  # fmt: skip


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _state(row: VerifiedNetwork) -> str:
    if not row.verified:
        return "NOT VERIFIED"
    return "measured, UNSTABLE" if row.stable is False else "measured"
