"""Shares of the choices of each gene among the networks of a front, by stage."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from latcast.report.axis import Axis
from latcast.report.figure import Figure, Series
from latcast.report.markup import counted

# Key of the field's own form -> what it is.
GENES = {"ks": "kernel size", "e": "expand ratio", "d": "depth", "w": "width", "r": "resolution"}
# Positions that a figure has room for.
_MAX_PLACES = 24
_EDGE = re.compile(r"([\w-]+)~\d")


def gene_shares(archs: Sequence[Any]) -> Iterator[Figure]:
    """A figure for each gene: for every stage the share of the networks' blocks by choice.

    Blocks that a network's depth leaves out do not count.

    Args:
        archs: in the field's own form, all of one space.
    """
    chosen: dict[str, dict[str, Counter[str]]] = {}
    for arch in archs:
        for gene, place, choice in _choices(arch):
            chosen.setdefault(gene, {}).setdefault(place, Counter())[choice] += 1
    for gene, places in chosen.items():
        differ = len({choice for counts in places.values() for choice in counts}) > 1
        if differ and len(archs) > 1 and len(places) <= _MAX_PLACES:
            yield _figure(gene, places, len(archs))


def _figure(gene: str, places: Mapping[str, Counter[str]], count: int) -> Figure:
    choices = sorted({c for counts in places.values() for c in counts}, key=_in_order)
    totals = [counts.total() for counts in places.values()]
    series = tuple(
        Series(
            choice,
            range(len(places)),
            [100 * counts[choice] / total
             for counts, total in zip(places.values(), totals, strict=True)],
            "bars",
            labels=[f"{place}: {choice} in {counts[choice]} of {counts.total()}"
                    for place, counts in places.items()],
        )
        for choice in choices
    )  # fmt: skip
    title, networks = f"What the networks are made of: {gene}", counted(count, "network")
    return Figure(title, Axis("", names=list(places)), Axis("% of the choices"), series,
                  caption=f"How often each choice is taken in {networks}.")  # fmt: skip


def _in_order(choice: str) -> tuple[float, str]:
    """Numbers by their size, names by the alphabet."""
    try:
        return float(choice), ""
    except ValueError:
        return float("inf"), choice


def _choices(arch: Any) -> Iterator[tuple[str, str, str]]:
    """Gene, stage or layer, and choice of everything that an architecture chooses."""
    if not isinstance(arch, Mapping):
        return
    depths = arch.get("d") or []
    for key, values in arch.items():
        if key == "op_idx_list" and "arch_str" in arch:  # the same as numbers
            continue
        if isinstance(values, str):
            found = _EDGE.findall(values)
            yield from (("operation", f"edge {n}", op) for n, op in enumerate(found, 1))
            continue
        listed = values if isinstance(values, list) else [values]
        gene = GENES.get(key, "operation" if key.startswith(("op", "arch")) else key)
        blocks = len(listed) // max(1, len(depths))
        is_staged = blocks > 1 and len(listed) == blocks * len(depths)
        places = "" if len(listed) == 1 else "stage " if is_staged or key == "d" else "layer "
        for n, value in enumerate(listed):
            stage, block = divmod(n, blocks) if is_staged else (n, 0)
            if not is_staged or block < depths[stage]:
                yield gene, f"{places}{stage + 1}" if places else "", f"{value}"
