"""The command line: one file per command."""

from __future__ import annotations

import gc
import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from . import (
    accuracy,
    adapt,
    audit,
    bench,
    choose,
    devices,
    evaluate,
    export,
    inspect,
    lookup_table,
    measure,
    models,
    predict,
    search,
    spaces,
    suggest,
    train,
    tune,
    which,
)
from ._console import Command, Group, stream_of

app = typer.Typer(
    name="latcast",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Forecast how long a neural network takes on a device, and find the most accurate one "
        "within a latency budget.\n\nExample: latcast search --device samsung-note10 "
        "--max-latency 20"
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        from latcast import __version__

        typer.echo(f"latcast {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


# Heading -> commands, each called as its function.
_COMMANDS = {
    "Forecast and search": (
        predict.predict, choose.choose, which.which, inspect.inspect, search.search, export.export,
    ),
    "Measure": (measure.measure, suggest.suggest, audit.audit),
    "Models": (train.train, adapt.adapt, tune.tune, evaluate.evaluate),
    "What there is": (spaces.spaces, devices.devices, models.models),
}  # fmt: skip

for _heading, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(cls=Command, rich_help_panel=_heading)(_command)
app.add_typer(lookup_table.app, name="lookup-table", rich_help_panel="Measure")
app.add_typer(accuracy.app, name="accuracy", rich_help_panel="Models")
app.add_typer(bench.app, name="bench", rich_help_panel="What there is")


def main() -> None:
    """Entry point of the ``latcast`` command."""
    # Its matrices are small: a second thread wins little, and on a busy machine loses much by
    # spinning. Set before numpy is imported, which commands do when they run.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # A command makes few cycles and many objects that stay: looking through them for garbage over
    # and over took about a tenth of a forecast's time.
    gc.set_threshold(100_000, 20, 20)
    for name in ("stdout", "stderr"):
        if isinstance(stream := getattr(sys, name), TextIOWrapper):
            setattr(sys, name, stream_of(stream))
    app()
