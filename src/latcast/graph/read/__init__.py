"""Readers of network files and modules; :func:`read_graph` takes every form of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._files import check_file
from latcast.graph._graph import Graph

from ._inputs import ReadOptions, UnknownBatchError

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

__all__ = [
    "SUFFIXES",
    "ReadOptions",
    "UnknownBatchError",
    "read_as_run",
    "read_graph",
    "read_with",
]

# Suffixes of the files that hold a network.
SUFFIXES = (".onnx", ".pt2")


def read_graph(
    model: str | Path | bytes | nn.Module | ExportedProgram,
    *,
    batch: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch_axis: int | Mapping[str, int] | None = None,
    trip_count: int | None = None,
    example_inputs: Sequence[Any] | None = None,
) -> Graph:
    """A network as a graph of layers; nothing in a file is executed.

    Sides of inputs are those of the file. Its ``sources`` say what they are and which of them is
    the batch, its ``notes`` what was assumed or changed.

    Args:
        model: an ONNX file or its bytes, a ``.pt2`` file of ``torch.export.save``, a program of
            ``torch.export.export``, or a module.
        batch: samples of a forward pass: of a side that the file leaves open (1 by default), or
            instead of the one that it fixes where it is known which side that is.
        shapes: of inputs by name, or the one side of a symbol, where the file leaves them open.
        batch_axis: which side of the inputs is the batch: of all of them, or by their names.
        trip_count: trips of every loop whose count is no constant in the file.
        example_inputs: of a module: its tensors, or one shape such as ``(1, 3, 224, 224)``.

    Raises:
        FileNotFoundError: there is no such file.
        UnknownBatchError: a batch was asked for, and nothing tells which side that is.
        ValueError: the model is damaged or of another kind, a shape stays open, or what was asked
            for does not fit the file.
        ModuleNotFoundError: a module or program is given and PyTorch is not installed.
    """
    return read_with(
        model, ReadOptions(batch, shapes or {}, batch_axis, trip_count), example_inputs
    )


def read_with(
    model: str | Path | bytes | nn.Module | ExportedProgram,
    options: ReadOptions,
    example_inputs: Sequence[Any] | None = None,
) -> Graph:
    """:func:`read_graph`, of options that are kept together: the one door to every format.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: likewise.
    """
    if isinstance(model, bytes):
        from .onnx import read_onnx

        return read_onnx(model, options)
    if isinstance(model, str | Path):
        path = Path(model)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(
                f"a network must be a file that ends in {' or '.join(SUFFIXES)}; got {path.name}: "
                "export it with torch.onnx.export or torch.export.save"
            )
        check_file(path)
        if suffix == ".onnx":
            from .onnx import read_onnx

            return read_onnx(path, options)
    from .pytorch import read_pytorch

    return read_pytorch(model, example_inputs, options=options)


def read_as_run(model: str | Path | bytes, options: ReadOptions, batch: int) -> Graph:
    """:func:`read_with`, of a model that a runtime runs: nothing that it fixes can be changed.

    Raises:
        FileNotFoundError, ValueError: likewise, or the file fixes another batch, or nothing tells
            which side is it.
    """
    graph = read_with(model, replace(options, batch=batch))
    if changed := [x for x in graph.sources if x.change]:
        raise ValueError(
            f"the model's batch must be the target's, {batch}; its input {changed[0].name!r} is "
            f"fixed at {changed[0].told}: measure with that batch"
        )
    return graph
