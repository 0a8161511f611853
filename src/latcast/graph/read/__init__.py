"""Readers of network files and modules; :func:`read_graph` takes every form of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._files import STDIN, check_file, standard_input
from latcast._imports import public_names
from latcast._remembered import remembering

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from latcast.graph._graph import Graph

    from ._inputs import ReadOptions, UnknownBatchError

    Network = str | Path | bytes | nn.Module | ExportedProgram | Graph
else:
    Network = Any  # for annotations that are looked at
    # Whether a name is that of a network is asked by those who read none
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "FORMATS", "SUFFIXES", "ReadOptions", "UnknownBatchError", "as_onnx", "is_named",
    "is_network", "name_of", "read_as_run", "read_graph", "read_with",
]  # fmt: skip

# Suffix of the files that hold a network -> module of their reader.
FORMATS = {
    ".onnx": "onnx",
    ".pt2": "pytorch",
    ".tflite": "tflite",
    ".param": "ncnn",
    ".xml": "openvino",
}
SUFFIXES = tuple(FORMATS)
# Packages whose networks go by names, such as ``timm:resnet18``.
_NAMED = ("timm", "torchvision", "transformers")
# Suffixes of what PyTorch saves otherwise, which an error tells how to export.
_SAVED = (".pt", ".pth")
# Bytes of a file that tell its format.
_BEGINNING = 64
# Characters of an error.
_MAX_MESSAGE = 600


def is_network(source: str | Path) -> bool:
    """Whether something names a network of any kind: a file's name, a package's, or ``-``.

    Standard input is one unless it begins as JSON does, which no format of networks begins as.
    """
    text = str(source)
    if text == STDIN:
        return not standard_input().lstrip().startswith((b"[", b"{", b'"|'))
    return is_named(text) or Path(text).suffix.lower() in (*SUFFIXES, *_SAVED)


def is_named(source: str | Path) -> bool:
    """Whether something names a network of a package, such as ``timm:resnet18``."""
    return str(source).startswith(tuple(f"{package}:" for package in _NAMED))


def name_of(network: Network) -> str:
    """Return the name of a network in records: its file or name as given, or else its type."""
    if isinstance(network, str | Path):
        return str(network)
    own = getattr(network, "name", None)
    return own if isinstance(own, str) else type(network).__name__


def read_graph(
    model: Network,
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
        model: a file of ONNX, TensorFlow Lite (``.tflite``), ncnn (``.param``), OpenVINO
            (``.xml``) or ``torch.export.save`` (``.pt2``), or its bytes; ``-`` for standard
            input; ``timm:NAME``, ``torchvision:NAME`` or ``transformers:NAME``; a program of
            ``torch.export.export``; a module; an ``onnx.ModelProto``; or a graph, as it is.
        batch: samples of a forward pass: of a side that the file leaves open (1 by default), or
            instead of the one that it fixes where it is known which side that is.
        shapes: of inputs by name, or the one side of a symbol, where the file leaves them open;
            of a module, of its arguments by their names, where they are floats.
        batch_axis: which side of the inputs is the batch: of all of them, or by their names.
        trip_count: trips of every loop whose count is no constant in the file.
        example_inputs: of a module: its tensors, or one shape such as ``(1, 3, 224, 224)``.

    Raises:
        FileNotFoundError: there is no such file.
        UnknownBatchError: a batch was asked for, and nothing tells which side that is.
        ValueError: the model is damaged or of another kind, a shape stays open, or what was asked
            for does not fit the file.
        ModuleNotFoundError: a package that it needs is not installed.
    """
    from ._inputs import ReadOptions

    return read_with(
        model, ReadOptions(batch, shapes or {}, batch_axis, trip_count), example_inputs
    )


def _same_file(
    model: Network,
    options: ReadOptions,
    example_inputs: Sequence[Any] | None = None,
) -> tuple[str, str] | None:
    """Return a key of a network that is a file or has a name; None of any other."""
    is_named = isinstance(model, str | Path) and str(model) != STDIN and example_inputs is None
    return (str(model), repr(options)) if is_named else None


@remembering(_same_file)
def read_with(
    model: Network,
    options: ReadOptions,
    example_inputs: Sequence[Any] | None = None,
) -> Graph:
    """:func:`read_graph`, of options that are kept together: the one door to every format.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: likewise.
    """
    try:
        return _read(model, options, example_inputs)
    except ValueError as error:
        # A file's names may be of any length.
        if len(message := str(error)) <= _MAX_MESSAGE:
            raise
        raise type(error)(f"{message[:_MAX_MESSAGE]}…") from error


def _read(model: Network, options: ReadOptions, example_inputs: Sequence[Any] | None) -> Graph:
    text = str(model) if isinstance(model, str | Path) else ""
    if is_named(text):
        from .names import read_named

        return read_named(text, options)
    if text == STDIN:
        model = standard_input()
    if isinstance(model, bytes):
        found = _format(model[:_BEGINNING])
        return _reader(found or "onnx")(model, options)
    if isinstance(model, str | Path):
        path = Path(model)
        check_file(path)
        with path.open("rb") as file:
            found = _format(file.read(_BEGINNING))
        suffix = path.suffix.lower()
        found = found or FORMATS.get(suffix) or ("pytorch" if suffix in _SAVED else None)
        if found is None:
            raise ValueError(
                f"a network must be a file that ends in {', '.join(SUFFIXES[:-1])} or "
                f"{SUFFIXES[-1]}; got {path.name}: export it with torch.onnx.export or "
                "torch.export.save"
            )
        return _reader(found)(path, options)
    from latcast.graph._graph import Graph

    if isinstance(model, Graph):
        if options.batch not in (None, model.batch) or options.shapes:
            raise ValueError("a graph has its batch and shapes: read its file with others instead")
        return model
    if type(model).__name__ == "ModelProto":
        proto: Any = model
        return _reader("onnx")(proto.SerializeToString(), options)
    if not any(c.__module__.partition(".")[0] == "torch" for c in type(model).__mro__):
        raise ValueError(
            f"a network must be a file ({', '.join(SUFFIXES)}) or its bytes, a name such as "
            "timm:resnet18, a torch module or exported program, an onnx.ModelProto or a "
            f"latcast.Graph; got {type(model).__name__}"
            + ": an architecture is one as space.network(space.parse([arch]))"
            * isinstance(model, Mapping)
        )
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


def as_onnx(path: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> bytes:
    """A file of TensorFlow Lite, ncnn or OpenVINO as a serialized ONNX model with its weights.

    Args:
        path: the file; its weights may be in another one beside it.
        shapes: of inputs, by name, where the file leaves them open (ncnn).

    Raises:
        ValueError: it is of another format, damaged, or its weights are not there.
    """
    with path.open("rb") as file:
        found = _format(file.read(_BEGINNING))
    if found not in ("tflite", "ncnn", "openvino"):
        raise ValueError(f"a model to be run must be ONNX, or a file with weights; got {path.name}")
    translate = getattr(import_module(f"{__name__}.{found}"), f"translate_{found}")
    asked = {"shapes": shapes} if found == "ncnn" else {}
    content: bytes = translate(path, with_weights=True, **asked).model().SerializeToString()
    return content


def _format(beginning: bytes) -> str | None:
    """The format of a file that begins so; None of one that nothing marks, as those of ONNX."""
    if beginning[4:8] == b"TFL3":
        return "tflite"
    if beginning[:7] == b"7767517":
        return "ncnn"
    if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"<?xml", b"<net")):
        return "openvino"
    # A zip, or a pickle of its own, as PyTorch saved modules before 1.6.
    is_torch = beginning[:4] == b"PK\3\4" or beginning[:2] in (b"\x80\2", b"\x80\4")
    return "pytorch" if is_torch else None


def _reader(name: str) -> Callable[[Path | bytes, ReadOptions], Graph]:
    """The reader of a format, which is loaded when it is needed."""
    module = import_module(f"{__name__}.{name}")
    if name == "pytorch":
        return lambda model, options: module.read_pytorch(model, options=options)
    reader: Callable[[Path | bytes, ReadOptions], Graph] = getattr(module, f"read_{name}")
    return reader
