"""Values between the layers of a model, and what several layers become one of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from latcast.graph.read._translation import Translation

from ._file import TYPES, Layer, Weights

# A side that is beyond every end.
FAR = 2**31 - 1
# Types of real numbers.
_REAL = {1, 10, 11, 16}


class Ports:
    """The known outputs of layers that were translated.

    Attributes:
        t: the model that is written.
        prefix: of the names of constants of a body.
        values: layer and port -> name of the value.
        types: name of a value -> code of its type.
        readers: name of a value -> how many layers read it.
        compressed: weights of few bits as real numbers -> those weights, and their zero point.
        epsilons: norms that have no scale yet -> their epsilon.
    """

    def __init__(self, written: Translation, weights: Weights, prefix: str = "") -> None:
        self.t = written
        self.prefix = prefix
        self._weights = weights
        self.values: dict[tuple[str, str], str] = {}
        self.types: dict[str, int] = {}
        self.readers: dict[str, int] = {}
        self.compressed: dict[str, tuple[str, ...]] = {}
        self.epsilons: dict[str, float] = {}

    def inside(self, name: str) -> Ports:
        """Return the ports of a body of that name."""
        return Ports(self.t, self._weights, f"{self.prefix}{name}/")

    def output(self, name: str, like: str = "") -> None:
        """Declare an output of the model or body, of its type or of that of another value."""
        self.t.output(name, self.types.get(like or name, 1))

    def constant(self, layer: Layer) -> str:
        """A constant; of a type that is unknown, one that no shape depends on."""
        shape, offset, size = layer.integers("shape"), layer.text("offset"), layer.text("size")
        code = TYPES[layer.text("element_type")]
        start, length = int(offset or 0), int(size or 0)
        load = partial(self._weights.read, start, length)
        if self._weights.file is None and code in _REAL and not self.t.with_weights:
            load = partial(bytes, length)  # no shape depends on real numbers
        return self.t.constant(f"{self.prefix}{layer.name}#{layer.id}", code, shape, load)

    def absorbed(self, layer: Layer, x: str, other: str, op: str) -> str:
        """A factor or a term a channel, made part of the node that gives ``x``; else empty.

        Converters take the bias out of a convolution or a product, and the scale and bias out of
        a norm; runtimes put them back.
        """
        node, shape, out = self.t.producers.get(x), self.t.constant_shape(other), layer.writes[0][1]
        if node is None or shape is None or self.readers.get(x) != 1 or not out or len(out) < 2:
            return ""
        is_norm = node.op_type in ("MeanVarianceNormalization", "LayerNormalization")
        axis = len(out) - 1 if is_norm else 1
        sides, channels = (*(1,) * (len(out) - len(shape)), *shape), out[axis]
        wanted = {
            ("Conv", "Add"): 2,
            ("ConvTranspose", "Add"): 2,
            ("Gemm", "Add"): 2,
            ("LayerNormalization", "Add"): 2,
            ("MeanVarianceNormalization", "Mul"): 1,
        }
        if (
            wanted.get((node.op_type, op)) != len(node.input)
            or channels is None
            or sides != tuple(channels if n == axis else 1 for n in range(len(out)))
        ):
            return ""
        if node.op_type == "MeanVarianceNormalization":
            if list(node.attribute[0].ints) != [axis]:
                return ""
            node.op_type = "LayerNormalization"
            del node.attribute[:]
            self.t.set(node, axis=-1, epsilon=self.epsilons[x])
        node.input.append(self.t.reshaped(other, channels))
        node.name = layer.name
        return x

    def decompressed(self, layer: Layer, inputs: Sequence[str]) -> str:
        """Weights of few bits times their scale: Convert, perhaps Subtract, and Multiply.

        They are dequantized in one step, which keeps their width; else empty.
        """
        weights, scale = inputs
        parts = self.compressed.get(weights)
        sides, of_scale = (self.t.constant_shape(x) for x in ((parts or ("",))[0], scale))
        if parts is None or sides is None or of_scale is None:
            return ""
        axes = [n for n, s in enumerate(of_scale) if s != 1]
        more: dict[str, Any] = {}
        if len(of_scale) == len(sides) and len(axes) > 1:
            axis = next((n for n, s in enumerate(of_scale) if s != sides[n]), 0)
            more = {"axis": axis, "block_size": sides[axis] // of_scale[axis]}
            parts = (parts[0], scale, *parts[1:])
        else:
            flat = [len(sides) - len(of_scale) + axes[0]] if axes else []
            more = {"axis": flat[0]} if flat else {}
            shape = [sides[n] for n in flat]
            parts = (parts[0], *(self.t.reshaped(x, *shape) for x in (scale, *parts[1:])))
        return self.t.node("DequantizeLinear", *parts, name=layer.name, **more)


# Adds the nodes of a layer that reads values; gives the name of its first output.
Rule = Callable[[Ports, Layer, list[str]], str]


def plain(op: str, **given: Any) -> Rule:
    """The same operator with its first inputs, and fixed attributes."""
    count = given.pop("inputs", None)
    return lambda r, x, i: r.t.node(op, *i[:count], name=x.name, **given)


def axes_in(r: Ports, i: list[str]) -> list[str]:
    """Axes, which may be a single number here, as the vector that ONNX wants."""
    return [r.t.reshaped(i[1], 1) if r.t.constant_shape(i[1]) == () else i[1]] if i[1:] else []
