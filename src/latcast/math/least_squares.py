"""Least squares: straight lines, ridge regression with a penalty per column, non-negative fits.

What few non-negative prices say may be averaged with another forecast (:func:`priced_beside`).

Bishop, *Pattern Recognition and Machine Learning* (2006), section 3.1.4; Lawson and Hanson,
*Solving Least Squares Problems* (1974), chapter 23.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy

Floats = npt.NDArray[np.float64]

# Keeps a column of zeros from dividing by zero.
_TINY = 1e-300
# Share of a Gram matrix's trace that keeps rounding from making the matrix indefinite.
_ROUNDING = 1e-15
# Values from which on prices are averaged with another forecast, and what these are off as a rule:
# a value whose own scatter is as large counts half. Three prices of ten of our 730 networks are off
# by .37 and .29 on the others (ONNX Runtime, OpenVINO; root mean square, errors of at most e).
MIN_PRICED, PRICES_OFF = 3, 0.3


def straight_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and intercept of y over x, arrays of shape (n,); the slope is 0 where x is constant."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread if spread else 0.0
    return slope, float(y.mean() - slope * x.mean())


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
        # Centred by the weights, the intercept is free of any penalty, and need not be solved for.
        self._x_mean = weights @ x / total
        self._y_mean = float(weights @ y / total)
        root = np.sqrt(weights)
        self._x = (x - self._x_mean) * root[:, None]
        self._y = (y - self._y_mean) * root

    @cached_property
    def _gram(self) -> Floats:
        gram: Floats = self._x.T @ self._x
        return gram

    @cached_property
    def _moments(self) -> Floats:
        moments: Floats = self._x.T @ self._y
        return moments

    def solve(self, penalty: Floats) -> tuple[Floats, float]:
        """Coefficients (p,) and intercept for penalties (p,); infinity leaves a column out.

        Raises:
            numpy.linalg.LinAlgError: the problem is singular (raise the penalties).
        """
        keep = np.isfinite(penalty)
        n, p = len(self._y), int(keep.sum())
        coefficients = np.zeros(len(penalty))
        # Rows of a block table are often more than the measurements: an n x n system is then the
        # cheaper one, by the cube.
        if p > n:
            coefficients[keep] = self._dual(keep, penalty[keep])
        elif p:
            gram = self._gram[np.ix_(keep, keep)] + np.diag(penalty[keep])
            coefficients[keep] = _cho_solve(gram, self._moments[keep])
        return coefficients, self._y_mean - float(self._x_mean @ coefficients)

    def _dual(self, keep: npt.NDArray[np.bool_], penalty: Floats) -> Floats:
        """The same solution through an n x n system: D X' (X D X' + 1)^-1 y, D = 1 / penalty."""
        x = self._x[:, keep]
        scaled = x / penalty
        kernel = scaled @ x.T
        kernel[np.diag_indices_from(kernel)] += 1.0
        result: Floats = scaled.T @ _cho_solve(kernel, self._y)
        return result


def sparse_ridge(
    x: scipy.sparse.csr_matrix, y: Floats, weights: Floats, penalty: float
) -> tuple[Floats, float]:
    """Coefficients (p,) and intercept of :class:`Ridge` with one penalty, for a sparse matrix.

    Args:
        x: shape (n, p); it is not centred, which would fill it.
        y: shape (n,).
        weights: shape (n,), at least 0; they are scaled to a mean of 1.
        penalty: of every coefficient, positive.
    """
    weights = weights / weights.mean()
    total = float(len(weights))
    weighted = x.multiply(weights[:, None]).tocsr()
    mean_y = float(weights @ y / total)
    mean_x = np.asarray(weighted.sum(axis=0)).ravel() / total
    # Centred after the product: centring the matrix itself would fill it.
    gram = (x.T @ weighted).toarray() - total * np.outer(mean_x, mean_x)
    gram[np.diag_indices_from(gram)] += penalty + _ROUNDING * np.trace(gram)
    values = _cho_solve(gram, weighted.T @ (y - mean_y))
    return values, mean_y - float(mean_x @ values)


def non_negative(
    x: Floats,
    y: Floats,
    weights: Floats | None = None,
    *,
    pull: float = 0.0,
    toward: Floats | float = 0.0,
) -> Floats:
    """Argmin over c >= 0: sum_i w_i (y_i - x_i c)^2 + pull * sum_j (c_j - toward_j)^2.

    Lawson and Hanson's active sets, on a triangular system with as many rows as columns.

    Args:
        x: shape (n, p), n at least p unless there is a pull.
        y: shape (n,).
        weights: of the rows, at least 0, shape (n,); 1 by default.
        pull: weight with which coefficients keep to ``toward``, at least 0.
        toward: shape (p,), or the same number for all.

    Returns:
        Coefficients, shape (p,).
    """
    from scipy.optimize import nnls  # half of what it takes to import a predictor

    if weights is not None:
        root = np.sqrt(weights)
        x, y = x * root[:, None], y * root
    if pull:
        r = scipy.linalg.cholesky(x.T @ x + pull * np.eye(x.shape[1]))
        right = scipy.linalg.solve_triangular(r, x.T @ y + pull * toward, trans=1)
        return np.asarray(nnls(r, right)[0])
    # Columns are scaled to 1: the algorithm's tolerances are absolute.
    scale = np.abs(x).max(axis=0) + _TINY
    q, r = np.linalg.qr(x / scale)
    return np.asarray(nnls(r, q.T @ y)[0] / scale)


def priced_beside(
    work: Floats, values: Floats, errors: Floats, scatter: Floats, power: float = 2.0
) -> tuple[Floats, float, Floats]:
    """Non-negative prices of least relative error, and their weight beside another forecast.

    Of two forecasts with independent errors, the inverse variances are the best weights (a power of
    2); these are told by values left out.

    Args:
        work: amounts that have prices, such as MACs, bytes and 1, shape (n, p).
        values: positive, shape (n,).
        errors: of the values' logarithms by the other forecast, each value left out, shape (n,).
        scatter: relative standard deviation that a value states beyond others', shape (n,).
        power: of the errors in the weights; more of what is better, where both err alike.

    Returns:
        Prices (p,), their weight from 0 to 1, and each value by the prices of the others (n,). All
        are 0 where there are fewer than :data:`MIN_PRICED` values.
    """
    n = len(values)
    if n < MIN_PRICED:
        return np.zeros(work.shape[1]), 0.0, np.zeros(n)
    relative = work / values[:, None]
    scale = np.maximum(relative.max(axis=0), _TINY)
    relative, ones, trust = relative / scale, np.ones(n), 1 / (1 + scatter**2 / PRICES_OFF**2)
    rest = [np.delete(np.arange(n), i) for i in range(n)]
    fits = np.array([non_negative(relative[r], ones[1:], trust[r]) for r in rest])
    left = np.einsum("ij,ij->i", relative, fits)
    # An error of more than e is as bad as one of e: one network must not decide alone.
    own, theirs = (
        float(np.minimum(np.abs(e), 1.0) @ trust) for e in (errors, np.log(np.maximum(left, 1e-9)))
    )
    weight = own**power / max(own**power + theirs**power, _TINY)
    return non_negative(relative, ones, trust) / scale, weight, left * values


def _cho_solve(matrix: Floats, right: Floats) -> Floats:
    factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True)
    result: Floats = scipy.linalg.cho_solve(factor, right)
    # LAPACK can factorize a matrix that is singular but for rounding, and give numbers beyond any
    # use.
    if not np.isfinite(result).all():
        raise np.linalg.LinAlgError("the system is singular")
    return result
