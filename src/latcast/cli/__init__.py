"""The command line: one file per command."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from ._console import INTERRUPTED, Command, Group
from ._interrupts import interrupts
from ._streams import stream_of

# Heading -> command -> what it does, in a line of --help on a narrow terminal. A command's module
# is imported when the command is run: they declare some 300 options, whose making took longer than
# all else of --help.
_COMMANDS = {
    "Forecast and search": {
        "predict": "Predict latency, and where the milliseconds go.",
        "choose": "Choose the most accurate pretrained models that fit.",
        "which": "Rank devices by their chance to keep a budget.",
        "check": "Check models against latency budgets, as tests do.",
        "inspect": "List a model's layers with their costs.",
        "search": "Find the most accurate network within every budget.",
        "export": "Write a network as ONNX or as PyTorch weights.",
    },
    "Measure": {
        "measure": "Time networks on this machine, and write a dataset.",
        "suggest": "Suggest what to measure: what tells most.",
        "audit": "Look for what is wrong with a dataset.",
        "compare": "Compare two datasets, or a forecast and a dataset.",
        "host": "Machines that measure: prepare, check, clean up.",
        "lookup-table": "Lookup tables: build one on this machine, or convert one.",
    },
    "Models": {
        "train": "Fit a predictor to a dataset, score it, save it.",
        "adapt": "Make a model for another target from measurements.",
        "tune": "Search the options of a predictor.",
        "evaluate": "Score a model on measurements it has not seen.",
        "accuracy": "Accuracy models: train one on a table, score it, ask it.",
    },
    "Serve": {
        "explore": "Open the explorer: forecasts in a browser, as you type.",
        "serve": "Answer over HTTP, for pipelines and browsers.",
    },
    "What there is": {
        "spaces": "List the search spaces, or show one.",
        "devices": "List the devices with a specification, or describe this one.",
        "models": "List the shipped models, or show one's card.",
        "data": "Public measurements: list their sources, fetch them.",
        "report": "Join results to one page.",
        "bench": "Score predictors on published data.",
    },
}


class _Commands(Mapping[str, Any]):
    """The commands by name, each loaded when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            if name not in iter(self):
                raise KeyError(name)
            self._loaded[name] = _load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return (name for commands in _COMMANDS.values() for name in commands)

    def __len__(self) -> int:
        return sum(map(len, _COMMANDS.values()))


class _Root(Group):
    """The command ``latcast``, whose help loads none of its commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, as --help lists them."""
        return list(self.commands)

    def summaries(self, ctx: Any, width: int) -> dict[str, list[tuple[str, str]]]:
        """Heading -> commands, each with what it does."""
        return {heading: list(commands.items()) for heading, commands in _COMMANDS.items()}


app = typer.Typer(
    name="latcast",
    cls=_Root,
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


def _load(name: str) -> Any:
    """A command, or a group of commands, of the module of its name."""
    module = import_module(f".{name.replace('-', '_')}", __package__)
    one = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )  # fmt: skip
    if hasattr(module, "app"):
        one.add_typer(module.app, name=name)
        return typer.main.get_group(one).commands[name]
    one.command(name, cls=Command)(getattr(module, name))
    return typer.main.get_command(one)


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
    interrupts.install()
    try:
        app()
    except ImportError:  # of a command's module, before there is a console
        if not interrupts.happened:
            raise
        sys.stderr.write("error: interrupted\n")
        sys.exit(INTERRUPTED)
