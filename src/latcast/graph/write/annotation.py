"""A copy of an ONNX file with metadata, which Netron shows beside the model and its nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from latcast._files import check_file, write_file

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto


def annotate(
    source: str | Path,
    out: str | Path,
    of_model: Mapping[str, str],
    of_layers: Mapping[str, Mapping[str, str]],
) -> int:
    """Write a copy whose ``metadata_props`` hold more; all else stays as it is.

    Entries of a key that is there already are replaced.

    Args:
        source: an ONNX file.
        out: the copy. Where weights stand in files of their own, it must be in the same folder.
        of_model: key -> text.
        of_layers: name of a layer, as :func:`latcast.read_graph` gives it -> key -> text.

    Returns:
        Number of nodes with more metadata.

    Raises:
        ValueError: the file is no ONNX model, or its copy would miss its weights.
        FileNotFoundError: there is no such file.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import load_model

    source, out = Path(source), Path(out)
    check_file(source)
    try:
        model: ModelProto = load_model(source, load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"{source} must be an ONNX model to be annotated: {error}") from error
    if out.resolve().parent != source.resolve().parent and (held := _external(model.graph)):
        raise ValueError(
            f"the annotated copy must be in the folder of {source}, whose weights are in files "
            f"beside it (such as {held}); got {out}"
        )
    _put(model.metadata_props, of_model)
    told = [(node, of_layers[name]) for name, node in _nodes(model.graph) if name in of_layers]
    for node, texts in told:
        _put(node.metadata_props, texts)
    write_file(out, model.SerializeToString())
    return len(told)


def unnamed_nodes(path: Path) -> dict[str, str]:
    """Name of a layer -> what Model Explorer's ONNX adapter calls its node, which has no name.

    The adapter (``model-explorer-onnx``) calls them ``node``, ``node_1``, … in the order of the
    file, but for names that earlier nodes have.
    """
    from onnx import load_model

    used: set[str] = set()
    found: dict[str, str] = {}
    count = 0
    for node in load_model(path, load_external_data=False).graph.node:
        name = node.name or "node"
        while not node.name and name in used:
            count += 1
            name = f"node_{count}"
        used.add(name)
        if not node.name:
            found[next(filter(None, node.output), node.op_type)] = name
    return found


def _nodes(graph: GraphProto) -> Iterator[tuple[str, NodeProto]]:
    """Every node by the name of its layer, those of the bodies of branches and loops included."""
    count: Counter[str] = Counter()
    for name, node in _named(graph, ""):
        count[name] += 1
        yield (f"{name}#{count[name]}" if count[name] > 1 else name), node


def _named(graph: GraphProto, prefix: str) -> Iterator[tuple[str, NodeProto]]:
    for node in graph.node:
        yield prefix + (node.name or next(filter(None, node.output), node.op_type)), node
        for body in _bodies(node):
            yield from _named(body, f"{prefix}{node.name or node.op_type}/")


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _put(entries: object, texts: Mapping[str, str]) -> None:
    known = {entry.key: entry for entry in entries}  # type: ignore[attr-defined]  # a repeated field
    for key, text in texts.items():
        entry = known.get(key) or entries.add(key=key)  # type: ignore[attr-defined]
        entry.value = text


def _external(graph: GraphProto) -> str | None:
    """File of the weights of a tensor that is not in the model's own, if there is one."""
    for tensor in _tensors(graph):
        for entry in tensor.external_data:
            if entry.key == "location":
                return str(entry.value)
    return None


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
        for body in _bodies(node):
            yield from _tensors(body)
