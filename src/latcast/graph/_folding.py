"""Batch norms folded into convolutions, as networks are deployed."""

from __future__ import annotations

from ._graph import GRAPH_INPUT, Graph, Layer
from ._layers import conv_constants


def folded(graph: Graph) -> Graph:
    """The network as it is deployed: batch norms become biases of the convolutions before them.

    A batch norm that no convolution of its own precedes becomes a depthwise convolution of 1 x 1:
    a scale and a shift a channel.
    """
    kept: list[Layer] = []
    places: dict[int, int] = {GRAPH_INPUT: GRAPH_INPUT}
    for n, layer in enumerate(graph.layers):
        inputs = tuple(places[i] for i in layer.inputs)
        if layer.op != "batch_norm":
            kept.append(layer._replace(name=f"{layer.word}_{len(kept)}", inputs=inputs))
        elif layer.inputs[0] >= 0 and graph.readers[layer.inputs[0]] == (n,) and (
            kept[inputs[0]].op in ("conv", "depthwise_conv")
        ):  # fmt: skip
            kept[inputs[0]] = _with_bias(kept[inputs[0]])
            places[n] = inputs[0]
            continue
        else:
            kept.append(_scale(layer, len(kept), inputs))
        places[n] = len(kept) - 1
    return Graph.trusted(tuple(kept), graph.name, tuple(places[n] for n in graph.outputs))


def _with_bias(conv: Layer) -> Layer:
    return conv.reading(conv_constants(conv.constants[0].shape, "bias"))


def _scale(norm: Layer, n: int, inputs: tuple[int, ...]) -> Layer:
    channels = norm.constants[0].shape[0]
    conv = norm._replace(
        name=f"depthwise_conv_{n}", op="depthwise_conv", operator="Conv", inputs=inputs,
        groups=channels, attributes=(("pads", (0, 0, 0, 0)),),
    )  # fmt: skip
    return conv.reading(conv_constants((channels, 1, 1, 1), "bias"))
