"""Settings of a service: the address that it listens on, its folder, its keys and its limits."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from latcast import _limits
from latcast._files import read_file, write_file

DEFAULT_LISTEN = "127.0.0.1:8765"
_LISTEN = re.compile(r"(?:(\[[0-9a-fA-F:.]+\]|[\w.-]+):)?(\d{1,5})")
# A name, and the SHA-256 of the key, in hexadecimal digits. Keys are drawn from 256 bits, so that
# no slow hash has to protect them against guessing.
_KEY_LINE = re.compile(r"([\w.@-]{1,64}) ([0-9a-f]{64})")


@dataclass(frozen=True)
class Settings:
    """Settings of a service.

    Attributes:
        host: address that it listens on.
        port: of it; 0 for any that is free.
        state: folder of uploaded files, adapted models and jobs.
        keys: file of the keys; None where everybody may ask.
        hosts: further names that requests may call this machine by.
        workers: processes for requests about files.
        work_s: seconds that a request may keep one, and of its CPU time.
        worker_bytes: memory that a request may take.
        upload_bytes: of a file that is sent.
        uploads: files that are taken at a time.
        key_uploads: of these, files of one key.
        state_bytes: of all files that are kept, which keys share fairly.
        running_jobs: jobs that run at a time.
        jobs: jobs that wait or run.
        key_jobs: of these, jobs of one key.
        job_s: seconds that a job may run, and of its CPU time.
        job_bytes: memory that a job may take.
        job_disk_bytes: that a job may have on disk, as checkpoints, trials and models.
        devices: files of further devices.
    """

    host: str
    port: int
    state: Path
    keys: Path | None = None
    hosts: tuple[str, ...] = ()
    workers: int = 2
    work_s: float = _limits.MAX_WORK_S
    worker_bytes: int = _limits.MAX_WORKER_BYTES
    upload_bytes: int = _limits.MAX_UPLOAD_BYTES
    uploads: int = _limits.MAX_UPLOADS
    key_uploads: int = _limits.MAX_KEY_UPLOADS
    state_bytes: int = _limits.MAX_STATE_BYTES
    running_jobs: int = _limits.MAX_RUNNING_JOBS
    jobs: int = _limits.MAX_JOBS
    key_jobs: int = _limits.MAX_KEY_JOBS
    job_s: float = _limits.MAX_JOB_S
    job_bytes: int = _limits.MAX_JOB_BYTES
    job_disk_bytes: int = _limits.MAX_JOB_DISK_BYTES
    devices: tuple[Path, ...] = ()

    @property
    def is_public(self) -> bool:
        """True where machines other than this one can reach the service."""
        return not is_loopback(self.host)

    @property
    def url(self) -> str:
        """The URL at which a browser of this machine finds the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{self.port}"


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``PORT``.

    Raises:
        ValueError: the text is not of that form.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match[2]) > 65_535:
        raise ValueError(f"--listen must be HOST:PORT, such as {DEFAULT_LISTEN}; got {text!r}")
    return (match[1] or "127.0.0.1").strip("[]"), int(match[2])


def is_loopback(host: str) -> bool:
    """Tell whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- keys ---------------------------------------------------------------------------------------


class Key(NamedTuple):
    """A key that may ask, of which nothing but its hash is kept.

    Attributes:
        name: whose it is, as its file says.
        digest: SHA-256 of the key, 32 bytes.
    """

    name: str
    digest: bytes

    @property
    def owner(self) -> str:
        """The owner of files and jobs that this key makes: its hash, 64 hexadecimal digits."""
        return self.digest.hex()


class Keys:
    """The keys of a service, of which only hashes are kept.

    Args:
        keys: at least one.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def find(self, key: str) -> Key | None:
        """The key that was sent; None where it is none of these.

        It is compared with every one of them, so that the time it takes tells nothing.
        """
        digest = hashlib.sha256(key.encode()).digest()
        found = None
        for each in self._keys:
            if hmac.compare_digest(each.digest, digest):
                found = each
        return found

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Read a file with a line ``NAME SHA256`` for each key; ``#`` begins a comment.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it has no key, or a line is of another form.
        """
        lines = read_file(path, _limits.MAX_TEXT_BYTES).decode("utf-8", "replace").splitlines()
        keys = []
        for number, line in enumerate(lines, 1):
            if not (text := line.partition("#")[0].strip()):
                continue
            if (match := _KEY_LINE.fullmatch(text)) is None:
                raise ValueError(
                    f"line {number} of {path} must be NAME SHA256, as latcast serve --new-key "
                    "writes it"
                )
            keys.append(Key(match[1], bytes.fromhex(match[2])))
        if not keys:
            raise ValueError(f"{path} has no key: latcast serve --keys {path} --new-key NAME")
        return cls(keys)


def add_key(path: Path, name: str) -> str:
    """Add a key to a file, which is made where it is missing; return the key, kept nowhere.

    Raises:
        ValueError: the name has other characters than letters, digits and ``.@_-``, or has a key.
    """
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    if not re.fullmatch(r"[\w.@-]{1,64}", name):
        raise ValueError(f"a key's name must be of letters, digits and .@_-; got {name!r}")
    if any(line.split(" ")[0] == name for line in known.splitlines()):
        raise ValueError(f"{path} has a key of {name} already: take its line out first")
    key = secrets.token_urlsafe(32)
    if known and not known.endswith("\n"):
        known += "\n"
    write_file(path, f"{known}{name} {hashlib.sha256(key.encode()).hexdigest()}\n")
    path.chmod(0o600)
    return key
