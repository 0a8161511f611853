"""Weighted ridge regression with a penalty per column, solved in the cheaper of two ways."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve

Floats = npt.NDArray[np.float64]


class Ridge:
    """min over (intercept, c): sum_i w_i (y_i - intercept - x_i c)^2 + sum_j penalty_j c_j^2.

    One problem, many penalties: what does not depend on them is computed once.

    Args:
        x: features, shape (n, p).
        y: shape (n,).
        weights: shape (n,), at least 0, not all 0.
    """

    def __init__(self, x: Floats, y: Floats, weights: Floats) -> None:
        total = weights.sum()
        self._x_mean = weights @ x / total
        self._y_mean = float(weights @ y / total)
        root = np.sqrt(weights)
        self._x = (x - self._x_mean) * root[:, None]
        self._y = (y - self._y_mean) * root

    @cached_property
    def _gram(self) -> Floats:
        gram: Floats = self._x.T @ self._x
        return gram

    def solve(self, penalty: Floats) -> tuple[Floats, float]:
        """Coefficients (p,) and intercept for penalties (p,); infinity leaves a column out.

        Raises:
            numpy.linalg.LinAlgError: the problem is singular (raise the penalties).
        """
        keep = np.isfinite(penalty)
        n, p = len(self._y), int(keep.sum())
        coefficients = np.zeros(len(penalty))
        if p > n:
            coefficients[keep] = self._dual(keep, penalty[keep])
        elif p:
            gram = self._gram[np.ix_(keep, keep)] + np.diag(penalty[keep])
            right = self._x[:, keep].T @ self._y
            coefficients[keep] = _cho_solve(gram, right)
        return coefficients, self._y_mean - float(self._x_mean @ coefficients)

    def _dual(self, keep: npt.NDArray[np.bool_], penalty: Floats) -> Floats:
        """The same solution through an n x n system: D X' (X D X' + 1)^-1 y, D = 1 / penalty."""
        x = self._x[:, keep]
        scaled = x / penalty
        kernel = scaled @ x.T
        kernel[np.diag_indices_from(kernel)] += 1.0
        result: Floats = scaled.T @ _cho_solve(kernel, self._y)
        return result


def _cho_solve(matrix: Floats, right: Floats) -> Floats:
    result: Floats = cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), right)
    if not np.isfinite(result).all():
        raise LinAlgError("the system is singular")
    return result
