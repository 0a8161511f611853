"""The string in which NAS-Bench-201 writes a cell.

``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``: the operations that lead to nodes 1, 2 and 3, each with
the node that it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import short_repr

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CODES = {name: code for code, name in enumerate(OPERATIONS, start=1)}
_PATTERN = re.compile(
    r"\+".join(
        r"\|" + "".join(rf"([a-z0-9_]+)~{source}\|" for source in range(node))
        for node in range(1, 4)
    )
)


def parse_cells(items: Iterable[Any]) -> npt.NDArray[np.int64]:
    """Codes of the operations (n, 6) from strings, or dicts that hold one as ``arch``.

    Raises:
        ValueError: an item is neither; the message names it.
    """
    rows = [_parse_one(n, item) for n, item in enumerate(items)]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(EDGES))


def format_cells(genes: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
    """The inverse of :func:`parse_cells`, ``{"arch": "|…|"}`` of every row."""
    return [{"arch": _arch_string(row)} for row in genes.tolist()]


def _parse_one(n: int, item: Any) -> list[int]:
    text = item.get("arch") if isinstance(item, Mapping) and set(item) == {"arch"} else item
    found = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(
            f"architecture {n} must be a string like |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, or a "
            f"dict that holds one as 'arch'; got {short_repr(item)}"
        )
    for operation in found.groups():
        if operation not in CODES:
            raise ValueError(
                f"architecture {n}: an operation must be one of {', '.join(OPERATIONS)}; "
                f"got {operation!r}"
            )
    return [CODES[operation] for operation in found.groups()]


def _arch_string(genes: list[int]) -> str:
    parts = [
        f"{OPERATIONS[code - 1]}~{source}" for code, (source, _) in zip(genes, EDGES, strict=True)
    ]
    return f"|{parts[0]}|+|{'|'.join(parts[1:3])}|+|{'|'.join(parts[3:])}|"
