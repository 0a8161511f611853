"""Chips on which choices are made, and chips that only confirm them.

A choice that is made with an eye on a score makes that score optimistic. So features, penalties
and rules are compared on some chips of the public tables, and the others are scored when the
choice stands.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .assembly import Assembled

CHOOSING, CONFIRMING = PARTS = ("choosing", "confirming")

# Of each table with several chips a fifth, rounded up: those whose names have the smallest SHA-256
# digests, so that no latency had a say. A chip of two tables confirms in both; what is not named
# here, such as a chip that a later table adds, is for choosing.
CONFIRMING_CHIPS = frozenset((
    "a100-40gb", "amlogic-s805", "atom-x5-z8350", "cix-p1", "core-i9-10940x", "gtx-1050-ti",
    "kunpeng-920", "mi210", "phytium-ft-2000-64", "qcs6490", "qrb2210", "rk3399", "rtx-3070",
    "snapdragon-410", "snapdragon-8-elite-gen-5", "snapdragon-820", "spacemit-k1", "tegra-x2",
    "xeon-platinum-8275cl", "zynq-7020",
))  # fmt: skip

LOOKS = 6
"""How often the confirming chips were scored since they are named here; docs/bench.md has the list.

Whoever scores them counts it here and writes down what for.
"""


def part_of(case: Assembled, part: str) -> Assembled:
    """The rows that a part of the chips is scored with.

    Args:
        case: rows of one folder.
        part: one of :data:`PARTS`. For choosing, rows of confirming chips are gone; for confirming,
            they are there, are scored, and nothing is learnt from them.

    Raises:
        ValueError: the folder has no row of such chips.
    """
    confirms = np.isin(case.data.chips, sorted(CONFIRMING_CHIPS))
    if not (confirms if part == CONFIRMING else ~confirms).any():
        raise ValueError(
            f"the tables must have chips for {part}; all that they have are for "
            f"{CHOOSING if part == CONFIRMING else CONFIRMING}: leave --held-out out"
        )
    if part == CONFIRMING:
        return replace(case, is_test=confirms)
    return replace(case, data=case.data.select(~confirms), is_test=case.is_test[~confirms])


def told(part: str) -> str:
    """Say which chips are scored, and how often the confirming ones were before."""
    if part == CHOOSING:
        return f"{len(CONFIRMING_CHIPS)} confirming chips are neither scored nor learnt from"
    return (
        f"confirming chips are scored; since they are fixed that was done {LOOKS} times: count "
        "this one in LOOKS of latcast.bench.devices.held_out, with what it is to confirm in "
        "docs/bench.md"
    )
