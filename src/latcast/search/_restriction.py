"""The part of a space in which models can be relied on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.models import Predictor
from latcast.models.accuracy import AccuracyModel
from latcast.spaces import SearchSpace


def restriction(
    space: SearchSpace,
    predictors: Sequence[Predictor],
    accuracy: AccuracyModel | None,
    wanted: Mapping[str, Sequence[int]],
) -> dict[str, list[int]]:
    """Gene values that the user wants and on which all models can be relied.

    A predictor is relied on for the values it was trained on, an accuracy model for the
    resolutions it declares; None stands for one that can be relied on everywhere.

    Raises:
        ValueError: nothing is left of a gene.
    """
    known = {g.name: set(g.choices) for g in space.genes}
    for name, values in known.items():
        for predictor in predictors:
            values &= set(predictor.fitted.seen.get(name, values))  # in place
    if "r" in known and accuracy is not None and accuracy.resolutions is not None:
        known["r"] &= set(accuracy.resolutions)
    empty = [name for name, values in known.items() if not values]
    if empty:
        raise ValueError(
            f"the predictor and the accuracy model share no value of {empty[0]!r}: "
            "take models that were trained on the same resolutions"
        )
    for name, values_wanted in wanted.items():
        allowed = [values_wanted] if isinstance(values_wanted, int) else values_wanted
        if name not in known:
            raise ValueError(f"{space.name} has no gene {name!r}; it has {', '.join(known)}")
        left = known[name] & set(allowed)
        if not left:
            raise ValueError(
                f"{name} must keep one of {sorted(known[name])}, which all models know; "
                f"got {sorted(allowed)}"
            )
        known[name] = left
    return {name: sorted(values) for name, values in known.items()}
