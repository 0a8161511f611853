"""Architectures in every form that people have them in: files, dicts, strings, frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latcast._files import STDIN
from latcast.data import Dataset, Frame, text_frame
from latcast.data.user_csv import FRAME, architectures
from latcast.graph.read import is_network
from latcast.spaces import Archs, SearchSpace
from latcast.spaces.reading import parse_archs, read_archs

GivenArchs = Archs | Dataset | Frame | Mapping[str, Any] | Sequence[Any] | str | Path
"""Architectures, a dataset's, or the rows of a frame with a column ``arch`` or one per gene; an
architecture in the field's own form (a dict of Once-For-All, a NAS-Bench-201 string …), or a list
of them; or a JSON file of one or of a list, ``-`` for standard input."""


def is_archs(given: object) -> bool:
    """Whether what is given is architectures rather than a network."""
    if isinstance(given, Path) or (isinstance(given, str) and not _is_form(given)):
        path = Path(given)
        return path.suffix.lower() == ".json" or (str(path) == STDIN and not is_network(path))
    has_rows = hasattr(given, "__arrow_c_stream__")
    return has_rows or isinstance(given, str | Archs | Mapping | list | tuple)


def as_archs(given: GivenArchs, space: SearchSpace) -> Archs:
    """Convert the given networks to architectures of a space.

    Raises:
        ValueError: one is not of the space, or it is no form of architectures.
        FileNotFoundError: there is no such file.
    """
    if isinstance(given, Dataset):
        given = given.archs
    if isinstance(given, Archs):
        return given
    if isinstance(given, Path) or (isinstance(given, str) and not _is_form(given)):
        return read_archs(Path(given), space)
    if isinstance(given, str | Mapping):
        return parse_archs([given], space)
    if hasattr(given, "__arrow_c_stream__"):
        return architectures(FRAME, text_frame(given), space)
    if isinstance(given, Sequence) and len(given):
        return parse_archs(list(given), space)
    raise ValueError(
        "architectures must be an Archs, a dict or string in the space's own form or a list of "
        f"them, a frame with a column arch, or a JSON file; got {type(given).__name__}"
        f"{' of none' if isinstance(given, Sequence) else ''}"
    )


def _is_form(text: str) -> bool:
    """Whether a text is an architecture of NAS-Bench-201 rather than a file's name."""
    return text.startswith("|")
