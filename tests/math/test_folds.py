"""Folds of groups."""

from __future__ import annotations

import numpy as np

from latcast.math.folds import folds_of


def test_groups_of_small_tables_leave_one_by_one() -> None:
    groups = {"big": [f"b{n}" for n in range(40)] + ["s1"], "small": ["s1", "s2", "s3"]}
    found = folds_of(groups, 6, 0)
    assert len({found[name] for name in groups["small"]}) == 3
    counts = np.bincount([found[name] for name in groups["big"]], minlength=6)
    assert counts.max() - counts.min() <= 1
