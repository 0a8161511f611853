"""Precision of a network: the types in which its file holds what is multiplied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ._operators import Layer

# Name of an element type in numpy or PyTorch -> precision. Of all others nothing is multiplied.
_NAMES = {
    "float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int16": "int16",
    "uint16": "int16", "int8": "int8", "uint8": "int8", "int4": "int4", "uint4": "int4",
    "int2": "int2", "uint2": "int2", "float4e2m1": "fp4",
}  # fmt: skip
# Precision -> bits of an element.
BITS = {
    "fp64": 64, "fp32": 32, "fp16": 16, "bf16": 16, "int16": 16, "fp8": 8, "int8": 8, "int4": 4,
    "fp4": 4, "int3": 3, "int2": 2, "int1": 1,
}  # fmt: skip
# Share of the multiply-accumulates from which on a network is of one precision.
_MOST = 0.9


def precision_of(type_name: str) -> str:
    """Precision of an element type; fp32 of one that nothing is multiplied in."""
    return _NAMES.get(type_name, "fp8" if type_name.startswith("float8") else "fp32")


def precision_shares(layers: Iterable[Layer]) -> dict[str, float]:
    """Share of the multiply-accumulates by precision, the largest first; empty without any."""
    work: dict[str, int] = {}
    for layer in layers:
        if macs := layer.macs * layer.runs if layer.is_supported else 0:
            work[layer.precision] = work.get(layer.precision, 0) + macs
    total = sum(work.values())
    ordered = sorted(work.items(), key=lambda item: -item[1])
    return {name: macs / total for name, macs in ordered}


def main_precision(shares: Mapping[str, float]) -> str | None:
    """Precision of nine tenths of the multiply-accumulates, or ``mixed``; None without any."""
    return next((n if s >= _MOST else "mixed" for n, s in shares.items()), None)


def precision_text(shares: Mapping[str, float]) -> str:
    """Precision in words, such as ``int8 (96 % of the MACs), fp32 (4 %)``."""
    if len(shares) == 1:
        return next(iter(shares))
    percent = [f"{name} ({100 * share:.3g} %" for name, share in shares.items()]
    return ", ".join(f"{x}{'' if n else ' of the MACs'})" for n, x in enumerate(percent))
