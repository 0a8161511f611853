"""``latcast train --predictor layers``: a layer model out of several datasets of one target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._common import note, print_json, print_metrics, print_table, progress_bar

if TYPE_CHECKING:
    from latcast.data import Dataset

_FAMILY_SCORES = {
    "median_error": "median %",
    "within_10": "within 10 %",
    "within_25": "within 25 %",
    "coverage_90": "90 % interval covers",
}
"""Score -> column."""


def train_layers(
    datasets: list[Dataset],
    out: Path,
    *,
    test: float,
    families: bool,
    seed: int,
    json: bool,
    quiet: bool,
) -> None:
    """Fit, score, save, print.

    Raises:
        ValueError: as :func:`latcast.models.layers.training.fit_and_score`.
    """
    from latcast._files import check_writable
    from latcast.models.layers.training import fit_and_score

    check_writable(out)
    with progress_bar("fitting layers", quiet=quiet) as progress:
        model = fit_and_score(*datasets, test=test, seed=seed, families=families, progress=progress)
    model.save(out)
    card = model.card
    for trap in card["traps"]:
        note(f"note: the audit found {trap}", quiet=quiet)
    if not model.covers(0.9):
        note("note: too few rows to calibrate 90 % intervals", quiet=quiet)
    by_family = card.get("metrics_by_family")
    if by_family is None and families:
        note("note: there are fewer than three families; none is left out", quiet=quiet)
    note(f"wrote {out}", quiet=quiet)
    if json:
        print_json(
            {
                "model": str(out),
                "predictor": model.kind,
                "target": str(model.target),
                "families": card["families"],
                "split": card["split"],
                "metrics": card["metrics"],
                "metrics_by_family": by_family,
                "traps": card["traps"],
            }
        )
        return
    title = f"layers for {model.target}, split {card['split']}; on the test part:"
    print_metrics(card["metrics"], title=title)
    if by_family:
        print_families(by_family)


def print_families(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Scores on each family by a model that had not seen it."""
    names = sorted(scores, key=lambda name: (name == "all", name))
    rows = [
        [name, *(f"{scores[name][m]:.1f}" if m in scores[name] else "–" for m in _FAMILY_SCORES)]
        for name in names
    ]
    columns = ["family", *_FAMILY_SCORES.values()]
    print_table(columns, rows, title="on each family, by a model that had not seen it:")
