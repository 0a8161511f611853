from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def draw():
    """State dicts of given shapes whose activations neither vanish nor overflow."""
    torch = pytest.importorskip("torch")

    def state_dict(shapes, seed=0):
        rng = torch.Generator().manual_seed(seed)
        state = {}
        for name, shape in shapes.items():
            values = torch.randn(shape, generator=rng)
            if name.endswith("_matrix"):
                values = torch.eye(shape[0]) + 0.1 * values
            elif name.endswith("num_batches_tracked"):
                values = torch.tensor(7)
            elif name.endswith("running_var"):
                values = 0.5 + torch.rand(shape, generator=rng)
            elif "bn." in name and name.endswith(".weight"):
                # Of sums of many blocks, each should add little.
                few = 0.4 if "point" in name or "conv3" in name else 1
                values = (0.5 + torch.rand(shape, generator=rng)) * few
            elif len(shape) > 1:
                values *= (2 / np.prod(shape[1:])) ** 0.5
            else:
                values *= 0.2
            state[name] = values
        return state

    return state_dict
