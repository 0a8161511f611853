"""Targets, and what is known of a device, in what units and within which ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass

from latcast._names import unknown_name

from ._cores import Cluster, cores, generic_core

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """Device, runtime, batch size, precision and threads.

    Latencies of different targets are never mixed: compare targets with ``==``.

    Args:
        device: name of the device in lower case, such as ``samsung-note10``.
        runtime: what ran the network, such as ``pytorch``; ``lookup-table`` for sums of one.
        batch: networks are timed on this many samples at once, at least 1.
        precision: one of :data:`PRECISIONS`.
        threads: number of CPU threads; 0 where it is unknown or does not apply.

    Raises:
        ValueError: a part is not of that form.
    """

    device: str
    runtime: str
    batch: int = 1
    precision: str = "fp32"
    threads: int = 0

    def __post_init__(self) -> None:
        for part in ("device", "runtime"):
            value = getattr(self, part)
            if not isinstance(value, str) or not NAME.fullmatch(value):
                raise ValueError(
                    f"a target's {part} must be lower-case letters, digits, '.', '+' or '-'; "
                    f"got {value!r}"
                )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"a target's precision must be one of {', '.join(PRECISIONS)}; "
                f"got {self.precision!r}"
            )
        for part, least in (("batch", 1), ("threads", 0)):
            value = getattr(self, part)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"a target's {part} must be an integer of at least {least}; got {value!r}"
                )

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``DEVICE/RUNTIME/bBATCH[/PRECISION][/tTHREADS]``, the form of ``str(target)``.

        Raises:
            ValueError: the text is not of that form.
        """
        device, *rest = text.split("/")
        if not rest:
            raise ValueError(_form(text))
        runtime, *rest = rest
        fields: dict[str, int | str] = {}
        for part in rest:
            if match := re.fullmatch(r"([bt])(\d{1,9})", part):
                key = {"b": "batch", "t": "threads"}[match[1]]
            else:
                key = "precision"
            if key in fields:
                raise ValueError(_form(text))
            fields[key] = int(match[2]) if match else part
        return cls(device, runtime, **fields)  # type: ignore[arg-type]  # checked on creation

    def __str__(self) -> str:
        text = f"{self.device}/{self.runtime}/b{self.batch}"
        if self.precision != "fp32":
            text += f"/{self.precision}"
        if self.threads:
            text += f"/t{self.threads}"
        return text

    def __repr__(self) -> str:
        """The expression that makes it again: ``Target.parse('rtx-4090/pytorch/b1')``."""
        return f"Target.parse({str(self)!r})"


def _form(text: str) -> str:
    return (
        "a target must be written DEVICE/RUNTIME/bBATCH[/PRECISION][/tTHREADS], "
        f"such as samsung-note10/lookup-table/b1; got {text!r}"
    )


KINDS = ("cpu", "gpu", "phone", "accelerator")


@dataclass(frozen=True, slots=True)
class Range:
    """The possible range of a figure; a value outside was most likely given in another unit.

    Attributes:
        least: the least it can be.
        most: the most it can be.
        meaning: what it is, with its unit.
        remedy: what to do about a figure outside.
    """

    least: float
    most: float
    meaning: str
    remedy: str

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.least <= value <= self.most


_MEMORY = ("memory in GB (10^9 bytes)", "divide MB by 1000")
_BANDWIDTH = ("memory bandwidth in GB/s", "divide MB/s by 1000, multiply TB/s by 1000")
_PEAK = ("FLOP/s (a multiply-add counts two)", "multiply GFLOP/s by 1e9, TFLOP/s by 1e12")
_CACHE = ("a cache in KiB", "multiply MiB by 1024, divide bytes by 1024")

RANGES = {
    "cores": Range(1, 2e6, "a whole number of cores", "count cores, not threads or clusters"),
    "memory_gb": Range(1e-5, 50_000, *_MEMORY),
    "bandwidth_gb_s": Range(0.01, 100_000, *_BANDWIDTH),
    "peak_fp32_flops": Range(1e7, 1e18, *_PEAK),
    "peak_fp16_flops": Range(1e7, 1e18, *_PEAK),
    "peak_bf16_flops": Range(1e7, 1e18, *_PEAK),
    "peak_int8_ops": Range(
        1e7, 1e18, "operations/s (a multiply-add counts two)", "multiply TOP/s by 1e12"
    ),
    "peak_matrix_fp32_flops": Range(1e7, 1e18, *_PEAK),
    "clock_ghz": Range(0.01, 10, "a clock in GHz", "divide MHz by 1000"),
    "l1d_kb": Range(0.5, 4096, *_CACHE),
    "l2_kb": Range(16, 250_000, *_CACHE),
    "l3_kb": Range(400, 520_000, *_CACHE),
    "last_level_kb": Range(16, 4_000_000, *_CACHE),
    "launch_us": Range(0.1, 10_000, "the launch of a kernel in us", "multiply ms by 1000"),
    "power_w": Range(0.01, 50_000, "power in W", "divide mW by 1000"),
    "year": Range(1990, 2100, "a whole year", "write all four digits"),
}
"""Figure of a device -> what it can be, in the order in which a device has them."""

# Where a kind of device tells more; a small GPU's MB/s would pass for an accelerator's GB/s.
_NARROWER = {
    ("phone", "memory_gb"): Range(0.05, 200, *_MEMORY),
    ("gpu", "memory_gb"): Range(0.05, 10_000, *_MEMORY),
    ("phone", "bandwidth_gb_s"): Range(0.1, 1000, *_BANDWIDTH),
    ("cpu", "bandwidth_gb_s"): Range(0.01, 10_000, *_BANDWIDTH),
    ("gpu", "bandwidth_gb_s"): Range(2, 25_000, *_BANDWIDTH),
}

# What figures of one device can be to each other: a unit that passes alone is out of proportion.
# Reading the whole memory once takes 0.013 to 2.7 s on the catalogue's devices, servers with
# terabytes up to half a minute; memory on the chip of an accelerator a quarter of a millisecond.
_SECONDS = {"gpu": (0.004, 8), "cpu": (0.004, 60), "phone": (0.004, 8), "accelerator": (1e-4, 60)}
# GB/s of a core of the catalogue's CPUs and phones: 0.7 to 41.
_CORE_GB_S = 300

MEMORY_TYPES = ("ddr", "lpddr", "gddr", "hbm")
"""What the names of memories begin with, such as ``LPDDR4X`` and ``HBM2``."""

_REQUIRED = ("cores", "memory_gb", "bandwidth_gb_s")
_WHOLE = ("cores", "year")


def figure_range(kind: str, figure: str) -> Range:
    """Return the possible range of ``figure``, a key of :data:`RANGES`, for a kind of device."""
    return _NARROWER.get((kind, figure), RANGES[figure])


@dataclass(frozen=True, slots=True, repr=False)
class Device:
    """A piece of hardware; what is not known is None.

    Attributes:
        name: how it is called on the command line, as a :class:`Target` takes it.
        title: its maker's name for it.
        kind: one of :data:`KINDS`.
        cores: CPU cores, or the shader cores of a GPU; of an accelerator, what ``source`` says.
        memory_gb: memory in GB (10^9 bytes).
        bandwidth_gb_s: memory bandwidth in GB/s.
        source: where the figures come from.
        peak_fp32_flops: peak FLOP/s in single precision, as stated, as of the other precisions;
            :meth:`peak_flops` knows that of the clusters, too.
        peak_fp16_flops: peak FLOP/s in half precision, without sparsity.
        peak_bf16_flops: peak FLOP/s in bfloat16, without sparsity.
        peak_int8_ops: peak operations/s on 8-bit integers, without sparsity.
        peak_matrix_fp32_flops: peak FLOP/s of fp32 tensors on matrix units, which may round them:
            TF32 of NVIDIA's, FP32 of AMD's.
        clock_ghz: highest clock, GHz.
        l1d_kb: level 1 data cache of a CPU core, in KiB (1024 bytes), as caches are sold.
        l2_kb: level 2 cache of a core or cluster, KiB; of a GPU, the whole.
        l3_kb: level 3 cache that a core shares, KiB.
        last_level_kb: all last-level caches of the chip together, KiB, a cache of the whole system
            included; where it is more than what one core shares.
        launch_us: what a GPU takes to launch a kernel, in us.
        power_w: rated power of the board or chip, W.
        year: when it came out.
        architecture: its maker's name of the generation, such as ``turing`` or ``zen-4``.
        features: CPU features, as Linux calls them; empty where unknown.
        memory_type: of the memory, such as ``LPDDR4X`` or ``HBM2``.
        chip: the chip that it is or that it is built on, which devices of one chip share: boards,
            phones and the parts of a SoC. None where the device is the only one of its chip.
        clusters: CPU cores by type and clock; empty where unknown.

    Raises:
        ValueError: an entry is of another type, outside of its :func:`figure_range`, or out of
            proportion to the others.
    """

    name: str
    title: str
    kind: str
    cores: int
    memory_gb: float
    bandwidth_gb_s: float
    source: str
    peak_fp32_flops: float | None = None
    peak_fp16_flops: float | None = None
    peak_bf16_flops: float | None = None
    peak_int8_ops: float | None = None
    peak_matrix_fp32_flops: float | None = None
    clock_ghz: float | None = None
    l1d_kb: float | None = None
    l2_kb: float | None = None
    l3_kb: float | None = None
    last_level_kb: float | None = None
    launch_us: float | None = None
    power_w: float | None = None
    year: int | None = None
    architecture: str | None = None
    features: tuple[str, ...] = ()
    memory_type: str | None = None
    chip: str | None = None
    clusters: tuple[Cluster, ...] = ()

    def __repr__(self) -> str:
        """Its name, its title and the figures that tell most; ``dataclasses.asdict`` has all."""
        peak = self.peak_fp32_flops
        told = [self.kind, f"{self.memory_gb:g} GB at {self.bandwidth_gb_s:g} GB/s"]
        told += [] if peak is None else [f"{peak / 1e9:,.0f} GFLOP/s in fp32"]
        return f"<Device {self.name}: {self.title}, {', '.join(told)}>"

    def __post_init__(self) -> None:
        self._check_texts()
        for figure in RANGES:
            self._check_figure(figure)
        self._check_clusters()

    def peak_flops(self, precision: str) -> float | None:
        """Peak FLOP/s (int8: operations/s) in one of :data:`PRECISIONS`; None where unknown.

        What is not stated is that of the :attr:`clusters`, all cores at the clock that they hold;
        but of Apple's, whose matrix units do more than the vector units that are known. No
        precision is estimated from another: the ratio runs from 1/64 (fp16 on a GTX 1080 Ti) to
        32 (int8 by AMX).

        Raises:
            ValueError: there is no such precision; the message suggests the nearest.
        """
        if precision not in PRECISIONS:
            raise ValueError(unknown_name("precision", precision, PRECISIONS))
        unit = "ops" if precision == "int8" else "flops"
        peak: float | None = getattr(self, f"peak_{precision}_{unit}")
        vendors = {cores()[c.core].vendor for c in self.clusters}
        if peak is None and self.clusters and "apple" not in vendors:
            return sum(c.count * c.peak_flops(precision, base=True) for c in self.clusters)
        return peak

    @property
    def group(self) -> str:
        """Name of what devices of one chip have in common: they are known or left out together."""
        return self.name if self.chip is None else self.chip

    def cpu_clusters(self) -> tuple[Cluster, ...]:
        """The clusters, or one of all cores at the highest clock where the type of core is known.

        That is the one that :attr:`architecture` names, or else a generic one with the
        :attr:`features`. Empty for what is no CPU, and where it is not known.
        """
        if self.clusters or self.kind not in ("cpu", "phone") or self.clock_ghz is None:
            return self.clusters
        known = self.architecture if self.architecture in cores() else None
        core = known or generic_core(self.features)
        return () if core is None else (Cluster(core, self.cores, self.clock_ghz),)

    def _check_texts(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ValueError(
                "a device's name must be lower-case letters, digits, '.', '+' or '-'; "
                f"got {self.name!r}"
            )
        for name in ("title", "source"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{self.name}: {name} must be text; got {getattr(self, name)!r}")
        for name, example in (("architecture", "turing"), ("chip", "rk3588")):
            if not isinstance(value := getattr(self, name), str | None):
                raise ValueError(
                    f"{self.name}: {name} must be text, such as {example!r}; got {value!r}"
                )
        kinds = tuple(t.upper() for t in MEMORY_TYPES)
        memory = self.memory_type
        if memory is not None and not (isinstance(memory, str) and memory.startswith(kinds)):
            raise ValueError(
                f"{self.name}: memory_type must begin with {', '.join(kinds)}; got {memory!r}"
            )
        if self.kind not in KINDS:
            raise ValueError(
                f"{self.name}: kind must be one of {', '.join(KINDS)}; got {self.kind!r}"
            )
        texts = isinstance(self.features, tuple) and all(isinstance(f, str) for f in self.features)
        if not texts:
            raise ValueError(
                f"{self.name}: features must be a list of texts, such as ['avx2', 'fma']; "
                f"got {self.features!r}"
            )

    def _check_clusters(self) -> None:
        tables = isinstance(self.clusters, tuple)
        if not tables or not all(isinstance(c, Cluster) for c in self.clusters):
            raise ValueError(
                f"{self.name}: clusters must be a list of tables, such as "
                '[{core = "cortex-a76", count = 4, clock_ghz = 2.4}]; '
                f"got {self.clusters!r}"
            )
        total = sum(c.count for c in self.clusters)
        if self.clusters and (self.kind not in ("cpu", "phone") or total != self.cores):
            raise ValueError(
                f"{self.name}: clusters must hold the cores of a cpu or phone, {self.cores} here; "
                f"they hold {total} of kind {self.kind!r} (a SoC's GPU is a device of its own)"
            )

    def check_proportions(self) -> None:
        """Memory, bandwidth and cores beside each other, each within its own range.

        Of a device as it is described: one with a single core of a server's in use is out of it.

        Raises:
            ValueError: a figure is most likely in another unit.
        """
        least, most = _SECONDS[self.kind]
        seconds, each = self.memory_gb / self.bandwidth_gb_s, self.bandwidth_gb_s / self.cores
        if seconds < least or (self.kind in ("cpu", "phone") and each > _CORE_GB_S):
            likely = "bandwidth_gb_s is most likely in MB/s (divide by 1000)"
        elif seconds > most:
            likely = "memory_gb is most likely in MB (divide by 1000), or bandwidth_gb_s in TB/s"
        else:
            return
        raise ValueError(
            f"{self.name}: memory_gb = {self.memory_gb:g}, bandwidth_gb_s = "
            f"{self.bandwidth_gb_s:g} and cores = {self.cores} must go together: reading the "
            f"memory once would take {seconds:.2g} s, and a core read {each:.3g} GB/s; {likely}"
        )

    def _check_figure(self, figure: str) -> None:
        value = getattr(self, figure)
        if value is None and figure not in _REQUIRED:
            return
        limits = figure_range(self.kind, figure)
        if value not in limits or (figure in _WHOLE and not isinstance(value, int)):
            raise ValueError(
                f"{self.name}: {figure} must be {limits.meaning}, from {limits.least:g} to "
                f"{limits.most:g}; got {value!r} ({limits.remedy})"
            )
