from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from latcast.data import Dataset, paper_split, read
from latcast.models import MLP

nightly = pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "nightly", reason="trains for 50 s: `make nightly`"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "error_ms"), [(6, 2.888), pytest.param(100, 0.3525, marks=nightly, id="published")]
)
def test_paper_recipe_reproduces_the_published_error(
    epochs: int, error_ms: float, shared: Path
) -> None:
    """The first epochs of the run that ends where the paper's did."""
    pytest.importorskip("torch")
    data = read(shared / "ofanas" / "datasets" / "note10_lookuptable_ofa.csv")
    train, calibration, test = paper_split(data)
    recipe = MLP("paper", epochs=epochs, learning_rate=1e-4, weight_decay=0.01)
    p = recipe.fit(train, calibration=calibration)
    error = np.abs(p.predict(test.archs) - test.latency_ms).mean()
    assert error == pytest.approx(error_ms, rel=0.2)


def test_paper_recipe_is_the_published_network(synthetic: Dataset) -> None:
    pytest.importorskip("torch")
    p = MLP("paper", epochs=1).fit(synthetic[:100])
    shapes = [w.shape for w, _ in p._layers]
    assert shapes == [(128, 400), (400, 400), (400, 400), (400, 1)]
    assert p.options()["learning_rate"] == 0.01


def test_missing_torch_names_the_line_to_type(
    synthetic: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    p = MLP()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'latcast\[torch\]'"):
        p.fit(synthetic[:50])
    with pytest.raises(RuntimeError, match="must be fitted first"):  # a failed fit is no fit
        p.predict(synthetic.archs)
