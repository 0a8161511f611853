"""Time grows with the layers alone: lines of our code that run, which no load changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper
from onnx_models import model

from latcast.devices import Target
from latcast.graph import fuse
from latcast.graph.inspection import Inspection
from latcast.graph.read.onnx import read_onnx
from latcast.networks import Networks

LAYERS = 120


def _chain(n: int) -> list[NodeProto]:
    ops = ("Relu", "Neg", "Conv")
    return [
        helper.make_node(ops[i % 3], [f"x{i}", "w"][: 1 + (i % 3 == 2)], [f"x{i + 1}"])
        for i in range(n)
    ]


def _wide(n: int) -> list[NodeProto]:
    nodes = [helper.make_node("Relu", ["x0"], [f"r{i}"]) for i in range(n - 1)]
    return [*nodes, helper.make_node("Concat", [f"r{i}" for i in range(n - 1)], [f"x{n}"], axis=1)]


def _moves(n: int) -> list[NodeProto]:
    perm = [0, 1, 3, 2]
    return [helper.make_node("Transpose", [f"x{i}"], [f"x{i + 1}"], perm=perm) for i in range(n)]


def _backwards(n: int) -> list[NodeProto]:
    return _chain(n)[::-1]


def _shapes(n: int) -> list[NodeProto]:
    nodes = []
    for i in range(n):
        nodes += [
            helper.make_node("Shape", [f"x{i}"], [f"s{i}"]),
            helper.make_node("Reshape", [f"x{i}", f"s{i}"], [f"v{i}"]),
            helper.make_node("Sigmoid", [f"v{i}"], [f"x{i + 1}"]),
        ]
    return nodes


def _steps(nodes: list[NodeProto], n: int) -> int:
    weights = np.ones((4, 4, 1, 1), np.float32)
    made = model(nodes, {"x0": [1, 4, 6, 6]}, {"w": weights}, [f"x{n}"])
    content = made.SerializeToString()
    lines = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    sys.settrace(count)
    try:
        found = read_onnx(content)
        str(Inspection.of(found).busiest(5))
        found.activation_memory("onnxruntime")
        fuse(found)
        Networks.of(found, Target("any", "onnxruntime", 1))
    finally:
        sys.settrace(None)
    return lines


@pytest.mark.parametrize("shape", [_chain, _wide, _moves, _backwards, _shapes])
def test_twice_the_layers_take_twice_the_steps(shape: Callable[[int], list[NodeProto]]) -> None:
    _steps(shape(10), 10)  # what is imported and kept once
    few, many = (_steps(shape(n), n) for n in (LAYERS, 2 * LAYERS))
    assert many < 2.2 * few
