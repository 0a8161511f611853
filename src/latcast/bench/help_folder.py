"""Folders in HELP's format: the latencies of one space's networks on many targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latcast._names import unknown_name
from latcast.data import Dataset, read_latencies
from latcast.spaces import space_names

# Search space -> how HELP calls its folder.
FOLDERS = {
    "nasbench201": "nasbench201",
    "fbnet": "fbnet",
    "fbnet-imagenet": "fbnet",
    "ofa-mobilenet-v3": "ofa",
}


@dataclass(frozen=True)
class HelpFolder:
    """A folder with ``latency/NAME.pt`` and a file of architectures.

    Attributes:
        path: the folder.
        names: of its targets, the files' stems, sorted.
        space: the search space that its files must be of; None for the one they are of.
    """

    path: Path
    names: tuple[str, ...]
    space: str | None = None

    @classmethod
    def find(cls, data: Path, space: str | None = None) -> HelpFolder:
        """The folder of a space: ``data``, or the one below it.

        Args:
            data: a folder that holds ``latency/``, or folders that do.
            space: a search space, or the name of a folder below ``data``; may be left out where
                there is one folder only.

        Raises:
            ValueError: there is no such folder, or several and no ``space``.
        """
        if not data.is_dir():
            raise ValueError(f"the data must be in a folder of HELP's format; got {data}")
        below = folders_below(data)
        if space is None:
            if (data / "latency").is_dir():
                return cls._of(data)
            if len(below) == 1:
                return cls._of(data / below[0])
            raise ValueError(
                f"{data} must hold latency/*.pt and a file of architectures, or one folder that "
                f"does; found {', '.join(below) or 'none'}"
                + (": say which with --space" if below else "")
            )
        for name in (space, FOLDERS.get(space)):
            if name in below:
                return cls._of(data / name)
        spaces = {folder: name for name, folder in reversed(FOLDERS.items())}
        wanted = spaces.get(space, space)
        if wanted not in space_names() or not (data / "latency").is_dir():
            own = space_names() if (data / "latency").is_dir() else []
            raise ValueError(unknown_name("space with latencies here", space, [*below, *own]))
        return cls._of(data, wanted)

    @classmethod
    def _of(cls, path: Path, space: str | None = None) -> HelpFolder:
        names = sorted(p.stem for p in (path / "latency").glob("*.pt"))
        if not names:
            raise ValueError(f"{path / 'latency'} must hold the latencies of targets; got no *.pt")
        return cls(path, tuple(names), space)

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names without repetitions.

        Raises:
            ValueError: there is no such target; the message suggests the nearest.
        """
        for name in names:
            if name not in self.names:
                raise ValueError(unknown_name("target", name, self.names))
        return tuple(dict.fromkeys(names))

    def read(self, name: str) -> Dataset:
        """All latencies of a target, impossible ones included.

        Raises:
            ValueError: a damaged file, or one of another space.
            FileNotFoundError: there is no file of architectures.
        """
        path = self.path / "latency" / f"{name}.pt"
        data = read_latencies(path, format="help")
        if self.space not in (None, data.archs.space.name):
            raise ValueError(f"{path} is of space {data.archs.space.name}; asked for {self.space}")
        return data


def folders_below(data: Path) -> list[str]:
    """Names of the folders in ``data`` that hold latencies, sorted."""
    return sorted(p.parent.name for p in data.glob("*/latency") if p.is_dir())
