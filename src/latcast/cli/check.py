"""``latcast check``: whether models keep their latency budgets, for continuous integration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import typer

from ._console import FAILED, OUTPUT, Console, UsageError, argument, command, option
from ._options import Devices, check_usable


@dataclass(frozen=True, kw_only=True)
class Reports:
    """Files for what runs the check."""

    panel: ClassVar[str] = OUTPUT

    markdown: Path | None = option(
        "Write a summary in GitHub's Markdown; $GITHUB_STEP_SUMMARY is added to."
    )
    junit: Path | None = option("Write the budgets as the tests of a suite, in JUnit's XML.")


@command
def check(
    console: Console,
    *,
    budgets: Path = argument("Models, devices and budgets (.toml), - for standard input."),
    reports: Reports,
    devices: Devices = None,
) -> None:
    """Check models against latency budgets; exit code 1 where one is not met.

    Example: latcast check budgets.toml --junit latency.xml --markdown "$GITHUB_STEP_SUMMARY"
    """
    from latcast._files import check_writable, write_file
    from latcast.search.budgets import BudgetFileError
    from latcast.search.budgets import check as checked

    check_usable(budgets, stdin=True)
    for path in (reports.markdown, reports.junit):
        if path is not None:
            check_writable(path)
    try:
        with console.progress("checking budgets") as tell:
            found = checked(budgets, on_progress=tell)
    except BudgetFileError as error:
        raise UsageError(str(error)) from error
    if (path := reports.markdown) is not None:
        # Steps of a job share that file; of another one, a summary is the whole content.
        is_shared = path.is_file() and os.environ.get("GITHUB_STEP_SUMMARY") == str(path)
        before = path.read_text(encoding="utf-8") if is_shared else ""
        write_file(path, before + found.to_markdown())
    if reports.junit is not None:
        write_file(reports.junit, found.to_junit())
    console.show(found)
    for reason in found.errors:
        console.tell_error(reason)
    if not found.is_met:
        raise typer.Exit(FAILED)
