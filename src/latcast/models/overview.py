"""The shipped models, and the card of one, as records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Self

from latcast._model_file import read_header
from latcast._names import unknown_name
from latcast.data import LATENCY_MS, quantity
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.markup import counted
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table, look_up
from latcast.report.text import families_table, scores_table

from . import zoo
from .hub import is_file, local_file

# Kind of the models of many targets and any network.
JOINT = "joint"


@dataclass(frozen=True)
class ModelEntry:
    """A model, with its card.

    Attributes:
        name: of the model, or its file.
        kind: of predictor.
        space: of the architectures that it knows; null for networks of any kind.
        target: that it is for; null for a model of many targets.
        sources: targets that such a model knows; null for others.
        quantity: that it predicts, such as ``latency_ms``.
        card: what it was made from (``data``, ``split``, ``rows``, ``families``, ``base``), how
            good it is (``metrics``, ``metrics_by_family``, ``left_out``), what the audit found
            (``data_issues``), its ``licence``.
        chips: of the targets that a joint model knows; null for others.
    """

    name: str
    kind: str
    space: str | None
    target: str | None
    sources: list[Any] | None
    quantity: str
    card: Mapping[str, Any]
    chips: int | None = None

    @classmethod
    def of(cls, name: str, header: Mapping[str, Any]) -> Self:
        """The entry of a model file's header."""
        known = header.get("known") if header.get("kind") == JOINT else None
        sources = header["sources"] if _is_base(header) else known and [n for n, *_ in known]
        return cls(
            name,
            header.get("kind", ""),
            header.get("space"),
            header["target"] if sources is None else None,
            sources,
            header.get("quantity", LATENCY_MS.name),
            header["card"],
            known and len({chip for _, chip, *_ in known}),
        )

    def answer(self) -> str:
        """Return the subject of its forecasts, and its errors on held-out data."""
        card, of = self.card, self.space or "networks of any kind"
        if self.chips is not None:
            error = _left_out(self, "device")
            told = (
                f": {error:.1f} % off in the median on a device that was left out, without a "
                "measurement of it"
                if error
                else ""
            )
            return f"{self.name} forecasts {of} on any device{told}."
        if self.sources is not None:
            return (
                f"{self.name} is a base model of {len(self.sources)} targets for {of}: "
                f"{median(_mapes(self)):.2f} % off in the median of their test parts."
            )
        metrics = card.get("metrics_by_family", {}).get("all") or card.get("metrics") or {}
        error = metrics.get("median_error", metrics.get("mape"))
        what = "a family" if "metrics_by_family" in card else "networks"
        told = "" if error is None else f", {error:.1f} % off on {what} that it had not seen"
        return f"{self.name} forecasts {of} on {self.target}{told}."

    def figures(self) -> Iterator[Figure]:
        """Its errors, and what its intervals hold."""
        card = self.card
        if self.chips is not None:
            rows = [
                (
                    f"{_NEW[r['way']]}, {counted(r['samples'], 'network')} measured",
                    r["median_error"],
                )
                for r in card.get("left_out", ())
                if not r["domain"]
            ]
            yield charts.bars("Errors on what was left out", rows, "median absolute error, %",
                              of="group")  # fmt: skip
        elif self.sources is not None:
            named = ((name, s["mape"]) for name, s in card.get("metrics", {}).items())
            rows = sorted(named, key=lambda row: -row[1])
            yield charts.bars("Errors by target", rows, "mean absolute error, %", of="target")
        else:
            yield from charts.family_errors(card.get("metrics_by_family"))
            yield from charts.coverages(card.get("metrics") or {})

    def parts(self) -> Iterator[Table | str]:
        """The card in words and tables."""
        card = self.card
        if self.chips is not None:
            yield from self._joint_parts()
            return
        if self.sources is not None:
            yield from self._base_parts(self.sources)
            return
        of = self.space or "networks of any kind"
        yield f"{self.name}: {self.kind} predictor of {self.target} for {of}"
        yield from (f"{label}: {text}" for label, text in _facts(card) if text)
        if "data_issues" in card:
            yield "found by the audit:" if card["data_issues"] else "the audit found nothing"
            yield from (f"  {issue}" for issue in card["data_issues"])
        if "metrics" in card:
            yield scores_table(card["metrics"], "on the test part:", quantity(self.quantity).unit)
        elif "left_out" in card:
            yield (
                "each measurement predicted from the others: "
                f"{card['left_out']['mape']:.2f} % off on average"
            )
        if "metrics_by_family" in card:
            yield families_table(card["metrics_by_family"])

    def _joint_parts(self) -> Iterator[Table | str]:
        card = self.card
        targets = counted(len(self.sources or ()), "target")
        of = f"{targets} of {counted(self.chips or 0, 'chip')}"
        yield f"{self.name}: joint model of {of} for networks of any kind"
        yield from (f"{label}: {card[label]}" for label in ("split", "licence") if label in card)
        columns = (
            Column("table", "table"),
            *(Column(n, n) for n in ("targets", "chips", "networks", "rows")),
            Column("licence of the data", "licence"),
        )
        yield Table(columns, card.get("data", ()), "made from:")
        if "left_out" in card:
            yield Table(_LEFT_OUT_COLUMNS, card["left_out"], "on groups that were left out:")

    def _base_parts(self, sources: Sequence[Any]) -> Iterator[Table | str]:
        card = self.card
        yield f"{self.name}: base model of {len(sources)} targets for {self.space}"
        yield from (f"{label}: {card[label]}" for label in ("split", "licence") if label in card)
        data = {d["target"]: d for d in card["data"]}
        columns = (
            Column("target", lambda row: row[0]),
            Column("MAPE %", lambda row: row[1]["mape"], ".2f"),
            Column("Spearman", lambda row: row[1]["spearman"], ".4f"),
            Column("data", lambda row: data[row[0]].get("source", "")),
            Column("licence of the data", lambda row: data[row[0]].get("licence", "")),
        )
        rows = list(card.get("metrics", {}).items())
        yield Table(columns, rows, "on the test part of each:")


@dataclass(frozen=True, repr=False)
class ModelCard(ModelEntry, Record):
    """A model with its card, and a model of any network that goes by the same name.

    Attributes:
        any_network: the other model; null where there is none.
    """

    schema = "model"
    no_figure = "its card tells neither of intervals nor of families"

    any_network: ModelEntry | None = None

    # In one line, where an entry's has the whole card.
    __repr__ = Record.__repr__

    def headline(self) -> str:
        return f"The model {self.name}"

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        yield from sections_of(self.figures(), super().parts())
        if (other := self.any_network) is not None:
            for heading, parts in sections_of(other.figures(), other.parts()):
                yield f"{heading} (model of any network)", parts

    def parts(self) -> Iterator[Table | str]:
        yield from super().parts()
        if self.any_network is not None:
            yield ""
            yield from self.any_network.parts()


@dataclass(frozen=True, repr=False)
class ModelList(Record):
    """The shipped models.

    Attributes:
        models: of spaces, base models of spaces, models of any network, then joint models of many
            targets.
    """

    schema = "models"
    frame = "models"
    tables_first = True

    models: tuple[ModelEntry, ...]

    def answer(self) -> str:
        return f"{len(self.models)} models are shipped."

    def figures(self) -> Iterator[Figure]:
        errors = ((m.name, look_up(m, "card.metrics.mape")) for m in self.models if m.space)
        rows = sorted(((n, e) for n, e in errors if e is not None), key=lambda row: row[1])
        caption = "On rows of the same target that they have not seen."
        label = "mean absolute error, %"
        yield charts.bars(
            "Errors of models of spaces", rows, label, of="model", caption=caption, form=".2f"
        )

    def parts(self) -> Iterator[Table | str]:
        of_any = [m for m in self.models if m.space is None and m.sources is None]
        joint = [m for m in self.models if m.chips is not None]
        yield Table(_COLUMNS, [m for m in self.models if m.space and m.sources is None])
        yield Table(_BASE_COLUMNS, [m for m in self.models if m.space and m.sources is not None])
        if of_any:
            yield Table(_ANY_COLUMNS, of_any)
        if joint:
            yield Table(_JOINT_COLUMNS, joint)


def list_models() -> ModelList:
    """The shipped models, as a record."""
    roles: tuple[zoo.Role, ...] = ("space", "base", "networks", "joint")
    named = [(n, zoo.header(n, role)) for role in roles for n in zoo.names(role)]
    return ModelList(tuple(ModelEntry.of(n, header) for n, header in named))


def model_card(name: str | Path) -> ModelCard:
    """Return the data sources and the scores of a shipped model, or of a file.

    Raises:
        ValueError: the name is of no model, or of several; or a file is damaged or holds another
            model than one of latencies.
        FileNotFoundError: there is no such file.
    """
    name = str(name)
    if is_file(name):
        headers = [read_header(local_file(name))]
        is_joint = headers[0].get("kind") == JOINT
        is_one = {"kind", "target", "card"} <= set(headers[0])
        if not (is_one or is_joint or _is_base(headers[0])):
            raise ValueError(f"{name} is no latency model")
    else:
        headers = _shipped(name)
    others = [ModelEntry.of(name, header) for header in headers[1:]]
    return replace(ModelCard.of(name, headers[0]), any_network=others[0] if others else None)


_COLUMNS = (
    Column("model", "name"),
    Column("target", "target", detail=2),
    Column("MAE ms", "card.metrics.mae_ms", ".3f"),
    Column("MAPE %", "card.metrics.mape", ".2f"),
    Column("Spearman", "card.metrics.spearman", ".4f"),
    Column("cover %", "card.metrics.coverage_90", ".0f"),
)
_BASE_COLUMNS = (
    Column("base model of the space", "name"),
    Column("targets", lambda m: len(m.sources)),
    Column("median MAPE %", lambda m: median(_mapes(m)), ".2f"),
)
_ANY_COLUMNS = (
    Column("model of any network", "name"),
    Column("target", "target"),
    Column("networks", "card.rows"),
    Column("median % off", "card.metrics.median_error", ".1f"),
    Column("unseen family", "card.metrics_by_family.all.median_error", ".1f"),
)


_JOINT_COLUMNS = (
    Column("model of any device", "name"),
    Column("targets", lambda m: len(m.sources)),
    Column("chips", "chips"),
    Column("tables", lambda m: len(m.card.get("data", ()))),
    Column("rows", "card.rows", ",d"),
    Column("new network, %", lambda m: _left_out(m, "network"), ".1f"),
    Column("new device, %", lambda m: _left_out(m, "device"), ".1f"),
    Column("both new, %", lambda m: _left_out(m, "both"), ".1f"),
)
_LEFT_OUT_COLUMNS = (
    Column("domain", lambda row: row["domain"] or "all"),
    Column("left out", "way"),
    Column("measured", "samples"),
    Column("median % off", "median_error", ".1f"),
)


# What is left out of a joint model -> the name of that in a figure.
_NEW = {"device": "device is new", "network": "network is new", "both": "both are new"}


def _left_out(joint: ModelEntry, way: str) -> float | None:
    """Median error of all that a joint model was not fitted to, in percent."""
    for row in joint.card.get("left_out", ()):
        if (row["domain"], row["way"], row["samples"]) == ("", way, 0):
            return float(row["median_error"])
    return None


def _mapes(base: ModelEntry) -> list[float]:
    """Error of each target of a base model on its test rows, in percent."""
    return [float(look_up(scores, "mape")) for scores in base.card["metrics"].values()]


def _is_base(header: Mapping[str, Any]) -> bool:
    return {"sources", "space", "card"} <= set(header)


def _shipped(name: str) -> list[dict[str, Any]]:
    """Headers of the models that a name stands for: of a space, of networks of any kind."""
    roles: tuple[zoo.Role, ...] = ("base", "space", "networks", "joint")
    headers = [zoo.header(name, role) for role in roles if name in zoo.names(role)]
    if not headers:
        models = [(n, role) for role in roles[1:3] for n in zoo.of_device(name, role)]
        if len(several := dict.fromkeys(n for n, _ in models)) > 1:
            raise ValueError(f"{name} has several models; name one: {', '.join(several)}")
        headers = [zoo.header(n, role) for n, role in models]
    if not headers:
        known = dict.fromkeys(n for role in ("space", *roles[:3]) for n in zoo.names(role))
        raise ValueError(unknown_name("model", name, list(known)))
    return headers


def _facts(card: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    data = card.get("data")
    datasets = [d for d in (data if isinstance(data, list) else [data]) if isinstance(d, Mapping)]
    yield from (("data", d.get("source")) for d in datasets)
    yield from (("licence of the data", d.get("licence")) for d in datasets)
    yield "adapted from", _origin(card.get("base"))
    yield "measurements", card.get("rows")
    yield "families", ", ".join(filter(None, card.get("families", ())))
    yield "split", card.get("split")
    yield "note", card.get("note")


def _origin(base: Mapping[str, Any] | list[str] | None) -> str | None:
    """Return the origin of an adapted model: a model of one target, or of several."""
    if isinstance(base, list):
        return f"a base model of {len(base)} targets: {', '.join(base)}"
    return None if base is None else f"{base['kind']} model of {base['target']}"
