"""Once-For-All's accuracy predictor, which the shipped accuracy model imitates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from latcast.data.help import load_torch_file
from latcast.spaces import Archs

LAYERS = (0, 2, 4, 6)
KERNELS_AND_EXPANDS = 120
"""One-hot inputs before those of the resolution."""


class Teacher:
    """128-400-400-400-1 with ReLU on the one-hot genes of OFA-MobileNetV3.

    Args:
        path: ``acc_predictor.pth`` of the OFANAS paper's repository, a state dict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds other layers.
        ModuleNotFoundError: PyTorch is not installed.
    """

    def __init__(self, path: Path) -> None:
        state = load_torch_file(path)
        try:
            self._layers = [
                (state[f"{n}.weight"].numpy().T, state[f"{n}.bias"].numpy()) for n in LAYERS
            ]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} must hold Once-For-All's accuracy predictor, four linear layers; "
                f"got no {error}"
            ) from error

    def predict(self, archs: Archs) -> npt.NDArray[np.float64]:
        """Top-1 accuracy from 0 to 1, shape (n,), at resolutions 128, 144, … 224."""
        archs = archs.space.expand(archs)
        x = archs.space.one_hot(archs)
        # Its resolution bins start at 112, ours at 128.
        head, bins = x[:, :KERNELS_AND_EXPANDS], x[:, KERNELS_AND_EXPANDS:-1]
        x = np.hstack([head, np.zeros((len(x), 1), np.float32), bins])
        for weights, biases in self._layers[:-1]:
            x = np.maximum(x @ weights + biases, 0)
        weights, biases = self._layers[-1]
        return np.asarray((x @ weights + biases)[:, 0], dtype=np.float64)
