"""Types of CPU cores, what each does in a cycle, and clusters of them.

The rates are those of the vector units at their best: arithmetic that no code exceeds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

from latcast._names import unknown_name

# Rate of a precision as a multiple of fp32's, by the instruction that a core has for it; the first
# that it has counts. Operations of an instruction over those of an fp32 multiply-add of the same
# width: SDOT and VPDPBUSD do four multiply-adds a 32-bit lane, SMMLA eight, BFMMLA four, half
# precision two. Without any of them, int8 goes through 16-bit multiply-adds (SMLAL, PMADDWD): two.
_RATES: dict[str, tuple[tuple[str, float], ...]] = {
    "fp32": (("", 1.0),),
    "fp16": (("fp16", 2.0), ("", 1.0)),
    "bf16": (("bf16mm", 4.0), ("bf16dot", 2.0), ("", 1.0)),
    "int8": (("i8mm", 8.0), ("dotprod", 4.0), ("vnni", 4.0), ("simd", 2.0), ("", 1.0)),
}

# Intel's tiles (Intel 64 and IA-32 manual, AMX): 16 x 16 results of 64 bytes deep in 16 cycles.
_AMX_RATES = {"bf16": 1024.0, "int8": 2048.0}

FEATURES = (
    "simd", "fp16", "dotprod", "i8mm", "bf16mm", "bf16dot", "sve", "avx", "avx2", "avx512", "vnni",
    "amx", "rvv", "lsx", "lasx", "msa",
)  # fmt: skip
"""What a type of core can have."""

# Features that Linux names -> ours, for a host or a user's device of an unknown type of core.
_OF_LINUX = {
    "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16mm", "sve": "sve",
    "avx": "avx", "avx2": "avx2", "avx512f": "avx512", "avx512_vnni": "vnni", "avx_vnni": "vnni",
    "avx512_bf16": "bf16dot", "avx512_fp16": "fp16", "amx_int8": "amx",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Core:
    """A type of CPU core.

    Attributes:
        name: as clusters and a device's ``architecture`` name it, such as ``cortex-a76``.
        isa: instruction set: ``arm``, ``x86``, ``riscv``, ``loongarch``, ``mips`` or ``sw64``.
        fp32: FLOP a cycle in single precision, a multiply-add counted as two.
        out_of_order: whether instructions are reordered.
        features: of :data:`FEATURES`.
        l1d_kb: level 1 data cache, KiB; None where it differs by chip.
        l2_kb: level 2 cache of its own, KiB; None where clusters share it or it differs by chip.
        vendor: ``apple`` for Apple's own; empty for all others.
        compiled: precision -> FLOP a cycle of scalar code, where no runtime has code for vectors.
    """

    name: str
    isa: str
    fp32: float
    out_of_order: bool
    features: tuple[str, ...] = ()
    l1d_kb: float | None = None
    l2_kb: float | None = None
    vendor: str = ""
    compiled: Mapping[str, float] = field(default_factory=dict, hash=False)

    def per_cycle(self, precision: str) -> float:
        """FLOP (int8: operations) a cycle in a precision, an upper bound.

        A precision that the core has no instructions for is converted to fp32, and runs at its
        rate.
        """
        if "amx" in self.features and precision in _AMX_RATES:
            return _AMX_RATES[precision]
        rates = _RATES[precision]
        return self.fp32 * next(rate for need, rate in rates if not need or need in self.features)

    def by_runtimes(self, precision: str) -> float:
        """FLOP (int8: operations) a cycle of the instructions that runtimes have code for."""
        return self.compiled.get(precision) or self.per_cycle(precision)


def _check_clock(core: str, name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0.01 <= value <= 10):  # type: ignore[operator]  # a number
        raise ValueError(
            f"{name} of {core} must be a clock in GHz, from 0.01 to 10; got {value!r} "
            "(divide MHz by 1000)"
        )


@dataclass(frozen=True, slots=True)
class Cluster:
    """Cores of one type at one clock.

    Attributes:
        core: name of a type of core; :func:`cores` lists them.
        count: how many.
        clock_ghz: highest clock, GHz.
        base_ghz: clock that all of them hold, GHz; None where it is unknown or the same.

    Raises:
        ValueError: the type is unknown, or a figure cannot be.
    """

    core: str
    count: int
    clock_ghz: float
    base_ghz: float | None = None

    def __post_init__(self) -> None:
        if self.core not in cores():
            raise ValueError(unknown_name("type of core", str(self.core), list(cores())))
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(
                f"count of {self.core} must be a whole number of at least 1; got {self.count!r}"
            )
        _check_clock(self.core, "clock_ghz", self.clock_ghz)
        if self.base_ghz is not None:
            _check_clock(self.core, "base_ghz", self.base_ghz)

    def peak_flops(self, precision: str, *, base: bool = False) -> float:
        """Peak FLOP/s of one core, at the highest clock or the one that all of them hold."""
        return self._hertz(base) * cores()[self.core].per_cycle(precision)

    def runtimes_flops(self, precision: str, *, base: bool = False) -> float:
        """:meth:`peak_flops` of the instructions that runtimes have code for."""
        return self._hertz(base) * cores()[self.core].by_runtimes(precision)

    def _hertz(self, base: bool) -> float:
        return 1e9 * ((self.base_ghz if base else None) or self.clock_ghz)

    def __str__(self) -> str:
        base = "" if self.base_ghz is None else f" (base {self.base_ghz:g})"
        return f"{self.count} x {self.core} at {self.clock_ghz:g} GHz{base}"


@lru_cache(maxsize=1)
def cores() -> dict[str, Core]:
    """All types of cores by name."""
    text = (resources.files("latcast.devices") / "cores.toml").read_text(encoding="utf-8")
    return {
        name: Core(name, **(row | {"features": tuple(row.get("features", "").split())}))
        for name, row in tomllib.loads(text).items()
    }


def generic_core(features: Collection[str]) -> str | None:
    """The generic type of core that has the features, as Linux names them; None where it is open.

    Of several the fastest: its rates are the most that a core with these features does.
    """
    own = {_OF_LINUX[f] for f in features if f in _OF_LINUX}
    if not own and not {"asimd", "sse4_2"} & set(features):
        return None
    isa = "arm" if {"asimd", "asimdhp", "sve"} & set(features) else "x86"
    fitting = [
        c
        for c in cores().values()
        if c.name.startswith("generic-") and c.isa == isa and set(c.features) - {"simd"} <= own
    ]
    return max(fitting, key=lambda c: (len(c.features), c.fp32)).name if fitting else None
