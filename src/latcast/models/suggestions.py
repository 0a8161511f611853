"""Suggestions of measurements that narrow forecasts: of one network, or of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latcast.graph import Graph
from latcast.graph.read import Network, ReadOptions, name_of, read_with
from latcast.math.one_thread import in_one_blas_thread
from latcast.networks import Networks
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.markup import counted, end_of, start_of
from latcast.report.record import Record
from latcast.report.table import Column, Table
from latcast.report.text import factor_text, interval_column, ms_column, ms_text

from .forecast_records import ForecastKernel
from .joint import JointPredictor
from .narrowing import Narrowing, doubt_shares, knows_kinds, telling, was_measured
from .quantized_network import as_asked, in_own_precision
from .query import Resolved, TargetQuery
from .resolve import resolve_one

Floats = npt.NDArray[np.float64]
Shapes = Mapping[str, Sequence[int]] | None

# Kernels that a table shows; the record holds all.
MAX_LISTED = 5
# Forecast of a network of the corpus over that of the network in question, at most: what is
# measured instead of it should not take much longer.
MOST_TIMES = 10.0
# Of the corpus, those that everybody can make.
_OF_CORPUS = "timm:"


@dataclass(frozen=True)
class SuggestedNetwork:
    """A network to measure, and what the forecast is then expected to be.

    Attributes:
        network: its name or file.
        latency_ms: forecast of it, ms; null for the network in question itself.
        lower_ms: lower end of the interval of the network in question after it and those before
            it were measured, ms; around what is forecast today.
        upper_ms: upper end, ms.
    """

    network: str
    latency_ms: float | None
    lower_ms: float
    upper_ms: float


@dataclass(frozen=True)
class DoubtfulKernel:
    """A kernel, and how much of the doubt is about it.

    Attributes:
        name: of its main layer.
        operators: its operators in running order.
        ms: milliseconds attributed to it.
        share: of the variance of the forecast's logarithm, 0 to 1.
    """

    name: str
    operators: str
    ms: float
    share: float


@dataclass(frozen=True, repr=False)
class Suggestions(Record):
    """The measurements on a device that narrow the forecast of one network most.

    Attributes:
        network: its name or file.
        device: as it was asked for.
        target: the target that the forecast is of.
        coverage: of the intervals, 0 to 1.
        latency_ms: forecast, ms.
        lower_ms: lower end of its interval, ms.
        upper_ms: upper end, ms.
        itself: the interval that is expected after measuring the network itself; null where the
            model does not tell.
        networks: other networks to measure, that which narrows the interval most first; each
            interval is the one after it and those before it.
        candidates: networks among which these were chosen.
        kernels: of the network, that of the most doubt first.
        notes: about where the forecast comes from, and what was left out, a sentence each.
    """

    schema = "suggestions"
    frame = "networks"

    network: str
    device: str
    target: str
    coverage: float
    latency_ms: float
    lower_ms: float
    upper_ms: float
    itself: SuggestedNetwork | None
    networks: tuple[SuggestedNetwork, ...]
    candidates: int
    kernels: tuple[DoubtfulKernel, ...]
    notes: tuple[str, ...]

    def headline(self) -> str:
        return f"What to measure for {Path(self.network).name} on {self.device}"

    def answer(self) -> str:
        now = self.upper_ms / self.lower_ms
        text = f"The forecast's interval spans a factor of {now:.2f}"
        if self.networks:
            last, count = self.networks[-1], len(self.networks)
            what = Path(self.networks[0].network).name + (
                f" and {counted(count - 1, 'other')}" * (count > 1)
            )
            text += f"; measure {what}, and a factor of {last.upper_ms / last.lower_ms:.2f} is left"
        return f"{text}."

    def figures(self) -> Iterator[Figure]:
        rows = [("today", self.latency_ms, self.lower_ms, self.upper_ms)]
        if self.itself is not None:
            ends = self.itself.lower_ms, self.itself.upper_ms
            rows.append(("after the network itself", self.latency_ms, *ends))
        rows += [
            (f"after {n}. {Path(x.network).name}", self.latency_ms, x.lower_ms, x.upper_ms)
            for n, x in enumerate(self.networks, 1)
        ]
        caption = f"{100 * self.coverage:g} % intervals, each after those above it were measured."
        yield charts.intervals("How the interval narrows", rows, of="measurement", caption=caption)

    def parts(self) -> Iterator[Table | str]:
        interval = f"{ms_text(self.lower_ms)} – {ms_text(self.upper_ms)}"
        yield (
            f"{start_of(Path(self.network).name, 60)} on {self.device} ({self.target}): "
            f"{ms_text(self.latency_ms)} ms, {100 * self.coverage:g} % interval {interval} "
            f"(a factor of {factor_text(self.upper_ms / self.lower_ms)})"
        )
        if self.itself is not None:
            rows = [("the network itself", self.itself)]
            rows += [(f"{n}. {Path(x.network).name}", x) for n, x in enumerate(self.networks, 1)]
            columns = (
                Column("measure", lambda r: start_of(r[0], 48)),
                Column("it takes ms", lambda r: r[1].latency_ms, ms_text),
                replace(interval_column(self.coverage, of=lambda r: r[1]), label="then expected"),
                Column("factor", lambda r: r[1].upper_ms / r[1].lower_ms, ".2f"),
            )
            among = f"chosen among {self.candidates}; each after those above"
            if not self.candidates:
                among = "no other network is known as the runtime runs it"
            yield Table(columns, rows, among)
        columns = (
            Column("layer", lambda k: end_of(k.name, 60)),
            Column("operators", lambda k: start_of(k.operators, 24)),
            ms_column("ms", "ms"),
            Column("% of the doubt", "share", ".0f", 100),
        )
        yield Table(columns, self.kernels[:MAX_LISTED], "what the doubt is about")


@dataclass(frozen=True)
class TellingNetwork:
    """A network to measure, and how sure forecasts are then expected to be.

    Attributes:
        network: its name or file.
        latency_ms: forecast of it, ms.
        factor: upper end of an interval over its lower end after it and those before it were
            measured, of the candidates on average.
    """

    network: str
    latency_ms: float
    factor: float


@dataclass(frozen=True, repr=False)
class Telling(Record):
    """The measurements on a device that narrow forecasts of all networks most.

    Attributes:
        device: as it was asked for.
        target: the target that the forecasts are of.
        coverage: of the intervals, 0 to 1.
        candidates: networks among which these were chosen, and whose forecasts count.
        factor: upper end of an interval over its lower end today, of the candidates on average.
        networks: to measure, that which tells the most first.
        notes: about where the forecasts come from, and what was left out, a sentence each.
    """

    schema = "telling"
    frame = "networks"

    device: str
    target: str
    coverage: float
    candidates: int
    factor: float
    networks: tuple[TellingNetwork, ...]
    notes: tuple[str, ...]

    def headline(self) -> str:
        return f"What to measure on {self.device}"

    def answer(self) -> str:
        text = f"Intervals span a factor of {self.factor:.2f} on average"
        if self.networks:
            last = self.networks[-1].factor
            these = counted(len(self.networks), "network")
            text += f"; measure the {these} below, and a factor of {last:.2f} is left"
        return f"{text}."

    def figures(self) -> Iterator[Figure]:
        rows = [("today", self.factor), *((Path(n.network).name, n.factor) for n in self.networks)]
        yield charts.bars("Factor that intervals span", rows, "factor", of="network",
                          caption="Each with those above it measured.")  # fmt: skip

    def parts(self) -> Iterator[Table | str]:
        yield (
            f"{self.device} ({self.target}): {100 * self.coverage:g} % intervals of "
            f"{counted(self.candidates, 'network')} span a factor of {self.factor:.2f} on average"
        )
        columns = (
            Column("measure", lambda r: start_of(Path(r[1].network).name, 48)),
            Column("it takes ms", lambda r: r[1].latency_ms, ms_text),
            Column("then factor", lambda r: r[1].factor, ".2f"),
        )
        yield Table(columns, list(enumerate(self.networks, 1)), "each after those above")


@in_one_blas_thread
def suggest_for(
    network: Network,
    device: str,
    samples: int = 5,
    *,
    among: Sequence[Network] | None = None,
    runtime: str | None = None,
    batch: int | None = None,
    precision: str | None = None,
    threads: int | None = None,
    similar_to: str | None = None,
    coverage: float = 0.9,
    shapes: Shapes = None,
    batch_axis: int | Mapping[str, int] | None = None,
    trip_count: int | None = None,
) -> Suggestions:
    """The networks whose measurement on a device narrows the forecast of one network most.

    Intervals to come are those around today's forecast, by the linearized posterior of the
    target's weights; how far forecasts are off with so many measurements is that of groups left
    out. Where a device's own layer model answers, which knows no other networks, the kernels tell
    what to measure.

    Args:
        network: what :func:`latcast.read_graph` takes.
        device: as :func:`latcast.forecast` takes it.
        samples: networks to suggest at most.
        among: to choose from; by default networks of timm in the shipped corpus all of whose
            kinds of kernels the model knows on such devices, and that do not take much longer.
        runtime: of the target; what is given holds exactly.
        batch: likewise.
        precision: likewise.
        threads: likewise, of the CPU.
        similar_to: a device of the catalogue that one of another name is like.
        coverage: of the intervals, between 0 and 1.
        shapes: of the network's inputs that its file leaves open, or of a torch module's.
        batch_axis: which side of the inputs of its file is the batch.
        trip_count: trips of every loop of its file whose count is no constant.

    Raises:
        ValueError: the device cannot be answered or stands for several targets, a network cannot
            be read, or a number makes no sense.
        FileNotFoundError: there is no such file.
    """
    query = TargetQuery(runtime, batch, precision, threads)
    options = ReadOptions(None, shapes or {}, batch_axis, trip_count)

    def ask(query: TargetQuery) -> list[Resolved]:
        return [_asked(device, query, similar_to, samples, coverage)]

    # Read for a target's batch, which is known when something answers.
    read = lru_cache(maxsize=1)(lambda batch: _read(network, batch, options))
    (found,) = in_own_precision(device, query, ask, lambda batch: read(batch).precision)
    predictor = found.predictor
    graph, as_told = as_asked(read(predictor.target.batch), found)
    own = predictor.predict(graph)
    lower, upper = predictor.predict_interval(graph, coverage)
    explained = predictor.explain(graph, coverage).kernels
    if isinstance(predictor, JointPredictor):
        choice = _narrowed(predictor, graph, among, samples, coverage)
        note = "measuring the network itself settles it; the others tell of networks like it, too"
    else:
        choice, note = _by_kernels(explained), _OF_ONE_TARGET
    rows = zip(explained, choice.shares, strict=True)
    kernels = [DoubtfulKernel(k.name, k.operators, k.ms, float(share)) for k, share in rows]
    return Suggestions(
        network=name_of(network),
        device=device,
        target=str(predictor.target),
        coverage=coverage,
        latency_ms=float(own[0]),
        lower_ms=float(lower[0]),
        upper_ms=float(upper[0]),
        itself=choice.itself,
        networks=choice.networks,
        candidates=choice.candidates,
        kernels=tuple(sorted(kernels, key=lambda k: -k.share)),
        notes=(*found.notes, *filter(None, (as_told, note))),
    )


# Of models of one target alone, which need none of the joint model.
_OF_ONE_TARGET = (
    "a model of this target alone answers, which does not tell what other networks would tell of "
    "this one: measure it, or networks with the kernels that are listed, and adapt"
)


def _by_kernels(kernels: Sequence[ForecastKernel]) -> _Choice:
    """Return how much each kernel has of what is not known, where no other network tells of it."""
    widths = np.array([k.ms * np.log(k.upper_ms / k.lower_ms) for k in kernels])
    return _Choice(None, (), 0, np.square(widths) / np.sum(np.square(widths)))


@in_one_blas_thread
def suggest_on(
    device: str,
    samples: int = 5,
    *,
    among: Sequence[Network] | None = None,
    runtime: str | None = None,
    batch: int | None = None,
    precision: str | None = None,
    threads: int | None = None,
    similar_to: str | None = None,
    coverage: float = 0.9,
) -> Telling:
    """The networks whose measurement on a device makes forecasts of all candidates surest.

    They take the most from the mean variance of the candidates' logarithms, by the linearized
    posterior of the target's weights.

    Args:
        device: as :func:`latcast.forecast` takes it.
        samples: networks to suggest at most.
        among: to choose from, and to forecast then; by default networks of timm, as of
            :func:`suggest_for`, none of which takes ten times as long as the middle one.
        runtime: of the target; what is given holds exactly.
        batch: likewise.
        precision: likewise.
        threads: likewise, of the CPU.
        similar_to: a device of the catalogue that one of another name is like.
        coverage: of the intervals, between 0 and 1.

    Raises:
        ValueError: the device cannot be answered, stands for several targets or is answered by a
            model of one target alone, a network cannot be read, or a number makes no sense.
        FileNotFoundError: there is no such file.
    """
    query = TargetQuery(runtime, batch, precision, threads)
    found = _asked(device, query, similar_to, samples, coverage)
    predictor = found.predictor
    if not isinstance(predictor, JointPredictor):
        raise ValueError(
            f"{device} must be answered by the joint model, which knows what networks tell of "
            f"each other; a model of {predictor.target} alone answers: name the network whose "
            "forecast is to become surer"
        )
    names, kernels = _candidates(predictor, None, among)
    if not names:
        raise ValueError(
            f"kernels like those of a network must be known on {predictor.target}; those of none "
            "in the corpus are: name networks to choose among"
            if among is None
            else f"a network to choose among must be left to measure on {predictor.target}; what "
            "was adapted to is left out: name others"
        )
    chosen, now, left = telling(predictor, kernels, samples)
    reaches = [
        predictor.intervals(more).quantile(coverage) * deviation
        for more, deviation in enumerate((now, *left))
    ]
    # As of one forecast: with more measurements nothing is less known.
    factors = np.exp(2 * np.minimum.accumulate(reaches)).tolist()
    their = predictor.predict(kernels.select(chosen)).tolist() if chosen else []
    steps = zip(chosen, their, factors[1:], strict=True)
    return Telling(
        device=device,
        target=str(predictor.target),
        coverage=coverage,
        candidates=len(names),
        factor=factors[0],
        networks=tuple(TellingNetwork(names[n], ms, factor) for n, ms, factor in steps),
        notes=tuple(found.notes),
    )


def _asked(
    device: str, query: TargetQuery, similar_to: str | None, samples: int, coverage: float
) -> Resolved:
    if samples < 1:
        raise ValueError(f"samples must be at least 1; got {samples}")
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, such as 0.9; got {coverage}")
    return resolve_one(device, query, role="networks", similar_to=similar_to)


class _Choice(NamedTuple):
    itself: SuggestedNetwork | None
    networks: tuple[SuggestedNetwork, ...]
    candidates: int
    shares: Floats


def _narrowed(
    predictor: JointPredictor,
    graph: Graph,
    among: Sequence[Network] | None,
    samples: int,
    coverage: float,
) -> _Choice:
    """Choose measurements by the joint model."""
    names, kernels = _candidates(predictor, graph, among)
    own = predictor._own(graph)[0]
    found = Narrowing.of(predictor, own, kernels, samples)
    ms, least = float(predictor.predict(graph)[0]), float(predictor._limits((own, graph))[0])

    def after(name: str, latency_ms: float | None, reach: float) -> SuggestedNetwork:
        factor = float(np.exp(reach))
        return SuggestedNetwork(name, latency_ms, max(ms / factor, least), ms * factor)

    reaches = [
        predictor.intervals(more).quantile(coverage) * deviation
        for more, deviation in ((1, found.itself), *enumerate(found.after, 1))
    ]
    # With more measurements nothing is less known, whatever few left-out groups say of that many.
    others = np.minimum.accumulate(reaches[1:]).tolist()
    chosen = kernels.select(found.chosen)
    their = predictor.predict(chosen).tolist() if found.chosen else []
    steps = zip(found.chosen, their, others, strict=True)
    return _Choice(
        after(graph.name, None, reaches[0]),
        tuple(after(names[n], ms_of, reach) for n, ms_of, reach in steps),
        len(names),
        doubt_shares(predictor, graph),
    )


def _read(network: Network, batch: int, options: ReadOptions | None = None) -> Graph:
    options = options or ReadOptions()
    graph = read_with(network, options)
    if graph.batch in (batch, None) or not isinstance(network, str | Path | bytes):
        return graph
    return read_with(network, replace(options, batch=batch))


def _candidates(
    predictor: JointPredictor, graph: Graph | None, among: Sequence[Network] | None
) -> tuple[list[str], Networks]:
    """Names and kernels of what can be measured, for a graph or for all of them.

    What the predictor was adapted to is left out.
    """
    target = predictor._as_fused
    if among is not None:
        graphs = [_read(item, target.batch) for item in among]
        names, kernels = list(map(name_of, among)), Networks.of(graphs, target)
        kept = np.flatnonzero(~was_measured(predictor, kernels))
        return [names[n] for n in kept], kernels.select(kept)
    from latcast.networks.corpus import read_corpus

    corpus = read_corpus()
    names = [n for n in corpus.names if n.startswith(_OF_CORPUS) and "/" not in n]
    kernels = corpus.networks(names, target.runtime, target.batch, target.precision)
    ms = predictor.predict(kernels)
    known = knows_kinds(predictor, kernels) & ~was_measured(predictor, kernels)
    usual = np.median(ms[known] if known.any() else ms)
    if graph is not None:
        usual = predictor.predict(graph)[0]
    kept = np.flatnonzero(known & (ms <= MOST_TIMES * usual))
    return [names[n] for n in kept], kernels.select(kept)
