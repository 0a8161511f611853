"""An operator's call with what is known of its tensors, and what a rule finds out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from latcast.graph._graph import TensorShape


class Origin(NamedTuple):
    """A trainable tensor of a program."""

    name: str
    elements: int


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that a call reads.

    Attributes:
        shape: including the batch.
        dtype: PyTorch's name of its type.
        element_bytes: bytes of one element.
        source: position of the layer that gives it, ``GRAPH_INPUT``, or None for a constant.
        origins: trainable tensors that a constant was computed from.
    """

    shape: TensorShape
    dtype: str
    element_bytes: int
    source: int | None = None
    origins: frozenset[Origin] = frozenset()

    @property
    def is_constant(self) -> bool:
        """Whether nothing that the network is given changes it."""
        return self.source is None


@dataclass(frozen=True, slots=True)
class Operation:
    """A call whose tensors are known.

    Attributes:
        arguments: by name; tensors are :class:`Operand`.
        outputs: what it gives, as far as shapes go.
    """

    arguments: Mapping[str, Any]
    outputs: tuple[Operand, ...]

    @property
    def operands(self) -> tuple[Operand, ...]:
        """All tensors that it reads, in order."""
        return tuple(_operands(list(self.arguments.values())))

    def tensor(self, name: str) -> Operand:
        """The tensor of that name.

        Raises:
            ValueError: it is missing.
        """
        value = self.arguments.get(name)
        if not isinstance(value, Operand):
            raise ValueError(f"argument {name} must be a tensor; got {type(value).__name__}")
        return value

    def scalars(self, *names: str) -> tuple[Operand, ...]:
        """Numbers among the arguments, as the constants that runtimes read."""
        like = self.outputs[0]
        given = [n for n in names if isinstance(self.arguments.get(n), int | float)]
        return tuple(Operand((), like.dtype, like.element_bytes) for _ in given)

    def pair(self, name: str, default: Sequence[int] = (1, 1)) -> tuple[int, int]:
        """Height and width of a window's argument; one number stands for both.

        The first of three (depth, height, width) is left out.
        """
        value = self.arguments.get(name)
        numbers = [value] if isinstance(value, int) else list(value or default)
        height, width = (numbers * 2)[-2:] if isinstance(value, int) else [1, *numbers][-2:]
        return int(height), int(width)

    def number(self, name: str, default: int = 1) -> int:
        """A whole number."""
        value = self.arguments.get(name)
        return value if isinstance(value, int) else default


@dataclass(frozen=True, slots=True)
class Facts:
    """What a call is in our vocabulary.

    Attributes:
        op: a key of :data:`latcast.graph.OPERATORS`, or ``UNKNOWN``.
        reads: the tensors that it reads, the one that its cost depends on first; None for all
            of its operands in their order.
        in_shapes: shapes of those, where it sees them in another shape of as many elements.
        out_shape: likewise of its first output.
        window: height and width of a window; likewise the others (see ``Layer``).
        stride: of the window.
        dilation: of the window.
        groups: of a convolution, or heads.
        sum_length: terms of each sum of a product.
    """

    op: str
    reads: tuple[Operand, ...] | None = None
    in_shapes: tuple[TensorShape, ...] | None = None
    out_shape: TensorShape | None = None
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    sum_length: int = 0


Rule = Callable[[Operation], Facts]


def _operands(values: Sequence[Any]) -> list[Operand]:
    found: list[Operand] = []
    for value in values:
        if isinstance(value, Operand):
            found.append(value)
        elif isinstance(value, list):
            found += _operands(value)
    return found
