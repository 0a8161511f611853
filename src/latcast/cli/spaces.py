"""``latcast spaces``: what search spaces there are."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
    Seed,
    UsageError,
    fails_cleanly,
    find_space,
    print_json,
    print_table,
)


@fails_cleanly
def command(
    name: Annotated[str | None, typer.Argument(help="One space, with its genes.")] = None,
    sample: Annotated[
        int,
        typer.Option(
            "--sample", min=0, max=1_000_000, help="Print N random architectures of it as JSON."
        ),
    ] = 0,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the search spaces, or show one.

    Example: latcast spaces ofa-mobilenet-v3 --sample 1 > arch.json
    """
    if name is None:
        if sample:
            raise UsageError("--sample needs the name of a space")
        _list(json)
        return
    space = find_space(name)
    if sample:
        print_json(space.sample(sample, seed).to_dicts())
        return
    facts: dict[str, Any] = {
        "name": space.name,
        "description": space.description,
        "gene_combinations": space.size,
        "block_table_rows": len(space.block_table),
        "genes": {g.name: list(g.choices) for g in space.genes},
    }
    if json:
        print_json(facts)
        return
    typer.echo(f"{space.name}: {space.description}")
    typer.echo(f"{space.size:,} gene combinations, {len(space.block_table):,} distinct blocks")
    for choices, genes in groupby(space.genes, key=lambda g: g.choices):
        names = [g.name for g in genes]
        label = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
        typer.echo(f"  {label}: {', '.join(map(str, choices))}")


def _list(json: bool) -> None:
    from latcast import spaces

    found = [spaces.space(n) for n in spaces.space_names()]
    if json:
        print_json(
            [
                {"name": s.name, "description": s.description, "gene_combinations": s.size}
                for s in found
            ]
        )
        return
    print_table(["space", "description"], [[s.name, s.description] for s in found])
