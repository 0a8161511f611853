"""The work of kernels on a device (arithmetic, bytes, a launch), and features of their prices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.networks import ALL_KINDS, OPS, Networks

from ._gpu import executed_operations

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

CLASSES = (
    "pointwise", "conv3x3", "strided3x3", "wide", "depthwise", "wide_depthwise", "grouped",
    "conv_transpose", "linear", "matmul", "attention", "recurrent", "norm", "softmax", "pool",
    "reduce", "activation", "transcendental", "elementwise", "copy", "unknown",
)  # fmt: skip
"""Kernels that share prices: convolutions by window and groups, other kernels by kind."""

PARTS = ("arithmetic", "activations", "constants", "launch")
"""What a kernel's time is the sum of."""

# Those whose arithmetic follows the facts below with slopes of their own, besides common ones.
SLOPE_GROUPS = {
    "depthwise": 0, "wide_depthwise": 0,
    "conv3x3": 1, "strided3x3": 1, "wide": 1, "conv_transpose": 1,
    "pointwise": 2, "grouped": 2, "linear": 3,
}  # fmt: skip
_OTHER_GROUP = 4
ARITHMETIC_FACTS = ("macs", "positions", "outputs", "depth")
# Where the slopes turn: facts of a middling kernel.
_CENTRES = np.array([1e7, 1e3, 64.0, 256.0])
_MIDDLING_BYTES = 1e5

# Prior standard deviations of the logarithm of a price, and of powers of facts. Chosen among four
# by the error on ncnn's networks and devices both left out (docs/tried.md).
ALL, PART, CLASS, SLOPE, OWN_SLOPE, BYTES_SLOPE = 1.5, 1.0, 0.7, 0.2, 0.14, 0.05
# Of what vectors that channels do not fill cost: half of what they could do at most.
UNFILLED = 0.5
_UNFILLED = ("unfilled outputs", "unfilled inputs")

_SLOW = frozenset(
    ("sigmoid", "tanh", "softplus", "silu", "gelu", "mish", "erf", "exp", "log", "elu", "selu",
     "celu", "trigonometric", "hyperbolic")
)  # fmt: skip
_OF_KIND = {
    "conv_transpose": "conv_transpose", "linear": "linear", "matmul": "matmul",
    "attention": "attention", "norm": "norm", "softmax": "softmax", "pool": "pool",
    "reduce": "reduce", "activation": "activation", "elementwise": "elementwise", "copy": "copy",
}  # fmt: skip

# Kernels without a product, whose price of a byte follows its amount with slopes of their own.
_BYTES_GROUPS = {
    "activation": 1, "transcendental": 1, "elementwise": 1, "copy": 2, "norm": 3, "softmax": 3,
    "pool": 4, "reduce": 4,
}  # fmt: skip
_BYTES = range(max(_BYTES_GROUPS.values()) + 1)


def _names() -> tuple[str, ...]:
    classes = [f"class {name}" for name in CLASSES]
    slopes = [f"slope of {fact}" for fact in ARITHMETIC_FACTS]
    groups = range(_OTHER_GROUP + 1)
    own = [f"slope of {fact} in group {g}" for g in groups for fact in ARITHMETIC_FACTS]
    filled = ["waste of outputs", "waste of depth", *_UNFILLED]
    more = ["slope of groups", "slope of window"]
    of_part = {
        "arithmetic": [*classes, *slopes, *own, *filled, *more],
        "activations": [
            *classes,
            "slope of bytes",
            *(f"slope of bytes in group {g}" for g in _BYTES),
        ],
        "constants": ["slope of bytes"],
        "launch": classes,
    }
    named = (f"{part}: {name}" for part in PARTS for name in of_part[part])
    return ("all", *PARTS, *named, "inference")


FEATURES = _names()
"""Names of the features of prices, by which model files keep their weights."""

# Variance of weights that a file does not know: all but none, as in the model that it holds.
UNKNOWN_VARIANCE = 1e-6


def places(there: Sequence[str]) -> Numbers:
    """Return the positions of :data:`FEATURES` among those of a file; −1 for missing ones."""
    where = {name: n for n, name in enumerate(there)}
    return np.array([where.get(name, -1) for name in FEATURES], dtype=np.intp)


def taken(values: Floats, columns: Numbers) -> Floats:
    """Values of the features, along the last axis; 0 of those that a file lacks."""
    return np.asarray(np.where(columns >= 0, values[..., columns], 0.0))


def widened(covariance: Floats, columns: Numbers) -> Floats:
    """Covariance of the weights of the features; next to none of those that a file lacks."""
    covariance = (covariance + covariance.T) / 2
    kept = taken(taken(covariance, columns).T, columns)
    return np.asarray(kept + np.diag(np.where(columns >= 0, 0.0, UNKNOWN_VARIANCE)))


def class_of(networks: Networks) -> Numbers:
    """Place in :data:`CLASSES` of every kernel, shape (d,)."""
    kinds = np.array(ALL_KINDS)[networks.kinds]
    ops = np.array(OPS)[networks.ops]
    window, stride = networks.fact("window"), networks.fact("stride")
    alone = (networks.fact("groups") > 1) & (networks.fact("inputs") <= 1)
    names = np.array([_OF_KIND.get(kind, "unknown") for kind in kinds], dtype=object)
    names[np.isin(ops, list(_SLOW))] = "transcendental"
    names[np.isin(ops, ["lstm", "gru", "rnn"])] = "recurrent"
    conv = np.isin(kinds, ["conv", "depthwise_conv"])
    names[conv] = np.where(
        window[conv] <= 1,
        "pointwise",
        np.where(window[conv] > 9, "wide", np.where(stride[conv] > 1, "strided3x3", "conv3x3")),
    )
    names[conv & (networks.fact("groups") > 1)] = "grouped"
    names[conv & alone] = np.where(window[conv & alone] > 9, "wide_depthwise", "depthwise")
    return np.array([CLASSES.index(name) for name in names], dtype=np.intp)


# --- kernels --------------------------------------------------------------------------------------

# Values of a kernel that its class's weights multiply, part by part; the first of each is one.
_VALUES = {
    "arithmetic": (
        *ARITHMETIC_FACTS, "waste of outputs", "waste of depth", "groups", "window", *_UNFILLED,
    ),
    "activations": ("bytes",), "constants": ("bytes",), "launch": (),
}  # fmt: skip
_STARTS = np.cumsum([0, *(1 + len(_VALUES[part]) for part in PARTS)])
_PART_OF = np.repeat(np.arange(len(PARTS)), np.diff(_STARTS))
_IS_OF_PART = np.eye(len(PARTS))[:, _PART_OF]
# Those that grow with the arithmetic that is executed.
_OF_EXECUTED = [1 + ARITHMETIC_FACTS.index(fact) for fact in ("macs", "positions")]
_OF_FILLING = [1 + _VALUES["arithmetic"].index(name) for name in _UNFILLED]


def _weights_of_values() -> Floats:
    """Return the increment that every feature's weight makes to the weight of a class's values.

    Shape (classes, values, features).
    """
    found = np.zeros((len(CLASSES), len(_PART_OF), len(FEATURES)))
    at = {name: n for n, name in enumerate(FEATURES)}
    for c, name in enumerate(CLASSES):
        group, of_bytes = SLOPE_GROUPS.get(name, _OTHER_GROUP), _BYTES_GROUPS.get(name, 0)
        for n, part in enumerate(PARTS):
            scales = {"all": ALL, part: PART}
            if part != "constants":
                scales[f"{part}: class {name}"] = CLASS
            for feature, scale in scales.items():
                found[c, _STARTS[n], at[feature]] = scale
            for v, value in enumerate(_VALUES[part], start=_STARTS[n] + 1):
                slope = f"{part}: slope of {value}"
                scales = {slope: SLOPE, f"{slope} in group {group}": OWN_SLOPE}
                if part != "arithmetic":
                    scales = {slope: BYTES_SLOPE, f"{slope} in group {of_bytes}": BYTES_SLOPE}
                scales[f"{part}: {value}"] = UNFILLED if value in _UNFILLED else 1.0
                for feature, scale in scales.items():
                    if feature in at:  # constants have one slope, some facts have none in groups
                        found[c, v, at[feature]] = scale
    return found


_WEIGHTS = _weights_of_values()
# From weights to what a class's values are multiplied by, and from products with these to slopes.
_TABLE = _WEIGHTS.reshape(-1, len(FEATURES))
_SLOPES = sp.csr_matrix(_TABLE.T)


@dataclass(frozen=True, eq=False)
class Work:
    """Work of d kernels, with the features of its prices.

    The logarithm of a unit's price is linear in :data:`FEATURES`: one of all work, one of every
    part, others of classes and facts; the last one is of what an inference takes beside its
    kernels. Prior weights are independent and standard normal. Most features are 0 for a kernel,
    so that only the values of its own class are kept.

    Attributes:
        log_amounts: of each of :data:`PARTS`, logarithms of operations (two for a multiply-add),
            of bytes, or of launches, shape (4, d); minus infinity where there is none.
        values: that its class's weights multiply, shape (d, values).
        classes: place in :data:`CLASSES` of every kernel, shape (d,).
    """

    log_amounts: Floats
    values: Floats
    classes: Numbers

    @property
    def size(self) -> int:
        """Number of features."""
        return len(FEATURES)

    @classmethod
    def of(cls, networks: Networks) -> Work:
        """Work of the kernels of networks, made once while these are there."""
        if (known := _WORKS.get(networks)) is None:
            known = _WORKS[networks] = cls._of(networks)
        return known

    @classmethod
    def _of(cls, networks: Networks) -> Work:
        moved = networks.fact("read_bytes") + networks.fact("write_bytes")
        constants = networks.fact("param_bytes")
        one = np.ones(len(moved))
        with np.errstate(divide="ignore"):
            amounts = np.log(np.stack([2 * networks.fact("macs"), moved, constants, one]))
        of_bytes = [np.log(np.maximum(x, 1) / _MIDDLING_BYTES) for x in (moved, constants)]
        # How channels fill vectors is the target's (:meth:`run_by`).
        full = np.zeros((len(_UNFILLED), len(moved)))
        of_arithmetic = (*_of_arithmetic(networks), *full)
        values = [one, *of_arithmetic, one, of_bytes[0], one, of_bytes[1], one]
        return cls(amounts, np.stack(values, axis=1), class_of(networks))

    def select(self, kernels: Numbers) -> Work:
        """Return the work of some of the kernels."""
        return Work(self.log_amounts[:, kernels], self.values[kernels], self.classes[kernels])

    def run_by(self, networks: Networks, facts: Mapping[str, float | None]) -> Work:
        """Return the work as a target with these facts runs it.

        On a GPU with the arithmetic that is executed, on a CPU with how channels fill its vectors.
        """
        if facts.get("is_cpu"):
            values = self.values.copy()
            values[:, _OF_FILLING] = unfilled(networks, lanes(facts)).T
            return Work(self.log_amounts, values, self.classes)
        if not facts.get("is_gpu"):
            return self
        amounts, values = self.log_amounts.copy(), self.values.copy()
        with np.errstate(divide="ignore", invalid="ignore"):
            amounts[0] = np.log(executed_operations(networks, facts))
            more = np.nan_to_num(amounts[0] - self.log_amounts[0])
        # Prices follow what is executed, too: a kernel that leaves most of a GPU idle takes as long
        # at twice the positions, and would be forecast to take less were its price to fall.
        values[:, _OF_EXECUTED] += more[:, None]
        return Work(amounts, values, self.classes)

    def more_by(self, networks: Networks, targets: Sequence[Mapping[str, float | None]]) -> Floats:
        """Logarithm of how many times as much arithmetic each of t GPUs executes, shape (d, t).

        Args:
            networks: of the same kernels.
            targets: facts of the GPUs.
        """
        # Targets of one device and precision share their facts.
        place = {id(facts): n for n, facts in enumerate(targets)}
        known = {key: executed_operations(networks, targets[n]) for key, n in place.items()}
        executed = np.stack([known[id(facts)] for facts in targets], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.nan_to_num(np.log(executed) - self.log_amounts[0][:, None]))

    def times(self, log_factors: Floats) -> Work:
        """Return the work of kernels that take exp(``log_factors``) as long, shape (d,)."""
        return Work(self.log_amounts + log_factors, self.values, self.classes)

    def log_seconds(
        self, weights: Floats, log_prices: Floats, more: Floats | None = None
    ) -> list[Floats]:
        """Logarithm of the seconds of every part of every kernel, four of shape (d,).

        Args:
            weights: of the features, shape (size,); or of t targets at once, shape (size, t), which
                gives (d, t).
            log_prices: of a unit of every part in seconds, shape (4,) or (4, t).
            more: of t targets, logarithm of how many times as much arithmetic each executes,
                shape (d, t), as :meth:`run_by` has it of one.
        """
        table = (_TABLE @ weights).reshape(*_WEIGHTS.shape[:2], *weights.shape[1:])
        if weights.ndim == 1:
            own = self.values * table.take(self.classes, axis=0)
            return list(_IS_OF_PART @ own.T + self.log_amounts + log_prices[:, None])
        found = np.empty((len(PARTS), len(self.classes), *weights.shape[1:]))
        for c in np.unique(self.classes).tolist():
            rows = np.flatnonzero(self.classes == c)
            for n, (start, end) in enumerate(pairwise(_STARTS)):
                found[n, rows] = self.values[rows, start:end] @ table[c, start:end]
            if more is not None:
                found[0, rows] += more[rows] * (1 + table[c, _OF_EXECUTED].sum(axis=0))
        return list(found + self.log_amounts[..., None] + log_prices[:, None])

    def log_each(
        self, weights: Floats, log_prices: Floats, overlap: tuple[float, float] = (1.0, 1.0)
    ) -> Floats:
        """Logarithm of the seconds of every kernel, shape (d,)."""
        return self.at(weights, log_prices, overlap).whole

    def at(
        self,
        weights: Floats,
        log_prices: Floats,
        overlap: tuple[float, float] = (1.0, 1.0),
        log_inference: Floats | float = -np.inf,
    ) -> Times:
        """Times of the kernels at some weights.

        Args:
            weights: of the features, as of :meth:`log_seconds`.
            log_prices: of a unit of every part in seconds, likewise.
            overlap: exponents of the norms that add up arithmetic and memory traffic, and these
                and the launch: 1 for one after the other, more where they run side by side.
            log_inference: logarithm of the seconds that an inference takes beside its kernels,
                before its weight; one or (t,).
        """
        parts = self.log_seconds(weights, log_prices)
        return Times(self, parts, overlap, log_inference + weights[-1])

    def log_ms_alone(
        self,
        counts: sp.csr_matrix,
        weights: Floats,
        log_prices: Floats,
        overlap: tuple[float, float] = (1.0, 1.0),
        log_inference: Floats | float = -np.inf,
    ) -> Floats:
        """:meth:`Times.log_ms` :meth:`at` some weights."""
        return self.at(weights, log_prices, overlap, log_inference).log_ms(counts)

    def log_ms(
        self,
        counts: sp.csr_matrix,
        weights: Floats,
        log_prices: Floats,
        overlap: tuple[float, float] = (1.0, 1.0),
        log_inference: float = -np.inf,
    ) -> tuple[Floats, Floats]:
        """The same, and :meth:`Times.slopes`."""
        times = self.at(weights, log_prices, overlap, log_inference)
        return times.log_ms(counts), times.slopes(counts)

    def by_class(self, counts: sp.csr_matrix) -> sp.csr_matrix:
        """Counts with a row for every class of kernels in every network, (n classes, d)."""
        if (known := _BY_CLASS.get(self)) is not None and known[0] is counts:
            return known[1]
        networks = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        rows = networks * len(CLASSES) + self.classes[counts.indices]
        order = np.argsort(rows, kind="stable")
        number = counts.shape[0] * len(CLASSES)
        ends = np.append(0, np.cumsum(np.bincount(rows, minlength=number)))
        found = sp.csr_matrix(
            (counts.data[order], counts.indices[order], ends), shape=(number, counts.shape[1])
        )
        _BY_CLASS[self] = counts, found
        return found


_WORKS: WeakKeyDictionary[Networks, Work] = WeakKeyDictionary()
_BY_CLASS: WeakKeyDictionary[Work, tuple[sp.csr_matrix, sp.csr_matrix]] = WeakKeyDictionary()


class Times:
    """Logarithms of the seconds of d kernels at some weights, on one target or on t at once.

    Args:
        work: of the kernels.
        parts: of each of :data:`PARTS`, shape (d,) or (d, t).
        overlap: as of :meth:`Work.at`.
        log_once: of what an inference takes beside its kernels.
        more: as of :meth:`Work.log_seconds`.
    """

    def __init__(
        self, work: Work, parts: Sequence[Floats], overlap: tuple[float, float],
        log_once: Floats | float, more: Floats | None = None,
    ) -> None:  # fmt: skip
        self._work, self._parts, self._overlap, self._log_once = work, parts, overlap, log_once
        self._more = more
        arithmetic, activations, constants, launch = parts
        self._memory = _log_sum(activations, constants, 1.0)
        self._device = _log_sum(arithmetic, self._memory, overlap[0])
        self.whole: Floats = _log_sum(self._device, launch, overlap[1])
        """Of every kernel altogether."""
        self._highest = self.whole.max(axis=0, initial=-np.inf)
        self._total: tuple[sp.csr_matrix, Floats] | None = None

    @cached_property
    def _seconds(self) -> Floats:
        return np.asarray(np.exp(self.whole - self._highest))

    @cached_property
    def _once(self) -> Floats | float:
        return np.exp(self._log_once - self._highest) if len(self.whole) else 0.0

    def _totals(self, counts: sp.csr_matrix) -> Floats:
        if self._total is None or self._total[0] is not counts:
            self._total = counts, np.asarray(counts @ self._seconds + self._once)
        return self._total[1]

    def log_ms(self, counts: sp.csr_matrix) -> Floats:
        """Log milliseconds of every network, shape (n,) or (n, t).

        Args:
            counts: of the kernels in every network, shape (n, d).
        """
        return np.asarray(np.log(self._totals(counts)) + self._highest + np.log(1e3))

    def slopes(self, counts: sp.csr_matrix) -> Floats:
        """Slopes of :meth:`log_ms` in the weights, shape (n, size), or (n, t, size)."""
        arithmetic, activations, constants, launch = self._parts
        across, along = self._overlap
        on_device = self.whole - self._highest + along * (self._device - self.whole)
        of_memory = on_device + across * (self._memory - self._device) - self._memory
        seconds = np.exp(
            [
                on_device + across * (arithmetic - self._device),
                of_memory + activations,
                of_memory + constants,
                self.whole - self._highest + along * (launch - self.whole),
            ]
        )
        values = self._work.values
        if seconds.ndim == 2:
            of_kernels = values * seconds.T[:, _PART_OF]
        else:
            of_kernels = values[..., None] * seconds.transpose(1, 0, 2)[:, _PART_OF]
            if self._more is not None:
                of_kernels[:, _OF_EXECUTED] += (self._more * seconds[0])[:, None]
        n, targets = counts.shape[0], math.prod(seconds.shape[2:])
        flat = of_kernels.reshape(len(values), values.shape[1] * targets)
        of_classes = (self._work.by_class(counts) @ flat).reshape(n, len(_TABLE), targets)
        rows = np.moveaxis(of_classes, 1, 0).reshape(len(_TABLE), n * targets)
        slopes = (_SLOPES @ rows).T.reshape(n, *seconds.shape[2:], len(FEATURES))
        slopes[..., -1] = self._once
        return np.asarray(slopes / self._totals(counts)[..., None])


def _log_sum(left: Floats, right: Floats, exponent: float) -> Floats:
    """Logarithm of the norm with an exponent of two logarithms' values, of which none may be.

    An exponential and a logarithm of arrays take a tenth of ``numpy.logaddexp``'s time.
    """
    high = np.maximum(left, right)
    away = np.minimum(left, right) - np.maximum(high, -np.finfo(np.float64).max)
    return np.asarray(high + np.log1p(np.exp(exponent * away)) / exponent)


def _of_arithmetic(networks: Networks) -> list[Floats]:
    """Values of kernels that the price of arithmetic follows, each (d,)."""
    depth = networks.fact("inputs") * networks.fact("window")
    amounts = (networks.fact("macs"), networks.fact("positions"), networks.fact("outputs"), depth)
    logs = [np.log(np.maximum(x, 1) / c) for x, c in zip(amounts, _CENTRES, strict=True)]
    # Channels that do not fill vectors or tiles, and groups and windows beyond the classes.
    filled = [_waste(networks.fact("outputs")), _waste(depth)]
    return logs + filled + [np.log(np.maximum(networks.fact(f), 1)) for f in ("groups", "window")]


# Numbers that a vector register of 512 bits, or a row of a tile, holds.
_VECTOR = 16
_CONVOLUTIONS = ("conv", "depthwise_conv", "conv_transpose")


def _waste(channels: Floats) -> Floats:
    """Logarithm of what padding channels to whole vectors adds."""
    channels = np.maximum(channels, 1.0)
    return np.asarray(np.log(np.ceil(channels / _VECTOR) * _VECTOR / channels))


def lanes(facts: Mapping[str, float | None]) -> int:
    """Return how many channels a CPU with these facts has side by side in a vector register."""
    if facts.get("has_avx512"):
        return 16
    return 8 if facts.get("has_avx2") or facts.get("has_fp16") else 4


def unfilled(networks: Networks, width: int) -> Floats:
    """Logarithms of how many times fewer lanes convolutions use than there are, shape (2, d).

    By their outputs and by their inputs. Runtimes keep channels in packs of as many as a register
    has lanes or, where their number is no multiple, of a half or a quarter, else one by one:
    ncnn's ``elempack``, the blocks of oneDNN and ONNX Runtime. Of other products channels may be a
    sequence, which would seem to take less as it grows to a multiple.

    Args:
        networks: of d kernels.
        width: lanes of a register, of :func:`lanes`.
    """
    kinds = np.array(ALL_KINDS)[networks.kinds]
    groups, outputs = np.maximum(networks.fact("groups"), 1), networks.fact("outputs")
    inputs = networks.fact("inputs")
    alone = (groups > 1) & (inputs <= 1)
    found = np.zeros((2, len(kinds)))
    for n, of_groups in enumerate((outputs / groups, inputs)):
        channels, pack = np.where(alone, outputs, of_groups), np.ones(len(kinds))
        for size in (4, 8, 16):
            pack[(channels % size == 0) & (size <= width)] = size
        found[n] = np.log(width / pack)
    return np.where(np.isin(kinds, _CONVOLUTIONS), found, 0.0)
