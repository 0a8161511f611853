"""The lists in which HW-NAS-Bench writes an FBNet.

``{"op_idx_list": [22 numbers], "arch_str": [22 names]}``: numbers count :data:`CHOICES` from 0.
Either will do; with both, they must agree. A plain list of names or numbers will do as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import short_repr, unknown_name

BLOCKS = {
    "k3_e1": (3, 1, 1),
    "k3_e1_g2": (3, 1, 2),
    "k3_e3": (3, 3, 1),
    "k3_e6": (3, 6, 1),
    "k5_e1": (5, 1, 1),
    "k5_e1_g2": (5, 1, 2),
    "k5_e3": (5, 3, 1),
    "k5_e6": (5, 6, 1),
}
"""Name -> kernel size, expand ratio, groups of the 1 x 1 convolutions."""
SKIP = "skip"
CHOICES = (*BLOCKS, SKIP)
LAYERS = 22

CODES = {name: code for code, name in enumerate(CHOICES, start=1)}


def parse_block_lists(items: Iterable[Any]) -> npt.NDArray[np.int64]:
    """Codes of the blocks (n, 22), from 1, of dicts or plain lists.

    Raises:
        ValueError: an item is neither, or its two forms differ; the message names it.
    """
    rows = [_parse_one(n, item) for n, item in enumerate(items)]
    return np.array(rows, dtype=np.int64).reshape(len(rows), LAYERS)


def format_block_lists(genes: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Dicts with both forms, the inverse of :func:`parse_block_lists`."""
    indices = (genes.astype(np.int64) - 1).tolist()
    return [{"op_idx_list": row, "arch_str": [CHOICES[i] for i in row]} for row in indices]


def _parse_one(n: int, item: Any) -> list[int]:
    if isinstance(item, list | tuple):
        return _codes(n, "the list", item)
    known = {"op_idx_list", "arch_str"}
    if not isinstance(item, Mapping) or not known & set(item):
        raise ValueError(
            f"architecture {n} must be a dict with 'op_idx_list' or 'arch_str', or a list of "
            f"{LAYERS} blocks; got {short_repr(item)}"
        )
    forms = [_codes(n, repr(key), item[key]) for key in sorted(known & set(item))]
    if forms[0] != forms[-1]:
        layer = next(i for i, (a, b) in enumerate(zip(*forms, strict=True), start=1) if a != b)
        raise ValueError(
            f"architecture {n}: 'op_idx_list' and 'arch_str' must agree; layer {layer} differs"
        )
    return forms[0]


def _codes(n: int, what: str, values: Any) -> list[int]:
    if not isinstance(values, list | tuple) or len(values) != LAYERS:
        raise ValueError(
            f"architecture {n}: {what} must hold {LAYERS} blocks; got {short_repr(values)}"
        )
    return [_code(n, value) for value in values]


def _code(n: int, value: Any) -> int:
    if isinstance(value, str):
        if value not in CODES:
            raise ValueError(f"architecture {n}: {unknown_name('block', value, list(CHOICES))}")
        return CODES[value]
    is_index = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_index or not 0 <= value < len(CHOICES):
        raise ValueError(
            f"architecture {n}: a block must be a name or a number from 0 to "
            f"{len(CHOICES) - 1}; got {short_repr(value)}"
        )
    return int(value) + 1
