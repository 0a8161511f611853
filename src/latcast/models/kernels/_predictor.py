"""Kernels: milliseconds of any network, kernel by kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast._model_file import Schema
from latcast.data import Dataset
from latcast.graph import Graph, Rule, rules_of
from latcast.math.conformal import DeviationScores
from latcast.models._base import Predictor, State
from latcast.models._fitted import Fitted
from latcast.networks import Networks, working_kernels
from latcast.spaces import Archs

from ._explanation import LayerExplanation, Ranges, explain
from ._file import SCHEMA, packed, unpacked
from ._fit import adapted_model, fit_model, leaves_out_families, left_out_scores
from ._model import Forecast, LayerModel
from ._posterior import Observed

Floats = npt.NDArray[np.float64]

# Of the log latency of kernels unlike any that were seen, by a model that was never tested on such:
# what physics alone was off on families left out, rounded up.
BEYOND_DEVIATION = 0.4
# Of a dataset: more say nothing that these do not.
MAX_NETWORKS = 2_500


class Kernels(Predictor):
    """Milliseconds of any network on one target: the sum over its kernels.

    A kernel's latency is a price by physics (arithmetic, bytes, a launch; one set for each kind)
    times an efficiency, whose logarithm is a Gaussian process over the kernel's facts. It is
    learnt from latencies of whole networks, of spaces or of graphs, and from times of single
    layers where a profiler gave them; of more than 2,500 rows of a dataset, so many are drawn.

    Intervals come from the errors on networks whose family, or space, was left out; where there
    are fewer than three of those, on random fifths.
    """

    kind = "layers"
    description = "kernels of networks of any kind: physics, and a Gaussian process over it"
    array_prefix = ""

    _model: LayerModel
    _ranges: Ranges

    def _learn(self, data: Sequence[Dataset], calibration: Dataset | None, seed: int) -> None:
        rng = np.random.default_rng(seed)
        data = tuple(_drawn(d, rng) for d in data)
        observed, groups = observe(data)
        card = {
            "data": [dict(d.provenance) for d in data],
            "rows": len(groups),
            "families": sorted(set(groups)),
        }
        fitted = Fitted(None, data[0].target, card=card, quantity=data[0].quantity)
        self._model, self._ranges = fit_model(observed, rng), Ranges.of(observed.kernels)
        self.become(fitted)
        if calibration is not None:
            self.calibrate(calibration)
            return
        errors = left_out_scores(observed, groups, self._model, rng)
        representative = leaves_out_families(groups)
        fitted.calibration = DeviationScores.of(errors, representative=representative)

    def _calibration(self, data: Dataset) -> DeviationScores:
        predicted, deviation = self._forecast(self._own(data.networks))
        errors = np.log(data.values / predicted) / deviation
        return DeviationScores.of(errors, representative=leaves_out_families(_groups(data)))

    def _own(self, networks: Any) -> tuple[Networks, Graph | None]:
        """Their kernels, and the graph where there is one alone."""
        alone = networks if isinstance(networks, Graph) else None
        if not isinstance(networks, Graph | Archs) and len(networks) == 1:
            alone = networks[0]
        return Networks.of(networks, self.target), alone

    def _forecast(self, own: tuple[Networks, Graph | None]) -> tuple[Floats, Floats]:
        found = self._forecast_of(own[0])
        return found.ms, found.deviation

    def _forecast_of(self, kernels: Networks) -> Forecast:
        if self.fitted.calibration is None or self.fitted.calibration.representative:
            return self._model.forecast(kernels)
        labels = frozenset(self._model.basis.labels)
        extrapolated = [e is not None for e in self._ranges.extrapolations(kernels, labels)]
        return self._model.forecast(kernels, BEYOND_DEVIATION**2 * np.array(extrapolated, float))

    def _explained(self, own: tuple[Networks, Graph | None], coverage: float) -> LayerExplanation:
        """Kernel by kernel, and where the model extrapolates."""
        kernels, graph = own
        if graph is None:
            raise ValueError("an explanation by kernels must be of one graph; got several networks")
        return explain(
            graph,
            working_kernels(graph, rules_of(self.target.runtime)),
            kernels,
            self._forecast_of(kernels),
            self._model.prices,
            self._ranges.extrapolations(kernels, frozenset(self._model.basis.labels)),
            self.fitted.calibration.quantile(coverage),
        )

    def _schema(self) -> Schema:
        return SCHEMA

    def _state(self) -> State:
        return packed(self._model, self._ranges, self.fitted.calibration)

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        self._model, self._ranges, self.fitted.calibration = unpacked(state)

    def _adapted(self, few: Dataset, method: str, seed: int) -> Kernels:
        """Of a new family on the same target, or of any networks on another."""
        if method != "bayes":
            raise ValueError(f"a layer model adapts by the method bayes; got {method}")
        observed, groups = observe((few,))
        card = {
            "data": [dict(few.provenance)],
            "rows": len(few),
            "families": sorted({*self.card.get("families", ()), *groups}),
            "base": {"target": str(self.target), "kind": self.kind, "card": self.card},
        }
        new = Kernels()
        new._model = adapted_model(self._model, observed, same_target=few.target == self.target)
        new._ranges = self._ranges.joined(Ranges.of(observed.kernels))
        calibration, quantity = self.fitted.calibration, self.fitted.quantity
        new.become(Fitted(None, few.target, {}, calibration, card, quantity))
        return new


def observe(datasets: Sequence[Dataset]) -> tuple[Observed, list[str]]:
    """Measurements as the model takes them, and the family or space of every network."""
    parts = [Networks.of(d.networks, d.target) for d in datasets]
    kernels = Networks.joined(parts) if len(parts) > 1 else parts[0]
    values = np.concatenate([d.values for d in datasets])
    groups = [name for d in datasets for name in _groups(d)]
    times = sp.csr_matrix(kernels.counts.shape)
    if any(d.layers is not None for d in datasets):
        times = _times(datasets, kernels)
    return Observed(kernels, values, times), groups


def _groups(data: Dataset) -> list[str]:
    if data.space is None:
        return list(data.families)
    return [data.archs.space.name] * len(data)


def _times(datasets: Sequence[Dataset], kernels: Networks) -> sp.csr_matrix:
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


def _drawn(data: Dataset, rng: np.random.Generator) -> Dataset:
    if len(data) <= MAX_NETWORKS:
        return data
    return data[np.sort(rng.permutation(len(data))[:MAX_NETWORKS])]
