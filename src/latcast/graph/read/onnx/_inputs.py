"""Inputs of a model: what symbolic sides are, and another batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latcast.graph._graph import GRAPH_INPUT, TensorShape

from ._order import check_text
from ._values import Value

if TYPE_CHECKING:
    from onnx import TypeProto, ValueInfoProto

Side = int | str | None
"""Of a shape in a file: a number, a symbol, or nothing."""


@dataclass
class Inputs:
    """Shapes that the inputs have, and what follows from them.

    Attributes:
        values: the inputs by name.
        symbols: sides that a model names instead of telling them.
        batch: the batch of the file and the one wanted, where they differ.
    """

    values: dict[str, Value] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    batch: tuple[int, int] | None = None

    def resolved(self, sides: Sequence[Side] | None) -> TensorShape | None:
        """A shape of the file where it is known; with another batch it no longer holds."""
        if sides is None:
            return None
        known = [self.symbols.get(s) if isinstance(s, str) else s for s in sides]
        shape = tuple(s for s in known if s is not None and s > 0)
        if len(shape) < len(known) or (self.batch is not None and shape[:1] != self.batch[1:]):
            return None
        return shape


def sides_of(kind: TypeProto) -> list[Side] | None:
    """Shape in the file; None where it tells none."""
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return [
        d.dim_value if d.HasField("dim_value") else str(d.dim_param) or None
        for d in kind.tensor_type.shape.dim
    ]


def read_inputs(
    infos: Iterable[ValueInfoProto],
    batch: int | None,
    shapes: Mapping[str, Sequence[int]] | None,
) -> Inputs:
    """Give every input a shape.

    A first side that the file leaves open is ``batch`` (1 by default), others come from
    ``shapes``. A first side that the file tells is changed to ``batch`` in all inputs that have
    the same one.

    Raises:
        ValueError: a side stays open, or what was asked for does not fit the file.
    """
    declared = {info.name: info.type for info in infos}
    check_text(*declared)
    asked = dict(shapes or {})
    _check(declared, batch, asked)
    inputs = Inputs()
    told = {name: sides_of(kind) for name, kind in declared.items()}
    first = next((s[0] for s in told.values() if s), None)
    if batch is not None and isinstance(first, int) and first not in {0, batch}:
        inputs.batch = (first, batch)
    for name, sides in told.items():
        if name in asked:
            _bind(inputs, name, sides, tuple(asked[name]))
        elif sides:
            sides[0] = _first(sides[0], batch, inputs)
    for name, sides in told.items():
        shape = tuple(asked[name]) if name in asked else _closed(inputs, name, sides)
        inputs.values[name] = Value(shape, declared[name].tensor_type.elem_type, GRAPH_INPUT)
    return inputs


def _check(
    declared: Mapping[str, TypeProto], batch: int | None, asked: Mapping[str, Sequence[int]]
) -> None:
    if batch is not None and not 0 < batch < 2**31:
        raise ValueError(f"the batch must be positive; got {batch}")
    for name, kind in declared.items():
        if not kind.HasField("tensor_type"):
            raise ValueError(f"input {name!r} must be a tensor; it is something else")
    for name, shape in asked.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise ValueError(f"a shape was given for {name!r}; inputs of the model: {known}")
        if any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in shape):
            raise ValueError(f"sides of input {name!r} must be positive; got {list(shape)}")
        if batch is not None and shape and shape[0] != batch:
            raise ValueError(
                f"the shape of input {name!r} must start with the batch {batch}; got {list(shape)}"
            )


def _bind(inputs: Inputs, name: str, sides: Sequence[Side] | None, shape: TensorShape) -> None:
    """Learn symbols from a shape that was given."""
    if sides is None:
        return
    if len(sides) != len(shape):
        raise ValueError(
            f"the shape of input {name!r} must have {len(sides)} sides; got {list(shape)}"
        )
    for n, (side, given) in enumerate(zip(sides, shape, strict=True)):
        if isinstance(side, str) and inputs.symbols.setdefault(side, given) != given:
            raise ValueError(
                f"side {side!r} must be the same in all inputs; got {inputs.symbols[side]} "
                f"and, of {name!r}, {given}"
            )
        if n == 0 and isinstance(side, int) and side not in {0, given}:
            inputs.batch = (side, given)


def _first(side: Side, batch: int | None, inputs: Inputs) -> int:
    if isinstance(side, str):
        return inputs.symbols.setdefault(side, batch or 1)
    if not side:
        return batch or 1
    if inputs.batch is not None and side == inputs.batch[0]:
        return inputs.batch[1]
    return side


def _closed(inputs: Inputs, name: str, sides: Sequence[Side] | None) -> TensorShape:
    if sides is not None:
        known = [inputs.symbols.get(s) if isinstance(s, str) else s for s in sides]
        shape = tuple(s for s in known if s is not None and s > 0)
        if len(shape) == len(known):
            return shape
    told = "nothing" if sides is None else f"[{', '.join(str(s or '?') for s in sides)}]"
    rank = "1x3x224x224" if sides is None else "x".join(_example(s) for s in sides)
    raise ValueError(
        f"all sides of input {name!r} must be known; the file tells {told}: "
        f"give them (--shape {name}={rank})"
    )


def _example(side: Side) -> str:
    return str(side) if isinstance(side, int) and side > 0 else "224"
