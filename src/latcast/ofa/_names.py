"""Names in state dicts of Once-For-All networks, which its versions write differently."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")

_REWRITES = (
    (re.compile(r"^module\."), ""),  # of a network that was trained on several GPUs
    (re.compile(r"^(blocks\.\d+)\.conv\."), r"\1.mobile_inverted_conv."),
    # The stem's residual calls its layer "conv", which has a "conv".
    (re.compile(r"(?<!^input_stem\.1)\.(conv|bn|linear)\.\1\."), r".\1."),
)


def plain(name: str) -> str:
    """The name as one architecture's own file has it: elastic layers are one level less deep."""
    for pattern, replacement in _REWRITES:
        name = pattern.sub(replacement, name)
    return name


def matched(state: Mapping[str, Value], names: Iterable[str]) -> dict[str, Value]:
    """``state`` under those of ``names`` that mean the same; other names stay as they are."""
    known = {plain(name): name for name in names}
    return {known.get(plain(key), key): value for key, value in state.items()}
