"""Kernels: milliseconds of any network, kernel by kernel; and the file that keeps them.

A file holds operators, kinds and facts by name: rows of arrays belong to the kinds and operators
that the header names. Where latcast's tables have others besides, these are as if the model had
never seen them; what the tables have no more is left out. So an operator, kind or fact can be added
and no file becomes unreadable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from latcast._model_file import NAMES, Array, Field, Schema, Values, positive, texts
from latcast.data import Dataset
from latcast.devices import Device, Target, devices
from latcast.graph import UNKNOWN, Graph, Rule, as_run, rules_of
from latcast.math.condensed import Condensed, condensed, expanded
from latcast.math.conformal import DeviationScores
from latcast.math.laplace import NormalWeights
from latcast.models._base import Predictor
from latcast.models._fitted import Fitted
from latcast.models._model import State
from latcast.networks import ALL_KINDS, OPS, Networks, working_kernels

from ._adapting import Slowdown, adapted_model
from ._basis import FEATURES, WHOLE_FACTS, Basis, Scale, Whole
from ._explanation import BOUNDS, CHECKED, LayerExplanation, Ranges, explain
from ._familiarity import REACH, Familiarity
from ._fit import (
    familiarized,
    fit_model,
    folds,
    leaves_out_families,
    left_out,
)
from ._model import NUMBERS, Forecast, LayerModel
from ._prices import WORK, Noise, Observed, Prices

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

# How many times as far intervals reach on another target, adapted to, as scores of left-out
# families: of 150 of our 730 networks on the other of two runtimes of one CPU, 90 % intervals had
# to reach 1.1, 1.3 and 1.1 times as far after 1, 3 and 10 measurements, in the other direction
# 1.1, 1.5 and 1.4 times (six draws).
ELSEWHERE = 1.25

# Those of files whose header does not name them.
FIRST_FEATURES = (
    "macs", "traffic", "param_bytes", "positions", "outputs", "depth", "window", "stride",
    "groups", "layers", "inputs", "outputs_waste", "depth_waste", "blocked",
)  # fmt: skip

# In the ranges of a file: of a kind that the model has not seen. No fact is negative.
_UNSEEN = -1.0
# Largest value of a fact that the model did not watch.
_UNBOUNDED = 1e300


def _scales(value: Any) -> tuple[Scale, Scale]:
    first, second = (Scale(positive(a), positive(s), int(positive(m))) for a, s, m in value)
    return first, second


SCHEMA = Schema(
    {
        "kinds": NAMES,
        "ops": NAMES,
        "checked": NAMES,
        "features": Field(texts, list, FIRST_FEATURES),
        "labels": NAMES,
        "on_families": Field(lambda value: value is True),
        "fills_vectors": Field(lambda value: value is True, default=False),
        "has_context": Field(lambda value: value is True, default=False),
        "scales": Field(_scales, lambda v: [[s.amplitude, s.stretch, s.most_points] for s in v]),
        "noise": Field(
            lambda value: Noise(*map(positive, value)), lambda n: [n.network, n.kernel, n.timing]
        ),
    },
    {
        "prices": Array(("kinds", WORK), check="not negative"),
        "classes": Array(("classes",), "int64", "int64", "strictly ascending"),
        "class_prices": Array(("classes", WORK), check="not negative"),
        "centres": Array(("kinds", "features")),
        "points": Array(("points", "features"), "float32"),
        "point_kinds": Array(("points",), "int16", "int64", "ascending"),
        "whole_centre": Array((WHOLE_FACTS,)),
        "whole_points": Array(("whole_points", WHOLE_FACTS)),
        "mean": Array(("weights",)),
        "prior": Array(("weights",), check="positive"),
        # What data took from the prior variances: of files that are older than what follows it.
        "gained": Array(("weights", "gains"), "float16", is_optional=True),
        "block": Array(("weights",), "int16", "int64", is_optional=True),
        "own": Array(("factors",), "float16", is_optional=True),
        "shared": Array(("touched", "directions"), "float16", is_optional=True),
        "strength": Array(("directions",), "float32", is_optional=True),
        "low": Array(("kinds", "checked")),
        "high": Array(("kinds", "checked")),
        "scores": Array(("rows",), "float32", check="ascending"),
        # Of models whose intervals follow how near to measured kernels others are.
        "cells": Array(("cells", "features"), "uint8", "int64", is_optional=True),
        "cell_kinds": Array(("cells",), "int16", "int64", "ascending", is_optional=True),
        "knots": Array(("knots",), check="ascending", is_optional=True),
        "knot_factors": Array(("knots",), check="positive", is_optional=True),
        "near_scores": Array(("near_rows",), "float32", check="ascending", is_optional=True),
        # Of models that were adapted to another target.
        "numbers": Array((NUMBERS + 1,), check="not negative", is_optional=True),
    },
)

# Arrays of a :class:`Familiarity` in its order but for the last, which are a file's scores where
# it has none; and the scores of intervals that follow it.
_FAMILIAR = ("cells", "cell_kinds", "knots", "knot_factors", "near_scores")


def _familiar(near: Familiarity, scores: DeviationScores) -> Values:
    parts = near.cells, near.kinds, near.knots, near.factors, scores.sizes
    return dict(zip(_FAMILIAR, parts, strict=True))


def packed(model: LayerModel, ranges: Ranges, scores: DeviationScores) -> Values:
    """All that a kernel model is made of, by the names of :data:`SCHEMA`."""
    seen = np.isfinite(ranges.low)
    weights, kinds = model.weights, len(model.basis.kinds)
    others = len(weights.mean) - model.basis.size
    block = np.concatenate([model.basis.blocks, np.full(others, kinds + 1)])
    near = model.familiarity
    return {
        "kinds": ALL_KINDS,
        "ops": OPS,
        "checked": CHECKED,
        "features": model.basis.names,
        "labels": model.basis.labels,
        "on_families": scores.representative,
        "fills_vectors": model.prices.fills_vectors,
        "has_context": model.whole.has_context,
        "scales": model.basis.scales,
        "noise": model.noise,
        "prices": model.prices.by_kind,
        "classes": model.prices.classes,
        "class_prices": model.prices.by_class,
        "centres": model.basis.centres,
        "points": model.basis.points,
        "point_kinds": model.basis.point_kinds,
        "whole_centre": model.whole.centre,
        "whole_points": model.whole.points,
        "mean": weights.mean,
        "prior": weights.prior,
        **condensed(weights.covariance, weights.prior, block)._asdict(),
        "low": np.where(seen, ranges.low, _UNSEEN),
        "high": np.where(seen, ranges.high, _UNSEEN),
        "scores": scores.sizes if near is None else near.apart,
        **({"numbers": model.numbers} if model.has_parts else {}),
        **({} if near is None else _familiar(near, scores)),
    }


def unpacked(v: Values) -> tuple[LayerModel, Ranges, DeviationScores]:
    """The inverse of :func:`packed`, in terms of the kinds and operators that latcast has now.

    Raises:
        ValueError: parts do not fit each other.
    """
    kinds, names = v["kinds"], v["features"]
    for what, values, count in (
        ("kinds", kinds, len(v["prices"])),
        ("facts", v["checked"], v["low"].shape[1]),
        ("features", names, v["centres"].shape[1]),
    ):
        if len(set(values)) != count or len(values) != count:
            raise ValueError(f"{what} must have {count} different names; got {list(values)}")
    if unknown := sorted(set(names) - set(FEATURES)):
        raise ValueError(f"features {unknown} are not known here: upgrade latcast")
    if len(v["point_kinds"]) and not 0 <= v["point_kinds"][0] <= v["point_kinds"][-1] < len(kinds):
        raise ValueError("kinds of points must be known")
    own = Basis(v["centres"], v["points"], v["point_kinds"], v["labels"], v["scales"], names, kinds)
    whole = Whole(v["whole_centre"], v["whole_points"], v["has_context"])
    others = whole.size + (WORK if "numbers" in v else 0)
    if len(v["mean"]) != own.size + others:
        raise ValueError(
            f"array 'mean' must have shape ({own.size + others},); got {v['mean'].shape}"
        )
    basis, columns = own.of_kinds(ALL_KINDS)
    kept = np.concatenate([columns, own.size + np.arange(others)])
    weights = _weights(v, kept)
    order = positions(ALL_KINDS, kinds)
    model = LayerModel(_prices(v, order), basis, whole, weights, v["noise"])
    if "numbers" in v:
        model = replace(model, has_parts=True, numbers=v["numbers"])
    if there := [name for name in _FAMILIAR if name in v]:
        if tuple(there) != _FAMILIAR:
            raise ValueError(f"a file with {there} must have {list(_FAMILIAR)}")
        cells, of_kind, knots, factors, sizes = (v[name] for name in _FAMILIAR)
        near = Familiarity(cells, of_kind, knots, factors, v["scores"])
        model = replace(model, familiarity=near.of_kinds(positions(kinds, ALL_KINDS)))
        return model, _ranges(v, order), DeviationScores(sizes, v["on_families"])
    return model, _ranges(v, order), DeviationScores(v["scores"], v["on_families"])


def _weights(v: Values, kept: Numbers) -> NormalWeights:
    """Weights of some features of a file; as before data where it has none (-1)."""
    prior = v["prior"]
    if "gained" in v:
        covariance = np.diag(prior) - v["gained"] @ v["gained"].T
    else:
        covariance = expanded(Condensed(*(v[name] for name in Condensed._fields)), prior)
    mean, prior = _rows(v["mean"], kept, 0.0), _rows(prior, kept, 1.0)
    if len(prior) != len(covariance) or (kept < 0).any():
        known = np.flatnonzero(kept >= 0)
        own, covariance = covariance, np.diag(prior)
        covariance[np.ix_(known, known)] = own[np.ix_(kept[known], kept[known])]
    return NormalWeights(mean, prior, covariance)


def positions(wanted: Sequence[str], there: Sequence[str]) -> Numbers:
    """Return the position of each name in another list; -1 if it is missing, shape (wanted,)."""
    where = {name: n for n, name in enumerate(there)}
    return np.array([where.get(name, -1) for name in wanted], dtype=np.int64)


def _rows(values: Floats, rows: Numbers, missing: Floats | float) -> Floats:
    """Rows of an array, and what stands for those that are missing (-1)."""
    if np.array_equal(rows, np.arange(len(values))):
        return values  # as it is where no table has grown: the largest has a million numbers
    shape = (len(rows),) + (1,) * (values.ndim - 1)
    return np.asarray(np.where((rows >= 0).reshape(shape), values[rows], missing))


def _prices(v: Values, order: Numbers) -> Prices:
    """Return the prices by kind; unknown kinds have those of unsupported operators."""
    by_kind = _rows(v["prices"], order, v["prices"][v["kinds"].index(UNKNOWN)])
    known = positions(v["ops"], OPS)
    numbers, blocked = np.divmod(v["classes"], 2)
    if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < len(known):
        raise ValueError("operators with prices of their own must be named")
    classes = 2 * known[numbers] + blocked
    rows = np.argsort(classes, kind="stable")
    rows = rows[classes[rows] >= 0]
    return Prices(by_kind, classes[rows], v["class_prices"][rows], v["fills_vectors"])


def _ranges(v: Values, order: Numbers) -> Ranges:
    """Ranges of what is watched now; a fact that was not watched is not bounded."""
    facts = positions(CHECKED, v["checked"])
    unseen = (v["low"] < 0).any(axis=1)
    low, high = (
        _rows(v[name].T, facts, bound).T for name, bound in (("low", 0.0), ("high", _UNBOUNDED))
    )
    low, high = np.array(low), np.array(high)
    low[unseen], high[unseen] = np.inf, -np.inf
    return Ranges(_rows(low, order, np.inf), _rows(high, order, -np.inf))


# Of the log latency of kernels unlike any that were seen, by a model that was never tested on such:
# what physics alone was off on families left out, rounded up.
BEYOND_DEVIATION = 0.4
# Deviations to the end of an interval that a model's calibration may fall to, where errors were all
# but nothing.
_MIN_REACH = 0.1
# Of a dataset: more say nothing that these do not.
MAX_NETWORKS = 2_500


@dataclass(frozen=True, eq=False)
class MoreThreads:
    """How much faster networks are on more threads, by a model that knows both numbers of them.

    Attributes:
        many: its predictor of the target.
        one: the same of as many threads as a layer model was measured with.
        most: how many times as many threads the target has.
    """

    many: Predictor
    one: Predictor
    most: float

    def of(self, kernels: Networks) -> tuple[Floats, Floats]:
        """Factors of ms, and how far 90 % intervals reach at least in log ms, of n networks."""
        ms, deviation = self.many.stated(kernels)
        assert deviation is not None  # of the joint model, which knows how sure it is
        factors = np.clip(ms / self.one.predict(kernels), 1 / self.most, 1.0)
        return factors, self.many.fitted.calibration.quantile(0.9) * deviation


class Kernels(Predictor):
    """Milliseconds of any network on one target: the sum over its kernels.

    A kernel's latency is a price by physics (arithmetic, bytes, a launch; one set for each kind)
    times an efficiency, whose logarithm is a Gaussian process over the kernel's facts. It is
    learnt from latencies of whole networks, of spaces or of graphs, and from times of single
    layers where a profiler gave them; of more than 2,500 rows of a dataset, so many are drawn.

    Intervals come from the errors on networks whose family, or space, was left out; where there
    are fewer than three of those, on random fifths. They are narrower, as errors on random fifths
    tell, where a network's kernels are near to measured ones.
    """

    kind = "layers"
    description = "kernels of networks of any kind: physics, and a Gaussian process over it"
    array_prefix = ""
    weighs_rows = True

    least_ms: Callable[[Networks], Floats] | None = None
    """What no network can be faster than, shape (n,), where that is known; no file has it."""

    more_threads: MoreThreads | None = None
    """How much faster the target's threads are than those that were measured; None where these are
    its own."""

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
        self._model, self._ranges = fit_model(observed, groups, rng), Ranges.of(observed.kernels)
        self.become(fitted)
        if calibration is not None:
            self.calibrate(calibration)
            return
        errors = left_out(observed, folds(groups, rng), self._model)
        if leaves_out_families(groups):
            self._model, scores = familiarized(self._model, observed, errors, rng)
        else:
            scores = DeviationScores.of(errors.scores, representative=False)
        fitted.calibration = scores

    def _calibration(self, data: Dataset) -> DeviationScores:
        predicted, deviation = self._forecast(self._own(data.networks))
        whole = np.sqrt(deviation**2 + data.excess_variance)
        errors = np.log(data.values / predicted) / whole
        return DeviationScores.of(errors, representative=leaves_out_families(_groups(data)))

    def _own(self, networks: Any) -> tuple[Networks, Graph | None]:
        """Their kernels, and the graph where there is one alone."""
        alone = networks if isinstance(networks, Graph) else None
        if isinstance(networks, Sequence) and len(networks) == 1:
            alone = networks[0]
        if alone is not None:
            networks = alone = as_run(alone, self.target.runtime, self.target.precision)
        return Networks.of(networks, self.target), alone

    def _forecast(self, own: tuple[Networks, Graph | None]) -> tuple[Floats, Floats]:
        found = self._forecast_of(own[0])
        return np.maximum(found.ms, self._limits(own)), found.deviation

    def _limits(self, own: tuple[Networks, Graph | None]) -> Floats | float:
        return 0.0 if self.least_ms is None else self.least_ms(own[0])

    def _forecast_of(self, kernels: Networks) -> Forecast:
        calibration, runtime = self.fitted.calibration, self.target.runtime
        reach = _reach(calibration)
        beyond = np.zeros(len(kernels.ops))
        if calibration is not None and not calibration.representative:
            labels = frozenset(self._model.basis.labels)
            extrapolated = [e is not None for e in self._ranges.extrapolations(kernels, labels)]
            beyond += BEYOND_DEVIATION**2 * np.array(extrapolated, float)
        found = self._model.forecast(kernels, beyond, runtime, reach)
        if self.more_threads is None:
            return found
        faster, least = self.more_threads.of(kernels)
        deviation = np.maximum(found.deviation, least / self.fitted.calibration.quantile(0.9))
        return replace(
            found, ms=found.ms * faster, factor=found.factor * faster, deviation=deviation
        )

    @property
    def _is_carried(self) -> bool:
        """Whether nothing was measured on the target."""
        return self.card.get("rows") == 0

    def _explained(self, own: tuple[Networks, Graph | None], coverage: float) -> LayerExplanation:
        """Kernel by kernel, and where the model extrapolates."""
        kernels, graph = own
        if graph is None:
            raise ValueError("an explanation by kernels must be of one graph; got several networks")
        forecast, reach = self._forecast_of(kernels), self.fitted.calibration.quantile(coverage)
        # As of networks together, nothing lies beyond what the device can do.
        least = float(np.max(self._limits(own)))
        ms, factor = float(forecast.ms[0]), float(np.exp(reach * forecast.deviation[0]))
        slower = max(ms, least) / ms if ms else 1.0
        each_ms = forecast.kernel_ms * forecast.factor[0] * slower
        factors = np.exp(reach * forecast.kernel_deviation)
        bounds = [BOUNDS[n] for n in self._model.prices.parts(kernels).argmax(axis=1)]
        strange = self._ranges.extrapolations(kernels, frozenset(self._model.basis.labels))
        ms *= slower
        return explain(
            graph, rules_of(self.target.runtime), kernels, (each_ms, factors, bounds, strange),
            (ms, max(ms / factor, least), ms * factor), self.target.precision,
        )  # fmt: skip

    def carried(
        self, device: Device, target: Target, more_threads: MoreThreads | None = None
    ) -> Kernels:
        """The model as of another target, before anything was measured there.

        All takes as long as the peaks of a core of both CPUs say, where these are known, and
        otherwise as here; intervals are wider. A kernel at another batch is a larger one.

        Args:
            device: that the target is of.
            target: that differs in nothing but the device and the batch.
            more_threads: that it has besides.

        Raises:
            ValueError: it differs in more.
        """
        own = replace(target, device=self.target.device, batch=self.target.batch)
        if more_threads is not None:
            own = replace(own, threads=self.target.threads)
        if own != self.target:
            raise ValueError(
                "a layer model can be carried to a target that is as its own but for the device "
                f"and the batch, {self.target}; got {target}: adapt it by a few measurements "
                "(latcast adapt)"
            )
        new = Kernels()
        new._ranges = self._ranges
        alone = replace(target, threads=self.target.threads)
        new._model = self._carried(self._slowdown(alone, device) or Slowdown())
        new.more_threads = more_threads
        card = {
            "data": self.card.get("data", []),
            "rows": 0,
            "families": self.card.get("families", []),
            "base": {"target": str(self.target), "kind": self.kind, "card": self.card},
        }
        new.become(Fitted(None, target, {}, self._apart(), card, self.fitted.quantity))
        return new

    def _slowdown(self, target: Target, device: Device | None = None) -> Slowdown | None:
        return Slowdown.between(self.target, target, device or devices().get(target.device))

    def _carried(self, slowdown: Slowdown) -> LayerModel:
        if self._is_carried:  # once, from the CPU that the model was learnt on
            return slowdown.applied(self._model)
        return slowdown.carried(self._model, _reach(self._apart()))

    def _apart(self) -> Any:
        """The calibration of what else is made of the model: no kernel is near to measured ones."""
        near = self._model.familiarity
        return self.fitted.calibration if near is None else DeviationScores(near.apart)

    def _schema(self) -> Schema:
        return SCHEMA

    def _state(self) -> State:
        if self.more_threads is not None:
            raise ValueError(
                f"the model of {self.target} must be adapted before it is saved: it is made of "
                "two models, of which a file holds one (latcast adapt)"
            )
        return packed(self._model, self._ranges, self.fitted.calibration)

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        self._model, self._ranges, self.fitted.calibration = unpacked(state)

    def _adapted(self, few: Dataset, method: str, seed: int) -> Predictor:
        """Adapt to a new family on the same target, or to any networks on another."""
        if self.more_threads is not None:
            return self.more_threads.many.adapt(few, method=method, seed=seed)
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
        is_same = few.target == self.target and not self._is_carried
        model, slowdown = self._model, self._slowdown(few.target)
        is_carried = self._is_carried
        if slowdown is not None and not is_same:
            is_carried |= replace(few.target, device=self.target.device) == self.target
            model = self._carried(slowdown) if is_carried else slowdown.applied(model)
        new._model = adapted_model(
            model, observed, same_target=is_same, is_carried=is_carried,
            is_alike=is_carried or slowdown is not None,
            runtime=few.target.runtime, reach=_reach(self._apart()),
        )  # fmt: skip
        # Whether errors are as small near to a few measured kernels, nothing has told.
        new._model = replace(new._model, familiarity=None)
        new._ranges = self._ranges.joined(Ranges.of(observed.kernels))
        scores = self._apart()
        if not (is_same or is_carried):
            scores = scores.widened(ELSEWHERE)
        new.become(Fitted(None, few.target, {}, scores, card, self.fitted.quantity))
        return new


def _reach(calibration: DeviationScores | None) -> float:
    """Deviations to the end of a 90 % interval."""
    if calibration is None or not calibration.covers(0.9):
        return REACH
    return max(float(calibration.quantile(0.9)), _MIN_REACH)


def observe(datasets: Sequence[Dataset]) -> tuple[Observed, list[str]]:
    """Measurements as the model takes them, and the family or space of every network."""
    parts = [Networks.of(d.networks, d.target) for d in datasets]
    kernels = Networks.joined(parts) if len(parts) > 1 else parts[0]
    values = np.concatenate([d.values for d in datasets])
    groups = [name for d in datasets for name in _groups(d)]
    times = scipy.sparse.csr_matrix(kernels.counts.shape)
    if any(d.layers is not None for d in datasets):
        times = _times(datasets, kernels)
    excess = np.concatenate([d.excess_variance for d in datasets])
    return Observed(kernels, values, times, excess_variance=excess), groups


def _groups(data: Dataset) -> list[str]:
    if data.space is None:
        return list(data.families)
    return [data.archs.space.name] * len(data)


def _times(datasets: Sequence[Dataset], kernels: Networks) -> scipy.sparse.csr_matrix:
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
    total = scipy.sparse.csr_matrix((value[known], pair), shape=shape)
    count = scipy.sparse.csr_matrix((np.ones(known.sum()), pair), shape=shape)
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
