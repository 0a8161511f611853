"""Sides of shapes that are expressions of symbols, such as ``2*N`` or ``past + 1``.

A file's expressions are never evaluated as Python: they are parsed, and only arithmetic on whole
numbers is computed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

from latcast._limits import MAX_EXPRESSION_CHARACTERS, MAX_EXPRESSION_SIDE

# Side of a shape in a file: a number, a symbol or an expression, or None for an open one.
Side = int | str | None
NO_SYMBOLS: frozenset[str] = frozenset()

_OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Div: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {"floor": int, "ceil": int, "max": max, "min": min}


def is_expression(text: str, symbols: Collection[str]) -> bool:
    """Whether a side is computed: it has a number in it, or is made of known symbols alone.

    ``batch-size`` is a name, unless there are sides ``batch`` and ``size``.
    """
    parsed = _parsed(text)
    if parsed is None or isinstance(parsed, ast.Name):
        return False
    return _has_number(parsed) or _names(parsed) <= set(symbols)


def symbols_of(side: Side) -> set[str]:
    """The symbols of a side: of a name that is no expression itself."""
    if not isinstance(side, str):
        return set()
    parsed = _parsed(side)
    return {side} if parsed is None else _names(parsed)


def value_of(side: Side, symbols: Mapping[str, int]) -> int | None:
    """The number that a side is with these symbols; None where one of them is not known."""
    if not isinstance(side, str):
        return side
    if side in symbols:
        return symbols[side]
    parsed = _parsed(side)
    if parsed is None or not _names(parsed) <= symbols.keys():
        return None
    try:
        return _computed(parsed, symbols)
    except (ArithmeticError, ValueError, TypeError):
        return None


def solved(side: str, value: int, symbols: Mapping[str, int]) -> dict[str, int]:
    """The one symbol of a linear expression that is not known yet, so that it has a value.

    Empty where there is none, there are several, or no positive whole number does it.
    """
    parsed = _parsed(side)
    if parsed is None:
        return {}
    unknown = _names(parsed) - symbols.keys()
    if len(unknown) != 1:
        return {}
    (name,) = unknown
    tried = [value_of(side, {**symbols, name: n}) for n in (64, 128)]
    if None in tried or tried[0] == tried[1]:
        return {}
    # A line through two points; whether it is one is seen from what it gives.
    low, high = (v for v in tried if v is not None)
    found = 64 + (value - low) * 64 // (high - low)
    fits = found > 0 and value_of(side, {**symbols, name: found}) == value
    return {name: found} if fits else {}


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr | None:
    """An expression of arithmetic; None of what is none."""
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        return None
    try:
        parsed = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return parsed if all(map(_is_arithmetic, ast.walk(parsed))) else None


def _is_arithmetic(node: ast.AST) -> bool:
    match node:
        case ast.Name() | ast.Load() | ast.BinOp() | ast.UnaryOp() | ast.USub():
            return True
        case ast.Constant(value=value):
            return type(value) is int
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name.lower() in _FUNCTIONS
        case _:
            return type(node) in _OPERATIONS


def _has_number(parsed: ast.expr) -> bool:
    return any(isinstance(node, ast.Constant) for node in ast.walk(parsed))


def _names(parsed: ast.expr) -> set[str]:
    functions = {id(node.func) for node in ast.walk(parsed) if isinstance(node, ast.Call)}
    return {
        node.id
        for node in ast.walk(parsed)
        if isinstance(node, ast.Name) and id(node) not in functions
    }


def _computed(node: ast.expr, symbols: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(value)):
            result = value
        case ast.Name(id=name):
            result = symbols[name]
        case ast.UnaryOp(operand=operand):
            result = -_computed(operand, symbols)
        case ast.BinOp(left=left, op=op, right=right):
            result = _OPERATIONS[type(op)](_computed(left, symbols), _computed(right, symbols))
        case ast.Call(func=ast.Name(id=name), args=terms):
            result = _FUNCTIONS[name.lower()](*(_computed(t, symbols) for t in terms))
        case _:
            raise ValueError("no arithmetic")
    if abs(result) > MAX_EXPRESSION_SIDE:
        raise ValueError(f"sides must be below {MAX_EXPRESSION_SIDE}")
    return result
