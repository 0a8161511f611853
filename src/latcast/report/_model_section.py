"""What a page says of the model that a forecast is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._html import Markup, tag

_SCORES = {
    "mape": "mean absolute error, %",
    "median_error": "median absolute error, %",
    "within_10": "within 10 %, % of networks",
    "within_25": "within 25 %, % of networks",
    "coverage_90": "90 % interval covers, %",
}
"""Score of a card -> what it is."""


def model_section(device: Mapping[str, Any]) -> Markup:
    """The card of a device's model.

    Args:
        device: of the record of a network.
    """
    card = device["model"]
    facts = [(word, text) for word, text in _facts(card) if text]
    listed = [x for word, text in facts for x in (tag("dt", word), tag("dd", text))]
    parts = [tag("h3", device["target"]), tag("dl", *listed)]
    if card.get("metrics_by_family"):
        parts.append(tag("p", "Scores on each family by a model that had not seen it:"))
        parts.append(tag("div", _families(card["metrics_by_family"]), class_="wide"))
    return tag("section", *parts)


def _facts(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data = card.get("data") or []
    datasets = data if isinstance(data, list) else [data]
    yield "data", "; ".join(str(d["source"]) for d in datasets if d.get("source"))
    licences = dict.fromkeys(str(d["licence"]) for d in datasets if d.get("licence"))
    yield "licence of the data", ", ".join(licences)
    yield "measurements", str(card.get("rows", ""))
    yield "families", ", ".join(filter(None, map(str, card.get("families", ()))))
    base = card.get("base")
    yield "adapted from", str(base["target"]) if isinstance(base, dict) and "target" in base else ""
    yield "split", str(card.get("split", ""))
    for name, word in _SCORES.items():
        score = (card.get("metrics") or {}).get(name)
        yield word, "" if score is None else f"{score:.3g}"
    yield "note", str(card.get("note", ""))


def _families(scores: Mapping[str, Mapping[str, float]]) -> Markup:
    names = [n for n in _SCORES if any(n in s for s in scores.values())]
    head = [tag("th", "family"), *(tag("th", _SCORES[n], class_="number") for n in names)]
    body = [
        tag(
            "tr",
            tag("td", family),
            *(tag("td", f"{s[n]:.3g}" if n in s else "–", class_="number") for n in names),
        )
        for family, s in sorted(scores.items(), key=lambda item: (item[0] == "all", item[0]))
    ]
    return tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
