from __future__ import annotations

import math

import numpy as np
import pytest

from latcast.math.metrics import metrics


def test_closed_form() -> None:
    m = metrics(np.array([10.0, 20.0, 40.0]), np.array([10.4, 18.2, 80.0]))
    assert m["mae_ms"] == pytest.approx((0.4 + 1.8 + 40) / 3)
    assert m["rmse_ms"] == pytest.approx(math.sqrt((0.16 + 3.24 + 1600) / 3))
    assert m["mape"] == pytest.approx((4 + 9 + 100) / 3)
    assert m["within_5"] == pytest.approx(100 / 3)
    assert m["within_10"] == pytest.approx(200 / 3)
    assert m["spearman"] == m["kendall"] == pytest.approx(1.0)


def test_mae_is_not_rmse() -> None:
    m = metrics(np.array([1.0, 1.0]), np.array([1.0, 3.0]))
    assert (m["mae_ms"], m["rmse_ms"]) == (1.0, pytest.approx(math.sqrt(2)))
    assert math.isnan(m["spearman"])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="as many predictions as true values"):
        metrics(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="at least one"):
        metrics(np.ones(0), np.ones(0))
