"""MLP: a network on the one-hot genes, as in the OFANAS paper (arXiv:2101.00732).

Training needs PyTorch (``pip install 'latcast[torch]'``); prediction does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._imports import require
from latcast._model_file import Array, Schema
from latcast._names import unknown_name
from latcast.spaces import Archs

from ._base import Predictor
from ._block_predictor import LOWEST_SHARE, BlockPredictor
from ._fitted import Floats, Form, no_values
from ._model import State
from ._tunable import Choice, Real

# As published (arXiv:2101.00732).
PAPER_HIDDEN = (400, 400, 400)
PAPER_BATCH = 32
BATCH = 128
# Midpoints along a path of a piecewise linear function: the error falls with their number.
PATH_STEPS = 64
LAST_LAYER_EPOCHS = 100

RECIPES = ("default", "paper")

Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Weights (inputs, outputs) and biases (outputs,)."""


class MLP(BlockPredictor):
    """A multi-layer perceptron with ReLU on the one-hot genes.

    Args:
        recipe: ``"default"`` trains on standardized latencies with AdamW, a one-cycle learning
            rate and an absolute-error loss; ``"paper"`` is the published recipe: three hidden
            layers of 400, raw milliseconds, SGD in batches of 32, the square root of the batch's
            mean squared error as the loss.
        hidden: widths of the hidden layers.
        epochs: passes over the training rows.
        learning_rate: of SGD, or the peak of AdamW's.
        weight_decay: of the optimizer.
        momentum: of SGD (the ``paper`` recipe).

    None takes the recipe's own value. The paper picked learning rate, weight decay and momentum
    from a grid for every dataset; its recipe here has what it found for the RTX 2080 Ti.

    Raises:
        ValueError: an unknown recipe, or a number out of range.
    """

    kind = "mlp"
    description = "a neural network on one-hot genes (the paper's; training needs PyTorch)"
    learns_in_epochs = True
    tunable = {  # noqa: RUF012
        "hidden": Choice(((128, 128), (256, 256), (512, 512), (800, 800), PAPER_HIDDEN)),
        "learning_rate": Real(1e-4, 1e-2, log=True),
        "weight_decay": Real(1e-3, 10.0, log=True),
    }

    def __init__(
        self,
        recipe: str = "default",
        hidden: tuple[int, ...] = PAPER_HIDDEN,
        epochs: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        if recipe not in RECIPES:
            raise ValueError(unknown_name("recipe", recipe, RECIPES))
        paper = recipe == "paper"
        self._recipe = recipe
        self._hidden = tuple(hidden)
        self._epochs = epochs if epochs is not None else (100 if paper else 80)
        self._learning_rate = learning_rate if learning_rate is not None else (
            0.01 if paper else 2e-3
        )  # fmt: skip
        self._weight_decay = weight_decay if weight_decay is not None else (
            1e-4 if paper else 1.0
        )  # fmt: skip
        self._momentum = momentum
        if not (self._learning_rate > 0 and self._weight_decay >= 0 and 0 <= momentum < 1):
            raise ValueError(
                "learning_rate must be positive, weight_decay at least 0 and momentum from 0 to 1; "
                f"got {self._learning_rate}, {self._weight_decay}, {momentum}"
            )
        if self._epochs < 1 or not self._hidden or min(self._hidden) < 1:
            raise ValueError(
                "epochs and the widths of hidden layers must be at least 1; "
                f"got epochs {self._epochs}, hidden {self._hidden}"
            )

    def options(self) -> dict[str, Any]:
        return {
            "recipe": self._recipe,
            "hidden": list(self._hidden),
            "epochs": self._epochs,
            "learning_rate": self._learning_rate,
            "weight_decay": self._weight_decay,
            "momentum": self._momentum,
        }

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> None:
        require("torch", "torch", "training an MLP")
        inputs = archs.space.one_hot(archs)
        if self._recipe == "paper":
            # As published: raw milliseconds.
            self._centre, self._scale = 0.0, 1.0
        else:
            self._centre, self._scale = float(latency_ms.mean()), float(latency_ms.std()) or 1.0
        targets = ((latency_ms - self._centre) / self._scale).astype(np.float32)
        self._lowest_ms = LOWEST_SHARE * float(latency_ms.min())
        self._train(inputs, targets, int(rng.integers(2**31)))

    def _train(
        self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[np.float32], seed: int
    ) -> None:
        batch = min(PAPER_BATCH if self._recipe == "paper" else BATCH, len(inputs))

        def network(size: int) -> tuple[Any, Stepping]:
            model = perceptron(size, self._hidden)
            return model, self._optimizer(model, -(-len(inputs) // batch))

        def tell(model: Any, epoch: int) -> None:
            if self.after_epoch is not None:
                self._layers = _weights(model)
                self.after_epoch(epoch)

        self._layers = _weights(trained(network, inputs, targets, self._epochs, batch, seed, tell))

    def _optimizer(self, model: Any, steps: int) -> Stepping:
        import torch

        if self._recipe == "paper":
            sgd = torch.optim.SGD(
                model.parameters(), self._learning_rate, self._momentum,
                weight_decay=self._weight_decay,
            )  # fmt: skip
            return sgd, None, root_mean_squared_error
        adam = torch.optim.AdamW(
            model.parameters(), self._learning_rate, weight_decay=self._weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            adam, self._learning_rate, total_steps=self._epochs * steps
        )
        return adam, schedule, torch.nn.functional.l1_loss

    def with_last_layer(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> MLP:
        """This network with a last layer trained afresh, all others as they are.

        The OFANAS paper's fine-tuning, with the paper's optimizer: SGD on the square root of the
        batch's mean squared error.
        """
        adapted = MLP(**self.options())
        adapted._centre, adapted._scale = self._centre, self._scale
        if self._recipe != "paper":
            adapted._centre, adapted._scale = (
                float(latency_ms.mean()),
                float(latency_ms.std()) or 1.0,
            )
        targets = (latency_ms - adapted._centre) / adapted._scale
        hidden = self._hidden_output(archs.space.one_hot(archs)).astype(np.float64)
        weights, bias = self._train_last(hidden, targets, rng)
        last = (weights[:, None].astype(np.float32), np.array([bias], dtype=np.float32))
        adapted._layers = [*self._layers[:-1], last]
        adapted._lowest_ms = LOWEST_SHARE * float(latency_ms.min())
        return adapted

    def _train_last(
        self, hidden: Floats, targets: Floats, rng: np.random.Generator
    ) -> tuple[Floats, float]:
        """Weights (features,) and bias, from PyTorch's initialization of a linear layer."""
        limit = 1 / np.sqrt(hidden.shape[1])
        parameters = rng.uniform(-limit, limit, hidden.shape[1] + 1)
        x = np.hstack([hidden, np.ones((len(hidden), 1))])
        velocity = np.zeros_like(parameters)
        rate = self._learning_rate if self._recipe == "paper" else 0.01
        decay = self._weight_decay if self._recipe == "paper" else 1e-4
        for _ in range(LAST_LAYER_EPOCHS):
            order = rng.permutation(len(x))
            for rows in np.split(order, range(PAPER_BATCH, len(x), PAPER_BATCH)):
                error = x[rows] @ parameters - targets[rows]
                root = np.sqrt((error @ error) / len(rows) + 1e-6)
                gradient = x[rows].T @ error / (len(rows) * root) + decay * parameters
                velocity = self._momentum * velocity + gradient
                parameters = parameters - rate * velocity
        return parameters[:-1], float(parameters[-1])

    def _hidden_output(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Outputs of the last hidden layer, shape (n, width)."""
        for weights, biases in self._layers[:-1]:
            x = np.maximum(x @ weights + biases, 0)
        return x

    def _predict(self, archs: Archs) -> Floats:
        output = self._forward(archs.space.one_hot(archs))[0].astype(np.float64)
        return np.maximum(output * self._scale + self._centre, self._lowest_ms)

    def _explain(self, archs: Archs) -> Floats:
        """Integrated gradients from the empty encoding (Sundararajan et al., ICML 2017)."""
        inputs = archs.space.one_hot(archs)
        gradient = np.zeros_like(inputs)
        for step in range(PATH_STEPS):
            point = inputs * np.float32((step + 0.5) / PATH_STEPS)
            gradient += self._input_gradient(self._forward(point)[1])
        share = inputs * gradient * np.float32(self._scale / PATH_STEPS)
        return archs.space.one_hot_to_blocks(share.astype(np.float64))

    def _forward(
        self, x: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.bool_]]]:
        """Output (n,) and which ReLUs of every hidden layer are on."""
        active = []
        for weights, biases in self._layers[:-1]:
            x = x @ weights + biases
            active.append(x > 0)
            x = np.maximum(x, 0)
        weights, biases = self._layers[-1]
        return (x @ weights + biases)[:, 0], active

    def _input_gradient(self, active: list[npt.NDArray[np.bool_]]) -> npt.NDArray[np.float32]:
        gradient = np.broadcast_to(self._layers[-1][0][:, 0], active[-1].shape)
        for (weights, _), on in zip(self._layers[-2::-1], active[::-1], strict=True):
            gradient = (gradient * on) @ weights.T
        return gradient

    def _schema(self) -> Schema:
        inputs = self.space.one_hot(self.space.sample(1, 0)).shape[1]
        arrays = {"scalars": Array((3,))}  # centre, scale, least value
        for n, (rows, columns) in enumerate(pairwise((inputs, *self._hidden, 1))):
            arrays[f"weights.{n}"] = Array((rows, columns), "float32", "float32")
            arrays[f"biases.{n}"] = Array((columns,), "float32", "float32")
        return Schema({}, arrays)

    def _state(self) -> State:
        state: State = {
            "scalars": np.array([self._centre, self._scale, self._lowest_ms]),
        }
        for n, (weights, biases) in enumerate(self._layers):
            state[f"weights.{n}"], state[f"biases.{n}"] = weights, biases
        return state

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        self._centre, self._scale, self._lowest_ms = (float(v) for v in state["scalars"])
        count = len(self._hidden) + 1
        self._layers = [(state[f"weights.{n}"], state[f"biases.{n}"]) for n in range(count)]

    def _form(self) -> Form:
        nothing = no_values(len(self.space.block_table))
        weights, biases = (values.astype(np.float64) for values in self._layers[-1])
        last = (weights * self._scale, biases * self._scale + self._centre)
        linear = np.zeros(len(self._layers[0][0]))
        return Form(nothing, nothing, True, linear, [*self._layers[:-1], last], self._lowest_ms)


Stepping = tuple[Any, Any, Callable[..., Any]]
"""Optimizer, its schedule or None, and the loss of predictions and truths."""


def trained(
    network: Callable[[int], tuple[Any, Stepping]],
    inputs: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    epochs: int,
    batch: int,
    seed: int,
    tell: Callable[[Any, int], None] = lambda _model, _epoch: None,
) -> Any:
    """A network after so many passes over inputs (n, size) and their targets (n,) in batches.

    ``network`` makes it for inputs of a size; ``tell`` is called with it after every epoch.
    """
    import torch

    threads = torch.get_num_threads()
    # Batches this small gain nothing from a second thread, and lose much on a busy machine.
    torch.set_num_threads(1)
    try:
        # The caller's random numbers stay as they were.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, (optimizer, schedule, loss_of) = network(inputs.shape[1])
            x, y = torch.from_numpy(inputs), torch.from_numpy(targets)
            for epoch in range(1, epochs + 1):
                for rows in torch.randperm(len(x)).split(batch):  # type: ignore[no-untyped-call]
                    loss = loss_of(model(x[rows])[:, 0], y[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    if schedule is not None:
                        schedule.step()
                tell(model, epoch)
    finally:
        torch.set_num_threads(threads)
    return model


def perceptron(inputs: int, hidden: tuple[int, ...]) -> Any:
    """Layers with ReLU between them, and one output."""
    import torch

    layers: list[Any] = []
    for n_in, n_out in pairwise((inputs, *hidden)):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(hidden[-1], 1))


def _weights(model: Any) -> list[Layer]:
    import torch

    return [
        (m.weight.detach().numpy().T.copy(), m.bias.detach().numpy().copy())
        for m in model
        if isinstance(m, torch.nn.Linear)
    ]


def root_mean_squared_error(predicted: Any, true: Any) -> Any:
    """The square root of a batch's mean squared error, which the OFANAS paper minimizes."""
    return ((predicted - true).square().mean() + 1e-6).sqrt()
