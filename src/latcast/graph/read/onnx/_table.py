"""The table: ONNX operator -> how a node of it is read."""

from __future__ import annotations

from ._moves import MOVES
from ._pointwise import POINTWISE
from ._products import PRODUCTS
from ._reductions import REDUCTIONS
from ._values import Entry
from ._windows import WINDOWS

READERS: dict[str, Entry] = {**WINDOWS, **PRODUCTS, **POINTWISE, **REDUCTIONS, **MOVES}
"""Name of an operator, after its domain where that is not ONNX's own, -> how it is read."""
