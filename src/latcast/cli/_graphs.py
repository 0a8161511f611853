"""Networks of model files: options and reading, shared by the commands that take one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._common import UsageError, check_usable

if TYPE_CHECKING:
    from latcast.graph import Graph

GRAPH_SUFFIXES = (".onnx", ".pt2")
"""Of files that hold any network."""

GraphBatch = Annotated[
    int | None,
    typer.Option(
        "--batch", min=1, help="Batch, where the file leaves it open (1 by default) or can change."
    ),
]
GraphShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="INPUT=1x3x224x224",
        help="Shape of an input that the file leaves open; can be given several times.",
    ),
]


def is_graph_file(path: Path) -> bool:
    """Whether a file is said to hold any network, rather than an architecture of a space."""
    return path.suffix.lower() in GRAPH_SUFFIXES


def read_graph(path: Path, batch: int | None, shapes: Sequence[str] | None) -> Graph:
    """The network of an ONNX or a torch.export file.

    Raises:
        UsageError: there is no such file, it is of another kind, or a shape is no shape.
        ValueError: it cannot be read.
    """
    given = parse_shapes(shapes)
    if not is_graph_file(path):
        raise UsageError(f"a model must end in {' or '.join(GRAPH_SUFFIXES)}; got {path}")
    check_usable(path)
    from latcast.graph.read import read_graph

    return read_graph(path, batch=batch, shapes=given)


def parse_shapes(shapes: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs, such as ``input=1x3x224x224``, by the names of the inputs.

    Raises:
        UsageError: one is no shape.
    """
    return dict(map(_shape, shapes or []))


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sides = text.rpartition("=")
    if not name or not re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", sides):
        raise UsageError(f"--shape must be like input=1x3x224x224; got {text!r}")
    return name, tuple(int(side) for side in sides.split("x"))


def printable(text: str, most: int = 48) -> str:
    """A name of a file's choice for a terminal: no control characters, and its end if long."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= most else f"…{plain[1 - most :]}"


def shape_text(shape: Sequence[int] | None) -> str:
    """A shape such as ``1x3x224x224``."""
    return "unknown" if shape is None else "x".join(map(str, shape)) or "scalar"
