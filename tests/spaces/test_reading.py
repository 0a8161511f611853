"""Architectures of JSON files: read an item at a time, as json.loads reads the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.spaces import reading, space

SPACE = space("ofa-mobilenet-v3")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(items=st.lists(VALUES, min_size=1), indent=st.none() | st.integers(0, 3), cut=st.data())
def test_a_list_is_read_as_a_whole_is(
    items: list[object], indent: int | None, cut: st.DataObject, tmp_path_factory
) -> None:
    file = tmp_path_factory.mktemp("json") / "x.json"
    text = f" {json.dumps(items, indent=indent)}\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_BLOCK", cut.draw(st.integers(1, 40)))
        file.write_text(text, encoding="utf-8")
        assert list(reading.read_architectures(file)) == items
        # One that is damaged is damaged for both.
        at = cut.draw(st.integers(0, len(text) - 1))
        damaged = text[:at] + text[at + 1 :]
        file.write_text(damaged, encoding="utf-8")
        try:
            whole = json.loads(damaged)
        except ValueError:
            with pytest.raises(ValueError, match="must hold an architecture as JSON"):
                list(reading.read_architectures(file))
        else:
            if whole != []:
                found = list(reading.read_architectures(file))
                assert found == (whole if isinstance(whole, list) else [whole])


@pytest.mark.parametrize("block", range(1, 20))
def test_numbers_that_are_cut_anywhere(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BLOCK", block)
    file = tmp_path / "x.json"
    file.write_text("[0.5, -1.25e-7, 3E+2, 12]")
    assert list(reading.read_architectures(file)) == [0.5, -1.25e-7, 300, 12]


def test_architectures_of_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_ITEMS", 7)
    archs = SPACE.sample(23, 0)
    file = tmp_path / "x.json"
    file.write_text(json.dumps(archs.to_dicts()))
    assert reading.read_archs(file, SPACE) == archs
    file.write_text(json.dumps([*archs.to_dicts(), {"ks": 3}]))
    with pytest.raises(ValueError, match=r"of the items from 21 on: .*read as ofa-mobilenet-v3"):
        reading.read_archs(file, SPACE)
