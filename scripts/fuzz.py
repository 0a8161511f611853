"""Damaged, hostile and senseless files of every format: read or refused, soon, in little memory.

    python scripts/fuzz.py --inputs 10000 [--first 0] [--only WORD …] [--keep build/fuzz]

The inputs are those of the tests (``tests/graph/read/test_hostile_files.py`` and
``test_onnx_reader_fuzz.py``, ``tests/test_senseless_files.py``, ``tests/test_files.py``), as many
of each format as are asked for, by number: ``--first 400 --inputs 1`` makes the 401st again. They
are read in a process beside, whose CPU time and memory are looked at from here: one that hangs, is
aborted or killed is a finding as an unclear error is, and reading goes on with the next input.
Files of findings are kept. A report says of every format how many were read and refused, the most
CPU seconds and the most memory that one took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count, islice
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
# What is a finding: CPU seconds of one input, and bytes beyond what the process had.
MAX_SECONDS, MAX_BYTES = 5.0, 2**30
# When a process is ended: by CPU time, which other work does not use up; and by the clock, where it
# waits for something. It may take so much memory before the system refuses it more.
HANGS_CPU_S, HANGS_S, MAX_ADDRESSES = 60.0, 900.0, 6 * 2**30
# Inputs that hypothesis draws by one seed.
CHUNK = 200


# --- formats ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A format, its inputs from a number on, and what reads one in a folder."""

    inputs: Callable[[int], Iterator[Any]]
    check: Callable[[Any, Path, int], bool]


def formats() -> dict[str, Format]:
    """Name -> format, for all that there are tests of."""
    sys.path += [str(ROOT / "tests" / folder) for folder in (".", "graph/read", "makers")]
    networks, nodes, structures, damaged = map(
        import_module,
        ("test_hostile_files", "test_onnx_reader_fuzz", "test_senseless_files", "test_files"),
    )
    signal.signal(signal.SIGVTALRM, networks._late)

    def hostile(name: str) -> Format:
        return Format(
            lambda first: (networks.hostile(name, n) for n in count(first)),
            lambda files, folder, n: bool(networks.check(name, files, folder, n)),
        )

    def senseless(kind: Any) -> Format:
        return Format(
            lambda first: drawn(kind.contents(), first),
            lambda content, folder, _: bool(kind.check(content, folder)),
        )

    def accident(name: str) -> Format:
        return Format(
            lambda first: drawn(damaged.damage(damaged.sound(name)[1]), first),
            lambda content, *_: bool(damaged.check(name, content)),
        )

    return {
        **{networks.TITLES[name]: hostile(name) for name in networks.FORMATS},
        "ONNX, node by node": Format(
            lambda first: (nodes.hostile_file(n) for n in count(first)),
            lambda content, _, n: bool(nodes.check(content, n)),
        ),
        **{name: senseless(kind) for name, kind in structures.KINDS.items()},
        **{f"accidents: {name}": accident(name) for name in damaged.KINDS},
    }


def drawn(strategy: Any, first: int) -> Iterator[Any]:
    """Inputs of a strategy of hypothesis from a number on, the same whenever they are drawn."""
    hypothesis: Any = import_module("hypothesis")  # which has functions without types
    settings = hypothesis.settings(
        max_examples=CHUNK, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    found: list[Any] = []

    def collect(content: Any) -> None:
        found.append(content)

    for chunk in count(first // CHUNK):
        found.clear()
        hypothesis.seed(chunk)(settings(hypothesis.given(strategy)(collect)))()
        # A small space of inputs may be drawn fewer times: some stand twice then.
        yield from (found * CHUNK)[max(0, first - CHUNK * chunk) : CHUNK]


# --- the process that reads -------------------------------------------------------------------


def child(name: str, first: int, inputs: int, keep: Path) -> None:
    """Read inputs in this process, and tell of each on standard output, a line of JSON each."""
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a reader prints
    found = formats()[name]
    folder = Path.cwd()
    tell(told, begun=True)
    bound = memory("VmSize") + MAX_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (bound, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for number, content in enumerate(islice(found.inputs(first), inputs), first):
        tell(told, number=number)
        # From now on the most memory is this input's.
        Path("/proc/self/clear_refs").write_text("5")
        before, begin = memory("VmRSS"), time.process_time()
        is_read, problem = False, ""
        try:
            is_read = found.check(content, folder, number)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a test that fails raises no Exception
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            problem = f"{type(error).__name__} at {where}: {str(error)[:200]!r}"
        seconds = time.process_time() - begin
        taken = memory("VmHWM") - before
        if problem or seconds > MAX_SECONDS or taken > MAX_BYTES:
            keep_files(folder, keep, name, number)
        tell(told, seconds=seconds, bytes=taken, read=is_read, problem=problem)


def tell(told: Any, **facts: Any) -> None:
    told.write(json.dumps(facts) + "\n")


def keep_files(folder: Path, keep: Path, name: str, number: int) -> None:
    """Keep the files of an input."""
    place = keep / f"{''.join(c if c.isalnum() else '-' for c in name)}-{number}"
    shutil.copytree(folder, place, dirs_exist_ok=True)


def memory(what: str) -> int:
    """Bytes of memory of this process, as Linux counts them under a name."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return 1024 * int(line.split()[1])
    raise ValueError(f"no {what}")


# --- the process that looks at it -------------------------------------------------------------


@dataclass
class Counts:
    """What became of the inputs of a format."""

    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    largest: tuple[int, int] = (0, -1)
    findings: list[str] = field(default_factory=list)

    def add(self, number: int, facts: dict[str, Any]) -> str:
        """Count an input; returns what is wrong about it."""
        self.read += facts["read"]
        self.refused += not facts["read"]
        self.seconds += facts["seconds"]
        self.slowest = max(self.slowest, (facts["seconds"], number))
        self.largest = max(self.largest, (facts["bytes"], number))
        wrong = [facts["problem"]] if facts["problem"] else []
        if facts["seconds"] > MAX_SECONDS:
            wrong.append(f"{facts['seconds']:.1f} s")
        if facts["bytes"] > MAX_BYTES:
            wrong.append(f"{facts['bytes'] / 2**20:.0f} MiB")
        return ", ".join(wrong)


def watch(name: str, first: int, inputs: int, keep: Path) -> Counts:
    """Let a process read inputs of a format; another one goes on where it ends."""
    counts, number, end = Counts(), first, first + inputs
    while number < end:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            folder, errors = Path(place, "files"), Path(place, "errors")
            folder.mkdir()
            options = ["--child", name, str(number), str(end - number), str(keep.absolute())]
            with errors.open("wb") as log, subprocess.Popen(  # noqa: S603
                [sys.executable, __file__, *options], stdout=subprocess.PIPE, stderr=log, cwd=folder
            ) as process:  # fmt: skip
                number, reason = _watched(process, counts, number, name)
            if number < end:
                said = errors.read_text(errors="replace").strip().splitlines()[-1:]
                reason = reason or f"ended with {process.returncode}: {' '.join(said)[:300]}"
                _note(counts, name, number, reason)
                keep_files(folder, keep, name, number)
                number += 1
    return counts


def _watched(
    process: subprocess.Popen[bytes], counts: Counts, number: int, name: str
) -> tuple[int, str]:
    """Count what a process tells; returns the input at which it ended, and why it was ended."""
    assert process.stdout is not None
    looked, buffer = psutil.Process(process.pid), b""
    begin, cpu_then = time.monotonic(), 0.0
    while True:
        if not select.select([process.stdout], [], [], 5.0)[0]:
            cpu = sum(looked.cpu_times()[:2]) - cpu_then
            if cpu > HANGS_CPU_S or time.monotonic() - begin > HANGS_S:
                process.kill()
                return number, f"hangs: {cpu:.0f} s of CPU time"
            continue
        if not (part := os.read(process.stdout.fileno(), 1 << 16)):
            process.wait()
            return number, ""
        *lines, buffer = (buffer + part).split(b"\n")
        for line in lines:
            facts = json.loads(line)
            number = facts.get("number", number)
            if "seconds" in facts:
                if wrong := counts.add(number, facts):
                    _note(counts, name, number, wrong)
                number += 1
        if looked.status() != psutil.STATUS_ZOMBIE:
            begin, cpu_then = time.monotonic(), sum(looked.cpu_times()[:2])


def _note(counts: Counts, name: str, number: int, wrong: str) -> None:
    counts.findings.append(f"{name} {number}: {wrong}")
    print(f"FOUND {counts.findings[-1]}", file=sys.stderr, flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        name, first, inputs, keep = sys.argv[2:]
        child(name, int(first), int(inputs), Path(keep))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100, help="of every format")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--only", nargs="+", default=[""], help="words of formats' names")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    options = parser.parse_args()
    from latcast.bench.tables import machine

    names = [n for n in formats() if any(word.lower() in n.lower() for word in options.only)]
    end = options.first + options.inputs
    print(f"Inputs {options.first} to {end - 1} of every format, each in a process that is watched")
    print(f"{machine()}; CPU seconds and memory of one input\n")
    print(f"{'format':40}{'inputs':>8}{'read':>8}{'refused':>8}{'slowest s':>11}{'most MiB':>10}"
          f"{'findings':>10}", flush=True)  # fmt: skip
    findings: list[str] = []
    for name in names:
        got = watch(name, options.first, options.inputs, options.keep)
        findings += got.findings
        print(
            f"{name:40}{got.read + got.refused:>8,}{got.read:>8,}{got.refused:>8,}"
            f"{got.slowest[0]:>11.2f}{got.largest[0] / 2**20:>10.0f}{len(got.findings):>10}",
            flush=True,
        )
    print(f"\n{len(findings)} findings: over {MAX_SECONDS:g} s, over a gigabyte, an abort, or an "
          "error that is not clear")  # fmt: skip
    print("\n".join(findings))
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
