"""The known facts of a target in numbers, and physical prices of a unit of work there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from latcast.math.gaussian_process import spread_points, whitening

from ._observations import TargetFacts

Floats = npt.NDArray[np.float64]

# Facts that weights may depend on. Peak and bandwidth are in the prices already: what is left is
# how well they are used.
FACTS = (
    "peak_flops", "bandwidth_gb_s", "peak_core_flops", "threads", "clock_ghz", "fp32_per_cycle",
    "share_of_fastest", "l1d_kb", "l2_kb", "last_level_kb", "year", "is_in_order", "has_fp16",
    "has_dotprod", "has_avx2", "has_avx512", "has_vnni", "has_rvv", "isa_arm", "isa_apple",
    "isa_x86", "isa_riscv", "isa_loongarch", "isa_mips", "isa_sw64", "vendor_nvidia",
    "vendor_amd", "vendor_intel", "vendor_apple", "vendor_adreno", "vendor_mali", "vendor_powervr",
    "memory_hbm", "memory_gddr", "cores", "power_w", "matrix_fp32_flops", "channels_last",
)  # fmt: skip
_FLAGS = ("is_", "has_", "isa_", "vendor_", "memory_hbm", "memory_gddr", "channels_last")
# Penalties of the regression of weights on facts, in targets: of a domain's constant, of a fact.
# That grows where few chips tell: five GPUs cannot carry twenty slopes. Left out, they are off by
# 16 % (median of whole language models) with a penalty of 3, by 9 % with one of 75.
DOMAIN_PENALTY, FACT_PENALTY, FEW_PENALTY = 0.3, 3.0, 4000.0
# Operations per second of a middling NPU in integers of 8 bits, where none are stated.
NPU_PEAK = 3e13
# Seconds that a middling NPU takes for an inference beside its kernels: the way there and back.
NPU_INFERENCE = 1e-4
# The same of HELP's eager PyTorch and phones, where it is no part of a launch. NAS-Bench-201 has
# one mean over positions, OFA one in every block: without it milliseconds of every network went to
# the launch of a mean, and OFA on GPUs whose cells were measured came out 3.8 times too slow.
HELP_INFERENCE = 1e-3
# Exponents on a GPU: arithmetic and memory traffic of a kernel run side by side, and the host's
# launch beside both; sums count single operators twice (docs/tried.md).
ON_GPU = (3.0, 1.75)
# A fact in which the targets hardly differ is not stretched to a difference, and one far beyond
# them counts as the farthest.
LEAST_DEVIATION, FARTHEST = 0.5, 3.0
# Targets whose standardized facts differ by so much, all together, are alike; and how much of
# their weights' deviations they share.
LENGTH, ALIKE, POINTS = 4.0, 1.0, 60


@dataclass(frozen=True, eq=False)
class TargetFeatures:
    """Columns that weights are regressed on: a constant, domains, and standardized facts.

    Attributes:
        domains: that were seen.
        facts: names of facts.
        means, deviations: of their logarithms, shape (facts,).
        points: targets that others are alike to, as standardized facts, shape (points, facts).
        kinds: ends of domains, such as ``cpu`` and ``vulkan``, which have slopes of their own.
        chips: that each kind was seen on, shape (kinds,); needed to learn only.
        as_called: whether eager runtimes run all that is called, and inferences of HELP's have a
            time of their own; in files of before neither is so.
    """

    domains: tuple[str, ...]
    facts: tuple[str, ...]
    means: Floats
    deviations: Floats
    points: Floats
    kinds: tuple[str, ...] = ()
    chips: Floats = field(default_factory=lambda: np.zeros(0))
    as_called: bool = True

    @classmethod
    def choose(cls, targets: Sequence[TargetFacts]) -> TargetFeatures:
        """Choose the features that differ between some targets."""
        domains, names = _told_apart([_labels(t) for t in targets]), FACTS
        values = np.array([[_log(t, name) for name in names] for t in targets]).reshape(
            len(targets), len(names)
        )
        spread = [np.nanstd(v) if np.isfinite(v).any() else 0.0 for v in values.T]
        kept = [n for n, s in enumerate(spread) if s > 1e-6]
        values = values[:, kept]
        means = np.nanmean(values, axis=0) if kept else np.zeros(0)
        spreads = np.maximum(np.nanstd(values, axis=0), LEAST_DEVIATION) if kept else np.zeros(0)
        plain = cls(
            domains, tuple(names[n] for n in kept), means, spreads, np.zeros((0, len(kept)))
        )
        places = np.array([plain.place(t) for t in targets])
        of_kind: dict[str, set[str]] = {}
        for target in targets:
            of_kind.setdefault(kind_of(target), set()).add(target.chip)
        return replace(
            plain,
            points=spread_points(places, POINTS),
            kinds=tuple(of_kind),
            chips=np.array([float(len(chips)) for chips in of_kind.values()]),
        )

    @property
    def size(self) -> int:
        """Number of columns."""
        facts = len(self.kinds) * len(self.facts)
        return 1 + len(self.domains) + facts + len(self.points)

    def unseen(self, target: TargetFacts) -> int:
        """How many of a target's groups have no constant: a new runtime, kind or precision."""
        labels = _labels(target, tells_quantized=self._tells_quantized)
        own = [d for d in labels if d not in self.domains]
        # A kind has none where the constant of its only domain says as much.
        return sum(not d.startswith(_ALL) or target.domain in own for d in own)

    @property
    def penalties(self) -> Floats:
        """The penalty of every column, in targets, shape (size,)."""
        return np.array(
            [
                1e-3,
                *[DOMAIN_PENALTY] * len(self.domains),
                *np.repeat(FACT_PENALTY + FEW_PENALTY / self.chips**2, len(self.facts)),
                *[1.0] * len(self.points),
            ]
        )

    @cached_property
    def _knows_halves(self) -> bool:
        """Whether prices are of halves where a CPU computes in them; in files of before not."""
        return _HALVES in self.domains

    @cached_property
    def _tells_quantized(self) -> bool:
        """Whether CPUs with quantized files have constants of their own; in files of before not."""
        return any("-cpu/" in d for d in self.domains)

    @cached_property
    def _knows_precisions(self) -> bool:
        """Whether NPUs have constants of a precision; files of before have not."""
        return any(d.startswith("npu/") for d in self.domains)

    @cached_property
    def _is_flag(self) -> npt.NDArray[np.bool_]:
        return np.array([name.startswith(_FLAGS) for name in self.facts], dtype=np.bool_)

    @cached_property
    def _whitening(self) -> Floats:
        return whitening(self.points / LENGTH)

    def of(self, target: TargetFacts) -> Floats:
        """Columns of a target; a fact that is not known counts as the mean; shape (size,)."""
        return np.asarray(self.columns([target])[0])

    def columns(self, targets: Sequence[TargetFacts]) -> Floats:
        """:meth:`of` t targets, shape (t, size)."""
        t = len(targets)
        # Targets of one device and precision share their facts.
        first = {id(x.facts): x for x in targets}
        row = {key: n for n, key in enumerate(first)}
        rows = [row[id(x.facts)] for x in targets]
        known = self.places(list(first.values()))
        z = known[rows]
        labels = [_labels(x, tells_quantized=self._tells_quantized) for x in targets]
        of_labels = {own: [1.0, *(float(d in own) for d in self.domains)] for own in set(labels)}
        one = [of_labels[own] for own in labels]
        near = self._near(known)[rows]
        kinds = np.array([kind_of(x) for x in targets], dtype=object)
        of_kind = kinds[:, None] == np.array(self.kinds, dtype=object)
        slopes = of_kind[..., None] * z[:, None]
        return np.hstack([np.array(one), slopes.reshape(t, -1), near])

    def _near(self, places: Floats) -> Floats:
        """Features of what is alike to :attr:`points`, of t places, shape (t, points)."""
        a, b = places / LENGTH, self.points / LENGTH
        away = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return np.asarray(ALIKE * np.exp(-0.5 * np.maximum(away, 0.0)) @ self._whitening)

    def place(self, target: TargetFacts) -> Floats:
        """Standardized facts of a target; one that is not known is the mean; shape (facts,)."""
        return np.asarray(self.places([target])[0])

    def places(self, targets: Sequence[TargetFacts]) -> Floats:
        """:meth:`place` of t targets, shape (t, facts)."""
        values = [[t.facts.get(name) for name in self.facts] for t in targets]
        known = np.array(values, dtype=np.float64).reshape(len(targets), len(self.facts))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (np.where(self._is_flag, known, np.log(known)) - self.means) / self.deviations
        return np.where(np.isnan(z), 0.0, np.clip(z, -FARTHEST, FARTHEST))

    def log_prices(self, target: TargetFacts) -> Floats:
        """Seconds of an operation, of two kinds of bytes and of a launch, as logarithms, (4,)."""
        peak, bandwidth = target.facts.get("peak_flops"), target.facts.get("bandwidth_gb_s")
        if self._knows_precisions and kind_of(target) == "npu":
            # Stated for integers of 8 bits, if at all; what others take of it is learnt.
            peak = target.facts.get("bound_flops") or NPU_PEAK
        # Twice the operations a cycle and half the bytes.
        faster = np.log(2) if self._knows_halves and target.in_halves else 0.0
        return np.array(
            [
                (-np.log(peak / 2) if peak else -np.log(1e10)) - faster,
                *[(-np.log(bandwidth * 5e8) if bandwidth else -np.log(5e9)) - faster] * 2,
                np.log(1e-5),
            ]
        )

    def log_inference(self, target: TargetFacts) -> float:
        """Logarithm of the seconds that an inference takes there beside its kernels.

        Elsewhere than on NPUs and in HELP launches are all that is beside the work. With 0.1 ms
        everywhere GPUs by Vulkan left out are off by 43 %, not 47, and language models on GPUs,
        after five, by 16 %, not 11.
        """
        if self._knows_precisions and kind_of(target) == "npu":
            return float(np.log(NPU_INFERENCE))
        is_known = self.as_called and target.domain in _OF_HELP
        return float(np.log(HELP_INFERENCE)) if is_known else -np.inf

    @staticmethod
    def overlap(target: TargetFacts) -> tuple[float, float]:
        """How parts of a kernel's time overlap, as :meth:`Work.log_ms` takes it."""
        return ON_GPU if target.facts.get("is_gpu") else (1.0, 1.0)


# CPUs that compute fp32 networks in fp16. Of ncnn's left out, with nothing measured, the median
# error is 36 % in one domain with fp32 and int8, 28 % with constants and prices of their own
# (four fifths of the chips, three folds).
_HALVES = "cpu/halves"


# A table of GPUs in fp32 beside one in fp16: what differs between precisions must not look as if
# peaks did it. Of timm's chips left out of all tables (fp16; five folds of the chips that the
# ablation learns from) eager PyTorch is off by 69 % where domains alone have constants, 28 % with
# those of precisions and 27 % with those of kinds, too: a runtime that is new, or of few targets,
# begins with what its kind has in common (HELP's NPUs, of a runtime each: 92 and 82 %). Slopes of
# facts by precision, too, or facts standardized within a kind (by mean, or deviation too) gained
# nothing more: timm 28, 28 and 27 %, ncnn's CPUs 28.8, 29.5 and 30.2 in place of 28.8 %.
_ALL = "all/"


# CPUs that run quantized files: other kernels than those of floats, by a library of their own, of
# which ncnn's int8 tells nothing, and numbers of 16 bits (AI Hub's two boards: eight times as slow
# as forecast) nothing of any other. Where domains have one constant for all, an EPYC of the Genoa
# generation left out is off by 60 and 21 % in fp32 (ONNX Runtime, OpenVINO), with these by 31 and
# 16; a fifth of the networks, left out on one of the Turin generation, in int8 by 8.7 and 8.2 %,
# and by 6.8 and 7.8 (six sets of groups tried, on the tables of CPUs).
_FLOATS = ("fp32", "fp16", "bf16")


def _labels(target: TargetFacts, *, tells_quantized: bool = True) -> tuple[str, ...]:
    """Groups of targets with constants of their own: domains, kinds, widths of numbers in them.

    Args:
        target: any.
        tells_quantized: whether CPUs that run quantized files are a group by their domain.
    """
    kind, precision = kind_of(target), target.precision
    common = (target.domain, f"{_ALL}{kind}")
    if target.in_halves:
        return (*common, _HALVES)
    if kind == "cpu" and precision not in _FLOATS and tells_quantized and target.is_quantized:
        own = f"{target.domain}/{precision}"
        return (*common, own) if precision == "int8" else (own,)
    if kind in ("npu", "gpu") or (kind == "cpu" and precision != "fp32"):
        return (*common, f"{kind}/{precision}")
    return common


def _told_apart(labels: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Labels of all targets, without kinds of which another label marks the same targets.

    Two constants of the same targets would be one with half of its penalty.
    """
    of: dict[str, list[int]] = {}
    for n, own in enumerate(labels):
        for label in own:
            of.setdefault(label, []).append(n)
    others = {tuple(rows) for label, rows in of.items() if not label.startswith(_ALL)}
    return tuple(d for d, rows in of.items() if not d.startswith(_ALL) or tuple(rows) not in others)


# CPUs of HELP ran search spaces at threads and by builds that it does not name: how their facts
# tell there says nothing of other runtimes. With slopes in common, 61 real models on an x86 CPU
# known by its facts alone came out 1.7 times too slow as of ncnn, and 1.3 times without HELP.
_APART = ("help-cpu", "pytorch-help-cpu")
_OF_HELP = (*_APART, "pytorch-help-gpu")


def kind_of(target: TargetFacts) -> str:
    """Return the part of a chip that runs the domain, such as ``cpu`` or ``vulkan``."""
    return target.domain if target.domain in _APART else target.domain.rpartition("-")[2]


def _log(target: TargetFacts, name: str) -> float:
    value = target.facts.get(name)
    if value is None:
        return float("nan")
    return float(value) if name.startswith(_FLAGS) else float(np.log(value))
