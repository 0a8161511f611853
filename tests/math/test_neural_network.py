"""A small neural network: steps that it learns, unknown values that it ignores, slopes."""

import numpy as np

from latcast.math.neural_network import outputs, trained


def _rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    x = rng.uniform(-2, 2, (count, 3)).astype(np.float32)
    first = np.where(x[:, 0] > 0, 0.5, -0.5) * x[:, 1]
    return x, np.stack([first, first + 0.3 * x[:, 2] ** 2], axis=1).astype(np.float32)


def test_steps_and_products_are_learnt_with_gaps_and_outliers() -> None:
    x, wanted = _rows(1500)
    rng = np.random.default_rng(0)
    told = np.where(rng.random(wanted.shape) < 0.2, np.nan, wanted).astype(np.float32)
    told[::50] += 5
    layers = trained(x, told, hidden=32, passes=60, rows=64)
    new, truth = _rows(400)
    assert np.median(np.abs(outputs(layers, new)[-1] - truth)) < 0.05
    again = trained(x, told, hidden=32, passes=60, rows=64)
    for a, b in zip(layers, again, strict=True):
        np.testing.assert_array_equal(a, b)
    other = trained(x, told, hidden=32, passes=60, rows=64, seed=1)
    assert not np.array_equal(layers[0], other[0])


def test_one_output_is_enough_and_sums_of_zero_have_slopes() -> None:
    x = np.zeros((64, 2), dtype=np.float32)
    layers = trained(x, np.ones((64, 1), dtype=np.float32), hidden=4, passes=200, rows=16)
    assert all(np.isfinite(layer).all() for layer in layers)
    np.testing.assert_allclose(outputs(layers, x)[-1], 1, atol=0.02)
