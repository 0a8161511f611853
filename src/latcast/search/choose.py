"""Pretrained models for a device: the front of accuracy over forecast latency."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast._imports import require
from latcast._names import unknown_name
from latcast.devices import devices
from latcast.models.resolve import TargetQuery, UnresolvedError, resolve_one
from latcast.networks.corpus import Corpus, read_corpus
from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.markup import counted, printable
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table
from latcast.report.text import (
    at_least,
    bytes_text,
    factor_text,
    interval_column,
    ms_column,
    ms_text,
)

from .front import Rows, nondominated
from .problem import InfeasibleError
from .within_budget import (
    TOO_WIDE,
    KernelTotals,
    WithinBudget,
    check_budget,
    fuses_as,
    memory_bytes,
)

if TYPE_CHECKING:
    import polars as pl

    from latcast.measure import Host, Progress
    from latcast.models.resolve import Resolved

TASKS = ("imagenet",)
# Models that are shown of a front.
MAX_SHOWN = 15
# Ends the name of a network whose parallel branches are merged, as it is deployed.
_MERGED = "/merged"


@dataclass(frozen=True)
class ChosenModel:
    """A pretrained model that no other beats in both accuracy and latency.

    Attributes:
        model: its name in timm, with the tag of its weights.
        network: its network in the corpus.
        image_size: side of its input.
        top1: ImageNet top-1 accuracy of the weights in fp32, percent.
        latency_ms: predicted, ms for a whole batch.
        lower_ms: lower end of the prediction interval, ms.
        upper_ms: upper end of the interval, ms.
        probability: that the latency is within the budget, 0 to 1.
        memory_bytes: peak memory beyond the runtime's own: weights, and activations by liveness, in
            the target's precision, as its runtime holds them where that was measured.
        macs: multiply-accumulates of a sample.
        params: parameters.
        measured_ms: latency that was measured on this machine, ms; null where none was.
    """

    model: str
    network: str
    image_size: int
    top1: float
    latency_ms: float
    lower_ms: float
    upper_ms: float
    probability: float
    memory_bytes: int
    macs: int
    params: int
    measured_ms: float | None = None


@dataclass(frozen=True, repr=False)
class Choice(Record):
    """The most accurate pretrained models that are fast enough on a device.

    Attributes:
        device: as it was asked for.
        target: the target that the latencies are of.
        basis: ``measurements``, or ``specification`` where nothing was measured on the device.
        task: of the accuracies.
        accuracy_of: what was scored: always ``fp32 weights``, whatever the target's precision.
        accuracies: file of the accuracies.
        max_latency_ms: the budget, ms for a whole batch.
        confidence: the least probability of being within the budget; null: the forecast is.
        max_memory_bytes: the most memory; null: any.
        coverage: of the intervals, 0 to 1.
        compared: pretrained models that were forecast.
        fitting: how many of them keep the limits.
        unknown: models of the table of accuracies whose networks the corpus does not have.
        models: the front, the most accurate first.
        measured_on: target of the measured latencies; null where nothing was measured.
        notes: doubts about the answer, a sentence each.
    """

    schema = "choice"
    frame = "models"

    device: str
    target: str
    basis: str
    task: str
    accuracy_of: str
    accuracies: str
    max_latency_ms: float
    confidence: float | None
    max_memory_bytes: float | None
    coverage: float
    compared: int
    fitting: int
    unknown: int
    models: tuple[ChosenModel, ...]
    measured_on: str | None
    notes: tuple[str, ...]

    def headline(self) -> str:
        return f"The most accurate pretrained models within {self.max_latency_ms:g} ms"

    def answer(self) -> str:
        best = self.models[0]
        return (
            f"Of {counted(self.compared, 'pretrained model')} {best.model} is the most "
            "accurate within "
            f"{self.max_latency_ms:g} ms on {self.device}: {best.top1:.2f} % top-1 in "
            f"{charts.interval_note(best.latency_ms, best.lower_ms, best.upper_ms)}, within the "
            f"budget with a probability of {100 * best.probability:.0f} %."
        )

    def figures(self) -> Iterator[Figure]:
        m = self.models
        labels = [
            f"{x.model}\n{x.top1:.2f} % top-1\n"
            f"{charts.interval_note(x.latency_ms, x.lower_ms, x.upper_ms)}"
            for x in m
        ]
        points = Series(
            "forecast", [x.latency_ms for x in m], [x.top1 for x in m], "points",
            [x.lower_ms for x in m], [x.upper_ms for x in m], labels, along="x",
        )  # fmt: skip
        measured = [x for x in m if x.measured_ms is not None]
        known = [x.measured_ms or 0.0 for x in measured]
        also = (Series("measured", known, [x.top1 for x in measured]),) if measured else ()
        wide = charts.is_wide([e for x in m for e in (x.lower_ms, x.upper_ms)])
        yield Figure(
            "The front", Axis("latency, ms", log=wide), Axis("top-1, %"), (points, *also),
            (Guide(f"{self.max_latency_ms:g} ms", x=self.max_latency_ms),),
            f"No other model beats these in accuracy and latency; bars are "
            f"{100 * self.coverage:g} % intervals.",
        )  # fmt: skip

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        yield from sections_of(self.figures(), self.tables(None))

    def parts(self) -> Iterator[Table | str]:
        yield from self.tables(MAX_SHOWN)

    def tables(self, shown: int | None) -> Iterator[Table | str]:
        """Yield the printed parts, with the ``shown`` most accurate models; None for all."""
        columns = [
            Column("model", lambda m: printable(m.model)),
            Column("image", "image_size"),
            Column("top-1 %", "top1", ".2f", detail=0),
            ms_column("ms", "latency_ms"),
            interval_column(self.coverage),
            Column("P(within) %", "probability", ".0f", 100),
            Column("memory", "memory_bytes", bytes_text),
        ]
        if self.measured_on:
            columns.insert(4, ms_column("measured ms", "measured_ms"))
        title = (
            f"most accurate of {counted(self.compared, 'pretrained model')} within "
            f"{self.max_latency_ms:g} ms on {self.device} ({self.target})"
        )
        yield Table(columns, self.models[:shown], title)
        if left := len(self.models[shown:]) if shown is not None else 0:
            yield f"and {counted(left, 'faster one')} on the front (--all)"
        yield (
            f"top-1: ImageNet, of the {self.accuracy_of}; memory: weights and activations; "
            f"{counted(self.fitting, 'model')} fit{'s' * (self.fitting == 1)}"
        )


def choose(
    device: str | Path,
    max_latency_ms: float,
    *,
    task: str = "imagenet",
    accuracies: str | Path | None = None,
    runtime: str | None = None,
    batch: int | None = None,
    precision: str | None = None,
    threads: int | None = None,
    max_memory_bytes: float | None = None,
    confidence: float | None = None,
    coverage: float = 0.9,
    corpus: Corpus | None = None,
) -> Choice:
    """The pretrained models of timm that no other beats in accuracy and latency on a device.

    Args:
        device: as :func:`latcast.models.resolve.resolve` takes it, of networks of any kind.
        max_latency_ms: for a whole batch.
        task: of the accuracies, one of :data:`TASKS`.
        accuracies: timm's ``results-imagenet.csv``, or a folder of public tables with it; by
            default where :func:`latcast.data.public.timm.find_imagenet` finds it.
        runtime: of the target; what is given holds exactly.
        batch: likewise.
        precision: likewise.
        threads: likewise, of the CPU.
        max_memory_bytes: of weights and activations, as the runtime holds them; what the device
            has at most.
        confidence: that the latency is within the budget; by default the forecast has to be.
        coverage: of the intervals, between 0 and 1.
        corpus: kernels of the networks; those that latcast ships by default.

    Raises:
        InfeasibleError: no model keeps the limits; the message names the nearest one.
        UnresolvedError: there is no such device or task, or nothing can answer for it.
        FileNotFoundError: there is no table of accuracies; the message says where to get it.
        ValueError: that table is damaged, or a limit is not possible.
    """
    from latcast.data.public.timm import find_imagenet, read_imagenet

    check_budget(max_latency_ms, ("coverage", coverage), ("confidence", confidence))
    if task not in TASKS:
        raise UnresolvedError(unknown_name("task", task, TASKS))
    path = find_imagenet(accuracies)
    table = read_imagenet(path)
    query = TargetQuery(runtime, batch, precision, threads)
    found = resolve_one(device, query, role="networks")
    corpus = read_corpus() if corpus is None else corpus
    rows, unknown = _known(table, corpus)
    if not rows:
        raise ValueError(f"{path} must name networks of timm that the corpus has; it names none")
    compared = _forecast(rows, found, corpus, max_latency_ms, coverage)
    limit = _least_memory(found.predictor.target.device, max_memory_bytes)
    fits = _fitting(compared, max_latency_ms, confidence, limit)
    if not len(fits):
        sure = None if confidence is None else _sure(compared, found, corpus, confidence)
        raise InfeasibleError(_infeasible(compared, max_latency_ms, confidence, limit, sure))
    top1 = np.array([compared[n].top1 for n in fits])
    ms = np.array([[compared[n].latency_ms] for n in fits])
    front = fits[nondominated(top1, ms)][::-1]
    notes = list(found.notes)
    if unknown:
        notes.append(f"{unknown} models of {path} are not known here and are left out")
    if (own := found.predictor.target).precision == "int8":
        notes.append("accuracies are of the fp32 weights: check what int8 makes of them")
    best = compared[int(front[0])]
    if (span := best.upper_ms / best.lower_ms) > TOO_WIDE:
        notes.append(
            f"the interval of {best.model} spans a factor of {factor_text(span)}, "
            "too wide to decide: measure the best on the device (--verify), or a few networks, "
            "and adapt to them"
        )
    return Choice(
        str(device), str(own), found.basis, task, "fp32 weights", str(path), max_latency_ms,
        confidence, max_memory_bytes, coverage, len(compared), len(fits), unknown,
        tuple(compared[n] for n in front.tolist()), None, tuple(notes),
    )  # fmt: skip


def _known(table: pl.DataFrame, corpus: Corpus) -> tuple[list[Mapping[str, Any]], int]:
    """Rows of the table whose networks are known, and how many are not.

    A network whose branches can be merged is the merged one, as it is deployed.
    """
    rows: list[Mapping[str, Any]] = []
    unknown = 0
    for row in table.iter_rows(named=True):
        name = row["network"]
        merged = f"{name}{_MERGED}"
        network = merged if merged in corpus else name
        if network in corpus:
            rows.append({**row, "network": corpus.names[corpus.place(network)]})
        else:
            unknown += 1
    return rows, unknown


def _forecast(
    rows: Sequence[Mapping[str, Any]],
    found: Resolved,
    corpus: Corpus,
    max_latency_ms: float,
    coverage: float,
) -> list[ChosenModel]:
    """All models on the target; each network is forecast once, whatever weights it has."""
    target = found.predictor.target
    names = list(dict.fromkeys(row["network"] for row in rows))
    kernels = corpus.networks(names, fuses_as(found.predictor), target.batch, target.precision)
    within = WithinBudget.of(found.predictor, kernels, max_latency_ms, coverage)
    places = [corpus.place(name) for name in names]
    params, macs = corpus.total("params")[places], corpus.total("macs")[places]
    activations = corpus.total("peak_bytes")[places].astype(float) * target.batch
    # At the width of the target, so of kernels in fp32.
    fused = corpus.networks(names, fuses_as(found.predictor), target.batch)
    memory = memory_bytes(
        activations, params.astype(float), target.precision, target.runtime, KernelTotals.of(fused)
    )
    columns = (
        within.ms,
        within.lower_ms,
        within.upper_ms,
        within.probability,
        memory.astype(int),
        macs,
        params,
    )
    # A row of columns for each network: numbers of Python, as records hold them.
    facts = dict(zip(names, zip(*(c.tolist() for c in columns), strict=True), strict=True))
    return [
        ChosenModel(
            row["model"], row["network"], row["image_size"], row["top1"], *facts[row["network"]]
        )
        for row in rows
    ]


def _least_memory(device: str, asked: float | None) -> float | None:
    """The most bytes that a network may take: those that are asked for, or that the device has."""
    known = devices().get(device)
    has = None if known is None or known.memory_gb is None else known.memory_gb * 1e9
    return min((x for x in (asked, has) if x is not None), default=None)


def _fitting(
    models: list[ChosenModel],
    max_latency_ms: float,
    confidence: float | None,
    max_memory_bytes: float | None,
) -> Rows:
    """Positions of the models that keep all limits."""
    return np.flatnonzero(
        [
            (m.latency_ms <= max_latency_ms if confidence is None else m.probability >= confidence)
            and (max_memory_bytes is None or m.memory_bytes <= max_memory_bytes)
            for m in models
        ]
    )


def _infeasible(
    models: list[ChosenModel],
    max_latency_ms: float,
    confidence: float | None,
    max_memory_bytes: float | None,
    sure_ms: Mapping[str, float] | None,
) -> str:
    """Return the message that nothing fits, with the nearest model and a limit that can be kept."""
    limits = f"{max_latency_ms:g} ms"
    limits += f" with a confidence of {confidence:g}" if confidence is not None else ""
    kept = models
    if max_memory_bytes is not None:
        limits += f" and {bytes_text(max_memory_bytes)}"
        kept = [m for m in models if m.memory_bytes <= max_memory_bytes]
        if not kept:
            least = min(models, key=lambda m: m.memory_bytes)
            return (
                f"no pretrained model keeps {limits}: the smallest, {least.model}, takes "
                f"{at_least(least.memory_bytes / 1e6)} MB; raise the memory"
            )
    if sure_ms is None:
        near = min(kept, key=lambda m: (m.latency_ms, -m.probability))
        takes = f"takes {at_least(near.latency_ms)} ms"
    else:
        near = min(kept, key=lambda m: sure_ms[m.network])
        takes = f"needs {at_least(sure_ms[near.network])} ms for that"
    return (
        f"no pretrained model keeps {limits}: the fastest, {near.model}, {takes} "
        f"({ms_text(near.lower_ms)} – {ms_text(near.upper_ms)}, within the budget with a "
        f"probability of {100 * near.probability:.0f} %); raise the budget"
    )


def _sure(
    models: Sequence[ChosenModel], found: Resolved, corpus: Corpus, confidence: float
) -> Mapping[str, float] | None:
    """Milliseconds that each network stays below with a confidence; None if nothing tells."""
    names = list(dict.fromkeys(m.network for m in models))
    p = found.predictor
    kernels = corpus.networks(names, fuses_as(p), p.target.batch, p.target.precision)
    try:
        bound = p.upper_bound(kernels, confidence)
    except ValueError:  # of fewer errors than the confidence asks for
        return None
    # Rounding must not take the bound below the score that it is made of.
    return dict(zip(names, (bound * (1 + 1e-9)).tolist(), strict=True))


# --- on this machine --------------------------------------------------------------------------


def verify_choice(
    choice: Choice,
    count: int,
    *,
    threads: int | None = None,
    runs: int | None = None,
    on: Host | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Choice:
    """Measure the most accurate models of a choice, as ``latcast measure`` does.

    Networks are built by timm with random weights, which take as long as the pretrained ones, and
    exported as ONNX into a temporary folder.

    Args:
        choice: for the machine that measures.
        count: how many to measure.
        threads: of the CPU; those of the target by default.
        runs: of every network; those of ``latcast measure`` by default.
        on: the host that measures, which is left open; this machine by default.
        on_progress: as of :func:`latcast.measure.run`.

    Returns:
        The choice with ``measured_ms``, and notes on what could not be measured.

    Raises:
        ModuleNotFoundError: timm, PyTorch or the runtime is not installed; the message says what
            to type.
        ValueError: the runtime cannot measure there, or nothing could be measured.
        CampaignRunningError: another campaign is measuring on the host.
        HostError: the host cannot measure.
    """
    from latcast.devices import Target
    from latcast.measure import OnnxFile, Plan, Protocol, host, measured
    from latcast.measure.runtimes import runtime

    asked = Target.parse(choice.target)
    kind = runtime(asked.runtime)
    board = on or host()
    facts = board.facts()
    threads = threads or asked.threads or len(facts.get("cpus", ())) or 1
    own = Target(facts["name"], kind.name, asked.batch, asked.precision, threads)
    board.check(own)
    with tempfile.TemporaryDirectory(prefix="latcast-") as folder:
        best = choice.models[:count]
        files = [
            OnnxFile.of(_exported(m, own.batch, Path(folder) / f"{n}.onnx"), m.model)
            for n, m in enumerate(best)
        ]
        protocol = Protocol(**{**board.protocol, **({} if runs is None else {"runs": runs})})
        found = measured(
            Path(folder) / "choice.campaign", Plan(own, files, protocol, host=board.text),
            on=board, on_progress=on_progress,
        )  # fmt: skip
    data = found.dataset
    ms = dict(zip(data.names or (), data.latency_ms.tolist(), strict=True))
    notes = [f"{best[n].model} was not measured: {why}" for n, why in found.failures.items()]
    if own.device != asked.device:
        notes.append(
            f"{board.title} is called {own.device}: what was measured is {own}, and the forecasts "
            f"are of {asked}"
        )
    return replace(
        choice,
        models=tuple(replace(m, measured_ms=ms.get(m.model)) for m in choice.models),
        measured_on=str(own),
        notes=(*choice.notes, *notes, *found.warnings),
    )


def _exported(model: ChosenModel, batch: int, path: Path) -> Path:
    """A model's network as ONNX, with random weights."""
    purpose = f"building {model.model}"
    torch, timm = require("torch", "models", purpose), require("timm", "models", purpose)
    name, side = model.model.partition(".")[0], model.image_size
    try:
        module = timm.create_model(name, img_size=side)
    except TypeError:  # it takes images of any size
        module = timm.create_model(name)
    if model.network.endswith(_MERGED):
        module = timm.utils.reparameterize_model(module)
    images = torch.zeros(batch, 3, side, side)
    # Of a network that cannot be exported, PyTorch prints the whole program.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), torch.no_grad():
        torch.onnx.export(module.eval(), (images,), str(path), dynamo=False)
    return path
