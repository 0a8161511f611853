"""``latcast models``: the shipped models and their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
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
    from latcast.predict import zoo

    if name is None:
        with usage():
            headers = {n: zoo.header(n) for n in zoo.names()}
        if json:
            print_json([{"name": n, **_public(h)} for n, h in headers.items()])
        else:
            _print_list(headers)
        return
    if name.endswith(".latcast"):
        check_usable(Path(name))
        header = read_model(name).header
        if not {"kind", "target", "card"} <= set(header):
            raise ValueError(f"{name} is no latency model")
    else:
        with usage():
            header = zoo.header(name)
    if json:
        print_json({"name": name, **_public(header)})
    else:
        _print_card(name, header)


def _public(header: dict[str, Any]) -> dict[str, Any]:
    return {k: header[k] for k in ("kind", "space", "target", "card")}


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
    for label, text in (
        ("data", card["data"].get("source", "")),
        ("licence of the data", card["data"].get("licence", "")),
        ("split", card["split"]),
        ("note", card.get("note", "")),
    ):
        if text:
            typer.echo(f"{label}: {text}")
    typer.echo("found by the audit:" if card["traps"] else "the audit found nothing")
    for trap in card["traps"]:
        typer.echo(f"  {trap}")
    print_metrics(card["metrics"], title="on the test part:")
