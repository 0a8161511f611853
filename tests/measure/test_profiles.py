"""What runtimes' profilers report, by layer."""

from __future__ import annotations

import json

import pytest

from latcast.measure.runtimes._onnx_models import LayerNumbers, attribute, median_by_layer
from latcast.measure.runtimes.onnx_runtime import read_profile

NUMBERS = LayerNumbers({"conv_0": 0, "t0": 0, "linear_1": 1, "output": 1})


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
    assert read_profile(text, 3, NUMBERS) == {0: 0.102, 1: 0.051}


def test_changes_of_layout_are_attributed_on_the_layer_after_them():
    one = {"conv_0": 100, "ReorderOutput": 20, "output": 50}
    assert read_profile(trace(one, one), 1, NUMBERS) == {0: 0.1, 1: 0.07}


def test_times_are_attributed_on_layers_by_name():
    words = ("conv_0", "h_swish_1", "depthwise_conv_2", "conv_4", "h_sigmoid_5", "flatten_7")
    numbers = LayerNumbers({name: int(name.rpartition("_")[2]) for name in words} | {"output": 7})
    times = [
        ("input", 0.0),
        ("input_abcd_acdb_conv_0/WithoutBiases", 1.0),
        ("conv_0/WithoutBiases", 10.0),
        ("h_swish_1", 0.0),
        ("depthwise_conv_2/WithoutBiases", 20.0),
        ("something new", 2.0),
        ("conv_4/WithoutBiases_acdb_abcd_h_sigmoid_5", 3.0),
        ("h_sigmoid_5", 30.0),
        ("flatten_7", 4.0),
        ("output", 40.0),
        ("output/sink_port_0", 5.0),
        ("new at the end", 0.5),
    ]
    attributed = attribute(((numbers[name], ms) for name, ms in times), numbers.last)
    assert attributed == {0: 11.0, 2: 20.0, 5: 35.0, 7: 49.5}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("t12", 12), ("t3_raster_0", 3), ("flat7", 7), ("t12_nchwc", 12), ("Op3", None),
        ("output__matmul_converted", 13), ("ReorderOutput", None), ("t1", None), ("t120", None),
        ("gemm_output_reshape", None), ("global_pool_9_acdb_abcd_output", 13),
    ],
)  # fmt: skip
def test_nodes_of_runtimes_are_of_the_layer_that_they_are_named_after(name, number):
    numbers = LayerNumbers({"conv_12": 12, "t12": 12, "t3": 3, "flat7": 7, "output": 13})
    assert numbers[name] == number


def test_a_model_without_numbers_has_no_profile():
    assert not LayerNumbers({})
    assert read_profile(trace({"Conv": 1}), 1, LayerNumbers({})) is None


def test_a_fusion_without_a_name_is_the_layer_before_the_next():
    numbers = LayerNumbers({"linear_1": 1, "layer_norm_4": 4, "linear_5": 5})
    one = {"linear_1": 100, "SkipLayerNormalization_token_7": 20, "gemm_input": 1, "linear_5": 50}
    found = read_profile(trace(one, one), 1, numbers)
    assert found == pytest.approx({1: 0.1, 4: 0.02, 5: 0.051})
