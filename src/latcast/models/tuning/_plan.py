"""Plans of studies: a predictor, the options to try, and what stays fixed."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latcast._names import unknown_name
from latcast.data import LatencyDataset
from latcast.models._base import Predictor
from latcast.models._block_predictor import BlockPredictor
from latcast.models._tunable import Choice, Tunable
from latcast.models.bayes import Bayes
from latcast.models.flops import Flops
from latcast.models.lookup_table import LookupTable
from latcast.models.mlp import MLP
from latcast.models.roofline import Roofline

Options = dict[str, Any]

DEFAULT_TRIALS = 50

PREDICTORS: dict[str, type[BlockPredictor]] = {
    p.kind: p for p in (Roofline, Bayes, LookupTable, MLP, Flops)
}
"""Latcast's own kinds of predictors of a search space's architectures."""


@dataclass(frozen=True)
class Preset:
    """A grid of options that somebody published.

    Attributes:
        predictor: kind of the predictor that it is for.
        fixed: options of every point.
        grid: option -> its values; a point is one of each.
    """

    predictor: str
    fixed: Mapping[str, Any]
    grid: Mapping[str, tuple[Any, ...]]

    def points(self) -> list[Options]:
        """All points, the last option changing fastest."""
        return [
            dict(zip(self.grid, values, strict=True))
            for values in itertools.product(*self.grid.values())
        ]


PRESETS = {
    "paper-grid": Preset(
        "mlp",
        {"recipe": "paper"},
        {
            "learning_rate": (1e-4, 1e-3, 1e-2),
            "weight_decay": (1e-4, 1e-3, 1e-2),
            "momentum": (0.4, 0.6, 0.8, 0.9),
        },
    )
}
"""``paper-grid`` is what arXiv:2101.00732 searched for every dataset."""


@dataclass(frozen=True)
class TuningPlan:
    """Options of a predictor to try, and on what terms.

    Attributes:
        predictor: kind of the predictor.
        preset: name of the preset, or None where options are drawn from ``tunable``.
        fixed: options of every trial.
        tunable: the options that trials differ in.
        test: share of the architectures that no trial sees.
        seed: of the split, of every fit and of the choice of options.
        prune: whether trials that learn in epochs are given up when they fall behind.
    """

    predictor: str
    preset: str | None
    fixed: Mapping[str, Any]
    tunable: Mapping[str, Tunable]
    test: float
    seed: int
    prune: bool = True

    @classmethod
    def make(
        cls,
        predictor: str | None = None,
        preset: str | None = None,
        *,
        epochs: int | None = None,
        test: float = 0.15,
        seed: int = 0,
        prune: bool = True,
    ) -> TuningPlan:
        """Look up names, and refuse what does not go together.

        Raises:
            ValueError: an unknown name, a predictor without options to tune or of another kind
                than the preset's, epochs for one that has none, ``test`` or ``epochs`` out of
                range.
        """
        if preset is not None and preset not in PRESETS:
            raise ValueError(unknown_name("preset", preset, list(PRESETS)))
        the_preset = PRESETS[preset] if preset is not None else None
        kind = predictor or (the_preset.predictor if the_preset else "roofline")
        if kind not in PREDICTORS:
            raise ValueError(unknown_name("predictor", kind, list(PREDICTORS)))
        if the_preset is not None and kind != the_preset.predictor:
            raise ValueError(
                f"the preset {preset} is for the predictor {the_preset.predictor}; got {kind}"
            )
        if not 0 < test < 0.5:
            raise ValueError(
                "the share to test on must be above 0 and below 0.5, as validation takes as "
                f"much again; got {test}"
            )
        fixed = dict(the_preset.fixed) if the_preset else {}
        tunable: Mapping[str, Tunable] = PREDICTORS[kind].tunable
        if the_preset:
            tunable = {name: Choice(values) for name, values in the_preset.grid.items()}
        if not tunable:
            able = [k for k, p in PREDICTORS.items() if p.tunable]
            raise ValueError(f"{kind} has no options to tune; those that have: {', '.join(able)}")
        if epochs is not None:
            fixed["epochs"] = _check_epochs(kind, epochs)
        return cls(kind, preset, fixed, tunable, test, seed, prune)

    def create(self, options: Mapping[str, Any]) -> Predictor:
        """A new predictor with these options and the fixed ones."""
        return PREDICTORS[self.predictor](**{**self.fixed, **options})

    def defaults(self) -> Options:
        """Return the default values of the options that trials differ in."""
        options = self.create({}).options()
        return {name: options[name] for name in self.tunable}

    def points(self) -> list[Options] | None:
        """The points of the preset, or None."""
        return PRESETS[self.preset].points() if self.preset is not None else None

    def epochs(self) -> int | None:
        """Passes over the training rows, or None where there are none."""
        predictor = self.create({})
        return int(predictor.options()["epochs"]) if predictor.learns_in_epochs else None

    def fingerprint(self, data: LatencyDataset) -> dict[str, str]:
        """Return what must be equal for trials to be comparable, in words."""
        return {
            "predictor": self.predictor,
            "preset": str(self.preset),
            "fixed options": json.dumps(dict(self.fixed), sort_keys=True),
            "options to tune": ", ".join(f"{k} {v}" for k, v in sorted(self.tunable.items())),
            "space": data.archs.space.name,
            "target": str(data.target),
            "data": _digest(data),
            "test share": str(self.test),
            "seed": str(self.seed),
            "pruning": "yes" if self.prune else "no",
        }


def _check_epochs(kind: str, epochs: int) -> int:
    if not PREDICTORS[kind].learns_in_epochs:
        able = [k for k, p in PREDICTORS.items() if p.learns_in_epochs]
        raise ValueError(
            f"{kind} does not learn in epochs; those that do: {', '.join(able)}: leave epochs out"
        )
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1; got {epochs}")
    return epochs


def _digest(data: LatencyDataset) -> str:
    """Return a digest of architectures and latencies, row by row, wherever the file lies."""
    content = hashlib.sha256(data.archs.genes.tobytes())
    content.update(data.latency_ms.tobytes())
    return f"{len(data)} rows, {content.hexdigest()[:16]}"
