"""Layers of a graph while it grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from latcast.graph._graph import Layer, TensorShape

from ._operation import Facts, Operand


class GrowingLayers:
    """Layers so far; a trainable tensor counts in the first of them that reads it."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self._counted: set[str] = set()

    def add(
        self,
        name: str,
        operator: str,
        facts: Facts,
        reads: Sequence[Operand],
        outputs: Sequence[Operand],
    ) -> int:
        """Add a layer; its position."""
        activations = [x for x in reads if not x.is_constant]
        constants = [x for x in reads if x.is_constant]
        shapes: tuple[TensorShape, ...] = tuple(x.shape for x in outputs)
        self.layers.append(
            Layer(
                name=name,
                op=facts.op,
                operator=operator,
                inputs=tuple(x.source for x in activations if x.source is not None),
                in_shapes=facts.in_shapes or tuple(x.shape for x in activations),
                out_shapes=(facts.out_shape, *shapes[1:]) if facts.out_shape else shapes,
                params=self._params(constants),
                param_bytes=sum(prod(x.shape) * x.element_bytes for x in constants),
                window=facts.window,
                stride=facts.stride,
                dilation=facts.dilation,
                groups=facts.groups,
                element_bytes=(*outputs, *reads)[0].element_bytes,
                sum_length=facts.sum_length,
            )
        )
        return len(self.layers) - 1

    def _params(self, constants: Iterable[Operand]) -> int:
        origins = {o for x in constants for o in x.origins if o.name not in self._counted}
        self._counted |= {o.name for o in origins}
        return sum(o.elements for o in origins)
