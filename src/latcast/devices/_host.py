"""What an operating system says about the machine it runs on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
"""CPU features that matter for inference, as Linux calls them in ``/proc/cpuinfo``."""


@dataclass(frozen=True, slots=True)
class Host:
    """The machine as this process sees it; what the system does not tell is None.

    Attributes:
        model: the CPU maker's name for it.
        cores: physical cores that this process may use; logical ones where the system does not
            tell them apart.
        memory_bytes: memory that this process may use.
        clock_ghz: highest CPU clock that the system states.
        l1d_kb: level 1 data cache of a core, KiB.
        l2_kb: level 2 cache of a core or cluster, KiB.
        l3_kb: level 3 cache that the first core shares, KiB.
        last_level_kb: all last-level caches of the usable cores together, KiB.
        features: those of :data:`FEATURES` that the CPU has; empty where unknown.
    """

    model: str
    cores: int
    memory_bytes: int | None = None
    clock_ghz: float | None = None
    l1d_kb: int | None = None
    l2_kb: int | None = None
    l3_kb: int | None = None
    last_level_kb: int | None = None
    features: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Model and cores as a device name, such as ``amd-epyc-2c``."""
        return f"{slug(self.model)}-{self.cores}c"


def known_features(found: Iterable[str]) -> tuple[str, ...]:
    """Those of :data:`FEATURES` among ``found``, in their order there."""
    present = set(found)
    return tuple(f for f in FEATURES if f in present)


def slug(model: str) -> str:
    """A CPU's name as part of a device name: lower case, and without what says nothing.

    ``Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz`` becomes ``intel-xeon-e5-2680-v4``.
    """
    text = re.sub(r"\((?:r|tm|c)\)|@.*", " ", model.lower(), flags=re.DOTALL)
    text = re.sub(r"\b(?:cpu|processor|(?:\d+|dual|quad|six|eight)-core)\b", " ", text)
    text = re.sub(r"[^a-z0-9.+]+", "-", text).strip("-.+")
    return text[:60].rstrip("-.+") or "cpu"


def positive(text: str | None) -> float | None:
    """A positive finite number from text, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def positive_int(text: str | None) -> int | None:
    """A positive integer from text, or None."""
    text = (text or "").strip()
    # Nothing that these files hold is longer than 20 digits; Python refuses 5,000.
    if not re.fullmatch(r"[0-9]{1,20}", text):
        return None
    return int(text) or None
