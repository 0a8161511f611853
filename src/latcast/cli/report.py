"""``latcast report``: one page of several results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ._console import OUTPUT, Console, UsageError, argument, command, option
from ._options import check_suffix, check_usable, resolving

if TYPE_CHECKING:
    from latcast.report.record import Record


@command
def report(
    console: Console,
    *,
    results: list[Path] = argument(
        "JSON as --json prints it (- for standard input); a dataset (.parquet), which is audited; "
        "or a model (.latcast), whose card is shown."
    ),
    page: Path | None = option(
        "Page to write (.html); --html is the same.", None, "--out", metavar="FILE", panel=OUTPUT
    ),
    title: str | None = option("Title of the page; made of the results' own by default."),
) -> None:
    """Join results to one page, a part for each.

    Example: latcast report forecast.json search.json --out report.html
    """
    path = page or console.html
    if path is None:
        raise UsageError("name the page to write: --out report.html")
    check_suffix(path, "--out", ".html", ".htm")
    for result in results:
        check_usable(result, stdin=True)
    with console.progress("reading results"):
        records = [read_result(result) for result in results]
    with rendered(), console.progress("drawing"):
        console.write_page(path, records, title or "")


@contextmanager
def rendered() -> Iterator[None]:
    """Records inside may be of files, whose values can be of any type.

    Raises:
        ValueError: one is of a type that is not shown so.
    """
    try:
        yield
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(
            "results must hold what latcast writes there; showing them gave "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from error


def read_result(path: Path) -> Record:
    """The record that a file holds, or that is made of a dataset or a model.

    Raises:
        UsageError: it is none of these.
        ValueError: it is damaged.
    """
    from latcast._files import STDIN, read_input, standard_input
    from latcast._limits import MAX_TEXT_BYTES
    from latcast.report.record import read_record

    is_dataset = str(path) == STDIN and standard_input()[:4] == b"PAR1"
    if path.suffix == ".parquet" or is_dataset:
        from latcast.data import read
        from latcast.data.audit_report import AuditReport

        return AuditReport.of(read(path), "standard input" if is_dataset else path.name)
    if path.suffix == ".latcast":
        from latcast.models.overview import model_card

        with resolving():
            return model_card(str(path))
    name, content = read_input(path, MAX_TEXT_BYTES)
    try:
        data = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"{name} must be JSON as --json prints it, a .parquet or a .latcast file: {error}"
        ) from error
    try:
        return read_record(data)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error
