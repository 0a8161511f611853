"""Devices for a network: every device, runtime and precision by its chance to keep a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from latcast._names import unknown_name
from latcast._remembered import remembering
from latcast.devices import (
    PRECISIONS,
    UNIT_OF_KIND,
    Device,
    Target,
    devices,
    only_on,
    public_runtime,
    runs_pytorch,
    runtime_names,
    target_facts,
    unit_of_runtime,
)
from latcast.graph import Graph
from latcast.graph.read import Network, ReadOptions, name_of, read_with
from latcast.models import zoo
from latcast.models.by_device import by_host
from latcast.models.joint import Joint, JointPredictor, Question, within_each
from latcast.models.quantized_network import INT8, runs_dequantized
from latcast.models.query import Basis, Resolved
from latcast.models.runtimes import UNNAMED, check_runtime, check_target
from latcast.models.zoo import JOINT, UnresolvedError, open_shipped
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.markup import counted, start_of
from latcast.report.record import Record, Section
from latcast.report.table import MISSING, Column, Table
from latcast.report.text import bytes_text, interval_column, ms_column, ms_text

from .within_budget import (
    CHANCES,
    TOO_WIDE,
    GraphKernels,
    WithinBudget,
    chance,
    check_budget,
)

UNDECIDED = "undecided"
# What targets of a device tell of it together.
_VERDICTS = ("certain", "likely", UNDECIDED, "unlikely", "no")
# Devices that are shown, each with its best target.
MAX_SHOWN = 20
# Targets of the joint model whose priors are made at once.
_AT_ONCE = 500
# Devices up to which x86 CPUs are answered by models of ours, as `latcast predict` answers: that
# takes a tenth of a second a target, and the catalogue has five hundred.
_FEW = 3
# Reasons why targets have no answer, and devices, that notes tell of.
_MAX_REASONS = 3
_Pair = tuple[str, str]
_OF_PYTORCH = ("pytorch", "inductor")
# How many times the arithmetic of fp32 a CPU must do in bf16 for a runtime to choose it.
_FASTER = 1.5


@dataclass(frozen=True)
class DeviceAnswer:
    """A network on one device, by one runtime and in one precision.

    Attributes:
        device: its name in the catalogue.
        kind: ``cpu``, ``phone``, ``gpu`` or ``accelerator``; null where the catalogue lacks it.
        target: the target that the latency is of.
        chance: ``certain`` (P(within budget) of 95 % or more), ``likely`` (50), ``unlikely`` (5)
            or ``no``, which it also is where the memory is too small.
        probability: that the latency is within the budget, 0 to 1.
        latency_ms: predicted, ms for a whole batch.
        lower_ms: lower end of the prediction interval, ms.
        upper_ms: upper end of the interval, ms.
        memory_bytes: peak memory beyond the runtime's own: weights, and activations by liveness, in
            the target's precision, as its runtime holds them where that was measured.
        device_memory_bytes: what the device has; null where it is not known.
        basis: ``measurements``, or ``specification`` where nothing was measured on the device.
    """

    device: str
    kind: str | None
    target: str
    chance: str
    probability: float
    latency_ms: float
    lower_ms: float
    upper_ms: float
    memory_bytes: int
    device_memory_bytes: float | None
    basis: str

    @property
    def is_decided(self) -> bool:
        """Whether the chance rests on measurements of the device, or on an interval that is narrow.

        Otherwise a chance that is neither certain nor none says how little is known.
        """
        return self.basis == "measurements" or self.upper_ms <= TOO_WIDE * self.lower_ms


@dataclass(frozen=True, repr=False)
class DeviceRanking(Record):
    """The devices that run a network within a budget.

    Attributes:
        network: its name.
        max_latency_ms: the budget, ms for a whole batch.
        batch: samples of a forward pass; null where nothing tells which side is the batch.
        coverage: of the intervals, 0 to 1.
        at_least: the chance that is enough.
        is_met: whether a device has it.
        counts: chance -> number of targets.
        targets: an entry for each device, runtime and precision, the most probable first.
        notes: doubts about the answers, a sentence each.
        verdicts: ``certain``, ``likely``, ``undecided``, ``unlikely`` and ``no`` -> number of
            devices. One is certain by any target, but likely only by a target that was measured on
            such devices or whose interval spans at most a factor of three: where only others have
            a chance, it is undecided.
    """

    schema = "device-ranking"
    frame = "targets"
    no_figure = "no device has an answer"

    network: str
    max_latency_ms: float
    batch: int | None
    coverage: float
    at_least: str
    is_met: bool
    counts: Mapping[str, int]
    targets: tuple[DeviceAnswer, ...]
    notes: tuple[str, ...]
    verdicts: Mapping[str, int] = field(default_factory=dict)

    def headline(self) -> str:
        return f"{Path(self.network).name}: which devices keep {self.max_latency_ms:g} ms"

    def answer(self) -> str:
        of = dict[str, list[str]]()
        for device, answers in _by_device(self.targets).items():
            of.setdefault(_verdict(answers), []).append(device)
        undecided = of.get(UNDECIDED, [])
        some = ", ".join(undecided[:_MAX_REASONS])
        measure = f": measure {some}{', …' * (len(undecided) > _MAX_REASONS)}" if undecided else ""
        good = [*of.get("certain", ()), *of.get("likely", ())]
        first = next((t for t in self.targets if t.device in good and _is_kept(t)), None)
        among = "" if first is None else f"; most probably on {first.target}"
        return (
            f"{Path(self.network).name} keeps {self.max_latency_ms:g} ms: certain on "
            f"{len(of.get('certain', ()))}, likely on {len(of.get('likely', ()))}, undecided on "
            f"{len(undecided)} of {counted(len(_by_device(self.targets)), 'device')}"
            f"{measure}{among}."
        )

    def figures(self) -> Iterator[Figure]:
        rows = [(t.target, t.latency_ms, t.lower_ms, t.upper_ms) for t in self._best()]
        if not rows:
            return
        caption = (
            f"The best target of each device, by its chance; bars are {100 * self.coverage:g} % "
            "intervals, the dashed line is the budget."
        )
        yield charts.intervals("Latency and budget", rows, of="target",
                               budget=self.max_latency_ms, caption=caption)  # fmt: skip

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        yield from sections_of(self.figures(), self.tables(None))

    def _best(self) -> list[DeviceAnswer]:
        """The most probable target of every device, in the order of all."""
        return list({t.device: t for t in reversed(self.targets)}.values())[::-1]

    def parts(self) -> Iterator[Table | str]:
        yield from self.tables(MAX_SHOWN)

    def tables(self, shown: int | None) -> Iterator[Table | str]:
        """Yield the printed parts: ``shown`` devices with their best targets; None for all."""
        best = {t.device: t for t in reversed(self.targets)}
        one_each = [t for t in self.targets if best[t.device] is t]
        groups = [[t] for t in self.targets] if shown is None else _alike(one_each)[:shown]
        rows = [group[0] for group in groups]
        columns = (
            Column("target", "target"),
            Column("chance", _chance_text, detail=0),
            Column("P(within) %", "probability", ".0f", 100),
            ms_column("ms", "latency_ms"),
            interval_column(self.coverage),
            Column("memory", lambda t: f"{bytes_text(t.memory_bytes)} of {_of_device(t)}"),
        )
        name = start_of(Path(self.network).name, 60)
        yield Table(columns, rows, f"{name} within {self.max_latency_ms:g} ms")
        if several := [group for group in groups if len(group) > 1]:
            told = (f"{g[0].device} = {', '.join(t.device for t in g[1:])}" for g in several)
            yield f"the same forecast: {'; '.join(told)}"
        if shown is not None and (left := len(one_each) - sum(map(len, groups))):
            more = counted(left, "more device")
            yield f"the best target of each device; {more}, all targets with --all"
        number = Counter(map(_chance_text, self.targets))
        counts = ", ".join(f"{number[name]} {name}" for name in _VERDICTS)
        yield f"{counted(len(best), 'device')}, {counted(len(self.targets), 'target')}: {counts}"
        if any(t.kind in ("cpu", "phone") and not Target.parse(t.target).threads for t in rows):
            yield "CPUs use a thread for each core (--threads); latcast measure takes 1 by default"


def _by_device(answers: Sequence[DeviceAnswer]) -> dict[str, list[DeviceAnswer]]:
    """The answers of every device, the most probable first."""
    found: dict[str, list[DeviceAnswer]] = {}
    for each in answers:
        found.setdefault(each.device, []).append(each)
    return found


def _alike(answers: Sequence[DeviceAnswer]) -> list[list[DeviceAnswer]]:
    """Answers with those of other devices that are the same, as of boards with one chip."""
    groups: dict[tuple[object, ...], list[DeviceAnswer]] = {}
    for each in answers:
        numbers = map(ms_text, (each.latency_ms, each.lower_ms, each.upper_ms))
        key = (each.target.partition("/")[2], each.chance, each.is_decided, *numbers)
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def _chance_text(answer: DeviceAnswer) -> str:
    """A target's chance; where it says how little is known, it decides nothing."""
    is_open = answer.chance in ("likely", "unlikely") and not answer.is_decided
    return UNDECIDED if is_open else answer.chance


def _is_kept(answer: DeviceAnswer) -> bool:
    """Whether a target tells that its device keeps the budget."""
    return answer.chance == "certain" or (answer.chance == "likely" and answer.is_decided)


def _verdict(answers: Sequence[DeviceAnswer]) -> str:
    """What the targets of one device, the most probable first, tell of it together."""
    if answers[0].chance in ("certain", "no"):
        return answers[0].chance
    if any(_is_kept(each) for each in answers):
        return "likely"
    is_open = any(each.chance != "no" and not each.is_decided for each in answers)
    return UNDECIDED if is_open else "unlikely"


def _of_device(answer: DeviceAnswer) -> str:
    has = answer.device_memory_bytes
    return MISSING if has is None else bytes_text(has)


def which(
    network: Network,
    max_latency_ms: float,
    *,
    devices: Sequence[str] | None = None,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    batch: int | None = None,
    threads: int | None = None,
    at_least: str = "likely",
    coverage: float = 0.9,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch_axis: int | Mapping[str, int] | None = None,
    trip_count: int | None = None,
) -> DeviceRanking:
    """Find the devices that run a network within a budget, with their runtimes and precisions.

    Runtimes and precisions are those that were measured on devices of a kind, and of the shipped
    models of a device.

    Args:
        network: what :func:`latcast.read_graph` takes.
        max_latency_ms: for a whole batch.
        devices: of the catalogue; all of them by default.
        runtimes: to be considered; all by default.
        precisions: likewise; of a network in int8, that alone by default.
        batch: samples of a forward pass; that of the network by default.
        threads: of CPUs; one for each core by default.
        at_least: the chance that is enough, a name in
            :data:`~latcast.search.within_budget.CHANCES`.
        coverage: of the intervals, between 0 and 1.
        shapes: of inputs that a file leaves open, by their names, or of symbols.
        batch_axis: which side of a file's inputs is the batch.
        trip_count: trips of every loop of a file whose count is no constant.

    Raises:
        UnresolvedError: a device or chance is not known, or no target is as asked for.
        ValueError: the network cannot be read, or the budget is not possible.
        FileNotFoundError: there is no such file.
    """
    check_budget(max_latency_ms, ("coverage", coverage))
    if at_least not in CHANCES:
        raise UnresolvedError(unknown_name("chance", at_least, list(CHANCES)))
    for name in runtimes or ():
        check_runtime(name)
    wanted = _Wanted(_devices(devices), runtimes, precisions, batch, threads)
    options = ReadOptions(batch, shapes or {}, batch_axis, trip_count)
    graph = network if isinstance(network, Graph) else read_with(network, options)
    kernels = GraphKernels(graph)
    notes = list(graph.notes)
    if precisions is None and kernels.is_int8:
        # Its kernels are of integers on any target: those in floats are answers to another file.
        wanted = replace(wanted, precisions=[INT8])
        notes.append(f"the network is in {INT8}: targets in other precisions are left out")
    predictors, reasons = resolved(wanted, graph.batch or batch or 1)
    answers = list(_answers(predictors, kernels, max_latency_ms, coverage))
    if kernels.is_int8:
        notes += _notes_of_int8(predictors, wanted, is_asked=precisions is not None)
    if not answers:
        whys = [*reasons, *notes[len(graph.notes) :]]
        why = f" ({whys[0]})" if whys else ""
        raise UnresolvedError(wanted.unmet(graph.batch or batch or 1) + why)
    notes += _notes_of_new_kinds(predictors)
    order = {name: n for n, name in enumerate(CHANCES)}
    answers.sort(key=lambda a: (order[a.chance], -a.probability, a.latency_ms))
    counts = Counter(a.chance for a in answers)
    notes += [f"not answered: {why}" for why in reasons[:_MAX_REASONS]]
    if unsupported := graph.unsupported:
        notes.append(f"the cost of {', '.join(sorted(unsupported))} is not known and is estimated")
    is_open = precisions is None and not kernels.is_int8
    notes += _notes_of(answers, of_devices=devices is not None, of_precisions=is_open)
    is_met = order[answers[0].chance] <= order[at_least]
    ranking = DeviceRanking(
        name_of(network), max_latency_ms, graph.batch, coverage, at_least, is_met,
        {n: counts[n] for n in CHANCES}, tuple(answers), tuple(notes),
    )  # fmt: skip
    told = Counter(_verdict(each) for each in _by_device(answers).values())
    return replace(ranking, verdicts={n: told[n] for n in _VERDICTS})


def _notes_of(
    answers: Sequence[DeviceAnswer], *, of_devices: bool, of_precisions: bool
) -> Iterator[str]:
    """Yield what is to be said of answers; of devices that were named, and of any precision."""
    yield from _notes_of_width(answers)
    if of_devices:
        yield from _notes_of_measured(answers)
    if of_precisions:
        yield from _notes_of_quantized(answers)


def _notes_of_quantized(answers: Sequence[DeviceAnswer]) -> Iterator[str]:
    """Yield a note where the first target of a device is in int8, as the network is not."""
    best = {a.device: a for a in reversed(answers) if a.chance != "no"}
    if any(Target.parse(a.target).precision == INT8 for a in best.values()):
        yield (
            f"targets in {INT8} are of the network quantized, whose accuracy may be another "
            "(--precision fp32,fp16 leaves them out)"
        )


def _notes_of_measured(answers: Sequence[DeviceAnswer]) -> Iterator[str]:
    """Yield what measurements tell of devices that other runtimes leave undecided."""
    undecided = (own for own in _by_device(answers).values() if _verdict(own) == UNDECIDED)
    measured = (next((a for a in own if a.basis == "measurements"), None) for own in undecided)
    for answer in islice(filter(None, measured), _MAX_REASONS):
        yield (
            f"{answer.device} is undecided by runtimes that were not measured there; by what was, "
            f"{answer.target.partition('/')[2]}, it is {ms_text(answer.latency_ms)} ms "
            f"(P(within budget) {100 * answer.probability:.0f} %)"
        )


def _notes_of_width(answers: Sequence[DeviceAnswer]) -> Iterator[str]:
    """Yield a note where most intervals are too wide to decide by, as the budget is in them."""
    wide = sum(
        a.upper_ms > TOO_WIDE * a.lower_ms and a.chance not in ("certain", "no") for a in answers
    )
    if 2 * wide > len(answers):
        yield (
            f"{wide} of {len(answers)} intervals span more than a factor of {TOO_WIDE:.0f} about "
            "the budget, too wide to decide: measure the network, or a few like it, on a device "
            "that matters (latcast measure --models) and adapt (latcast adapt)"
        )


def _answers(
    predictors: Sequence[Resolved], kernels: GraphKernels, max_latency_ms: float, coverage: float
) -> Iterator[DeviceAnswer]:
    """:func:`answer_of` of every predictor; those of the joint model are asked all at once."""
    alike: dict[int, list[int]] = {}
    for n, found in enumerate(predictors):
        if found.predictor.kind == JointPredictor.kind:
            alike.setdefault(id(kernels.of(found)), []).append(n)
    known: dict[int, WithinBudget] = {}
    for places in alike.values():
        own: list[Any] = [predictors[n].predictor for n in places]
        networks = kernels.of(predictors[places[0]])
        within = within_each(own, networks, max_latency_ms, coverage)
        known |= {n: WithinBudget(*each) for n, each in zip(places, within, strict=True)}
    for n, found in enumerate(predictors):
        yield answer_of(found, kernels, max_latency_ms, coverage, known.get(n))


def _notes_of_int8(
    predictors: Sequence[Resolved], wanted: _Wanted, *, is_asked: bool
) -> Iterator[str]:
    """Yield notes on a network in int8: what runs it in floats, and what is left out."""
    if any(runs_dequantized(found) for found in predictors):
        yield f"the network is in {INT8}: targets in floats run it dequantized"
    answered = {found.predictor.target.device for found in predictors}
    left = [d.name for d in wanted.devices if d.name not in answered]
    if left and not is_asked:
        some = ", ".join(left[:_MAX_REASONS]) + (", …" if len(left) > _MAX_REASONS else "")
        yield (
            f"nothing was measured in {INT8} on devices like {len(left)} that are left out: "
            f"{some}; --precision fp32 asks for it dequantized"
        )


def _notes_of_new_kinds(predictors: Sequence[Resolved]) -> Iterator[str]:
    """Yield a note on runtimes that no table measured on devices of a kind."""
    new = [r.predictor.target for r in predictors if r.predictor.card.get("kind_is_new")]
    if told := list(dict.fromkeys(f"{public_runtime(t.runtime)} on {t.device}" for t in new)):
        some = ", ".join(told[:_MAX_REASONS]) + ", …" * (len(told) > _MAX_REASONS)
        yield (
            f"no table measured {some}, or any device of the kind: their forecasts are as of other "
            "kinds, and their intervals wider"
        )


def _devices(names: Sequence[str] | None) -> list[Device]:
    """Devices of the catalogue by their names, or all of them.

    Raises:
        UnresolvedError: there is none of that name; the message suggests the nearest.
    """
    known = devices()
    for name in names or ():
        if name not in known:
            raise UnresolvedError(unknown_name("device", name, list(known)))
    return list(known.values()) if names is None else [known[n] for n in dict.fromkeys(names)]


@dataclass(frozen=True)
class _Wanted:
    """Devices, and what is asked of their targets; None where nothing is said."""

    devices: Sequence[Device] = field(repr=False)
    runtimes: Sequence[str] | None
    precisions: Sequence[str] | None
    batch: int | None
    threads: int | None

    def resolved(self, batch: int) -> tuple[list[Resolved], list[str]]:
        """Predictors of all targets of a batch, and why others have none."""
        joint: Joint = open_shipped(JOINT, "joint")
        domains, questions, reasons = joint.domains, list[Question](), list[str]()
        for device in self.devices:
            for runtime, precision in self._asked(device, joint):
                try:
                    question = Question.of(
                        device, domains, runtime=runtime, batch=batch, precision=precision,
                        threads=self.threads or 0 if device.kind in ("cpu", "phone") else 0,
                    )  # fmt: skip
                    check_target(device, runtime, question.target.threads)
                except ValueError as error:
                    reasons.append(str(error))
                    continue
                questions.append(question)
        found = list(self._shipped(batch))
        for start in range(0, len(questions), _AT_ONCE):
            for predictor in joint.predictors(questions[start : start + _AT_ONCE]):
                basis: Basis = "measurements" if predictor.card["rows"] else "specification"
                found.append(Resolved(predictor.target.device, predictor, basis))
        return (list(map(by_host, found)) if len(self.devices) <= _FEW else found), reasons

    def _shipped(self, batch: int) -> Iterator[Resolved]:
        """Yield shipped models of one target that know networks, or whose runtime is named.

        Those of search spaces' architectures alone are out of their distribution with others.
        """
        names = {d.name for d in self.devices}
        for name in zoo.names("networks"):
            target = zoo.target(name, "networks")
            is_asked = (
                target.device in names
                and target.batch == batch
                and self._takes(target.runtime, target.precision)
                and self.threads in (None, target.threads)
                and (self.runtimes or zoo.header(name, "networks")["on_families"])
            )
            if is_asked:
                yield Resolved(target.device, open_shipped(name, "networks"))

    def _asked(self, device: Device, joint: Joint) -> list[_Pair]:
        """Runtimes and precisions that a device is asked about.

        They are those that can run there and that were measured on devices of its kind; all that
        can, where a runtime is named or none was measured so.
        """
        part = UNIT_OF_KIND[device.kind]
        facts, known, others = target_facts(device), list[_Pair](), list[_Pair]()
        for domain, precisions in joint.domains.items():
            runtime = domain.removesuffix(f"-{part}")
            if unit_of_runtime(domain) not in (part, None) or not _can_run(runtime, device):
                continue
            own = [(runtime, p) for p in precisions if p in PRECISIONS]
            own = [pair for pair in own if _computes(device, part, pair[1]) and self._takes(*pair)]
            is_known = joint.has_kind(domain, facts, device.group)
            (known if is_known else others).extend(own)
        return [*known, *others] if self.runtimes or not known else known

    def _takes(self, runtime: str, precision: str) -> bool:
        names = (name for r in self.runtimes or () for name in runtime_names(r))
        return (self.runtimes is None or runtime in names) and (
            self.precisions is None or precision in self.precisions
        )

    def unmet(self, batch: int) -> str:
        """Return the message that no target is as asked for: what there is, and what to do."""
        anything = replace(self, runtimes=None, precisions=None, threads=None)
        found: dict[str, set[str]] = {}
        for each in resolved(anything, batch)[0]:
            target = each.predictor.target
            found.setdefault(public_runtime(target.runtime), set()).add(target.precision)
        what = "; ".join(f"{name} in {', '.join(sorted(found[name]))}" for name in sorted(found))
        some = ", ".join(d.name for d in self.devices[:_MAX_REASONS])
        on = some + (", …" if len(self.devices) > _MAX_REASONS else "")
        if not found:
            return f"no target of {on} is known: name other devices (latcast devices)"
        asked = [
            *(f"--runtime {r}" for r in self.runtimes or ()),
            *(f"--precision {','.join(p)}" for p in [self.precisions] if p),
            *(f"--threads {n}" for n in [self.threads] if n),
        ]
        return (
            f"no device, runtime and precision are as asked for ({' '.join(asked) or on}); on "
            f"{on} there is {what}: ask for one of these (--runtime, --precision), or leave both "
            "out to ask all"
        )


@remembering(lambda wanted, batch: (batch, repr(wanted), *(d.name for d in wanted.devices)))
def resolved(wanted: _Wanted, batch: int) -> tuple[list[Resolved], list[str]]:
    """Predictors of all targets, and why others have none: the same while the catalogue is."""
    return wanted.resolved(batch)


def _computes(device: Device, part: str, precision: str) -> bool:
    """Whether runtimes of a part of a chip compute in a precision, or in fp32 in its place."""
    if (part, precision) != ("cpu", "bf16"):
        return True
    fp32, bf16 = device.peak_flops("fp32"), device.peak_flops("bf16")
    return fp32 is not None and bf16 is not None and bf16 > _FASTER * fp32


def _can_run(runtime: str, device: Device) -> bool:
    """Whether a device runs networks by a runtime that a user can have.

    A planned GPU, of no known maker, runs PyTorch or LiteRT by the bandwidth of its memory.
    """
    first = runtime.partition("-")[0]
    if runtime in UNNAMED or only_on(runtime, device) is not None:
        return False
    is_told = any(x for n, x in target_facts(device).items() if n.startswith("vendor_"))
    if device.kind != "gpu" or is_told or first == "ncnn":
        return True
    return first in (_OF_PYTORCH if runs_pytorch(device) else ("tflite",))


def answer_of(
    found: Resolved,
    kernels: GraphKernels,
    max_latency_ms: float,
    coverage: float,
    within: WithinBudget | None = None,
) -> DeviceAnswer:
    """Return a predictor's answer for a network within a budget; ``within``, if that is known."""
    target = found.predictor.target
    if within is None:
        within = WithinBudget.of(found.predictor, kernels.of(found), max_latency_ms, coverage)
    memory = kernels.memory_bytes(found)
    device = devices().get(target.device)
    has = None if device is None or device.memory_gb is None else device.memory_gb * 1e9
    probability = float(within.probability[0])
    return DeviceAnswer(
        device=target.device,
        kind=None if device is None else device.kind,
        target=str(target),
        chance="no" if has is not None and memory > has else chance(probability),
        probability=probability,
        latency_ms=float(within.ms[0]),
        lower_ms=float(within.lower_ms[0]),
        upper_ms=float(within.upper_ms[0]),
        memory_bytes=memory,
        device_memory_bytes=has,
        basis=found.basis,
    )
