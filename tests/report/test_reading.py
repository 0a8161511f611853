"""Records from their JSON: every schema comes back as it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from latcast.report.reading import ADDED_KEYS, HOMES, _fields_of
from latcast.report.record import RECORDS, Failure, _dataclasses, read_record, record_class
from tests.makers.records import example
from tests.report.test_every_record import OWN

# Schema and version -> keys that each record of it has had from the first one on.
FIRST_KEYS = Path(__file__).parent / "first_keys.json"


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


@pytest.mark.parametrize(
    "schema", ["adaptation", "evaluation", "inspection", "network-forecast", "training"]
)
def test_a_record_of_before_a_key_was_added_is_read(schema: str) -> None:
    record = example(record_class(schema), full=True, own=OWN)
    earlier = without_added(type(record), record.to_dict())
    assert earlier != record.to_dict()
    again = read_record(earlier)
    assert again.to_html()
    assert again.to_text()
    assert again._repr_html_()


@pytest.mark.parametrize("schema", HOMES)
def test_keys_that_are_added_are_told_to_readers(schema: str) -> None:
    """A key that is needed has been there from the first record of its schema's version on.

    A key that is added needs a default, or a line in ``ADDED_KEYS``; one that is renamed, dropped
    or changes its meaning counts the version up, and a line in the file begins.
    """
    cls = record_class(schema)
    known = json.loads(FIRST_KEYS.read_text()).get(f"{schema} {cls.version}", [])
    assert sorted(set(needed(cls)) - set(known)) == []


def needed(cls: type[Any], before: str = "") -> Iterator[str]:
    """Keys without which a record is not read, those of rows inside of it included."""
    for _, key, hint, is_optional in _fields_of(cls):
        if not is_optional and key not in ADDED_KEYS.get(cls.__name__, {}):
            yield before + key
        for inner in _dataclasses(hint):
            yield from needed(inner, f"{before}{key}.")


def without_added(cls: type[Any], data: Any) -> Any:
    """The JSON of a class as it was before any key was added."""
    if isinstance(data, list):
        return [without_added(cls, each) for each in data]
    if not isinstance(data, Mapping):
        return data
    found = {k: v for k, v in data.items() if k not in ADDED_KEYS.get(cls.__name__, {})}
    for _, key, hint, _ in _fields_of(cls):
        for inner in _dataclasses(hint):
            if key in found:
                found[key] = without_added(inner, found[key])
    return found
