"""The contract of a quantity: it is known by its name, and datasets of it can be kept in files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latcast.data import LATENCY_MS, Dataset, Quantity, quantity, read
from latcast.devices import Target
from latcast.spaces import space

SPACE = "nasbench201"


def check_quantity(made: Quantity, folder: str | Path) -> None:
    """Put a quantity through the contract.

    Args:
        made: a quantity that is registered, or that an installed package declares.
        folder: an empty folder to write files to.

    Raises:
        AssertionError: it does not keep the contract.
    """
    assert quantity(made.name) == made, f"{made.name} must be registered"
    _check_bounds(made)
    data = _dataset(made)
    _check_parquet(data, Path(folder) / "data.parquet")
    _check_csv(data, Path(folder) / "data.csv")
    if made != LATENCY_MS:
        other = Dataset(data.networks, data.values, Target("a", "b"))
        for refused in (lambda: data.latency_ms, lambda: data.concatenate(other)):
            assert refuses(refused), f"{made.name} must not be taken for a latency"


def _check_bounds(made: Quantity) -> None:
    possible = made.is_possible([made.min_value, made.max_value])
    assert possible.all(), f"the bounds of {made.name} must be possible values"
    outside = [math.nan, math.inf, -math.inf, np.nextafter(made.min_value, -math.inf)]
    assert not made.is_possible(outside).any(), f"{made.name} must refuse what is out of bounds"
    text = made.text(made.min_value)
    assert text.endswith(made.unit), f"{made.name} must be shown with its unit; got {text!r}"


def _dataset(made: Quantity) -> Dataset:
    lower, upper = max(made.min_value, -1e6), min(made.max_value, 1e6)
    values = np.linspace(lower, upper, 12)
    return Dataset(
        space(SPACE).sample(12, seed=0),
        values,
        Target("a", "b") if made.of_target else None,  # type: ignore[arg-type]
        made,
        reference=values[::-1],
        samples=tuple(values[: k % 3] for k in range(12)),
        uncorrected=values,
        standard_error=np.full(12, 0.01),
    )


def _check_parquet(data: Dataset, path: Path) -> None:
    data.save(path)
    loaded = read(path, quantity=data.quantity.name)
    assert (loaded.networks, loaded.target) == (data.networks, data.target)
    for name in ("values", "order", "reference", "uncorrected", "standard_error"):
        assert np.array_equal(getattr(loaded, name), getattr(data, name)), f"{name} must be kept"
    assert loaded.samples is not None
    assert data.samples is not None
    assert all(map(np.array_equal, loaded.samples, data.samples)), "samples must be kept"


def _check_csv(data: Dataset, path: Path) -> None:
    """Values in a column that is called as the quantity are read."""
    genes = data.archs.genes.T.tolist()
    columns = dict(zip((g.name for g in data.archs.space.genes), genes, strict=True))
    columns[data.quantity.name] = data.values.tolist()
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = read(path, space=SPACE, target=data.target, quantity=data.quantity)
    assert np.allclose(found.values, data.values, rtol=1e-12, atol=0)
    assert (found.archs, found.target, found.quantity) == (data.archs, data.target, data.quantity)


def refuses(call: Callable[[], object], error: type[Exception] = ValueError) -> bool:
    """Whether a call raises an error of a kind."""
    try:
        call()
    except error:
        return True
    return False
