"""Options for a network's inputs, and the shapes that follow; the same for every format.

A side is a number, a symbol, an expression of symbols, or open without a name. Which side is the
batch is never guessed in silence. It is known where the caller says it, where a symbol is called
so, or where the format's layout or the definition of an operator that reads the input has it. An
open first side that nothing names is taken for it, and a note says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from latcast.graph._graph import GraphInput
from latcast.graph.shapes import TensorShape
from latcast.report.text import sides_text

from ._expressions import NO_SYMBOLS, Side, is_expression, solved, symbols_of, value_of

# Names that exporters give to any open side: two of them are two sides.
_NAMELESS = frozenset({"", "?", "-1", "0", "*", "none", "unk", "unknown", "any", "dynamic"})
_BATCH = re.compile(r"batch|^(n|b|bs|nb)$", re.IGNORECASE)
_LENGTH = re.compile(r"seq|len|time|frame|token|step|word|char|past|^[tsl]$", re.IGNORECASE)
# Symbols that name something else than the batch, beside lengths.
_PLANE = re.compile(r"height|width|^[hw]$|side|size|resolution", re.IGNORECASE)
# What --sweep calls sides by -> in words.
_MEANT = {"sequence": "a length", "resolution": "a side of an image"}
_OTHER = re.compile(r"height|width|chan|audio|wave|point|depth|^[hwcd]$", re.IGNORECASE)
_MAX_SIDE = 2**31


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading a network.

    Attributes:
        batch: samples of a forward pass; where the file leaves it open and None is given, 1.
        shapes: of inputs by name, or the one side of a symbol.
        batch_axis: which side of the inputs is the batch: of all of them, or by their names.
        trip_count: trips of every loop whose count the file does not tell as a constant; where
            None is given, such a loop counts as one trip, and as unsupported.
    """

    batch: int | None = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    batch_axis: int | Mapping[str, int] | None = None
    trip_count: int | None = None

    def __post_init__(self) -> None:
        if self.trip_count is not None and not 0 <= self.trip_count < 2**31:
            raise ValueError(f"the trip count must be from 0 to 2^31 - 1; got {self.trip_count}")


DEFAULTS = ReadOptions()


class UnknownBatchError(ValueError):
    """Nothing tells which side of the inputs is the batch that was asked for."""


class ToldInput(NamedTuple):
    """An input as its file tells it.

    Attributes:
        name: of the input.
        sides: of its shape; None where there is none.
        dtype: type of its elements.
        batch_axis: the side that a layout, or an operator's definition, has for the batch.
    """

    name: str
    sides: Sequence[Side] | None
    dtype: str
    batch_axis: int | None = None


@dataclass(slots=True)
class KnownInputs:
    """Inputs with their shapes, and what follows from them.

    Attributes:
        sources: the inputs, in the order of the file.
        symbols: values of the symbols that the file names sides by.
        batch: the batch that the file fixes and the one wanted, where they differ.
        notes: what was assumed or changed, a sentence each.
    """

    sources: tuple[GraphInput, ...] = ()
    symbols: dict[str, int] = field(default_factory=dict)
    batch: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    def shape(self, sides: Sequence[Side] | None) -> TensorShape | None:
        """A shape of the file with the values of its symbols; None where a side stays open."""
        known = [value_of(s, self.symbols) for s in sides or ()]
        shape = tuple(s for s in known if s is not None and s > 0)
        return shape if sides is not None and len(shape) == len(known) else None


def known_inputs(
    told: Iterable[ToldInput], options: ReadOptions, *, can_change: bool = True
) -> KnownInputs:
    """Give every input a shape.

    Sides that the file tells stay as they are. Open ones come from ``shapes``; the batch is
    ``batch``, or that of the shapes that are given, or 1. Another batch than the file fixes
    changes the side where it is known which one that is.

    Args:
        told: the inputs of the file.
        options: what is asked for.
        can_change: whether the format's reader can change a fixed batch.

    Raises:
        UnknownBatchError: a batch was asked for, and nothing tells which side that is.
        ValueError: a side stays open, or what was asked for does not fit the file.
    """
    inputs = _Inputs(told, options, can_change=can_change)
    inputs.give_shapes()
    inputs.find_batch_axes()
    inputs.give_batch()
    inputs.take_first_sides()
    return inputs.known()


@dataclass(slots=True)
class _Input:
    """An input while its sides become known: ``values`` are None until then."""

    name: str
    sides: list[Side] | None
    dtype: str
    axis: int | None
    values: list[int | None]
    is_given: bool = False

    @property
    def text(self) -> str:
        """Its shape as the file tells it."""
        return sides_text(self.sides)

    def is_fixed(self, axis: int) -> bool:
        """Whether the file tells a side as a number."""
        return self.sides is not None and isinstance(self.sides[axis], int)


class _Inputs:
    """All inputs while their sides become known."""

    def __init__(
        self, told: Iterable[ToldInput], options: ReadOptions, *, can_change: bool
    ) -> None:
        self._options = options
        self._can_change = can_change
        self._symbols: dict[str, int] = {}
        self._notes: list[str] = []
        self._change: tuple[int, int] | None = None
        self._inputs: dict[str, _Input] = {}
        for x in told:
            sides = None if x.sides is None else list(map(_named, x.sides))
            values = [s if isinstance(s, int) else None for s in sides or ()]
            self._inputs[x.name] = _Input(x.name, sides, x.dtype, x.batch_axis, values)
        texts = {s for x in self._inputs.values() for s in x.sides or () if isinstance(s, str)}
        names = {s for s in texts if not is_expression(s, NO_SYMBOLS)}
        self._names = {s for s in texts if not is_expression(s, names)}
        # Some symbols stand in expressions alone, such as ``2*steps``.
        self._known = self._names.union(*map(symbols_of, texts - self._names))

    # -- shapes that are given ---------------------------------------------------------------------

    def give_shapes(self) -> None:
        """Take the shapes that are asked for.

        Raises:
            ValueError: they do not fit the file or each other.
        """
        batch = self._options.batch
        if batch is not None and not 0 < batch < _MAX_SIDE:
            raise ValueError(f"the batch must be positive; got {batch}")
        for name, shape in self._options.shapes.items():
            if any(isinstance(s, bool) or not isinstance(s, int) or s < 0 for s in shape):
                raise ValueError(f"sides of input {name!r} must be positive; got {list(shape)}")
            if name in self._inputs:
                self._give(self._inputs[name], shape)
            elif name in self._known and len(shape) == 1 and shape[0] > 0:
                self._learn(name, shape[0], f"--shape {name}")
            elif len(shape) == 1 and shape[0] > 0 and (sides := self._sides_called(name)):
                for x, axis in sides:
                    self._give_side(x, axis, shape[0])
            elif name in _MEANT:
                told = ", ".join(f"{x.name} {x.text}" for x in self._inputs.values())
                raise ValueError(
                    f"{name} must be an open side; {_MEANT[name]} is open in no input: {told}. "
                    "Export the network with it open, or name another side, as INPUT.AXIS"
                )
            else:
                symbols = f"; its open sides: {', '.join(sorted(self._known))}"
                raise ValueError(
                    f"a shape was given for {name!r}; inputs of the model: "
                    f"{', '.join(self._inputs) or 'none'}{symbols if self._known else ''}"
                )
        self._spread()

    def _give(self, x: _Input, shape: Sequence[int]) -> None:
        if x.sides is not None and len(x.sides) != len(shape):
            raise ValueError(
                f"the shape of input {x.name!r} must have {len(x.sides)} sides, as {x.text}; "
                f"got {list(shape)}"
            )
        for axis, (side, value) in enumerate(zip(x.sides or (), shape, strict=x.sides is not None)):
            if isinstance(side, int) and side != value:
                raise ValueError(
                    f"side {axis} of input {x.name!r} must be {side}, as the file fixes it "
                    f"({x.text}); got {list(shape)}: "
                    + ("--batch asks for another batch" if axis == 0 else "export it for that")
                )
            if isinstance(side, str) and side in self._names:
                self._learn(side, value, repr(x.name))
        x.values, x.is_given = list(shape), True

    def _give_side(self, x: _Input, axis: int, value: int) -> None:
        side = x.sides[axis] if x.sides else None
        if x.is_fixed(axis) and side != value:
            raise ValueError(
                f"side {axis} of input {x.name!r} must be {side}, as the file fixes it "
                f"({x.text}); got {value}"
            )
        if isinstance(side, str) and side in self._names:
            self._learn(side, value, repr(x.name))
        x.values[axis] = value

    def _sides_called(self, name: str) -> list[tuple[_Input, int]]:
        """Sides by a position, as ``x.2``, or open ones by what they are of."""
        source, _, axis = name.rpartition(".")
        if source in self._inputs and axis.isdecimal():
            x = self._inputs[source]
            return [(x, int(axis))] if len(axis) < 3 and int(axis) < len(x.values) else []
        known = {"sequence": _LENGTH, "resolution": _PLANE}.get(name)
        if known is None:
            return []
        every = [
            (x, axis, side)
            for x in self._inputs.values()
            for axis, side in enumerate(x.sides or ())
            if not isinstance(side, int)
        ]
        named = [(x, axis) for x, axis, side in every if side and known.search(str(side))]
        # Without names: what lies between the batch and the features, or the sides of an image.
        ranks, first = ((2, 3), 1) if name == "sequence" else ((4, 4), 1)
        last = 2 if name == "sequence" else 4
        return named or [
            (x, axis)
            for x, axis, side in every
            if ranks[0] <= len(x.values) <= ranks[1] and first <= axis < last
            and (side is None or self._is_neutral(side))
        ]  # fmt: skip

    def _learn(self, symbol: str, value: int, of: str) -> None:
        if self._symbols.setdefault(symbol, value) != value:
            raise ValueError(
                f"side {symbol!r} must be the same in all inputs; got {self._symbols[symbol]} "
                f"and, of {of}, {value}"
            )

    def _spread(self) -> None:
        """Values of symbols to all sides that have them, and of expressions to their symbols."""
        for x in self._inputs.values():
            for axis, side in enumerate(x.sides or ()):
                value = x.values[axis]
                if isinstance(side, str) and side not in self._names and value is not None:
                    self._symbols.update(solved(side, value, self._symbols))
        for x in self._inputs.values():
            for axis, side in enumerate(x.sides or ()):
                if isinstance(side, str) and x.values[axis] is None:
                    x.values[axis] = value_of(side, self._symbols)

    # -- the batch ---------------------------------------------------------------------------------

    def find_batch_axes(self) -> None:
        """Note which side of every input is the batch, where that is known.

        Raises:
            ValueError: an axis that was given is none of its input.
        """
        for x in self._inputs.values():
            named = [n for n, s in enumerate(x.sides or ()) if self._is_batch(s)]
            if len(named) == 1:
                x.axis = named[0]
        asked = self._options.batch_axis
        if isinstance(asked, Mapping):
            for name, axis in asked.items():
                if name not in self._inputs:
                    raise ValueError(
                        f"a batch axis was given for {name!r}; inputs of the model: "
                        f"{', '.join(self._inputs) or 'none'}"
                    )
                x = self._inputs[name]
                x.axis = _counted(axis, len(x.values), f"input {name!r}, {x.text},")
        elif asked is not None:
            self._set_axis_of_all(asked)

    def _is_batch(self, side: Side) -> bool:
        """Whether a side is called the batch, or is computed from nothing but what is called so."""
        symbols = symbols_of(side)
        is_free = side in self._names or symbols.isdisjoint(self._names)
        return is_free and bool(symbols) and all(map(_BATCH.search, symbols))

    def _set_axis_of_all(self, axis: int) -> None:
        """The batch axis of all inputs; of those that fix another number there it is not."""
        able = [x for x in self._inputs.values() if -len(x.values) <= axis < len(x.values)]
        if not able:
            told = ", ".join(f"{x.name} {x.text}" for x in self._inputs.values())
            raise ValueError(
                f"--batch-axis must be a side of an input, from 0; got {axis} of {told}"
            )
        fixed = [x.values[axis] for x in able if x.is_fixed(axis)]
        for x in able:
            at = axis % len(x.values)
            if not x.is_fixed(at) or x.values[at] == fixed[0]:
                x.axis = at

    def give_batch(self) -> None:
        """Give the batch axes their side.

        Raises:
            ValueError: inputs have several batches, or the file cannot have the one asked for.
        """
        with_axis = [(x, x.axis) for x in self._inputs.values() if x.axis is not None]
        wanted = self._options.batch
        for x, axis in with_axis:
            if wanted is not None and x.is_given and x.values[axis] != wanted:
                if x.is_fixed(axis):
                    continue
                raise ValueError(
                    f"the shape of input {x.name!r} must have the batch {wanted} at side {axis}; "
                    f"got {x.values}"
                )
        told = {x.values[axis] for x, axis in with_axis if x.values[axis] is not None}
        if wanted is not None and told - {wanted}:
            self._change_batch(wanted, [(x, a) for x, a in with_axis if x.is_fixed(a)])
        batch = wanted or (next(iter(told)) if len(told) == 1 else None) or 1
        for x, axis in with_axis:
            if x.values[axis] is None:
                self._give_open_batch(x, axis, batch)
        for symbol in self._names:
            if _BATCH.search(symbol):
                self._symbols.setdefault(symbol, batch)
        self._spread()

    def _give_open_batch(self, x: _Input, axis: int, batch: int) -> None:
        side = x.sides[axis] if x.sides else None
        if not isinstance(side, str) or side in self._names:
            x.values[axis] = batch
            if side is not None:
                self._learn(str(side), batch, repr(x.name))
            return
        learned = solved(side, batch, self._symbols)
        if not learned and self._options.batch is not None:
            raise ValueError(
                f"the batch must be one that side {axis} of input {x.name!r}, {side}, can have; "
                f"got {batch}"
            )
        self._symbols.update(learned or dict.fromkeys(symbols_of(side) - self._symbols.keys(), 1))
        x.values[axis] = value_of(side, self._symbols)

    def _change_batch(self, new: int, fixed: Sequence[tuple[_Input, int]]) -> None:
        """Change the side of inputs that fix another batch than the one asked for."""
        olds = sorted({x.values[axis] or 0 for x, axis in fixed})
        listed = ", ".join(f"{x.name} {x.text}" for x, _ in fixed)
        if len(olds) > 1:
            raise ValueError(
                f"inputs must have one batch to be read for {new}; those of the file have "
                f"{', '.join(map(str, olds))} ({listed}): --batch-axis says which side it is"
            )
        if not self._can_change:
            raise ValueError(f"{self._exported(new)} ({listed})")
        self._change = (olds[0], new)
        for x, axis in fixed:
            x.values[axis] = new
            self._notes.append(
                f"the file fixes the batch of input {x.name!r}, side {axis} of {x.text}: it is "
                f"read for {new} instead of {olds[0]}"
            )

    def _exported(self, new: int) -> str:
        return (
            f"the file is made for another batch and cannot be read for {new}: export it for "
            "that, or with an open side (dynamic_shapes)"
        )

    def take_first_sides(self) -> None:
        """Take open first sides that nothing names for the batch, and say so.

        Raises:
            UnknownBatchError: a batch is asked for, and no side could be it.
        """
        wanted = self._options.batch
        # A list of one entry a sample is told from a sequence by the inputs beside it.
        for x in sorted(self._inputs.values(), key=lambda x: -len(x.values)):
            known = {y.values[y.axis] for y in self._inputs.values() if y.axis is not None}
            batch = wanted or (next(iter(known)) if len(known) == 1 else None) or 1
            if x.axis is None and self._could_be_first(x, alone=not known):
                side = x.sides[0] if x.sides else None
                if x.values[0] is None:
                    x.values[0] = batch
                    if isinstance(side, str):
                        self._learn(side, batch, repr(x.name))
                elif wanted not in {None, x.values[0]}:
                    raise ValueError(
                        f"the shape of input {x.name!r} must start with the batch {wanted}; "
                        f"got {x.values}"
                    )
                x.axis = 0
                self._notes.append(
                    f"side 0 of input {x.name!r}, {x.text}, is open and nothing names it: it is "
                    f"taken for the batch, {x.values[0]} (--batch-axis or --shape say otherwise)"
                )
                self._spread()
        closed = all(None not in x.values for x in self._inputs.values())
        if wanted is not None and closed and all(x.axis is None for x in self._inputs.values()):
            self._agree(wanted)

    def _could_be_first(self, x: _Input, *, alone: bool) -> bool:
        """Whether the first side is the one open side, and its name does not say what it is."""
        if not x.sides or x.is_fixed(0) or (len(x.sides) == 1 and alone):
            return False
        others_open = any(not x.is_fixed(n) for n in range(1, len(x.sides)))
        if others_open and (x.is_given or None in x.values[1:]):
            return False
        return self._is_neutral(x.sides[0])

    def _is_neutral(self, side: Side) -> bool:
        """Whether nothing tells what a side is of."""
        named = _LENGTH.search(str(side)) or _OTHER.search(str(side))
        return side is None or (side in self._names and not named)

    def _agree(self, wanted: int) -> None:
        """A batch that all first sides have already changes nothing."""
        firsts = [x for x in self._inputs.values() if x.values]
        if firsts and all(x.values[0] == wanted for x in firsts):
            for x in firsts:
                x.axis = 0
            return
        told = ", ".join(f"{x.name} {x.text}" for x in self._inputs.values())
        if not self._can_change:
            raise UnknownBatchError(f"{self._exported(wanted)} ({told})")
        raise UnknownBatchError(
            f"which side of the inputs is the batch must be known to read the file for batch "
            f"{wanted}; it tells {told}: say it (--batch-axis 0)"
        )

    # -- the result --------------------------------------------------------------------------------

    def known(self) -> KnownInputs:
        """All shapes.

        Raises:
            ValueError: a side stays open, or an expression has another value.
        """
        sources = []
        if open_ones := [
            x
            for x in self._inputs.values()
            if (x.sides is None and not x.is_given) or None in x.values
        ]:
            raise ValueError(self._left_open(open_ones))
        for x in self._inputs.values():
            shape = tuple(v for v in x.values if v is not None)
            if x.axis is not None and shape[x.axis] == 0:
                raise ValueError(f"the batch of input {x.name!r} must be positive; got {shape}")
            for axis, side in enumerate(x.sides or ()):
                value = value_of(side, self._symbols) if isinstance(side, str) else None
                if value is not None and value != shape[axis]:
                    raise ValueError(
                        f"side {axis} of input {x.name!r}, {side}, must be {value} with what is "
                        f"known of the others; got {list(shape)}"
                    )
            sides = None if x.sides is None else tuple(x.sides)
            sources.append(GraphInput(x.name, shape, sides, x.axis, x.dtype))
        return KnownInputs(tuple(sources), self._symbols, self._change, tuple(self._notes))

    def _left_open(self, inputs: Sequence[_Input]) -> str:
        names = ", ".join(repr(x.name) for x in inputs)
        told = ", ".join("nothing" if x.sides is None else x.text for x in inputs)
        options = " ".join(f"--shape {x.name}={self._example(x)}" for x in inputs)
        return (
            f"all sides of input{'s' * (len(inputs) > 1)} {names} must be known; the file tells "
            f"{told}: give them ({options})"
        )

    def _example(self, x: _Input) -> str:
        """A shape that the file admits, of sides that are usual."""
        if x.sides is None:
            return "1x3x224x224"
        rank, is_whole = len(x.sides), x.dtype.startswith("int")
        sides = []
        for axis, (side, value) in enumerate(zip(x.sides, x.values, strict=True)):
            name = side if isinstance(side, str) else ""
            if value is not None:
                sides.append(value)
            elif axis == x.axis or (axis == 0 and rank > 1 and self._is_neutral(side)):
                sides.append(self._options.batch or 1)
            elif _LENGTH.search(name) or is_whole or rank < 4:
                sides.append(128)
            else:
                sides.append(3 if axis == 1 and x.values[3] != 3 and rank == 4 else 224)
        return "x".join(map(str, sides))


def _named(side: Side) -> Side:
    """A side as its format has it: None for one that is open and has no name of its own."""
    if isinstance(side, str):
        text = side.strip()
        if text.lower() in _NAMELESS:
            return None
        return int(text) if text.isdecimal() and len(text) < 10 else text
    return None if side is None or side <= 0 else side


def _counted(axis: int, rank: int, of: str) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"a batch axis of {of} must be below {rank}; got {axis}")
    return axis % rank
