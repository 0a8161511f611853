"""Bodies of ``Loop``, ``Scan`` and ``If``: their layers, and how often these run.

A body's layers stand in the graph once, between a layer that gives what the body reads and one
that gives what comes of it; both are ``body``, which costs nothing. How often they run is part of
each: with the dearest branches, and with the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from latcast._limits import MAX_BODY_RUNS
from latcast.graph._operators import UNKNOWN
from latcast.graph.read._layers import ElementType, Facts, Layers, Value
from latcast.graph.shapes import TensorShape, axis_of, check_shape

from ._nodes import Scope, branches, label, operator, subgraphs
from ._tensors import BOOL, INT64, constant

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, NodeProto

CONTROL = frozenset(("If", "Loop", "Scan"))
# Trips from which on a count stands for none: exporters write the largest integer then.
MAX_TRIPS = 2**31
# The first opset whose ``Scan`` has no batch of its own.
_SCAN_OF_SAMPLES = 9

Given = list[Value | None]


@dataclass(frozen=True, slots=True)
class _Trips:
    """Trips of a loop: most and fewest, and whether these are known."""

    most: int = 1
    fewest: int = 1
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class Bodies:
    """Reads bodies for a reader.

    Attributes:
        run: adds the layers of a graph in a scope; gives its outputs.
        layers: to which they are added.
        trip_count: of loops whose trips the file does not tell.
        notes: what was left out, a sentence each.
    """

    run: Callable[[GraphProto, Scope], Given]
    layers: Layers
    trip_count: int | None
    notes: list[str] = field(default_factory=list)

    def read(
        self, proto: NodeProto, attributes: Mapping[str, AttributeProto], scope: Scope
    ) -> Given:
        """The outputs of a node with bodies.

        Raises:
            ValueError: a body is missing, or does not fit the node.
        """
        if proto.op_type == "If":
            found = self._either(proto, attributes, scope)
        else:
            body = next(subgraphs(a for n, a in attributes.items() if n == "body"), None)
            if body is None:
                raise ValueError("its body must be given; it is missing")
            read = self._loop if proto.op_type == "Loop" else self._scan
            found = read(proto, attributes, scope, body)
        if len(found) < len(proto.output):
            raise ValueError(f"its body must give {len(proto.output)} values; got {len(found)}")
        for value in found:
            check_shape(None if value is None else value.shape)
        return found

    # -- If ---------------------------------------------------------------------------------

    def _either(
        self, proto: NodeProto, attributes: Mapping[str, AttributeProto], scope: Scope
    ) -> Given:
        """Both branches; the one with more work is what the network costs.

        One that cannot run with these inputs, such as that of another sampling rate, is left out.
        """
        found: list[Given] = []
        spans: list[range] = []
        wrong: list[ValueError] = []
        held = branches(attributes)
        if len(held) != 2:
            raise ValueError("both branches must be given")
        for branch in held:
            inner = self._inner(proto, scope, scope.runs, around=scope)
            start = len(self.layers)
            try:
                found.append(self.run(branch, inner))
            except ValueError as error:
                self.layers.cut(start)
                wrong.append(error)
                continue
            spans.append(range(start, len(self.layers)))
        if len(wrong) == 2:
            raise wrong[0]
        if wrong:
            self.notes.append(
                f"a branch of {label(proto)} is left out, which cannot run with these inputs: "
                f"{wrong[0]}"
            )
        most, fewest = zip(*(self.layers.work(span) for span in spans), strict=True)
        dearest, cheapest = most.index(max(most)), fewest.index(min(fewest))
        for n, span in enumerate(spans):
            self.layers.skip(span, dearest=n != dearest, cheapest=n != cheapest)
        merged = [
            self._merged(pair, dearest, scope, name)
            for name, *pair in zip(proto.output, *found, strict=True)
        ]
        given = [scope.find(n) for n in proto.input if n]
        self._add(proto, scope, [*given, *(v for values in found for v in values)], merged)
        return list(merged)

    def _merged(self, pair: Sequence[Value | None], main: int, scope: Scope, name: str) -> Value:
        """A value of either branch: of the shape that both give, or of that of the main one."""
        given = pair[main] or next((v for v in pair if v is not None), None)
        if given is None:
            raise ValueError(f"a branch must give {name!r}; none does")
        shapes = [v.shape for v in pair if v is not None and v.shape is not None]
        return _value(next(iter(shapes), None) if given.shape is None else given.shape, given.type)

    # -- Loop and Scan ----------------------------------------------------------------------

    def _loop(
        self,
        proto: NodeProto,
        attributes: Mapping[str, AttributeProto],
        scope: Scope,
        body: GraphProto,
    ) -> Given:
        count, condition, *initial = [scope.find(n) if n else None for n in proto.input]
        carried = self._carried(initial)
        counter, goes_on = Value((), INT64), Value((), BOOL)
        # What is true at first and passed on stays true: the count alone ends such a loop.
        is_true = condition is None or _one(condition) == 1
        never = condition is not None and _one(condition) == 0
        first = constant(np.array(True)) if is_true else goes_on

        def turn(values: Sequence[Value]) -> Given:
            self._add(proto, scope, [count, condition, *initial], [counter, goes_on, *values])
            return self._body(proto, scope, body, [counter, first, *values], trips)

        trips = self._trips(None if count is None else _one(count), is_open=not is_true)
        start = len(self.layers)
        outputs = turn(carried)
        held = _one(outputs[0]) if outputs and outputs[0] is not None else None
        again = self._trips(None if count is None else _one(count), is_open=held is None)
        again = _Trips(0, 0) if never else _Trips() if held == 0 else again
        shapes = _grown(carried, outputs[1:], again.most)
        if again != trips or shapes is not None:
            trips = again
            self.layers.cut(start)
            middle = shapes[0] if shapes else [v.shape for v in carried]
            carried = [_value(s, v.type) for v, s in zip(carried, middle, strict=True)]
            outputs = turn(carried)
        final = shapes[1] if shapes else [None if v is None else v.shape for v in outputs[1:]]
        return self._leave(proto, scope, outputs[1:], len(carried), trips, final, [0] * 64)

    def _scan(
        self,
        proto: NodeProto,
        attributes: Mapping[str, AttributeProto],
        scope: Scope,
        body: GraphProto,
    ) -> Given:
        if scope.opset < _SCAN_OF_SAMPLES:
            raise ValueError(
                f"a Scan must be of opset 9 or later; got one of {scope.opset}, which has a batch "
                "of its own: onnx.version_converter.convert_version brings the file to opset 9"
            )
        given = [scope.find(n) if n else None for n in proto.input]
        scanned = int(attributes["num_scan_inputs"].i)
        if not 0 < scanned <= len(given) or len(body.input) != len(given):
            raise ValueError(f"{scanned} of {len(given)} inputs must be scanned by its body")
        states, sequences = given[:-scanned], given[-scanned:]
        axes = _integers(attributes, "scan_input_axes", [0] * scanned)
        lengths, slices = set(), []
        for value, axis in zip(sequences, axes, strict=True):
            shape = None if value is None else value.shape
            if value is None or shape is None:
                slices.append(Value(None, INT64 if value is None else value.type))
                continue
            at = axis_of(axis, len(shape))
            lengths.add(shape[at])
            slices.append(Value((*shape[:at], *shape[at + 1 :]), value.type))
        if len(lengths) > 1:
            raise ValueError(f"what is scanned must be equally long; got {sorted(lengths)}")
        length = lengths.pop() if lengths else None
        trips = self._trips(length, is_open=False)
        entry = [*self._carried(states), *slices]
        self._add(proto, scope, given, entry)
        outputs = self._body(proto, scope, body, entry, trips)
        final = [None if v is None else v.shape for v in outputs]
        axes = _integers(attributes, "scan_output_axes", [0] * len(outputs))
        placed = [*[0] * len(states), *axes]
        return self._leave(proto, scope, outputs, len(states), trips, final, placed)

    def _carried(self, initial: Sequence[Value | None]) -> list[Value]:
        """Return the states that a body reads, at first the initial values."""
        return [_value(None, INT64) if v is None else _value(v.shape, v.type) for v in initial]

    def _body(
        self,
        proto: NodeProto,
        scope: Scope,
        body: GraphProto,
        given: Sequence[Value],
        trips: _Trips,
    ) -> Given:
        if len(body.input) != len(given):
            raise ValueError(f"its body must read {len(given)} values; it reads {len(body.input)}")
        runs = (scope.runs[0] * trips.most, scope.runs[1] * trips.fewest)
        if runs[0] > MAX_BODY_RUNS:
            raise ValueError(
                f"a body must run at most {MAX_BODY_RUNS} times; this one would {runs[0]}"
            )
        inner = self._inner(proto, scope, runs, around=scope)
        inner.values.update(zip((x.name for x in body.input), given, strict=True))
        return self.run(body, inner)

    def _leave(
        self,
        proto: NodeProto,
        scope: Scope,
        outputs: Given,
        states: int,
        trips: _Trips,
        final: Sequence[TensorShape | None],
        axes: Sequence[int],
    ) -> Given:
        """Return the outputs after the last trip: states, and slices put after each other."""
        found: list[Value] = []
        for n, value in enumerate(outputs):
            if value is None:
                raise ValueError("its body must give all of its outputs")
            shape = final[n] if n < len(final) else value.shape
            if n >= states and shape is not None:
                at = axis_of(axes[n], len(shape) + 1)
                rows = trips.most if trips.is_known else None
                shape = None if rows is None else (*shape[:at], rows, *shape[at:])
            found.append(_value(shape, value.type))
        kind = "body" if trips.is_known else UNKNOWN
        self._add(proto, scope, outputs[:states], found[:states], kind)
        for value, given in zip(found[states:], outputs[states:], strict=True):
            # The slices of all trips are written into one tensor.
            written = "concat" if trips.is_known else UNKNOWN
            self._add(proto, scope, [given], [value], written, (value.shape,))
        return list(found)

    # -- both -------------------------------------------------------------------------------

    def _trips(self, told: int | None, *, is_open: bool) -> _Trips:
        """Trips of a loop that is told a count, and that may end before if it is open."""
        count = None if told is None or told >= MAX_TRIPS else max(told, 0)
        if count is not None and not is_open:
            return _Trips(count, count)
        if self.trip_count is not None:
            asked = self.trip_count if count is None else min(count, self.trip_count)
            return _Trips(asked, asked)
        return _Trips(is_known=False) if count is None else _Trips(count, min(count, 1))

    def _inner(
        self, proto: NodeProto, scope: Scope, runs: tuple[int, int], *, around: Scope
    ) -> Scope:
        inner = scope.inner(proto.name or proto.op_type, around=around)
        inner.attributes, inner.runs = scope.attributes, runs
        return inner

    def _add(
        self,
        proto: NodeProto,
        scope: Scope,
        reads: Sequence[Value | None],
        outputs: Sequence[Value],
        op: str = "body",
        in_shapes: tuple[TensorShape | None, ...] | None = None,
    ) -> None:
        """Add a layer where a body begins or ends, if there is anything to give."""
        outputs = [v for v in outputs if not v.is_empty]
        if not outputs:
            return
        given = [v for v in reads if v is not None and not v.is_constant]
        largest = max(outputs, key=lambda v: 0 if v.shape is None else prod(v.shape))
        name = scope.prefix + (proto.name or next(filter(None, proto.output), proto.op_type))
        source = self.layers.add(
            name, operator(proto), op, Facts(), given, outputs, frozenset(),
            largest.type.bytes, in_shapes=in_shapes if given else None, runs=scope.runs,
        )  # fmt: skip
        for port, value in enumerate(outputs):
            value.source, value.port = source, port


def _value(shape: TensorShape | None, kind: ElementType) -> Value:
    """A value that a layer will give; one without elements is a constant."""
    if shape is not None and 0 in shape:
        return constant(np.zeros(shape, np.float32))
    return Value(shape, kind)


def _one(value: Value) -> int | None:
    """The number of a constant of one element; None of any other value."""
    data = value.data() if value.is_constant else None
    if data is None or data.size != 1 or data.dtype.kind not in "iub":
        return None
    return int(data.reshape(-1)[0])


def _grown(
    before: Sequence[Value], after: Sequence[Value | None], trips: int
) -> tuple[list[TensorShape | None], list[TensorShape | None]] | None:
    """Shapes in the middle of a loop and after it, of values that grow by as much every trip.

    None where no value grows. Work that is linear in a side costs as much as in the middle.
    """
    middle: list[TensorShape | None] = []
    final: list[TensorShape | None] = []
    for first, value in zip(before, after, strict=False):
        start, end = first.shape, None if value is None else value.shape
        if start == (0,) and end is not None and len(end) > 1:  # a sequence that was empty
            start = (0, *end[1:])
        if start is None or end is None or len(start) != len(end):
            middle.append(start)
            final.append(end)
            continue
        steps = [b - a for a, b in zip(start, end, strict=True)]
        middle.append(tuple(a + d * (trips - 1) // 2 for a, d in zip(start, steps, strict=True)))
        final.append(tuple(a + d * trips for a, d in zip(start, steps, strict=True)))
    same = [first.shape for first in before]
    if middle == same and final == same:
        return None
    rest = [None if v is None else v.shape for v in after[len(before) :]]
    return middle, [*final, *rest]


def _integers(attributes: Mapping[str, AttributeProto], name: str, default: list[int]) -> list[int]:
    return list(attributes[name].ints) if name in attributes else default
