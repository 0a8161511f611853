"""Output and errors of commands: nothing else writes to stdout or stderr."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import shlex
import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Concatenate,
    NoReturn,
    ParamSpec,
    Protocol,
    TextIO,
    get_args,
    get_type_hints,
)

import typer
from typer.core import TyperCommand, TyperGroup

from ._interrupts import interrupts
from ._streams import Bar, has_gone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latcast.report.record import Record
    from latcast.report.table import Table
    from latcast.spaces import Archs

# Exit codes; the last is what shells give for ctrl-C (128 and the signal's number).
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

# After so long a bar is drawn: what is over sooner needs none, nor the package that draws it.
SECONDS_WITHOUT_BAR = 1.0

# The default of an option that must be given.
REQUIRED = MISSING

# Heading of the options that say what is written where; the last one in --help.
OUTPUT = "Output"

# Command -> former name of an option -> its name now; each is understood, with a warning.
FORMER: dict[str, dict[str, str]] = {
    "measure": {
        "--device": "--name",
        "--like": "--correct-to",
        "--time-budget": "--time-limit",
        "--visits": "--runs",
    },
    "lookup-table build": {"--device": "--name", "--visits": "--runs"},
    "search": {"--population": "--population-size", "--visits": "--runs"},
    "tune": {"--format": "--input-format", "--timeout": "--time-limit"},
    "accuracy train": {"--name": "--model-name"},
    **{
        name: {"--format": "--input-format"}
        for name in ("adapt", "audit", "evaluate", "suggest", "train")
    },
}

P = ParamSpec("P")


def option(help: str, default: Any = None, *names: str, panel: str = "", **how: Any) -> Any:
    """An option: the default of a field of a group or of a command's parameter, or its annotation.

    Args:
        help: what --help says of it.
        default: its value where it is left out; :data:`REQUIRED` for one that may not be.
        names: what it is called; by default as the field, ``--max-latency`` for ``max_latency``.
        panel: heading in --help, where it is in no group.
        how: what else :func:`typer.Option` takes, such as ``min`` or ``metavar``.
    """
    how |= {"help": help, "rich_help_panel": panel or None}
    return field(default=default, metadata={"names": names, "how": how})


def argument(help: str, default: Any = REQUIRED, **how: Any) -> Any:
    """:func:`option`, of an argument that is told by its place."""
    return field(default=default, metadata={"how": {"help": help, **how}})


class UsageError(ValueError):
    """The user asked for something that does not exist or makes no sense (exit code 2)."""


class Tell(Protocol):
    """Called with how much is done, how much there is, and what to say beside the bar."""

    def __call__(self, done: int, total: int | None, text: str = "", /) -> None: ...


@dataclass(frozen=True)
class Console:
    """The streams of results, notes and progress, as a group of options of every command.

    Attributes:
        json: results are JSON on stdout, and nothing else is there.
        quiet: no progress, no notes.
        debug: errors show their traceback.
        table: how tables are printed, one of ``latcast.report.formats.FORMATS``.
        wide: tables are as wide as they need, not as the terminal is.
        html: a page of the result is written here, too.
    """

    panel: ClassVar[str] = OUTPUT

    json: bool = option("Print JSON on stdout, and nothing else there.", False)
    table: str = option("How tables are printed: text, csv or md.", "text", metavar="FORMAT")
    wide: bool = option("Print all columns, however narrow the terminal is.", False)
    quiet: bool = option("No progress, no notes.", False)
    debug: bool = option("Show the traceback of an error.", False)
    html: Path | None = option("Write a page of the result, too.", metavar="FILE")

    def show(
        self,
        record: Record,
        parts: Iterable[Table | str] | None = None,
        page: Record | None = None,
    ) -> None:
        """A result on stdout, its page where one is asked for, and its doubts on stderr.

        Args:
            record: the result.
            parts: what of it is printed without ``--json``; the record's own parts by default.
            page: what the page is of; the same record by default.
        """
        from latcast.report.formats import pieces

        for note in record.doubts():
            self.note(note)
        if self.json:
            self._print(record.json_pieces())
        else:
            parts = parts or record.parts()
            self._print(pieces(parts, self.table, limit=self._limit(sys.stdout), note=self.note))
        if self.html is not None:
            command, files = _ORIGIN.get()
            write_text(self.html, (page or record).to_html(command=command, files=files))
            self.note(f"wrote {self.html}")

    def name_file(self, path: str | Path) -> None:
        """A file that was found where an option or a variable names its folder: for the page."""
        if self.html is not None and Path(path).is_file():
            _ORIGIN.get()[1][str(path)] = _digest(Path(path))

    def write_page(self, path: Path, records: Sequence[Record], title: str = "") -> None:
        """A page of several results, whose title is made of theirs where none is given."""
        from latcast.report.page import page

        command, files = _ORIGIN.get()
        write_text(path, page(records, title=title, command=command, files=files))
        self.note(f"wrote {path}")

    def check(self) -> None:
        """Make sure that the options go together.

        Raises:
            UsageError: they do not.
        """
        from latcast.report.formats import FORMATS

        if self.table not in FORMATS:
            raise UsageError(f"--table must be {', '.join(FORMATS)}; got {self.table!r}")
        if self.html == Path("-"):
            raise UsageError("--html must be a file; got -: results go to standard output anyway")
        if self.json and self.table != "text":
            raise UsageError(f"--json prints no table: leave out --table {self.table}, or --json")

    def check_no_result(self) -> None:
        """Make sure that no result is asked for, of a command that has none.

        Raises:
            UsageError: a page or a table is asked for.
        """
        for name, is_given in (("html", self.html is not None), ("table", self.table != "text")):
            if is_given:
                raise UsageError(f"this command has no result of its own: leave out --{name}")

    def _limit(self, stream: TextIO | None) -> int | None:
        """Characters of a line of the terminal that a stream goes to; None where it is none."""
        if self.wide or stream is None or not stream.isatty():
            return None
        return shutil.get_terminal_size().columns

    def print_archs(self, archs: Archs) -> None:
        """Architectures in the field's own form on stdout, for another command.

        Raises:
            UsageError: a page of them is asked for.
        """
        if self.html is not None:
            raise UsageError("--html is for results; these are architectures: leave it out")
        from latcast.report.record import json_pieces
        from latcast.report.table import lazy

        if self.table != "text":
            raise UsageError(f"architectures are printed as JSON: leave out --table {self.table}")
        self._print(json_pieces(lazy(len(archs), lambda part: archs[part].to_dicts())))

    def _print(self, pieces: Iterable[str]) -> None:
        """Text on stdout, as long as somebody reads it."""
        for piece in pieces:
            if has_gone(sys.stdout):
                return
            typer.echo(piece, nl=False)
        typer.echo()

    def note(self, text: str) -> None:
        """One line on stderr, which is broken between words where a terminal is narrower."""
        if not self.quiet:
            from latcast.report.markup import wrapped

            typer.echo(wrapped(text, self._limit(sys.stderr)), err=True)

    def tell_error(self, message: str) -> None:
        """An error in one line, which does not end the command."""
        _tell_failure(message, FAILED, as_json=self.json)

    def fail(self, message: str, code: int = FAILED) -> NoReturn:
        """End the command with an error in one line."""
        if self.debug:
            traceback.print_exc()
        _tell_failure(message, code, as_json=self.json)
        raise typer.Exit(code)

    @contextmanager
    def progress(self, title: str, *, unit: str = "") -> Iterator[Tell]:
        """A bar on stderr while something takes more than a second, where that is a terminal.

        Args:
            title: what is being done, until something else is told.
            unit: what is counted; then the bar says how many are done and how long the rest takes.
        """
        if self.quiet or sys.stderr is None or not sys.stderr.isatty():
            yield lambda *_: None
            return
        bar = Bar(title, unit)
        later = threading.Timer(SECONDS_WITHOUT_BAR, bar.start)
        later.daemon = True
        later.start()
        try:
            yield bar.tell
        finally:
            later.cancel()
            later.join()
            bar.stop()


def _tell_failure(message: str, code: int, *, as_json: bool) -> None:
    """An error in one line on stderr."""
    from latcast.report.record import Failure

    found = Failure(" ".join(message.split()), code)
    text = json.dumps(found.to_dict(), ensure_ascii=False) if as_json else found.to_text()
    typer.echo(text, err=True)


@contextmanager
def usage(*but: type[ValueError]) -> Iterator[None]:
    """Errors inside, ``but`` for those, come from what the user asked for, not from the work."""
    try:
        yield
    except but:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error


# --- commands ---------------------------------------------------------------------------------


def command(function: Callable[Concatenate[Console, P], None]) -> Callable[..., None]:
    """Make a function a command; errors that a user can cause become one line and an exit code.

    Parameters are declared by :func:`option` and :func:`argument`. One whose type is a dataclass is
    a group of options: its fields are declared likewise, and all stand in --help under the heading
    that the class calls ``panel``. The first parameter is the :class:`Console`.
    """
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += _options_of(parameter.annotation)
        else:
            parameters.append(_declared(parameter.name, parameter.annotation, parameter.default))

    @functools.wraps(function)
    def run(context: typer.Context, **kwargs: Any) -> None:
        own = {
            name: group(**{f.name: kwargs.pop(f.name) for f in fields(group)})
            for name, group in groups.items()
        }
        with _errors(own["console"]):
            own["console"].check()
            _check_stdin([own, kwargs])
            if (html := kwargs.get("page") or own["console"].html) is not None:
                _keep_origin(html, context, own | kwargs)
            function(**own, **kwargs)  # type: ignore[call-arg]

    parameters.sort(key=lambda p: p.default is not p.empty)
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters.insert(0, context)
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _check_stdin(given: Any) -> None:
    """Make sure that standard input is named once.

    Raises:
        UsageError: it is named for two things.
    """
    from latcast._files import STDIN

    def named(value: Any) -> int:
        if is_dataclass(value):
            return sum(named(getattr(value, f.name)) for f in fields(value))
        if isinstance(value, dict | list | tuple):
            return sum(map(named, value.values() if isinstance(value, dict) else value))
        return value in (STDIN, Path(STDIN))

    if (count := named(given)) > 1:
        raise UsageError(f"standard input (-) can be read once; it is named {count} times")


# What was typed, and the files that were named -> their SHA-256: for the page of the result.
_ORIGIN: ContextVar[tuple[str, dict[str, str]]] = ContextVar("_ORIGIN", default=("", {}))
# Options that name a file to write, or one that is written to.
_WRITTEN = ("out", "html", "page", "checkpoint", "measured", "draw", "storage")


def _keep_origin(html: Path, context: typer.Context, given: Mapping[str, Any]) -> None:
    """Make sure that a page can be written, and keep what it tells of its origin."""
    from latcast._files import check_writable

    check_writable(html)
    files = {str(path): _digest(path) for path in _named_files(given)}
    _ORIGIN.set((shlex.join(["latcast", *(context.find_root().obj or ())]), files))


def _digest(path: Path) -> str:
    with path.open("rb") as file:  # which may be gigabytes
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named_files(given: Any) -> Iterator[Path]:
    """Files that arguments and options name, and that are there before the work begins."""
    if is_dataclass(given):
        given = {f.name: getattr(given, f.name) for f in fields(given)}
    if isinstance(given, dict):
        yield from (p for n, x in given.items() if n not in _WRITTEN for p in _named_files(x))
    elif isinstance(given, list | tuple):
        yield from (p for x in given for p in _named_files(x))
    elif isinstance(given, str | Path):
        with suppress(OSError, ValueError):  # a text may be too long for a path
            if Path(given).is_file():
                yield Path(given)


def _options_of(group: Any) -> Iterator[inspect.Parameter]:
    """The fields of a group as parameters, under its heading."""
    hints = get_type_hints(group, include_extras=True)
    for each in fields(group):
        default = each if "how" in each.metadata else each.default
        yield _declared(each.name, hints[each.name], default, group.panel)


def _declared(name: str, kind: Any, default: Any, panel: str | None = None) -> inspect.Parameter:
    """A parameter as typer takes it, by what its default declares, or else its annotation."""
    if isinstance(default, Field):
        declared, default = default, default.default
    else:
        kind, declared = get_args(kind)
    how = declared.metadata["how"]
    if "names" in declared.metadata:
        names = declared.metadata["names"] or (f"--{name.replace('_', '-')}",)
        told = typer.Option(*names, **{**how, "rich_help_panel": panel or how["rich_help_panel"]})
    else:
        told = typer.Argument(**how)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is REQUIRED else default,
        annotation=Annotated[kind, told],
    )


@contextmanager
def _errors(console: Console) -> Iterator[None]:
    """One line and an exit code for what a command raises."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(_tell_warning, console, warnings.showwarning)
            yield
    except KeyboardInterrupt:
        console.fail("interrupted", INTERRUPTED)
    except UsageError as error:
        console.fail(str(error), WRONG_USAGE)
    except ImportError as error:
        if interrupts.happened:
            console.fail("interrupted", INTERRUPTED)
        is_missing = isinstance(error, ModuleNotFoundError)
        console.fail(str(error) if is_missing else _unexpected(error))
    except (ValueError, OSError, MemoryError) as error:
        # A service says which of the two it is.
        console.fail(str(error) or type(error).__name__, getattr(error, "exit_code", FAILED))
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours: still one line
        console.fail(_unexpected(error))


def _unexpected(error: Exception) -> str:
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)"


def _tell_warning(
    console: Console, show: Any, message: Warning | str, category: type[Warning], *place: Any
) -> None:
    """A note on a file without a checksum; other warnings as Python shows them."""
    from latcast._checksums import UncheckedFileWarning

    if issubclass(category, UncheckedFileWarning):
        console.note(f"note: {message}")
    else:
        show(message, category, *place)


class _Grouped:
    """Help whose options stand under the headings that they were declared with."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            if (record := param.get_help_record(ctx)) is not None:
                argument = param.param_type_name == "argument"
                heading = getattr(param, "rich_help_panel", None) or "Options"
                groups.setdefault("Arguments" if argument else heading, []).append(record)
        last = [groups.pop(name, []) for name in ("Options", OUTPUT)]
        for heading, rows in [*groups.items(), *zip(("Options", OUTPUT), last, strict=True)]:
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


class Command(_Grouped, TyperCommand):
    """A command; it understands its options' former names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace former names, with a warning, and parse."""
        path = " ".join(_names_of(ctx))
        names = FORMER.get(path, {})
        renamed = [_renamed(names, a) for a in args]
        if path == "bench devices":
            renamed = _public_tables(renamed)
        return super().parse_args(ctx, renamed)


class Group(_Grouped, TyperGroup):
    """Commands, listed under the headings that they were registered with."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; wrong usage that is found before it runs is one line, too."""
        given = sys.argv[1:] if args is None else list(args)
        extra.setdefault("obj", given)
        run = functools.partial(
            super().main, args, prog_name, complete_var, standalone_mode=False,
            windows_expand_args=windows_expand_args, **extra,
        )  # fmt: skip
        if not standalone_mode:
            return run()
        as_json = "--json" in given
        try:
            code = run()
        except typer.Abort:
            _tell_failure("interrupted", code := INTERRUPTED, as_json=as_json)
        except Exception as error:
            if not hasattr(error, "format_message"):  # of the package that parses options
                raise
            code = getattr(error, "exit_code", WRONG_USAGE)
            if type(error).__name__ == "NoArgsIsHelpError" and not as_json:
                typer.echo(error.format_message(), err=True)  # a group without a command: its help
            else:
                _tell_failure(_usage_text(error), code, as_json=as_json)
        sys.exit(code or 0)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
        for heading, rows in self.summaries(ctx, width).items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def summaries(self, ctx: Any, width: int) -> dict[str, list[tuple[str, str]]]:
        """Heading -> commands, each with what it does in at most ``width`` characters."""
        names = self.list_commands(ctx)
        found = {name: self.get_command(ctx, name) for name in names}
        return {"Commands": [(n, c.get_short_help_str(width)) for n, c in found.items() if c]}


def _usage_text(error: Any) -> str:
    """What is wrong with a command's options, and which command tells them."""
    text, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    if context is None:
        return str(text)
    return f"{text[:1].lower()}{text[1:]}; latcast {' '.join([*_names_of(context), '-h'])} helps"


def _names_of(context: Any) -> list[str]:
    """The names that lead to a context's command, without the program's own."""
    names = []
    while context.parent is not None:
        names.append(context.info_name)
        context = context.parent
    return names[::-1]


def _public_tables(args: list[str]) -> list[str]:
    """Arguments in which ``--table ncnn``, as it was called once, names a public table."""
    from latcast.report.formats import FORMATS

    values = [a.partition("=")[2] or after for a, after in zip(args, [*args[1:], ""], strict=True)]
    return [
        a if value in FORMATS else _renamed({"--table": "--public-table"}, a)
        for a, value in zip(args, values, strict=True)
    ]


def _renamed(names: dict[str, str], argument: str) -> str:
    """An argument with its option's present name; a warning if it was the former one."""
    option, equals, value = argument.partition("=")
    if option not in names:
        return argument
    typer.echo(f"warning: {option} is called {names[option]} now", err=True)
    return f"{names[option]}{equals}{value}"


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    from latcast._files import write_file

    write_file(path, text)
