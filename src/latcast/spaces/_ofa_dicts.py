"""The dict form in which Once-For-All writes an architecture.

``{"ks": [20 kernel sizes], "e": [20 expand ratios], "d": [5 depths], "r": [resolution]}``; a
``"wid"`` of None is allowed. Blocks go stage by stage, 4 positions each; values of positions
beyond a stage's depth are kept but change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import short_repr

STAGES = 5
POSITIONS = 4
BLOCKS = STAGES * POSITIONS
_LENGTHS = {"ks": BLOCKS, "e": BLOCKS, "d": STAGES, "r": 1}
GENES = sum(_LENGTHS.values())


def parse_ofa_dicts(items: Iterable[Any]) -> npt.NDArray[np.int64]:
    """Gene values of OFA dicts, shape (n, 46): kernel sizes, expand ratios, depths, resolution.

    Raises:
        ValueError: an item is no such dict; the message names the item and the key.
    """
    rows = [_parse_one(n, item) for n, item in enumerate(items)]
    return np.array(rows, dtype=np.int64).reshape(len(rows), GENES)


def format_ofa_dicts(genes: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
    """The inverse of :func:`parse_ofa_dicts`."""
    ends = np.cumsum(list(_LENGTHS.values()))[:-1]
    parts = [part.tolist() for part in np.split(genes, ends, axis=1)]
    return [dict(zip(_LENGTHS, row, strict=True)) for row in zip(*parts, strict=True)]


def _parse_one(n: int, item: Any) -> list[int]:
    if not isinstance(item, Mapping):
        raise ValueError(
            f"architecture {n} must be a dict with the keys ks, e, d and r; got {short_repr(item)}"
        )
    if item.get("wid") is not None:
        raise ValueError(
            f"architecture {n}: 'wid' must be None (the width belongs to the space); "
            f"got {short_repr(item['wid'])}"
        )
    unknown = set(item) - set(_LENGTHS) - {"wid"}
    if unknown:
        raise ValueError(f"architecture {n} has the unknown key {sorted(map(str, unknown))[0]!r}")
    row: list[int] = []
    for key, length in _LENGTHS.items():
        if key not in item:
            raise ValueError(f"architecture {n} lacks the key {key!r}")
        values = item[key]
        if key == "r" and not isinstance(values, list | tuple):
            values = [values]
        if (
            not isinstance(values, list | tuple)
            or len(values) != length
            or not all(_is_gene(v) for v in values)
        ):
            raise ValueError(
                f"architecture {n}: {key!r} must be {length} integers from 0 to 255; "
                f"got {short_repr(values)}"
            )
        row.extend(int(v) for v in values)
    return row


def _is_gene(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return 0 <= int(value) <= 255
