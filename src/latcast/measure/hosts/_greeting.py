"""The greeting of an agent, by which both sides of a link know that they are one latcast."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ._base import HostError

PROTOCOL = 1
"""Version of the lines that the sides exchange; another one is refused."""
PING_S = 15.0
"""Seconds between two signs of life of the near side."""
FOLDER = "~/.cache/latcast-host"
"""Where everything of ours is on a host."""


def greeting() -> dict[str, Any]:
    """Return the agent's first message."""
    return {
        "latcast-host": PROTOCOL,
        "latcast": metadata.version("latcast"),
        "sources": sources_digest(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def sources_digest() -> str:
    """SHA-256 of this package's modules: two that differ may make other networks of one text."""
    folder = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda p: p.relative_to(folder).as_posix()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def check_greeting(name: str, there: Mapping[str, Any], here: Mapping[str, Any], do: str) -> None:
    """Make sure that an agent is of this very latcast.

    Args:
        name: of the host.
        there: what the agent says first.
        here: what this latcast's would say.
        do: what to do where it is another.

    Raises:
        HostError: it is another.
    """
    if there["latcast-host"] != PROTOCOL or there.get("sources") != here["sources"]:
        raise HostError(
            f"{name} must have this very latcast, {here['latcast']} of the same sources; "
            f"it has another {there.get('latcast')}: {do}"
        )
