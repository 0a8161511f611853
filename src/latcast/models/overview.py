"""The shipped models, and the card of one, as records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from latcast._model_file import read_header
from latcast._names import unknown_name
from latcast.data import LATENCY_MS, quantity
from latcast.report.record import Column, Record, Table, look_up
from latcast.report.text import families_table, scores_table

from . import zoo


@dataclass(frozen=True)
class ModelEntry:
    """A model, with its card.

    Attributes:
        name: of the model, or its file.
        kind: of predictor.
        space: of the architectures that it knows; null for networks of any kind.
        target: that it is for; null for a base model.
        sources: targets that a base model knows; null for others.
        quantity: that it predicts, such as ``latency_ms``.
        card: what it was made from (``data``, ``split``, ``rows``, ``families``, ``base``), how
            good it is (``metrics``, ``metrics_by_family``, ``left_out``), what the audit found
            (``data_issues``), its ``licence``.
    """

    name: str
    kind: str
    space: str | None
    target: str | None
    sources: list[Any] | None
    quantity: str
    card: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, header: Mapping[str, Any]) -> ModelEntry:
        """The entry of a model file's header."""
        is_base = _is_base(header)
        return cls(
            name,
            header.get("kind", ""),
            header.get("space"),
            None if is_base else header["target"],
            header["sources"] if is_base else None,
            header.get("quantity", LATENCY_MS.name),
            header["card"],
        )

    def parts(self) -> Iterator[Table | str]:
        """The card in words and tables."""
        card = self.card
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
class ModelCard(Record):
    """A model with its card, and a model of any network that goes by the same name.

    Attributes:
        name: of the model, or its file.
        kind: of predictor.
        space: of the architectures that it knows; null for networks of any kind.
        target: that it is for; null for a base model.
        sources: targets that a base model knows; null for others.
        quantity: that it predicts, such as ``latency_ms``.
        card: as of an entry of ``models``.
        any_network: the other model; null where there is none.
    """

    schema = "model"

    name: str
    kind: str
    space: str | None
    target: str | None
    sources: list[Any] | None
    quantity: str
    card: Mapping[str, Any]
    any_network: ModelEntry | None

    @classmethod
    def of(cls, name: str) -> ModelCard:
        """The card of a shipped model, of a device's model, or of a file.

        Raises:
            ValueError: the name is of no model, or of several; or a file is damaged or holds
                another model than one of latencies.
            FileNotFoundError: there is no such file.
        """
        if name.endswith(".latcast"):
            headers = [read_header(name)]
            if not _is_base(headers[0]) and not {"kind", "target", "card"} <= set(headers[0]):
                raise ValueError(f"{name} is no latency model")
        else:
            headers = _shipped(name)
        first, *others = (ModelEntry.of(name, header) for header in headers)
        return cls(
            name, first.kind, first.space, first.target, first.sources, first.quantity, first.card,
            others[0] if others else None,
        )  # fmt: skip

    def parts(self) -> Iterator[Table | str]:
        own = ModelEntry(
            self.name, self.kind, self.space, self.target, self.sources, self.quantity, self.card
        )
        yield from own.parts()
        if self.any_network is not None:
            yield ""
            yield from self.any_network.parts()


@dataclass(frozen=True, repr=False)
class ModelList(Record):
    """The shipped models.

    Attributes:
        models: of spaces, base models of spaces, then models of any network.
    """

    schema = "models"
    frame = "models"

    models: tuple[ModelEntry, ...]

    @classmethod
    def of_all(cls) -> ModelList:
        """All that are shipped."""
        roles: tuple[zoo.Role, ...] = ("space", "base", "networks")
        named = [(n, zoo.header(n, role)) for role in roles for n in zoo.names(role)]
        return cls(tuple(ModelEntry.of(n, header) for n, header in named))

    def parts(self) -> Iterator[Table | str]:
        of_spaces = [m for m in self.models if m.space is not None and m.sources is None]
        bases = [m for m in self.models if m.sources is not None]
        of_any = [m for m in self.models if m.space is None]
        yield Table(_COLUMNS, of_spaces)
        yield Table(_BASE_COLUMNS, bases)
        if of_any:
            yield Table(_ANY_COLUMNS, of_any)


_COLUMNS = (
    Column("model", "name"),
    Column("target", "target"),
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


def _mapes(base: ModelEntry) -> list[float]:
    """Error of each target of a base model on its test rows, in percent."""
    return [float(look_up(scores, "mape")) for scores in base.card["metrics"].values()]


def _is_base(header: Mapping[str, Any]) -> bool:
    return {"sources", "space", "card"} <= set(header)


def _shipped(name: str) -> list[dict[str, Any]]:
    """Headers of the models that a name stands for: of a space, of networks of any kind."""
    roles: tuple[zoo.Role, ...] = ("base", "space", "networks")
    headers = [zoo.header(name, role) for role in roles if name in zoo.names(role)]
    if not headers:
        models = [(n, role) for role in roles[1:] for n in zoo.of_device(name, role)]
        if len(several := dict.fromkeys(n for n, _ in models)) > 1:
            raise ValueError(f"{name} has several models; name one: {', '.join(several)}")
        headers = [zoo.header(n, role) for n, role in models]
    if not headers:
        known = dict.fromkeys(n for role in ("space", *roles) for n in zoo.names(role))
        raise ValueError(unknown_name("model", name, list(known)))
    return headers


def _facts(card: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    data = card.get("data") or {}
    datasets = data if isinstance(data, list) else [data]
    yield from (("data", d.get("source")) for d in datasets)
    yield from (("licence of the data", d.get("licence")) for d in datasets)
    yield "adapted from", _origin(card.get("base"))
    yield "measurements", card.get("rows")
    yield "families", ", ".join(filter(None, card.get("families", ())))
    yield "split", card.get("split")
    yield "note", card.get("note")


def _origin(base: Mapping[str, Any] | list[str] | None) -> str | None:
    """What an adapted model was made from: a model of one target, or of several."""
    if isinstance(base, list):
        return f"a base model of {len(base)} targets: {', '.join(base)}"
    return None if base is None else f"{base['kind']} model of {base['target']}"
