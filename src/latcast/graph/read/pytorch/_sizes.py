"""Open sides of a program's tensors: expressions of symbols, as sympy writes them.

A file's expressions are never evaluated as Python: they are parsed, and only the calls of
:data:`_FUNCTIONS` on whole numbers are computed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from math import prod

from latcast.graph._graph import TensorShape

from ._program import Program, Side

_LONGEST = 10_000
_MOST = 2**63


def _power(base: int, exponent: int) -> int:
    if not 0 <= exponent < 64:
        raise ValueError(f"a power must have an exponent from 0 to 63; got {exponent}")
    return int(base**exponent)


_FUNCTIONS: dict[str, Callable[..., int]] = {
    "Integer": int,
    "Add": lambda *terms: sum(terms),
    "Mul": lambda *factors: prod(factors),
    "Pow": _power,
    "PowByNatural": _power,
    "FloorDiv": lambda a, b: a // b,
    "CleanDiv": lambda a, b: a // b,
    "CeilToInt": int,
    "FloorToInt": int,
    "TruncToInt": int,
    "Mod": lambda a, b: a % b,
    "PythonMod": lambda a, b: a % b,
    "Max": max,
    "Min": min,
}


def evaluate(expression: str, symbols: Mapping[str, int]) -> int:
    """An expression such as ``Mul(Integer(2), Symbol('s77', integer=True))``.

    Raises:
        ValueError: it is no such expression, or has a symbol that is not given.
    """
    if len(expression) > _LONGEST:
        raise ValueError(f"a side must have at most {_LONGEST} characters; got {len(expression)}")
    try:
        return _value(ast.parse(expression, mode="eval").body, symbols)
    except (SyntaxError, TypeError, ZeroDivisionError, RecursionError, MemoryError) as error:
        raise ValueError(f"side {expression[:80]!r} cannot be computed: {error}") from None


def _value(node: ast.expr, symbols: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(value)):
            result = value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = -_value(operand, symbols)
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]):
            if name not in symbols:
                raise ValueError(f"symbol {name} has no value")
            result = symbols[name]
        case ast.Call(func=ast.Name(id=name), args=terms) if name in _FUNCTIONS:
            result = _FUNCTIONS[name](*(_value(t, symbols) for t in terms))
        case _:
            raise ValueError(
                f"{ast.unparse(node)[:80]} is not understood; known: {', '.join(_FUNCTIONS)}"
            )
    if abs(result) >= _MOST:
        raise ValueError(f"sides must be below {_MOST}")
    return result


def _multiple(side: Side) -> tuple[int, str] | None:
    """Factor and symbol of a side that is a symbol or a multiple of one, as inputs have them."""
    if isinstance(side, int) or len(side) > _LONGEST:
        return None
    match ast.parse(side, mode="eval").body:
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]):
            return 1, name
        case ast.Call(
            func=ast.Name(id="Mul"),
            args=[
                ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(factor))]),
                ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]),
            ],
        ) if factor > 0:
            return factor, name
    return None


def _written(shape: Sequence[Side]) -> str:
    return f"[{', '.join(map(_written_side, shape))}]"


def _written_side(side: Side) -> str:
    multiple = _multiple(side)
    if multiple is None:
        return str(side)
    factor, symbol = multiple
    return symbol if factor == 1 else f"{factor}*{symbol}"


def bound(
    program: Program, batch: int | None, shapes: Mapping[str, Sequence[int]] | None
) -> dict[str, int]:
    """Symbols with the values that make the inputs as wanted.

    Args:
        program: whose inputs may have open sides.
        batch: first side of all inputs; 1 where that is open and None is given.
        shapes: shapes of some inputs, by their names.

    Raises:
        ValueError: an input cannot have such a shape, or stays open.
    """
    tensors = program.graph.tensors
    inputs = {n: tensors[n].shape for n in program.graph.inputs if n in tensors}
    for name in shapes or {}:
        if name not in inputs:
            raise ValueError(f"shapes must name inputs ({', '.join(inputs)}); got {name!r}")
    symbols: dict[str, int] = {}
    for name, shape in inputs.items():
        wanted = _wanted(name, shape, batch, (shapes or {}).get(name))
        for side, value in zip(shape, wanted, strict=True):
            if (multiple := _multiple(side)) is not None:
                factor, symbol = multiple
                symbols.setdefault(symbol, value // factor)
        if _closed_or_none(shape, symbols) != tuple(wanted):
            raise ValueError(
                f"input {name!r} was exported as {_written(shape)} and cannot be {wanted}; "
                f"export it with that shape, or with an open side (dynamic_shapes)"
            )
    return symbols


def _wanted(
    name: str, shape: Sequence[Side], batch: int | None, given: Sequence[int] | None
) -> list[int]:
    """The shape of an input, where open sides have got their values."""
    if given is not None:
        if len(given) != len(shape) or min(given, default=1) < 1:
            raise ValueError(
                f"input {name!r} must get {len(shape)} positive sides, as {_written(shape)}; "
                f"got {list(given)}"
            )
        return list(given)
    wanted = list(shape)
    if wanted and (batch is not None or isinstance(wanted[0], str)):
        wanted[0] = batch or 1
    fixed = [s for s in wanted if isinstance(s, int)]
    if len(fixed) != len(wanted):
        raise ValueError(
            f"input {name!r} has open sides besides the batch: {_written(shape)}; "
            f"give its shape (--shape {name}={_example(wanted)}) or export it with a fixed one"
        )
    return fixed


def _example(sides: Sequence[Side]) -> str:
    return "x".join(str(s) if isinstance(s, int) else "224" for s in sides)


def _closed_or_none(shape: Sequence[Side], symbols: Mapping[str, int]) -> TensorShape | None:
    try:
        return closed(shape, symbols)
    except ValueError:
        return None


def closed(shape: Sequence[Side], symbols: Mapping[str, int]) -> TensorShape:
    """A shape with the values of its symbols.

    Raises:
        ValueError: a side cannot be computed.
    """
    return tuple(s if isinstance(s, int) else evaluate(s, symbols) for s in shape)
