"""What kernels ask of a device: arithmetic, bytes, a launch; and features of their prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
# by the error on ncnn's networks and devices both left out (docs/bench.md).
ALL, PART, CLASS, SLOPE, OWN_SLOPE, BYTES_SLOPE = 1.5, 1.0, 0.7, 0.2, 0.14, 0.05

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
    filled = ["waste of outputs", "waste of depth"]
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
    """Where every one of :data:`FEATURES` stands among those of a file; −1 where it does not."""
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


def _group_of(classes: Numbers) -> Numbers:
    return np.array([SLOPE_GROUPS.get(name, _OTHER_GROUP) for name in CLASSES], dtype=np.intp)[
        classes
    ]


@dataclass(frozen=True, eq=False)
class Part:
    """One of :data:`PARTS` of every kernel.

    Attributes:
        log_amount: logarithm of operations (two for a multiply-add), of bytes, or of launches,
            shape (d,); minus infinity where there is none.
        features: of the price of a unit, shape (d, own features).
        start: where they stand among all.
    """

    log_amount: Floats
    features: Floats
    start: int


@dataclass(frozen=True, eq=False)
class Work:
    """Work of d kernels, with the features of its prices.

    The features' first column is 1 for all work, and there is one for every part; others are of
    classes and facts, and the last one is of what an inference takes beside its kernels. Prior
    weights are independent and standard normal.

    Attributes:
        parts: as in :data:`PARTS`.
        size: number of features, all parts together.
    """

    parts: tuple[Part, ...]
    size: int

    @classmethod
    def of(cls, networks: Networks) -> Work:
        """Work of the kernels of networks, made once while these are there."""
        if (known := _WORKS.get(networks)) is None:
            known = _WORKS[networks] = cls._of(networks)
        return known

    @classmethod
    def _of(cls, networks: Networks) -> Work:
        classes = class_of(networks)
        macs = networks.fact("macs")
        moved = networks.fact("read_bytes") + networks.fact("write_bytes")
        constants = networks.fact("param_bytes")
        one = np.eye(len(CLASSES))[classes] * CLASS
        launch = np.ones(len(macs))
        columns = [
            (2 * macs, np.hstack([one, _arithmetic_slopes(networks, classes)])),
            (moved, np.hstack([one, _bytes_slopes(moved, classes)])),
            (constants, _bytes_slope(constants)),
            (launch, one),
        ]
        parts, start = [], 1 + len(PARTS)
        for amount, features in columns:
            with np.errstate(divide="ignore"):
                parts.append(Part(np.log(amount), features, start))
            start += features.shape[1]
        return cls(tuple(parts), start + 1)

    def select(self, kernels: Numbers) -> Work:
        """Of some of the kernels."""
        parts = (Part(p.log_amount[kernels], p.features[kernels], p.start) for p in self.parts)
        return Work(tuple(parts), self.size)

    def run_by(self, networks: Networks, facts: Mapping[str, float | None]) -> Work:
        """Of its own kernels, with the arithmetic that a target with these facts executes."""
        if not facts.get("is_gpu"):
            return self
        arithmetic = self.parts[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            executed = np.log(executed_operations(networks, facts))
            more = np.nan_to_num(executed - arithmetic.log_amount)
        # Prices follow what is executed, too: a kernel that leaves most of a GPU idle takes as long
        # at twice the positions, and would be forecast to take less were its price to fall.
        classes = arithmetic.features[:, : len(CLASSES)].argmax(axis=1)
        features = arithmetic.features.copy()
        for fact in ("macs", "positions"):
            common = len(CLASSES) + ARITHMETIC_FACTS.index(fact)
            own = common + len(ARITHMETIC_FACTS) * (1 + _group_of(classes))
            features[:, common] += SLOPE * more
            features[np.arange(len(more)), own] += OWN_SLOPE * more
        part = Part(executed, features, arithmetic.start)
        return Work((part, *self.parts[1:]), self.size)

    def times(self, log_factors: Floats) -> Work:
        """Of kernels that take so many times as long, shape (d,)."""
        parts = (replace(p, log_amount=p.log_amount + log_factors) for p in self.parts)
        return Work(tuple(parts), self.size)

    def log_seconds(self, weights: Floats, log_prices: Floats) -> list[Floats]:
        """Logarithm of the seconds of every part of every kernel, four of shape (d,).

        Args:
            weights: of the features, shape (size,).
            log_prices: of a unit of every part in seconds, shape (4,).
        """
        return self._log_seconds([p.log_amount for p in self.parts], weights, log_prices)

    def _log_seconds(
        self, log_amounts: Sequence[Floats], weights: Floats, log_prices: Floats
    ) -> list[Floats]:
        return [
            log_amounts[n]
            + (log_prices[n] + ALL * weights[0] + PART * weights[1 + n])
            + part.features @ weights[part.start : part.start + part.features.shape[1]]
            for n, part in enumerate(self.parts)
        ]

    def log_each(
        self, weights: Floats, log_prices: Floats, overlap: tuple[float, float] = (1.0, 1.0)
    ) -> Floats:
        """Logarithm of the seconds of every kernel, shape (d,)."""
        arithmetic, activations, constants, launch = self.log_seconds(weights, log_prices)
        return _whole(arithmetic, activations, constants, launch, overlap)[2]

    def log_ms_alone(
        self,
        counts: sp.csr_matrix,
        weights: Floats,
        log_prices: Floats,
        overlap: tuple[float, float] = (1.0, 1.0),
        log_inference: Floats | float = -np.inf,
    ) -> Floats:
        """:meth:`log_ms` without its slopes, which take most of the time; shape (n,).

        Of t targets at once, shape (n, t), with the weights (size, t), prices (4, t) and logarithms
        (t,) of each.
        """
        log_amounts = [p.log_amount.reshape(-1, *(1,) * (weights.ndim - 1)) for p in self.parts]
        parts = self._log_seconds(log_amounts, weights, log_prices)
        whole = _whole(parts[0], parts[1], parts[2], parts[3], overlap)[2]
        highest = whole.max(axis=0, initial=-np.inf)
        once = np.exp(log_inference + weights[-1] - highest) if len(whole) else 0.0
        return np.asarray(np.log(counts @ np.exp(whole - highest) + once) + highest + np.log(1e3))

    def log_ms(
        self,
        counts: sp.csr_matrix,
        weights: Floats,
        log_prices: Floats,
        overlap: tuple[float, float] = (1.0, 1.0),
        log_inference: float = -np.inf,
    ) -> tuple[Floats, Floats]:
        """Log milliseconds of every network (n,), and their slopes in the weights (n, size).

        Args:
            counts: of the kernels in every network, shape (n, d).
            weights: of the features, shape (size,).
            log_prices: of a unit of every part in seconds, shape (4,).
            overlap: exponents of the norms that add up arithmetic and memory traffic, and these
                and the launch: 1 for one after the other, more where they run side by side.
            log_inference: logarithm of the seconds that an inference takes beside its kernels,
                before its weight.
        """
        arithmetic, activations, constants, launch = self.log_seconds(weights, log_prices)
        memory, device, whole = _whole(arithmetic, activations, constants, launch, overlap)
        highest = float(whole.max(initial=-np.inf))
        seconds = np.exp(whole - highest)
        on_device = np.exp(overlap[1] * (device - whole))
        of_memory = on_device * np.exp(overlap[0] * (memory - device))
        shares = (
            on_device * np.exp(overlap[0] * (arithmetic - device)),
            of_memory * np.exp(activations - memory),
            of_memory * np.exp(constants - memory),
            np.exp(overlap[1] * (launch - whole)),
        )
        once = np.exp(log_inference + weights[-1] - highest) if len(whole) else 0.0
        total = counts @ seconds + once
        slopes = np.empty((counts.shape[0], self.size))
        slopes[:, -1] = once / total
        slopes[:, 0] = ALL * (1 - slopes[:, -1])  # prices alone: the inference's is its own
        for n, (part, share) in enumerate(zip(self.parts, shares, strict=True)):
            own = seconds * share
            columns = slice(part.start, part.start + part.features.shape[1])
            slopes[:, 1 + n] = PART * (counts @ own) / total
            slopes[:, columns] = (counts @ (own[:, None] * part.features)) / total[:, None]
        return np.log(total) + highest + np.log(1e3), slopes


_WORKS: WeakKeyDictionary[Networks, Work] = WeakKeyDictionary()


def _whole(
    arithmetic: Floats,
    activations: Floats,
    constants: Floats,
    launch: Floats,
    overlap: tuple[float, float],
) -> tuple[Floats, Floats, Floats]:
    """Logarithms of the seconds of memory traffic, on the device, and altogether, each (d,)."""
    memory = np.logaddexp(activations, constants)
    device = np.logaddexp(overlap[0] * arithmetic, overlap[0] * memory) / overlap[0]
    return memory, device, np.logaddexp(overlap[1] * device, overlap[1] * launch) / overlap[1]


def _arithmetic_slopes(networks: Networks, classes: Numbers) -> Floats:
    amounts = np.stack(
        [
            networks.fact("macs"),
            networks.fact("positions"),
            networks.fact("outputs"),
            networks.fact("inputs") * networks.fact("window"),
        ],
        axis=1,
    )
    logs = np.log(np.maximum(amounts, 1) / _CENTRES)
    group = _group_of(classes)
    own = np.zeros((len(logs), _OTHER_GROUP + 1, logs.shape[1]))
    own[np.arange(len(logs)), group] = logs * OWN_SLOPE
    # Channels that do not fill vectors or tiles, and groups and windows beyond the classes.
    depth = networks.fact("inputs") * networks.fact("window")
    filled = [_waste(networks.fact("outputs")), _waste(depth)]
    more = [np.log(np.maximum(networks.fact(f), 1)) * SLOPE for f in ("groups", "window")]
    flat = own.reshape(len(logs), (_OTHER_GROUP + 1) * logs.shape[1])
    return np.hstack([logs * SLOPE, flat, np.stack([*filled, *more], axis=1)])


# Numbers that a vector register of 512 bits, or a row of a tile, holds.
_VECTOR = 16


def _waste(channels: Floats) -> Floats:
    """Logarithm of what padding channels to whole vectors adds."""
    channels = np.maximum(channels, 1.0)
    return np.asarray(np.log(np.ceil(channels / _VECTOR) * _VECTOR / channels))


def _bytes_slopes(amount: Floats, classes: Numbers) -> Floats:
    common = _bytes_slope(amount)
    group = np.array([_BYTES_GROUPS.get(name, 0) for name in CLASSES])[classes]
    return np.hstack([common, common * (group[:, None] == np.array(_BYTES))])


def _bytes_slope(amount: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(amount, 1) / _MIDDLING_BYTES) * BYTES_SLOPE)[:, None]
