"""Quantities: what can be measured of a network, and forecast."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast._registry import Registry

# Thirty years in milliseconds; beyond, sums and squares of values overflow too.
MAX_VALUE = 1e12

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity that is measured or forecast: its name, its unit and its possible values.

    Attributes:
        name: of the quantity and of its column in files, such as ``latency_ms``.
        label: as a sentence says it, such as ``latency``.
        unit: such as ``ms``; every value of the quantity is in it.
        min_value: least possible value.
        max_value: largest possible value.
        less_is_better: whether of two networks the one with the smaller value is preferred.
        format: format specification of a value, such as ``.4g``.
        of_target: whether it depends on what a network runs on; accuracy does not.
        plural: the label of several; by default with an s.
    """

    name: str
    label: str
    unit: str
    min_value: float = 1e-9
    max_value: float = MAX_VALUE
    less_is_better: bool = True
    format: str = ".4g"
    of_target: bool = True
    plural: str = ""

    def __post_init__(self) -> None:
        if not self.plural:
            object.__setattr__(self, "plural", f"{self.label}s")  # the dataclass is frozen
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                "the name of a quantity must be of small letters, digits and _, such as "
                f"latency_ms; got {self.name!r}"
            )
        if not self.min_value < self.max_value:
            raise ValueError(
                f"the least value of {self.name} must be below its largest; "
                f"got {self.min_value} and {self.max_value}"
            )

    def is_possible(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether each value is finite and between the quantity's bounds, shape of ``values``."""
        array = np.asarray(values, dtype=np.float64)
        return np.asarray((array >= self.min_value) & (array <= self.max_value))

    @property
    def condition(self) -> str:
        """The condition that a value must meet, for messages."""
        if self.min_value > 0:
            return "finite and positive"
        return f"from {self.min_value:g} to {self.max_value:g}"

    @property
    def with_article(self) -> str:
        """The label with its article, such as ``a latency``."""
        return f"{'an' if self.label[0] in 'aeiou' else 'a'} {self.label}"

    def text(self, value: float) -> str:
        """A value with its unit, such as ``12.3 ms``."""
        return f"{value:{self.format}} {self.unit}"

    def column(self, what: str) -> str:
        """Name of a file's column of further values in this unit, such as ``samples_ms``."""
        return f"{what}_{self.unit.lower()}"


# Less than a cycle of any clock (1e-9 ms) is no latency.
LATENCY_UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Of latencies in a file -> milliseconds."""

LATENCY_MS = Quantity("latency_ms", "latency", "ms", plural="latencies")
ENERGY_MJ = Quantity("energy_mj", "energy", "mJ", plural="energies")
PEAK_MEMORY_MB = Quantity("peak_memory_mb", "peak memory", "MB", plural="peak memories")
# From 0 to 1 as search and JSON have it; tables in percent are converted where they are read.
ACCURACY = Quantity(
    "accuracy",
    "top-1 accuracy",
    "fraction",
    min_value=0.0,
    max_value=1.0,
    less_is_better=False,
    of_target=False,
    plural="accuracies",
)

QUANTITIES: Registry[Quantity] = Registry(
    "quantity",
    "latcast.quantities",
    Quantity,
    {q.name: q for q in (LATENCY_MS, ENERGY_MJ, PEAK_MEMORY_MB, ACCURACY)},
)


def quantity(name: str | Quantity) -> Quantity:
    """The quantity called ``name``.

    Raises:
        ValueError: there is none; the message suggests the nearest and lists all.
    """
    return name if isinstance(name, Quantity) else QUANTITIES.get(name)


def quantity_names() -> list[str]:
    """Names of all quantities."""
    return QUANTITIES.names()


def register_quantity(new: Quantity) -> Quantity:
    """Make a quantity known by its name, to files as well; an equal one may be registered again.

    An installed package does the same by an entry point of the group ``latcast.quantities``.

    Raises:
        ValueError: the name is that of one of latcast's own.
    """
    QUANTITIES.register(new.name, new)
    return new
