"""Observations of the joint model: measured latencies of networks on targets of many tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.data import Dataset
from latcast.devices import public_runtime
from latcast.graph import KERNEL_FACTS, UNKNOWN
from latcast.graph.qdq import runs_quantized
from latcast.networks import OPS, Networks

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

FUSES_AS = {
    "pytorch": "eager", "pytorch-help": "eager",
    "pytorch-fused": "inductor", "pytorch-dynamo": "inductor",
}  # fmt: skip
"""Runtime -> runtime whose rules fuse as it does, where that is another."""

# Runtimes that store and compute fp32 networks in fp16 where a CPU has that arithmetic, at twice
# the rate (ncnn's ``use_fp16_storage`` and ``use_fp16_arithmetic``, its defaults).
_IN_HALVES = ("ncnn",)


def computed_in(runtime: str, precision: str, facts: Mapping[str, float | None]) -> str:
    """The precision whose kernels a target runs: of fp16 fp32's, where these are in fp16 anyway."""
    is_same = runtime in _IN_HALVES and precision == "fp16" and facts.get("has_fp16")
    return "fp32" if is_same else precision


@dataclass(frozen=True, eq=False)
class TargetFacts:
    """The facts of a target that are known before any measurement.

    Attributes:
        name: of the target, unique in its :class:`Observations`.
        chip: the group that leaves together: all boards, clocks and settings of one SoC or card.
        domain: what runs there, such as ``ncnn-cpu``, ``ncnn-vulkan``, ``pytorch-gpu``,
            ``inductor-cpu``, ``qnn-npu``, ``tflite-gpu`` or ``tensorrt``.
        runtime: what runs the networks, whose fusion rules made their kernels.
        batch: of the networks; 0 where every network has its own.
        precision: of arithmetic, such as ``fp32`` or ``int8``.
        threads: CPU threads; 0 where it is unknown or does not apply.
        facts: of the device by name, in the units of the catalogue; None where unknown, and empty
            where the device itself is unknown.
    """

    name: str
    chip: str
    domain: str
    runtime: str
    batch: int = 1
    precision: str = "fp32"
    threads: int = 0
    facts: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def in_halves(self) -> bool:
        """Whether a network in fp32 is stored and computed in fp16, which the CPU has."""
        is_so = self.runtime in _IN_HALVES and self.precision == "fp32"
        return is_so and bool(self.facts.get("has_fp16"))

    @property
    def is_quantized(self) -> bool:
        """Whether a network in int8 is one that ONNX Runtime's quantizer, or its like, wrote."""
        return runs_quantized(public_runtime(self.runtime), "int8")

    @property
    def effects_domain(self) -> str:
        """Targets that networks have effects in common on: of the domain, on NPUs of a precision.

        What an NPU computes in 8 bits are other kernels than those in 16, on other units of it.
        """
        is_npu = self.domain.endswith("-npu")
        return f"{self.domain}/{self.precision}" if is_npu else self.domain


@dataclass(frozen=True, eq=False)
class Observations:
    """m measured latencies of n networks on t targets.

    A network that was measured at two batches, or by the fusion rules of two runtimes, is two
    rows of ``networks`` with one name.

    Attributes:
        networks: kernels of all networks, n rows, each at its own batch.
        names: of the networks, n texts.
        families: of the networks: what leaves together, n texts.
        targets: t of them.
        network: row of ``networks`` of every measurement, shape (m,).
        target: place in ``targets`` of every measurement, shape (m,).
        log_ms: natural logarithm of the latency in ms, shape (m,).
        scatter: standard deviation of ``log_ms`` between runs, shape (m,); 0 where unknown.

    Raises:
        ValueError: lengths differ, or a measurement is of no network, of no target, or not finite.
    """

    networks: Networks
    names: tuple[str, ...]
    families: tuple[str, ...]
    targets: tuple[TargetFacts, ...]
    network: Numbers
    target: Numbers
    log_ms: Floats
    scatter: Floats

    def __post_init__(self) -> None:
        sizes = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        for group in (("networks", "names", "families"), MEASURED):
            if len({sizes[name] for name in group}) > 1:
                got = ", ".join(f"{name} {sizes[name]}" for name in group)
                raise ValueError(f"{', '.join(group)} must be of one length; got {got}")
        for name, size in (("network", len(self.names)), ("target", len(self.targets))):
            numbers = getattr(self, name)
            if len(numbers) and not (numbers.min() >= 0 and numbers.max() < size):
                raise ValueError(
                    f"every {name} must be from 0 to {size - 1}; got {numbers.min()} to "
                    f"{numbers.max()}"
                )
        if not (np.isfinite(self.log_ms).all() and np.isfinite(self.scatter).all()):
            raise ValueError("log_ms and scatter must be finite; drop what failed before")

    def __len__(self) -> int:
        return len(self.log_ms)

    @property
    def chips(self) -> npt.NDArray[np.str_]:
        """Chip of every measurement, shape (m,)."""
        return np.array([t.chip for t in self.targets])[self.target]

    @property
    def measured_families(self) -> npt.NDArray[np.str_]:
        """Family of every measurement's network, shape (m,)."""
        return np.array(self.families)[self.network]

    @classmethod
    def joined(cls, parts: Sequence[Observations]) -> Observations:
        """The measurements of several, one after the other; targets and networks stay apart."""
        networks = np.cumsum([0, *(len(p.names) for p in parts)])
        targets = np.cumsum([0, *(len(p.targets) for p in parts)])
        return cls(
            Networks.joined([p.networks for p in parts]),
            tuple(name for p in parts for name in p.names),
            tuple(family for p in parts for family in p.families),
            tuple(target for p in parts for target in p.targets),
            np.concatenate([p.network + n for p, n in zip(parts, networks[:-1], strict=True)]),
            np.concatenate([p.target + n for p, n in zip(parts, targets[:-1], strict=True)]),
            np.concatenate([p.log_ms for p in parts]),
            np.concatenate([p.scatter for p in parts]),
        )

    def select(self, rows: npt.NDArray[np.bool_] | Numbers) -> Observations:
        """Some of the measurements; networks and targets keep their numbers."""
        return replace(self, **{name: getattr(self, name)[rows] for name in MEASURED})


# Fields of which every measurement has one.
MEASURED = ("network", "target", "log_ms", "scatter")


# --- networks measured on one target -------------------------------------------------------------


def of_one_target(
    facts: TargetFacts, networks: Networks, names: Sequence[str], log_ms: Floats, scatter: Floats
) -> Observations:
    """One measurement of every network on one target."""
    n = np.arange(len(log_ms))
    own = tuple(names)
    return Observations(networks, own, own, (facts,), n, np.zeros_like(n), log_ms, scatter)


def observed_besides(
    facts: TargetFacts,
    networks: Networks,
    few: Dataset,
    before: Observations | None,
    usual: float,
) -> Observations:
    """Measurements, and those before; ``usual`` is the scatter of log ms that all have."""
    names, log_ms, excess = digests(networks), np.log(few.values), few.excess_variance
    scatter = np.where(excess > 0, np.sqrt(usual**2 + excess), 0.0)
    if before is not None:
        networks, names = Networks.joined([before.networks, networks]), (*before.names, *names)
        log_ms = np.concatenate([before.log_ms, log_ms])
        scatter = np.concatenate([before.scatter, scatter])
    # What has the same kernels is one network, also if it was adapted to before.
    first, groups = np.unique(np.array(names), return_index=True, return_inverse=True)[1:]
    order = np.argsort(first)
    same = [np.flatnonzero(groups == n) for n in order]
    return of_one_target(
        facts,
        networks.select(first[order]),
        [names[rows[0]] for rows in same],
        np.array([np.median(log_ms[rows]) for rows in same]),
        np.array([np.sqrt(np.mean(scatter[rows] ** 2) / len(rows)) for rows in same]),
    )


def kept(v: Mapping[str, Any], facts: TargetFacts) -> Observations:
    """Measurements of a file, by the operators and facts that latcast has now.

    Raises:
        ValueError: parts do not fit each other.
    """
    n, d = len(v["log_ms"]), len(v["kernels"])
    if (
        len(v["labels"]) != d
        or len(v["names"]) != n
        or len(v["kernel_facts"]) != (v["kernels"].shape[1])
    ):
        raise ValueError(f"there must be {d} labels, {n} names and a name for each fact of kernels")
    for name, size in (("kernel_ops", len(v["ops"])), ("counts_row", n), ("counts_column", d)):
        if len(v[name]) and not 0 <= v[name].min() <= v[name].max() < size:
            raise ValueError(f"array {name!r} must hold numbers from 0 to {size - 1}")
    where = {name: i for i, name in enumerate(v["kernel_facts"])}
    table = np.stack(
        [v["kernels"][:, where[f]] if f in where else np.zeros(d) for f in KERNEL_FACTS], axis=1
    )
    ops = np.array([OPS.index(op if op in OPS else UNKNOWN) for op in v["ops"]], dtype=np.int64)
    counts = sp.csr_matrix((v["counts"], (v["counts_row"], v["counts_column"])), shape=(n, d))
    networks = Networks(ops[v["kernel_ops"]], v["labels"], table, counts)
    return of_one_target(facts, networks, v["names"], v["log_ms"], v["scatter"])


def nothing() -> Observations:
    """No measurement of no target."""
    facts = TargetFacts("none", "none", "none", "none")
    return of_one_target(facts, Networks.of_graphs([]), (), np.zeros(0), np.zeros(0))


_DIGESTS: WeakKeyDictionary[Networks, tuple[str, ...]] = WeakKeyDictionary()


def digests(networks: Networks) -> tuple[str, ...]:
    """A name for each network by its kernels: what has the same kernels is one network."""
    if (known := _DIGESTS.get(networks)) is None:
        known = _DIGESTS[networks] = _digested(networks)
    return known


def _digested(networks: Networks) -> tuple[str, ...]:
    each = [
        hashlib.blake2b(f"{op} {label}".encode() + row.tobytes(), digest_size=16).digest()
        for op, label, row in zip(
            networks.ops.tolist(), networks.labels, networks.facts, strict=True
        )
    ]
    counts, found = networks.counts, []
    for n in range(len(networks)):
        own = slice(counts.indptr[n], counts.indptr[n + 1])
        parts = sorted(
            each[k] + str(float(times)).encode()
            for k, times in zip(
                counts.indices[own].tolist(), counts.data[own].tolist(), strict=True
            )
        )
        found.append(hashlib.blake2b(b"".join(parts), digest_size=12).hexdigest())
    return tuple(found)
