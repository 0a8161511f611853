"""Preparing a machine that ``ssh`` reaches: an environment with our wheel and a runtime's.

Everything of ours is in one folder of the user's there (:data:`._greeting.FOLDER`), with a folder
for each version of latcast. A machine without a way out is sent what it needs: this one's pip
installs wheels for its architecture, its C library and its Python into a folder, whose files are
sent, so that such a machine needs no pip, and a slow one does not unpack wheels.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO

from latcast.devices import Target
from latcast.measure.runtimes import runtime
from latcast.report.record import Record, Section
from latcast.report.table import Table, pairs

from ._base import HostError, HostLostError
from ._greeting import FOLDER
from .ssh import SSH

# The oldest that latcast itself runs on.
MIN_PYTHON = (3, 11)
# An environment with ONNX Runtime takes 250 MB on x86-64, and pip as much again while it unpacks.
MIN_FREE_MB = 500
# What a worker needs beside its runtime: importing one for each runtime of ours loads no other
# package of those that latcast requires, which small boards have no wheels of.
NEEDED = ("numpy", "onnx", "psutil", "filelock")
_INSTALL_S = 3600.0
# Oldest and newest C library that wheels of PyPI name.
_GLIBC, _MUSL = range(17, 44), range(1, 3)
_PIP = (
    # What is imported is compiled then, which is a small part of what is installed.
    "-m pip --disable-pip-version-check --no-input install --no-cache-dir --no-compile --retries 1 "
    "--timeout 15"
)

_PROBE = r"""
say() { echo "latcast-probe:$1=$2"; }
say system "$(uname -s)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 1)"
say free_kb "$(df -Pk "$HOME" | awk 'NR == 2 { print $4 }')"
for name in python3 python3.11 python3.12 python3.13 python3.14; do
  path=$(command -v $name) || continue
  say python "$path $($path -c 'import sys, sysconfig
name = sysconfig.get_platform()
if sys.maxsize < 2**32:  # whose kernel, which names the platform, may have 64 bits
    name = name.replace("aarch64", "armv7l").replace("x86_64", "i686")
print("%d.%d" % sys.version_info[:2], name)' 2>/dev/null)"
done
for path in FOLDER/*/bin/python; do [ -x "$path" ] && say installed "$path"; done
say end 1
""".replace("FOLDER", FOLDER)

_REMOVE = r"""
rm -rf FOLDER || exit 1
rmdir ~/.cache 2>/dev/null
lock="${TMPDIR:-/tmp}/latcast-measuring"
# Not while another campaign of this machine holds it.
[ -O "$lock" ] && command -v flock >/dev/null && flock -n "$lock/lock" rm -rf "$lock"
exit 0
""".replace("FOLDER", FOLDER)

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Probe:
    """The facts of a machine before anything of ours is installed there.

    Attributes:
        system: such as ``Linux``.
        platform: of its Python, such as ``linux-aarch64``; empty without one.
        libc: its C library and version, such as ``glibc 2.36``.
        free_mb: room in the home folder.
        python: path of a Python that is new enough; empty without one.
        version: of the latter, such as ``3.11``.
        found: every Python with its version.
        installed: versions of latcast that are prepared.
    """

    system: str
    platform: str
    libc: str
    free_mb: int
    python: str
    version: str
    found: tuple[str, ...]
    installed: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Probe:
        """The answers among whatever else a login prints.

        Raises:
            ValueError: the last one is missing.
        """
        said: dict[str, list[str]] = {}
        for key, value in re.findall(r"^latcast-probe:(\w+)=(.*)$", text, re.MULTILINE):
            said.setdefault(key, []).append(value.strip())
        if "end" not in said:
            raise ValueError(text.strip()[:200] or "nothing")
        pythons = [x.split() for x in said.get("python", []) if len(x.split()) == 3]
        good = [x for x in pythons if tuple(map(int, x[1].split("."))) >= MIN_PYTHON]
        path, version, platform = good[0] if good else ("", "", "")
        installed = (x.split("/")[-3] for x in said.get("installed", []))
        free = said["free_kb"][0]
        return cls(
            said["system"][0], platform, said["libc"][0], int(free) // 1024 if free else 0, path,
            version, tuple(f"{x[0]} {x[1]}" for x in pythons), tuple(installed),
        )  # fmt: skip

    def lacks(self) -> Iterator[str]:
        """Yield the prerequisites that are missing there, each with its remedy."""
        if self.system != "Linux":
            yield f"the system must be Linux; it is {self.system}"
        if not self.python:
            least, found = ".".join(map(str, MIN_PYTHON)), ", ".join(self.found) or "none"
            yield f"Python {least} or newer must be on the PATH; got {found}: install it there"
        if self.free_mb < MIN_FREE_MB:
            yield (
                f"the home folder must have {MIN_FREE_MB} MB free; it has {self.free_mb}: make room"
            )

    def tags(self) -> list[str]:
        """Platforms of the wheels that it can use, as pip calls them."""
        machine = self.platform.partition("-")[2].replace("-", "_")
        numbers = re.findall(r"(\d+)\.(\d+)", self.libc)
        major, minor = map(int, numbers[-1]) if numbers else (2, _GLIBC[0])
        if "musl" in self.libc.lower():
            return [f"musllinux_{major}_{n}_{machine}" for n in _MUSL if n <= minor]
        tags = [f"manylinux_{major}_{n}_{machine}" for n in reversed(_GLIBC) if n <= minor]
        return [*tags, f"manylinux2014_{machine}", f"linux_{machine}"]


@dataclass(frozen=True, repr=False)
class HostRecord(Record):
    """A machine that measures: what there is, what is missing, and what was done.

    Attributes:
        host: how it is reached.
        system: its operating system.
        platform: of its Python, such as linux-aarch64; empty without one.
        libc: its C library.
        free_mb: room in the home folder, MB.
        python: version of its Python; empty where none is new enough.
        latcast: versions of latcast that are prepared there.
        runtimes: runtime that was asked for -> its version there; null: it is missing.
        missing: what is missing, each with what to do.
        done: what was done, in this order.
    """

    schema = "host"
    no_figure = "what a machine has and lacks is told in words"

    host: str
    system: str
    platform: str
    libc: str
    free_mb: int
    python: str
    latcast: list[str]
    runtimes: dict[str, str | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def headline(self) -> str:
        return f"{self.host} as a machine that measures"

    def answer(self) -> str:
        able = [name for name, version in self.runtimes.items() if version]
        unable = [name for name in self.runtimes if name not in able]
        if not self.missing:
            by = f" by {', '.join(able)}" if able else ""
            return f"{self.host} is ready to measure{by}."
        if able and unable:
            return f"{self.host} can measure by {', '.join(able)}, but not by {', '.join(unable)}."
        count = len(self.missing)
        what = "1 thing is" if count == 1 else f"{count} things are"
        return f"{self.host} cannot measure yet: {what} missing."

    def sections(self) -> Iterator[Section]:
        yield from super().sections()
        if self.done:
            yield "What was done", ["\n".join(self.done)]

    def parts(self) -> Iterator[Table | str]:
        rows = [
            ("system", f"{self.system}, {self.libc}"),
            ("Python", f"{self.python or 'none'} {self.platform}".strip()),
            ("free, MB", f"{self.free_mb:,}"),
            ("latcast", ", ".join(self.latcast) or "none"),
            *((name, version or "missing") for name, version in self.runtimes.items()),
        ]
        yield pairs(("host", "value"), rows, self.host)

    def doubts(self) -> Iterator[str]:
        for text in self.missing:
            yield f"missing: {text}"


def check(board: SSH, runtimes: Sequence[str]) -> HostRecord:
    """Say what a machine has, and what is missing to measure with runtimes.

    Args:
        board: the machine, which is left open.
        runtimes: their names.

    Raises:
        HostError: it cannot be reached.
        ValueError: there is no such runtime.
    """
    kinds = [runtime(name) for name in runtimes]
    probe = _probed(board)
    missing = list(probe.lacks())
    found: dict[str, str | None] = dict.fromkeys(runtimes)
    if own_version() not in probe.installed:
        missing.append(
            f"latcast {own_version()} must be prepared there: latcast host prepare {board.name}"
            f"{''.join(f' --runtime {name}' for name in runtimes)}"
        )
    else:
        try:
            board.facts()
        except HostLostError:
            raise
        except HostError as error:
            missing.append(str(error))
        else:
            for kind in kinds:
                try:
                    found[kind.name] = version_there(board, kind.name)
                except (ModuleNotFoundError, ValueError, HostError) as error:
                    text = str(error)
                    is_named = text.startswith(f"{kind.name} ")
                    missing.append(text if is_named else f"{kind.name}: {text}")
    return _record(board, probe, found, missing)


def version_there(board: SSH, name: str) -> str:
    """Version of a runtime of a machine that is prepared.

    Raises:
        ModuleNotFoundError: it is not installed there.
        HostError: it cannot be loaded there.
    """
    board.check(Target("there", name, threads=1))
    return board.version_of(runtime(name).package)


def prepare(
    board: SSH,
    runtimes: Sequence[str],
    *,
    from_here: bool = False,
    tell: Told = lambda _: None,
) -> HostRecord:
    """Make an environment on a machine that has this latcast and runtimes.

    One of this version that was there is made anew.

    Args:
        board: the machine, which is left open.
        runtimes: their names.
        from_here: download all packages here and send them; by default only where the machine
            cannot install them by itself.
        tell: called with every step.

    Raises:
        HostError: something is missing there, or cannot be installed.
        ValueError: there is no such runtime.
    """
    wanted = requirements(runtimes)
    probe = _probed(board)
    if lacks := list(probe.lacks()):
        raise HostError(f"{board.name} cannot be prepared: {'; '.join(lacks)}")
    done: list[str] = []

    def step(text: str) -> None:
        done.append(text)
        tell(text)

    folder = _folder()
    try:
        step(f"an environment of {probe.python} ({probe.version}) in {folder}")
        if from_here or not _installs_by_itself(board, probe, wanted, step):
            _run(
                board, f"rm -rf {folder} && {probe.python} -m venv --without-pip {folder}",
                "the module venv",
            )  # fmt: skip
            _send_packages(board, probe, wanted, step)
        wheel = own_wheel()
        step(f"latcast {own_version()} of this machine, {len(wheel) / 1e6:.1f} MB")
        with tempfile.TemporaryDirectory(prefix="latcast-") as unpacked:
            with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
                archive.extractall(unpacked)  # noqa: S202  # our own, made above
            _send(board, Path(unpacked), _packages(probe))
        found = {name: version_there(board, name) for name in runtimes}
    except BaseException:
        # Half an environment would look like a whole one.
        board.drop()
        if board.connection.is_open or _can_reach(board):
            board.connection.run(f"rm -rf {folder}")
        raise
    return _record(board, _probed(board), found, [], done)


def remove(board: SSH) -> HostRecord:
    """Remove everything of ours from a machine: environments, networks' files, the lock's folder.

    Raises:
        HostError: it cannot be reached, or does not let it be removed.
    """
    board.drop()
    _script(board, _REMOVE)
    return _record(board, _probed(board), {}, [], [f"removed {FOLDER}"])


def own_version() -> str:
    """Version of this latcast."""
    return metadata.version("latcast")


# -- what is installed ----------------------------------------------------------------------------


def requirements(runtimes: Sequence[str]) -> list[str]:
    """Return the requirements that pip installs on a machine that measures with runtimes.

    Raises:
        ValueError: there is no such runtime.
    """
    stated = metadata.requires("latcast") or []
    core = {_name(x): x for x in stated if ";" not in x}
    found = [core.get(name, name) for name in NEEDED]
    for name in runtimes:
        extra = runtime(name).extra
        own = [x.partition(";")[0] for x in stated if re.search(rf"extra == .{extra}.\s*$", x)]
        found += own or [core.get(extra, extra)]
    return list(dict.fromkeys(x.strip() for x in found))


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def own_wheel() -> bytes:
    """The wheel of this very package, from its files, wherever they are installed.

    It is written as the specification of binary distributions says, without a build backend,
    which an installed package has none of.
    """
    package, info = Path(__file__).parents[2], f"latcast-{own_version()}.dist-info"
    files = {
        f"latcast/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files[f"{info}/METADATA"] = (
        metadata.distribution("latcast").read_text("METADATA") or ""
    ).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: latcast\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [
        f"{name},sha256={_url_safe(hashlib.sha256(data).digest())},{len(data)}"
        for name, data in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,\n"]).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def _url_safe(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _folder() -> str:
    """The environment of this version there."""
    return f"{FOLDER}/{own_version()}"


def _packages(probe: Probe) -> str:
    """Return the folder of an environment's packages."""
    return f"{_folder()}/lib/python{probe.version}/site-packages"


def _installs_by_itself(board: SSH, probe: Probe, wanted: Sequence[str], tell: Told) -> bool:
    """Make an environment by its own pip; False: it has none, or no way to an index.

    Raises:
        HostError: its disk is full.
    """
    listed = " ".join(f"'{x}'" for x in wanted)
    tell(f"pip install {listed} there")
    made = f"rm -rf {_folder()} && {probe.python} -m venv {_folder()}"
    command = f"{made} && {_folder()}/bin/python {_PIP} {listed}"
    ended = board.connection.run(command, timeout_s=_INSTALL_S)
    if ended.returncode == 0:
        return True
    reason = _last_line(ended.stderr or ended.stdout)
    if "no space left" in ended.stderr.decode(errors="replace").lower():
        raise HostError(f"the disk of {board.name} must have room; it is full: {reason}")
    tell(f"it cannot by itself ({reason})")
    return False


def _send_packages(board: SSH, probe: Probe, wanted: Sequence[str], tell: Told) -> None:
    with tempfile.TemporaryDirectory(prefix="latcast-") as installed:
        install_for(probe, wanted, Path(installed))
        names = [x.name.partition("-")[0] for x in sorted(Path(installed).glob("*.dist-info"))]
        size = sum(x.stat().st_size for x in Path(installed).rglob("*") if x.is_file()) / 1e6
        tell(f"{', '.join(names)} for {probe.platform}, installed here: {size:.0f} MB")
        _send(board, Path(installed), _packages(probe))


def install_for(probe: Probe, wanted: Sequence[str], folder: Path) -> None:
    """Install wheels for another machine into a folder of this one.

    Args:
        probe: what the machine says of itself.
        wanted: requirements.
        folder: where the packages go.

    Raises:
        HostError: there are no wheels for it, or this machine has no pip or no way out either.
    """
    tags = [x for tag in probe.tags() for x in ("--platform", tag)]
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install",
        "--quiet", "--only-binary=:all:", "--no-compile", "--python-version", probe.version, *tags,
        "--target", str(folder), *wanted,
    ]  # fmt: skip
    ended = subprocess.run(  # noqa: S603  # our own interpreter's pip
        command, capture_output=True, check=False, timeout=_INSTALL_S
    )
    if ended.returncode:
        raise HostError(
            f"wheels for {probe.platform} and Python {probe.version} must be found; pip says: "
            f"{_last_line(ended.stderr)}: try another runtime, or a newer Python there"
        )
    shutil.rmtree(folder / "bin", ignore_errors=True)  # programs that name this machine's Python


def _send(board: SSH, source: Path, folder: str) -> None:
    """Put the files of a folder into one there."""
    with tempfile.TemporaryFile() as packed:
        # Libraries shrink to a third, which is worth more than the seconds, but on a fast network.
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
            archive.add(source, ".", filter=_anyones)
        packed.seek(0)
        _run(
            board, f"mkdir -p {folder} && tar -xzf - -C {folder}", "room for what is sent, and tar",
            data=packed,
        )  # fmt: skip


def _anyones(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the owner here; the folder itself is private here, and need not be there."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    if entry.isdir():
        entry.mode = 0o755
    return entry


def _run(board: SSH, command: str, needed: str, data: IO[bytes] | None = None) -> None:
    """Run a command there that must work, which ``needed`` says the condition of."""
    ended = board.connection.run(command, data=data, timeout_s=_INSTALL_S)
    if ended.returncode:
        raise HostError(
            f"{board.name} must have {needed}; `{command[:80]}` says: "
            f"{_last_line(ended.stderr or ended.stdout)}"
        )


def _script(board: SSH, script: str) -> str:
    """Run a shell's script there, and return its output."""
    with tempfile.TemporaryFile() as text:
        text.write(script.encode())
        text.seek(0)
        ended = board.connection.run("sh -s", data=text)
    if ended.returncode:
        raise HostError(f"{board.name} must have a shell; it says: {_last_line(ended.stderr)}")
    return ended.stdout.decode(errors="replace")


def _probed(board: SSH) -> Probe:
    said = _script(board, _PROBE)
    try:
        return Probe.parse(said)
    except ValueError as error:
        raise HostError(
            f"{board.name} must have a POSIX shell that runs a script; got {str(error)!r}"
        ) from None


def _can_reach(board: SSH) -> bool:
    try:
        board.connection.open(asks=False)
    except HostError:
        return False
    return True


def _record(
    board: SSH,
    probe: Probe,
    runtimes: Mapping[str, str | None],
    missing: list[str],
    done: Sequence[str] = (),
) -> HostRecord:
    return HostRecord(
        board.name, probe.system, probe.platform, probe.libc, probe.free_mb, probe.version,
        list(probe.installed), dict(runtimes), missing, list(done),
    )  # fmt: skip


def _last_line(output: bytes) -> str:
    lines = [x for x in output.decode(errors="replace").splitlines() if x.strip()]
    errors = [x for x in lines if "error" in x.lower()]
    return (errors or lines or ["nothing"])[-1].strip()[-300:]
