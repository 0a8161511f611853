"""Quantities: ours and a user's keep the contract; what is no quantity is refused."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from latcast import _registry
from latcast.data import LATENCY_MS, Quantity, quantity, quantity_names, register_quantity
from latcast.data import _quantity as module
from latcast.testing import check_quantity

CARBON = Quantity("carbon_mg", "carbon", "mg")
FRAMES = Quantity("frames_s", "frames per second", "1/s", less_is_better=False)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of the test's own."""
    known = {name: quantity(name) for name in quantity_names()}
    fresh = _registry.Registry("quantity", "latcast.quantities", Quantity, known)
    for user in ("_quantity", "_dataset", "_formats"):
        monkeypatch.setattr(f"latcast.data.{user}.QUANTITIES", fresh)


@pytest.mark.parametrize("name", quantity_names())
def test_ours_keep_the_contract(name: str, tmp_path: Path) -> None:
    check_quantity(quantity(name), tmp_path)


@pytest.mark.parametrize("made", [CARBON, FRAMES], ids=lambda q: q.name)
def test_a_user_s_keeps_the_contract(made: Quantity, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no quantity is called '{made.name}'"):
        quantity(made.name)
    assert register_quantity(made) is made
    assert made.name in quantity_names()
    check_quantity(made, tmp_path)


def test_an_installed_package_declares_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class EntryPoint:
        name = "carbon_mg"

        @staticmethod
        def load() -> Quantity:
            return CARBON

    def entry_points(group: str) -> list[Any]:
        return [EntryPoint()] if group == "latcast.quantities" else []

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    assert quantity_names()[-1] == "carbon_mg"
    check_quantity(CARBON, tmp_path)


def test_what_is_no_quantity() -> None:
    with pytest.raises(ValueError, match="must have a name of its own; 'latency_ms' is latcast's"):
        register_quantity(Quantity("latency_ms", "latency", "s"))
    with pytest.raises(TypeError, match="must be a Quantity; got str"):
        module.QUANTITIES.register("carbon_mg", "carbon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"small letters, digits and _.*got 'Carbon mg'"):
        Quantity("Carbon mg", "carbon", "mg")
    with pytest.raises(ValueError, match="must be below its largest; got 2 and 1"):
        Quantity("carbon_mg", "carbon", "mg", min_value=2, max_value=1)


def test_a_value_as_text() -> None:
    assert LATENCY_MS.text(12.3456) == "12.35 ms"
    assert quantity("accuracy").text(0.761) == "0.761 fraction"
