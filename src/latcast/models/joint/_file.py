"""The joint model as a file: what was learnt, by the names of its parts, and the known targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import NAMES, Array, Field, Schema, Values, texts
from latcast.data import Dataset
from latcast.devices import UNIT_OF_KIND, Target, devices, runtime_of_domain, unit_of_runtime
from latcast.math.conformal import DeviationScores
from latcast.math.one_thread import in_one_blas_thread
from latcast.models._fitted import Fitted
from latcast.models._model import Model, State
from latcast.report.markup import counted

from . import _known
from ._effects import Effects
from ._efficiency import ARRAYS, FIELDS, packed, unpacked
from ._faster import Faster
from ._fit import Learnt
from ._known import ALIKE, Known, Named, moved, of_target
from ._model import SCORES_OF, JointModel, Scores, precise, scores_of, unlisted
from ._observations import Observations, TargetFacts
from ._own import Campaign
from ._posterior import Prior
from ._predictor import JointPredictor
from ._specification import Domains, Question
from ._targets import TargetFeatures
from ._work import CLASSES, FEATURES, class_of, places, taken, widened

Floats = npt.NDArray[np.float64]

# --- the file ---------------------------------------------------------------------------------


SCHEMA = Schema(
    {
        "features": NAMES,
        "domains": NAMES,
        "as_called": Field(bool, bool, False),
        "facts": NAMES,
        "kinds": NAMES,
        "covariance_domains": NAMES,
        "effects": Field(
            lambda v: {str(d): (float(a), float(b)) for d, (a, b) in v.items()},
            lambda v: {d: list(pair) for d, pair in v.items()},
        ),
        "classes": Field(lambda v: {str(d): texts(c) for d, c in v.items()}),
        "scores_of": SCORES_OF,
        "known": Field(
            lambda v: tuple((str(n), str(c), str(d), str(p)) for n, c, d, p in v),
            lambda v: [list(texts) for texts in v],
        ),
        "known_rows": Field(lambda v: tuple(int(n) for n in v), list),
        "faster": Field(
            lambda v: {
                (str(d), str(a), str(b)): Faster((float(x), float(y), float(z)), float(share))
                for d, a, b, x, y, z, share in v
            },
            lambda v: [[*key, *rule.weights, rule.share] for key, rule in v.items()],
            {},
        ),
        **FIELDS,
        **_known.FIELDS,
    },
    {
        "means": Array(("facts",)),
        "deviations": Array(("facts",), check="positive"),
        "points": Array(("points", "facts"), "float32"),
        "slopes": Array(("columns", "features"), "float32"),
        # What is not above the diagonal, row by row.
        "covariances": Array(("of_domains", "pairs"), "float32"),
        # Halves, as what follows: an end of an interval moves by .05 % of its reach.
        "scores": Array(("scores",), "float16", check="not negative"),
        "known_places": Array(("known", "facts"), "float16"),
        "known_moved": Array(("known", "features"), "float16"),
        "known_directions": Array(("known", "features", "rank"), "float16"),
        **ARRAYS,
        **_known.ARRAYS,
    },
)


def _packed(model: JointModel, known: Known, seen: Mapping[str, Sequence[str]]) -> Values:
    learnt = model.learnt
    size = learnt.slopes.shape[1]
    keys = sorted(model.scores)
    return {
        "features": FEATURES,
        "domains": learnt.features.domains,
        "as_called": learnt.features.as_called,
        "facts": learnt.features.facts,
        "kinds": learnt.features.kinds,
        "covariance_domains": tuple(learnt.covariances),
        "effects": {d: (e.mean_variance, e.variance) for d, e in learnt.effects.items()},
        "classes": {d: list(c) for d, c in seen.items()},
        "scores_of": [(*key, len(model.scores[key])) for key in keys],
        "known": known.targets,
        "known_rows": known.rows,
        "means": learnt.features.means,
        "deviations": learnt.features.deviations,
        "points": learnt.features.points,
        "slopes": learnt.slopes,
        "covariances": np.array(list(learnt.covariances.values()))[:, *np.tril_indices(size)],
        "scores": np.concatenate([model.scores[key] for key in keys] or [np.zeros(0)]),
        "known_places": known.places,
        "known_moved": known.moved,
        "known_directions": known.directions,
        "faster": model.faster,
        **packed(learnt.efficiencies),
    }


def _unpacked(v: Values) -> tuple[JointModel, Known]:
    """The inverse, in terms of the features that latcast has now.

    A feature that the file lacks has no weight, and what it has besides is left out.

    Raises:
        ValueError: parts do not fit each other.
    """
    features = TargetFeatures(
        v["domains"], v["facts"], v["means"], v["deviations"], v["points"], v["kinds"],
        as_called=v["as_called"],
    )  # fmt: skip
    for what, count, arrays in (
        ("facts", len(v["facts"]), len(v["means"])),
        ("features", len(v["features"]), v["slopes"].shape[1]),
        ("columns", features.size, len(v["slopes"])),
        ("covariances", len(v["covariance_domains"]), len(v["covariances"])),
        ("known targets", len(v["known"]), len(v["known_moved"])),
        ("rows of known targets", len(v["known_rows"]), len(v["known"])),
        ("pairs", sum(range(len(v["features"]) + 1)), v["covariances"].shape[1]),
        ("scores", sum(int(n) for *_, n in v["scores_of"]), len(v["scores"])),
    ):
        if count != arrays:
            raise ValueError(f"arrays must be of the {count} {what}; got {arrays}")
    columns = places(v["features"])
    size = len(v["features"])
    covariances = {
        d: widened(_symmetric(c, size), columns)
        for d, c in zip(v["covariance_domains"], v["covariances"], strict=True)
    }
    effects = {
        d: replace(Effects.unknown(), mean_variance=a, variance=b)
        for d, (a, b) in v["effects"].items()
    }
    slopes = taken(v["slopes"], columns)
    scores = unlisted(v["scores_of"], v["scores"])
    directions = np.moveaxis(v["known_directions"], 1, -1)
    known = Known(
        v["known"],
        v["known_rows"],
        v["known_places"],
        taken(v["known_moved"], columns),
        np.moveaxis(taken(directions, columns), -1, 1),
    )
    learnt = Learnt(features, slopes, covariances, effects, unpacked(v))
    return JointModel(learnt, scores, v["faster"]), known


def _symmetric(half: Floats, size: int) -> Floats:
    """A matrix of what is not above its diagonal."""
    lower = np.zeros((size, size))
    lower[np.tril_indices(size)] = half
    return lower + np.tril(lower, -1).T


# --- the model --------------------------------------------------------------------------------

# How many times as far intervals reach where a runtime was measured on no part of the kind, as
# errors of its domain or, if these reach farther, of all domains tell. Of 20 pairs of a domain and
# a kind left out one by one (as GPUs of AMD by PyTorch, ARM CPUs by LiteRT; 60 rows of a target,
# chips alike), 90 % intervals hold 83 % by the domain alone, 89 by the wider of both, and so many
# times as wide as 90 % of these pairs and one more ask for.
OF_NEW_KIND = 1.25
# From here on a flag of standardized facts is one.
_IS_TRUE = 0.95


@dataclass(frozen=True, eq=False)
class _Asked:
    """The measurements, or the prior, that answer a question.

    Attributes:
        question: that is asked.
        campaign: of the target itself; None where hundreds of its networks were not measured.
        near: as of :meth:`Known.nearest`.
        is_varied: whether a figure of the device is another one than it is known by.
        targets: whose priors are needed: the target first, then those of fewer and more cores.
    """

    question: Question
    campaign: Named | None
    near: tuple[int, float] | None
    is_varied: bool
    targets: tuple[TargetFacts, ...]

    @classmethod
    def of(
        cls, question: Question, named: Mapping[str, Named], measured: Known,
        place: Callable[[TargetFacts], Floats],
    ) -> _Asked:  # fmt: skip
        """Look up a question's campaign or target, and the places of targets among the known."""
        known, facts = question.measured, question.facts
        is_varied = known.facts != facts.facts
        campaign = of_target(named, known.name)
        if campaign is not None and not is_varied and not question.is_like:
            return cls(question, campaign, None, is_varied, ())
        near = measured.nearest(known, place(known)) if measured.has(known) else None
        # Of a device of which a figure is varied, what units of work cost changes by physics alone.
        if near is not None or is_varied:
            return cls(question, None, near, is_varied, (known,))
        more = () if question.beyond is None else (question.beyond,)
        targets = (question.nested[-1], *question.nested[:-1], *more)
        return cls(question, None, None, is_varied, targets)


class Joint(Model):
    """One model of all targets, from which any target of any device is predicted.

    It is no predictor: :meth:`predictor` makes one of exactly the target that is asked for, from
    what its device's specification tells, and what was measured on its chip.
    """

    kind = "joint"
    description = "one model of all targets, for networks of any kind"
    array_prefix = ""
    is_of_one_target = False

    _model: JointModel
    _known: Known
    _seen: Mapping[str, Sequence[str]]
    named: dict[str, Named]
    """Targets that go by names, of which hundreds of networks were measured."""

    @classmethod
    def of(cls, model: JointModel, data: Observations, card: Mapping[str, Any]) -> Joint:
        """Make the file of a fitted model.

        Args:
            model: fitted to ``data``.
            data: of which the targets are kept.
            card: sources, licences, rows, metrics.
        """
        new = cls()
        new._model, new._known = model, Known.of(model.learnt, data)
        new._seen, new.named = _seen_classes(data), {}
        new.become(Fitted(None, card=dict(card)))
        return new

    @cached_property
    def domains(self) -> Domains:
        """The measured domains with their precisions, the most frequent first."""
        own: dict[str, list[str]] = {}
        for _, _, domain, precision in self._known.targets:
            own.setdefault(domain, []).append(precision)
        # Of equally frequent ones the order of the file, which is the same in every process.
        return {d: sorted(dict.fromkeys(p), key=lambda x: -p.count(x)) for d, p in own.items()}

    def has_kind(self, domain: str, facts: Mapping[str, float | None], chip: str) -> bool:
        """Whether a domain was measured on any part of a chip of a kind.

        A CPU's kind is its instruction set, a GPU's and an NPU's its maker; what tells none is of
        any, and in a domain that nothing was measured in all is physics anyway.

        Args:
            domain: of a runtime and part of a chip, such as ``openvino-cpu``.
            facts: of the part, as of :func:`latcast.devices.target_facts`.
            chip: that it is a part of.
        """
        known, own = self._kinds.get(domain), _kind_of(facts, chip)
        return known is None or own is None or own in known

    @cached_property
    def _kinds(self) -> dict[str, set[str]]:
        """The kinds of the parts of chips that each domain was measured on."""
        features = self._model.learnt.features
        # Of files, which keep standardized facts alone.
        values = self._known.places * features.deviations + features.means
        found: dict[str, set[str]] = {}
        for (_, chip, domain, _), own in zip(self._known.targets, values, strict=True):
            flags = dict(zip(features.facts, own.tolist(), strict=True))
            if unit_of_runtime(domain) == "npu":
                flags["is_npu"] = 1.0
            if (kind := _kind_of(flags, chip)) is not None:
                found.setdefault(domain, set()).add(kind)
        return found

    @property
    def model(self) -> JointModel:
        """The fitted model."""
        return self._model

    def predictor(self, question: Question) -> JointPredictor:
        """A predictor of the target that is asked for; its card says what it was taken from."""
        return self.predictors([question])[0]

    def predictors(self, questions: Sequence[Question]) -> list[JointPredictor]:
        """Return the predictors of several targets, whose priors are made at once."""
        place = self._model.learnt.features.place
        asked = [_Asked.of(question, self.named, self._known, place) for question in questions]
        priors = iter(self._model.learnt.priors([t for one in asked for t in one.targets]))
        return [self._predictor(one, [next(priors) for _ in one.targets]) for one in asked]

    def _predictor(self, asked: _Asked, priors: Sequence[Prior]) -> JointPredictor:
        """Return the predictor of a question, with the priors of its targets."""
        question, near = asked.question, asked.near
        if asked.campaign is not None:
            return self._of_campaign(asked.campaign, question)
        learnt, facts = self._model.learnt, question.facts
        prior, *others = priors
        nested = [(t.facts, p) for t, p in zip(asked.targets[1:], others, strict=True)]
        if asked.is_varied:
            prior = replace(prior, log_prices=learnt.features.log_prices(facts))
        if near is not None:
            n, shared = near[0], min(near[1], ALIKE) if question.is_like else near[1]
            prior = self._told(prior, n, shared)
            if learnt.is_near(facts):
                # Kernels' efficiencies were learnt on this chip: no prior is from before that.
                prior = replace(prior, before=None)
            note = _measured(self._known, n, shared, question.target.device)
        else:
            note = _unmeasured(facts, tuple(self.domains))
        ways, faster = self._of_domain(facts.domain, facts.precision)
        new = JointPredictor.of(
            facts,
            prior,
            learnt.effects_of(facts),
            ways,
            self._seen.get(facts.domain, ()),
            nested=nested,
            has_beyond=bool(nested) and question.beyond is not None,
            as_called=learnt.features.as_called,
            is_known=near is not None and shared == 1 and not asked.is_varied,
            faster=faster,
        )
        # What a CPU takes in a precision other runtimes tell, too (:meth:`Question.of`).
        known = ("ncnn-cpu",) if facts.domain.endswith("-cpu") else ()
        new.precisions = [p for d in (facts.domain, *known) for p in self.domains.get(d, ())]
        card: dict[str, Any] = {k: v for k, v in self.card.items() if k in ("data", "licence")}
        card["rows"] = 0 if near is None else self._known.rows[near[0]]
        intervals = new.intervals()
        if near is None and not self.has_kind(facts.domain, facts.facts, facts.chip):
            intervals = self._of_new_kind(intervals)
            note, card["kind_is_new"] = _of_new_kind(facts), True
        card["notes"] = [*question.notes, note]
        new.become(Fitted(None, question.target, {}, intervals, card, self.quantity))
        return new

    @cached_property
    def _of_domains(self) -> dict[tuple[str, str], tuple[Scores, Mapping[str, Faster]]]:
        return {}

    def _of_domain(self, domain: str, precision: str) -> tuple[Scores, Mapping[str, Faster]]:
        """Errors of groups left out that tell of a domain, and when its precision is faster."""
        asked = domain, precision
        if asked not in self._of_domains:
            names = "", domain, precise(domain, precision)
            ways = {k: s for k, s in self._model.scores.items() if k[0] in names}
            faster = {
                than: rule for (*of, than), rule in self._model.faster.items() if (*of,) == asked
            }
            self._of_domains[asked] = ways, faster
        return self._of_domains[asked]

    @in_one_blas_thread
    def adapt(self, few: Dataset, *, method: str = "bayes", seed: int = 0) -> JointPredictor:
        """A predictor for the target of a few measurements, at least one.

        Raises:
            ValueError: no measurement, one that is not possible, another method, or a device that
                the catalogue does not have.
        """
        predictor = self.predictor(Question.of_target(few.target, self.domains))
        return predictor.adapt(few, method=method, seed=seed)  # type: ignore[return-value]

    def name(
        self, name: str, target: TargetFacts, rows: Observations, card: Mapping[str, Any]
    ) -> Named:
        """Keep a target by a name, with what hundreds of its networks tell.

        Args:
            name: of the target.
            target: what is known of it.
            rows: of it alone.
            card: sources, licences, split.
        """
        self.named[name] = Named.of(self._model.learnt, target, rows, card)
        return self.named[name]

    def of_name(self, name: str) -> JointPredictor:
        """A predictor of the target that goes by a name."""
        target = Target.parse(self.named[name].target)
        return self.predictor(Question.of_target(target, self.domains))

    def _of_campaign(self, own: Named, question: Question) -> JointPredictor:
        learnt, facts = self._model.learnt, replace(question.facts, domain=own.domain)
        broad = learnt.prior(facts)
        new = JointPredictor.of(
            facts,
            moved(broad, own.moved, own.directions),
            own.effects,
            {k: s for k, s in self._model.scores.items() if k[0] in ("", facts.domain)},
            own.own.seen,
            is_known=True,
            as_called=learnt.features.as_called,
            campaign=Campaign(own.own, own.typical, learnt.effects_of(facts).unknown_variance),
        )
        new.precisions = (facts.precision,)
        card = {k: v for k, v in own.card.items() if k != "metrics"} | {"notes": []}
        new.become(Fitted(None, question.target, {}, own.calibration, card, self.quantity))
        return new

    def _of_new_kind(self, scores: DeviationScores) -> DeviationScores:
        """Errors where nothing was measured by the runtime on a kind of device, of usual ones."""
        usual = self._model.scores.get(("", "both", 0))
        beside = scores if usual is None else scores_of(usual)
        return max(scores, beside, key=lambda s: s.quantile(0.9)).widened(OF_NEW_KIND)

    def _told(self, prior: Prior, n: int, shared: float) -> Prior:
        """A prior with what was measured on the n-th target, whose deviations it shares."""
        known = self._known
        return moved(prior, shared * known.moved[n], shared * known.directions[n])

    def _schema(self) -> Schema:
        return SCHEMA

    def _state(self) -> State:
        return {**_packed(self._model, self._known, self._seen), **_known.packed(self.named)}

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        self._model, self._known = _unpacked(state)
        self._seen = state["classes"]
        self.named = _known.unpacked(state, places(state["features"]))


def _seen_classes(data: Observations) -> dict[str, list[str]]:
    """Classes of the kernels that every domain has run."""
    classes = class_of(data.networks)
    of_rows = np.array([t.domain for t in data.targets])[data.target]
    found = {}
    for domain in dict.fromkeys(t.domain for t in data.targets):
        networks = np.unique(data.network[of_rows == domain])
        used = np.unique(data.networks.counts[networks].indices)
        found[domain] = [CLASSES[n] for n in np.unique(classes[used])]
    return found


def _kind_of(facts: Mapping[str, float | None], chip: str) -> str | None:
    """The kind of the part of a chip, as of :meth:`Joint.has_kind`; None where nothing tells it."""
    if facts.get("is_npu"):
        own = (d for d in devices().values() if d.group == chip and d.kind == "accelerator")
        return next((d.title.partition(" ")[0].lower() for d in own), None)
    # Flags of a file are rounded, and an unknown one is the mean of all.
    flags = (n for n, x in facts.items() if x is not None and x > _IS_TRUE)
    return next((n for n in flags if n.startswith(("isa_", "vendor_"))), None)


def _of_new_kind(facts: TargetFacts) -> str:
    runtime, own = runtime_of_domain(facts.domain), _kind_of(facts.facts, facts.chip)
    kind = (own or "").partition("_")[2] or own
    part = (unit_of_runtime(facts.domain) or "").upper() or "device"
    return (
        f"no table measured {runtime} on {part}s of the kind {kind}: the forecast is as of others "
        "by its specification, and its interval is wider; measure a few networks there (latcast "
        "measure --models) and adapt (latcast adapt), or ask for a runtime that was measured on "
        "such devices (--runtime)"
    )


def _unmeasured(facts: TargetFacts, domains: Sequence[str]) -> str:
    chip = f"no network was measured on {facts.chip} by {facts.runtime}"
    if facts.domain in domains:
        part = (unit_of_runtime(facts.domain) or "").upper()
        others = f"others by {runtime_of_domain(facts.domain)}" + (f" on {part}s" if part else "")
        return f"{chip}: the forecast is by its specification, as of {others}"
    return (
        f"{chip}, nor on any device: the forecast is by physics alone; what was measured is "
        f"{', '.join(sorted(set(map(runtime_of_domain, domains))))}"
    )


def _measured(known: Known, n: int, shared: float, asked: str) -> str:
    """Return a sentence on the measurements of a chip, by a name of the catalogue."""
    _, chip, domain, precision = known.targets[n]
    part = unit_of_runtime(domain)
    own = (d for d in devices().values() if d.group == chip)
    names = [d.name for d in own if UNIT_OF_KIND[d.kind] == part]
    name = asked if asked in names or not names else names[0]
    rows = (
        f"{counted(int(known.rows[n]), 'measurement')} on {name} by "
        f"{runtime_of_domain(domain)} in {precision}"
    )
    if shared == 1:
        return f"the forecast knows {rows}"
    return f"the forecast takes something from {rows}, the same chip with other settings"
