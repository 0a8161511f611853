"""Milliseconds of any network on one target by the joint model; and the file that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import inv

from latcast._model_file import NAMES, Array, Field, Schema, finite_or
from latcast.data import Dataset
from latcast.devices import Target, public_runtime
from latcast.graph import EAGER, KERNEL_FACTS, UNKNOWN, Graph, as_run, rules_of
from latcast.math.conformal import DeviationScores
from latcast.models._base import Predictor
from latcast.models._fitted import Fitted
from latcast.models._model import State
from latcast.models.kernels import BOUNDS, Extrapolation, LayerExplanation, explain
from latcast.networks import OPS, Networks
from latcast.networks.bound import bound_ms

from . import _own
from ._effects import Effects
from ._efficiency import ARRAYS, FIELDS, packed, unpacked
from ._faster import Faster
from ._fit import SCATTER
from ._model import (
    KNOWN,
    SCORES_OF,
    UNCALIBRATED,
    Scores,
    errors_of,
    log_forecast,
    precise,
    scores_of,
    told,
    unlisted,
)  # fmt: skip
from ._observations import (
    FUSES_AS,
    Observations,
    TargetFacts,
    computed_in,
    digests,
    kept,
    nothing,
    observed_besides,
)
from ._own import Campaign, log_sums
from ._posterior import Posterior, Prior
from ._specification import known_facts
from ._together import Column, at_batch, least_of_cores, log_ms_on, most_of_batches
from ._work import CLASSES, FEATURES, PARTS, Work, class_of, places, taken, widened

Floats = npt.NDArray[np.float64]
Facts = Mapping[str, float | None]

# Runtime that has networks quantized on CPUs -> a name of the same rules.
_IN_FLOATS = {"onnxruntime": "onnx", "litert": "tflite"}
# What a kernel waits for, by the part of its time that is the longest.
_BOUNDS = dict(zip(PARTS, BOUNDS, strict=True))
# What an interval's reach may fall to, in deviations that are usual.
_LEAST_REACH = 0.05


def _facts(told: Mapping[str, Any]) -> Facts:
    return {str(k): None if x is None else float(x) for k, x in told.items()}


SCHEMA = Schema(
    {
        "features": NAMES,
        "kernel_facts": NAMES,
        "ops": NAMES,
        "chip": Field(str),
        "domain": Field(str),
        "facts": Field(_facts, dict),
        "classes": NAMES,
        "labels": NAMES,
        "names": NAMES,
        "effects": Field(lambda v: (float(v[0]), float(v[1])), list),
        "overlap": Field(lambda v: (float(v[0]), float(v[1])), list),
        "log_inference": finite_or(-np.inf),
        "is_known": Field(bool),
        "as_called": Field(bool, bool, False),
        "has_beyond": Field(bool),
        "nested_facts": Field(lambda v: list(map(_facts, v)), lambda v: list(map(dict, v))),
        "scores_of": SCORES_OF,
        "typical": Field(float, float, 0.0),
        # Of campaigns; files of before lack it, and know no end of an interval by it.
        "beside": finite_or(np.inf),
        **FIELDS,
        **_own.FIELDS,
    },
    {
        "mean": Array(("features",)),
        "covariance": Array(("features", "features")),
        "log_prices": Array((4,)),
        "nested_means": Array(("nested", "features"), "float32"),
        "nested_prices": Array(("nested", 4)),
        "scores": Array(("scores",), "float32", check="ascending"),
        "way_scores": Array(("way_scores",), "float32", check="not negative"),
        "kernel_ops": Array(("kernels",), "int64", "int64"),
        "kernels": Array(("kernels", "kernel_facts")),
        "counts_row": Array(("counts",), "int64", "int64"),
        "counts_column": Array(("counts",), "int64", "int64"),
        "counts": Array(("counts",)),
        "log_ms": Array(("measured",)),
        "scatter": Array(("measured",), check="not negative"),
        # The covariance of the weights before the target was measured.
        "elsewhere": Array(("features", "features"), "float32", is_optional=True),
        **ARRAYS,
        **_own.ARRAYS,
    },
)


class JointPredictor(Predictor):
    """Milliseconds of any network on one target, measured or not.

    The weights of the target's prices have a prior, from its device's specification or from what
    was measured on its chip; :meth:`adapt` adds measurements, and the same formula holds for none
    and for a thousand. Forecasts and intervals stay above what the device's peak and memory
    allow. Milliseconds do not fall as the batch grows, nor rise with the cores of a device on
    which nothing was measured.
    """

    kind = "joint-target"
    description = "one target of the joint model: from a specification to a thousand measurements"
    array_prefix = ""
    weighs_rows = True

    faster: Mapping[str, Faster] = {}
    """Precision -> when this target's is faster than it, where that was learnt; no file has it."""

    precisions: Sequence[str] = ()
    """Those in which anything was measured that tells of the target; no file has them."""

    _facts: TargetFacts
    _prior: Prior
    _effects: Effects
    _nested: Sequence[tuple[Facts, Prior]]
    _has_beyond: bool
    _ways: Scores
    _seen: Sequence[str]
    _is_known: bool
    _as_called: bool
    _measured: Observations | None
    _campaign: Campaign | None

    @classmethod
    def of(
        cls,
        facts: TargetFacts,
        prior: Prior,
        effects: Effects,
        ways: Scores,
        seen: Sequence[str],
        *,
        nested: Sequence[tuple[Facts, Prior]] = (),
        has_beyond: bool = False,
        is_known: bool = False,
        as_called: bool = True,
        faster: Mapping[str, Faster] | None = None,
        campaign: Campaign | None = None,
    ) -> JointPredictor:
        """A predictor without measurements; it has to :meth:`become` something.

        Args:
            facts: of the target.
            prior: of its weights.
            effects: of networks in its domain.
            ways: errors of left-out groups, as of :class:`JointModel`.
            seen: classes of kernels that were measured in the domain.
            nested: facts and priors with fewer cores, the fewest first; empty where its chip was
                measured.
            has_beyond: whether the last of them is one with more cores.
            is_known: whether the target itself was measured.
            as_called: as of :class:`TargetFeatures`.
            faster: when its precision is faster than another, by that.
            campaign: what its networks tell besides, where hundreds were measured.
        """
        new = cls()
        new._facts, new._prior, new._seen = facts, prior, seen
        new._effects = replace(
            Effects.unknown(), mean_variance=effects.mean_variance, variance=effects.variance
        )
        new._nested, new._has_beyond, new._is_known = nested, has_beyond, is_known
        new._ways, new._measured, new._campaign = ways, None, campaign
        new._as_called = as_called
        new.faster = faster or {}
        return new

    def _learn(self, data: Sequence[Dataset], calibration: Dataset | None, seed: int) -> None:
        raise ValueError(
            f"a predictor of the kind {self.kind} must be made from the joint model; got datasets "
            "to fit: latcast.load(DEVICE, networks=GRAPH).adapt(DATA)"
        )

    @property
    def is_of_known_domain(self) -> bool:
        """Whether anything was measured on such a part of a chip by the runtime."""
        return bool(self._seen)

    @property
    def is_measured(self) -> bool:
        """Whether the target itself was measured, not others of its chip."""
        return self._is_known

    @property
    def facts(self) -> Facts:
        """The known facts of the target."""
        return self._facts.facts

    def least_ms(self, kernels: Networks) -> Floats:
        """Return lower bounds of networks' latencies on the target in ms, shape (n,)."""
        return bound_ms(kernels, self._facts)

    # -- forecasts ----------------------------------------------------------------------------

    def _own(self, networks: Any) -> tuple[Networks, Graph | None]:
        """Their kernels, and the graph where there is one alone."""
        alone = networks if isinstance(networks, Graph) else None
        if alone is None and isinstance(networks, Sequence) and len(networks) == 1:
            alone = networks[0]
        target = self._as_fused
        if isinstance(alone, Graph):
            networks = alone = as_run(alone, target.runtime, target.precision)
        return Networks.of(networks, target, self.runs_all), alone

    @property
    def _as_fused(self) -> Target:
        return replace(self.target, runtime=self.fuses_as)

    @property
    def fuses_as(self) -> str:
        """The runtime whose rules fuse as the target's does."""
        runtime = self.target.runtime
        if not self._facts.domain.endswith("-cpu"):
            # Elsewhere int8 was learnt from the kernels of networks in floats.
            return _IN_FLOATS.get(runtime, FUSES_AS.get(runtime, runtime))
        runtime = public_runtime(runtime)
        return FUSES_AS.get(runtime, runtime)

    @property
    def runs_all(self) -> bool:
        """Whether blocks are run that nothing reads, as of :meth:`Networks.of_archs`."""
        return self._as_called and self.fuses_as == EAGER

    def _forecast(self, of: tuple[Networks, Graph | None]) -> tuple[Floats, Floats]:
        kernels = of[0]
        working = np.diff(kernels.counts.indptr) > 0
        if not working.all():
            # Views alone take no time.
            ms, deviation = np.zeros((2, len(working)))
            if working.any():
                some = kernels.select(np.flatnonzero(working)), None
                ms[working], deviation[working] = self._forecast(some)
            return ms, deviation
        log_ms, deviation, slopes = self._log_forecast(kernels)
        deviation = self._as_unmeasured_at_most(deviation, self._prior.variance_before(slopes))
        log_ms = log_ms + self._fewer_cores(log_ms, self._log_ms_nested(kernels))
        if self._batches and (kernels.fact("batch") > 1).any():
            now, *others = (self._at_batch(kernels, b) for b in (self.target.batch, *self._batches))
            log_ms = log_ms + self._smaller_batch(now, others)
        return np.maximum(np.exp(log_ms), self._limits(of)), deviation

    def _log_forecast(self, kernels: Networks) -> tuple[Floats, Floats, Floats]:
        """What the posterior says of networks alone, as :func:`log_forecast`."""
        measured = self._measured
        old = () if measured is None else tuple(measured.names[n] for n in measured.network)
        work, names = self._work(kernels), digests(kernels)
        log_ms, deviation, slopes = log_forecast(
            self._prior, self._effects, self._after, old, work, kernels.counts, names
        )
        if self._campaign is not None:
            own = self._campaign.own
            log_each = work.log_each(
                self._after.weights, self._prior.log_prices, self._prior.overlap
            )
            log_ms = log_ms + own.log_factor(log_sums(kernels))
            deviation = self._beyond(deviation**2 + own.rest(kernels, log_each))
        return log_ms, deviation, slopes

    def _beyond(self, variance: Floats) -> Floats:
        """Deviations of log ms (n,): what is left open of networks unlike those measured is added.

        Errors on networks like these tell how far an interval of such reaches, no more.
        """
        assert self._campaign is not None
        typical = self._campaign.typical
        reach = self.fitted.calibration.quantile(0.9) / UNCALIBRATED
        more = np.maximum(variance - typical, 0.0) / max(reach, _LEAST_REACH) ** 2
        return np.asarray(np.sqrt(np.minimum(variance, typical) + more))

    def _as_unmeasured_at_most(self, deviation: Floats, before: Floats) -> Floats:
        """Deviations of log ms (n,), with intervals no wider than if nothing had been measured.

        How far the intervals of a measured target reach, errors on new networks tell, which ran as
        those that were measured. Where a network does not, as of one sample where hundreds ran at a
        time, what is open is the device, of which errors on new devices tell.

        Args:
            deviation: shape (n,).
            before: variance of log ms by the weights before the target was measured, shape (n,).
        """
        if self._prior.before is None or not self._is_known:
            return deviation
        campaign = self._campaign
        beside = self._effects.unknown_variance if campaign is None else campaign.beside
        scores = self.intervals() if campaign is None else self.fitted.calibration
        now = max(scores.quantile(0.9) / UNCALIBRATED, _LEAST_REACH)
        reach = scores_of(self._errors("both", 0)).quantile(0.9) / UNCALIBRATED / now
        most = reach * np.sqrt(np.maximum(before + beside, SCATTER**2))
        return np.asarray(np.minimum(deviation, most))

    @cached_property
    def _after(self) -> Posterior:
        """The weights after all that was measured."""
        own = None if self._campaign is None else self._campaign.own
        return told(self._prior, self._effects, self._facts.facts, self._measured, own)

    def _work(self, kernels: Networks) -> Work:
        """Return the work of kernels on this target."""
        work = self._prior.work(kernels, self._facts.facts)
        return work if self._campaign is None else self._campaign.own.applied(work, kernels)

    def _limits(self, own: tuple[Networks, Graph | None]) -> Floats:
        return self.least_ms(own[0])

    def _log_ms_nested(self, kernels: Networks) -> list[Floats]:
        """Log ms with other numbers of cores, as far as these matter, each (n,)."""
        columns = [Column(facts, prior) for facts, prior in self._nested]
        return list(log_ms_on(kernels, columns).T) if columns else []

    def _fewer_cores(self, log_ms: Floats, nested: Sequence[Floats]) -> Floats:
        """Return log ms to add (n,), so that a device is not slower than with fewer cores.

        Args:
            log_ms: of the target, shape (n,).
            nested: the same as by :meth:`_log_ms_nested`.
        """
        return least_of_cores(log_ms, nested, has_beyond=self._has_beyond) - log_ms

    def _smaller_batch(self, now: Floats, others: Sequence[Floats]) -> Floats:
        """Return log ms to add (n,), so that a batch is not faster than a smaller one.

        Args:
            now: log ms of the networks' work, shape (n,).
            others: the same at :attr:`_batches`; none where these do not matter.
        """
        if not others:
            return np.zeros(len(now))
        if self._prior.efficiency is None:
            # Every part of a kernel's time is a power of the batch, so the logarithm of their sum
            # is convex in that of the batch: up to any batch it is greatest at the end or at one.
            return np.maximum(others[0] - now, 0.0)
        return most_of_batches(others, self.target.batch) - now

    @property
    def _batches(self) -> Sequence[int]:
        """The batches that the target's batch is not faster than.

        None where it was measured itself: what measurements of 256 samples say of a single one is
        no bound. After ten of HELP's TITAN RTX it put 5 s in the place of 15 ms.
        """
        whole = self.target.batch
        if whole == 1 or self._measured is not None or self._campaign is not None:
            return []
        if self._prior.efficiency is None:
            return [1]
        return [2**n for n in range((whole - 1).bit_length() + 1)]

    def _at_batch(self, kernels: Networks, batch: int) -> Floats:
        """Log ms of the work of networks at another batch than the target's, shape (n,)."""
        k, prior = at_batch(kernels, self.target.batch, batch), self._prior
        return self._work(k).log_ms_alone(
            k.counts, self._after.weights, prior.log_prices, prior.overlap, prior.log_inference
        )

    def _calibration(self, data: Dataset) -> DeviationScores:
        predicted, deviation = self._forecast(self._own(data.networks))
        whole = np.sqrt(deviation**2 + data.excess_variance)
        return DeviationScores.of(np.log(data.values / predicted) / whole)

    def intervals(self, more: int = 0) -> DeviationScores:
        """Errors of groups that were left out as this target and its networks are new.

        Args:
            more: networks that are yet to be measured.
        """
        samples = more + (0 if self._measured is None else len(self._measured))
        way = "network" if self._is_known or samples >= KNOWN else "both"
        return scores_of(self._errors(way, samples))

    def _errors(self, way: str, samples: int) -> Floats | None:
        """The errors of left-out groups that tell of the target, as of :func:`errors_of`."""
        domain = self._facts.domain
        names = precise(domain, self._facts.precision), domain, ""
        return errors_of(self._ways, names, way, samples)

    # -- explanations ---------------------------------------------------------------------------

    def _explained(self, own: tuple[Networks, Graph | None], coverage: float) -> LayerExplanation:
        kernels, graph = own
        if graph is None:
            raise ValueError("an explanation by kernels must be of one graph; got several networks")
        predicted, deviation = self._forecast(own)
        reach = self.fitted.calibration.quantile(coverage)
        work, bound = self._work(kernels), self._limits(own)
        after = self._after
        each = sp.identity(len(kernels.ops), format="csr")
        # What an inference takes beside its kernels is theirs in proportion.
        alone = replace(self._prior, log_inference=-np.inf)
        log_each, slopes = alone.log_ms(work, each, after.weights)
        of_each = np.einsum("ij,ij->i", slopes @ after.covariance, slopes)
        # A file's halves round the covariance: of a kernel it may be a little below 0.
        open_of_each = self._as_unmeasured_at_most(
            np.sqrt(np.maximum(of_each, 0.0) + self._effects.variance),
            self._prior.variance_before(slopes),
        )
        factors = np.exp(reach * open_of_each)
        each_ms = np.exp(log_each)
        each_ms *= predicted[0] / max(float((kernels.counts @ each_ms)[0]), 1e-300)
        parts = np.array(work.log_seconds(after.weights, self._prior.log_prices))
        waits = [_BOUNDS[PARTS[n]] for n in parts.argmax(axis=0)]
        strange = self._extrapolations(kernels)
        ms = float(predicted[0])
        lower = max(float(predicted[0] * np.exp(-reach * deviation[0])), float(bound[0]))
        upper = float(predicted[0] * np.exp(reach * deviation[0]))
        return explain(
            graph, rules_of(self._as_fused.runtime), kernels, (each_ms, factors, waits, strange),
            (ms, lower, upper), self.target.precision,
        )  # fmt: skip

    def _extrapolations(self, kernels: Networks) -> list[Extrapolation | None]:
        """Kernels of classes that were never measured in the domain."""
        names = [CLASSES[n] for n in class_of(kernels)]
        seen = set(self._seen)
        if self._measured is not None:
            seen |= {CLASSES[n] for n in class_of(self._measured.networks)}
        return [
            None if name in seen and name != UNKNOWN else Extrapolation(name.replace("_", " "))
            for name in names
        ]

    def _doubts(self, own: tuple[Networks, Graph | None]) -> list[str]:
        return self._doubts_of(self._forecast(own)[0], self._limits(own))

    def _doubts_of(self, predicted: Floats, limits: Floats) -> list[str]:
        """Return the doubts about forecasts, arrays of shape (n,)."""
        found = []
        if (predicted <= limits).any():
            found.append(
                "the forecast is what the device's peak and memory allow; without that bound it "
                "would be less"
            )
        if self._prior.efficiency is not None and self._measured is None:
            found.append(
                f"kernels were measured alone by {self._facts.runtime}: what a network takes "
                "beside their sum is not known"
            )
        return found

    @property
    def _remedy(self) -> str:
        suggest = f"latcast suggest --device {self.target.device} --for NETWORK"
        return f"{super()._remedy}; {suggest} names those that tell most"

    # -- measurements ---------------------------------------------------------------------------

    def _adapted(self, few: Dataset, method: str, seed: int) -> JointPredictor:
        if method != "bayes":
            raise ValueError(f"the joint model adapts by the method bayes; got {method}")
        same = replace(few.target, batch=1) == replace(self.target, batch=1)
        facts, prior, before = self._facts, self._prior, self._measured
        if not same:
            # Of another target the weights are expected to be as here, and are as unknown as ever.
            facts = replace(facts, facts=known_facts(few.target, facts.domain))
            before, level = None, self._after.level.log_factor
            prior = replace(
                prior, mean=self._after.weights, log_prices=prior.log_prices + level,
                log_inference=prior.log_inference + level,
            )  # fmt: skip
            if self._campaign is not None and (broad := prior.before) is not None:
                prior = replace(prior, covariance=broad, precision=np.asarray(inv(broad)))
            prior = replace(prior, before=None)
        new = JointPredictor.of(
            replace(facts, name=str(few.target), batch=few.target.batch), prior, self._effects,
            self._ways, self._seen, is_known=self._is_known and same, as_called=self._as_called,
            campaign=self._campaign,
        )  # fmt: skip
        fused = replace(few.target, runtime=FUSES_AS.get(few.target.runtime, few.target.runtime))
        networks = Networks.of(few.networks, fused, None if self._as_called else False)
        new._measured = observed_besides(new._facts, networks, few, before, SCATTER)
        card = {
            "data": [dict(few.provenance)],
            "rows": len(few),
            "base": {"target": str(self.target), "kind": self.kind, "card": self.card},
        }
        new.become(Fitted(None, few.target, {}, new.intervals(), card, self.fitted.quantity))
        return new

    # -- the file -------------------------------------------------------------------------------

    def _schema(self) -> Schema:
        return SCHEMA

    def _state(self) -> State:
        measured = self._measured or nothing()
        counts = sp.coo_matrix(measured.networks.counts)
        width, ways, campaign = len(self._prior.mean), sorted(self._ways), self._campaign
        unmeasured = {} if self._prior.before is None else {"elsewhere": self._prior.before}
        return {
            **_own.packed([] if campaign is None else [campaign.own]),
            **unmeasured,
            "typical": 0.0 if campaign is None else campaign.typical,
            "beside": np.inf if campaign is None else campaign.beside,
            "features": FEATURES,
            "kernel_facts": KERNEL_FACTS,
            "ops": OPS,
            "chip": self._facts.chip,
            "domain": self._facts.domain,
            "facts": dict(self._facts.facts),
            "classes": self._seen,
            "labels": measured.networks.labels,
            "names": measured.names,
            "effects": (self._effects.mean_variance, self._effects.variance),
            "overlap": self._prior.overlap,
            "log_inference": self._prior.log_inference,
            "is_known": self._is_known,
            "as_called": self._as_called,
            "has_beyond": self._has_beyond,
            # Only what GPUs execute depends on them.
            "nested_facts": [f if f.get("is_gpu") else {} for f, _ in self._nested],
            "scores_of": [(*key, len(self._ways[key])) for key in ways],
            "mean": self._prior.mean,
            "covariance": self._prior.covariance,
            "log_prices": self._prior.log_prices,
            "nested_means": np.array([p.mean for _, p in self._nested]).reshape(-1, width),
            "nested_prices": np.array([p.log_prices for _, p in self._nested]).reshape(-1, 4),
            "scores": self.fitted.calibration.sizes,
            "way_scores": np.concatenate(
                [self._ways[k] for k in sorted(self._ways)] or [np.zeros(0)]
            ),
            "kernel_ops": measured.networks.ops,
            "kernels": measured.networks.facts,
            "counts_row": counts.row,
            "counts_column": counts.col,
            "counts": counts.data,
            "log_ms": measured.log_ms,
            "scatter": measured.scatter,
            **packed({} if (own := self._prior.efficiency) is None else {"": own}),
        }

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        v, columns = state, places(state["features"])
        covariance = widened(v["covariance"], columns)
        prior = Prior(
            taken(v["mean"], columns), covariance, np.asarray(inv(covariance)), v["log_prices"],
            v["overlap"], unpacked(v).get(""), v["log_inference"],
            widened(v["elsewhere"], columns) if "elsewhere" in v else None,
        )  # fmt: skip
        self._prior = prior
        self._nested = [
            (facts, replace(prior, mean=taken(mean, columns), log_prices=prices))
            for facts, mean, prices in zip(
                v["nested_facts"], v["nested_means"], v["nested_prices"], strict=True
            )
        ]
        target = self.target
        self._facts = TargetFacts(
            str(target), v["chip"], v["domain"], target.runtime, target.batch,
            computed_in(target.runtime, target.precision, v["facts"]), target.threads, v["facts"],
        )  # fmt: skip
        self._effects = replace(
            Effects.unknown(), mean_variance=v["effects"][0], variance=v["effects"][1]
        )
        self._ways = unlisted(v["scores_of"], v["way_scores"])
        self._seen, self._is_known, self._has_beyond = v["classes"], v["is_known"], v["has_beyond"]
        self._as_called = v["as_called"]
        self.fitted.calibration = DeviationScores(v["scores"])
        self._measured = kept(v, self._facts) if len(v["log_ms"]) else None
        self._campaign = None
        if own := _own.unpacked(v):
            self._campaign = Campaign(own[0], v["typical"], v["beside"])
