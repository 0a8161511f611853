"""Model files of layer predictors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import ModelFile, read_model, write_model
from latcast.devices import Target
from latcast.math.conformal import DeviationScores
from latcast.math.laplace import NormalWeights

from ._basis import LENGTHS, Basis, Scale
from ._kernels import ALL_KINDS, OPS
from ._model import LayerModel
from ._posterior import Noise
from ._prices import WORK, Prices
from ._ranges import CHECKED, Ranges
from ._whole import WHOLE_FACTS, Whole

Floats = npt.NDArray[np.float64]

_UNSEEN = -1.0
"""In the ranges of a file: of a kind that the model has not seen. No fact is negative."""


def write(
    path: str | Path,
    kind: str,
    target: Target,
    model: LayerModel,
    ranges: Ranges,
    scores: DeviationScores,
    card: dict[str, Any],
) -> None:
    """Write a model file, atomically."""
    basis, weights = model.basis, model.weights
    seen = np.isfinite(ranges.low)
    small = np.float32
    tensors: dict[str, npt.NDArray[Any]] = {
        "prices": model.prices.by_kind,
        "classes": model.prices.classes,
        "class_prices": model.prices.by_class,
        "centres": basis.centres,
        "points": basis.points,
        "point_kinds": basis.point_kinds.astype(np.int16),
        "whole_centre": model.whole.centre,
        "whole_points": model.whole.points,
        "mean": weights.mean,
        "prior": weights.prior,
        "gained": weights.gained.astype(np.float16),
        "low": np.where(seen, ranges.low, _UNSEEN),
        "high": np.where(seen, ranges.high, _UNSEEN),
        "scores": scores.sizes.astype(small),
    }
    header = {
        "kind": kind,
        "target": str(target),
        "kinds": list(ALL_KINDS),
        "ops": list(OPS),
        "checked": list(CHECKED),
        "labels": list(basis.labels),
        "on_families": scores.representative,
        "scales": [[s.amplitude, s.stretch, s.most_points] for s in basis.scales],
        "noise": [model.noise.network, model.noise.kernel, model.noise.timing],
        "card": card,
    }
    write_model(path, ModelFile(header, tensors))


Contents = tuple[Target, LayerModel, Ranges, DeviationScores, dict[str, Any]]


def read(path: str | Path, kind: str) -> Contents:
    """The inverse of :func:`write`.

    Raises:
        ValueError: the file is damaged, of a newer schema version, or of another kind.
        FileNotFoundError: there is no such file.
    """
    file = read_model(path)
    try:
        return _restored(file, kind)
    except (
        KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError
    ) as error:  # fmt: skip
        raise ValueError(f"{path} must be a latcast layer model; got: {error}") from error


def _restored(file: ModelFile, kind: str) -> Contents:
    header = file.header
    if header["kind"] != kind:
        raise ValueError(f"a model of the kind {header['kind']!r}")
    for name, known in (("kinds", ALL_KINDS), ("ops", OPS), ("checked", CHECKED)):
        if header[name] != list(known):
            raise ValueError(f"{name} {header[name]}, where this latcast has {list(known)}")
    t = {name: np.array(values, dtype=np.float64) for name, values in file.tensors.items()}
    basis = Basis(
        t["centres"],
        t["points"],
        t["point_kinds"].astype(np.int64),
        tuple(str(label) for label in header["labels"]),
        (_scale(*header["scales"][0]), _scale(*header["scales"][1])),
    )
    whole = Whole(t["whole_centre"], t["whole_points"])
    _check_shapes(basis, whole, t)
    weights = NormalWeights(t["mean"], t["prior"], t["gained"])
    noise = Noise(*(_positive(v) for v in header["noise"]))
    unseen = t["low"] < 0
    ranges = Ranges(np.where(unseen, np.inf, t["low"]), np.where(unseen, -np.inf, t["high"]))
    model = LayerModel(
        Prices(t["prices"], t["classes"].astype(np.int64), t["class_prices"]),
        basis,
        whole,
        weights,
        noise,
    )
    return (
        Target.parse(header["target"]),
        model,
        ranges,
        DeviationScores(t["scores"], header["on_families"] is True),
        dict(header["card"]),
    )


def _check_shapes(basis: Basis, whole: Whole, tensors: dict[str, Floats]) -> None:
    classes = max(len(tensors["classes"]), 1)
    kinds, facts = len(ALL_KINDS), tensors["centres"].shape[-1]
    points, size = len(tensors["point_kinds"]), basis.size + whole.size
    known = (basis.point_kinds >= 0) & (basis.point_kinds < kinds)
    if (np.diff(basis.point_kinds) < 0).any() or not known.all():
        raise ValueError("kinds of points must be ascending, and known")
    for name, shape in (
        ("prices", (kinds, WORK)),
        ("classes", (classes,)),
        ("class_prices", (classes, WORK)),
        ("centres", (kinds, len(LENGTHS))),
        ("points", (points, facts)),
        ("whole_centre", (WHOLE_FACTS,)),
        ("whole_points", (len(tensors["whole_points"]), WHOLE_FACTS)),
        ("mean", (size,)),
        ("prior", (size,)),
        ("gained", (size, tensors["gained"].shape[-1])),
        ("low", (kinds, len(CHECKED))),
        ("high", (kinds, len(CHECKED))),
    ):
        if tensors[name].shape != shape:
            raise ValueError(f"array {name!r} must have shape {shape}; got {tensors[name].shape}")
    if (np.diff(tensors["classes"]) <= 0).any():
        raise ValueError("classes of prices must be ascending")
    prices = np.concatenate([tensors["prices"], tensors["class_prices"]])
    if (prices < 0).any() or (tensors["prior"] <= 0).any():
        raise ValueError("prices and variances must be positive")


def _scale(amplitude: Any, stretch: Any, most_points: Any) -> Scale:
    return Scale(_positive(amplitude), _positive(stretch), int(_positive(most_points)))


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < np.inf:
        raise ValueError(f"a number of the header must be positive; got {value!r}")
    return number
