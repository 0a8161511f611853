"""What all commands share: options, output, errors."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from latcast.data import Dataset
    from latcast.spaces import SearchSpace

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no notes.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything chance decides.")]
SpaceName = Annotated[
    str | None, typer.Option("--space", help="Search space, where the file does not tell.")
]
TargetName = Annotated[
    str | None,
    typer.Option("--target", help="DEVICE/RUNTIME/bBATCH, where the file does not tell."),
]
FormatName = Annotated[
    str | None, typer.Option("--format", help="parquet, ofanas, csv or help; detected by default.")
]


def _know_devices(context: typer.Context, files: list[Path] | None) -> list[Path] | None:
    """Let the catalogue hold the devices of ``files`` until the command has ended."""
    if files:
        from latcast.devices import device_files

        for file in files:
            try:
                check_usable(file)
            except UsageError as error:
                _fail(f"--devices (or LATCAST_DEVICES): {error}", WRONG_USAGE, debug=False)
        context.with_resource(device_files(files))
    return files


Devices = Annotated[
    list[Path] | None,
    typer.Option(
        "--devices",
        metavar="FILE",
        envvar="LATCAST_DEVICES",
        callback=_know_devices,
        help="Devices of your own beside the catalogue's (.toml); can be given several times.",
    ),
]
"""A command that takes this knows the devices of the user's files."""

F = TypeVar("F", bound=Callable[..., None])


class UsageError(ValueError):
    """What the user asked for does not exist or makes no sense (exit code 2)."""


def fails_cleanly(command: F) -> F:
    """Turn the errors that a user can cause into one line and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader went away (as `| head` does); keep Python from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED, debug=bool(kwargs.get("debug")))
        except UsageError as error:
            _fail(str(error), WRONG_USAGE, debug=bool(kwargs.get("debug")))
        except (ValueError, OSError, ModuleNotFoundError, MemoryError) as error:
            _fail(str(error) or type(error).__name__, FAILED, debug=bool(kwargs.get("debug")))
        except typer.Exit:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours: still one line
            message = f"unexpected {type(error).__name__}: {error} (--debug shows where)"
            _fail(message, FAILED, debug=bool(kwargs.get("debug")))

    return wrapped  # type: ignore[return-value]  # same signature, as typer reads it


def _fail(message: str, code: int, *, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


@contextmanager
def usage(*but: type[ValueError]) -> Iterator[None]:
    """Errors inside, ``but`` for those, come from what the user asked for, not from the work."""
    try:
        yield
    except but:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error


def print_json(value: Any) -> None:
    """JSON on stdout; NaN and infinities, which JSON lacks, become null."""
    typer.echo(json.dumps(_jsonable(value), indent=2, ensure_ascii=False))


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in value]
    if hasattr(value, "tolist"):
        return _jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None
) -> None:
    """A table on stdout; columns whose cells start with a digit, sign or dash align right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if title is not None:
        typer.echo(title)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, name in enumerate(columns):
        numeric = all(row[n][:1] in "0123456789-–+" for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # As wide as it needs: a terminal that is narrower wraps whole lines, not every cell.
    Console(width=400, markup=False, highlight=False).print(table)


METRICS = {
    "mae_ms": "MAE, ms",
    "rmse_ms": "RMSE, ms",
    "mape": "mean absolute error, %",
    "median_error": "median absolute error, %",
    "within_5": "within 5 %, % of rows",
    "within_10": "within 10 %, % of rows",
    "within_25": "within 25 %, % of rows",
    "spearman": "Spearman rank correlation",
    "kendall": "Kendall rank correlation",
    "coverage_50": "50 % interval covers, %",
    "coverage_80": "80 % interval covers, %",
    "coverage_90": "90 % interval covers, %",
    "coverage_95": "95 % interval covers, %",
}
"""Metric -> label with its unit, in the order in which tables show them."""
_OF_NETWORKS = ("median_error", "within_25")
"""Only layer models have these."""


def print_metrics(scores: Mapping[str, float], *, title: str | None = None) -> None:
    """Scores of a predictor as a table; what could not be scored is a dash."""
    rows = [
        [label, f"{scores[name]:.4g}" if name in scores else "–"]
        for name, label in METRICS.items()
        if name in scores or name not in _OF_NETWORKS
    ]
    print_table(["score", "value"], rows, title=title)


def note(message: str, *, quiet: bool) -> None:
    """One line on stderr."""
    if not quiet:
        typer.echo(message, err=True)


@contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while something takes its time; gives what to call with (done, total)."""
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def read_data(path: Path, space: str | None, target: str | None, format_: str | None) -> Dataset:
    """Read a dataset; what the user names wrongly is wrong usage, a bad file is not."""
    from latcast import data

    return data.read_latencies(path, **_hints(path, space, target, format_))


def read_any_data(
    path: Path, space: str | None, target: str | None, format_: str | None
) -> Dataset:
    """As :func:`read_data`, of architectures or of networks of any kind."""
    from latcast import data

    return data.read(path, **_hints(path, space, target, format_))


def _hints(
    path: Path, space: str | None, target: str | None, format_: str | None
) -> dict[str, Any]:
    """What the user says of a file that is there."""
    from latcast import data, spaces
    from latcast._names import unknown_name
    from latcast.devices import Target

    with usage():
        the_space = None if space is None else spaces.space(space)
        the_target = None if target is None else Target.parse(target)
        if format_ is not None and format_ not in data.FORMATS:
            raise UsageError(unknown_name("format", format_, list(data.FORMATS)))
    check_usable(path)
    return {"space": the_space, "target": the_target, "format": format_}


def read_architectures(path: Path) -> list[Any]:
    """Architectures in the field's own form from a JSON file: one, or a list of them.

    Raises:
        UsageError: there is no such file.
        ValueError: it holds no JSON, or no architecture.
    """
    from latcast.models.forecast import read_architectures as read

    check_usable(path)
    return read(path)


@contextmanager
def resolving() -> Iterator[None]:
    """A name inside that nothing answers to, or of a file that is not there, is wrong usage."""
    from latcast.models.resolve import UnresolvedError

    try:
        yield
    except (UnresolvedError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error


def check_model_name(out: Path) -> None:
    """Make sure that a file to write can be read as a model later."""
    if out.suffix != ".latcast":
        raise UsageError(f"--out must end in .latcast; got {out}")


def check_usable(path: Path) -> None:
    """Make sure that the user has named a file."""
    from latcast._files import check_file

    try:
        check_file(path)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error


def find_space(name: str) -> SearchSpace:
    """A search space by name."""
    from latcast import spaces

    with usage():
        return spaces.space(name)
