"""The OFANAS paper's network for all GPUs (arXiv:2101.00732), and a predictor made of it.

Its inputs are the one-hot genes and the GPU's cores, memory in GB and bandwidth in GB/s; here the
batch as well, which the paper did not vary. Training needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from latcast._imports import require
from latcast.data import Dataset
from latcast.devices import Target, devices
from latcast.models import BlockPredictor, Predictor
from latcast.models._block_predictor import LOWEST_SHARE
from latcast.models._fitted import Fitted
from latcast.models._model import State
from latcast.models.mlp import Stepping, perceptron, root_mean_squared_error, trained
from latcast.spaces import Archs

Floats = npt.NDArray[np.float64]

# The published network (arXiv:2101.00732).
HIDDEN = (400, 400, 400)
BATCH = 32
EPOCHS = 100
MOMENTUM = 0.9
# Of the pooled targets: a network then takes less than a minute on a core of its own.
MAX_ROWS = 4_000


@dataclass(frozen=True)
class Recipe:
    """How the network is trained.

    Attributes:
        standardized: whether inputs are standardized, and latencies too, after the logarithm;
            otherwise both are raw, as published, the latencies in ms.
        learning_rate: of SGD, from the paper's grid.
        weight_decay: of SGD, from the paper's grid.
    """

    standardized: bool
    learning_rate: float
    weight_decay: float


RECIPES = {
    "mlp-paper": Recipe(False, 1e-4, 1e-2),
    "mlp-paper-standardized": Recipe(True, 1e-2, 1e-4),
}


class ConditionedMLP:
    """A network on genes and a GPU's specification.

    Args:
        recipe: how it is trained.
        epochs: passes over the training rows.
    """

    def __init__(self, recipe: Recipe, epochs: int = EPOCHS) -> None:
        self._recipe = recipe
        self._epochs = epochs

    def fit(self, datasets: Sequence[Dataset], seed: int = 0) -> ConditionedMLP:
        """Train on the pooled rows of targets whose devices the catalogue holds.

        Raises:
            ModuleNotFoundError: PyTorch is not installed.
        """
        x = np.concatenate([inputs(d) for d in datasets])
        y = np.concatenate([d.latency_ms for d in datasets])
        part = np.random.default_rng(seed).permutation(len(x))[:MAX_ROWS]
        x, y = x[part], y[part]
        self._centre, self._scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
        self._middle, self._spread = 0.0, 1.0
        if self._recipe.standardized:
            y = np.log(y)
            self._centre, spread = x.mean(axis=0), x.std(axis=0)
            self._scale = np.where(spread > 0, spread, 1.0)
            self._middle, self._spread = float(y.mean()), float(y.std()) or 1.0
        self._model = self._trained(self._scaled(x), (y - self._middle) / self._spread, seed)
        return self

    def predict(self, data: Dataset) -> Floats:
        """Milliseconds of a dataset's networks on its target, shape (n,).

        Not finite where the training diverged.
        """
        import torch

        with torch.no_grad():
            output = self._model(torch.from_numpy(self._scaled(inputs(data))))[:, 0].numpy()
        values: Floats = output.astype(np.float64) * self._spread + self._middle
        return np.exp(np.minimum(values, 50.0)) if self._recipe.standardized else values

    def _scaled(self, x: Floats) -> npt.NDArray[np.float32]:
        return np.asarray((x - self._centre) / self._scale, dtype=np.float32)

    def _trained(self, x: npt.NDArray[np.float32], y: Floats, seed: int) -> Any:
        """SGD on the square root of the batch's mean squared error, as in the paper."""
        torch = require("torch", "torch", "training an MLP")

        def network(size: int) -> tuple[Any, Stepping]:
            model = perceptron(size, HIDDEN)
            sgd = torch.optim.SGD(
                model.parameters(), self._recipe.learning_rate, MOMENTUM,
                weight_decay=self._recipe.weight_decay,
            )  # fmt: skip
            return model, (sgd, None, root_mean_squared_error)

        return trained(network, x, y.astype(np.float32), self._epochs, BATCH, seed)


def inputs(data: Dataset) -> Floats:
    """One-hot genes, cores, memory in GB, bandwidth in GB/s and batch, shape (n, inputs).

    Raises:
        KeyError: the catalogue does not hold the target's device.
    """
    device = devices()[data.target.device]
    spec = [device.cores, device.memory_gb, device.bandwidth_gb_s, data.target.batch]
    archs = data.archs.space.expand(data.archs)
    genes = archs.space.one_hot(archs)
    return np.hstack([genes, np.tile(np.array(spec, dtype=np.float64), (len(data), 1))])


class ConditionedPredictor(BlockPredictor):
    """A network trained on other targets, conditioned on this one's rows; without intervals.

    It is ready when it is made, and is neither fitted nor saved.

    Args:
        mlp: trained network.
        trained_on: what it was trained on; gene values that occur there are known.
        target: of a device that the catalogue holds.
    """

    kind = "mlp-conditioned"
    description = "the OFANAS paper's network on genes and a device's specification"

    def __init__(self, mlp: ConditionedMLP, trained_on: Sequence[Dataset], target: Target) -> None:
        super().__init__()
        archs = [d.archs.space.expand(d.archs) for d in trained_on]
        space = archs[0].space
        seen = {
            gene.name: sorted({int(v) for a in archs for v in np.unique(a.genes[:, n])})
            for n, gene in enumerate(space.genes)
        }
        self.become(Fitted(space, target, seen))
        self._mlp = mlp
        # Far from its training data it may say anything, less than nothing included.
        self._lowest_ms = LOWEST_SHARE * min(float(d.latency_ms.min()) for d in trained_on)

    def _predict(self, archs: Archs) -> Floats:
        asked = Dataset(archs, np.ones(len(archs)), self.target)
        return np.maximum(self._mlp.predict(asked), self._lowest_ms)

    def _explain(self, archs: Archs) -> Floats:
        """Nothing is said of single blocks: all of it belongs to the network."""
        return np.zeros(self.space.block_ids(archs).shape)

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> NoReturn:
        raise NotImplementedError("it is made of a trained network")

    def _state(self) -> State:
        raise NotImplementedError("it is not saved: save what it was trained on")

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> NoReturn:
        raise NotImplementedError("it is not saved: save what it was trained on")
