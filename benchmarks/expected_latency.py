"""How far the differentiable expected latency is from the mean over sampled networks.

Gene probabilities are drawn from symmetric Dirichlet distributions: 0.1 leaves most genes all but
decided, 1 is uniform over all probabilities, and the uniform ones leave everything open. The mean
over samples has an error of its own, which is given beside the gap.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

import latcast
from latcast.bench.tables import machine
from latcast.models import Predictor
from latcast.search.interop import ExpectedLatency
from latcast.spaces import Archs

MODELS = ("samsung-note10", "rtx-2080-ti", "tesla-p40")
DRAWS = 10

Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=300_000, help="networks a mean is over")
    samples = parser.parse_args().samples
    print(f"{machine()}\n% of the mean over {samples:,} networks, {DRAWS} draws each\n")
    print(f"{'':16}{'probabilities':16}{'mean gap':>10}{'rms':>8}{'largest':>9}{'sampling':>10}")
    for name in MODELS:
        predictor = latcast.load(name)
        module = ExpectedLatency(predictor)
        for label, alpha, draws in (
            ("Dirichlet(0.1)", 0.1, DRAWS),
            ("Dirichlet(1)", 1.0, DRAWS),
            ("uniform", np.inf, 1),
        ):
            found = [gap(module, predictor, alpha, samples, seed) for seed in range(draws)]
            gaps, errors = 100 * np.array(found).T
            print(
                f"{name:16}{label:16}{gaps.mean():10.2f}{np.sqrt((gaps**2).mean()):8.2f}"
                f"{np.abs(gaps).max():9.2f}{errors.mean():10.2f}",
                flush=True,
            )


def gap(
    module: ExpectedLatency, predictor: Predictor, alpha: float, samples: int, seed: int
) -> tuple[float, float]:
    """Relative gap, and the relative standard error of the mean that it is measured against."""
    import torch

    rng = np.random.default_rng(seed)
    columns, probabilities = [], []
    for choices in module.choices.values():
        n = len(choices)
        p = np.full(n, 1 / n) if np.isinf(alpha) else rng.dirichlet(np.full(n, alpha))
        columns.append(rng.choice(np.array(choices, dtype=np.uint8), samples, p=p))
        probabilities.append(torch.from_numpy(p))
    ms: Floats = predictor.predict(Archs(predictor.space, np.stack(columns, axis=1)))
    mean = float(ms.mean())
    return float(module(probabilities)) / mean - 1, float(ms.std()) / mean / np.sqrt(samples)


if __name__ == "__main__":
    main()
