"""From a dataset to a predictor with a card: fit, score on what was not seen, write down how."""

from __future__ import annotations

from latcast.data import LatencyDataset, split
from latcast.data.audit import audit, measured_rows

from ._base import Predictor
from .metrics import evaluate


def fit_and_score(
    predictor: Predictor, data: LatencyDataset, *, test: float = 0.15, seed: int = 0
) -> dict[str, float]:
    """Fit a predictor on a part of the architectures and score it on the others.

    Rows whose label was copied from another architecture are left out. The card of the predictor
    gets the split, the scores (``metrics``) and what the audit found in the data (``traps``).

    Args:
        predictor: is fitted in place.
        data: measurements on one target.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the split and of the fit.

    Returns:
        The scores: :func:`latcast.predict.metrics.evaluate`.

    Raises:
        ValueError: a latency is not finite and positive, or there are too few architectures.
    """
    data.check_latencies()
    findings = audit(data)
    train, rest = split(measured_rows(data, findings), 1 - test, seed)
    predictor.fit(train, seed=seed)
    scores = evaluate(predictor, rest)
    predictor.fitted.card.update(
        split=f"by architecture at random, seed {seed}: {len(train)} rows to fit and calibrate, "
        f"{len(rest)} to test",
        metrics=scores,
        traps=[f"{f.kind}: {f.message}" for f in findings],
    )
    return scores
