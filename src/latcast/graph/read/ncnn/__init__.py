"""ncnn's ``.param`` files, with weights from the ``.bin`` beside them, as graphs of layers.

A blob has no batch and up to four axes (channels, depth, height, width, the last ones first where
there are fewer); here it gets a batch of 1 in front. Parameters and weights of layers are listed
in ncnn's *operation param weight table*. A file tells no shapes but, perhaps, those of its inputs:
they are followed here, since what some layers do depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from latcast._files import read_file
from latcast._limits import MAX_TEXT_BYTES
from latcast.graph._graph import Graph
from latcast.graph.read._inputs import DEFAULTS, ReadOptions
from latcast.graph.read._translation import Translation

from ._blobs import Blobs
from ._compute import COMPUTE
from ._file import FLOAT, Layer, Weights
from ._moves import MOVES

__all__ = ["read_ncnn", "translate_ncnn"]

# Begins a file.
MAGIC = b"7767517"
_RULES = {**COMPUTE, **MOVES}


def read_ncnn(model: str | Path | bytes, options: ReadOptions = DEFAULTS) -> Graph:
    """The layers of an ncnn model.

    Args:
        model: the ``.param`` file, or its content; types of weights are read from the ``.bin``
            file beside it, if there is one.
        options: shapes of its inputs, and what else is asked;
            shapes that the file leaves open are given with a batch of 1.

    Raises:
        ValueError: it holds no such model, or a shape stays open.
    """
    return translate_ncnn(model, shapes=options.shapes).graph(options)


def translate_ncnn(
    model: str | Path | bytes,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    with_weights: bool = False,
) -> Translation:
    """The model as ONNX nodes; ``with_weights``, so that they can be run."""
    content, weights, name = model, None, "network"
    if not isinstance(content, bytes):
        path = Path(content)
        name, weights = path.stem.removesuffix(".ncnn"), path.with_suffix(".bin")
        content = read_file(path, MAX_TEXT_BYTES)
    lines = content.decode("utf-8", "replace").split("\n")
    if lines[0].strip() != MAGIC.decode():
        raise ValueError(f"an ncnn model must begin with {MAGIC.decode()}; got {lines[0][:20]!r}")
    written = Translation(name, "ncnn", with_weights=with_weights)
    file = weights if weights is not None and weights.is_file() else None
    blobs = Blobs(written, Weights(file), shapes or {})
    try:
        for line in filter(str.strip, lines[2:]):
            _layer(blobs, Layer.of(line))
    except (LookupError, TypeError, OverflowError, ArithmeticError) as error:
        raise ValueError(f"the ncnn model is malformed: {error}") from error
    for blob, value in blobs.names.items():
        if blob not in blobs.read:
            written.output(value)
    return written


def _layer(b: Blobs, x: Layer) -> None:
    """Translate a layer; one without an equivalent is unknown, with what the file tells of it."""
    for blob in x.inputs:
        if blob not in b.names:
            raise ValueError(f"layer {x.name!r} must read blobs given before; got {blob!r}")
    b.read.update(x.inputs)
    taken = b.constants
    try:
        _RULES.get(x.type, _untranslated)(b, x)
    except LookupError:
        told = x.told()
        if b.constants == taken and x.type not in _WEIGHTLESS:
            b.weights.file = None  # how many weights it has is not known
        inputs = [b.names[blob] for blob in x.inputs]
        names = b.t.unknown(x.type, inputs, x.name, [(s, FLOAT) for s in told])
        for blob, name, shape in zip(x.outputs, names, told, strict=bool(told)):
            b.give(blob, name, shape)
    except ValueError as error:
        raise ValueError(f"layer {x.name!r} ({x.type}): {error}") from error


def _untranslated(_: Blobs, x: Layer) -> None:
    raise LookupError(x.type)


# Types without a translation that have no weights either: those of later layers are found.
_WEIGHTLESS = frozenset(
    ("ArgMax", "BNLL", "BinaryOp", "Concat", "Crop", "CumulativeSum", "DetectionOutput", "Einsum",
     "Eltwise", "ExpandDims", "Flatten", "Fold", "GLU", "GridSample", "Interp", "LRN", "MatMul",
     "PSROIPooling", "Padding", "Permute", "PixelShuffle", "Pooling", "Pooling3D", "Power",
     "PriorBox", "Proposal", "ROIAlign", "ROIPooling", "Reduction", "Reorg", "Reshape", "SDPA",
     "SPP", "Shrink", "ShuffleChannel", "Slice", "Softmax", "Squeeze", "Threshold", "Tile",
     "UnaryOp", "Unfold", "YoloDetectionOutput", "Yolov3DetectionOutput")
)  # fmt: skip
