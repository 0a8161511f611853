"""The contract of a predictor: whatever its kind, it fits, predicts, adapts and is kept alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast import models
from latcast.data import ENERGY_MJ, Dataset
from latcast.devices import Target
from latcast.models import Predictor
from latcast.models.evaluation import evaluate

from .quantities import refuses

ELSEWHERE = Target("elsewhere", "another-runtime")
# Relative: files and sums over batches may be in single precision.
ROUNDED = 1e-5


def check_predictor(
    make: Callable[[], Predictor], data: Dataset, folder: str | Path, *, can_adapt: bool = True
) -> None:
    """Put a kind of predictor through the contract.

    Args:
        make: a new predictor, not fitted. Its kind must be registered
            (:func:`latcast.models.register_predictor`).
        data: values of 30 networks at least that it can learn from: latencies, or of a kind for
            accuracies these.
        folder: an empty folder to write files to.
        can_adapt: whether predictors of other targets can be made from it.

    Raises:
        AssertionError: the kind does not keep the contract.
    """
    new = make()
    assert new.kind in models.KINDS.names(), f"{new.kind} must be registered"
    _check_unfitted(new, data)
    cut = len(data) * 4 // 5
    train, test = data[:cut], data[cut:]
    p = new.fit(train, seed=1)
    assert p is new, "fit must return the predictor itself"
    assert (p.target, p.fitted.quantity) == (data.target, data.quantity)
    again = make().fit(train, seed=1).predict(test.networks)
    assert np.array_equal(p.predict(test.networks), again), "a seed must decide everything"
    check_fitted(p, test, folder)
    _check_refusals(make, p, train)
    _check_quantity(make, train, Path(folder))
    if can_adapt:
        _check_adapting(p, test, Path(folder))
    else:
        assert refuses(lambda: p.adapt(test)), "what cannot adapt must say so"


def check_fitted(p: Predictor, test: Dataset, folder: str | Path, *, can_save: bool = True) -> None:
    """Put a fitted predictor through the contract, such as one that is given rather than fitted.

    Args:
        p: fitted predictor.
        test: networks that it can predict, with values of its target and quantity.
        folder: to write files to.
        can_save: whether it can be kept in a file.

    Raises:
        AssertionError: it does not keep the contract.
    """
    values = p.predict(test.networks)
    assert values.shape == (len(test),)
    assert values.dtype == np.float64
    assert p.fitted.quantity.is_possible(values).all(), "predictions must be possible values"
    _check_batches(p, test, values)
    _check_intervals(p, test, values)
    _check_explanation(p, test, values)
    assert not np.isinf(list(evaluate(p, test).values())).any(), "it must be possible to score it"
    if can_save:
        _check_file(p, test, values, Path(folder))
    else:
        assert refuses(lambda: p.save(Path(folder) / "a.latcast")), "what is not kept must say so"
    assert np.array_equal(p.predict(test.networks), values), "asking must change nothing"


def _check_unfitted(new: Predictor, data: Dataset) -> None:
    few = data[:3]
    for ask in (
        lambda: new.predict(few.networks),
        lambda: new.predict_interval(few.networks),
        lambda: new.explain(few.networks),
        lambda: new.adapt(few),
        lambda: new.save("nowhere.latcast"),
    ):
        assert refuses(ask, RuntimeError), "what is not fitted must say so"


def _check_batches(p: Predictor, test: Dataset, values: npt.NDArray[np.float64]) -> None:
    alone = np.concatenate([p.predict(test[n].networks) for n in range(min(4, len(test)))])
    assert np.allclose(alone, values[: len(alone)], rtol=ROUNDED), "batches must not matter"
    assert p.predict(test.networks[:0]).shape == (0,), "no networks must have no values"
    backwards = p.predict(test[::-1].networks)
    assert np.allclose(backwards[::-1], values, rtol=ROUNDED), "order must not matter"


def _check_intervals(p: Predictor, test: Dataset, values: npt.NDArray[np.float64]) -> None:
    asked = [c for c in (0.3, 0.5, 0.7) if p.covers(c)]
    assert not p.covers(1 - 1e-9)
    assert refuses(lambda: p.predict_interval(test.networks, 1 - 1e-9))
    for wrong in (0.0, 1.0, 90):
        assert refuses(lambda wrong=wrong: p.predict_interval(test.networks, wrong))  # type: ignore[misc]
    width = np.zeros(len(test))
    for coverage in asked:
        lower, upper = p.predict_interval(test.networks, coverage)
        assert (lower >= 0).all()
        inside = (lower <= values * (1 + ROUNDED)) & (values <= upper * (1 + ROUNDED))
        assert inside.all(), "intervals must hold the prediction"
        assert (upper - lower >= width).all(), "more coverage must not make intervals narrower"
        width = upper - lower
    if asked:
        bound = p.upper_bound(test.networks, asked[-1])
        chance = p.probability_below(test.networks, bound)
        assert ((chance >= 0) & (chance <= 1)).all()
        more = p.probability_below(test.networks, 2 * bound)
        assert (more >= chance).all(), "a larger budget must not be less probable"


def _check_explanation(p: Predictor, test: Dataset, values: npt.NDArray[np.float64]) -> None:
    one: Any = test[0].networks
    if refuses(lambda: p.explain(one, 0.5)):
        return  # what there is no explanation of must be said
    total = p.explain(one, 0.5).total_ms
    assert np.allclose(total, values[0], rtol=ROUNDED), "explanations must add up to the prediction"


def _check_file(p: Predictor, test: Dataset, values: npt.NDArray[np.float64], folder: Path) -> None:
    p.save(folder / "a.latcast")
    loaded = models.load(folder / "a.latcast")
    assert type(loaded) is type(p), "a file must know its kind"
    for name in ("target", "card"):
        assert getattr(loaded, name) == getattr(p, name), f"files must keep the {name}"
    assert loaded.options() == p.options()
    assert loaded.fitted.seen == p.fitted.seen
    assert np.allclose(loaded.predict(test.networks), values, rtol=ROUNDED, atol=0)
    if p.covers(0.5):
        pairs = zip(
            loaded.predict_interval(test.networks, 0.5),
            p.predict_interval(test.networks, 0.5),
            strict=True,
        )
        assert all(np.allclose(a, b, rtol=0.01) for a, b in pairs), "files must keep intervals"
    loaded.save(folder / "b.latcast")
    again = models.load(folder / "b.latcast").predict(test.networks)
    assert np.array_equal(again, loaded.predict(test.networks)), "saving again must change nothing"


def _check_refusals(make: Callable[[], Predictor], p: Predictor, train: Dataset) -> None:
    other = replace(train, target=ELSEWHERE)
    assert refuses(lambda: make().fit(train[:9])), "nine rows must be too few"
    assert refuses(lambda: make().fit(train, other)), "two targets must not be mixed"
    assert refuses(lambda: make().fit(train, calibration=other))
    assert refuses(lambda: p.calibrate(other))
    assert refuses(lambda: evaluate(p, other))
    for bad in (np.nan, np.inf, -3.0, *(() if train.quantity.is_possible(0.0) else (0.0,))):
        values = np.where(np.arange(len(train)) == 7, bad, train.values)
        broken = replace(train, values=values)
        assert refuses(lambda broken=broken: make().fit(broken)), f"{bad} must be refused"  # type: ignore[misc]


def _check_quantity(make: Callable[[], Predictor], train: Dataset, folder: Path) -> None:
    """Whatever is measured, it is predicted in its unit, and never taken for another."""
    joules = replace(train, target=train.target or ELSEWHERE, quantity=ENERGY_MJ)
    if not train.quantity.of_target:
        assert refuses(lambda: make().fit(joules)), "what belongs to a target must be refused"
        return
    p = make().fit(joules, seed=1)
    p.save(folder / "energy.latcast")
    assert models.load(folder / "energy.latcast").fitted.quantity == ENERGY_MJ
    assert np.array_equal(
        p.predict(train.networks), make().fit(train, seed=1).predict(train.networks)
    )
    assert refuses(lambda: evaluate(p, train)), "quantities must not be mixed"
    assert refuses(lambda: p.calibrate(train)), "quantities must not be mixed"


def _check_adapting(p: Predictor, test: Dataset, folder: Path) -> None:
    few = replace(test, values=3 * test.values, target=ELSEWHERE)
    before, card = p.predict(test.networks).tobytes(), dict(p.card)
    for rows in (1, len(few)):
        adapted = p.adapt(few[:rows])
        assert adapted.target == ELSEWHERE
        assert adapted.card["rows"] == rows
        assert adapted.card["base"]["kind"] == p.kind
        factor = np.median(adapted.predict(test.networks) / p.predict(test.networks))
        low, high = (1, 9) if rows == 1 else (2, 4)  # a single measurement may be far off
        assert low < factor < high, f"{rows} rows are three times as slow; predicted: {factor}"
    adapted.save(folder / "adapted.latcast")
    loaded = models.load(folder / "adapted.latcast")
    assert np.allclose(loaded.predict(test.networks), adapted.predict(test.networks), rtol=0.02)
    assert (p.predict(test.networks).tobytes(), p.card) == (before, card)
    assert refuses(lambda: p.adapt(few[:0]))
    assert refuses(lambda: p.adapt(few, method="no-such-method"))
    broken = replace(few, values=np.where(np.arange(len(few)) == 1, np.nan, few.values))
    assert refuses(lambda: p.adapt(broken))
