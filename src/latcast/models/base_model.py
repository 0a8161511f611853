"""Base models: one model of many targets of a space, from which new targets are predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from latcast._model_file import Array, Field, Schema, positive
from latcast._names import unknown_name
from latcast.data import Dataset
from latcast.devices import Device, Target, devices
from latcast.math.conformal import student_scores
from latcast.math.gaussian_process import (
    MAX_LOG_VARIANCE,
    MIN_LOG_VARIANCE,
    OPTIMIZED_ROWS,
    maximize_evidence,
)
from latcast.math.one_thread import in_one_blas_thread
from latcast.report.markup import counted
from latcast.spaces import Archs

from ._base import hedged
from ._block_predictor import LOWEST_SHARE
from ._fitted import Fitted, Floats
from ._model import MIN_ROWS, Model, State, check_few
from .bayes import Bayes
from .features import UNITS, Functions, NetworkFeatures, Units, population
from .transfer import (
    LEAST_SHARE,
    SHAPE_DEVIATION,
    TAIL_FREEDOM,
    Blend,
    Hyperprior,
    Prior,
    estimate,
)
from .zero_shot import UNEXPLAINED_WEIGHT, Source, TargetSpec, expect, similarities

Progress = Callable[[int, int], None]

# Of sources that agree: nothing divides by less.
MIN_SPREAD = 1e-6
MIN_TARGETS = 2
# Devices that Student's t counts for among those left out. Of NAS-Bench-201's 17 devices, each
# forecast by its specification from the others, a 90 % interval holds 90 % where it counts for 1, 2
# or 3 (5: 92 %; 10: 94 %; t alone: 97 %, at 1.6 times the width), each in the mean over devices.
UNSEEN_DEVICES = 2.0
# Networks of the population at which targets that are left out are looked at.
CHECKED = 256


def _source(record: dict[str, Any]) -> Source:
    spec = TargetSpec.parse(record["spec"])
    return Source(spec, positive(record["mean_ms"]), int(record["rows"]))


def _record(source: Source) -> dict[str, Any]:
    return {"spec": source.spec.record(), "mean_ms": source.mean_ms, "rows": source.rows}


SCHEMA = Schema(
    {
        "sources": Field(lambda v: [_source(s) for s in v], lambda v: [_record(s) for s in v]),
    },
    {
        "rows": Array(("targets", "blocks"), "float32"),
        "live": Array(("targets", "live")),
        "outputs": Array(("targets", "units"), "float32"),
        "constant": Array(("targets",)),
        "optima": Array(("targets", "terms")),
        "unit_weights": Array(("sums", "units")),
        "unit_biases": Array(("units",)),
    },
)


class BaseModel(Model):
    """One model of many targets of a space.

    Every target's values are a function of the same features (block physics, blocks, rows of
    the block table, random units), fitted with what the space's physics can tell and a residual
    of its own. Of a new target it predicts from its device's specification, batch and precision
    alone (:meth:`predictor`), and from a few measurements (:meth:`adapt`): the targets that are
    known make up the prior, in which directions and how far targets differ among it.

    It is no :class:`latcast.models.Predictor`: a prediction belongs to one target, and without
    one there is none that would not be another target's silently. :meth:`trained`,
    :meth:`predictor` and :meth:`adapt` choose it, and give predictors that keep the contract. Its
    file, card and quantity are those of every :class:`latcast.models.Model`.
    """

    kind = "base"
    description = "one model of many targets, from which others are predicted"
    array_prefix = ""
    is_of_one_target = False

    def __init__(self) -> None:
        super().__init__()
        self._sources: list[Source] = []
        self._errors: Floats | None = None
        self._optima: Floats = np.empty((0, 0))

    @property
    def targets(self) -> list[Target]:
        """The targets that it was trained on, sorted by their names."""
        return [s.spec.target for s in self._sources]

    @in_one_blas_thread
    def fit(
        self,
        datasets: Sequence[Dataset],
        *,
        catalogue: dict[str, Device] | None = None,
        progress: Progress = lambda _done, _total: None,
    ) -> BaseModel:
        """Learn from one dataset a target; returns the model itself.

        Args:
            datasets: of one block space, at least two, of different targets, at least 10 rows
                each.
            catalogue: device name -> specification; :func:`latcast.devices.devices` by default.
                Targets of other devices take part, but tell nothing about specifications.
            progress: called with the number of targets done and of all.

        Raises:
            ValueError: spaces or quantities differ, a target occurs twice, there are too few
                datasets or rows, or a value is not possible.
        """
        datasets = _distinct(datasets)
        # Chance picks among the sources by position; their order must not decide.
        datasets = sorted(datasets, key=lambda d: str(d.target))
        known = devices() if catalogue is None else catalogue
        archs = [d.archs.space.expand(d.archs) for d in datasets]
        space = archs[0].space
        seen = {
            g.name: sorted({int(v) for a in archs for v in np.unique(a.genes[:, i])})
            for i, g in enumerate(space.genes)
        }
        card = {"data": [{"target": str(d.target), **d.provenance} for d in datasets]}
        self.become(Fitted(space, seen=seen, card=card, quantity=datasets[0].quantity))
        try:
            self._learn(datasets, archs, known, progress)
        except BaseException:
            self._fitted = None  # half a fit is none
            raise
        return self

    def target_on(
        self,
        device: Device,
        *,
        batch: int = 1,
        precision: str = "fp32",
        runtime: str | None = None,
        threads: int = 0,
    ) -> Target:
        """A target on a device; by default with the runtime of the most similar known target."""
        asked = Target(device.name, runtime or "any", batch, precision, threads)
        if runtime is not None:
            return asked
        spec = TargetSpec.of(asked, device)
        alike = similarities(spec, [s.spec for s in self._sources])
        nearest = self._sources[int(np.argmax(alike))].spec.target
        return replace(asked, runtime=nearest.runtime)

    def trained(self, target: Target) -> Bayes:
        """The predictor of a target that the model was trained on; it has no intervals.

        Raises:
            ValueError: it was not.
        """
        if target not in self.targets:
            names = [str(t) for t in self.targets]
            raise ValueError(unknown_name("trained target", str(target), names))
        n = self.targets.index(target)
        source = self._sources[n]
        weights = np.zeros((1, len(self._sources)))
        weights[0, n] = source.mean_ms
        latency = Blend(self._functions.combined(weights))
        predictor = Bayes.from_blend(latency, LOWEST_SHARE * source.mean_ms)
        predictor.become(self._fitted_for(target, source.rows))
        return predictor

    def predictor(self, target: Target, device: Device | None = None) -> Bayes:
        """Predict for a target without any measurement of it.

        Args:
            target: device, runtime, batch and precision.
            device: its specification; by default the catalogue's, if it is there.
        """
        spec = TargetSpec.of(target, device or devices().get(target.device))
        prior = replace(self._prior(spec), errors=self._left_out_errors(spec.kind))
        return Bayes.from_prior(prior, self._fitted_for(target, 0))

    @final
    @in_one_blas_thread
    def adapt(
        self,
        few: Dataset,
        device: Device | None = None,
        *,
        method: str = "bayes",
        seed: int = 0,
    ) -> Bayes:
        """Predict for the target of a few measurements, at least one.

        Args:
            few: measurements, every one of which is used.
            device: its specification; by default the catalogue's, if it is there.
            method: ``"bayes"``, in closed form: there is no other here.
            seed: as with every model; nothing is left to chance.

        Raises:
            ValueError: they are of another block space or quantity, none, or not possible; or
                another method.
        """
        if method != "bayes":
            raise ValueError(f"a base model adapts by the method bayes; got {method}")
        check_few(few, self.fitted.quantity)
        if few.archs.space.block_space != self.space.name:
            raise ValueError(
                f"adapting needs at least one measurement of a network of {self.space.name}; "
                f"got {len(few)} of {few.archs.space.name}"
            )
        spec = TargetSpec.of(few.target, device or devices().get(few.target.device))
        few = few.distinct()
        adapted = self._conditioned(few, spec)
        return hedged(adapted, few, lambda rows: self._conditioned(rows, spec))

    def _conditioned(self, few: Dataset, spec: TargetSpec) -> Bayes:
        """The predictor of measurements of different networks."""
        fitted = self._fitted_for(few.target, len(few))
        fitted.card["data"] = dict(few.provenance)
        genes = few.archs.space.expand(few.archs).genes
        for gene, column in zip(self.space.genes, genes.T, strict=True):
            fitted.seen[gene.name] = sorted({*fitted.seen[gene.name], *column.tolist()})
        return Bayes.from_prior(self._prior(spec), fitted, few)

    def prior(self, target: Target | None = None, device: Device | None = None) -> Prior:
        """Return the prior of a target before it is measured.

        Args:
            target: None for any of them: all that are known count alike.
            device: its specification; by default the catalogue's, if it is there.
        """
        if target is None:
            return self._prior(None)
        return self._prior(TargetSpec.of(target, device or devices().get(target.device)))

    # -- inside -----------------------------------------------------------------------------

    def _learn(
        self,
        datasets: Sequence[Dataset],
        archs: Sequence[Archs],
        known: dict[str, Device],
        progress: Progress,
    ) -> None:
        self._prepare()
        self._sources, self._optima = [], np.empty((0, 0))
        functions = []
        for n, (data, a) in enumerate(zip(datasets, archs, strict=True)):
            prior = Prior(self._features, self._population, self._one)
            found = estimate(prior, a, data.values, data.excess_variance)
            function = found.latency_ms.function
            mean = float(function(self._population).mean())
            functions.append(function.combined([[1 / mean]]))
            spec = TargetSpec.of(data.target, known.get(data.target.device))
            self._sources.append(Source(spec, mean, len(data)))
            progress(n + 1, len(datasets))
        self._functions = _stacked(functions)
        self._values = self._functions(self._population)
        optima = [
            self._optimum(n, a, d) for n, (a, d) in enumerate(zip(archs, datasets, strict=True))
        ]
        self._optima = np.array(optima)

    def _prepare(self, units: Units | int = UNITS) -> None:
        self._errors = None
        self._population = population(self.space, self.fitted.seen)
        self._features = NetworkFeatures(self._population, units)
        self._one = Blend(self._features.constant(1.0))

    def _fitted_for(self, target: Target, rows: int) -> Fitted:
        card = {"rows": rows, "base": [str(t) for t in self.targets]}
        seen, quantity = dict(self.fitted.seen), self.fitted.quantity
        return Fitted(self.space, target, seen, card=card, quantity=quantity)

    def _prior(self, spec: TargetSpec | None, without: Sequence[int] = ()) -> Prior:
        """The prior of a target, some of the sources left out."""
        _ = self.fitted
        kept = [n for n in range(len(self._sources)) if n not in without]
        functions = self._functions.combined(np.eye(len(self._sources))[kept])
        values = self._values[:, kept]
        if spec is None:
            mean, log_scale = functions.combined(np.full(len(kept), 1 / len(kept))), None
        else:
            mean, log_scale = self._mean(spec, kept)
        away = values - mean(self._population)
        norm = max(float(np.sqrt((away**2).sum(axis=1).mean())), MIN_SPREAD)
        sources = (functions + mean.combined(np.full((len(kept), 1), -1.0))).combined(
            np.eye(len(kept)) / norm
        )
        hyper = None
        if self._optima.size:
            terms = ("scale", "constant", "sources", *self._features.names, "noise")
            hyper = Hyperprior(terms, self._optima)
        return Prior(self._features, self._population, Blend(mean), sources, hyper, log_scale)

    def _optimum(self, n: int, archs: Archs, data: Dataset) -> Floats:
        """Log variances that suit a source best, were it new and its device unknown."""
        device = self._sources[n].spec.target.device
        alike = [i for i, s in enumerate(self._sources) if s.spec.target.device == device]
        without = alike if len(alike) < len(self._sources) else [n]
        prior = self._prior(self._sources[n].spec, without)
        rows = np.random.default_rng(0).permutation(len(archs))[:OPTIMIZED_ROWS]
        mean = prior.mean(archs[rows])
        scale = float(np.median(data.values[rows]) / np.median(mean))
        kernels = np.stack([f @ f.T for f in prior.design(archs[rows], mean)])
        residual = data.values[rows] / scale - mean
        return maximize_evidence(kernels, residual, Hyperprior.default(prior.terms).centre)

    def _left_out_errors(self, kind: str | None) -> Floats:
        """Errors of targets whose device is left out, in stated deviations, ascending.

        Quantiles of a mixture in which every device counts as one, since its targets and networks
        are off together, and Student's t as :data:`UNSEEN_DEVICES`. Errors have no side.

        A device of a ``kind`` that no source has is one more draw of those kinds, whose targets are
        off together: of K, with the deviation's prior counting for :data:`UNEXPLAINED_WEIGHT`, that
        is Student's t of so many and K - 1 degrees of freedom, times the root of 1 + 1 / K (Gelman
        et al., *Bayesian Data Analysis* (2013), section 3.2).
        """
        kinds = [s.spec.kind for s in self._sources]
        if kind not in kinds:
            count = len(set(kinds))
            return student_scores(UNEXPLAINED_WEIGHT + count - 1, float(np.sqrt(1 + 1 / count)))
        if self._errors is None:
            names = [s.spec.target.device for s in self._sources]
            usual = np.abs(student_scores(TAIL_FREEDOM))
            sizes, weights = [usual], [np.full(len(usual), UNSEEN_DEVICES / len(usual))]
            for n, (name, own) in enumerate(zip(names, kinds, strict=True)):
                kept = np.array([other != name for other in names])
                if own not in np.array(kinds)[kept]:
                    continue
                sizes.append(np.abs(self._off(n, kept)))
                share = 1 / names.count(name) / len(sizes[-1])
                weights.append(np.full(len(sizes[-1]), share))
            found, share_of = np.concatenate(sizes), np.concatenate(weights)
            order = np.argsort(found)
            levels = np.abs(2 * np.arange(1, len(usual) + 1) / (len(usual) + 1) - 1)
            at = np.searchsorted(np.cumsum(share_of[order]) / share_of.sum(), levels)
            size = found[order][np.minimum(at, len(found) - 1)]
            lower = np.arange(len(usual)) < len(usual) // 2
            self._errors = np.where(lower, -size, size)
        return self._errors

    def _off(self, n: int, kept: npt.NDArray[np.bool_]) -> Floats:
        """Errors of a source by some others, in stated deviations of the logarithm, (networks,)."""
        sources = [s for s, k in zip(self._sources, kept, strict=True) if k]
        values, spec = self._values[:CHECKED], self._sources[n].spec
        some = self._population[:CHECKED]
        mixture, (log_scale, deviation) = expect(spec, sources, values[:, kept], some)
        shape = values[:, kept] @ mixture + 1 - mixture.sum()
        # A function of a source may be next to 0 for single networks.
        away = np.log(np.maximum(values[:, n], LEAST_SHARE) / np.maximum(shape, LEAST_SHARE))
        true = float(np.log(self._sources[n].mean_ms))
        return np.asarray((away + true - log_scale) / np.hypot(deviation, SHAPE_DEVIATION))

    def _mean(self, spec: TargetSpec, kept: list[int]) -> tuple[Functions, tuple[float, float]]:
        """Mean and log scale that are expected of a target, from some of the sources."""
        sources = [self._sources[n] for n in kept]
        mixture, log_scale = expect(spec, sources, self._values[:, kept], self._population)
        weights = np.zeros(len(self._sources))
        weights[kept] = mixture
        mean = self._functions.combined(weights)
        return replace(mean, constant=mean.constant + 1.0 - mixture.sum()), log_scale

    def _schema(self) -> Schema:
        return SCHEMA

    def _sizes(self) -> dict[str, int]:
        return {"blocks": len(self.space.block_table)}

    def _state(self) -> State:
        f, units = self._functions, self._features.units
        return {
            "sources": self._sources,
            "rows": f.rows,
            "live": f.live,
            "outputs": f.outputs,
            "constant": f.constant,
            "optima": self._optima,
            "unit_weights": units.weights,
            "unit_biases": units.biases,
        }

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        v, self._sources = state, state["sources"]
        if (count := len(self._sources)) < MIN_TARGETS:
            raise ValueError(
                f"a model of {counted(count, 'target')}; at least {MIN_TARGETS} are needed"
            )
        if len(v["rows"]) != count:
            raise ValueError(f"arrays must be of the {count} targets; got {len(v['rows'])} rows")
        units = Units(v["unit_weights"], v["unit_biases"])
        self._functions = Functions(
            self.space, v["rows"], v["live"], units, v["outputs"], v["constant"]
        )
        self._functions.check()
        self._prepare(units)
        terms = len(self._features.names) + 4
        if v["optima"].shape[1] != terms:
            raise ValueError(
                f"array 'optima' must have shape {(count, terms)}; got {v['optima'].shape}"
            )
        if (v["optima"] < MIN_LOG_VARIANCE).any() or (v["optima"] > MAX_LOG_VARIANCE).any():
            raise ValueError(
                f"log variances must be from {MIN_LOG_VARIANCE:g} to {MAX_LOG_VARIANCE:g}"
            )
        self._values = self._functions(self._population)
        self._optima = v["optima"]


def _distinct(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Datasets of a base model, with a row for every network.

    Raises:
        ValueError: they make none.
    """
    if len(datasets) < MIN_TARGETS:
        raise ValueError(
            f"a base model needs at least {MIN_TARGETS} datasets, of different targets; "
            f"got {len(datasets)}"
        )
    first, targets, found = datasets[0], set(), []
    for data in datasets:
        data.check_values()
        data.check_quantity(first.quantity)
        if data.archs.space.block_space != first.archs.space.block_space:
            raise ValueError(
                f"datasets of a base model must be of one space, "
                f"{first.archs.space.block_space}; got {data.archs.space.name}"
            )
        if data.target in targets:
            raise ValueError(f"datasets must be of different targets; {data.target} occurs twice")
        found.append(data.distinct())
        if len(found[-1]) < MIN_ROWS:
            raise ValueError(
                f"fitting needs at least {MIN_ROWS} measurements; got {len(found[-1])} of "
                f"{data.target}"
            )
        targets.add(data.target)
    return found


def _stacked(functions: Sequence[Functions]) -> Functions:
    """All functions as one object; they share their units."""
    return replace(
        functions[0],
        rows=np.concatenate([f.rows for f in functions]),
        live=np.concatenate([f.live for f in functions]),
        outputs=np.concatenate([f.outputs for f in functions]),
        constant=np.concatenate([f.constant for f in functions]),
    )
