"""``latcast models``: the shipped models and their cards."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from latcast.report.text import families_table, scores_table

from ._common import print_table
from ._console import Console, UsageError, command, print_json, usage
from ._options import check_usable


@command
def models(
    console: Console,
    name: Annotated[
        str | None, typer.Argument(help="One model, or a .latcast file: show its card.")
    ] = None,
) -> None:
    """List the shipped models, or show one's card.

    Example: latcast models rtx-2080-ti
    """
    from latcast._model_file import read_header

    if name is None:
        _list(json=console.json)
        return
    if name.endswith(".latcast"):
        check_usable(Path(name))
        headers = [read_header(name)]
        if not _is_base(headers[0]) and not {"kind", "target", "card"} <= set(headers[0]):
            raise ValueError(f"{name} is no latency model")
    else:
        with usage():
            headers = _shipped(name)
    if console.json:
        print_json(_with_layers([{"name": name, **_public(h)} for h in headers]))
        return
    for n, header in enumerate(headers):
        if n:
            typer.echo()
        if _is_base(header):
            _print_base(name, header)
        else:
            _print_card(name, header)


def _shipped(name: str) -> list[dict[str, Any]]:
    """Headers of the models that a name stands for: of a space, of networks of any kind."""
    from latcast._names import unknown_name
    from latcast.models import zoo

    roles: tuple[zoo.Role, ...] = ("base", "space", "networks")
    headers = [zoo.header(name, role) for role in roles if name in zoo.names(role)]
    if not headers:
        models = [(n, role) for role in roles[1:] for n in zoo.of_device(name, role)]
        if len(several := dict.fromkeys(n for n, _ in models)) > 1:
            raise UsageError(f"{name} has several models; name one: {', '.join(several)}")
        headers = [zoo.header(n, role) for n, role in models]
    if not headers:
        known = dict.fromkeys(n for role in ("space", "base", "networks") for n in zoo.names(role))
        raise UsageError(unknown_name("model", name, list(known)))
    return headers


def _with_layers(records: list[dict[str, Any]]) -> dict[str, Any]:
    """One record, with that of a layer model of the same name inside."""
    first, *layers = records
    return {**first, "any_network": layers[0]} if layers else first


def _list(*, json: bool) -> None:
    from latcast.models import zoo

    headers = {n: zoo.header(n) for n in zoo.names()}
    bases = {n: zoo.header(n, "base") for n in zoo.names("base")}
    layers = {n: zoo.header(n, "networks") for n in zoo.names("networks")}
    if json:
        of_spaces = [{"name": n, **_public(h)} for n, h in (headers | bases).items()]
        print_json([*of_spaces, *({"name": n, **_public(h)} for n, h in layers.items())])
        return
    _print_list(headers)
    rows = [[n, str(len(h["sources"])), f"{_typical(h):.2f}"] for n, h in bases.items()]
    print_table(["base model of the space", "targets", "median MAPE %"], rows)
    if layers:
        _print_layer_list(layers)


def _print_layer_list(headers: dict[str, dict[str, Any]]) -> None:
    """Layer models, with their median errors on families that they know, and that they do not."""
    rows = []
    for name, header in headers.items():
        card = header["card"]
        unseen = card.get("metrics_by_family", {}).get("all", {})
        errors = [s.get("median_error") for s in (card.get("metrics", {}), unseen)]
        shown = ["–" if e is None else f"{e:.1f}" for e in errors]
        rows.append([name, header["target"], str(card["rows"]), *shown])
    columns = ["model of any network", "target", "networks", "median % off", "unseen family"]
    print_table(columns, rows)


def _is_base(header: dict[str, Any]) -> bool:
    return {"sources", "space", "card"} <= set(header)


def _typical(header: dict[str, Any]) -> float:
    """Median over the targets of a base model of the error on its test rows, in percent."""
    return float(median(scores["mape"] for scores in header["card"]["metrics"].values()))


def _print_base(name: str, header: dict[str, Any]) -> None:
    card = header["card"]
    typer.echo(f"{name}: base model of {len(header['sources'])} targets for {header['space']}")
    for label in ("split", "licence"):
        if label in card:
            typer.echo(f"{label}: {card[label]}")
    data = {d["target"]: d for d in card["data"]}
    rows = [
        [
            target,
            f"{scores['mape']:.2f}",
            f"{scores['spearman']:.4f}",
            data[target].get("source", ""),
            data[target].get("licence", ""),
        ]
        for target, scores in card.get("metrics", {}).items()
    ]
    columns = ["target", "MAPE %", "Spearman", "data", "licence of the data"]
    print_table(columns, rows, title="on the test part of each:")


def _public(header: dict[str, Any]) -> dict[str, Any]:
    keys = ("kind", "space", "sources" if _is_base(header) else "target", "card")
    return {k: header[k] for k in keys if k in header}


def _print_list(headers: dict[str, dict[str, Any]]) -> None:
    rows = []
    for name, header in headers.items():
        scores = header["card"]["metrics"]
        rows.append(
            [
                name,
                header["target"],
                f"{scores['mae_ms']:.3f}",
                f"{scores['mape']:.2f}",
                f"{scores['spearman']:.4f}",
                f"{scores['coverage_90']:.0f}",
            ]
        )
    print_table(
        ["model", "target", "MAE ms", "MAPE %", "Spearman", "cover %"],
        rows,
    )


def _print_card(name: str, header: dict[str, Any]) -> None:
    card = header["card"]
    of = header.get("space", "networks of any kind")
    typer.echo(f"{name}: {header['kind']} predictor of {header['target']} for {of}")
    data = card.get("data") or {}
    datasets = data if isinstance(data, list) else [data]
    for label, text in (
        *(("data", d.get("source")) for d in datasets),
        *(("licence of the data", d.get("licence")) for d in datasets),
        ("adapted from", _origin(card.get("base"))),
        ("measurements", card.get("rows")),
        ("families", ", ".join(filter(None, card.get("families", ())))),
        ("split", card.get("split")),
        ("note", card.get("note")),
    ):
        if text:
            typer.echo(f"{label}: {text}")
    if "traps" in card:
        typer.echo("found by the audit:" if card["traps"] else "the audit found nothing")
        for trap in card["traps"]:
            typer.echo(f"  {trap}")
    if "metrics" in card:
        typer.echo(scores_table(card["metrics"], "on the test part:").to_text())
    elif "left_out" in card:
        typer.echo(
            "each measurement predicted from the others: "
            f"{card['left_out']['mape']:.2f} % off on average"
        )
    if "metrics_by_family" in card:
        typer.echo(families_table(card["metrics_by_family"]).to_text())


def _origin(base: dict[str, Any] | list[str] | None) -> str | None:
    """What an adapted model was made from: a model of one target, or of several."""
    if isinstance(base, list):
        return f"a base model of {len(base)} targets: {', '.join(base)}"
    return None if base is None else f"{base['kind']} model of {base['target']}"
