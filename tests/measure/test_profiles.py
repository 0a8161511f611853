"""What runtimes' profilers report, by layer."""

from __future__ import annotations

import json

from latcast.measure.runtimes._base import median_by_layer
from latcast.measure.runtimes.onnx_runtime import read_profile


def test_medians_by_layer():
    passes = [{0: 1.0, 2: 5.0}, {0: 300.0, 2: 4.0}, {0: 3.0, 1: 6.0, 2: 6.0}]
    assert median_by_layer(passes) == {0: 3.0, 1: 0.0, 2: 5.0}


def trace(*passes: dict[str, int]) -> str:
    """A trace of ONNX Runtime: microseconds of every node, pass by pass."""
    events: list[dict[str, object]] = [{"cat": "Session", "name": "session_init", "dur": 9}]
    for nodes in passes:
        events += [
            {"cat": "Node", "name": f"{name}_kernel_time", "dur": us} for name, us in nodes.items()
        ]
        events.append({"cat": "Session", "name": "model_run", "dur": sum(nodes.values())})
    return json.dumps(events)


def test_a_pass_that_was_held_up_does_not_count():
    text = trace(
        {"conv_0": 9_000, "output": 9_000},  # allocates
        {"conv_0": 100, "output": 50},
        {"conv_0": 3_000_000, "output": 52},
        {"conv_0": 102, "output": 51},
    )
    assert read_profile(text, 3, last=1) == {0: 0.102, 1: 0.051}


def test_changes_of_layout_are_booked_on_the_layer_after_them():
    one = {"conv_0": 100, "ReorderOutput": 20, "output": 50}
    assert read_profile(trace(one, one), 1, last=1) == {0: 0.1, 1: 0.07}
