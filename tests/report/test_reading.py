"""Records from their JSON: every schema comes back as it was written."""

from __future__ import annotations

from typing import Any

import pytest

from latcast.report.reading import HOMES
from latcast.report.record import RECORDS, Failure, read_record, record_class
from tests.makers.records import example


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
