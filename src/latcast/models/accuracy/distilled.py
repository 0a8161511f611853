"""The distilled model of Once-For-All's networks, which latcast ships.

It imitates Once-For-All's accuracy predictor for OFA-MobileNetV3 (width 1.2), a
128-400-400-400-1 ReLU network: its hidden layers are thinned out to 400-340-200 and trained
further on the original's answers (``scripts/distill_accuracy.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import Array, ModelFile, Schema
from latcast.models._model import State
from latcast.spaces import Archs, CompOFA, OFAMobileNetV3, SearchSpace
from latcast.spaces import space as find_space
from latcast.spaces.ofa_mobilenet_v3 import KS, D, E, R, active_blocks

from ._base import AccuracyModel, Floats, check_resolutions

Tensor = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Metrics = Mapping[str, Mapping[str, float]]

SPACE = "ofa-mobilenet-v3"
SOURCE = (
    "Once-For-All's accuracy predictor (mit-han-lab/once-for-all), as shipped in "
    "OFANAS/OFANAS_PerformanceEstimation (acc_predictor.pth), distilled"
)
LICENCE = "MIT (Once-For-All); Apache-2.0 (OFANAS_PerformanceEstimation)"

_BLOCKS = KS.stop - KS.start
_DEPTHS = D.stop - D.start
_OPTIONAL = np.flatnonzero(np.arange(_BLOCKS) % (_BLOCKS // _DEPTHS) >= 2)
_BINS = 7
_FIRST_BIN = 4 * _BLOCKS + len(_OPTIONAL)
FEATURES = _FIRST_BIN + _BINS
# Activations of this many architectures stay in a core's cache.
_CHUNK = 1024

_KINDS = {True: ("int8", "int8"), False: ("float32", "float32")}
SCHEMA = Schema(
    {},
    {
        name: Array(shape, *_KINDS[name in ("first", "second", "third", "skip")])
        for name, shape in {
            "first": (FEATURES, "a"), "first_scale": ("a",), "first_bias": ("a",),
            "second": ("a", "b"), "second_scale": ("b",), "second_bias": ("b",),
            "third": ("b", "c"), "third_scale": ("c",), "third_bias": ("c",),
            "skip": (FEATURES, "c"), "skip_scale": ("c",),
            "last": ("c",), "linear": (FEATURES,), "last_bias": (1,),
        }.items()
    },
)  # fmt: skip


def encode(archs: Archs) -> npt.NDArray[np.bool_]:
    """Encode architectures as inputs of the distilled model, shape (n, 97).

    For each of 20 positions whether its block has kernel size 5, 7, expand ratio 4, 6 (four
    groups of 20), then whether the 10 optional positions are in use, then the resolution's bin:
    128 to 143, 144 to 159, …, 224 and above. This is the original's one-hot input without the
    columns that follow from others; bins are its ``(r - 112) // 16``, of which the first never
    occurs.

    Args:
        archs: n architectures of an OFA-MobileNetV3 space.
    """
    genes = archs.genes
    active = active_blocks(genes)
    kernels = np.where(active, genes[:, KS], np.uint8(0))
    expands = np.where(active, genes[:, E], np.uint8(0))
    result = np.zeros((len(genes), FEATURES), dtype=np.bool_)
    for group, (values, value) in enumerate(
        ((kernels, 5), (kernels, 7), (expands, 4), (expands, 6))
    ):
        np.equal(values, value, out=result[:, group * _BLOCKS : (group + 1) * _BLOCKS])
    result[:, 4 * _BLOCKS : _FIRST_BIN] = active[:, _OPTIONAL]
    bins = np.minimum(genes[:, R] // 16 - 8, _BINS - 1)
    result[np.arange(len(genes)), _FIRST_BIN + bins] = True
    return result


class DistilledOFA(AccuracyModel):
    """A small network that imitates OFA-MobileNetV3's accuracy predictor.

    With x the 97 inputs of :func:`encode`::

        h = relu(x @ first + first_bias)
        h = relu(h @ second + second_bias)
        h = relu(h @ third + x @ skip + third_bias)
        accuracy = h @ last + x @ linear + last_bias

    A matrix M of the first four is kept as int8 with one scale per column:
    ``M = M_int8 * M_scale``. Everything else is float32.

    Args:
        tensors: ``first`` (97, a), ``second`` (a, b), ``third`` (b, c) and ``skip`` (97, c),
            int8, each with its ``_scale``; ``first_bias`` (a,), ``second_bias`` (b,),
            ``third_bias`` (c,), ``last`` (c,), ``linear`` (97,), ``last_bias`` (1,), float32.
            None for a model that is to be read from a file.
        resolutions: those that the original was trained on.
        metrics: set of architectures -> measure -> value, against the original.

    Raises:
        ValueError: a tensor is missing, of the wrong type or shape or not finite, or a resolution
            is not one of the space's.
    """

    kind = "accuracy-distilled"
    description = "Once-For-All's accuracy predictor, distilled"

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        resolutions: Iterable[int] = (),
        metrics: Metrics | None = None,
    ) -> None:
        super().__init__(SPACE)
        if tensors is not None:
            card = {"metrics": metrics or {}, "source": SOURCE, "licence": LICENCE}
            self.given(find_space(SPACE), resolutions, card)
            own = {name: np.array(tensor) for name, tensor in tensors.items()}
            self._restore(SCHEMA.unpack(ModelFile({}, own)), {})

    def _schema(self) -> Schema:
        return SCHEMA

    def _doubts(self, own: Archs) -> list[str]:
        # Of the network that the OFANAS paper found for 20 ms on the Note10.
        scale = (
            "its scale lies above what is measured on ImageNet (80.8 % where 76.0 % was measured)"
        )
        return [f"top-1 is by Once-For-All's accuracy predictor, which ranks networks; {scale}"]

    def _state(self) -> State:
        return self._tensors

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        if self.space.name != SPACE:
            raise ValueError(f"a distilled model must be for {SPACE}; got {self.space.name}")
        check_resolutions(self)
        self._tensors = state
        self._unpack()

    def _unpack(self) -> None:
        t = self._tensors
        first, skip, self._second, self._third = (
            t[name].astype(np.float32) * t[f"{name}_scale"]
            for name in ("first", "skip", "second", "third")
        )
        # One product for all that reads the inputs. Exactly one bin is set, so the bins' rows
        # can carry the biases.
        self._inputs = np.hstack([first, skip, t["linear"][:, None]])
        biases = np.concatenate([t["first_bias"], t["third_bias"], t["last_bias"]])
        self._inputs[_FIRST_BIN:] += biases
        self._second_bias, self._last = t["second_bias"], t["last"]

    def supports(self, space: SearchSpace) -> bool:
        """True for OFA-MobileNetV3 and CompOFA at width 1.2."""
        return space.block_space == SPACE and isinstance(space, OFAMobileNetV3 | CompOFA)

    def _values(self, own: Archs) -> Floats:
        """Accuracies; a resolution counts as the next lower multiple of 16 and 240 as 224.

        The original has no finer or larger ones.
        """
        archs = own.space.expand(own) if isinstance(own.space, CompOFA) else own
        result = np.empty(len(archs), dtype=np.float64)
        for start in range(0, len(archs), _CHUNK):
            part = slice(start, start + _CHUNK)
            result[part] = self._forward(encode(archs[part]).astype(np.float32))
        return result

    def _forward(self, x: Float32) -> Float32:
        width = len(self._second)
        inputs = x @ self._inputs
        hidden = _relu(inputs[:, :width]) @ self._second
        hidden += self._second_bias
        hidden = _relu(hidden) @ self._third
        hidden += inputs[:, width:-1]
        result: Float32 = _relu(hidden) @ self._last
        result += inputs[:, -1]
        return result


def _relu(x: Float32) -> Float32:
    return np.maximum(x, np.float32(0), out=x)
