"""PyTorch modules and exported programs as graphs of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._imports import require
from latcast.graph._graph import Graph
from latcast.graph.read._inputs import DEFAULTS, ReadOptions

from ._archive import read_archive, reason
from ._exported import exported, program_of
from ._reader import layers_of

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

__all__ = ["read_pytorch"]


def read_pytorch(
    model: nn.Module | ExportedProgram | str | Path | bytes,
    example_inputs: Sequence[Any] | None = None,
    *,
    keywords: Mapping[str, Any] | None = None,
    options: ReadOptions = DEFAULTS,
    name: str | None = None,
) -> Graph:
    """A PyTorch network as a graph of layers.

    Operators are those of ATen as ``torch.export`` writes them. What gives a constant
    whatever the input is no layer, nor is what does nothing (dropout, a cast to the same type,
    a view of the same shape). An operator that is not known is a layer of operator
    ``UNKNOWN``, with its shapes.

    A ``.pt2`` file is read without PyTorch: its graph is JSON, and neither its weights nor the
    pickles that :func:`torch.export.load` would open are. Nothing in it is executed.

    Args:
        model: a module, which is exported in evaluation mode; a program of
            ``torch.export.export``; or a file of ``torch.export.save``, or its bytes.
        example_inputs: of a module: its tensors, or one shape such as ``(1, 3, 224, 224)``.
        keywords: of a module: tensors by the names of its arguments.
        options: shapes of its inputs, and what else is asked.
        name: of the graph; by default that of the module's class or of the file.

    Raises:
        ModuleNotFoundError: PyTorch is needed and not installed.
        FileNotFoundError: there is no such file.
        TypeError: the model is of another kind.
        ValueError: the module cannot be exported, the file is no exported program, or a shape
            stays open.
    """
    if isinstance(model, bytes):
        return _read_archive(model, name or "network", options)
    if isinstance(model, str | Path):
        return _read_archive(Path(model), name or Path(model).stem, options)
    torch = require("torch", "torch", "reading PyTorch models")
    if isinstance(model, torch.nn.Module):
        if example_inputs is None and not keywords:
            raise ValueError(
                "a module must come with example_inputs: its tensors, or a shape such as "
                "(1, 3, 224, 224); got none"
            )
        name = name or type(model).__name__
        model = exported(model, example_inputs or (), keywords)
    if not isinstance(model, torch.export.ExportedProgram):
        raise TypeError(
            f"a model must be a module, an ExportedProgram or a .pt2 file; "
            f"got {type(model).__name__}"
        )
    return layers_of(program_of(model), name or "network", options)


def _read_archive(file: Path | bytes, name: str, options: ReadOptions) -> Graph:
    program = read_archive(file)
    try:
        return layers_of(program, name, options)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        told = "the model" if isinstance(file, bytes) else file.name
        raise ValueError(f"{told}: {reason(error)}") from error
