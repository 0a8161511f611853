"""Which networks of any kind ``latcast measure`` is asked for: members of families, and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._common import UsageError, check_usable, usage

if TYPE_CHECKING:
    from latcast.measure import OnnxFile, OnnxNetwork

OF_SPACES = ("space", "samples", "archs", "resolutions")
"""Options that choose architectures of a space."""


def asks_for_networks(given: Mapping[str, Any]) -> bool:
    """Whether the options ask for networks of any kind rather than for a space's.

    Raises:
        UsageError: they ask for both, or restrict a population that they do not ask for.
    """
    if "family" in given and "population" not in given:
        raise UsageError("--family restricts a population: say how many with --population")
    asked = [name for name in ("population", "models") if name in given]
    for name in OF_SPACES if asked else ():
        if name in given:
            raise UsageError(f"--{asked[0]} says what is measured: leave out --{name}")
    return bool(asked)


def asked_networks(given: Mapping[str, Any], batch: int, seed: int) -> tuple[OnnxNetwork, ...]:
    """Members of the population first, then files.

    Raises:
        UsageError: a family is unknown or too small, or there is no such file.
        ValueError: a file cannot be read.
    """
    from latcast.families import population

    with usage():
        members = population(given.get("population", 0), seed, given.get("family"))
    return (*members, *_files([Path(path) for path in given.get("models", ())], batch))


def _files(paths: list[Path], batch: int) -> list[OnnxFile]:
    """ONNX files, a folder standing for those in it; two of one name are called by their paths."""
    from latcast.graph.read.onnx import read_onnx
    from latcast.measure import OnnxFile

    files = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [path])]
    for file in files:
        check_usable(file)
        read_onnx(file, batch=batch)  # what has no graph gets into no dataset
    files = list(dict.fromkeys(file.resolve() for file in files))
    stems = Counter(file.stem for file in files)
    return [OnnxFile.of(file, None if stems[file.stem] == 1 else str(file)) for file in files]


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.onnx"))
    if not found:
        raise UsageError(f"{folder} must hold .onnx files; it holds none")
    return found
