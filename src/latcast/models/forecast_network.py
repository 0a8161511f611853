"""The forecast of one network of any kind on devices, kernel by kernel."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeVar

from latcast.data import LATENCY_MS, Quantity
from latcast.devices import PRECISIONS, Target, devices
from latcast.graph import OPERATORS, Graph, rules_of
from latcast.graph.precision import BITS, main_precision, precision_text
from latcast.graph.read import (
    SUFFIXES,
    Network,
    ReadOptions,
    UnknownBatchError,
    is_network,
    name_of,
    read_with,
)
from latcast.models.kernels import Extrapolation, LayerExplanation
from latcast.networks import working_kernels
from latcast.report.markup import counted
from latcast.report.text import bytes_text, count_text, ms_text

from .forecast_records import (
    Extrapolated,
    FasterPrecision,
    ForecastKernel,
    NetworkCosts,
    NetworkForecast,
    NetworkOnTarget,
    Specification,
    Unsupported,
    UnsupportedOperator,
)
from .quantized_network import INT8, as_asked, in_own_precision, note_on_signed
from .resolve import Resolved, TargetQuery, UnresolvedError, resolve

if TYPE_CHECKING:
    from latcast.models.joint import Faster


# A network by its batch.
GraphOf = Callable[[int], Graph]


# Entries of a model's card that the record repeats.
_CARD = (
    "data", "rows", "families", "split", "metrics", "metrics_by_family", "licence", "note", "base",
)  # fmt: skip
# Operators that an error names.
MAX_LISTED = 5


R = TypeVar("R")


class UnsupportedOperatorError(ValueError):
    """The cost of an operator is not known: the network's fault, not a device's."""


def rows_of(
    names: Sequence[str | Path],
    queries: Sequence[TargetQuery],
    find: Callable[[str, TargetQuery], list[Resolved]],
    answer: Callable[[Resolved], R],
    refused: Callable[..., R],
    of: Quantity = LATENCY_MS,
) -> list[R]:
    """A row for every predictor of every name and query, or one that says why there is none.

    Raises:
        Exception: the first of the reasons, where no name can be answered.
    """
    rows: list[R] = []
    errors: list[Exception] = []

    def refuse(name: str, error: Exception) -> None:
        errors.append(error)
        rows.append(refused(name, error=" ".join(str(error).split())))

    # What is asked for twice is answered once.
    asked = dict.fromkeys((str(n), q) for n in names for q in queries)
    for name, query in asked:
        try:
            resolved = find(name, query)
        except (ValueError, FileNotFoundError) as error:
            refuse(name, error)
            continue
        for found in resolved:
            try:
                _check_quantity(found, of)
                rows.append(answer(found))
            except UnsupportedOperatorError:
                raise
            except (ValueError, FileNotFoundError) as error:
                refuse(found.name, error)
    if errors and len(errors) == len(rows):
        raise errors[0]
    return rows


def _check_quantity(found: Resolved, of: Quantity) -> None:
    """Make sure that what is told in one unit is of one quantity.

    Raises:
        UnresolvedError: the model predicts another quantity.
    """
    if (own := found.predictor.fitted.quantity) != of:
        raise UnresolvedError(
            f"a forecast of {of.plural} needs models of them; {found.name} is one of {own.plural} "
            f"in {own.unit}: ask it by itself"
        )


def graph_reader(network: Network, options: ReadOptions) -> GraphOf:
    """The network by its batch; a file is read once for each."""
    if not isinstance(network, str | Path):
        graph = read_with(network, options)
        return lambda _batch: graph
    path, known = Path(network), dict[int, Graph]()
    if not is_network(path):
        raise ValueError(
            f"what to predict must end in {', '.join(SUFFIXES)} (a model) or .json "
            f"(architectures), or be a name such as timm:resnet18; got {path}"
        )

    def read(batch: int) -> Graph:
        if batch not in known:
            known[batch] = _read_for(path, options, batch)
        return known[batch]

    return read


def _read_for(path: Path, options: ReadOptions, batch: int) -> Graph:
    """The network of a file for a target's batch, as far as the file lets its batch be changed.

    Its own sides hold where that cannot be, and where a batch or shapes are asked for.
    """
    graph = read_with(path, options)
    if graph.batch == batch or options.batch is not None:
        return graph
    try:
        found = read_with(path, replace(options, batch=batch))
    except UnknownBatchError:
        return graph
    except ValueError as error:
        return graph.noted(graph.sources, (*graph.notes, str(error)))
    if graph.batch is None or found.macs * graph.batch == graph.macs * batch:
        return found
    note = (
        f"with batch {batch} instead of {graph.batch} the network has "
        f"{found.macs / max(1, graph.macs):.3g} times the MACs: shapes that the file fixes inside "
        "do not go along"
    )
    return found.noted(found.sources, (*found.notes, note))


def batch_notes(graph: Graph, batch: int, *, exactly: bool) -> tuple[str, ...]:
    """Return a note if a network is not of a target's batch, or if its batch is unknown.

    Raises:
        ValueError: that batch was asked for exactly.
    """
    firsts = {x.shape[0] for x in graph.sources if x.shape}
    if graph.batch == batch or (graph.batch is None and firsts in (set(), {batch})):
        return ()
    told = ", ".join(f"{x.name} {'x'.join(map(str, x.shape))}" for x in graph.sources)
    of = f"batch {graph.batch}" if graph.batch else "nothing tells which side is the batch"
    hint = "" if graph.batch or not graph.sources else "; --batch-axis says it"
    if exactly and (graph.batch is not None or batch > 1):
        reason = f": {graph.notes[-1]}" if graph.notes else ""
        raise ValueError(
            f"--batch {batch} must be a batch that the network can have; its inputs are {told} "
            f"({of}{hint}){reason}"
        )
    note = f"the target's batch is {batch}; the forecast is for the network's own inputs"
    return (f"{note}{f', {told}' if told else ''} ({of}{hint})",)


def forecast_network(
    network: Network,
    names: Sequence[str | Path],
    queries: TargetQuery | Sequence[TargetQuery],
    options: ReadOptions,
    coverage: float,
    *,
    strict: bool = False,
    similar_to: str | None = None,
    vary: tuple[str, float] | None = None,
) -> NetworkForecast:
    """:func:`forecast`, of a network of any kind; a batch in ``options`` is that of its file.

    Raises:
        ValueError, FileNotFoundError: likewise.
    """
    queries = [queries] if isinstance(queries, TargetQuery) else list(dict.fromkeys(queries))
    graph_of = graph_reader(network, options)
    file = str(network) if isinstance(network, str | Path) else None
    name = name_of(network) if file is None else Path(file).name
    if file == "-":
        name = "standard input"
    graphs: list[Graph] = []
    rules: Rules = {}

    def answer(found: Resolved) -> NetworkOnTarget:
        _check_coverage(found, coverage)
        # Of predictors of the joint model, which only a device without another one loads.
        rules[str(found.predictor.target)] = getattr(found.predictor, "faster", {})
        batch = found.predictor.target.batch
        graph = graph_of(batch)
        exactly = queries[0].batch is not None and file is not None
        notes = (*batch_notes(graph, batch, exactly=exactly), *graph.notes)
        graph = graph.noted(graph.sources, notes)
        if strict and graph.unsupported:
            raise UnsupportedOperatorError(_unsupported_message(file or name, graph))
        graphs.append(graph)
        return _network_row(found, graph, coverage)

    def find(name: str, query: TargetQuery) -> list[Resolved]:
        def ask(query: TargetQuery) -> list[Resolved]:
            return resolve(name, query, role="networks", similar_to=similar_to, vary=vary)

        def precision_of(batch: int) -> str | None:
            return graph_of(batch).precision

        found = in_own_precision(name, query, ask, precision_of)
        return found if len(queries) == 1 else _by_one_runtime(found, query, queries, ask)

    rows = rows_of(names, queries, find, answer, NetworkOnTarget)
    graph, first = graphs[0], next(row for row in rows if row.error is None)
    batches = sorted({row.batch for row in rows if row.batch is not None})
    notes: tuple[str, ...] = ()
    if len(batches) > 1:
        listed = ", ".join(map(str, batches))
        notes = (f"batches differ ({listed}); the milliseconds are those of a whole batch",)
    costs = NetworkCosts(name, graph.working, len(first.kernels), **(first.costs or {}))
    unsupported = _unsupported(graph)
    return NetworkForecast(
        file, costs, graph.sources, coverage, unsupported, tuple(rows), notes,
        tuple(_faster(rows, coverage, rules)),
    )  # fmt: skip


def _by_one_runtime(
    found: list[Resolved],
    query: TargetQuery,
    queries: Sequence[TargetQuery],
    ask: Callable[[TargetQuery], list[Resolved]],
) -> list[Resolved]:
    """The answer in one of several precisions, by the runtime that all of them are forecast for.

    Where none is asked for and int8 is usual by another than the rest, such as TensorRT, whether
    int8 is faster is a question about that one.
    """
    in_int8 = next((q for q in queries if q.precision == INT8), None)
    if query.runtime is not None or in_int8 is None or query is in_int8:
        return found
    own, other = ({x.predictor.target.runtime for x in each} for each in (found, ask(in_int8)))
    if own == other or len(own) != 1 or len(other) != 1:
        return found
    (runtime,) = other
    found = ask(replace(query, runtime=runtime))
    note = f"no runtime is asked for: the forecast is for {runtime}, as in {INT8} (--runtime)"
    return [replace(each, notes=[note, *each.notes]) for each in found]


Rules = dict[str, "Mapping[str, Faster]"]
"""Target, and a precision that it may be faster than -> when it is."""


def _faster(
    rows: Sequence[NetworkOnTarget], coverage: float, rules: Rules
) -> Iterator[FasterPrecision]:
    """How likely each precision is faster than the first one of the same device and runtime.

    By what was learnt from networks that were left out, where it was. Else errors of two precisions
    are taken as independent and log-normal: of the targets of the public tables that differ in
    their precision alone, deviations correlate by 0.02.
    """
    to_end = NormalDist().inv_cdf((1 + coverage) / 2)
    first: dict[str, tuple[Target, NetworkOnTarget]] = {}
    for row in rows:
        if row.target is None or row.latency_ms is None or row.upper_ms is None:
            continue
        target = Target.parse(row.target)
        key = str(replace(target, precision="fp32"))
        of, other = first.setdefault(key, (target, row))
        if of.precision == target.precision or not row.latency_ms or not other.latency_ms:
            continue
        ends = [math.log((r.upper_ms or 0) / (r.latency_ms or 1)) for r in (row, other)]
        deviation = math.hypot(*ends) / to_end
        gain = math.log(other.latency_ms / row.latency_ms)
        probability = NormalDist(0, max(deviation, 1e-9)).cdf(gain)
        if rule := rules.get(row.target, {}).get(of.precision):
            probability = float(rule.probability(-gain))
        yield FasterPrecision(row.device, key, target.precision, of.precision, probability)


def _network_row(resolved: Resolved, graph: Graph, coverage: float) -> NetworkOnTarget:
    model = resolved.predictor
    target = model.target
    asked, note = as_asked(graph, resolved)
    if asked.sources and asked.batch != target.batch:
        # A predictor refuses another batch than its own; here a note says that it extrapolates.
        sources = tuple(replace(x, batch_axis=None) for x in asked.sources)
        asked = asked.noted(sources, asked.notes)
    found = model.explain(asked, coverage)
    notes = [*resolved.notes, *model.doubts(asked)]
    cheapest, lower = asked.cheapest, found.lower_ms
    cheapest_ms = None
    if cheapest is not asked:
        # A branch may be empty: then nothing is left to forecast.
        runs = bool(working_kernels(cheapest, rules_of(target.runtime)))
        least = model.explain(cheapest, coverage) if runs else None
        cheapest_ms = least.ms if least else 0.0
        lower = min(lower, least.lower_ms if least else 0.0)
        notes.append(
            f"branches and loops that are decided at run time: {ms_text(cheapest_ms)} ms with the "
            f"cheapest, {ms_text(found.ms)} ms with the dearest, which is the forecast; the "
            f"interval holds both ({count_text(cheapest.macs)} to {count_text(graph.macs)} MACs)"
        )
    if too_large := _too_large(graph, target):
        notes.append(too_large)
    if signed := note_on_signed(asked, target):
        notes.append(signed)
    if note:
        notes.append(note)
    elif set(graph.precisions) - {target.precision}:
        notes.append(_of_another_precision(graph.precisions, target.precision))
    return NetworkOnTarget(
        device=resolved.name,
        target=str(target),
        basis=resolved.basis,
        batch=graph.batch,
        precision=graph.precision,
        precisions=graph.precisions,
        latency_ms=found.ms,
        lower_ms=lower,
        upper_ms=found.upper_ms,
        per_sample_ms=None if graph.batch is None else found.ms / graph.batch,
        share_by_bound=found.share_by_bound(),
        share_by_kind=_share_by_kind(found),
        extrapolated_share=found.extrapolated_share,
        extrapolated_kernels=found.extrapolated_kernels,
        extrapolated_upper_share=found.extrapolated_upper_share,
        cheapest_ms=cheapest_ms,
        unsupported_share=_unsupported_shares(graph, found),
        extrapolations=tuple(_extrapolated(found)),
        costs=_costs(graph, found),
        kernels=found.kernels,
        specification=_specification(target),
        model={key: model.card[key] for key in _CARD if key in model.card},
        notes=(*notes, *graph.notes),
    )


def _too_large(graph: Graph, target: Target) -> str | None:
    """Return a note on a network that its device's memory cannot hold at once."""
    device = devices().get(target.device)
    if device is None or device.memory_gb is None:
        return None
    share = BITS[target.precision] / BITS["fp32"] if graph.precision == "fp32" else 1.0
    weights = graph.params * BITS.get(graph.precision or "fp32", BITS["fp32"]) / 8
    least = share * (weights + graph.peak_activation_bytes)
    if least <= device.memory_gb * 1e9:
        return None
    return (
        f"weights and activations take {bytes_text(least)} at once, more than the "
        f"{bytes_text(device.memory_gb * 1e9)} of {device.name}: it does not run there as it is"
    )


def _of_another_precision(shares: Mapping[str, float], wanted: str) -> str:
    """Return a note on a network that is in another precision than its target."""
    told = precision_text(shares)
    own = main_precision(shares)
    asked = f"ask for --precision {own}, or " if own in PRECISIONS else ""
    if set(shares) <= {"fp32", wanted}:
        return f"the network is of precision {told}; the target runs it in {wanted}"
    return (
        f"the network is of precision {told} and the model's measurements are of {wanted}: the "
        f"forecast is that of {wanted} with the network's bytes, and the interval is widened for "
        f"what runtimes make of that precision; {asked}measure such a network and adapt (latcast "
        "measure --models, adapt)"
    )


def _check_coverage(found: Resolved, coverage: float) -> None:
    model = found.predictor
    if not model.covers(coverage):
        raise UnresolvedError(
            f"--coverage {coverage:g} asks for more than {found.name} can tell: it was made from "
            f"{counted(int(model.card['rows']), 'measurement')}; ask for less"
        )


def _unsupported_message(name: str, graph: Graph) -> str:
    counts = sorted(graph.unsupported.items(), key=lambda item: -item[1])
    names = ", ".join(f"{name} x {n}" for name, n in counts[:MAX_LISTED])
    more = f" and {counted(len(counts) - MAX_LISTED, 'other')}" if len(counts) > MAX_LISTED else ""
    return (
        f"{name}: all operators must be supported with --strict; the cost of {names}{more} is not "
        "known: leave --strict out for a forecast that estimates them"
    )


def _costs(graph: Graph, found: LayerExplanation) -> dict[str, int]:
    return {
        "macs": graph.macs,
        "params": graph.params,
        "param_bytes": sum(k.param_bytes for k in found.kernels),
        "activation_bytes": sum(k.traffic_bytes - k.param_bytes for k in found.kernels),
    }


def _share_by_kind(found: LayerExplanation) -> dict[str, float]:
    """Share of the milliseconds by kind of kernel, the largest first."""
    shares: dict[str, float] = {}
    for kernel in found.kernels:
        shares[kernel.kind] = shares.get(kernel.kind, 0.0) + kernel.ms / found.ms
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


# Operator -> what is not known where its bodies were read.
_UNTOLD = dict.fromkeys(("Loop", "Scan"), "trip count (--trip-count)")


def _unsupported(graph: Graph) -> Unsupported:
    """Operators whose cost nobody knows, the most frequent first."""
    layers = [x for x in graph.layers if not x.is_supported]
    count = Counter(
        (x.operator, "shapes" if x.op in OPERATORS else _UNTOLD.get(x.operator, "operator"))
        for x in layers
    )
    operators = [UnsupportedOperator(name, n, what) for (name, what), n in count.most_common()]
    return Unsupported(len(layers), len(layers) / max(1, graph.working), tuple(operators))


def _unsupported_shares(graph: Graph, found: LayerExplanation) -> dict[str, float]:
    """Share of the milliseconds that operators of unknown cost are estimated to take."""
    operators = {x.name: x.operator for x in graph.layers if not x.is_supported}
    shares: dict[str, float] = {}
    for kernel in found.kernels:
        if kernel.name in operators:
            name = operators[kernel.name]
            shares[name] = shares.get(name, 0.0) + kernel.ms / found.ms
    return shares


def _extrapolated(found: LayerExplanation) -> list[Extrapolated]:
    """Kernels out of the model's distribution, those with one reason together."""
    groups: dict[tuple[str, str], list[tuple[ForecastKernel, Extrapolation]]] = {}
    for kernel, why in zip(found.kernels, found.extrapolations, strict=True):
        if why is not None:
            groups.setdefault((kernel.kind, why.subject), []).append((kernel, why))
    extrapolations = [
        Extrapolated(
            kind=kind,
            subject=subject,
            values=sorted({d.value for _, d in group if d.value is not None}),
            seen=_range(group[0][1]),
            kernels=len(group),
            share=sum(k.ms for k, _ in group) / found.ms,
        )
        for (kind, subject), group in groups.items()
    ]
    return sorted(extrapolations, key=lambda d: -d.share)


def _range(extrapolation: Extrapolation) -> list[float] | None:
    """Return the range of the fact in the training networks; None if there is none."""
    if extrapolation.value is None:
        return None
    assert extrapolation.low is not None
    assert extrapolation.high is not None
    return [extrapolation.low, extrapolation.high]


def _specification(target: Target) -> Specification | None:
    """Peaks of the target's device, and all that is stated of it, where the catalogue has it."""
    found = devices().get(target.device)
    if found is None:
        return None
    peak = found.peak_flops(target.precision)
    return Specification(found.title, found.cores, peak, found.bandwidth_gb_s, found)
