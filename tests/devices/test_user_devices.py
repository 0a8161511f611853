"""Devices of the user's own."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.devices import (
    KINDS,
    RANGES,
    VARIABLE,
    Device,
    catalogue_text,
    device,
    device_files,
    devices,
    figure_range,
    load_devices,
    parse_catalogue,
)

BOARD = Device("my-board", "Board", "cpu", 4, 2, 6.4, "its manual", year=2020)
OTHER = Device("my.other", "Other", "gpu", 128, 4, 25.6, "its manual")
DOCS = Path(__file__).parents[2] / "docs" / "devices.md"


def write(path: Path, *found: Device) -> Path:
    path.write_text(catalogue_text(found), encoding="utf-8")
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", BOARD, OTHER)
    assert load_devices(path) == {"my-board": BOARD, "my.other": OTHER}
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as Notepad saves it
    assert set(load_devices(str(path))) == {"my-board", "my.other"}
    assert "my-board" not in devices()


def test_the_variable_names_several_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = Device("tesla-p40", "Mine", "gpu", 1, 1, 2, "s")
    shipped = devices()
    first = write(tmp_path / "a b.toml", BOARD, OTHER)
    second = write(tmp_path / "b.toml", Device("my-board", "New", "cpu", 4, 2, 6.4, "s"), mine)
    monkeypatch.setenv(VARIABLE, os.pathsep.join(["", str(first), str(second)]))
    known = devices()
    assert set(known) == {*shipped, "my-board", "my.other"}
    assert (known["my-board"].title, device("tesla-p40")) == ("New", mine)
    assert list(known)[: len(shipped)] == list(shipped)
    monkeypatch.setenv(VARIABLE, "")
    assert devices() == shipped


def test_files_within_a_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", BOARD)
    monkeypatch.setenv(VARIABLE, str(write(tmp_path / "b.toml", OTHER)))
    with device_files([path]):
        assert device("my-board") == BOARD
        assert "my.other" not in devices()
        with device_files([]):
            assert "my-board" not in devices()
        assert "my-board" in devices()
    assert "my-board" not in devices()
    assert device("my.other") == OTHER


def test_what_is_changed_by_a_caller_stays_with_it() -> None:
    devices().clear()
    assert "tesla-p40" in devices()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[x", "must be TOML"),
        (b"[x]\ntitle = 'T'", "device 'x' must have kind"),
        (b"\xff", "can't decode"),
        (
            catalogue_text([OTHER]).replace("25.6", "25600").encode(),
            "my.other: bandwidth_gb_s must",
        ),
    ],
)
def test_errors_name_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: bytes, message: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text)
    expected = f"{re.escape(str(path))}: .*{re.escape(message)}"
    with pytest.raises(ValueError, match=expected):
        load_devices(path)
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(ValueError, match=expected):
        device("tesla-p40")


def test_files_that_are_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*absent\.toml"):
        load_devices(tmp_path / "absent.toml")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent.toml"))
    with pytest.raises(FileNotFoundError, match=r"LATCAST_DEVICES .*absent\.toml: correct it, or"):
        devices()


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", DOCS.read_text("utf-8"), re.M | re.S)
    path = tmp_path / "boards.toml"
    path.write_text(text, encoding="utf-8")
    (found,) = load_devices(path).values()
    assert found.peak_fp32_flops is not None


# -- written and read again ----------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
REQUIRED = ("cores", "memory_gb", "bandwidth_gb_s")


@st.composite
def any_device(draw: st.DrawFn) -> Device:
    name = draw(st.from_regex(r"[a-z0-9][a-z0-9.+-]{0,12}", fullmatch=True))
    kind = draw(st.sampled_from(KINDS))
    figures: dict[str, Any] = {}
    for figure in RANGES:
        limits = figure_range(kind, figure)
        whole = st.integers(math.ceil(limits.least), math.floor(limits.most))
        value = whole if figure in {"cores", "year"} else whole | st.floats(
            limits.least, limits.most)  # fmt: skip
        figures[figure] = draw(value if figure in REQUIRED else st.none() | value)
    # In proportion: the memory is read in a second, and a core of a CPU has its share.
    limits = figure_range(kind, "memory_gb")
    most = min(limits.most, 300 * figures["cores"] if kind in ("cpu", "phone") else math.inf)
    figures["bandwidth_gb_s"] = min(figures["bandwidth_gb_s"], most)
    figures["memory_gb"] = min(max(figures["bandwidth_gb_s"], limits.least), limits.most)
    features = tuple(draw(st.lists(TEXTS, max_size=3)))
    return Device(name, draw(TEXTS), kind, source=draw(TEXTS), features=features, **figures)


@pytest.mark.slow
@given(st.lists(any_device(), max_size=3, unique_by=lambda d: d.name))
def test_catalogue_text_round_trip(found: list[Device]) -> None:
    assert list(parse_catalogue(catalogue_text(found)).values()) == found


def test_the_catalogue_survives_being_written() -> None:
    assert parse_catalogue(catalogue_text(devices().values())) == devices()
