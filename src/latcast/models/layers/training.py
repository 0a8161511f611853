"""From datasets to a layer model with a card: fit, score on what was not seen, write down how."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from latcast.data import Dataset, split
from latcast.data.audit import audit, measured_rows
from latcast.math.metrics import Scored
from latcast.models.evaluation import score_networks

from ._fit import LEAST_GROUPS
from ._predictor import LayerPredictor

Measured = Dataset
Progress = Callable[[int, int], None]

OWN_FILES = "files"
"""What the networks of no family are called together."""


def fit_and_score(
    *datasets: Measured,
    test: float = 0.15,
    seed: int = 0,
    families: bool = True,
    progress: Progress = lambda _done, _total: None,
) -> LayerPredictor:
    """Fit a layer model on a part of the networks and score it on the others.

    Rows whose label was copied are left out. The card of the model gets the split, the scores on
    networks of the families that it knows (``metrics``), where there are three families at least
    those of models that had not seen the family (``metrics_by_family``, with all networks
    together as ``all``), and what the audit found in the data (``traps``).

    Args:
        datasets: measurements on one target, of networks or of a space's architectures.
        test: share of the networks, between 0 and 1, that is only scored on.
        seed: of the split and of the fits.
        families: whether to leave out one family after the other, which takes a fit each.
        progress: called with the number of fits done and of all.

    Raises:
        ValueError: a latency is not finite and positive, targets differ, or there are too few
            networks.
    """
    traps: list[str] = []
    measured = [_measured(data, traps) for data in datasets]
    parts = [split(data, 1 - test, seed) for data in measured]
    left_out = family_names(measured) if families else []
    if len(left_out) < LEAST_GROUPS:
        left_out = []
    model = LayerPredictor().fit(*(train for train, _ in parts), seed=seed)
    progress(1, 1 + len(left_out))
    model.card["split"] = (
        f"by network at random, seed {seed}: {sum(len(a) for a, _ in parts)} rows to fit and "
        f"calibrate, {sum(len(b) for _, b in parts)} to test"
    )
    model.card["metrics"] = Scored.joined([score_networks(model, x) for _, x in parts]).metrics()
    model.card["traps"] = traps
    scored = {}
    for n, name in enumerate(left_out):
        scored[name] = _without(name, measured, seed)
        progress(2 + n, 1 + len(left_out))
    if scored:
        scored["all"] = Scored.joined(list(scored.values()))
        model.card["metrics_by_family"] = {name: s.metrics() for name, s in scored.items()}
    return model


def family_names(datasets: Sequence[Measured]) -> list[str]:
    """Families, and spaces, of all networks, in alphabetical order."""
    return sorted({name for data in datasets for name in _families(data)})


def _measured(data: Measured, traps: list[str]) -> Measured:
    """The rows that were measured; what the audit finds is added to ``traps``."""
    data.check_values()
    findings = audit(data)
    traps += [f"{f.kind}: {f.message}" for f in findings]
    return measured_rows(data, findings)


def _families(data: Measured) -> list[str]:
    if data.space is None:
        return [name or OWN_FILES for name in data.families]
    return [data.archs.space.name] * len(data)


def _without(name: str, datasets: Sequence[Measured], seed: int) -> Scored:
    """A family's networks by a model that has not seen it."""
    inside = [np.array(_families(data)) == name for data in datasets]
    others = [d[~own] for d, own in zip(datasets, inside, strict=True) if not own.all()]
    held_out = [d[own] for d, own in zip(datasets, inside, strict=True) if own.any()]
    model = LayerPredictor().fit(*others, seed=seed)
    return Scored.joined([score_networks(model, data) for data in held_out])
