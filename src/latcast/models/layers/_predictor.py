"""Milliseconds of any network, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.data import Dataset
from latcast.devices import Target
from latcast.graph import Graph, Rule, rules_of
from latcast.math.conformal import DeviationScores
from latcast.spaces import Archs

from ._adapt import adapted_model
from ._explanation import LayerExplanation, explain
from ._fit import fit_model, leaves_out_families, left_out_scores
from ._kernels import KernelCounts, working_kernels
from ._model import Forecast, LayerModel
from ._posterior import Observed
from ._ranges import Ranges

Floats = npt.NDArray[np.float64]
Measured = Dataset
Networks = Graph | Sequence[Graph] | Archs

LEAST_NETWORKS = 10
BEYOND_DEVIATION = 0.4
"""Of the log latency of kernels unlike any that were seen, by a model that was never tested on
such: what physics alone was off on families left out, rounded up."""
MOST_NETWORKS = 2_500
"""Of a dataset: more say nothing that these do not."""


@dataclass
class _Fitted:
    """What a fitted predictor knows."""

    target: Target
    model: LayerModel
    ranges: Ranges
    scores: DeviationScores
    card: dict[str, Any] = field(default_factory=dict)


class LayerPredictor:
    """Milliseconds of any network on one target, with intervals: the sum over its kernels.

    A kernel's latency is a price by physics (arithmetic, bytes, a launch; one set for each kind)
    times an efficiency, whose logarithm is a Gaussian process over the kernel's facts. It is
    learnt from latencies of whole networks, of spaces or of graphs, and from times of single
    layers where a profiler gave them.

    Lifecycle: create; :meth:`fit` once, or :meth:`adapt` another; then :meth:`predict`,
    :meth:`predict_interval`, :meth:`explain` and :meth:`save` change nothing.
    """

    kind = "layers"

    def __init__(self) -> None:
        self._fitted: _Fitted | None = None

    # -- learning ---------------------------------------------------------------------------

    def fit(self, *datasets: Measured, seed: int = 0) -> Self:
        """Learn from measurements of one target; returns the predictor itself.

        Intervals come from the errors on networks whose family, or space, was left out; where
        there are fewer than three of those, on random fifths.

        Args:
            datasets: of graphs or of architectures; of more than 2,500 rows, so many are drawn.
            seed: of everything that chance decides.

        Raises:
            ValueError: there are fewer than 10 measurements, one is not finite and positive, or
                targets differ.
        """
        rng = np.random.default_rng(seed)
        target = _one_target(datasets)
        datasets = tuple(_drawn(d, rng) for d in datasets)
        observed, groups = observe(datasets)
        if len(groups) < LEAST_NETWORKS:
            raise ValueError(
                f"fitting needs at least {LEAST_NETWORKS} measurements; got {len(groups)}: "
                "measure more networks"
            )
        model = fit_model(observed, rng)
        errors = left_out_scores(observed, groups, model, rng)
        scores = DeviationScores.of(errors, representative=leaves_out_families(groups))
        card = {
            "data": [dict(d.provenance) for d in datasets],
            "rows": len(groups),
            "families": sorted(set(groups)),
        }
        self._fitted = _Fitted(target, model, Ranges.of(observed.kernels), scores, card)
        return self

    def adapt(self, few: Measured) -> LayerPredictor:
        """A predictor for the target of a few measurements, made from this one, which stays.

        Args:
            few: at least one measurement: of networks of a new family on the same target, or of
                any networks on another.

        Raises:
            ValueError: there is none, or one is not finite and positive.
        """
        old = self.fitted
        few.check_values()
        if not len(few):
            raise ValueError("adapting needs at least one measurement; got none")
        observed, groups = observe((few,))
        new = LayerPredictor()
        card = {
            "data": [dict(few.provenance)],
            "rows": len(few),
            "families": sorted({*old.card.get("families", ()), *groups}),
            "base": {"target": str(old.target), "kind": self.kind, "card": old.card},
        }
        new._fitted = _Fitted(
            few.target,
            adapted_model(old.model, observed, same_target=few.target == old.target),
            old.ranges.joined(Ranges.of(observed.kernels)),
            old.scores,
            card,
        )
        return new

    # -- predicting -------------------------------------------------------------------------

    def predict(self, networks: Networks) -> Floats:
        """Milliseconds for one forward pass of the whole batch: the medians, shape (n,).

        Args:
            networks: a graph, several, or architectures of any space.

        Raises:
            ValueError: a graph's batch is another than the target's.
        """
        return self._forecast(networks).ms

    def predict_interval(self, networks: Networks, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Lower and upper bound in ms, each of shape (n,).

        Of networks whose family the model had not seen, a share of ``coverage`` lies inside, as
        far as the families that it was trained on can tell.

        Raises:
            ValueError: as :meth:`predict`; or a coverage outside of 0 to 1, or beyond what so few
                networks can tell.
        """
        forecast = self._forecast(networks)
        factor = np.exp(self.fitted.scores.quantile(coverage) * forecast.deviation)
        return forecast.ms / factor, forecast.ms * factor

    def explain(self, graph: Graph, coverage: float = 0.9) -> LayerExplanation:
        """Where the milliseconds of a network go, kernel by kernel, and what the model doubts."""
        fitted = self.fitted
        self._check_batch([graph])
        rules = rules_of(self.target.runtime)
        kernels = KernelCounts.of_graphs([graph], rules)
        return explain(
            graph,
            working_kernels(graph, rules),
            kernels,
            self._forecast_of(kernels),
            fitted.model.prices,
            fitted.ranges.doubts(kernels, frozenset(fitted.model.basis.labels)),
            fitted.scores.quantile(coverage),
        )

    @property
    def fitted(self) -> _Fitted:
        """What the predictor knows.

        Raises:
            RuntimeError: it is not fitted.
        """
        if self._fitted is None:
            raise RuntimeError("LayerPredictor must be fitted first: call fit(data)")
        return self._fitted

    @property
    def target(self) -> Target:
        """What the predictions belong to."""
        return self.fitted.target

    @property
    def card(self) -> dict[str, Any]:
        """Data provenance, licence, metrics: anything JSON can hold."""
        return self.fitted.card

    def covers(self, coverage: float) -> bool:
        """Whether there were enough networks for intervals of ``coverage``."""
        return self.fitted.scores.covers(coverage)

    # -- files ------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write a model file (safetensors with a JSON header), atomically."""
        from ._file import write

        f = self.fitted
        write(path, self.kind, f.target, f.model, f.ranges, f.scores, f.card)

    @classmethod
    def load(cls, path: str | Path) -> LayerPredictor:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is damaged, of a newer schema version, or of another kind.
            FileNotFoundError: there is no such file.
        """
        from ._file import read

        self = cls()
        self._fitted = _Fitted(*read(path, cls.kind))
        return self

    # -- inside -----------------------------------------------------------------------------

    def _forecast(self, networks: Networks) -> Forecast:
        if isinstance(networks, Graph):
            networks = [networks]
        self._check_batch(() if isinstance(networks, Archs) else networks)
        batch, rules = self.target.batch, rules_of(self.target.runtime)
        if isinstance(networks, Archs):
            return self._forecast_of(KernelCounts.of_archs(networks, batch, rules))
        return self._forecast_of(KernelCounts.of_graphs(networks, rules))

    def _check_batch(self, graphs: Sequence[Graph]) -> None:
        for graph in graphs:
            if graph.batch not in (None, self.target.batch):
                raise ValueError(
                    f"{graph.name} must have the batch of the target {self.target}, "
                    f"{self.target.batch}; it has {graph.batch}: read it with that batch"
                )

    def _forecast_of(self, kernels: KernelCounts) -> Forecast:
        fitted = self.fitted
        if fitted.scores.representative:
            return fitted.model.forecast(kernels)
        labels = frozenset(fitted.model.basis.labels)
        doubted = [doubt is not None for doubt in fitted.ranges.doubts(kernels, labels)]
        return fitted.model.forecast(kernels, BEYOND_DEVIATION**2 * np.array(doubted, float))


def observe(datasets: Sequence[Measured]) -> tuple[Observed, list[str]]:
    """Measurements as the model takes them, and the family or space of every network."""
    parts = [_kernels_of(d) for d in datasets]
    kernels = KernelCounts.joined(parts) if len(parts) > 1 else parts[0]
    total_ms = np.concatenate([d.latency_ms for d in datasets])
    groups = [name for d in datasets for name in _groups(d)]
    times = sp.csr_matrix(kernels.counts.shape)
    if any(d.space is None and d.layers is not None for d in datasets):
        times = _times(datasets, kernels)
    return Observed(kernels, total_ms, times), groups


def _kernels_of(data: Measured) -> KernelCounts:
    if data.space is None:
        return KernelCounts.of_graphs(data.graphs, rules_of(data.target.runtime))
    return KernelCounts.of_archs(data.archs, data.target.batch, rules_of(data.target.runtime))


def _groups(data: Measured) -> list[str]:
    if data.space is None:
        return list(data.families)
    return [data.archs.space.name] * len(data)


def _times(datasets: Sequence[Measured], kernels: KernelCounts) -> sp.csr_matrix:
    """Milliseconds of each kernel in each network by the profiler, as far as it gave any."""
    rows, columns, values = [], [], []
    n, graph = 0, 0
    for data in datasets:
        if data.space is None:
            for i, own in enumerate(data.graphs):
                if data.layers is not None:
                    times = _kernel_times(own, data.layers[i], rules_of(data.target.runtime))
                    rows.append(np.full(len(times), n + i))
                    columns.append(kernels.rows[graph])
                    values.append(times)
                graph += 1
        n += len(data)
    row, column, value = (np.concatenate(x) for x in (rows, columns, values))
    known = value > 0
    pair = (row[known], column[known])
    shape = kernels.counts.shape
    total = sp.csr_matrix((value[known], pair), shape=shape)
    count = sp.csr_matrix((np.ones(known.sum()), pair), shape=shape)
    total.data /= count.data
    return total


def _kernel_times(graph: Graph, layers_ms: Floats, rules: Sequence[Rule]) -> Floats:
    """Milliseconds of every working kernel; 0 where none of its layers was timed."""
    known = np.nan_to_num(layers_ms)
    return np.array([known[list(k.layers)].sum() for k in working_kernels(graph, rules)])


def _one_target(datasets: Sequence[Measured]) -> Target:
    if not datasets:
        raise ValueError("fitting needs at least one dataset; got none")
    for data in datasets:
        data.check_values()
        if data.target != datasets[0].target:
            raise ValueError(
                f"datasets must be of one target; got {datasets[0].target} and {data.target}"
            )
    return datasets[0].target


def _drawn(data: Measured, rng: np.random.Generator) -> Measured:
    if len(data) <= MOST_NETWORKS:
        return data
    return data[np.sort(rng.permutation(len(data))[:MOST_NETWORKS])]
