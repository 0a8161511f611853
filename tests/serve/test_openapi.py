"""The service is as its OpenAPI says, by a client that is made of that alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")

pytestmark = [pytest.mark.slow, pytest.mark.worker]

# A job of any options takes a process of its own, whatever it is of.
_LEFT_OUT = {"POST /v1/jobs"}


def test_generated_requests(service: Any) -> None:
    from schemathesis.specs.openapi import checks as of

    checks = [
        schemathesis.checks.not_a_server_error,
        of.response_schema_conformance,
        of.status_code_conformance,
        of.content_type_conformance,
    ]
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    schema.validate()
    tested = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.label in _LEFT_OUT:
            continue
        tested.add(operation.label)

        @given(case=operation.as_strategy())
        @settings(
            max_examples=4, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def test(case: Any) -> None:
            case.call_and_validate(checks=checks)

        test()
    assert {"POST /v1/forecast", "POST /v1/networks", "GET /v1/jobs/{id}"} <= tested
    assert len(tested) == 18
