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

    Args:
        numbers: of nodes and tensors, by name.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._known: dict[str, int | None] = dict(numbers)
        self.last = max(numbers.values(), default=0)
        names = "|".join(map(re.escape, sorted(numbers, key=len, reverse=True)))
        self._pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{names})(?![0-9])") if names else None

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


def _numbers(nodes: Iterable[onnx.NodeProto]) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in nodes:
        if numbered := _NUMBERED.match(node.name):
            found |= dict.fromkeys((node.name, *filter(None, node.output)), int(numbered[1]))
    return found


def book(times: Iterable[tuple[str, float]], numbers: LayerNumbers) -> dict[int, float]:
    """Milliseconds by layer from those of a runtime's nodes, in the order in which they run.

    A node of which nobody knows the layer, such as a change of layout that the runtime has
    inserted, is booked on the layer after it; at the end, on the last layer.
    """
    result: dict[int, float] = defaultdict(float)
    pending = 0.0
    for name, ms in times:
        number = numbers[name]
        if number is None:
            pending += ms
        else:
            result[number] += ms + pending
            pending = 0.0
    result[numbers.last] += pending
    return {n: ms for n, ms in result.items() if ms > 0}


def median_by_layer(passes: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The median time of every layer, by number; a layer that a pass lacks took 0 in it."""
    layers = dict.fromkeys(n for one in passes for n in one)
    return {n: float(np.median([one.get(n, 0.0) for one in passes])) for n in layers}
