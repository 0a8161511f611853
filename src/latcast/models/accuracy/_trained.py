"""The file of a trained accuracy model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import ModelFile
from latcast.math.gaussian_process import Projected
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import KIND
from ._checks import checked_resolutions
from ._encoding import Encoding
from ._kernel import TERMS, Kernel
from ._regression import Believed, Scale
from ._warp import POWERS, Warp

GAUSSIAN_PROCESS = "gaussian-process"


@dataclass(frozen=True)
class Parts:
    """All that a trained model consists of.

    Attributes:
        space: of the architectures that it was trained on.
        encoding: of architectures.
        basis: m of those, in the space of their block table.
        believed: kernel, noise and scale.
        conditioned: what the training said; its scores ascend.
        resolutions: those that were seen; None in a space without.
        card: data provenance, licence, split, metrics.
    """

    space: SearchSpace
    encoding: Encoding
    basis: Archs
    believed: Believed
    conditioned: Projected
    resolutions: tuple[int, ...] | None
    card: dict[str, Any] = field(default_factory=dict)


def packed(parts: Parts, name: str) -> ModelFile:
    """Header and tensors."""
    scale, found = parts.believed.scale, parts.conditioned
    header = {
        "kind": KIND,
        "model": GAUSSIAN_PROCESS,
        "name": name,
        "space": parts.space.name,
        "resolutions": None if parts.resolutions is None else list(parts.resolutions),
        "terms": list(TERMS),
        "power": scale.warp.power,
        "card": parts.card,
    }
    tensors: dict[str, npt.NDArray[Any]] = {
        "centre": parts.encoding.centre,
        "factor": parts.encoding.factor,
        "basis": parts.basis.canonical().genes,
        "variances": parts.believed.kernel.variances,
        "scale": np.array([parts.believed.noise, scale.mean, scale.spread]),
        "weights": found.weights,
        # Symmetric: one half is enough.
        "knowledge": found.knowledge[np.triu_indices(len(parts.basis))],
        "scores": found.scores.astype(np.float32),
    }
    return ModelFile(header, tensors)


def unpacked(model: ModelFile) -> tuple[Parts, str]:
    """The inverse of :func:`packed`.

    Raises:
        KeyError, TypeError, ValueError: something is missing, of another kind, or does not fit.
    """
    header, t = model.header, model.tensors
    for key, value in (("kind", KIND), ("model", GAUSSIAN_PROCESS), ("terms", list(TERMS))):
        if header.get(key) != value:
            raise ValueError(f"the header's {key!r} must be {value!r}; got {header.get(key)!r}")
    space = find_space(header["space"])
    own = space.expand(space.sample(1, 0)).space
    basis = Archs(own, t["basis"])
    m = len(basis)
    _check_tensors(t, m)
    power = header["power"]
    if power not in POWERS:
        raise ValueError(f"the power must be one of {POWERS}; got {power!r}")
    noise, mean, spread = (float(v) for v in t["scale"])
    knowledge = np.zeros((m, m))
    knowledge[np.triu_indices(m)] = t["knowledge"]
    knowledge += np.triu(knowledge, 1).T
    parts = Parts(
        space,
        Encoding(t["centre"], t["factor"], own.one_hot(basis[:1]).shape[1]),
        basis,
        Believed(Kernel(t["variances"]), noise, Scale(Warp(float(power)), mean, spread)),
        Projected(t["weights"], knowledge, t["scores"].astype(np.float64)),
        _resolutions(header["resolutions"], space),
        dict(header["card"]),
    )
    return parts, str(header["name"])


def _resolutions(given: Any, space: SearchSpace) -> tuple[int, ...] | None:
    """Those of a header; a space without resolutions has none."""
    choices = [gene.choices for gene in space.genes if gene.name == "r"]
    if not choices:
        if given is not None:
            raise ValueError(f"{space.name} has no resolutions; got {given!r}")
        return None
    return checked_resolutions(given, choices[0])


def _check_tensors(t: dict[str, npt.NDArray[Any]], m: int) -> None:
    """Make sure that the tensors are those of m networks; that they are finite is known."""
    for name, shape in (
        ("centre", t["factor"].shape), ("variances", (len(TERMS),)), ("scale", (3,)),
        ("weights", (m,)), ("knowledge", (m * (m + 1) // 2,)),
    ):  # fmt: skip
        if t[name].shape != shape or t[name].dtype != np.float64:
            raise ValueError(
                f"the tensor {name!r} must be float64 of shape {shape}; "
                f"got {t[name].dtype} of shape {t[name].shape}"
            )
    noise, _, spread = t["scale"]
    if not (noise > 0 and spread > 0 and (t["variances"] >= 0).all()):
        raise ValueError("the variances must be positive; got others")
    scores = t["scores"]
    if scores.ndim != 1 or not len(scores) or (np.diff(scores) < 0).any() or scores[0] < 0:
        raise ValueError("the scores must be ascending numbers from 0 on, at least one; got others")
