"""A node with what is known of its inputs, and what reading it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from latcast.graph.read._layers import ElementType, Facts, Value
from latcast.graph.shapes import TensorShape

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import AttributeProto


class UnknownShape(Exception):  # noqa: N818  # no error: what reads it has no shape either
    """A shape or a constant that a node's shape depends on is not known."""


@dataclass(frozen=True, slots=True)
class Reading(Facts):
    """The result of reading a node.

    Attributes:
        shapes: shapes of its outputs; None where they are not known.
        type: element type of its outputs; None for that of its first input.
        weights: positions of the inputs whose constants are trained.
    """

    shapes: tuple[TensorShape | None, ...]
    type: ElementType | None = None
    weights: tuple[int, ...] = ()


class Rule(NamedTuple):
    """How nodes of an ONNX operator are read.

    Attributes:
        read: gives the shapes of a node's outputs, and what else is to know of it. It raises
            UnknownShape where they depend on what is not known, ValueError where a node is wrong.
        arguments: positions of inputs that say what to do; they are no data that it reads.
        is_constant: whether it gives a constant whatever its inputs hold.
    """

    read: Callable[[Node], Reading]
    arguments: tuple[int, ...] = ()
    is_constant: bool = False


def shape_rule(shape: Callable[[Node], TensorShape], *arguments: int) -> Rule:
    """The rule of an operator of which the shape of its one output is all there is to tell."""
    return Rule(lambda node: Reading((shape(node),)), arguments)


class Entry(NamedTuple):
    """An ONNX operator: its name in our vocabulary, and the fields of its :class:`Rule`."""

    op: str
    read: Callable[[Node], Reading]
    arguments: tuple[int, ...] = ()
    is_constant: bool = False


@dataclass(slots=True)
class Node:
    """A node with what is known of its inputs; its methods check what the file says.

    Attributes:
        name: of the node.
        op_type: ONNX's name of its operator.
        inputs: None for one that is left out.
        outputs: how many it gives.
        attributes: by name.
        batch: the batch of the file and the one wanted, where they differ.
        opset: version of ONNX's operators that the file is written in.
    """

    name: str
    op_type: str
    inputs: Sequence[Value | None]
    outputs: int
    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)
    batch: tuple[int, int] | None = None
    opset: int = 1

    def get(self, position: int) -> Value | None:
        """An input, or None where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else None

    def value(self, position: int) -> Value:
        """An input that must be there."""
        value = self.get(position)
        if value is None:
            raise ValueError(f"input {position} must be given; it is missing")
        return value

    def shape(self, position: int, *, min_axes: int = 0) -> TensorShape:
        """Shape of an input, of at least ``min_axes`` axes."""
        shape = self.value(position).shape
        if shape is None:
            raise UnknownShape
        if len(shape) < min_axes:
            raise ValueError(
                f"input {position} must have at least {min_axes} axes; got {list(shape)}"
            )
        return shape

    def shapes(self) -> list[TensorShape]:
        """Shapes of all inputs, of which there must be one."""
        if not self.inputs:
            raise ValueError("it must have an input; it has none")
        return [self.shape(n) for n in range(len(self.inputs))]

    def data(self, position: int) -> NDArray[Any]:
        """Elements of a small constant."""
        data = self.value(position).data()
        if data is None:
            raise UnknownShape
        return data

    def whole_numbers(self, position: int) -> list[int]:
        """Elements of a small constant of integers."""
        data = self.data(position)
        if data.dtype.kind not in "iu":
            raise ValueError(f"input {position} must hold integers; got {data.dtype}")
        return [int(v) for v in data.reshape(-1).tolist()]

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute; one without ``default`` must be there."""
        return int(self._attribute(name, "INT", "i", default))

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """An attribute; one without ``default`` must be there."""
        return [int(v) for v in self._attribute(name, "INTS", "ints", default)]

    def number(self, name: str, default: float | None = None) -> float:
        """An attribute; one without ``default`` must be there."""
        return float(self._attribute(name, "FLOAT", "f", default))

    def numbers(self, name: str, default: Sequence[float] | None = None) -> list[float]:
        """An attribute; one without ``default`` must be there."""
        return [float(v) for v in self._attribute(name, "FLOATS", "floats", default)]

    def text(self, name: str, default: str | None = None) -> str:
        """An attribute; one without ``default`` must be there."""
        got = self._attribute(name, "STRING", "s", default)
        return got if isinstance(got, str) else bytes(got).decode("utf-8", "replace")

    def axes(self, position: int) -> list[int] | None:
        """Axes: an attribute in older opsets, an input in newer ones; None where neither is."""
        if "axes" in self.attributes:
            return self.integers("axes")
        return None if self.get(position) is None else self.whole_numbers(position)

    def _attribute(self, name: str, kind: str, field: str, default: object) -> Any:
        attribute = self.attributes.get(name)
        if attribute is None:
            if default is None:
                raise ValueError(f"attribute {name!r} must be given; it is missing")
            return default
        if attribute.type != getattr(attribute, kind):
            raise ValueError(f"attribute {name!r} must be of type {kind}; got {attribute.type}")
        return getattr(attribute, field)
