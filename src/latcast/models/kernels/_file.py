"""What a file of a kernel model holds: operators, kinds and facts by name.

Rows of arrays belong to the kinds and operators that the header names. Where latcast's tables have
others besides, these are as if the model had never seen them; what the tables have no more is
left out. So an operator, kind or fact can be added and no file becomes unreadable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import Array, Field, Schema, Values, positive
from latcast.graph import UNKNOWN
from latcast.math.conformal import DeviationScores
from latcast.math.laplace import NormalWeights
from latcast.networks import ALL_KINDS, OPS

from ._explanation import CHECKED, Ranges
from ._features import FEATURES, WHOLE_FACTS, Basis, Scale, Whole
from ._model import LayerModel
from ._posterior import Noise
from ._prices import WORK, Prices

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

# Those of files whose header does not name them.
FIRST_FEATURES = (
    "macs", "traffic", "param_bytes", "positions", "outputs", "depth", "window", "stride",
    "groups", "layers", "inputs", "outputs_waste", "depth_waste", "blocked",
)  # fmt: skip

# In the ranges of a file: of a kind that the model has not seen. No fact is negative.
_UNSEEN = -1.0
# Largest value of a fact that the model did not watch.
_UNBOUNDED = 1e300


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"names must be a list of texts; got {value!r}")
    return tuple(value)


def _scales(value: Any) -> tuple[Scale, Scale]:
    first, second = (Scale(positive(a), positive(s), int(positive(m))) for a, s, m in value)
    return first, second


_NAMES = Field(_names, list)
SCHEMA = Schema(
    {
        "kinds": _NAMES,
        "ops": _NAMES,
        "checked": _NAMES,
        "features": Field(_names, list, FIRST_FEATURES),
        "labels": _NAMES,
        "on_families": Field(lambda value: value is True),
        "scales": Field(_scales, lambda v: [[s.amplitude, s.stretch, s.most_points] for s in v]),
        "noise": Field(
            lambda value: Noise(*map(positive, value)), lambda n: [n.network, n.kernel, n.timing]
        ),
    },
    {
        "prices": Array(("kinds", WORK), check="not negative"),
        "classes": Array(("classes",), "int64", "int64", "strictly ascending"),
        "class_prices": Array(("classes", WORK), check="not negative"),
        "centres": Array(("kinds", "features")),
        "points": Array(("points", "features")),
        "point_kinds": Array(("points",), "int16", "int64", "ascending"),
        "whole_centre": Array((WHOLE_FACTS,)),
        "whole_points": Array(("whole_points", WHOLE_FACTS)),
        "mean": Array(("weights",)),
        "prior": Array(("weights",), check="positive"),
        "gained": Array(("weights", "gains"), "float16"),
        "low": Array(("kinds", "checked")),
        "high": Array(("kinds", "checked")),
        "scores": Array(("rows",), "float32", check="ascending"),
    },
)


def packed(model: LayerModel, ranges: Ranges, scores: DeviationScores) -> Values:
    """All that a kernel model is made of, by the names of :data:`SCHEMA`."""
    seen = np.isfinite(ranges.low)
    return {
        "kinds": ALL_KINDS,
        "ops": OPS,
        "checked": CHECKED,
        "features": model.basis.names,
        "labels": model.basis.labels,
        "on_families": scores.representative,
        "scales": model.basis.scales,
        "noise": model.noise,
        "prices": model.prices.by_kind,
        "classes": model.prices.classes,
        "class_prices": model.prices.by_class,
        "centres": model.basis.centres,
        "points": model.basis.points,
        "point_kinds": model.basis.point_kinds,
        "whole_centre": model.whole.centre,
        "whole_points": model.whole.points,
        "mean": model.weights.mean,
        "prior": model.weights.prior,
        "gained": model.weights.gained,
        "low": np.where(seen, ranges.low, _UNSEEN),
        "high": np.where(seen, ranges.high, _UNSEEN),
        "scores": scores.sizes,
    }


def unpacked(v: Values) -> tuple[LayerModel, Ranges, DeviationScores]:
    """The inverse of :func:`packed`, in terms of the kinds and operators that latcast has now.

    Raises:
        ValueError: parts do not fit each other.
    """
    kinds, names = v["kinds"], v["features"]
    for what, values, count in (
        ("kinds", kinds, len(v["prices"])),
        ("facts", v["checked"], v["low"].shape[1]),
        ("features", names, v["centres"].shape[1]),
    ):
        if len(set(values)) != count or len(values) != count:
            raise ValueError(f"{what} must have {count} different names; got {list(values)}")
    if unknown := sorted(set(names) - set(FEATURES)):
        raise ValueError(f"features {unknown} are not known here: upgrade latcast")
    if len(v["point_kinds"]) and not 0 <= v["point_kinds"][0] <= v["point_kinds"][-1] < len(kinds):
        raise ValueError("kinds of points must be known")
    own = Basis(v["centres"], v["points"], v["point_kinds"], v["labels"], v["scales"], names, kinds)
    whole = Whole(v["whole_centre"], v["whole_points"])
    if len(v["mean"]) != own.size + whole.size:
        raise ValueError(
            f"array 'mean' must have shape ({own.size + whole.size},); got {v['mean'].shape}"
        )
    basis, columns = own.of_kinds(ALL_KINDS)
    kept = np.concatenate([columns, own.size + np.arange(whole.size)])
    weights = NormalWeights(
        _rows(v["mean"], kept, 0.0), _rows(v["prior"], kept, 1.0), _rows(v["gained"], kept, 0.0)
    )
    order = positions(ALL_KINDS, kinds)
    model = LayerModel(_prices(v, order), basis, whole, weights, v["noise"])
    return model, _ranges(v, order), DeviationScores(v["scores"], v["on_families"])


def positions(wanted: Sequence[str], there: Sequence[str]) -> Numbers:
    """Where each name stands in another list; -1 where it does not, shape (wanted,)."""
    where = {name: n for n, name in enumerate(there)}
    return np.array([where.get(name, -1) for name in wanted], dtype=np.int64)


def _rows(values: Floats, rows: Numbers, missing: Floats | float) -> Floats:
    """Rows of an array, and what stands for those that are missing (-1)."""
    if np.array_equal(rows, np.arange(len(values))):
        return values  # as it is where no table has grown: the largest has a million numbers
    shape = (len(rows),) + (1,) * (values.ndim - 1)
    return np.asarray(np.where((rows >= 0).reshape(shape), values[rows], missing))


def _prices(v: Values, order: Numbers) -> Prices:
    """Those of kinds that the model has not seen are those of operators that nobody knows."""
    by_kind = _rows(v["prices"], order, v["prices"][v["kinds"].index(UNKNOWN)])
    known = positions(v["ops"], OPS)
    numbers, blocked = np.divmod(v["classes"], 2)
    if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < len(known):
        raise ValueError("operators with prices of their own must be named")
    classes = 2 * known[numbers] + blocked
    rows = np.argsort(classes, kind="stable")
    rows = rows[classes[rows] >= 0]
    return Prices(by_kind, classes[rows], v["class_prices"][rows])


def _ranges(v: Values, order: Numbers) -> Ranges:
    """Ranges of what is watched now; a fact that was not watched is not bounded."""
    facts = positions(CHECKED, v["checked"])
    unseen = (v["low"] < 0).any(axis=1)
    low, high = (
        _rows(v[name].T, facts, bound).T for name, bound in (("low", 0.0), ("high", _UNBOUNDED))
    )
    low, high = np.array(low), np.array(high)
    low[unseen], high[unseen] = np.inf, -np.inf
    return Ranges(_rows(low, order, np.inf), _rows(high, order, -np.inf))
