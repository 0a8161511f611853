"""What commands read: datasets, architectures, networks and models, by the names users give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._console import UsageError, usage
from ._options import FileInputs, check_usable

if TYPE_CHECKING:
    from latcast.data import Dataset
    from latcast.graph import Graph
    from latcast.graph.read import ReadOptions
    from latcast.spaces import Archs, SearchSpace

# Of files that hold any network.
GRAPH_SUFFIXES = (".onnx", ".pt2")


def read_data(path: Path, space: str | None, target: str | None, format_: str | None) -> Dataset:
    """Read a dataset; what the user names wrongly is wrong usage, a bad file is not."""
    from latcast import data

    return data.read_latencies(path, **_hints(path, space, target, format_))


def read_any_data(
    path: Path, space: str | None, target: str | None, format_: str | None
) -> Dataset:
    """As :func:`read_data`, of architectures or of networks of any kind."""
    from latcast import data

    return data.read(path, **_hints(path, space, target, format_))


def _hints(
    path: Path, space: str | None, target: str | None, format_: str | None
) -> dict[str, Any]:
    """What the user says of a file that is there."""
    from latcast import data, spaces
    from latcast._names import unknown_name
    from latcast.devices import Target

    with usage():
        the_space = None if space is None else spaces.space(space)
        the_target = None if target is None else Target.parse(target)
        if format_ is not None and format_ not in data.FORMATS:
            raise UsageError(unknown_name("format", format_, list(data.FORMATS)))
    check_usable(path)
    return {"space": the_space, "target": the_target, "format": format_}


def read_architectures(path: Path) -> list[Any]:
    """Architectures in the field's own form from a JSON file: one, or a list of them.

    Raises:
        UsageError: there is no such file.
        ValueError: it holds no JSON, or no architecture.
    """
    from latcast.models.forecast import read_architectures as read

    check_usable(path)
    return read(path)


@contextmanager
def resolving() -> Iterator[None]:
    """A name inside that nothing answers to, or of a file that is not there, is wrong usage."""
    from latcast.models.resolve import UnresolvedError

    try:
        yield
    except (UnresolvedError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error


def find_space(name: str) -> SearchSpace:
    """A search space by name."""
    from latcast import spaces

    with usage():
        return spaces.space(name)


def is_graph_file(path: Path) -> bool:
    """Whether a file is said to hold any network, rather than an architecture of a space."""
    return path.suffix.lower() in GRAPH_SUFFIXES


def read_graph(path: Path, batch: int | None, inputs: FileInputs) -> Graph:
    """The network of a file.

    Raises:
        UsageError: there is no such file, it is of another kind, or a shape is no shape.
        ValueError: it cannot be read.
    """
    options = read_options(inputs, batch)
    if not is_graph_file(path):
        raise UsageError(f"a model must end in {' or '.join(GRAPH_SUFFIXES)}; got {path}")
    check_usable(path)
    from latcast.graph.read import read_with

    return read_with(path, options)


def read_options(inputs: FileInputs, batch: int | None = None) -> ReadOptions:
    """What the options ask of a file.

    Raises:
        UsageError: one is not of its form.
    """
    from latcast.graph.read import ReadOptions

    shapes = dict(map(_shape, inputs.shape or []))
    return ReadOptions(batch, shapes, _batch_axis(inputs.batch_axis or []))


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sides = text.rpartition("=")
    if not name or not re.fullmatch(r"([0-9]{1,9}(x[0-9]{1,9})*)?", sides):
        raise UsageError(f"--shape must be like input=1x3x224x224; got {text!r}")
    return name, tuple(int(side) for side in sides.split("x") if side)


def _batch_axis(texts: Sequence[str]) -> int | dict[str, int] | None:
    axes: dict[str, int] = {}
    for text in texts:
        name, _, axis = text.rpartition("=")
        if not re.fullmatch(r"-?[0-9]{1,2}", axis) or (not name and len(texts) > 1):
            raise UsageError(f"--batch-axis must be like 0, or input=0 for each; got {text!r}")
        axes[name] = int(axis)
    return axes.get("", axes or None)


def parse_archs(items: Sequence[Any], space: SearchSpace) -> Archs:
    """Architectures of a space.

    Raises:
        ValueError: an item is none of the space's.
    """
    try:
        return space.parse(items)
    except ValueError as error:
        raise ValueError(f"{error} (read as {space.name}; --space names another)") from error
