"""A forecast as node data of Google's Model Explorer: columns of numbers on a network's graph.

The format is ``GraphNodeData`` of the package ``ai-edge-model-explorer``: a value for every node,
told by its id or by the name of a tensor that it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .text import bound_text

Json = dict[str, Any]
# Column -> key of a kernel's number, and its heading.
_NUMBERS = {
    "ms": ("ms", "ms"),
    "lower": ("lower_ms", "ms at least"),
    "upper": ("upper_ms", "ms at most"),
}
_CHEAP, _DEAR = "#ffffff", "#d6404e"
_BOUND_COLOURS = {"compute": "#f5b971", "bandwidth": "#8fbbe8", "launch": "#b8b8b8"}


def node_data(
    target: str, kernels: Iterable[Mapping[str, Any]], node_of: Callable[[str], str]
) -> dict[str, Json]:
    """Return columns of one target: ``ms``, ``lower``, ``upper`` (the interval, ms) and ``bound``.

    A kernel's numbers are those of the node of its main layer. Layers that it fuses have none,
    so that sums over a group of nodes are right, and say in ``bound`` what they are fused into.

    Args:
        target: that the forecast is for, in the headings.
        kernels: entries of a forecast's ``kernels`` in JSON.
        node_of: a layer's name -> what Model Explorer knows the node by. Several layers may be of
            one node, whose numbers are their sums.
    """
    numbers: dict[str, dict[str, float]] = {column: {} for column in _NUMBERS}
    bounds: dict[str, str] = {}
    fused: dict[str, str] = {}
    for kernel in kernels:
        node = node_of(kernel["name"])
        for column, (key, _) in _NUMBERS.items():
            numbers[column][node] = numbers[column].get(node, 0.0) + kernel[key]
        bounds.setdefault(node, kernel["bound"])
        fused |= {node_of(name): f"fused into {node}" for name in kernel["layers"]}
    columns: dict[str, Json] = {
        column: {
            "name": f"{target}: {_NUMBERS[column][1]}",
            "results": {node: {"value": value} for node, value in values.items()},
            "gradient": [{"stop": 0, "bgColor": _CHEAP}, {"stop": 1, "bgColor": _DEAR}],
        }
        for column, values in numbers.items()
    }
    texts = {node: {"value": text} for node, text in fused.items() if node not in bounds}
    told = {node: _bound(bound) for node, bound in bounds.items()}
    return columns | {"bound": {"name": f"{target}: bound by", "results": told | texts}}


def _bound(bound: str) -> Json:
    colour = _BOUND_COLOURS.get(bound)
    return {"value": bound_text(bound)} | ({"bgColor": colour} if colour else {})


def whole_operators(names: Iterable[str]) -> Callable[[str], str]:
    """Return a function from a layer to its operator in the file, of which some are several layers.

    Readers call the parts of an operator ``NAME`` and ``NAME/part``.
    """
    known = set(names)

    def operator(name: str) -> str:
        before, slash, _ = name.rpartition("/")
        return operator(before) if slash and before in known else name

    return operator
