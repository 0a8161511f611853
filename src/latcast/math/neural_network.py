"""A small neural network in NumPy: two hidden layers of SiLU units, trained in seconds.

Hendrycks and Gimpel, *Gaussian Error Linear Units*, 2016, has the unit: x times its logistic.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Singles = npt.NDArray[np.float32]

# The highest rate of Adam, decay of weights, the error beyond which its size alone counts, and
# what errors of differences between two outputs count beside those of either.
RATE, DECAY, TOLERANCE, PAIRS_COUNT = 4e-3, 3e-4, 0.05, 1.5


def trained(
    inputs: Singles, wanted: Singles, *, hidden: int, passes: int, rows: int, seed: int = 0
) -> tuple[Singles, ...]:
    """Weights and constants, in turn, of a network with two hidden layers.

    Adam with decoupled decay of the weights (Loshchilov and Hutter, *Decoupled Weight Decay
    Regularization*, ICLR 2019) and one cycle of its rate (Smith and Topin, *Super-Convergence*,
    2018). Errors are pseudo-Huber, those of differences between two outputs of a row as well.

    Args:
        inputs: of n rows, standardized, shape (n, f).
        wanted: outputs of each, shape (n, p); NaN where unknown.
        hidden: units in either hidden layer.
        passes: over the rows.
        rows: of a step.
        seed: of the weights and of the order of rows.
    """
    rng, outs = np.random.default_rng(seed), wanted.shape[1]
    known = np.isfinite(wanted).astype(np.float32)
    wanted = np.nan_to_num(wanted)
    shapes = ((inputs.shape[1], hidden), (hidden, hidden), (hidden, outs))
    sizes = [s for fan, out in shapes for s in ((fan, out), (out,))]
    ends = np.cumsum([int(np.prod(s)) for s in sizes])
    # One vector of all numbers, of which the layers are views: a step of Adam is a few products.
    values, gradient, first, second = (np.zeros(ends[-1], dtype=np.float32) for _ in range(4))
    layers, slopes = (
        tuple(x.reshape(s) for x, s in zip(np.split(of, ends[:-1]), sizes, strict=True))
        for of in (values, gradient)
    )
    for n, (fan, _) in enumerate(shapes):
        layers[2 * n][:] = rng.uniform(-1, 1, shapes[n]) / np.sqrt(fan)
    steps = passes * -(-len(inputs) // rows)
    for step, drawn in enumerate(_in_turn(len(inputs), rows, passes, rng), 1):
        some, weight = inputs[drawn], known[drawn]
        found = outputs(layers, some)
        back = _slopes(found[-1] - wanted[drawn], weight)
        for n in (2, 1, 0):
            before = some if n == 0 else found[2 * n - 1]
            slopes[2 * n][:], slopes[2 * n + 1][:] = before.T @ back, back.sum(axis=0)
            if n:
                sums = found[2 * n - 2]
                odds = before / np.where(sums == 0, 1, sums) + 0.5 * (sums == 0)
                back = (back @ layers[2 * n].T) * (odds + before * (1 - odds))
        rate, memory = _cycle(step / steps)
        first += (1 - memory) * (gradient - first)
        second += 1e-3 * (gradient**2 - second)
        values *= 1 - RATE * rate * DECAY
        scale = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        values -= RATE * rate / (1 - memory**step) * first / scale
    return layers


def outputs(layers: tuple[Singles, ...], inputs: Singles) -> list[Singles]:
    """Sums and values of hidden units in turn, and the outputs at last, each (n, units)."""
    found: list[Singles] = []
    for n in range(0, len(layers) - 2, 2):
        inputs = inputs @ layers[n] + layers[n + 1]
        found += [inputs, inputs / (1 + np.exp(-inputs))]
        inputs = found[-1]
    return [*found, inputs @ layers[-2] + layers[-1]]


def _in_turn(
    count: int, rows: int, passes: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.intp]]:
    """Rows of every step."""
    for _ in range(passes):
        order = rng.permutation(count)
        for start in range(0, count, rows):
            yield order[start : start + rows]


def _cycle(share: float) -> tuple[float, float]:
    """Share of the highest rate, and of the gradient's mean that is kept, by the share of steps."""
    up = share / 0.3
    part = (1 - np.cos(np.pi * up)) / 2 if up < 1 else (1 + np.cos(np.pi * (up - 1) * 3 / 7)) / 2
    return float(max(part, 0.04 if up < 1 else 0.0)), float(0.95 - 0.1 * part)


def _slopes(error: Singles, weight: Singles) -> Singles:
    """Return the slopes of the loss by errors, and by their differences in a row, (n, p).

    It is quadratic near 0 and linear beyond :data:`TOLERANCE` (pseudo-Huber).
    """

    def slope(of: Singles) -> Singles:
        return np.asarray(TOLERANCE * of / np.sqrt(TOLERANCE**2 + of * of))

    found = slope(error) * weight
    for a in range(error.shape[1]):
        for b in range(a):
            both = PAIRS_COUNT * weight[:, a] * weight[:, b]
            pull = slope(error[:, a] - error[:, b]) * both
            found[:, a] += pull
            found[:, b] -= pull
    return np.asarray(found * np.float32(10 / max(float(weight.sum()), 1.0)))
