"""latcast answers as it was recorded; what is meant to differ is listed in ``deliberate.py``."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import _access as access
import pytest
from cases import CASES
from compare import Change, differences
from deliberate import CHANGES
from inputs import SHARED, arithmetic
from record import ARITHMETIC, answer, read
from safetensors import safe_open
from safetensors.numpy import save

from latcast._checksums import UNSEALED, sealed

MOST_SHOWN = 12
records = cache(read)


def _parameter(name: str) -> Any:
    marks = [getattr(pytest.mark, mark) for mark in CASES[name].marks]
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [_parameter(n) for n in CASES])
def test_answers_are_as_recorded(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if case.needs is not None:
        pytest.importorskip(case.needs)
    if "data" in case.marks and not SHARED.is_dir():
        pytest.skip(f"needs the public data in {SHARED}")
    if case.fragile and arithmetic() != ARITHMETIC.read_text(encoding="utf-8"):
        pytest.skip("recorded where products of matrices are rounded otherwise")
    changes = [c for c in CHANGES if fnmatchcase(name, c.cases)]
    found = list(differences(records(case.file)[name], answer(name, tmp_path), changes,
                             case.relative))  # fmt: skip
    more = [f"… and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else []
    assert not found, "\n".join(["", *found[:MOST_SHOWN], *more])


@pytest.mark.parametrize(
    "name",
    [
        "tesla-p40.latcast",
        "epyc-genoa-2c-openvino-b1-t1.layers.latcast",
        "nasbench201.base.latcast",
    ],
)
def test_a_slightly_changed_coefficient_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with safe_open(access.shipped_path(name), framework="numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    largest = max((k for k in tensors if tensors[k].dtype == "float64"),
                  key=lambda k: tensors[k].size)  # fmt: skip
    metadata["latcast"] = re.sub("crc32:[0-9a-f]{8}", UNSEALED, metadata["latcast"])
    content = save({**tensors, largest: tensors[largest] * (1 + 1e-6)}, metadata)
    (tmp_path / name).write_bytes(sealed(content))
    monkeypatch.setattr(access, "shipped_path", lambda name: tmp_path / name)
    assert list(differences(records("zoo")[f"zoo-{name}"], answer(f"zoo-{name}", tmp_path)))


def test_every_record_has_its_case() -> None:
    kept = {name for file in {c.file for c in CASES.values()} for name in records(file)}
    assert kept == set(CASES)


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: f"{c.cases} {c.path}")
def test_changes_name_records_and_reasons(change: Change) -> None:
    assert any(fnmatchcase(name, change.cases) for name in CASES)
    assert change.because
    assert change.kind in {"added", "value"}


OLD = {"a": [1.0, {"ms": 2.0, "seconds": 3.0}], "b": "x"}


@pytest.mark.parametrize(
    ("actual", "changes", "n"),
    [
        ({"a": [1.0 + 5e-10, {"ms": 2.0, "seconds": 9.0}], "b": "x"}, [], 0),
        ({"a": [1.0 + 5e-9, {"ms": 2.0}], "b": "x"}, [], 1),
        ({"a": [1.0], "b": "x"}, [], 1),
        ({"a": [1.0, {"ms": float("nan")}], "b": "x"}, [], 1),
        ({"a": [1.0, {"latency": 2.0}], "b": "x"}, [], 2),
        ({"a": [1.0, {"ms": 2.0, "c": 1}], "b": "x"}, [Change("*", "a.1.c", "added", "why")], 0),
        ({"a": [1.0, {"ms": 2.0}, 3], "b": "y"},
         [Change("*", "a.2", "added", "why"), Change("*", "b", "value", "why")], 0),
        ({"a": [1.0, {"ms": 2.0}]}, [Change("*", "b", "value", "why")], 1),
    ],
)  # fmt: skip
def test_differences_are_found_and_changes_allowed(
    actual: Any, changes: list[Change], n: int
) -> None:
    assert len(list(differences(OLD, actual, changes))) == n
