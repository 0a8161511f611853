"""Snippets of the docs, each in a process of its own that has loaded latcast already."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from multiprocessing import util
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import latcast
from latcast.cli import devices
from latcast.devices import _host
from latcast.measure import Protocol
from latcast.search import Memetic

# Loaded once, by the process that those of the snippets are forked from.
for _name in latcast.__all__:
    getattr(latcast, _name)
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])
# Its sockets lie there: made now, it is no folder of the tests' own, which goes before they do.
util.get_temp_dir()


def hurry(set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Let searches and measurements be short: pages say how to ask, not how good answers are."""
    hurry = {
        Memetic: {"evaluations": 5_000},
        # Tests run side by side: each run would be made again for it.
        Protocol: {"redo": 0, "warm_up_s": 0.0, "run_s": 0.02, "reference_s": 0.0},
    }
    for kind, given in hurry.items():
        defaults = {field.name: field.default for field in dataclasses.fields(kind)} | given
        set_attribute(kind.__init__, "__defaults__", tuple(defaults.values()))
    set_attribute(_host, "_array_bytes", lambda *_: 2**24)
    set_attribute(devices, "_SECONDS", 0.05)


def run_snippet(text: str) -> str:
    """Run a snippet as a program in this folder; returns its traceback, or an empty text."""
    ours, its = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_run, args=(text, Path.cwd(), dict(os.environ), its))
    process.start()
    its.close()
    try:
        told = str(ours.recv())
    except EOFError:
        told = "the process ended"
    process.join()
    return told or f"exit code {process.exitcode}" * bool(process.exitcode)


def _run(text: str, folder: Path, environment: dict[str, str], told: Connection) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c"]
    sys.modules["__main__"] = main = ModuleType("__main__")
    hurry(setattr)
    warnings.simplefilter("error")
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            exec(compile(text, "<snippet>", "exec"), vars(main))
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        told.send(traceback.format_exc())
    else:
        told.send("")
