"""Questions to the joint model, from a device and the options of a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from latcast._names import unknown_name
from latcast.devices import (
    PRECISIONS,
    RANGES,
    UNIT_OF_KIND,
    Device,
    Target,
    devices,
    only_on,
    runs_pytorch,
    runtime_names,
    target_facts,
    unit,
    unit_of_runtime,
)
from latcast.devices import device as find_device

from ._observations import TargetFacts, computed_in

# Domain -> precisions that were measured in it, the most frequent first.
Domains = Mapping[str, Sequence[str]]

_NCNN, _TENSORRT, _INT8 = "ncnn", "tensorrt", "int8"
# Parts of names of PyTorch's runtimes.
_OF_PYTORCH = ("pytorch", "inductor")
# Facts of an accelerator that grow with its cores at one clock.
_WITH_CORES = (
    "cores", "peak_flops", "base_flops", "bound_flops", "fp32_sum_flops", "matrix_fp32_flops",
)  # fmt: skip
_PEAKS = ("peak_flops", "base_flops")
# What the vectors of any 64-bit CPU hold, and the widths of numbers.
_VECTOR_BITS = 128
_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8}

Facts = Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class Question:
    """A target, and what is known of it before anything was measured there.

    Attributes:
        target: that is asked for.
        facts: of it.
        nested: facts of the device as far as the threads use it, preceded by those of the same
            with fewer cores at equal clocks and bandwidth, the fewest first.
        beyond: facts with more cores, where the nested ones are not all there are.
        measured: facts by which measurements of the chip are found: those before one was varied.
        is_like: whether the device is another one's like, whose facts these are.
        notes: what was chosen, and what is not known, a sentence each.
    """

    target: Target
    facts: TargetFacts
    nested: tuple[TargetFacts, ...]
    beyond: TargetFacts | None
    measured: TargetFacts
    is_like: bool
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        device: Device,
        domains: Domains,
        *,
        name: str | None = None,
        runtime: str | None = None,
        batch: int = 1,
        precision: str | None = None,
        threads: int = 0,
        vary: tuple[str, float] | None = None,
        usual: str | None = None,
    ) -> Question:
        """Make the question from a device and the options of a target.

        Args:
            device: its specification.
            domains: that were measured.
            name: of a device that is nowhere and that ``device`` is like; its own by default.
            runtime: by default one that was measured on such devices.
            batch: of the networks.
            precision: fp32 by default, where the runtime was measured in it.
            threads: of a CPU; all cores by default.
            vary: a figure of the device, and what it is to be, as by :func:`varied`.
            usual: runtime that is usual on the device, where none is asked for; by default as
                the domains tell.

        Raises:
            ValueError: the chip has no part that the runtime runs on, or as :func:`varied`.
        """
        notes, is_asked = [], precision is not None
        if runtime is None:
            runtime = usual or _usual_runtime(device, domains, precision)
            notes.append(f"no runtime is asked for: the forecast is for {runtime} (--runtime)")
        part = unit_of_runtime(runtime) or UNIT_OF_KIND[device.kind]
        domain = _domain(runtime, part, domains)
        domain, why = _known_domain(device, runtime, precision or "fp32", domain, domains)
        if why is not None:
            precision = precision or "fp32"
            notes.append(why)
        if precision is None:
            measured = [p for p in domains.get(domain, ()) if p in PRECISIONS]
            precision = measured[0] if measured and "fp32" not in measured else "fp32"
            if precision != "fp32":
                notes.append(f"no precision is asked for: the forecast is for {precision}")
        found = unit(device, part)
        if threads and part != "cpu":
            notes.append(f"threads are of CPUs: {threads} of them change nothing on {found.name}")
        notes += _notes_of_part(device, found, runtime, domain, precision)
        if name is not None:
            notes.append(f"{name} is taken to be like {device.name}, whose specification it has")
        target = Target(name or device.name, runtime, batch, precision, threads)
        text = str(target)
        computed = computed_in(runtime, precision, target_facts(found))

        def of(own: Facts) -> TargetFacts:
            return TargetFacts(text, found.group, domain, runtime, batch, computed, threads, own)

        before = of(_facts_of(found, part, threads, computed).facts)
        if is_asked and (before.in_halves or computed != precision):
            notes.append(
                f"{runtime} computes networks in fp32 by fp16 arithmetic on {found.name}, which "
                "has it: fp32 and fp16 are one forecast"
            )
        if vary is not None:
            found = varied(found, *vary)
        facts, note, nested, beyond = _facts_of(found, part, threads, computed)
        return cls(
            target,
            of(facts),
            tuple(map(of, nested)),
            None if beyond is None else of(beyond),
            before,
            name is not None,
            (*notes, *note),
        )

    @classmethod
    def of_target(cls, target: Target, domains: Domains) -> Question:
        """A whole target, of a device of the catalogue.

        Raises:
            ValueError: there is no such device; the message suggests the nearest.
        """
        found = devices().get(target.device) or find_device(target.device)
        question = cls.of(
            found,
            domains,
            runtime=target.runtime,
            batch=target.batch,
            precision=target.precision,
            threads=target.threads,
        )
        return replace(question, target=target)


FIGURES = tuple(RANGES)
"""Figures of a device that :func:`varied` takes."""


def known_facts(target: Target, domain: str) -> Facts:
    """Return the catalogue's facts of a target; none of a device that it does not have."""
    if target.device not in devices():
        return {}
    return Question.of_target(target, {domain: ()}).facts.facts


def varied(device: Device, figure: str, value: float) -> Device:
    """A device of which one figure is another; what follows from it goes along.

    Peaks grow with the cores and with the clock, of CPUs those of each type of core.

    Raises:
        ValueError: there is no such figure, it cannot be that, or a peak is asked for that follows
            from the cores and their clocks.
    """
    if figure not in FIGURES:
        raise ValueError(unknown_name("figure of a device", figure, FIGURES))
    number: Any = int(value) if figure in ("cores", "year") and value == int(value) else value
    if figure == "cores" and isinstance(number, int) and number in RANGES["cores"]:
        return _with_cores(device, number)
    if device.clusters and figure.startswith("peak_"):
        raise ValueError(
            f"{figure} of {device.name} follows from its cores and their clocks; vary cores or "
            "clock_ghz"
        )
    clock = device.clock_ghz
    if figure != "clock_ghz" or not clock:
        return replace(device, **{figure: number})
    by = value / clock
    clusters = tuple(
        replace(c, clock_ghz=c.clock_ghz * by, base_ghz=c.base_ghz and c.base_ghz * by)
        for c in device.clusters
    )
    return replace(device, clock_ghz=value, clusters=clusters, **_peaks(device, by))


def _usual_runtime(device: Device, domains: Domains, precision: str | None) -> str:
    """One whose domain is known best, by the kind of device, of those that it can run.

    On x86 CPUs it is ONNX Runtime in int8: it runs the files that its quantizer writes. PyTorch
    runs none in int8 on GPUs.
    """
    kind = device.kind
    if kind == "accelerator":
        return "qnn" if only_on("qnn", device) is None else "tflite"
    facts = target_facts(device)
    if kind == "gpu":
        if precision == _INT8 and _is_nvidia(device) and _INT8 in domains.get(_TENSORRT, ()):
            return _TENSORRT
        return "pytorch" if runs_pytorch(device) else "ncnn-vulkan"
    is_known = _INT8 in domains.get(_domain("onnxruntime", "cpu", domains), ())
    is_usual = precision == _INT8 and facts.get("isa_x86") and is_known
    return "onnxruntime" if is_usual else _NCNN


def _notes_of_part(
    device: Device, part: Device, runtime: str, domain: str, precision: str
) -> Iterator[str]:
    """Yield what is to be said of a runtime on a part of a device's chip."""
    if part.name != device.name:
        of = unit_of_runtime(runtime) or UNIT_OF_KIND[device.kind]
        yield f"{runtime} runs on the {of} of {device.name}: {part.name}"
    if part.kind != "gpu":
        return
    if domain.endswith("vulkan") and "vulkan" not in runtime:
        yield f"{runtime} runs on a GPU by Vulkan"
    if precision == _INT8 and domain.partition("-")[0] in _OF_PYTORCH:
        others = "; TensorRT does (--runtime tensorrt)" if _is_nvidia(device) else ""
        yield (
            f"PyTorch by itself runs no network in {_INT8} on GPUs{others}: the forecast is of "
            "what its kernels would take, scaled by physics"
        )


def _is_nvidia(device: Device) -> bool:
    return bool(target_facts(device).get("vendor_nvidia"))


def _known_domain(
    device: Device, runtime: str, precision: str, domain: str, domains: Domains
) -> tuple[str, str | None]:
    """The domain that tells of a runtime in a precision, and why where it is not its own."""
    own = f"{_NCNN}-cpu"
    if (
        device.kind != "cpu"
        or precision not in domains.get(own, ())
        or precision in domains.get(domain, ())
    ):
        return domain, None
    told = f"{runtime} was not measured in {precision} on such devices"
    if _keeps_domain(device, precision, domain, domains):
        return domain, f"{told}: what it takes in other precisions is scaled by physics"
    # How such cores run ncnn is known; of a domain without a row nothing is.
    return own, f"{told}, {_NCNN} was"


def _keeps_domain(device: Device, precision: str, domain: str, domains: Domains) -> bool:
    """Whether a runtime is better told of by its other precisions than by what ncnn takes.

    That is so of int8 on x86 CPUs: OpenVINO's on an EPYC of the Turin generation, of which nothing
    was measured, is off by 46 % so, and by 200 % as ncnn's (97 networks; of four domains tried).
    """
    is_x86 = bool(target_facts(device).get("isa_x86"))
    return precision == "int8" and is_x86 and domain in domains


def _domain(runtime: str, part: str, domains: Domains) -> str:
    """The domain of a runtime on a part of a chip, whether it was measured or not."""
    names = [runtime, f"{runtime}-{part}"]
    names += [f"{called}-{part}" for called in runtime_names(runtime)[1:]]
    if part == "gpu":
        names.append(f"{runtime}-vulkan")
    return next((n for n in names if n in domains), names[1])


def facts_with_peak(
    device: Device, runtime: str, threads: int, precision: str, cores: str = "all"
) -> tuple[dict[str, float | None], list[str]]:
    """Return :func:`target_facts` with a peak in place of an unknown one, and notes on it.

    It is that of another precision, or what its cores do with vectors of 128 bits (of CPUs) or a
    lane each, at a usual clock where their own is not known. NPUs have none: their prices follow a
    middling one, and a peak made up would make one that was measured look like another chip.
    """
    facts = dict(target_facts(device, runtime, threads, precision, cores)) | {"channels_last": 0.0}
    if facts.get("peak_flops"):
        return facts, []
    note = f"the peak of {device.name} in this precision is not known: it is taken for "
    if facts.get("is_npu"):
        return facts, [f"{note}that of a middling NPU"] if not facts.get("bound_flops") else []
    of = {p: target_facts(device, runtime, threads, p, cores) for p in PRECISIONS}
    known = {p: peak for p, own in of.items() if (peak := own.get("peak_flops"))}
    if known:
        nearest = min(known, key=lambda p: (_BITS[p] != 32, -_BITS[p]))
        told = f"that of {nearest}"
        peak = known[nearest]
    else:
        lanes = _VECTOR_BITS // _BITS[precision] if facts.get("is_cpu") else 1
        number = facts.get("threads") or facts.get("cores") or 1.0
        peak = 2e9 * lanes * number * (facts.get("clock_ghz") or 1.0)
        told = f"{lanes} multiply-adds a core and cycle"
    return facts | dict.fromkeys(_PEAKS, peak), [note + told]


class _Known(NamedTuple):
    """The figures of a target that a device's specification tells.

    Attributes:
        facts: of it.
        notes: what is not known.
        nested: as of :class:`Question`.
        beyond: likewise.
    """

    facts: Facts
    notes: tuple[str, ...]
    nested: tuple[Facts, ...]
    beyond: Facts | None


# Runtimes and batches of a device share their facts: :func:`which` asks for all of them.
@lru_cache(maxsize=1024)
def _facts_of(device: Device, part: str, threads: int, precision: str) -> _Known:
    facts, notes = facts_with_peak(device, part, threads, precision)
    nested, beyond = _nested(device, facts, part, precision)
    return _Known(facts, tuple(notes), tuple(nested), beyond)


def _nested(
    device: Device, facts: Facts, part: str, precision: str
) -> tuple[list[Facts], Facts | None]:
    """Facts with ever more cores up to those in use, and with more than these.

    Of a CPU with every number of its fastest cores; of others, which have thousands, with powers
    of two.
    """
    if not facts.get("is_cpu"):
        cores = facts.get("cores") or 1.0
        powers = [2.0**n for n in range(60) if 2.0**n < cores]
        above = 2.0 * (powers[-1] if powers else 0.5)
        scaled = [_scaled(facts, n / cores) for n in powers]
        return [*scaled, facts], None if above == cores else _scaled(facts, above / cores)
    used = int(facts.get("threads") or facts.get("cores") or 1)
    return [_with_threads(device, part, n, precision) for n in range(1, used + 1)], None


@lru_cache(maxsize=1024)
def _with_threads(device: Device, part: str, threads: int, precision: str) -> Facts:
    """Facts of a CPU that has only so many of its fastest cores, which others do not change."""
    own = _with_cores(device, threads)
    return facts_with_peak(own, part, threads, precision)[0]


def _scaled(facts: Facts, by: float) -> Facts:
    grown = {name: x * by for name in _WITH_CORES if (x := facts.get(name)) is not None}
    return {**facts, **grown}


@lru_cache(maxsize=1024)
def _with_cores(device: Device, cores: int) -> Device:
    """A device that has only so many of its fastest cores, or more of its slowest ones."""
    kept, clusters = cores, []
    for c in sorted(device.clusters, key=lambda c: -c.peak_flops("fp32")):
        if kept > 0:
            clusters.append(replace(c, count=min(c.count, kept)))
        kept -= c.count
    if clusters and kept > 0:
        clusters[-1] = replace(clusters[-1], count=clusters[-1].count + kept)
    peaks = _peaks(device, cores / device.cores)
    return replace(device, cores=cores, clusters=tuple(clusters), **peaks)


def _peaks(device: Device, by: float) -> dict[str, Any]:
    """All stated peaks, so many times as high."""
    names = (n for n in RANGES if n.startswith("peak_"))
    return {n: peak * by for n in names if (peak := getattr(device, n)) is not None}
