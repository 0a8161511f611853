"""Searching, measuring the best on the device, adapting to it, and searching again."""

from __future__ import annotations

import glob
import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast import models
from latcast._names import unknown_name
from latcast.devices import Device, devices
from latcast.math.one_thread import in_one_blas_thread
from latcast.models import Predictor, zoo
from latcast.models.zoo import SUFFIX
from latcast.report.markup import counted
from latcast.search._search import search
from latcast.search.problem import InfeasibleError
from latcast.search.request import AnyAccuracy, Budgets, find_accuracy, parse_budgets
from latcast.search.result import SearchResult
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._candidates import FRONT, PICK, SUGGESTED, Candidates, Known, spread
from ._measuring import Campaigns, Measuring, MeasuringError
from ._record import VerificationRecord
from ._scope import Floats, Rows, Scope, Source, find
from ._verification import Verification, VerifiedResult, answer, interval

if TYPE_CHECKING:
    from latcast.models import BaseModel

    from ._scope import Latency

Told = Callable[[Verification], None]
_NOT_HERE = ("checkpoint", "resume")


@in_one_blas_thread
def search_and_verify(
    space: str | SearchSpace,
    *,
    latency: Latency,
    measuring: Measuring,
    max_latency_ms: Budgets | None = None,
    verify: int = 5,
    rounds: int = 2,
    suggested: int = 10,
    tolerance: float = 0.03,
    accuracy: AnyAccuracy | None = None,
    confidence: float | None = None,
    coverage: float = 0.9,
    specification: Device | None = None,
    seed: int = 0,
    on_round: Told | None = None,
    **options: Any,
) -> VerifiedResult:
    """Search, measure the best on the device, adapt the predictor to it, and search again.

    Without a predictor of the target that is measured, networks are measured first that tell
    most about all others (:func:`latcast.suggest`). Then in every round the best of the front are
    measured: the most accurate within every budget, and what is best if the predictions are
    wrong. A round is the last one if the device agrees: if the best network within every budget
    has been measured, keeps the budget, and takes what was predicted. Otherwise the model that
    was given is adapted to all measurements so far. Networks outside the restrictions, candidates
    and limits are no answer, even if an earlier run, which is resumed, measured them.

    An interruption (ctrl-C) ends it early: the result holds what had been measured by then.

    Args:
        space: search space or its name.
        latency: a predictor, of this or another target; a base model; or the name or file of
            one.
        measuring: how networks are measured; :class:`Campaigns` does it on this host.
        max_latency_ms: one budget or several, in ms. Without, every round verifies networks that
            are spread over the front, and the result is the front of what was measured.
        verify: networks to measure in every round.
        rounds: how many at most.
        suggested: networks to measure before the first search, if the model is not one of the
            target's.
        tolerance: share of its latency by which a prediction may be wrong.
        accuracy: accuracy model or its name; by default the shipped one for the space.
        confidence: keep budgets with this probability, instead of by the prediction alone, and
            measured networks in spite of the measurement's error.
        coverage: of the intervals in the result.
        specification: of the measured device, for a base model; the catalogue's by default.
        seed: of everything chance decides.
        on_round: called after every round.
        options: others of :func:`latcast.search.search`; a time limit is that of every search.

    Raises:
        InfeasibleError: no network keeps the limits on costs, which is told before anything is
            measured; or a budget, as far as can be predicted.
        ValueError: numbers that make no sense, and as :func:`latcast.search.search`; before
            anything is measured.
        TypeError: unknown options; likewise.
        MeasuringError: no latency could be measured before the first search, or of no network
            that it found.
        KeyboardInterrupt: before a latency was known.
    """
    if min(verify, rounds, suggested) < 1 or not tolerance > 0:
        raise ValueError(
            "verify, rounds and suggested must be at least 1, and the tolerance positive; "
            f"got {verify}, {rounds}, {suggested} and {tolerance}"
        )
    _check_names(options)
    the_space = find_space(space) if isinstance(space, str) else space
    source = Source.of(latency, measuring.target, specification)
    budgets_ms = parse_budgets(max_latency_ms, 1)[:, 0]
    options |= {"confidence": confidence, "coverage": coverage, "seed": seed}
    scope = Scope.of(the_space, find_accuracy(the_space, accuracy), measuring.target, options)
    told = on_round or (lambda _: None)
    run = _Rounds(source, measuring, Known(scope, confidence), budgets_ms, options, told)
    return run.run(verify, rounds, suggested, tolerance)


def _check_names(options: Mapping[str, Any]) -> None:
    if bad := [name for name in _NOT_HERE if name in options]:
        raise ValueError(
            f"{bad[0]} is for a single search: measurements are kept and resumed by `measuring`"
        )
    functions = (search_and_verify, search)
    names = dict.fromkeys(name for f in functions for name in inspect.signature(f).parameters)
    known = [name for name in names if name not in (*_NOT_HERE, "options")]
    if unknown := [name for name in options if name not in known]:
        raise TypeError(unknown_name("option of search_and_verify", unknown[0], known))


def verify(result: SearchResult, count: int, measuring: Measuring) -> Verification:
    """Measure the best networks of a search's front, and compare with what was predicted.

    Args:
        result: of a search on one target.
        count: how many networks at most: the best within every budget first, then what is best
            if the predictions are wrong. Without budgets they are spread over the front.
        measuring: on the same target.

    Raises:
        ValueError: ``count`` is below 1, or the search was for another target or several.
    """
    if count < 1:
        raise ValueError(f"at least one network must be verified; got {count}")
    if len(result.predictors) != 1 or result.predictors[0].target != measuring.target:
        targets = " and ".join(str(p.target) for p in result.predictors)
        raise ValueError(
            f"a search can be verified on its own target only; it was for {targets}, and "
            f"{measuring.target} is measured: search with search_and_verify, which adapts"
        )
    front = result.front
    has_budgets = np.isfinite(result.max_latency_ms).all() and len(result) > 0
    budgets = result.max_latency_ms if has_budgets else spread(front.counted_ms, count)
    is_open = np.ones(len(front), dtype=np.bool_)
    candidates = Candidates(front, budgets, front.counted_ms, is_open)
    reached = np.full(len(budgets), front.accuracy.min())
    rows = candidates.choose(count, result.predictors[0], reached)
    picks = set(candidates.picks().tolist())
    chosen_for = np.full(len(rows), np.inf)
    if has_budgets:
        chosen_for = candidates.budgets_of(rows, result.predictors[0], reached)
    measured = measuring.measure(front.archs[rows], 1)
    return Verification.of(
        1,
        front.archs[rows],
        tuple(PICK if row in picks else FRONT for row in rows.tolist()),
        chosen_for,
        front.accuracy[rows],
        result.predictors[0],
        result.coverage,
        measured,
    )


class _Rounds:
    """One verified search.

    Args:
        source: what is known of the target before.
        measuring: how networks are measured.
        known: where measurements are kept.
        budgets_ms: shape (b,); none: the front is verified.
        options: of every search.
        on_round: called after every round.
    """

    def __init__(
        self,
        source: Source,
        measuring: Measuring,
        known: Known,
        budgets_ms: Floats,
        options: dict[str, Any],
        on_round: Told,
    ) -> None:
        self._source, self._measuring, self._known = source, measuring, known
        self._budgets_ms, self._has_budgets = budgets_ms, len(budgets_ms) > 0
        self._options, self._coverage = options, float(options["coverage"])
        self._on_round = on_round
        self._rounds: list[Verification] = []
        self._is_interrupted = self._agrees = False
        self._infeasible: InfeasibleError | None = None
        self._predictor = source.before()
        self._result: SearchResult
        self._picks: Rows

    def run(self, verify: int, rounds: int, suggested: int, tolerance: float) -> VerifiedResult:
        """Go on until the device agrees, or the rounds are over."""
        if not self._source.is_of_target:
            self._measure_suggested(suggested)
        for round_ in range(1, rounds + 1):
            self._search(verify)
            if self._is_over(tolerance) or not self._measure(round_, verify):
                break
            if self._is_over(tolerance):
                break
            self._adapt()
        else:
            self._search(verify)
            self._is_over(tolerance)
        if not self._has_budgets:
            front_ms = self._known.front_ms()
            self._budgets_ms = front_ms if len(front_ms) else spread(self._candidates().ms, verify)
        return self._answer()

    # -- searching ----------------------------------------------------------------------------

    def _search(self, count: int) -> None:
        """Search; without budgets, ``count`` latencies of its front take their place."""
        self._result = self._search_within(np.sort(self._budgets_ms))
        if not self._has_budgets:
            self._budgets_ms = spread(self._candidates().ms, count)
        self._picks = self._candidates().picks()
        self._is_interrupted |= self._result.stopped == "interrupted"

    def _search_within(self, budgets_ms: Floats) -> SearchResult:
        """Leaves out the smallest budgets if the predictor says that no network keeps them.

        A network that was measured may keep them all the same.
        """
        has_any = self._has_budgets and len(budgets_ms) > 0
        try:
            return search(
                self._known.scope.space,
                latency=self._adapted_predictor(),
                max_latency_ms=budgets_ms.tolist() if has_any else None,
                accuracy=self._known.scope.accuracy_model,
                **self._options,
            )
        except InfeasibleError as error:
            if not has_any or self._known.dataset is None:
                raise
            self._infeasible = self._infeasible or error
            return self._search_within(budgets_ms[1:])

    def _candidates(self) -> Candidates:
        """The front as it is seen after all measurements so far."""
        return Candidates.of(self._result.front, self._budgets_ms, self._known)

    def _is_over(self, tolerance: float) -> bool:
        """Whether the device agrees, or there was an interruption."""
        self._agrees = self._device_agrees(tolerance)
        return self._agrees or self._is_interrupted

    def _device_agrees(self, tolerance: float) -> bool:
        candidates = self._candidates()
        # Nothing but what was predicted of them makes latencies of the front budgets: there,
        # what was picked need not be the best within them any more.
        picks = candidates.picks() if self._has_budgets else self._picks
        if not len(picks) or (picks < 0).any() or candidates.is_open[picks].any():
            return False
        archs = self._result.front.archs[picks]
        predictor, measured_ms = self._adapted_predictor(), self._known.measured_ms(archs)
        error = np.abs(predictor.predict(archs) / measured_ms - 1)
        lower, upper = interval(predictor, archs, self._coverage)
        is_outside = (measured_ms < lower) | (measured_ms > upper)
        return bool((error <= tolerance).all() and not is_outside.any())

    def _adapted_predictor(self) -> Predictor:
        assert self._predictor is not None
        return self._predictor

    # -- measuring ----------------------------------------------------------------------------

    def _measure_suggested(self, count: int) -> None:
        """Measure what tells most about all others, and adapt to it."""
        archs = self._measuring.chosen(0)
        if archs is None:
            archs = self._source.suggest(self._known.scope, count, self._options["seed"])
        self._take(0, archs, (SUGGESTED,) * len(archs), np.full(len(archs), np.inf))
        if self._known.dataset is None:
            if self._is_interrupted:
                raise KeyboardInterrupt
            reasons = "; ".join(reason for _, reason in self._rounds[0].failures[:1])
            raise MeasuringError(
                f"none of {counted(len(archs), 'network')} could be measured on "
                f"{self._measuring.target}: "
                f"{reasons or 'there are no runs in two processes'}"
            )
        self._adapt()

    def _measure(self, round_: int, count: int) -> bool:
        """Measure the best of the front; False: there is nothing left to measure."""
        candidates, front = self._candidates(), self._result.front
        predictor, archs = self._adapted_predictor(), self._measuring.chosen(round_)
        reached = self._known.best_accuracy(self._budgets_ms, front.accuracy.min())
        if archs is None:
            archs = front.archs[candidates.choose(count, predictor, reached)]
        if not len(archs):
            return False
        rows = find(archs, front.archs)  # -1 where an earlier run had another front
        picks = set(self._picks.tolist()) - {-1}
        roles = tuple(PICK if row in picks else FRONT for row in rows.tolist())
        chosen_for = np.full(len(archs), np.inf)
        if self._has_budgets:
            chosen_for = candidates.budgets_of(rows, predictor, reached)
        self._take(round_, archs, roles, chosen_for)
        return True

    def _take(self, round_: int, archs: Archs, roles: tuple[str, ...], budgets_ms: Floats) -> None:
        """Measure networks, and put what was predicted beside it."""
        measured = self._measuring.measure(archs, round_)
        self._known.add(measured)
        self._is_interrupted |= measured.is_interrupted
        accuracy = self._known.scope.accuracy(archs)
        found = Verification.of(
            round_, archs, roles, budgets_ms, accuracy, self._predictor, self._coverage, measured
        )
        self._rounds.append(found)
        self._on_round(found)

    def _adapt(self) -> None:
        if self._known.dataset is not None:
            self._predictor = self._source.adapted(self._known.dataset)

    def _answer(self) -> VerifiedResult:
        return answer(
            self._candidates(),
            self._known,
            self._result,
            rounds=tuple(self._rounds),
            agrees=self._agrees,
            stopped="interrupted" if self._is_interrupted else None,
            infeasible=self._infeasible,
            needs_all=self._has_budgets,
        )


# --- on this machine ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """The networks to measure, and the host and runtime to measure them with.

    Attributes:
        verify: networks to measure in every round.
        rounds: how many at most.
        suggested: networks to measure before the first search, if the model is not one of this
            machine's.
        runtime, threads, batch, precision: of the target.
        name: of the machine; from its CPU by default.
        host: to measure on, as :attr:`latcast.measure.Plan.host`; this machine by default, or
            where what is resumed was measured.
        runs: of every network; those of ``latcast measure`` by default.
        measured: dataset to write; the raw records are kept beside it. By default records are
            kept only if measuring is broken off.
        resume: go on with the records of an earlier run.
    """

    verify: int
    rounds: int = 2
    suggested: int = 10
    runtime: str = "onnxruntime"
    threads: int = 1
    batch: int = 1
    precision: str = "fp32"
    name: str | None = None
    runs: int | None = None
    measured: Path | None = None
    resume: bool = False
    host: str = ""

    def campaigns(self, record: Path, seed: int) -> Campaigns:
        """How networks are measured, the raw records kept beside ``record``."""
        from latcast.measure import Protocol, host

        where = self.host or (_began_at(record) if self.resume else "")
        own = host(where).protocol
        return Campaigns(
            record,
            self.runtime,
            self.threads,
            self.batch,
            self.precision,
            self.name,
            Protocol(**own) if self.runs is None else Protocol(**own, runs=self.runs),
            seed,
            resume=self.resume,
            host=where,
        )


def _began_at(record: Path) -> str:
    """Text of the host on which campaigns beside a record began; empty: this machine, or none."""
    from latcast.measure import CampaignFile

    for path in sorted(_records(record)):
        with CampaignFile.open(path) as campaign:
            return str(campaign.plan().get("host", ""))
    return ""


def search_and_verify_here(
    latency: Latency,
    check: Check,
    *,
    space: SearchSpace | None = None,
    base: str | None = None,
    specification: Device | None = None,
    name: str | None = None,
    seed: int = 0,
    on_start: Callable[[Campaigns], None] = lambda _: None,
    on_round: Told | None = None,
    on_kept: Callable[[Path], None] = lambda _: None,
    **options: Any,
) -> tuple[VerifiedResult, VerificationRecord]:
    """Search, measure what was found on this machine, adapt to it, and search again.

    That is :func:`search_and_verify` with :class:`Campaigns`, and ``latcast search --verify``.

    Args:
        latency: a model or base model, or what :func:`first_model` takes.
        check: how to measure.
        space: that of the model by default.
        base: base model for a device of the catalogue; the shipped one of the space by default.
        specification: of this machine, for a base model; the catalogue's by default.
        name: what the record calls the model.
        seed: of everything chance decides.
        on_start: called before anything is measured.
        on_round: called after every round.
        on_kept: called with the ``measured`` to resume, where raw records are left behind since
            the work was broken off.
        options: others of :func:`search_and_verify`.

    Returns:
        What was found, and the record of it that the command prints.

    Raises:
        ValueError: as :func:`search_and_verify`, or there is nothing that could be resumed.
        FileExistsError: the measurements are there already, and are not to be resumed.
        FileNotFoundError: there are none to resume.
    """
    model: Predictor | BaseModel
    if isinstance(latency, str):
        name = name or latency
        model, specification = first_model(latency, space, base)
    else:
        model = latency
    record, folder = _record_of(check)
    try:
        with check.campaigns(record, seed) as measuring:
            on_start(measuring)
            result = search_and_verify(
                space or model.space,
                latency=model,
                measuring=measuring,
                verify=check.verify,
                rounds=check.rounds,
                suggested=check.suggested,
                specification=specification,
                seed=seed,
                on_round=on_round,
                **options,
            )
        if check.measured is not None and result.measured is not None:
            result.measured.save(check.measured)
    except BaseException:
        # An hour of measuring must survive ctrl-C and a full disk, in a temporary folder, too.
        _tell_kept(record, on_kept)
        if folder is not None and not any(_records(record)):
            shutil.rmtree(folder)
        raise
    if result.stopped is not None:
        _tell_kept(record, on_kept)
    elif folder is not None:
        shutil.rmtree(folder)
    return result, VerificationRecord.of(result, name or str(measuring.target), seed)


def first_model(
    name: str, space: SearchSpace | None = None, base: str | None = None
) -> tuple[Predictor | BaseModel, Device | None]:
    """A model, or a base model and the specification of a device.

    Args:
        name: of a model or base model, its file, or a device of the catalogue, whose
            specification is then taken for this machine's.
        space: of the networks.
        base: base model for a device; by default the shipped one of the space, or where there is
            none the joint model.

    Raises:
        UnresolvedError: there is no such model or device.
        ValueError: a file is damaged.
        FileNotFoundError: there is no such file.
    """
    known = (*zoo.names(), *zoo.names("base"))
    if name.endswith(SUFFIX) or name in known or name not in devices():
        return models.load(name, space=space), None
    # Deferred: it loads what answers for devices, which a search by a model does not need.
    from latcast.models.by_device import DEFAULT_SPACE

    own = base or (space.block_space if space else DEFAULT_SPACE)
    if base is None and own not in zoo.names("base"):
        return models.load(name, space=space), None
    return models.load_base(own), devices()[name]


def _record_of(check: Check) -> tuple[Path, Path | None]:
    """Return the folder of raw records, and the temporary folder of unnamed ones."""
    if check.measured is None:
        if check.resume:
            raise ValueError("to resume is to go on with the measurements of `measured`: name it")
        folder = Path(tempfile.mkdtemp(prefix="latcast-"))
        return folder / "measured.parquet", folder
    if check.measured.exists() and not check.resume:
        raise FileExistsError(f"{check.measured} exists already: resume it, or name another")
    return check.measured, None


def _tell_kept(record: Path, on_kept: Callable[[Path], None]) -> None:
    if any(_records(record)):
        on_kept(record)


def _records(record: Path) -> Iterator[Path]:
    return record.parent.glob(f"{glob.escape(record.stem)}.*.campaign")
