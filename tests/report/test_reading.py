"""Records from their JSON: every schema comes back as it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from latcast.devices import Device, devices
from latcast.report.reading import HOMES
from latcast.report.record import RECORDS, Failure, read_record, record_class


def example(hint: Any, *, full: bool) -> Any:
    """A value of a type; without ``full`` the least that it may be."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        some = [a for a in arguments if a is not NoneType]
        return example(some[-1 if full else 0], full=full) if full or len(some) == 2 else None
    if is_dataclass(hint):
        assert isinstance(hint, type)
        if hint is Device:  # which checks its figures
            return devices()["raspberry-pi-4"]
        hints = get_type_hints(hint)
        return hint(**{f.name: example(hints[f.name], full=full) for f in fields(hint) if f.init})
    kind = origin or hint
    if kind is Any:
        return {"d": [1, "two"], "e": None}
    if issubclass(kind, Mapping):
        key, inner = arguments or (str, int)
        return {example(key, full=full): example(inner, full=full)} if full else {}
    if kind is tuple and arguments[-1] is not Ellipsis:
        return tuple(example(a, full=full) for a in arguments)
    if issubclass(kind, Sequence) and kind is not str:
        found = [example(arguments[0], full=full)] * 2 if full else []
        return found if kind is list else tuple(found)
    return {str: "text", int: 3, float: 1.5 if full else float("nan"), bool: full}[kind]


def test_every_schema_has_a_home() -> None:
    for schema in HOMES:
        assert record_class(schema).schema == schema
    ours = {s for s, c in RECORDS.items() if c.__module__.startswith("latcast.")}
    assert ours == HOMES.keys()


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("schema", HOMES)
def test_a_record_is_the_same_from_its_json(schema: str, full: bool) -> None:
    record = example(record_class(schema), full=full)
    data = record.to_dict()
    again = read_record(data)
    assert type(again) is type(record)
    assert again.to_dict() == data
    if full:  # NaN equals nothing
        assert again == record


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "a record must have a schema such as latcast/search"),
        ({"schema": "latcast/serch"}, "did you mean 'search'"),
        ({"schema": "latcast/error", "version": 9}, "version 1 or earlier; got 9"),
        ({"schema": "latcast/error", "version": 1, "error": "x"}, "exit_code is missing"),
        (
            {"schema": "latcast/devices", "version": 1, "devices": [{"name": "a"}]},
            r"devices\[0\].title is missing in the JSON of a Device",
        ),
        ({"schema": "latcast/devices", "version": 1, "devices": {}}, "devices must be a list"),
    ],
)
def test_what_is_no_record_is_told(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_record(data)


def test_a_later_key_is_left_out_and_another_schema_is_refused() -> None:
    data = Failure("must be", 2).to_dict()
    assert read_record(data | {"later": 1}) == Failure("must be", 2)
    with pytest.raises(ValueError, match="the schema must be latcast/error"):
        Failure.from_dict(data | {"schema": "latcast/search"})
