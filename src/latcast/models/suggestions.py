"""What to measure so that the forecast of one network becomes surer: networks, and its kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.graph import Graph, rules_of
from latcast.graph.read import ReadOptions, read_with
from latcast.networks import Networks, kernel_runs, working_kernels
from latcast.report.record import Column, Record, Table
from latcast.report.text import ms_text, start_of

from .joint import JointPredictor
from .joint._fit import SCATTER
from .joint._work import CLASSES, class_of
from .query import TargetQuery
from .resolve import resolve_one

Floats = npt.NDArray[np.float64]

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
    """What to measure on a device for the forecast of one network.

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

    def parts(self) -> Iterator[Table | str]:
        yield (
            f"{start_of(Path(self.network).name, 60)} on {self.device} ({self.target}): "
            f"{ms_text(self.latency_ms)} ms, {100 * self.coverage:g} % interval {_interval(self)} "
            f"(a factor of {self.upper_ms / self.lower_ms:.2g})"
        )
        if self.itself is not None:
            rows = [("the network itself", self.itself)]
            rows += [(f"{n}. {Path(x.network).name}", x) for n, x in enumerate(self.networks, 1)]
            columns = (
                Column("measure", lambda r: start_of(r[0], 48)),
                Column(
                    "it takes ms",
                    lambda r: ms_text(r[1].latency_ms),
                ),
                Column("then expected", lambda r: _interval(r[1])),
                Column("factor", lambda r: r[1].upper_ms / r[1].lower_ms, ".2f"),
            )
            yield Table(columns, rows, f"chosen among {self.candidates}; each after those above")
        columns = (
            Column("layer", lambda k: start_of(k.name, 32)),
            Column("operators", lambda k: start_of(k.operators, 24)),
            Column("ms", lambda k: ms_text(k.ms)),
            Column("% of the doubt", "share", ".0f", 100),
        )
        yield Table(columns, self.kernels[:MAX_LISTED], "what the doubt is about")


def _interval(row: Suggestions | SuggestedNetwork) -> str:
    return f"{ms_text(row.lower_ms)} – {ms_text(row.upper_ms)}"


def suggest_for(
    network: str | Path | Graph,
    device: str,
    *,
    samples: int = 5,
    among: Sequence[str | Path | Graph] | None = None,
    runtime: str | None = None,
    batch: int | None = None,
    precision: str | None = None,
    threads: int | None = None,
    similar_to: str | None = None,
    coverage: float = 0.9,
) -> Suggestions:
    """The networks whose measurement on a device narrows the forecast of one network most.

    Intervals to come are those around today's forecast, by the linearized posterior of the
    target's weights; how far forecasts are off with so many measurements is that of groups left
    out. Where a device's own layer model answers, which knows no other networks, the kernels tell
    what to measure.

    Args:
        network: a graph, or what :func:`latcast.read_graph` reads.
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

    Raises:
        ValueError: the device cannot be answered or stands for several targets, a network cannot
            be read, or a number makes no sense.
        FileNotFoundError: there is no such file.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1; got {samples}")
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, such as 0.9; got {coverage}")
    query = TargetQuery(runtime, batch, precision, threads)
    found = resolve_one(device, query, role="networks", similar_to=similar_to)
    predictor = found.predictor
    graph = _read(network, predictor.target.batch)
    own = predictor.predict(graph)
    lower, upper = predictor.predict_interval(graph, coverage)
    explained = predictor.explain(graph, coverage).kernels
    # Of models of one target alone, which need none of the joint model.
    if isinstance(predictor, JointPredictor):
        choice = _narrowed(predictor, graph, among, samples, coverage)
        note = "measuring the network itself settles it; the others tell of networks like it, too"
    else:
        widths = [k.ms * np.log(k.upper_ms / k.lower_ms) for k in explained]
        choice = _Choice(None, (), 0, np.square(widths) / np.sum(np.square(widths)))
        note = (
            "a model of this target alone answers, which does not tell what other networks would "
            "tell of this one: measure it, or networks with the kernels that are listed, and adapt"
        )
    kernels = [
        DoubtfulKernel(k.name, k.operators, k.ms, float(share))
        for k, share in zip(explained, choice.shares, strict=True)
    ]
    return Suggestions(
        network=network.name if isinstance(network, Graph) else str(network),
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
        notes=(*found.notes, note),
    )


class _Choice(NamedTuple):
    itself: SuggestedNetwork | None
    networks: tuple[SuggestedNetwork, ...]
    candidates: int
    shares: Floats


def _narrowed(
    predictor: JointPredictor,
    graph: Graph,
    among: Sequence[str | Path | Graph] | None,
    samples: int,
    coverage: float,
) -> _Choice:
    """What to measure, by the joint model."""
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


def _read(network: str | Path | Graph, batch: int) -> Graph:
    if isinstance(network, Graph):
        return network
    graph = read_with(Path(network), ReadOptions())
    if graph.batch in (batch, None):
        return graph
    return read_with(Path(network), ReadOptions(batch))


def _candidates(
    predictor: JointPredictor, graph: Graph, among: Sequence[str | Path | Graph] | None
) -> tuple[list[str], Networks]:
    """Names and kernels of what can be measured."""
    target = predictor._as_fused
    if among is not None:
        graphs = [_read(item, target.batch) for item in among]
        names = [x.name if isinstance(x, Graph) else str(x) for x in among]
        return names, Networks.of(graphs, target)
    from latcast.networks.corpus import read_corpus

    corpus = read_corpus()
    names = [n for n in corpus.names if n.startswith(_OF_CORPUS) and "/" not in n]
    kernels = corpus.networks(names, target.runtime, target.batch)
    fits = predictor.predict(kernels) <= MOST_TIMES * predictor.predict(graph)[0]
    kept = np.flatnonzero(fits & knows_kinds(predictor, kernels))
    return [names[n] for n in kept], kernels.select(kept)


# --- by the linearized posterior of the joint model ----------------------------------------------


@dataclass(frozen=True, eq=False)
class Narrowing:
    """Standard deviations of the logarithm of one network's ms, as they are and may become.

    Attributes:
        itself: after it was measured itself.
        chosen: positions of other networks to measure, in their order.
        after: after each of these and those before it, as many.
    """

    itself: float
    chosen: tuple[int, ...]
    after: tuple[float, ...]

    @classmethod
    def of(
        cls, predictor: JointPredictor, network: Networks, candidates: Networks, steps: int
    ) -> Narrowing:
        """By the joint model's posterior of a target.

        Args:
            predictor: of the target.
            network: one, as the target's runtime runs it.
            candidates: likewise, n networks to choose from; the network itself is left out.
            steps: how many to choose at most.
        """
        log_ms, slopes = _slopes(predictor, network)
        others, their = _slopes(predictor, candidates)
        places = np.flatnonzero(np.abs(others - log_ms[0]) > 1e-9)
        effects, covariance = predictor._effects, predictor._after.covariance
        noise = np.full(len(places), effects.mean_variance + effects.variance + SCATTER**2)
        chosen, left = narrow(covariance, slopes[0], their[places], noise, steps)
        now = float(predictor._forecast((network, None))[1][0]) ** 2
        # What a network takes beside its work is its own: no other one tells of it.
        own = now - float(slopes[0] @ covariance @ slopes[0])
        after = tuple(float(np.sqrt(max(variance + own, SCATTER**2))) for variance in left)
        itself = float(np.sqrt(now * SCATTER**2 / (now + SCATTER**2)))
        return cls(itself, tuple(int(places[n]) for n in chosen), after)


def _slopes(predictor: JointPredictor, networks: Networks) -> tuple[Floats, Floats]:
    """Log ms by the weights as they are known, and their slopes in these, (n,) and (n, p)."""
    work, weights = predictor._work(networks), predictor._after.weights
    return predictor._prior.log_ms(work, networks.counts, weights)


def knows_kinds(predictor: JointPredictor, networks: Networks) -> npt.NDArray[np.bool_]:
    """Whether the like of all kernels of a network was measured in the target's domain, (n,)."""
    seen = {CLASSES.index(name) for name in predictor._seen if name in CLASSES[:-1]}
    new = ~np.isin(class_of(networks), list(seen))
    return np.asarray(networks.counts @ new.astype(np.float64) == 0)


def doubt_shares(predictor: JointPredictor, graph: Graph) -> Floats:
    """What each working kernel adds to the variance of log ms by the weights, in shares, (k,).

    The network's slopes are the mean of its kernels' slopes, weighted by their ms, so that the
    variance is a sum over kernels; one whose error makes up for others' has a share below 0.
    """
    networks, _ = predictor._own(graph)
    each = sp.identity(len(networks.ops), format="csr")
    prior, work = predictor._prior, predictor._work(networks)
    log_each, slopes = prior.log_ms(work, each, predictor._after.weights)
    found = working_kernels(graph, rules_of(predictor._as_fused.runtime))
    rows, times = networks.rows[0], kernel_runs(graph, found)
    parts = np.exp(log_each[rows]) * times
    parts /= parts.sum()
    along = slopes[rows] @ (predictor._after.covariance @ (parts @ slopes[rows]))
    shares = parts * along
    return np.asarray(shares / shares.sum())


def narrow(
    covariance: Floats, slopes: Floats, candidates: Floats, own: Floats, steps: int
) -> tuple[list[int], list[float]]:
    """Candidates whose measurements together leave least doubt of a network, one after the other.

    Log ms are linear in the weights, ``slopes @ weights``, and what is measured has a variance of
    its own besides. A measurement with slopes s and own variance v takes (t C s)^2 / (s C s + v)
    from the variance t C t of a network with slopes t, and C s s C / (s C s + v) from the
    covariance C: each step takes the candidate of the greatest gain (Krause, Singh and Guestrin,
    *Near-Optimal Sensor Placements in Gaussian Processes*, JMLR 2008).

    Args:
        covariance: of the weights before, shape (p, p).
        slopes: of the network, shape (p,).
        candidates: slopes of what can be measured, shape (n, p).
        own: variances of these beside the weights, noise among them, shape (n,).
        steps: how many to choose at most.

    Returns:
        Positions of the chosen in their order, and the variance of the network's log ms by the
        weights after each; fewer than ``steps`` where there are no more.
    """
    chosen: list[int] = []
    left: list[float] = []
    for _ in range(min(steps, len(candidates))):
        moved = candidates @ covariance
        variance = np.einsum("ij,ij->i", moved, candidates) + own
        gain = (moved @ slopes) ** 2 / variance
        gain[chosen] = -1.0
        best = int(gain.argmax())
        covariance = covariance - np.outer(moved[best], moved[best]) / variance[best]
        chosen.append(best)
        left.append(max(float(slopes @ covariance @ slopes), 0.0))
    return chosen, left
