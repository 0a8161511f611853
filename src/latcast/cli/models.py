"""``latcast models``: the shipped models and their cards."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
    UsageError,
    check_usable,
    fails_cleanly,
    print_json,
    print_metrics,
    print_table,
    usage,
)


@fails_cleanly
def command(
    name: Annotated[
        str | None, typer.Argument(help="One model, or a .latcast file: show its card.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the shipped models, or show one's card.

    Example: latcast models rtx-2080-ti
    """
    from latcast._model_file import read_model
    from latcast._names import unknown_name
    from latcast.predict import zoo

    if name is None:
        _list(json=json)
        return
    if name.endswith(".latcast"):
        check_usable(Path(name))
        header = read_model(name).header
        if not _is_base(header) and not {"kind", "target", "card"} <= set(header):
            raise ValueError(f"{name} is no latency model")
    else:
        with usage():
            known = [*zoo.names(), *zoo.base_names()]
            if name not in known and not zoo.of_device(name):
                raise UsageError(unknown_name("model", name, known))
            header = zoo.base_header(name) if name in zoo.base_names() else zoo.header(name)
    if json:
        print_json({"name": name, **_public(header)})
    elif _is_base(header):
        _print_base(name, header)
    else:
        _print_card(name, header)


def _list(*, json: bool) -> None:
    from latcast.predict import zoo

    headers = {n: zoo.header(n) for n in zoo.names()}
    bases = {n: zoo.base_header(n) for n in zoo.base_names()}
    if json:
        print_json([{"name": n, **_public(h)} for n, h in (headers | bases).items()])
        return
    _print_list(headers)
    rows = [[n, str(len(h["sources"])), f"{_typical(h):.2f}"] for n, h in bases.items()]
    print_table(["base model of the space", "targets", "median MAPE %"], rows)


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
    return {k: header[k] for k in keys}


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
    typer.echo(f"{name}: {header['kind']} predictor of {header['target']} for {header['space']}")
    data = card.get("data") or {}
    for label, text in (
        ("data", data.get("source")),
        ("licence of the data", data.get("licence")),
        ("adapted from", _origin(card.get("base"))),
        ("measurements", card.get("rows")),
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
        print_metrics(card["metrics"], title="on the test part:")
    elif "left_out" in card:
        typer.echo(
            "each measurement predicted from the others: "
            f"{card['left_out']['mape']:.2f} % off on average"
        )


def _origin(base: dict[str, Any] | list[str] | None) -> str | None:
    """What an adapted model was made from: a model of one target, or of several."""
    if isinstance(base, list):
        return f"a base model of {len(base)} targets: {', '.join(base)}"
    return None if base is None else f"{base['kind']} model of {base['target']}"
