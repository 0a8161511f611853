"""``latcast data``: public measurements, where they come from and fetching them."""

from __future__ import annotations

from pathlib import Path

import typer

from ._console import OUTPUT, REQUIRED, Command, Console, Group, argument, command, option, usage
from ._options import INPUT

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Public measurements: where they come from, and fetching them.",
)


@app.command("list", cls=Command)
@command
def list_sources(console: Console) -> None:
    """List the public sources that latcast reads, with their licences.

    Example: latcast data list
    """
    from latcast.data.fetch import DataSources

    console.show(DataSources.of_all())


@app.command("fetch", cls=Command)
@command
def fetch(
    console: Console,
    *,
    source: str = argument("One of latcast data list: ofanas, help or timm-imagenet."),
    out: Path = option(
        "Folder for the files, below a folder of the source.",
        REQUIRED,
        panel=OUTPUT,
        envvar="LATCAST_DATA",
    ),
    mirror: str | None = option(
        "Address of a copy of the source's folder.", panel=INPUT, metavar="URL"
    ),
) -> None:
    """Fetch public measurements, and compare their SHA-256.

    ofanas and help are datasets for audit, train and bench; timm-imagenet has the accuracies that
    choose needs. Files that are there are kept, and an interrupted one is gone on with.

    Example: latcast data fetch ofanas --out data
    """
    from latcast.data import fetch as fetching

    with usage():
        fetching.check(source, mirror)
    with console.progress(f"fetching {source}", unit="bytes") as tell:
        found = fetching.fetch(source, out, mirror=mirror, tell=tell)
    console.show(found)
