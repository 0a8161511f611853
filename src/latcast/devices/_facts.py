"""Facts of a target as numbers: what a model of all targets learns from, and its physical bound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from latcast._names import unknown_name

from ._catalogue import device, devices
from ._cores import Cluster, cores
from ._device import MEMORY_TYPES, PRECISIONS, Device
from ._runtimes import unit_of_runtime

UNITS = ("cpu", "gpu", "npu")
"""Parts of a chip that run networks."""

SELECTIONS = ("all", "big", "little")
"""Cores that threads are bound to."""

ISAS = ("arm", "apple", "x86", "riscv", "loongarch", "mips", "sw64")
VENDORS = (
    "nvidia", "amd", "intel", "apple", "adreno", "mali", "powervr", "videocore", "vivante",
)  # fmt: skip

# Makers of GPUs that PyTorch runs on, and GB/s that phones and boards do not reach (135 at most in
# the catalogue): a planned GPU, whose maker nobody knows, has its memory to itself from there on.
_WITH_PYTORCH = ("nvidia", "amd")
_OWN_MEMORY_GB_S = 200.0
_OF_PHONES = ("adreno", "mali", "powervr", "apple", "videocore", "vivante")
# First part of a runtime's name and part of a chip -> what must be told of the part for the runtime
# to exist there, any of it: flags of its facts, or words of its title; nothing: it exists on none.
# A pair that is not here exists on all.
_ONLY_ON: dict[tuple[str, str], tuple[str, ...]] = {
    ("tensorrt", "gpu"): ("nvidia",),
    ("cuda", "gpu"): ("nvidia",),
    ("pytorch", "gpu"): ("nvidia", "amd", "intel", "apple"),
    ("inductor", "gpu"): ("nvidia", "amd", "intel", "apple"),
    ("openvino", "gpu"): ("intel",),
    # LiteRT's delegate is for GPUs of phones and boards.
    ("tflite", "gpu"): _OF_PHONES,
    ("litert", "gpu"): _OF_PHONES,
    ("openvino", "cpu"): ("x86", "arm", "apple"),
    ("openvino", "npu"): ("intel",),
    ("qnn", "npu"): ("qualcomm",),
    ("precompiled", "npu"): ("qualcomm",),
    ("pytorch", "npu"): ("google", "aws"),
    ("inductor", "npu"): (),
    ("ncnn", "npu"): (),
}

UNIT_OF_KIND = {"cpu": "cpu", "phone": "cpu", "gpu": "gpu", "accelerator": "npu"}
"""Kind of device -> the part of its chip that it is."""
_KIND_OF_UNIT = {u: tuple(k for k, own in UNIT_OF_KIND.items() if own == u) for u in UNITS}

# Share by which a GeForce card runs above the boost clock of its data sheet while it is cool
# ("typical graphics card" boost, NVIDIA; cards of partners are clocked up to 10 % higher as well).
_ABOVE_BOOST = 1.2

# What numpy reaches of a CPU's peak at least; a peak that was measured is bounded by so much more.
_MEASURED_SHARE = 0.8

# GeForce cards with tensor cores sum fp16 in fp32 at half the rate (Turing, Ampere and Ada
# whitepapers); PyTorch and TensorRT sum in fp32.
_HALVED_BY_FP32_SUMS = "NVIDIA GeForce RTX"

# Generations of NVIDIA whose matrix units take fp32 tensors as TF32, at half the rate of bfloat16.
_WITH_TF32 = ("ampere", "ada", "hopper", "blackwell")

_CORE_FLAGS = ("fp16", "dotprod", "i8mm", "sve", "avx2", "avx512", "vnni", "amx", "rvv")

Facts = dict[str, float | None]


def unit(whole: Device, part: str) -> Device:
    """The CPU, GPU or NPU of a device's chip, a device too; the device itself where it is that.

    Of several GPUs of one chip, it is the one whose name begins most alike.

    Raises:
        ValueError: there is no such unit, or none is known of this chip.
    """
    if part not in UNITS:
        raise ValueError(unknown_name("unit", part, UNITS))
    kinds = _KIND_OF_UNIT[part]
    if whole.kind in kinds:
        return whole
    found = [d for d in devices().values() if d.kind in kinds and d.group == whole.group]
    if not found:
        raise ValueError(
            f"{whole.name}: no {part} of its chip {whole.group!r} is known; write a device of kind "
            f"{kinds[0]!r} with chip = {whole.group!r} into a file of your own (docs/devices.md)"
        )

    def common(d: Device) -> int:
        """How many letters both names begin with."""
        letters = zip(d.name, whole.name, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], letters))

    return max(found, key=common)


def target_facts(
    target: str | Device,
    runtime: str = "",
    threads: int = 0,
    precision: str = "fp32",
    cores: str = "all",
) -> Facts:
    """Facts of a device as a runtime uses it; positive numbers, flags of 0 and 1, None if unknown.

    On a CPU, threads run on the fastest cores of the selection, one each. ``peak_flops`` counts
    them at their highest clocks, ``base_flops`` at those that all cores hold; on another device
    both are the stated peak, and ``fp32_sum_flops`` is that with sums in fp32. Where no runtime has
    code for a core's vectors, these are of scalar code. ``bound_flops`` is
    what no code exceeds: the most that is known of this precision, of those with more bits and,
    where it is not stated, of those with fewer; matrix units and clocks above the stated boost
    included (of Apple's CPUs, the vector units alone). Rates are FLOP/s, int8's operations/s.

    Args:
        target: a device or its name.
        runtime: of which a part of the name may tell the part of the chip, as ``ncnn-vulkan``.
        threads: of a CPU; 0 for one on each core of the selection.
        precision: one of :data:`~latcast.devices.PRECISIONS`.
        cores: ``big`` and ``little`` are the cores above and below the middle of the highest and
            the lowest clock (ncnn's ``powersave``); all cores where they are alike.

    Raises:
        ValueError: a name is not known, or ``threads`` is negative.
    """
    if precision not in PRECISIONS:
        raise ValueError(unknown_name("precision", precision, PRECISIONS))
    if cores not in SELECTIONS:
        raise ValueError(unknown_name("selection of cores", cores, SELECTIONS))
    if threads < 0:
        raise ValueError(f"threads must be 0 (all) or a positive number; got {threads}")
    whole = device(target) if isinstance(target, str) else target
    part = unit_of_runtime(runtime)
    found = whole if part is None else unit(whole, part)
    facts = _general(found)
    if found.kind in _KIND_OF_UNIT["cpu"]:
        facts |= _of_cpu(found, threads, precision, cores)
    else:
        facts |= _of_accelerator(found, precision)
    return {name: None if value is None else float(value) for name, value in facts.items()}


def _general(found: Device) -> Facts:
    memory = None if found.memory_type is None else found.memory_type.lower()
    facts: Facts = {f"is_{u}": float(found.kind in kinds) for u, kinds in _KIND_OF_UNIT.items()}
    for kind in MEMORY_TYPES:
        facts[f"memory_{kind}"] = None if memory is None else float(memory.startswith(kind))
    for name in ("memory_gb", "bandwidth_gb_s", "l1d_kb", "l2_kb", "l3_kb", "launch_us", "power_w"):
        facts[name] = getattr(found, name)
    facts["year"] = found.year
    known = (found.last_level_kb, found.l3_kb, found.l2_kb)
    facts["last_level_kb"] = next((kb for kb in known if kb is not None), None)
    return facts


def selected(clusters: Sequence[Cluster], selection: str) -> list[Cluster]:
    """The clusters that ``big`` or ``little`` binds threads to."""
    clocks = [c.clock_ghz for c in clusters]
    middle = (max(clocks) + min(clocks)) / 2
    if selection == "all" or max(clocks) == min(clocks):
        return list(clusters)
    return [c for c in clusters if (c.clock_ghz >= middle) == (selection == "big")]


def _of_cpu(found: Device, threads: int, precision: str, selection: str) -> Facts:
    clusters = found.cpu_clusters()
    stated = None if found.clusters else found.peak_flops("fp32")
    facts: Facts = {"cores": float(found.cores), "clock_ghz": found.clock_ghz}
    if not clusters:
        stated = found.peak_flops(precision)
        share = min(threads or found.cores, found.cores) / found.cores
        of_used = None if stated is None else share * stated
        one = None if stated is None else stated / found.cores
        facts |= dict.fromkeys(("peak_flops", "base_flops", "bound_flops"), of_used)
        return facts | {"peak_core_flops": one, "threads": share * found.cores}
    own = selected(clusters, selection)
    used = _fastest(own, threads)
    fastest = used[0][0]
    first, count = cores()[fastest.core], sum(n for _, n in used)
    peak = sum(n * c.peak_flops(precision) for c, n in used)
    fp32 = sum(n * c.peak_flops("fp32") for c, n in used)
    # Of cores that are told by their features, the clock may be less than they reach.
    faster = (stated or 0) / _MEASURED_SHARE * count / found.cores / fp32
    facts |= {
        "threads": float(count),
        "clock_ghz": fastest.clock_ghz,
        "base_ghz": fastest.base_ghz or fastest.clock_ghz,
        "slowest_clock_ghz": min(c.clock_ghz for c, _ in used),
        "per_cycle": first.by_runtimes(precision),
        "fp32_per_cycle": first.by_runtimes("fp32"),
        "peak_flops": sum(n * c.runtimes_flops(precision) for c, n in used),
        "base_flops": sum(n * c.runtimes_flops(precision, base=True) for c, n in used),
        "bound_flops": peak * max(1, faster),
        "peak_core_flops": fastest.runtimes_flops(precision),
        "is_in_order": float(not first.out_of_order),
        "share_of_fastest": sum(n for c, n in used if c.core == fastest.core) / count,
    }
    facts |= {f"has_{f}": float(f in first.features) for f in _CORE_FLAGS}
    facts |= {f"isa_{isa}": float(isa == (first.vendor or first.isa)) for isa in ISAS}
    for name, size in (("l1d_kb", first.l1d_kb), ("l2_kb", first.l2_kb)):
        facts[name] = size if getattr(found, name) is None else getattr(found, name)
    return facts | {"last_level_kb": _last_level(found, used, facts)}


def _fastest(clusters: Sequence[Cluster], threads: int) -> list[tuple[Cluster, int]]:
    """Return the number of cores of each cluster among the ``threads`` fastest ones (0: all)."""
    used, left = [], threads or sum(c.count for c in clusters)
    for cluster in sorted(clusters, key=lambda c: c.peak_flops("fp32"), reverse=True):
        if left > 0:
            used.append((cluster, min(cluster.count, left)))
        left -= cluster.count
    return used


def _last_level(found: Device, used: Sequence[tuple[Cluster, int]], facts: Facts) -> float | None:
    """Stated, or the shared cache and the cores' own ones together, KiB: what data may stay in."""
    own = [(cores()[c.core].l2_kb, n) for c, n in used]
    private = sum(n * kb for kb, n in own if kb is not None)
    shared = found.last_level_kb or found.l3_kb
    if shared is None and not private:
        return facts["l2_kb"]
    return (shared or 0.0) + private


def _of_accelerator(found: Device, precision: str) -> Facts:
    peak = found.peak_flops(precision)
    words = {found.title.lower().split(" ")[0], (found.architecture or "").split("-")[0]}
    matrix = found.peak_matrix_fp32_flops
    if matrix is None and "nvidia" in words and found.architecture in _WITH_TF32:
        matrix = None if found.peak_bf16_flops is None else found.peak_bf16_flops / 2
    facts: Facts = {
        "cores": found.cores,
        "clock_ghz": found.clock_ghz,
        "peak_flops": peak,
        "base_flops": peak,
        "bound_flops": _bound(found, precision, matrix),
        "fp32_sum_flops": _with_fp32_sums(found, precision),
        "matrix_fp32_flops": matrix,
        "peak_core_flops": None if peak is None else peak / found.cores,
    }
    if found.kind == "gpu":
        facts |= {f"vendor_{v}": float(v in words) for v in VENDORS}
    return facts


def runs_pytorch(found: Device) -> bool:
    """Whether PyTorch is what usually runs on a GPU, by its maker or, of none known, its memory."""
    facts = target_facts(found)
    if not any(facts.get(f"vendor_{v}") for v in VENDORS):
        return found.kind == "gpu" and (found.bandwidth_gb_s or 0.0) >= _OWN_MEMORY_GB_S
    return any(facts.get(f"vendor_{v}") for v in _WITH_PYTORCH)


def only_on(runtime: str, part: Device) -> str | None:
    """The makers or kinds that a runtime is for, where a CPU, GPU or NPU is of none; else None.

    A planned part, of which no maker is known, is of any.
    """
    unit_name = UNIT_OF_KIND[part.kind]
    makers = _ONLY_ON.get((runtime.partition("-")[0], unit_name))
    if makers is None:
        return None
    told = "no NPU" if not makers else f"{unit_name.upper()}s of {', '.join(makers)} alone"
    facts, words = target_facts(part), part.title.lower().split()
    flags = {n: x for n, x in facts.items() if n.startswith(("isa_", "vendor_"))}
    is_unknown = part.kind != "accelerator" and not any(flags.values())
    is_its = any(m in words or flags.get(f"isa_{m}") or flags.get(f"vendor_{m}") for m in makers)
    return None if is_its or (makers and is_unknown) else told


def _with_fp32_sums(found: Device, precision: str) -> float | None:
    """The stated peak, of fp16 with sums in fp32."""
    peak = found.peak_flops(precision)
    halved = precision == "fp16" and found.title.startswith(_HALVED_BY_FP32_SUMS)
    return peak / 2 if halved and peak is not None else peak


def _bound(found: Device, precision: str, matrix: float | None) -> float | None:
    """The most that is known of a precision.

    Numbers of fewer bits are converted where a device is faster with more. A rate that is not
    stated is at most that of fewer bits, or else fp32's by the bits, as of vector units: those
    with matrix units are stated.
    """
    stated = {p: found.peak_flops(p) for p in PRECISIONS}
    bits = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8}
    known = {p: x for p, x in stated.items() if x is not None}
    rates = [x for p, x in known.items() if bits[p] >= bits[precision]]
    rates += [matrix] if matrix is not None else []
    if precision not in known:
        narrower = [x for p, x in known.items() if bits[p] < bits[precision]]
        rates += narrower or [x * bits[p] / bits[precision] for p, x in known.items()]
    boosted = _ABOVE_BOOST if found.title.startswith("NVIDIA GeForce") else 1.0
    return boosted * max(rates) if rates else None
