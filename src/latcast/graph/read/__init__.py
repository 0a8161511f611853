"""Readers of network files and modules; :func:`read_graph` takes every form of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._files import check_file
from latcast.graph._graph import Graph

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

# Suffixes of the files that hold a network.
SUFFIXES = (".onnx", ".pt2")


def read_graph(
    model: str | Path | bytes | nn.Module | ExportedProgram,
    *,
    batch: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    example_inputs: Sequence[Any] | None = None,
) -> Graph:
    """A network as a graph of layers; nothing in a file is executed.

    Args:
        model: an ONNX file or its bytes, a ``.pt2`` file of ``torch.export.save``, a program of
            ``torch.export.export``, or a module.
        batch: first side of the inputs, where the model leaves it open (1 by default).
        shapes: of inputs, by name, where the model leaves more open.
        example_inputs: of a module: its tensors, or one shape such as ``(1, 3, 224, 224)``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model is damaged or of another kind, or a shape stays open.
        ModuleNotFoundError: a module or program is given and PyTorch is not installed.
    """
    if isinstance(model, bytes):
        from .onnx import read_onnx

        return read_onnx(model, batch=batch, shapes=shapes)
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

            return read_onnx(path, batch=batch, shapes=shapes)
    from .pytorch import read_pytorch

    return read_pytorch(model, example_inputs, batch=batch, shapes=shapes)
