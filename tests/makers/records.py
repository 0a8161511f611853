"""Records made of their fields' types, so that every record is tested as it is declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from latcast.devices import Device, devices


def example(hint: Any, *, full: bool, name: str = "", own: Mapping[str, Any] | None = None) -> Any:
    """A value of a type; without ``full`` the least that it may be.

    Args:
        hint: the type.
        full: whether it has all that it may have.
        name: of the field that holds it.
        own: values of fields by their names, in the place of those that are made.
    """
    if own and name in own:
        return own[name]
    origin, arguments = get_origin(hint), get_args(hint)

    def inner(of: Any) -> Any:
        return example(of, full=full, own=own)

    if origin in (Union, UnionType):
        some = [a for a in arguments if a is not NoneType]
        return inner(some[-1 if full else 0]) if full or len(some) == 2 else None
    if is_dataclass(hint):
        assert isinstance(hint, type)
        if hint is Device:  # which checks its figures
            return devices()["raspberry-pi-4"]
        hints = get_type_hints(hint)
        return hint(
            **{
                f.name: example(hints[f.name], full=full, name=f.name, own=own)
                for f in fields(hint)
                if f.init
            }
        )
    kind = origin or hint
    if kind is Any:
        return {"d": [1, "two"], "e": None}
    if issubclass(kind, Mapping):
        key, value = arguments or (str, int)
        return {inner(key): inner(value)} if full else {}
    if kind is tuple and arguments[-1] is not Ellipsis:
        return tuple(map(inner, arguments))
    if issubclass(kind, Sequence) and kind is not str:
        found = [inner(arguments[0])] * 2 if full else []
        return found if kind is list else tuple(found)
    return {str: "text", int: 3, float: 1.5 if full else float("nan"), bool: full}[kind]
