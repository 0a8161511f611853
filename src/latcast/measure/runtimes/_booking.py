"""Whose time it is: from the nodes of a runtime's profile back to the layers of the network."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._onnx_model import parse

if TYPE_CHECKING:
    import onnx

_NUMBERED = re.compile(r"[a-z][a-z_0-9]*_(\d+)\Z")


class LayerNumbers:
    """Numbers of layers by the names that runtimes make from those of nodes and tensors.

    It is false where there are none.

    Args:
        numbers: of nodes and tensors, by name.

    Attributes:
        last: number of the last layer.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._known: dict[str, int | None] = dict(numbers)
        self.last = max(numbers.values(), default=0)
        self._pattern = _pattern(numbers)

    @classmethod
    def of(cls, model: bytes | Path) -> LayerNumbers:
        """Those of an ONNX model whose nodes are called ``WORD_NUMBER``.

        A tensor has the number of the node that writes it. Nodes with other names have none.
        """
        return cls(_numbers(parse(model).graph.node))

    def __bool__(self) -> bool:
        return self._pattern is not None

    def __getitem__(self, name: str) -> int | None:
        """Number of the last layer or tensor that is named in ``name``; None if none is."""
        if name not in self._known:
            found = self._pattern.findall(name) if self._pattern else []
            self._known[name] = self._known[found[-1]] if found else None
        return self._known[name]


def _pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """Any of the names as a part of another: those without a digit at its start or end only.

    ``output`` is a common word.
    """
    parts = [
        re.escape(name) if name[-1:].isdigit() else rf"\A{name}(?![A-Za-z0-9])|{name}\Z"
        for name in sorted(names, key=len, reverse=True)
    ]
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(parts)})(?![0-9])") if parts else None


def _numbers(nodes: Iterable[onnx.NodeProto]) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in nodes:
        if numbered := _NUMBERED.match(node.name):
            found |= dict.fromkeys((node.name, *filter(None, node.output)), int(numbered[1]))
    return found


def book(times: Iterable[tuple[int | None, float]], last: int) -> dict[int, float]:
    """Milliseconds by layer from those of a runtime's nodes, in the order in which they run.

    A node of which nobody knows the layer, such as a change of layout that the runtime has
    inserted, is booked on the layer after it; at the end, on the last layer.

    Args:
        times: number of a node's layer, or None, and its milliseconds.
        last: number of the last layer.
    """
    result: dict[int, float] = defaultdict(float)
    pending = 0.0
    for number, ms in times:
        if number is None:
            pending += ms
        else:
            result[number] += ms + pending
            pending = 0.0
    result[last] += pending
    return {n: ms for n, ms in result.items() if ms > 0}


def median_by_layer(passes: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The median time of every layer, by number; a layer that a pass lacks took 0 in it."""
    layers = dict.fromkeys(n for one in passes for n in one)
    return {n: float(np.median([one.get(n, 0.0) for one in passes])) for n in layers}
