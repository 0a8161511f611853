"""What is known of a tensor, of a node, and of what reading a node gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from latcast.graph._graph import TensorShape

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import AttributeProto


class UnknownShape(Exception):  # noqa: N818  # no error: what reads it has no shape either
    """A shape or a constant that a node's shape depends on is not known."""


class Origin(NamedTuple):
    """A constant of the file that others were computed from."""

    name: str
    elements: int


@dataclass(slots=True)
class Value:
    """A tensor.

    Attributes:
        shape: None where nobody knows.
        dtype: number of ``TensorProto.DataType``; 0 where nobody knows.
        source: position of the layer that gives it, ``GRAPH_INPUT``, or None for a constant.
        origins: the file's constants that may hold weights and that it was computed from.
    """

    shape: TensorShape | None
    dtype: int
    source: int | None
    origins: frozenset[Origin] = frozenset()
    _load: Callable[[], NDArray[Any] | None] | None = None

    @property
    def is_constant(self) -> bool:
        """Whether no layer and no input of the network changes it."""
        return self.source is None

    def data(self) -> NDArray[Any] | None:
        """Elements of a small constant, else None."""
        if self._load is None:
            return None
        array = self._load()
        self._load = lambda: array
        return array


@dataclass(frozen=True, slots=True)
class Reading:
    """What a node does.

    Attributes:
        shapes: of its outputs; None where nobody knows.
        op: what it is in our vocabulary where its entry in the table does not say.
        dtype: of its outputs; None for that of its first input.
        weights: positions of the inputs whose constants are trained.
        window: height and width of a window; likewise the others (see ``Layer``).
        stride: of the window.
        dilation: of the window.
        groups: of a convolution, or heads.
        sum_length: of a product.
        order: of the axes of a transpose.
    """

    shapes: tuple[TensorShape | None, ...]
    op: str | None = None
    dtype: int | None = None
    weights: tuple[int, ...] = ()
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    sum_length: int = 0
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What the table knows of an ONNX operator.

    Attributes:
        op: what it usually is in our vocabulary.
        read: gives the shapes of a node's outputs, and what else is to know of it. It raises
            UnknownShape where they depend on what is not known, ValueError where a node is wrong.
        arguments: positions of inputs that say what to do; they are no data that it reads.
        is_constant: whether it gives a constant whatever its inputs hold.
    """

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
    """

    name: str
    op_type: str
    inputs: Sequence[Value | None]
    outputs: int
    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)
    batch: tuple[int, int] | None = None

    def get(self, position: int) -> Value | None:
        """An input, or None where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else None

    def value(self, position: int) -> Value:
        """An input that must be there."""
        value = self.get(position)
        if value is None:
            raise ValueError(f"input {position} must be given; it is missing")
        return value

    def shape(self, position: int, *, least: int = 0) -> TensorShape:
        """Shape of an input, of at least ``least`` axes."""
        shape = self.value(position).shape
        if shape is None:
            raise UnknownShape
        if len(shape) < least:
            raise ValueError(f"input {position} must have at least {least} axes; got {list(shape)}")
        return shape

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
